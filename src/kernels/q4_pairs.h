// SPDX-License-Identifier: MIT
// The two levels of a byte of 4-bit weights side by side, for cores that look them up.
#ifndef THIMBLE_SRC_KERNELS_Q4_PAIRS_H
#define THIMBLE_SRC_KERNELS_Q4_PAIRS_H

#include <stdint.h>

#include "../format.h"

namespace thimble {

struct Q4Pairs {
  uint32_t of[256];
};

// low + high * 2^16 of every byte: as a sum, where a low level below 0 borrows from the high one,
// or each in a halfword of its own.
static constexpr Q4Pairs q4_pairs(bool as_sum) {
  Q4Pairs pairs = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t low = static_cast<uint32_t>(q4_level(byte & 15));
    const uint32_t high = static_cast<uint32_t>(q4_level(byte >> 4));
    pairs.of[byte] = (high << 16) + (as_sum ? low : low & 0xffffu);
  }
  return pairs;
}

// low, then high, of every byte, as bytes.
struct Q4Bytes {
  uint16_t of[256];
};
static constexpr Q4Bytes q4_bytes() {
  Q4Bytes bytes = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t low = static_cast<uint32_t>(q4_level(byte & 15)) & 0xffu;
    const uint32_t high = static_cast<uint32_t>(q4_level(byte >> 4)) & 0xffu;
    bytes.of[byte] = static_cast<uint16_t>(low | high << 8);
  }
  return bytes;
}

}  // namespace thimble

#endif
