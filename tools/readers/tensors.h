// SPDX-License-Identifier: MIT
// Named tensors of a checkpoint, whatever file they lie in. A format is one class behind this.
#ifndef THIMBLE_TOOLS_READERS_TENSORS_H
#define THIMBLE_TOOLS_READERS_TENSORS_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace thimble::tools {

struct Tensor {
  std::string name;             // as the file has it
  std::string type;             // as the file calls it: "F32", "BF16", "Q4_K"
  std::vector<uint64_t> shape;  // outermost first, as PyTorch prints it; empty for a single number
};

inline uint64_t element_count(const Tensor& tensor) {
  uint64_t n = 1;
  for (const uint64_t size : tensor.shape) n *= size;
  return n;
}

class Tensors {
 public:
  virtual ~Tensors() = default;

  // In the file's order. A file is checked when it is opened: that no header lies, that counts do
  // not overflow, that every tensor lies within its file.
  virtual const std::vector<Tensor>& all() const = 0;

  // Elements [begin, begin + count) of tensor `index` in row-major order as float32. Throws Refused
  // (naming file, tensor and type) for types that are no numbers or are not read.
  virtual void read(size_t index, uint64_t begin, size_t count, float* out) const = 0;

  // The file that a tensor lies in, for messages.
  virtual const std::string& path(size_t index) const = 0;
};

}  // namespace thimble::tools

#endif
