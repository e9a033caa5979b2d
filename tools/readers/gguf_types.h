// SPDX-License-Identifier: MIT
// The types that tensors of GGUF files have, and their values as float32: the same bits that ggml
// computes.
#ifndef THIMBLE_TOOLS_READERS_GGUF_TYPES_H
#define THIMBLE_TOOLS_READERS_GGUF_TYPES_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace thimble::tools {

struct GgufType {
  uint32_t id;  // in the file
  const char* name;
  uint32_t block_elements, block_bytes;  // elements that share scales lie together
  // Fills out[blocks * block_elements]; null for types that are known but not read.
  void (*to_float)(const uint8_t* data, size_t blocks, float* out);
};

constexpr uint32_t kMaxGgufBlockElements = 256;
constexpr uint32_t kGgufF32 = 0, kGgufF16 = 1, kGgufQ8 = 8;

// Null where there is no type of that number.
const GgufType* gguf_type(uint32_t id);

// The names of all that are read, for messages.
std::string gguf_types_read();

// Half floats (IEEE 754 binary16). To float32 every value is exact; from it, to nearest even.
float half_to_float(uint16_t half);
uint16_t float_to_half(float x);

}  // namespace thimble::tools

#endif
