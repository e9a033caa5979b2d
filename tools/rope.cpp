// SPDX-License-Identifier: MIT
#include "rope.h"

#include <algorithm>
#include <cmath>

namespace thimble::tools {
namespace {

constexpr long double kTwoPi = 6.283185307179586476925286766559005768L;

// What a frequency is divided by. Rounded to float, as checkpoints that store it do.
long double llama3_divisor(const RopeSettings& s, long double frequency) {
  const double wavelength = static_cast<double>(kTwoPi / frequency);
  if (wavelength < s.original_context / s.high_freq_factor) return 1;
  if (wavelength > s.original_context / s.low_freq_factor) {
    return static_cast<long double>(static_cast<float>(s.factor));
  }
  const double smooth = (s.original_context / wavelength - s.low_freq_factor) /
                        (s.high_freq_factor - s.low_freq_factor);
  return static_cast<long double>(static_cast<float>(1 / ((1 - smooth) / s.factor + smooth)));
}

// The dimension that turns so often in the original context.
double yarn_dimension(const RopeSettings& s, double rotations) {
  return s.rotary_dim * std::log(s.original_context / (rotations * static_cast<double>(kTwoPi))) /
         (2 * std::log(s.theta));
}

long double yarn_divisor(const RopeSettings& s, uint32_t pair) {
  double low = yarn_dimension(s, s.beta_fast), high = yarn_dimension(s, s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(s.rotary_dim - 1));
  if (high <= low) high = low + 0.001;
  const double ramp = std::min(1.0, std::max(0.0, (pair - low) / (high - low)));
  return 1 / static_cast<long double>(ramp / s.factor + (1 - ramp));
}

}  // namespace

std::vector<uint64_t> rope_turns(const RopeSettings& s, uint32_t head_dim) {
  std::vector<uint64_t> table(head_dim / 2);
  for (uint32_t i = 0; i < s.rotary_dim / 2; ++i) {
    const long double exponent = -2.0L * i / static_cast<long double>(s.rotary_dim);
    long double frequency = std::pow(static_cast<long double>(s.theta), exponent);
    if (s.scaling == RopeScaling::kLinear) frequency /= static_cast<long double>(s.factor);
    if (s.scaling == RopeScaling::kLlama3) frequency /= llama3_divisor(s, frequency);
    if (s.scaling == RopeScaling::kYarn) frequency /= yarn_divisor(s, i);
    if (!s.divisors.empty()) frequency /= static_cast<long double>(s.divisors[i]);
    const long double turns = std::min(frequency / kTwoPi, 0.5L);
    table[i] = static_cast<uint64_t>(std::ldexp(turns, 64)) & ~uint64_t{0xfffff};
  }
  return table;
}

double rope_attention_factor(const RopeSettings& s) {
  if (s.scaling != RopeScaling::kYarn) return 1;
  if (s.attention_factor > 0) return s.attention_factor;
  return s.factor > 1 ? 0.1 * std::log(s.factor) + 1 : 1;
}

}  // namespace thimble::tools
