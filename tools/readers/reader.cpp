// SPDX-License-Identifier: MIT
#include "readers/reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "error.h"
#include "readers/input_file.h"
#include "readers/llama2c.h"

namespace thimble::tools {
namespace {

using Start = std::array<uint8_t, 16>;  // the file's first bytes, zeros behind a shorter file

bool starts_with(const Start& start, const void* magic, size_t bytes) {
  return std::memcmp(start.data(), magic, bytes) == 0;
}

// Formats that are known but not read. A safetensors file is the length of its header (8 bytes),
// then JSON.
const char* foreign_format(const Start& start) {
  if (starts_with(start, kMagic, sizeof kMagic)) return "a Thimble model already";
  if (starts_with(start, "GGUF", 4)) return "a GGUF file";
  if (starts_with(start, "PK\3\4", 4)) return "a zip file (a PyTorch checkpoint?)";
  if (starts_with(start, "\x80\x02", 2) && start[2] == 0x8a) return "an old PyTorch checkpoint";
  const uint8_t length_end[5] = {0, 0, 0, 0, '{'};
  if (std::memcmp(start.data() + 4, length_end, sizeof length_end) == 0) {
    return "a safetensors file";
  }
  return nullptr;
}

}  // namespace

Checkpoint open_checkpoint(const std::string& path, const ReadOptions& options) {
  auto file = std::make_shared<InputFile>(path);
  Start start{};
  file->read(0, start.data(), static_cast<size_t>(std::min<uint64_t>(file->size(), start.size())));
  if (const char* found = foreign_format(start)) {
    throw Refused(path + ": is " + found +
                  ", expected a llama2.c checkpoint (.bin, version 0, 1 or 2)");
  }
  // Last, since llama2.c's version 0 has no mark to know it by.
  return open_llama2c(std::move(file), options);
}

VocabularyFile open_vocabulary(const std::string& path, uint32_t vocab_size) {
  return open_llama2c_tokenizer(InputFile(path), vocab_size);
}

}  // namespace thimble::tools
