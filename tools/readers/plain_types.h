// SPDX-License-Identifier: MIT
// Types of tensors that are one little-endian number after another, as safetensors files and
// PyTorch have them, by the names of the former.
#ifndef THIMBLE_TOOLS_READERS_PLAIN_TYPES_H
#define THIMBLE_TOOLS_READERS_PLAIN_TYPES_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "readers/input_file.h"
#include "readers/tensors.h"

namespace thimble::tools {

struct PlainType {
  const char* name;
  uint32_t bytes;  // of an element
  // Null for types that are known but not read: weights are no integers.
  void (*to_float)(const uint8_t* data, size_t count, float* out);
};

// Null where there is no type of that name.
const PlainType* plain_type(std::string_view name);

// The names of all types, or of those that are read, for messages.
std::string plain_type_names(bool only_read);

// `count` elements at `offset` of the file as float32, in pieces. Throws Refused, naming file,
// tensor and type, for a type that is not read.
void read_plain(const InputFile& file, const Tensor& tensor, const PlainType& type, uint64_t offset,
                size_t count, float* out);

[[noreturn]] void refuse_plain_type(const std::string& path, const Tensor& tensor);

// The product of the sizes and the bytes of an element; false if that overflows. Sizes behind a 0
// count too.
bool plain_bytes(const std::vector<uint64_t>& shape, uint32_t element_bytes, uint64_t* bytes);

// A shape for messages: [768, 2304].
std::string shape_text(const std::vector<uint64_t>& shape);

}  // namespace thimble::tools

#endif
