// SPDX-License-Identifier: MIT
// A number for a text, by which records are chosen: the same on every machine.
#ifndef THIMBLE_TOOLS_TRAIN_HASHED_TEXT_H
#define THIMBLE_TOOLS_TRAIN_HASHED_TEXT_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "random_stream.h"

namespace thimble::tools::train {

// 8 bytes at a time, little-endian.
inline uint64_t hashed_text(std::string_view text, uint64_t seed = 0) {
  uint64_t hash = mixed(seed) ^ text.size();
  for (size_t i = 0; i < text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, std::min<size_t>(8, text.size() - i));
    hash = mixed(hash ^ word);
  }
  return hash;
}

}  // namespace thimble::tools::train

#endif
