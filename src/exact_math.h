// SPDX-License-Identifier: MIT
// Every function beyond + - * / : each written once, as a fixed sequence of IEEE operations, so
// that it gives the same bits on every chip. No libm.
//
// The functions are templates over what they work on: `Scalar` here, or a kernel file's own vector
// of 16 lanes. Such a type V has, found by its namespace:
//   V::of(float)               the same value in every lane
//   add, sub, mul, div, fma    IEEE, one rounding
//   lesser(a, b)               a < b ? a : b   (b if either is NaN)
//   greater(a, b)              a > b ? a : b   (b if either is NaN)
//   round_even(a)              to whole numbers, ties to even; any number if |a| >= 2^31 or NaN
//   to_float(n)                from round_even's result
//   times_power_of_two(a, n, x, limit)
//                              a * 2^n by adding n to the exponent, with a in [0.5, 2) and n in
//                              [-126, 127]; 0 where x < limit, and a and n may be anything there
// Everything that is inline and no template is `static`: a kernel file must not hand its own copy,
// compiled for more instructions than the machine may have, to the rest of the program.
#ifndef THIMBLE_SRC_EXACT_MATH_H
#define THIMBLE_SRC_EXACT_MATH_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error \
    "Thimble's results are defined to the bit: build it without -ffast-math, -Ofast and their parts."
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "Thimble needs float arithmetic without excess precision (on 32-bit x86: -mfpmath=sse)."
#endif

// Helium (Cortex-M55) flushes denormals in vectors, but GCC 12 takes it for IEEE arithmetic and
// makes vectors of plain loops at -O3. Clang has no such pragma: -fno-vectorize -fno-slp-vectorize.
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_MVE)
#pragma GCC optimize("no-tree-vectorize", "no-tree-slp-vectorize")
#endif

