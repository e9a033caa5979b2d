// SPDX-License-Identifier: MIT
// The header of one GGUF file: keys and values, and where its tensors lie.
#ifndef THIMBLE_TOOLS_READERS_GGUF_HEADER_H
#define THIMBLE_TOOLS_READERS_GGUF_HEADER_H

#include "readers/gguf.h"
#include "readers/gguf_types.h"

namespace thimble::tools {

struct GgufTensor {
  Tensor tensor;
  const GgufType* type;
  uint64_t offset;  // from the file's start
};

struct GgufHeader {
  uint32_t version = 0;
  Value::Dict metadata;
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<int32_t> token_types;
  std::vector<GgufTensor> tensors;
};

// Throws Refused. Memory stays within a few times the header's length, which is bounded.
GgufHeader read_gguf_header(const InputFile& file);

// A name or text from the file as it may stand in a message: printable, and not too long.
std::string gguf_quoted(const std::string& text);

}  // namespace thimble::tools

#endif
