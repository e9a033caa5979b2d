// SPDX-License-Identifier: MIT
// Tables of rotary frequencies (Su et al. 2021), scaled ones included.
#ifndef THIMBLE_TOOLS_ROPE_H
#define THIMBLE_TOOLS_ROPE_H

#include <cstdint>
#include <vector>

namespace thimble::tools {

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn };

struct RopeSettings {
  double theta = 10000;
  uint32_t rotary_dim = 0;  // dimensions of a head that are rotated, from the first on; even
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  // llama3 (Grattafiori et al. 2024): wavelengths below original / high are kept, above original /
  // low divided by `factor`, between them blended.
  double low_freq_factor = 1, high_freq_factor = 4;
  double original_context = 0;
  // YaRN (Peng et al. 2023): the same by rotations in the original context, a ramp over dimensions.
  double beta_fast = 32, beta_slow = 1;
  double attention_factor = 0;  // of cosines and sines; 0: 0.1 ln(factor) + 1
  bool truncate = true;         // the ramp's ends are whole dimensions
  std::vector<float> divisors;  // of each pair's frequency, as GGUF stores them; or none
};

// (head_dim / 2) turns a position, as fractions of 2^64; 0 for pairs that are not rotated. The low
// 20 bits are cleared, since math libraries (and what they call long double) differ there; the
// angle at position 2^20 moves by 2^-24 turns at most.
std::vector<uint64_t> rope_turns(const RopeSettings& settings, uint32_t head_dim);

// What rotated queries and keys are multiplied by, each: 1 but for YaRN.
double rope_attention_factor(const RopeSettings& settings);

}  // namespace thimble::tools

#endif
