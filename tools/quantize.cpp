// SPDX-License-Identifier: MIT
#include "quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exact_math.h"

namespace thimble::tools {
namespace {

constexpr float kTiny = 1e-30f;  // far below any weight, far above the smallest normal bf16 * 127

constexpr int kScalesAbove = 8;  // bf16 scales above the nearest one that are tried

// Nearest whole number, ties to even, cut to [-127, 127]. The quotient of two floats in double
// rounds as the exact quotient would; adding 1.5 * 2^52 leaves no bits behind the point.
double to_step(float w, double scale) {
  constexpr double kShift = 0x1.8p52;
  const double step = (static_cast<double>(w) / scale + kShift) - kShift;
  return std::min(127.0, std::max(-127.0, step));
}

double squared_error(const float* w, uint32_t n, double scale) {
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const double error = static_cast<double>(w[i]) - to_step(w[i], scale) * scale;
    sum += error * error;
  }
  return sum;
}

double value_of(uint16_t scale) {
  return static_cast<double>(from_bf16(scale));
}

}  // namespace

uint16_t to_bf16(float x) {
  const uint32_t bits = bits_of(x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t quantize_group(const float* w, uint32_t n, int8_t* values) {
  float largest = 0;
  for (uint32_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(w[i]));
  if (largest < kTiny) {
    std::memset(values, 0, n);
    return 0;
  }
  // A scale a little above the ideal one often happens to fit a group better. Trying eight of them
  // lowers the mean squared error of stories260K by 16 % for groups of 32.
  const float ideal = largest / 127.0f;
  const uint16_t nearest = to_bf16(ideal);
  uint16_t scale = nearest;
  double smallest = squared_error(w, n, value_of(nearest));
  const uint16_t below = static_cast<uint16_t>(nearest - 1);
  for (uint16_t other = below; other <= nearest + kScalesAbove; ++other) {
    if (other == nearest || static_cast<double>(largest) > 127.5 * value_of(other)) continue;
    const double error = squared_error(w, n, value_of(other));
    if (error < smallest) {
      smallest = error;
      scale = other;
    }
  }
  const double step = value_of(scale);
  for (uint32_t i = 0; i < n; ++i) values[i] = static_cast<int8_t>(to_step(w[i], step));
  return scale;
}

}  // namespace thimble::tools
