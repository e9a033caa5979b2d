// SPDX-License-Identifier: MIT
// GGUF, the files of ggml and llama.cpp: versions 2 and 3, little-endian, in one file or split.
#ifndef THIMBLE_TOOLS_READERS_GGUF_H
#define THIMBLE_TOOLS_READERS_GGUF_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "readers/input_file.h"
#include "readers/tensors.h"
#include "value.h"

namespace thimble::tools {

struct GgufFile {
  std::unique_ptr<Tensors> tensors;
  Value metadata;  // a dictionary of all keys but those of the four arrays below
  // What tokenizer.ggml.{tokens,scores,token_type,merges} hold; empty where the file has none.
  // Scores and types are as many as the tokens.
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> token_types;
  std::vector<std::string> merges;
  std::string description;  // "GGUF v3, llama, 20 tensors (Q4_K, F32)"
};

// What `type` of GGUF stands for in token_types.
enum GgufTokenType : int32_t {
  kGgufTokenNormal = 1,
  kGgufTokenUnknown = 2,
  kGgufTokenControl = 3,
  kGgufTokenUser = 4,
  kGgufTokenUnused = 5,
  kGgufTokenByte = 6
};

// Whether a file starts as GGUF does.
bool is_gguf(const InputFile& file);

// Reads and checks all headers; of a split file the first part is to be given. Unsigned integers
// that no int64_t holds become reals. Throws Refused, naming the file, what was found and what was
// expected.
GgufFile open_gguf(const std::string& path);

}  // namespace thimble::tools

#endif
