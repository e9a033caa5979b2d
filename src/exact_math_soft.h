// SPDX-License-Identifier: MIT
// The functions of exact_math.h in integers, for cores whose float arithmetic is a library: equal
// to the bit, several times cheaper. They are right on every chip, so that every host can test
// them.
#ifndef THIMBLE_SRC_EXACT_MATH_SOFT_H
#define THIMBLE_SRC_EXACT_MATH_SOFT_H

#include "exact_math.h"

namespace thimble {

// x / 2^bits to nearest, ties to even, where `rest` tells whether anything not zero lies below x.
// bits is in [1, 31].
static inline uint32_t shift_to_even(uint32_t x, uint32_t bits, bool rest) {
  const uint32_t odd = (x >> bits) & 1u;
  return (x + (1u << (bits - 1)) - 1u + (odd | static_cast<uint32_t>(rest))) >> bits;
}

// exact_exp of any x up to 88.
float exp_by_integers(float x);

// round_to_even(x * y) of the rounded product, for finite x >= 0, y in [2^-126, 2^120] and products
// below 2^16. x and y by their bits.
int32_t rounded_product(uint32_t x_bits, uint32_t y_bits);

}  // namespace thimble

#endif
