// SPDX-License-Identifier: MIT
// GGUF: any bytes are read or refused, and so are the tokenizer and the model within.
#include "fuzz/fuzz_file.h"
#include "readers/gguf.h"
#include "readers/tokenizers.h"

using namespace thimble::test;
using namespace thimble::tools;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const FuzzFile file(data, bytes);
  try {
    const GgufFile gguf = open_gguf(file.path());
    read_tensors(*gguf.tensors);
    vocabulary_from_gguf(gguf, file.path());
  } catch (const Refused&) {
  }
  convert_file(file.path());
  return 0;
}
