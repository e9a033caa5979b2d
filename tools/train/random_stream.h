// SPDX-License-Identifier: MIT
// Random numbers by place: the same seed and number of a stream give the same ones on every
// machine.
#ifndef THIMBLE_TOOLS_TRAIN_RANDOM_STREAM_H
#define THIMBLE_TOOLS_TRAIN_RANDOM_STREAM_H

#include <cstdint>

namespace thimble::tools::train {

// SplitMix64 (Steele, Lea, Flood 2014).
inline uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : state_(mixed(mixed(seed) ^ stream)) {}

  uint64_t next() { return mixed(state_++); }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // Nearly normal: the sum of twelve (Irwin, Hall), since libm differs from machine to machine.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += unit();
    return sum;
  }

 private:
  uint64_t state_;
};

}  // namespace thimble::tools::train

#endif
