// SPDX-License-Identifier: MIT
// A number for a text, by which records are chosen: the same on every machine.
#ifndef THIMBLE_TOOLS_TRAIN_HASHED_TEXT_H
#define THIMBLE_TOOLS_TRAIN_HASHED_TEXT_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace thimble::tools::train {

// 8 bytes at a time, little-endian, mixed with SplitMix64's finish (Steele, Lea, Flood 2014).
inline uint64_t hashed_text(std::string_view text, uint64_t seed = 0) {
  const auto mixed = [](uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  };
  uint64_t hash = mixed(seed + 0x9e3779b97f4a7c15u) ^ text.size();
  for (size_t i = 0; i < text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, std::min<size_t>(8, text.size() - i));
    hash = mixed((hash ^ word) + 0x9e3779b97f4a7c15u);
  }
  return hash;
}

}  // namespace thimble::tools::train

#endif
