// SPDX-License-Identifier: MIT
// The float kernels of arm_dsp.cpp, for it alone: a scalar FPU with fma, whose registers are loaded
// and stored in groups. Contracts: kernels.h. Order of operations: reference.cpp.
#ifndef THIMBLE_SRC_KERNELS_ARM_DSP_F32_H
#define THIMBLE_SRC_KERNELS_ARM_DSP_F32_H

#include <string.h>

#include "../exact_math.h"
#include "reference.h"

namespace thimble {
namespace {

// ---- Matrix products in f32 ------------------------------------------------------------------

constexpr float kZeros[kLanes] = {};

// Registers by number, as the assembler wants those of a group named.
#define THIMBLE_SINGLES_0_TO_15                                                                  \
  "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", \
      "s15"
#define THIMBLE_SINGLES_16_TO_31                                                             \
  "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28", \
      "s29", "s30", "s31"

// clang-format off
#define THIMBLE_FMA(acc, w, x) "vfma.f32 s" #acc ", s" #w ", s" #x "\n"
#define THIMBLE_FMA4(a, b, c, d, e, f, g, h, x) \
  THIMBLE_FMA(a, e, x) THIMBLE_FMA(b, f, x) THIMBLE_FMA(c, g, x) THIMBLE_FMA(d, h, x)
#define THIMBLE_COLUMN_OF_16(x)                     \
  "vldmia %[w]!, {s16-s23}\n"                       \
  THIMBLE_FMA4(0, 1, 2, 3, 16, 17, 18, 19, x)       \
  THIMBLE_FMA4(4, 5, 6, 7, 20, 21, 22, 23, x)       \
  "vldmia %[w], {s16-s23}\n"                        \
  THIMBLE_FMA4(8, 9, 10, 11, 16, 17, 18, 19, x)     \
  THIMBLE_FMA4(12, 13, 14, 15, 20, 21, 22, 23, x)   \
  "add %[w], %[w], %[step]\n"
#define THIMBLE_COLUMN_OF_8(x)                \
  "vldmia %[w], {s8-s15}\n"                   \
  "add %[w], %[w], %[step]\n"                 \
  THIMBLE_FMA4(0, 1, 2, 3, 8, 9, 10, 11, x)   \
  THIMBLE_FMA4(4, 5, 6, 7, 12, 13, 14, 15, x)
// clang-format on

// out[r] = chain over c < n, ascending from +0: fma(w[c * stride + r], x[c], acc), for 16 rows r.
void multiply_16(float* out, const float* w, size_t stride, const float* x, uint32_t n) {
  __asm__ volatile(
      "vldmia %[zeros], {s0-s15}\n"
      "subs %[n], %[n], #2\n"
      "blo 2f\n"
      "1: vldmia %[x]!, {s24, s25}\n" THIMBLE_COLUMN_OF_16(24) THIMBLE_COLUMN_OF_16(25)
      "subs %[n], %[n], #2\n"
      "bhs 1b\n"
      "2: adds %[n], %[n], #2\n"
      "beq 3f\n"
      "vldmia %[x]!, {s24}\n" THIMBLE_COLUMN_OF_16(24)
      "3: vstmia %[out], {s0-s15}\n"
      : [w] "+r"(w), [x] "+r"(x), [n] "+r"(n)
      : [out] "r"(out), [step] "r"((stride - 8) * sizeof(float)), [zeros] "r"(kZeros)
      : "cc", "memory", THIMBLE_SINGLES_0_TO_15, "s16", "s17", "s18", "s19", "s20", "s21", "s22",
        "s23", "s24", "s25");
}

// The same for 8 rows.
void multiply_8(float* out, const float* w, size_t stride, const float* x, uint32_t n) {
  __asm__ volatile(
      "vldmia %[zeros], {s0-s7}\n"
      "b 2f\n"
      "1: vldmia %[x]!, {s16-s19}\n"
      THIMBLE_COLUMN_OF_8(16) THIMBLE_COLUMN_OF_8(17)
      THIMBLE_COLUMN_OF_8(18) THIMBLE_COLUMN_OF_8(19)
      "2: subs %[n], %[n], #4\n"
      "bhs 1b\n"
      "adds %[n], %[n], #4\n"
      "beq 4f\n"
      "3: vldmia %[x]!, {s16}\n" THIMBLE_COLUMN_OF_8(16)
      "subs %[n], %[n], #1\n"
      "bne 3b\n"
      "4: vstmia %[out], {s0-s7}\n"
      : [w] "+r"(w), [x] "+r"(x), [n] "+r"(n)
      : [out] "r"(out), [step] "r"(stride * sizeof(float)), [zeros] "r"(kZeros)
      : "cc", "memory", THIMBLE_SINGLES_0_TO_15, "s16", "s17", "s18", "s19");
}

// The same for 4 rows, of columns that follow each other.
void multiply_4(float* out, const float* w, const float* x, uint32_t n) {
  __asm__ volatile(
      "vldmia %[zeros], {s0-s3}\n"
      "b 2f\n"
      "1: vldmia %[w]!, {s4-s19}\n"
      "vldmia %[x]!, {s20-s23}\n"
      THIMBLE_FMA4(0, 1, 2, 3, 4, 5, 6, 7, 20)
      THIMBLE_FMA4(0, 1, 2, 3, 8, 9, 10, 11, 21)
      THIMBLE_FMA4(0, 1, 2, 3, 12, 13, 14, 15, 22)
      THIMBLE_FMA4(0, 1, 2, 3, 16, 17, 18, 19, 23)
      "2: subs %[n], %[n], #4\n"
      "bhs 1b\n"
      "adds %[n], %[n], #4\n"
      "beq 4f\n"
      "3: vldmia %[w]!, {s4-s7}\n"
      "vldmia %[x]!, {s20}\n"
      THIMBLE_FMA4(0, 1, 2, 3, 4, 5, 6, 7, 20)
      "subs %[n], %[n], #1\n"
      "bne 3b\n"
      "4: vstmia %[out], {s0-s3}\n"
      : [w] "+r"(w), [x] "+r"(x), [n] "+r"(n)
      : [out] "r"(out), [zeros] "r"(kZeros)
      : "cc", "memory", THIMBLE_SINGLES_0_TO_15, "s16", "s17", "s18", "s19", "s20", "s21", "s22",
        "s23");
}

void matmul_f32_dsp(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                    uint32_t tile_end, const float* x, size_t x_stride, uint32_t n) {
  const uint32_t height = w.row_tile, cols = w.cols;
  if (height < 4) {
    matmul_f32_reference(out, out_stride, w, tile_begin, tile_end, x, x_stride, n);
    return;
  }
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const float* data = static_cast<const float*>(w.data) + size_t{tile} * cols * height;
    for (uint32_t i = 0; i < n; ++i) {
      float* rows = out + i * out_stride + size_t{tile} * height;
      const float* row = x + i * x_stride;
      if (height == 16) {
        multiply_16(rows, data, 16, row, cols);
      } else if (height == 8) {
        multiply_8(rows, data, 8, row, cols);
      } else {
        multiply_4(rows, data, row, cols);
      }
    }
  }
}

// A position's values are a column.
void mix_values_dsp(float* out, const float* weights, size_t weights_stride, const float* values,
                    size_t kv_stride, uint32_t n, uint32_t head_dim, uint32_t n_heads, uint32_t q) {
  for (uint32_t h = 0; h < n_heads; ++h, weights += weights_stride, out += head_dim) {
    const float* v = values + size_t{h / q} * kv_stride;
    uint32_t d = 0;
    for (; d + 16 <= head_dim; d += 16) multiply_16(out + d, v + d, head_dim, weights, n);
    if (d + 8 <= head_dim) {
      multiply_8(out + d, v + d, head_dim, weights, n);
      d += 8;
    }
    for (; d < head_dim; ++d) {
      float acc = 0.0f;
      for (uint32_t t = 0; t < n; ++t) {
        acc = exact_fma(weights[t], v[size_t{t} * head_dim + d], acc);
      }
      out[d] = acc;
    }
  }
}

// ---- Rounding and functions ------------------------------------------------------------------

// x * 2^24 as an integer, exact where 0.5 <= |x| < 128; what is cut off below cannot matter to
// rounding. Saturates; 0 for a NaN. Conversions to fixed point cut off in every rounding mode.
inline uint32_t fixed_24(float x) {
  __asm__("vcvt.s32.f32 %0, %0, #24" : "+t"(x));
  return bits_of(x);
}

// For exact_exp: round_even holds in (-128, 128), outside of which its argument gives 0.
struct Float {
  float v;
  static Float of(float x) { return {x}; }
};
struct Int {
  int32_t v;
};
inline Float add(Float a, Float b) {
  return {a.v + b.v};
}
inline Float sub(Float a, Float b) {
  return {a.v - b.v};
}
inline Float mul(Float a, Float b) {
  return {a.v * b.v};
}
inline Float div(Float a, Float b) {
  return {a.v / b.v};
}
inline Float fma(Float a, Float b, Float c) {
  return {exact_fma(a.v, b.v, c.v)};
}
inline Float lesser(Float a, Float b) {
  return {a.v < b.v ? a.v : b.v};
}
inline Float greater(Float a, Float b) {
  return {a.v > b.v ? a.v : b.v};
}
inline Int round_even(Float a) {
  const uint32_t fixed = fixed_24(a.v);
  return {static_cast<int32_t>(fixed + 0x7fffffu + (fixed >> 24 & 1u)) >> 24};
}
inline Float to_float(Int n) {
  return {static_cast<float>(n.v)};
}
inline Float times_power_of_two(Float a, Int n, Float x, Float limit) {
  const float product = float_of(bits_of(a.v) + (static_cast<uint32_t>(n.v) << 23));
  if (n.v >= -125) return {product};  // 2^-125.5 > e^-87, and 0 of a NaN is here, too
  return {x.v < limit.v ? 0.0f : product};
}

// Inlined, exp's constants stay in registers from element to element.
#define THIMBLE_FLATTEN __attribute__((flatten))

THIMBLE_FLATTEN void swiglu_dsp(float* out, const float* gate, const float* up, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) out[i] = exact_silu(Float{gate[i]}).v * up[i];
}

