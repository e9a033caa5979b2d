// SPDX-License-Identifier: MIT
// Repeatable random numbers for tests, the same with every standard library.
#ifndef THIMBLE_TESTS_RANDOM_H
#define THIMBLE_TESTS_RANDOM_H

#include <cstdint>

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435769u + 88172645463325252u) {}

  uint64_t next() {  // xorshift64* (Vigna 2016)
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 2685821657736338717u;
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
  float uniform(float low, float high) {
    const float unit = static_cast<float>(next() >> 40) * 0x1p-24f;
    return low + (high - low) * unit;
  }
  // Roughly normal: the sum of four uniform numbers.
  float normal() {
    return (uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1) + uniform(-1, 1)) * 0.866f;
  }

 private:
  uint64_t state_;
};

#endif
