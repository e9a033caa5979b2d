// SPDX-License-Identifier: MIT
// PyTorch: archives, files of the old format, and pickles, which are put into an archive, as no
// mutation of one there gets past its checksum.
#include <string>

#include "checkpoint_files.h"
#include "fuzz/fuzz_file.h"
#include "readers/pytorch.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

void read_file(const void* data, size_t bytes) {
  const FuzzFile file(data, bytes);
  try {
    read_tensors(*open_pytorch(file.path()).tensors);
  } catch (const Refused&) {
  }
  convert_file(file.path());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  read_file(data, bytes);
  if (bytes > 0 && data[0] == 0x80) {
    const std::string pickle(reinterpret_cast<const char*>(data), bytes);
    const std::string archive =
        pytorch_zip_with(pickle, {std::string(48, 'x'), std::string(8, 'y')});
    read_file(archive.data(), archive.size());
  }
  return 0;
}
