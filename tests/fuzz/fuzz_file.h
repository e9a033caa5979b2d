// SPDX-License-Identifier: MIT
// What the fuzz targets share: their input as a file, and reading the tensors that were found.
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
#include "readers/tensors.h"

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

}  // namespace thimble::test

#endif
