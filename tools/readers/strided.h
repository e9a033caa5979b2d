// SPDX-License-Identifier: MIT
// Tensors whose elements lie apart in a file: transposed ones, slices, expanded ones.
#ifndef THIMBLE_TOOLS_READERS_STRIDED_H
#define THIMBLE_TOOLS_READERS_STRIDED_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "readers/input_file.h"
#include "readers/plain_types.h"

namespace thimble::tools {

struct StridedPlace {
  uint64_t storage = 0;        // where in the file its storage begins, in bytes
  uint64_t storage_count = 0;  // elements
  uint64_t offset = 0;         // in the storage, in elements, as the strides are
  std::vector<uint64_t> strides;
};

// Whether the elements follow one another as in row-major order.
bool is_contiguous(const std::vector<uint64_t>& shape, const std::vector<uint64_t>& strides);

// Elements between the first and behind the last, 0 if the tensor has none; false if that
// overflows.
bool strided_extent(const std::vector<uint64_t>& shape, const std::vector<uint64_t>& strides,
                    uint64_t* extent);

// Reads tensors of one file. It keeps the last storage that did not lie in order, if it is not too
// large: a transposed matrix would otherwise take a read for each element.
class StridedReader {
 public:
  explicit StridedReader(const InputFile& file) : file_(file) {}

  // Elements [begin, begin + count) in row-major order.
  void read(const Tensor& tensor, const PlainType& type, const StridedPlace& place, uint64_t begin,
            size_t count, float* out);

 private:
  // `count` elements of the storage from `at` on, `stride` apart.
  void gather(const Tensor& tensor, const PlainType& type, const StridedPlace& place, uint64_t at,
              uint64_t stride, size_t count, float* out);

  const InputFile& file_;
  std::vector<uint8_t> kept_;  // a storage's bytes
  uint64_t kept_storage_ = 0;  // where it begins in the file
};

}  // namespace thimble::tools

#endif