THIMBLE_FLATTEN void odds_dsp(uint32_t* weights, const float* x, uint32_t n, float max,
                              float inv_temperature) {
  for (uint32_t i = 0; i < n; ++i) {
    const Float scaled = {(x[i] - max) * inv_temperature};
    const Float e = exact_exp(lesser(greater(scaled, Float{-200.0f}), Float{0.0f}));
    weights[i] = static_cast<uint32_t>(e.v * 1073741824.0f);
  }
}

// ---- Norms and sums --------------------------------------------------------------------------

// clang-format off
#define THIMBLE_ADD(lane, x) "vadd.f32 s" #lane ", s" #lane ", s" #x "\n"
#define THIMBLE_ADD_SQUARE(lane, x) THIMBLE_FMA(lane, x, x)
#define THIMBLE_LANES(add)                                                          \
  "1: subs %[turns], %[turns], #1\n"                                                \
  "it eq\n"                                                                         \
  "moveq %[x], %[last]\n"                                                           \
  "vldmia %[x]!, {s16-s31}\n"                                                       \
  add(0, 16) add(1, 17) add(2, 18) add(3, 19) add(4, 20) add(5, 21) add(6, 22)      \
  add(7, 23) add(8, 24) add(9, 25) add(10, 26) add(11, 27) add(12, 28) add(13, 29)  \
  add(14, 30) add(15, 31)                                                           \
  "bne 1b\n"
