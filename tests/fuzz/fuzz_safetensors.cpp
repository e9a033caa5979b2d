// SPDX-License-Identifier: MIT
// Safetensors: any bytes are read or refused, and so is the model within.
#include "fuzz/fuzz_file.h"
#include "readers/safetensors.h"

using namespace thimble::test;
using namespace thimble::tools;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const FuzzFile file(data, bytes);
  try {
    read_tensors(*open_safetensors({file.path()}));
  } catch (const Refused&) {
  }
  convert_file(file.path());
  return 0;
}
