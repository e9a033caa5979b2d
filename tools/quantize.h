// SPDX-License-Identifier: MIT
// Weights to int8 with one bf16 scale a group.
#ifndef THIMBLE_TOOLS_QUANTIZE_H
#define THIMBLE_TOOLS_QUANTIZE_H

#include <cstdint>

namespace thimble::tools {

// Nearest bf16, ties to even. x is finite, and so is the result.
uint16_t to_bf16(float x);

// Quantizes `n` finite weights that share a scale: values[i] in [-127, 127], and returns the scale
// as bf16, so that w[i] is about values[i] * scale. A group whose largest magnitude is below 1e-30
// becomes zeros with scale 0.
//
// The scale is made bf16 before the weights are rounded to multiples of it, so that its own
// rounding costs nothing; of the bf16 around max |w| / 127 it is the one with the smallest squared
// error. What may be relied on, with m = max |w[i]|:
//   |w[i] - values[i] * scale| <= scale / 2     and     scale <= 1.07 * m / 127
// The first, because m / scale <= 127.5 is kept: what exceeds 127 and is cut to it lies within half
// a step of it. The second, because bf16 has 8 significant bits, so that the nearest bf16 is at
// most 1 + 2^-8 times the ideal, and each of the 8 steps above it at most 1 + 2^-7 times the one
// before. Products of values and scale are exact in float (7 + 8 bits).
uint16_t quantize_group(const float* w, uint32_t n, int8_t* values);

}  // namespace thimble::tools

#endif
