// SPDX-License-Identifier: MIT
// GGUF: any bytes are read or refused.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "error.h"
#include "readers/gguf.h"

using namespace thimble::tools;

namespace {

constexpr uint64_t kMostElements = 4096;  // of each tensor, at both ends

void read_all(const GgufFile& file) {
  std::vector<float> out(kMostElements);
  for (size_t i = 0; i < file.tensors->all().size(); ++i) {
    const uint64_t n = element_count(file.tensors->all()[i]);
    const uint64_t count = std::min(n, kMostElements);
    try {
      file.tensors->read(i, 0, static_cast<size_t>(count), out.data());
      file.tensors->read(i, n - count, static_cast<size_t>(count), out.data());
    } catch (const Refused&) {  // a type that is not read
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, bytes) != static_cast<ssize_t>(bytes)) std::abort();
  try {
    read_all(open_gguf("/proc/self/fd/" + std::to_string(fd)));
  } catch (const Refused&) {
  }
  close(fd);
  return 0;
}
