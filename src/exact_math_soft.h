// SPDX-License-Identifier: MIT
// The functions of exact_math.h in integers, for cores whose float arithmetic is a library: equal
// to the bit, several times cheaper. They are right on every chip, so that every host can test
// them.
#ifndef THIMBLE_SRC_EXACT_MATH_SOFT_H
#define THIMBLE_SRC_EXACT_MATH_SOFT_H

#include "exact_math.h"

// What is cheaper in place than as a call, also where the compiler is asked for small code.
#define THIMBLE_INLINE __attribute__((always_inline)) inline

// Armv6-M and Armv8-M's baseline: no product of more than 32 bits, no count of zeros.
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
#define THIMBLE_THUMB1 1
#endif

namespace thimble {

// x / 2^bits to nearest, ties to even, where `rest` tells whether anything not zero lies below x.
// bits is in [1, 31].
THIMBLE_INLINE static uint32_t shift_to_even(uint32_t x, uint32_t bits, bool rest) {
  const uint32_t odd = (x >> bits) & 1u;
  return (x + (1u << (bits - 1)) - 1u + (odd | static_cast<uint32_t>(rest))) >> bits;
}

// Of x, not zero. Without an instruction it is a call, which sums and products seldom need.
THIMBLE_INLINE static uint32_t leading_zeros(uint32_t x) {
#if (defined(__arm__) && !defined(__ARM_FEATURE_CLZ)) || (defined(__riscv) && !defined(__riscv_zbb))
  if (x >> 29) return x >> 31 ? 0 : x >> 30 ? 1 : 2;
#endif
  return static_cast<uint32_t>(__builtin_clz(x));
}

THIMBLE_INLINE static uint64_t wide_product(uint32_t x, uint32_t y) {
#if defined(THIMBLE_THUMB1)
  // No instruction gives more than 32 bits; the library's call multiplies 64 by 64.
  const uint32_t x0 = x & 0xffffu, x1 = x >> 16, y0 = y & 0xffffu, y1 = y >> 16;
  const uint32_t low = x0 * y0, middle = x1 * y0 + (low >> 16);
  const uint32_t other = x0 * y1 + (middle & 0xffffu);
  return (static_cast<uint64_t>(x1 * y1 + (middle >> 16) + (other >> 16)) << 32) |
         ((other << 16) | (low & 0xffffu));
#else
  return static_cast<uint64_t>(x) * y;
#endif
}

// exact_exp of any x up to 88.
float exp_by_integers(float x);

// exact_silu.
float silu_by_integers(float x);

// round_to_even(x * y) of the rounded product, for finite x >= 0, y in [2^-126, 2^120] and products
// below 2^16. x and y by their bits.
int32_t rounded_product_by_floats(uint32_t x_bits, uint32_t y_bits);
THIMBLE_INLINE static int32_t rounded_product(uint32_t x_bits, uint32_t y_bits) {
  const uint32_t x = (x_bits << 8) | 0x80000000u, y = (y_bits << 8) | 0x80000000u;
  const uint32_t product = static_cast<uint32_t>(wide_product(x, y) >> 33);
  const uint32_t places = 283u - (y_bits >> 23) - (x_bits >> 23);  // behind the point
  if (places > 31) return 0;                                       // below a half
  // The product that counts is the one rounded to a float, 128 of these units away at most.
  constexpr uint32_t kNear = 130;
  const uint32_t half = product + (1u << places >> 1);
  if (((half + kNear) & ((1u << places) - 1)) <= 2 * kNear) {
    return rounded_product_by_floats(x_bits, y_bits);
  }
  return static_cast<int32_t>(half >> places);
}

}  // namespace thimble

#endif
