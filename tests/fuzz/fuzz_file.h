// SPDX-License-Identifier: MIT
// What the fuzz targets share: their input as a file, reading the tensors that were found, and
// converting the model that they are.
#ifndef THIMBLE_TESTS_FUZZ_FUZZ_FILE_H
#define THIMBLE_TESTS_FUZZ_FUZZ_FILE_H

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "error.h"
#include "image.h"
#include "readers/reader.h"
#include "readers/tensors.h"
#include "thimble/thimble.h"

namespace thimble::test {

class FuzzFile {
 public:
  FuzzFile(const void* data, size_t bytes) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (fd_ < 0 || write(fd_, data, bytes) != static_cast<ssize_t>(bytes)) std::abort();
  }
  ~FuzzFile() { close(fd_); }
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// Both ends of each tensor.
inline void read_tensors(const tools::Tensors& tensors) {
  constexpr uint64_t kMostElements = 4096;
  std::vector<float> out(kMostElements);
  for (size_t i = 0; i < tensors.all().size(); ++i) {
    const uint64_t n = tools::element_count(tensors.all()[i]);
    const uint64_t count = std::min(n, kMostElements);
    try {
      tensors.read(i, 0, static_cast<size_t>(count), out.data());
      tensors.read(i, n - count, static_cast<size_t>(count), out.data());
    } catch (const tools::Refused&) {  // a type that is not read
    }
  }
}

// What a checkpoint becomes: refused, or a model that opens. Sizes that take long are left out.
inline void convert_checkpoint(const tools::Checkpoint& checkpoint) {
  constexpr uint64_t kMostParameters = 100000, kMostPositions = 4096;
  const tools::ModelShape& shape = checkpoint.shape;
  if (tools::count_parameters(shape) > kMostParameters || shape.n_ctx > kMostPositions) return;
  const tools::ImageInMemory image = tools::build_image_in_memory(
      shape, {kWeightQ8, 32, 4}, checkpoint.vocabulary ? &*checkpoint.vocabulary : nullptr,
      checkpoint.rows);
  thimble_model model;
  if (thimble_model_open(&model, image.data(), image.bytes) != THIMBLE_OK) std::abort();
}

inline void convert_file(const std::string& path) {
  tools::ReadOptions options;  // what a state dict does not say
  options.n_heads = 2;
  options.activation = kActivationGelu;
  try {
    convert_checkpoint(tools::open_checkpoint(path, options));
  } catch (const tools::Refused&) {
  }
}

}  // namespace thimble::test

#endif