namespace thimble {

static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// bf16 is the upper half of a float.
static inline float from_bf16(uint16_t half) {
  return float_of(static_cast<uint32_t>(half) << 16);
}

// a * b + c with one rounding, of integer operations only; in exact_math_soft.cpp.
float fma_by_integers(float a, float b, float c);

// a * b + c with one rounding.
static inline float exact_fma(float a, float b, float c) {
#if defined(__FMA__)
  return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
#elif defined(__aarch64__)
  // By the instruction itself: clang turns __builtin_fmaf into a call of libm, for errno.
  __asm__("fmadd %s0, %s1, %s2, %s0" : "+w"(c) : "w"(a), "w"(b));
  return c;
#elif defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4) && !defined(__SOFTFP__)
  __asm__("vfma.f32 %0, %1, %2" : "+t"(c) : "t"(a), "t"(b));
  return c;
#elif defined(__riscv_flen)
  __asm__("fmadd.s %0, %1, %2, %0" : "+f"(c) : "f"(a), "f"(b));
  return c;
#elif defined(__SSE2__) || (defined(__ARM_FP) && (__ARM_FP & 8)) || defined(__wasm__)
  // Double in hardware. The product is exact in it. The sum is rounded to odd (Boldo, Melquiond
  // 2008): where it is inexact (error from Knuth's TwoSum), the last bit becomes 1, so that
  // rounding to float, with 29 bits less, cannot round twice.
  const double p = static_cast<double>(a) * static_cast<double>(b);
  const double d = static_cast<double>(c);
  const double s = p + d;
  const double d_part = s - p;
  const double error = (p - (s - d_part)) + (d - d_part);
  uint64_t bits;
  memcpy(&bits, &s, sizeof bits);
  if ((error > 0.0 || error < 0.0) && (bits & 1) == 0) {
    // Towards the error: away from zero if it has the sign of the sum.
    bits = (error > 0.0) == (s > 0.0) ? bits + 1 : bits - 1;
  }
  double odd;
  memcpy(&odd, &bits, sizeof odd);
  return static_cast<float>(odd);
#else
  return fma_by_integers(a, b, c);
#endif
}

// The square root, rounded to nearest, digit by digit in integers: for processors without the
// instruction, where the compiler would call libm.
static inline float sqrt_by_digits(float x) {
  uint32_t bits = bits_of(x);
  if (bits << 1 == 0 || bits == 0x7f800000u) return x;   // zeros and infinity
  if (bits > 0x7f800000u) return float_of(0x7fc00000u);  // NaN, and below zero
  int32_t exponent = static_cast<int32_t>(bits >> 23) - 127;
  uint32_t rest = bits & 0x7fffffu;
  if (exponent == -127) {  // a denormal
    for (exponent = -126; rest < 0x800000u; --exponent) rest <<= 1;
  } else {
    rest |= 0x800000u;
  }
  if (exponent % 2 != 0) {
    rest <<= 1;
    --exponent;
  }
  // 25 digits of the root, one more than a float has: x has none at the half, so no tie arises.
  rest <<= 1;
  uint32_t root = 0, tested = 0;
  for (uint32_t digit = 1u << 24; digit > 0; digit >>= 1) {
    if (tested + digit <= rest) {
      tested += 2 * digit;
      rest -= tested - digit;
      root += digit;
    }
    rest <<= 1;
  }
  const uint32_t mantissa = (root + 1) >> 1;  // in [2^23, 2^24]
  return float_of((static_cast<uint32_t>(exponent / 2 + 126) << 23) + mantissa);
}

// By the instruction itself: __builtin_sqrtf may also call libm, for errno.
static inline float exact_sqrt(float x) {
#if defined(__SSE2__)
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#elif defined(__aarch64__)
  __asm__("fsqrt %s0, %s1" : "=w"(x) : "w"(x));
  return x;
#elif defined(__ARM_FP) && (__ARM_FP & 4) && !defined(__SOFTFP__)
  __asm__("vsqrt.f32 %0, %1" : "=t"(x) : "t"(x));
  return x;
#elif defined(__riscv_fdiv)
  __asm__("fsqrt.s %0, %1" : "=f"(x) : "f"(x));
  return x;
#elif defined(__wasm__)
  return __builtin_sqrtf(x);  // WebAssembly has no libm to call, and no errno
#else
  return sqrt_by_digits(x);
#endif
}

// Where floats are calls of the compiler's library, these are calls, too: they are long there.
#if (defined(__arm__) && !defined(__ARM_FP)) || (defined(__riscv) && !defined(__riscv_flen))
#define THIMBLE_SOFT_FLOATS 1
int32_t round_to_even_by_calls(float x);
float exp_by_calls(float x);
#else
#define THIMBLE_SOFT_FLOATS 0
#endif

// Ties to even, whatever the rounding mode; 0 where no int32 is near.
static inline int32_t round_to_even_in_place(float x) {
  if (!(x > -2147483648.0f && x < 2147483648.0f)) return 0;
#if defined(__arm__) && __ARM_ARCH >= 8 && defined(__ARM_FP) && (__ARM_FP & 4) && \
    !defined(__SOFTFP__)
  float bits;  // an integer's
  __asm__("vcvtn.s32.f32 %0, %1" : "=t"(bits) : "t"(x));
  return static_cast<int32_t>(bits_of(bits));
#elif defined(__wasm__)
  return static_cast<int32_t>(__builtin_rintf(x));  // it knows one mode
#else
  int32_t whole = static_cast<int32_t>(x);  // towards zero
  const float rest = x - static_cast<float>(whole);
  const bool odd = (whole & 1) != 0;
  if (rest > 0.5f || (rest == 0.5f && odd)) ++whole;
  if (rest < -0.5f || (rest == -0.5f && odd)) --whole;
  return whole;
#endif
}
static inline int32_t round_to_even(float x) {
#if THIMBLE_SOFT_FLOATS
  return round_to_even_by_calls(x);
#else
  return round_to_even_in_place(x);
#endif
}

struct Scalar {
  float v;
  static Scalar of(float x) { return {x}; }
};
struct ScalarInt {
  int32_t v;
};
static inline Scalar add(Scalar a, Scalar b) {
  return {a.v + b.v};
}
static inline Scalar sub(Scalar a, Scalar b) {
  return {a.v - b.v};
}
static inline Scalar mul(Scalar a, Scalar b) {
  return {a.v * b.v};
}
static inline Scalar div(Scalar a, Scalar b) {
  return {a.v / b.v};
}
static inline Scalar fma(Scalar a, Scalar b, Scalar c) {
  return {exact_fma(a.v, b.v, c.v)};
}
static inline Scalar lesser(Scalar a, Scalar b) {
  return {a.v < b.v ? a.v : b.v};
}
static inline Scalar greater(Scalar a, Scalar b) {
  return {a.v > b.v ? a.v : b.v};
}
static inline ScalarInt round_even(Scalar a) {
  return {round_to_even(a.v)};
}
static inline Scalar to_float(ScalarInt n) {
  return {static_cast<float>(n.v)};
}
static inline Scalar times_power_of_two(Scalar a, ScalarInt n, Scalar x, Scalar limit) {
  const float product = float_of(bits_of(a.v) + (static_cast<uint32_t>(n.v) << 23));
  return {x.v < limit.v ? 0.0f : product};
}

// e^x within 1 ulp for x in [-87, 88]; 0 below -87, so that no denormal arises. x must not be above
// 88. x = n * ln 2 + r with |r| <= ln 2 / 2 (Cody, Waite 1980), then a
// polynomial with error below 1e-8, near-minimax for (e^r - 1 - r) / r^2.
template <class V>
static inline V exact_exp(V x) {
  const auto n = round_even(mul(x, V::of(1.44269502f)));  // log2(e)
  const V whole = to_float(n);
  V r = fma(whole, V::of(-0.693145752f), x);  // ln 2, its upper 15 bits
  r = fma(whole, V::of(-1.42860677e-6f), r);  // ln 2, the rest
  V p = V::of(0.00139263261f);
  p = fma(p, r, V::of(0.00836329255f));
  p = fma(p, r, V::of(0.0416665524f));
  p = fma(p, r, V::of(0.166665763f));
  p = fma(p, r, V::of(0.5f));
  p = fma(p, r, V::of(1.0f));
  p = fma(p, r, V::of(1.0f));
  return times_power_of_two(p, n, x, V::of(-87.0f));
}
#if THIMBLE_SOFT_FLOATS
static inline Scalar exact_exp(Scalar x) {
  return {exp_by_calls(x.v)};
}
#endif

// x * sigmoid(x) (Elfwing et al. 2018; also called swish). Below -88 sigmoid is taken as e^-88.
template <class V>
static inline V exact_silu(V x) {
  const V negated = lesser(sub(V::of(0.0f), x), V::of(88.0f));
  return div(x, add(V::of(1.0f), exact_exp(negated)));
}

// x * Phi(x), Phi the normal distribution (Hendrycks, Gimpel 2016), within 3e-7. Phi(-z) =
// exp(-z^2 / 2) * P(t), t = 1 / (1 + 0.304 z): P is of degree 8, near-minimax in relative error
// (8.4e-8), fitted for z in [0, 13.2].
template <class V>
static inline V exact_gelu(V x) {
  const V z = greater(x, sub(V::of(0.0f), x));
  const V t = div(V::of(1.0f), fma(V::of(0.304f), z, V::of(1.0f)));
  V p = V::of(0.0368735455f);
  p = fma(p, t, V::of(-0.155363098f));
  p = fma(p, t, V::of(0.192302719f));
  p = fma(p, t, V::of(-0.0432385169f));
  p = fma(p, t, V::of(0.123613514f));
  p = fma(p, t, V::of(0.10240344f));
  p = fma(p, t, V::of(0.122173987f));
  p = fma(p, t, V::of(0.121234454f));
  const V below = mul(mul(p, t), exact_exp(mul(mul(z, V::of(-0.5f)), z)));
  return sub(greater(x, V::of(0.0f)), mul(z, below));
}

// x / 2 * (1 + tanh(u)) = x / (1 + exp(-2 u)), u = sqrt(2 / pi) * (x + 0.044715 x^3).
template <class V>
static inline V exact_gelu_tanh(V x) {
  const V twice = fma(mul(x, x), V::of(0.0713548163f), V::of(1.59576912f));  // 2 u / x
  const V negated = lesser(mul(sub(V::of(0.0f), x), twice), V::of(88.0f));
  return div(x, add(V::of(1.0f), exact_exp(negated)));
}

// tanh(x) = 1 - 2 / (1 + exp(2 x)), within 2e-7.
template <class V>
static inline V exact_tanh(V x) {
  const V twice = lesser(mul(x, V::of(2.0f)), V::of(88.0f));
  return sub(V::of(1.0f), div(V::of(2.0f), add(V::of(1.0f), exact_exp(twice))));
}

// Sine and cosine of an angle given as a fraction of a turn in units of 2^-32, within 1.2e-7. The
// reduction to an eighth of a turn is exact, since it is integer arithmetic.
struct SinCos {
  float sin, cos;
};
static inline SinCos exact_sin_cos(uint32_t turn) {
  const uint32_t quarter = (turn + (1u << 29)) >> 30;  // the nearest one, 0 to 4
  const int32_t rest = static_cast<int32_t>(turn - (quarter << 30));
  const float x = static_cast<float>(rest) * 1.46291812e-9f;  // 2 * pi / 2^32
  const float t = x * x;
  float s = exact_fma(-0.00019587866f, t, 0.00833274797f);
  s = exact_fma(s, t, -0.166666642f);
  const float sine = exact_fma(s * t, x, x);
  float c = exact_fma(2.45479168e-5f, t, -0.00138883025f);
  c = exact_fma(c, t, 0.0416666642f);
  c = exact_fma(c, t, -0.5f);
  const float cosine = exact_fma(c, t, 1.0f);
  switch (quarter & 3u) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

// Kernels::rope_table: the same scalar code for every kernel file, each with its own fma.
static inline void exact_rope_table(float* table, const uint64_t* frequencies, uint32_t head_dim,
                                    uint32_t position) {
  for (uint32_t i = 0; i < head_dim; i += 2) {
    const uint64_t turn = frequencies[i / 2] * position;
    const SinCos value = exact_sin_cos(static_cast<uint32_t>(turn >> 32));
    table[i] = value.cos;
    table[i + 1] = value.cos;
    table[head_dim + i] = -value.sin;
    table[head_dim + i + 1] = value.sin;
  }
}

}  // namespace thimble

#endif