#define THIMBLE_FOLD                                                                \
  THIMBLE_ADD(0, 8) THIMBLE_ADD(1, 9) THIMBLE_ADD(2, 10) THIMBLE_ADD(3, 11)         \
  THIMBLE_ADD(4, 12) THIMBLE_ADD(5, 13) THIMBLE_ADD(6, 14) THIMBLE_ADD(7, 15)       \
  THIMBLE_ADD(0, 4) THIMBLE_ADD(1, 5) THIMBLE_ADD(2, 6) THIMBLE_ADD(3, 7)           \
  THIMBLE_ADD(0, 2) THIMBLE_ADD(1, 3) THIMBLE_ADD(0, 1)
// clang-format on

// The sum of x[i]^2, or of x[i] that are not negative, in 16 lanes, then folded. The last 16 are
// filled up with +0, which adds nothing to a lane that is not -0.
__attribute__((noinline)) float sum_in_lanes(const float* x, uint32_t n, bool squares) {
  float rest[kLanes];
  const uint32_t left = n % kLanes;
  const float* last = left != 0 ? rest : x + (n - kLanes);
  if (left != 0) {
    memcpy(rest, kZeros, sizeof rest);
    memcpy(rest, x + (n - left), left * sizeof(float));
  }
  uint32_t turns = (n + kLanes - 1) / kLanes;  // then the bits of the sum
  __asm__ volatile(
      "vldmia %[zeros], {s0-s15}\n"
      "cmp %[squares], #0\n"
      "beq 2f\n"
      THIMBLE_LANES(THIMBLE_ADD_SQUARE)
      "b 3f\n"
      "2:\n"
      THIMBLE_LANES(THIMBLE_ADD)
      "3:\n"
      THIMBLE_FOLD
      "vmov %[turns], s0\n"
      : [x] "+r"(x), [turns] "+r"(turns)
      : [last] "r"(last), [zeros] "r"(kZeros), [squares] "r"(squares)
      : "cc", "memory", THIMBLE_SINGLES_0_TO_15, THIMBLE_SINGLES_16_TO_31);
  return float_of(turns);
}

