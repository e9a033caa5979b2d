// SPDX-License-Identifier: MIT
#include "exact_math_soft.h"

namespace thimble {
namespace {

constexpr uint32_t kSign = 0x80000000u, kInfinity = 0x7f800000u, kImplicit = 0x800000u;

// A finite number that is not zero: the mantissa with its highest bit at 23, and the exponent as it
// would lie in a float, below 1 for a denormal.
struct Parts {
  uint32_t mantissa;
  int32_t exponent;
};

THIMBLE_INLINE Parts parts_of_normal(uint32_t bits) {
  return {(bits & 0x7fffffu) | kImplicit, static_cast<int32_t>((bits >> 23) & 255u)};
}

inline bool is_normal(Parts p) {
  return static_cast<uint32_t>(p.exponent - 1) < 254u;
}

Parts parts_of(uint32_t bits) {
  if (bits & kInfinity) return parts_of_normal(bits);
  const uint32_t mantissa = bits & 0x7fffffu;
  const int32_t zeros = __builtin_clz(mantissa) - 8;
  return {mantissa << zeros, 1 - zeros};
}

// x / 2^bits; what falls off leaves a 1 in the last bit.
THIMBLE_INLINE uint64_t shift_keeping_rest(uint64_t x, uint32_t bits) {
  uint32_t high = static_cast<uint32_t>(x >> 32), low = static_cast<uint32_t>(x), rest = 0;
  if (bits >= 32) {
    if (bits >= 64) return 1;  // x is not zero
    rest = low;
    low = high;
    high = 0;
    bits -= 32;
  }
  rest |= low << 1 << (31 - bits);
  low = (low >> bits) | (high << 1 << (31 - bits)) | static_cast<uint32_t>(rest != 0);
  return (static_cast<uint64_t>(high >> bits) << 32) | low;
}

// sum * 2^(exponent - 189) with `sign`, rounded. sum is in [2^13, 2^63); its last bit may stand for
// all that lies below.
THIMBLE_INLINE float round_sum(uint32_t sign, uint64_t sum, int32_t exponent) {
  uint32_t high = static_cast<uint32_t>(sum >> 32), low = static_cast<uint32_t>(sum);
  if (high == 0) {
    high = low >> 1;
    low <<= 31;
    exponent -= 31;
  }
  const int32_t zeros =
      static_cast<int32_t>(leading_zeros(high)) - 1;  // so that the highest bit goes to 30
  high = (high << zeros) | (low >> 1 >> (31 - zeros));
  const bool rest = low << zeros != 0;
  exponent -= zeros;
  if (static_cast<uint32_t>(exponent - 1) < 254u) {
    // A carry out of the mantissa makes the next exponent, and of the last one infinity.
    return float_of(sign + (static_cast<uint32_t>(exponent - 1) << 23) +
                    shift_to_even(high, 7, rest));
  }
  if (exponent > 0) return float_of(sign | kInfinity);
  if (exponent < -23) return float_of(sign);
  return float_of(sign + shift_to_even(high, static_cast<uint32_t>(8 - exponent), rest));
}

}  // namespace

float fma_by_integers(float a, float b, float c) {
  const uint32_t a_bits = bits_of(a), b_bits = bits_of(b), c_bits = bits_of(c);
  uint32_t sign = (a_bits ^ b_bits) & kSign;
  Parts x = parts_of_normal(a_bits), y = parts_of_normal(b_bits), z = parts_of_normal(c_bits);
  if (!is_normal(x) || !is_normal(y)) {
    if (x.exponent == 255 || y.exponent == 255) return a * b + c;
    if (a_bits << 1 == 0 || b_bits << 1 == 0) {  // the product is a zero
      return float_of(c_bits << 1 == 0 ? c_bits & sign : c_bits);
    }
    x = parts_of(a_bits);
    y = parts_of(b_bits);
  }
  uint64_t sum = wide_product(x.mantissa << 7, y.mantissa << 7);  // [2^60, 2^62)
  int32_t exponent = x.exponent + y.exponent - 125;
  if (c_bits << 1 != 0) {
    if (!is_normal(z)) {
      if (z.exponent == 255) return c + c;
      z = parts_of(c_bits);
    }
    // Of product and addend no bit is lost by a shift of up to 14, and only where they are less
    // than 2 apart much can cancel.
    uint64_t addend = static_cast<uint64_t>(z.mantissa << 6) << 32;  // [2^61, 2^62)
    const int32_t apart = exponent - z.exponent - 1;
    if (apart >= 0) {
      addend = shift_keeping_rest(addend, static_cast<uint32_t>(apart));
    } else {
      sum = shift_keeping_rest(sum, static_cast<uint32_t>(-apart));
      exponent = z.exponent + 1;
    }
    if ((sign ^ c_bits) & kSign) {
      sum -= addend;
      if (sum == 0) return 0.0f;
      if (sum >> 63) {
        sum = 0 - sum;
        sign ^= kSign;
      }
    } else {
      sum += addend;
    }
  }
  return round_sum(sign, sum, exponent);
}

int32_t rounded_product_by_floats(uint32_t x_bits, uint32_t y_bits) {
  return round_to_even(float_of(x_bits) * float_of(y_bits));
}

namespace {

constexpr int32_t fixed(float x, uint32_t places) {
  return static_cast<int32_t>(static_cast<double>(x) * static_cast<double>(uint64_t{1} << places));
}

// p >= 0.
THIMBLE_INLINE uint64_t wide_signed_product(int32_t p, int32_t r) {
#if defined(THIMBLE_THUMB1)
  const uint64_t negative = static_cast<uint32_t>(r >> 31 & p);
  return wide_product(static_cast<uint32_t>(p), static_cast<uint32_t>(r)) - (negative << 32);
#else
  return static_cast<uint64_t>(static_cast<int64_t>(p) * r);
#endif
}

// p * r / 2^32 + c, rounded to what a float of this size keeps: with `drop` bits off, cleared.
THIMBLE_INLINE int32_t multiply_add(int32_t p, int32_t r, int32_t c, uint32_t drop) {
  const uint64_t product = wide_signed_product(p, r);
  const uint32_t high = static_cast<uint32_t>(product >> 32) + static_cast<uint32_t>(c);
  return static_cast<int32_t>(shift_to_even(high, drop, static_cast<uint32_t>(product) != 0)
                              << drop);
}

// The same with c = 2^25, as which the sum may be larger or smaller.
THIMBLE_INLINE int32_t multiply_add(int32_t p, int32_t r) {
  const uint64_t product = wide_signed_product(p, r);
  const uint32_t high = static_cast<uint32_t>(product >> 32) + (1u << 25);
  const bool rest = static_cast<uint32_t>(product) != 0;
  if (high >> 25) return static_cast<int32_t>(shift_to_even(high, 2, rest) << 2);
  return static_cast<int32_t>(shift_to_even(high, 1, rest) << 1);
}

}  // namespace

float exp_by_integers(float x) {
  // In units of 2^-32 and of 2^-43, modulo 2^32.
  constexpr uint32_t kLn2High = 2u * static_cast<uint32_t>(fixed(0.693145752f, 31));
  constexpr uint32_t kLn2Low = static_cast<uint32_t>(fixed(1.42860677e-6f, 43));

  const uint32_t bits = bits_of(x), size = bits & ~kSign;
  // From 2^-8 to 87, where everything below has its place.
  if (size - 0x3b800000u > 0x42ae0000u - 0x3b800000u) {
    return size == 0 ? 1.0f : exact_exp(Scalar{x}).v;
  }
  // In units of 2^-32, modulo 1: r = |x| - n * ln 2, of which the upper part's product is exact and
  // the difference, too: with n > 0 it is a multiple of 2^-25 and below a half.
  const int32_t n = rounded_product(size, 0x3fb8aa3bu);  // log2(e)
  uint32_t r = ((size & 0x7fffffu) | kImplicit) << ((size >> 23) - 118);
  if (n != 0) {
    r -= static_cast<uint32_t>(n) * kLn2High;
    const uint32_t low = static_cast<uint32_t>(n) * kLn2Low;
    const bool rest = (low & 0x7ffu) != 0;
    r -= (low >> 11) + rest;
    const uint32_t size_of_r = r ^ (0u - (r >> 31));
    if (size_of_r >> 24 == 0) return exact_exp(Scalar{x}).v;
    const uint32_t drop = 8 - leading_zeros(size_of_r);
    // Two's complement rounds to even as magnitudes do.
    r = shift_to_even(r, drop, rest) << drop;
  }
  const bool negative = bits != size;
  const int32_t s = static_cast<int32_t>(negative ? 0u - r : r);
  // exact_exp's polynomial. The sums' exponents are known, up to whether they reach 1/2 or 1; each
  // is kept in units in which no bit is lost.
  int32_t p = multiply_add(fixed(0.00139263261f, 33), s, fixed(0.00836329255f, 33), 3) >> 3;
  p = multiply_add(p, s, fixed(0.0416665524f, 30), 2) >> 2;
  p = multiply_add(p, s, fixed(0.166665763f, 28), 2) >> 2;
  p = multiply_add(p, s) >> 1;
  p = multiply_add(p, s);
  const uint32_t e = static_cast<uint32_t>(multiply_add(p, s));
  const uint32_t is_one = e >> 25;  // 1 or above
  const uint32_t exponent = 125u + is_one + static_cast<uint32_t>(negative ? -n : n);
  return float_of((exponent << 23) + (e >> 1 >> is_one));
}

float silu_by_integers(float x) {
  const uint32_t bits = bits_of(x), negated = bits ^ kSign;
  constexpr uint32_t kEightyEight = 0x42b00000u;
  const bool is_large = negated < kSign && negated > kEightyEight;  // or a NaN; x stays one
  const float e = exp_by_integers(float_of(is_large ? kEightyEight : negated));
  const Parts numerator = parts_of_normal(bits), power = parts_of_normal(bits_of(e));
  // 1 + e, where neither vanishes in the sum.
  const int32_t apart = power.exponent - 127;
  Parts sum;
  if (apart < 0) {
    if (apart < -25) return x / (1.0f + e);
    const uint32_t shifted = power.mantissa << 7, d = static_cast<uint32_t>(-apart);
    sum.mantissa = shift_to_even((1u << 30) + (shifted >> d), 7, shifted << (32 - d) != 0);
    sum.exponent = 127;
  } else {
    if (apart > 25) return x / (1.0f + e);
    const uint32_t exact = (power.mantissa << 6) + (1u << 29 >> apart);
    sum.exponent = power.exponent;
    if (exact >> 30) {
      sum.mantissa = shift_to_even(exact, 7, false);
      ++sum.exponent;
    } else {
      sum.mantissa = shift_to_even(exact, 6, false);
    }
  }
  // The quotient of the mantissas is in [1/2, 2): 25 digits, one more than a float has.
  int32_t exponent = numerator.exponent - sum.exponent + 127;
  uint32_t rest = numerator.mantissa;
  if (rest < sum.mantissa) {
    rest <<= 1;
    --exponent;
  }
  if (numerator.exponent == 255 || exponent < 1) return x / (1.0f + e);
  uint32_t quotient = 1;
  rest -= sum.mantissa;
#if defined(__arm__) && !defined(__ARM_FEATURE_IDIV)
  for (int digit = 0; digit < 24; ++digit) {
    rest <<= 1;
    quotient <<= 1;
    if (rest >= sum.mantissa) {
      rest -= sum.mantissa;
      ++quotient;
    }
  }
#else
  for (int i = 0; i < 3; ++i) {
    rest <<= 8;
    const uint32_t digits = rest / sum.mantissa;
    rest -= digits * sum.mantissa;
    quotient = (quotient << 8) + digits;
  }
#endif
  return float_of((bits & kSign) + (static_cast<uint32_t>(exponent - 1) << 23) +
                  shift_to_even(quotient, 1, rest != 0));
}

#if THIMBLE_SOFT_FLOATS
int32_t round_to_even_by_calls(float x) {
  return round_to_even_in_place(x);
}
float exp_by_calls(float x) {
  return exact_exp<Scalar>(Scalar{x}).v;
}
#endif

}  // namespace thimble
