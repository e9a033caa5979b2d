// SPDX-License-Identifier: MIT
// Loops over odds, or orders of logits, of which compilers make vectors: the sampler's own, and
// compiled once more for each wide instruction set.
#ifndef THIMBLE_SRC_KERNELS_KEY_BLOCKS_H
#define THIMBLE_SRC_KERNELS_KEY_BLOCKS_H

#include <stdint.h>

namespace thimble {

constexpr uint32_t kKeyBlock = 32;

// Whether any key of a whole block lies within [low, low + span].
static inline bool any_within(const uint32_t* block, uint32_t low, uint32_t span) {
  // Of signed numbers, which vectors compare at once.
  const int32_t last = static_cast<int32_t>(span ^ 0x80000000u);
  uint32_t any = 0;
  for (uint32_t i = 0; i < kKeyBlock; ++i) {
    any |= static_cast<int32_t>(block[i] - (low ^ 0x80000000u)) <= last ? 1u : 0u;
  }
  return any != 0;
}

static inline uint64_t sum_at_least(const uint32_t* odds, uint32_t n, uint32_t low) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < n; ++i) sum += odds[i] >= low ? odds[i] : 0;
  return sum;
}

}  // namespace thimble

#endif
