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

inline Parts parts_of_normal(uint32_t bits) {
  return {(bits & 0x7fffffu) | kImplicit, static_cast<int32_t>((bits >> 23) & 255u)};
}

Parts parts_of(uint32_t bits) {
  if (bits & kInfinity) return parts_of_normal(bits);
  const uint32_t mantissa = bits & 0x7fffffu;
  const int32_t zeros = __builtin_clz(mantissa) - 8;
  return {mantissa << zeros, 1 - zeros};
}

// x / 2^bits; what falls off leaves a 1 in the last bit.
inline uint64_t shift_keeping_rest(uint64_t x, uint32_t bits) {
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
inline float round_sum(uint32_t sign, uint64_t sum, int32_t exponent) {
  uint32_t high = static_cast<uint32_t>(sum >> 32), low = static_cast<uint32_t>(sum);
  if (high == 0) {
    high = low >> 1;
    low <<= 31;
    exponent -= 31;
  }
  const int32_t zeros = __builtin_clz(high) - 1;  // so that the highest bit goes to 30
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
  Parts x = parts_of_normal(a_bits), y = parts_of_normal(b_bits), z = parts_of_normal(c_bits);
  if (static_cast<uint32_t>(x.exponent - 1) >= 254u ||
      static_cast<uint32_t>(y.exponent - 1) >= 254u ||
      static_cast<uint32_t>(z.exponent - 1) >= 254u) {
    // Where the product is exact, or c adds nothing that could round it, two operations do.
    if (x.exponent == 255 || y.exponent == 255) return a * b + c;
    if (z.exponent == 255) return c + c;
    if (a_bits << 1 == 0 || b_bits << 1 == 0) {
      const uint32_t product = (a_bits ^ b_bits) & kSign;  // zero
      return float_of(c_bits << 1 == 0 ? c_bits & product : c_bits);
    }
    if (c_bits << 1 == 0) return a * b;
    x = parts_of(a_bits);
    y = parts_of(b_bits);
    z = parts_of(c_bits);
  }
  // The product in [2^60, 2^62), the addend in [2^61, 2^62): no bit of them is lost by a shift of
  // up to 14, and only from operands less than 2 apart much can cancel.
  uint64_t product = static_cast<uint64_t>(x.mantissa << 7) * (y.mantissa << 7);
  uint64_t addend = static_cast<uint64_t>(z.mantissa << 6) << 32;
  const int32_t apart = x.exponent + y.exponent - z.exponent - 126;
  int32_t exponent = z.exponent + 1;
  if (apart >= 0) {
    addend = shift_keeping_rest(addend, static_cast<uint32_t>(apart));
    exponent += apart;
  } else {
    product = shift_keeping_rest(product, static_cast<uint32_t>(-apart));
  }
  uint32_t sign = (a_bits ^ b_bits) & kSign;
  if ((sign ^ c_bits) & kSign) {
    addend = product - addend;
    if (addend == 0) return 0.0f;
    if (addend >> 63) {
      addend = 0 - addend;
      sign ^= kSign;
    }
  } else {
    addend += product;
  }
  return round_sum(sign, addend, exponent);
}

int32_t rounded_product(uint32_t x_bits, uint32_t y_bits) {
  const uint32_t x = (x_bits << 8) | kSign, y = (y_bits << 8) | kSign;
  const uint32_t product = static_cast<uint32_t>((static_cast<uint64_t>(x) * y) >> 33);
  const uint32_t places = 283u - (x_bits >> 23) - (y_bits >> 23);  // behind the point
  if (places > 31) return 0;                                       // below a half
  // The product that counts is the one rounded to a float, 128 of these units away at most.
  constexpr uint32_t kNear = 130;
  const uint32_t half = product + (1u << places >> 1);
  if (((half + kNear) & ((1u << places) - 1)) <= 2 * kNear) {
    return round_to_even(float_of(x_bits) * float_of(y_bits));
  }
  return static_cast<int32_t>(half >> places);
}

namespace {

constexpr uint32_t fixed(float x, uint32_t places) {
  return static_cast<uint32_t>(static_cast<double>(x) * static_cast<double>(uint64_t{1} << places));
}

// p * r / 2^32 + c, rounded to what a float of this size keeps: with `drop` bits off, cleared.
inline uint32_t multiply_add(uint32_t p, int32_t r, uint32_t c, uint32_t drop) {
  const int64_t product = static_cast<int64_t>(p) * r;
  const uint32_t high = static_cast<uint32_t>(product >> 32) + c;
  if (drop == 0) drop = high >> 25 ? 2 : 1;
  return shift_to_even(high, drop, static_cast<uint32_t>(product) != 0) << drop;
}

}  // namespace

float exp_by_integers(float x) {
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
    r -= static_cast<uint32_t>(n) * fixed(0.693145752f, 32);
    const uint32_t low = static_cast<uint32_t>(n) * fixed(1.42860677e-6f, 43);
    const bool rest = (low & 0x7ffu) != 0;
    r -= (low >> 11) + rest;
    const uint32_t size_of_r = r ^ (0u - (r >> 31));
    if (size_of_r >> 24 == 0) return exact_exp(Scalar{x}).v;
    const uint32_t drop = 8 - static_cast<uint32_t>(__builtin_clz(size_of_r));
    // Two's complement rounds to even as magnitudes do.
    r = shift_to_even(r, drop, rest) << drop;
  }
  const bool negative = bits != size;
  const int32_t s = static_cast<int32_t>(negative ? 0u - r : r);
  // exact_exp's polynomial. The sums' exponents are known, up to whether they reach 1/2 or 1; each
  // is kept in units in which no bit is lost.
  uint32_t p = multiply_add(fixed(0.00139263261f, 33), s, fixed(0.00836329255f, 33), 3) >> 3;
  p = multiply_add(p, s, fixed(0.0416665524f, 30), 2) >> 2;
  p = multiply_add(p, s, fixed(0.166665763f, 28), 2) >> 2;
  p = multiply_add(p, s, 1u << 25, 0) >> 1;
  p = multiply_add(p, s, 1u << 25, 0);
  p = multiply_add(p, s, 1u << 25, 0);
  const uint32_t is_one = p >> 25;  // 1 or above
  const uint32_t exponent = 125u + is_one + static_cast<uint32_t>(negative ? -n : n);
  return float_of((exponent << 23) + (p >> 1 >> is_one));
}

}  // namespace thimble
