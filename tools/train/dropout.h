// SPDX-License-Identifier: MIT
// Which numbers dropout drops (Srivastava et al. 2014): decided by their place and a seed, so that
// the backward pass finds the same ones again. `static`, as lanes.h says.
#ifndef THIMBLE_TOOLS_TRAIN_DROPOUT_H
#define THIMBLE_TOOLS_TRAIN_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

namespace thimble::tools::train {

// Random bits of a number (Wang, Ettinger 2018: "lowbias32"). U: uint32_t or a vector of them.
template <class U>
static inline U random_bits(U x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

// Of 16 random bits those below it are dropped, and what is kept is multiplied with the scale.
static inline uint32_t dropout_limit(float dropout) {
  return static_cast<uint32_t>(dropout * 65536.0f);
}
static inline float dropout_scale(float dropout) {
  return 65536.0f / static_cast<float>(65536u - dropout_limit(dropout));
}

// The number of element i of a block with that seed; the upper half of its random bits decides.
static inline uint32_t element_number(uint64_t seed, uint64_t i) {
  const uint32_t base = static_cast<uint32_t>(seed) ^ static_cast<uint32_t>((seed + i) >> 32);
  return base + static_cast<uint32_t>(i);
}

// The number of the first key that a query sees. Of a panel of 2 w keys the numbers count up to w:
// the lower half of the bits decides on key i, the upper on key i + w.
static inline uint32_t attention_number(uint64_t seed, uint32_t head, uint32_t query) {
  uint64_t x = seed + (uint64_t{head} << 32 | query) * 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return static_cast<uint32_t>(x >> 32);
}

}  // namespace thimble::tools::train

#endif