void rms_norm_dsp(float* out, const float* x, const float* weight, uint32_t n, float eps) {
  const float mean = sum_in_lanes(x, n, true) / static_cast<float>(n);
  const float r = 1.0f / exact_sqrt(mean + eps);
  uint32_t fours = n / 4;
  if (fours != 0) {
    __asm__ volatile(
        "1: vldmia %[x]!, {s0-s3}\n"
        "vldmia %[weight]!, {s4-s7}\n"
        "subs %[fours], %[fours], #1\n"
        "vmul.f32 s0, s0, %[r]\n vmul.f32 s1, s1, %[r]\n"
        "vmul.f32 s2, s2, %[r]\n vmul.f32 s3, s3, %[r]\n"
        "vmul.f32 s0, s0, s4\n vmul.f32 s1, s1, s5\n"
        "vmul.f32 s2, s2, s6\n vmul.f32 s3, s3, s7\n"
        "vstmia %[out]!, {s0-s3}\n"
        "bne 1b\n"
        : [out] "+r"(out), [x] "+r"(x), [weight] "+r"(weight), [fours] "+r"(fours)
        : [r] "t"(r)
        : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7");
  }
  for (uint32_t i = 0; i < n % 4; ++i) out[i] = (x[i] * r) * weight[i];
}

void rotate_dsp(float* x, const float* table, uint32_t n_heads, uint32_t head_dim, float scale) {
  for (uint32_t h = 0; h < n_heads; ++h) {
    const float* cosines = table;
    const float* sines = table + head_dim;
    uint32_t pairs = head_dim / 2;
    __asm__ volatile(
        "1: vldmia %[x], {s0, s1}\n"
        "vldmia %[cosines]!, {s2, s3}\n"
        "vldmia %[sines]!, {s4, s5}\n"
        "subs %[pairs], %[pairs], #1\n"
        "vmul.f32 s4, s1, s4\n vmul.f32 s5, s0, s5\n"
        "vfma.f32 s4, s0, s2\n vfma.f32 s5, s1, s3\n"
        "vmul.f32 s4, s4, %[scale]\n vmul.f32 s5, s5, %[scale]\n"
        "vstmia %[x]!, {s4, s5}\n"
        "bne 1b\n"
        : [x] "+r"(x), [cosines] "+r"(cosines), [sines] "+r"(sines), [pairs] "+r"(pairs)
        : [scale] "t"(scale)
        : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5");
  }
}

THIMBLE_FLATTEN void softmax_dsp(float* x, size_t stride, uint32_t n_rows, uint32_t n) {
  for (uint32_t row = 0; row < n_rows; ++row, x += stride) {
    float max = x[0];
    for (uint32_t i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
    for (uint32_t i = 0; i < n; ++i) x[i] = exact_exp(Float{x[i] - max}).v;
    const float inverse = 1.0f / sum_in_lanes(x, n, false);
    for (uint32_t i = 0; i < n; ++i) x[i] = x[i] * inverse;
  }
}

void add_dsp(float* x, const float* y, uint32_t n) {
  uint32_t fours = n / 4;
  if (fours != 0) {
    __asm__ volatile(
        "1: vldmia %[x], {s0-s3}\n"
        "vldmia %[y]!, {s4-s7}\n"
        "subs %[fours], %[fours], #1\n"
        THIMBLE_ADD(0, 4) THIMBLE_ADD(1, 5) THIMBLE_ADD(2, 6) THIMBLE_ADD(3, 7)
        "vstmia %[x]!, {s0-s3}\n"
        "bne 1b\n"
        : [x] "+r"(x), [y] "+r"(y), [fours] "+r"(fours)
        :
        : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7");
  }
  for (uint32_t i = 0; i < n % 4; ++i) x[i] = x[i] + y[i];
}

}  // namespace
}  // namespace thimble

#endif
