// SPDX-License-Identifier: MIT
// FNV-1a 64 over the little-endian bits of floats: equal hashes show equal bits on two chips.
#ifndef THIMBLE_SRC_HASH_H
#define THIMBLE_SRC_HASH_H

#include <stdint.h>

#include "exact_math.h"

namespace thimble {

static inline uint64_t hash_floats(uint64_t hash, const float* x, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    uint32_t bits = bits_of(x[i]);
    // Chips differ in the bits of the NaN they make.
    if ((bits & 0x7fffffffu) > 0x7f800000u) bits = 0x7fc00000u;
    for (int byte = 0; byte < 4; ++byte) {
      hash = (hash ^ ((bits >> (8 * byte)) & 255u)) * UINT64_C(0x100000001b3);
    }
  }
  return hash;
}

}  // namespace thimble

#endif
