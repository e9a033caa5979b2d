// SPDX-License-Identifier: MIT
// Cortex-M4F and M7F (Armv7E-M): two 16-bit products an instruction, a scalar FPU with fma. The
// inner loops are assembler that means the same in Thumb and Arm state: compilers at -Os neither
// unroll nor load several registers at once.
#if defined(__arm__)

#include <string.h>

#include "reference.h"

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4)

#include "arm_dsp_f32.h"
#include "arm_dsp_int8.h"

namespace thimble {
namespace {

// ---- Activations in int8 ---------------------------------------------------------------------

// The bits of the largest |x|, in which a NaN is above infinity. n is a multiple of 4.
uint32_t largest_of_fours(const float* x, uint32_t n) {
  uint32_t max = 0;
  for (; n > 0; n -= 4) {
    uint32_t a, b, c, d;
    memcpy(&a, x, 4), memcpy(&b, x + 1, 4), memcpy(&c, x + 2, 4), memcpy(&d, x + 3, 4);
    x += 4;
    a <<= 1, b <<= 1, c <<= 1, d <<= 1;
    max = a > max ? a : max;
    max = b > max ? b : max;
    max = c > max ? c : max;
    max = d > max ? d : max;
  }
  return max >> 1;
}

// values[i] = x[i] * inverse, at most 127 and a bit, to nearest even. n is a multiple of 4. Returns
// the values' sum.
int32_t quantize_fours(int8_t* values, const float* x, float inverse, uint32_t n) {
  int32_t sum = 0;
  for (; n > 0; n -= 4, values += 4) {
    uint32_t a, b, c, d, t;
    __asm__(
        "vldmia %[x]!, {s0-s3}\n"
        "vmul.f32 s0, s0, %[inverse]\n vmul.f32 s1, s1, %[inverse]\n"
        "vmul.f32 s2, s2, %[inverse]\n vmul.f32 s3, s3, %[inverse]\n"
        "vcvt.s32.f32 s0, s0, #24\n vcvt.s32.f32 s1, s1, #24\n"
        "vcvt.s32.f32 s2, s2, #24\n vcvt.s32.f32 s3, s3, #24\n"
        "vmov %[a], %[b], s0, s1\n"
        "vmov %[c], %[d], s2, s3\n"
        "ubfx %[t], %[a], #24, #1\n add %[a], %[a], %[half]\n add %[a], %[a], %[t]\n"
        "ubfx %[t], %[b], #24, #1\n add %[b], %[b], %[half]\n add %[b], %[b], %[t]\n"
        "ubfx %[t], %[c], #24, #1\n add %[c], %[c], %[half]\n add %[c], %[c], %[t]\n"
        "ubfx %[t], %[d], #24, #1\n add %[d], %[d], %[half]\n add %[d], %[d], %[t]\n"
        "add %[sum], %[sum], %[a], asr #24\n add %[sum], %[sum], %[b], asr #24\n"
        "add %[sum], %[sum], %[c], asr #24\n add %[sum], %[sum], %[d], asr #24\n"
        "pkhtb %[a], %[c], %[a], asr #16\n"  // values 0 and 2 in the upper bytes of halfwords
        "pkhtb %[b], %[d], %[b], asr #16\n"
        "uxtb16 %[a], %[a], ror #8\n"
        "uxtb16 %[b], %[b], ror #8\n"
        "orr %[a], %[a], %[b], lsl #8\n"
        : [x] "+r"(x), [sum] "+r"(sum), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d),
          [t] "=&r"(t)
        : [inverse] "t"(inverse), [half] "r"(0x7fffff)
        : "memory", "s0", "s1", "s2", "s3");
    memcpy(values, &a, 4);
  }
  return sum;
}

void quantize_group(int8_t* values, float* scale, int32_t* sum, uint32_t group, const float* x,
                    uint32_t count) {
  const uint32_t left = count % 4, fours = count - left;
  float rest[4] = {};
  uint32_t largest = largest_of_fours(x, fours);
  for (uint32_t i = 0; i < left; ++i) rest[i] = x[fours + i];
  if (left != 0) {
    const uint32_t of_rest = largest_of_fours(rest, 4);
    largest = of_rest > largest ? of_rest : largest;
  }
  const float max = float_of(largest);
  if (!(max < __builtin_inff())) {
    quantize_q8_reference({values, scale, sum, group, group, 1}, x, count, count, 1);
    return;
  }
  const bool silent = max < 1e-30f;
  const float inverse = silent ? 0.0f : 127.0f / max;
  *scale = silent ? 0.0f : max / 127.0f;
  *sum = quantize_fours(values, x, inverse, fours);
  if (fours == group) return;
  memset(values + fours, 0, group - fours);
  if (left != 0) *sum += quantize_fours(values + fours, rest, inverse, 4);
}

void quantize_q8_dsp(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                     uint32_t n) {
  int8_t* values = out.values;
  float* scale = out.scales;
  int32_t* sum = out.sums;
  for (uint32_t i = 0; i < n; ++i, x += x_stride) {
    for (uint32_t begin = 0; begin < out.padded_cols; begin += out.group) {
      const uint32_t left = begin < cols ? cols - begin : 0;
      const uint32_t count = left < out.group ? left : out.group;
      quantize_group(values, scale++, sum++, out.group, x + begin, count);
      values += out.group;
    }
  }
}

// ---- Context vectors of int8 values ----------------------------------------------------------

// e[t] = weights[t] * scales[t] for 4 * fours positions. Returns the bits of the largest, as
// unsigned numbers, in which a NaN and what is negative are above infinity.
__attribute__((noinline)) uint32_t scale_fours(float* e, const float* weights,
                                               const uint16_t* scales, uint32_t fours) {
  uint32_t max = 0, a, b, c, d;
  __asm__ volatile(
      "1: vldmia %[weights]!, {s0-s3}\n"
      "ldr %[b], [%[scales]], #4\n"
      "ldr %[d], [%[scales]], #4\n"
      "lsl %[a], %[b], #16\n bfc %[b], #0, #16\n"
      "lsl %[c], %[d], #16\n bfc %[d], #0, #16\n"
      "vmov s4, s5, %[a], %[b]\n"
      "vmov s6, s7, %[c], %[d]\n"
      "vmul.f32 s0, s0, s4\n vmul.f32 s1, s1, s5\n"
      "vmul.f32 s2, s2, s6\n vmul.f32 s3, s3, s7\n"
      "vstmia %[e]!, {s0-s3}\n"
      "vmov %[a], %[b], s0, s1\n"
      "vmov %[c], %[d], s2, s3\n"
      "cmp %[a], %[max]\n"
      "ittt ls\n"
      "cmpls %[b], %[max]\n cmpls %[c], %[max]\n cmpls %[d], %[max]\n"
      "bls 2f\n"
      "cmp %[a], %[max]\n it hi\n movhi %[max], %[a]\n"
      "cmp %[b], %[max]\n it hi\n movhi %[max], %[b]\n"
      "cmp %[c], %[max]\n it hi\n movhi %[max], %[c]\n"
      "cmp %[d], %[max]\n it hi\n movhi %[max], %[d]\n"
      "2: subs %[fours], %[fours], #1\n"
      "bne 1b\n"
      : [e] "+r"(e), [weights] "+r"(weights), [scales] "+r"(scales), [fours] "+r"(fours),
        [max] "+r"(max), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)
      :
      : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7");
  return max;
}

// The block's weights of 15 bits, written over `e`, which is them in float; returns what one of
// their units is worth. What is behind `count` up to a multiple of 4 is written, too.
float quantize_mix_weights(float* e, const float* weights, const uint16_t* scales, uint32_t count) {
  const uint32_t whole = count / 4 * 4;
  uint32_t max = 0;
  if (whole != 0) max = scale_fours(e, weights, scales, whole / 4);
  for (uint32_t t = whole; t < count; ++t) {
    e[t] = weights[t] * from_bf16(scales[t]);
    max = bits_of(e[t]) > max ? bits_of(e[t]) : max;
  }
  if (max > 0x7f800000u) {  // rare: NaNs and negatives count as zeros
    max = 0;
    for (uint32_t t = 0; t < count; ++t) {
      if (!(e[t] > 0.0f)) e[t] = 0.0f;
      max = bits_of(e[t]) > max ? bits_of(e[t]) : max;
    }
  }
  const float largest = float_of(max);
  const bool silent = largest < 1e-30f;
  const float inverse = silent ? 0.0f : 32767.0f / largest;
  void* p = e;
  uint32_t fours = (count + 3) / 4, a, b, c, d;
  // The sum with 2^23 is rounded to a whole number, whose bits are its last ones; those of the NaN
  // that infinity * 0 makes are zeros.
  __asm__ volatile(
      "1: vldmia %[e]!, {s0-s3}\n"
      "vmul.f32 s0, s0, %[inverse]\n vmul.f32 s1, s1, %[inverse]\n"
      "vmul.f32 s2, s2, %[inverse]\n vmul.f32 s3, s3, %[inverse]\n"
      "vadd.f32 s0, s0, %[whole]\n vadd.f32 s1, s1, %[whole]\n"
      "vadd.f32 s2, s2, %[whole]\n vadd.f32 s3, s3, %[whole]\n"
      "vmov %[a], %[b], s0, s1\n"
      "vmov %[c], %[d], s2, s3\n"
      "pkhbt %[a], %[a], %[b], lsl #16\n"
      "pkhbt %[c], %[c], %[d], lsl #16\n"
      "str %[a], [%[p]], #4\n"
      "str %[c], [%[p]], #4\n"
      "subs %[fours], %[fours], #1\n"
      "bne 1b\n"
      : [e] "+r"(e), [p] "+r"(p), [fours] "+r"(fours), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c),
        [d] "=&r"(d)
      : [inverse] "t"(inverse), [whole] "t"(8388608.0f)
      : "cc", "memory", "s0", "s1", "s2", "s3");
  return silent ? 0.0f : largest / 32767.0f;
}

// clang-format off
#define THIMBLE_MIX_TWO(first, second, two) \
  "ldr r0, [r3" first "]\n"                 \
  "ldr r1, [r3" second "]\n"                \
  "pkhbt r12, r0, r1, lsl #16\n"            \
  "pkhtb r1, r1, r0, asr #16\n"             \
  "sxtb16 r0, r12\n"                        \
  "sxtb16 r12, r12, ror #8\n"               \
  "smlad r8, r0, " two ", r8\n"             \
  "smlad r9, r12, " two ", r9\n"            \
  "sxtb16 r0, r1\n"                         \
  "sxtb16 r1, r1, ror #8\n"                 \
  "smlad r10, r0, " two ", r10\n"           \
  "smlad r11, r1, " two ", r11\n"
// clang-format on

// out[d] = fma(dot, unit, acc[d]), dot = the sum over t < count of p[t] * v[t * stride + d], for
// four columns d; unit by its bits, which every calling convention has in the same place. Four
// positions are 28 instructions, for 16 products.
//   r2 p, r3 v, r4 stride, r5 count, r8-r11 dots, lr 3 * stride, sp: out, acc
__attribute__((naked, noinline)) void mix_four(float* /*out*/, const float* /*acc*/,
                                               const void* /*p*/, const int8_t* /*v*/,
                                               uint32_t /*stride*/, uint32_t /*count*/,
                                               uint32_t /*unit*/) {
  __asm__(
      ".syntax unified\n"
      "push {r0, r1, r4-r11, lr}\n"
      "ldr r4, [sp, #44]\n"
      "ldr r5, [sp, #48]\n"
      "add lr, r4, r4, lsl #1\n"
      "mov r8, #0\n"
      "mov r9, #0\n"
      "mov r10, #0\n"
      "mov r11, #0\n"
      "subs r5, r5, #4\n"
      "blo 2f\n"
      "1: ldrd r6, r7, [r2], #8\n"
      THIMBLE_MIX_TWO("", ", r4", "r6")
      THIMBLE_MIX_TWO(", r4, lsl #1", ", lr", "r7")
      "add r3, r3, r4, lsl #2\n"
      "subs r5, r5, #4\n"
      "bhs 1b\n"
      "2: adds r5, r5, #4\n"
      "beq 4f\n"
      "3: ldr r0, [r3]\n"
      "ldrh r7, [r2], #2\n"
      "add r3, r3, r4\n"
      "sxtb16 r1, r0\n"
      "sxtb16 r0, r0, ror #8\n"
      "smlabb r8, r1, r7, r8\n"
      "smlabb r9, r0, r7, r9\n"
      "smlatb r10, r1, r7, r10\n"
      "smlatb r11, r0, r7, r11\n"
      "subs r5, r5, #1\n"
      "bne 3b\n"
      "4: ldr r4, [sp, #52]\n"
      "pop {r0, r1}\n"
      "vldmia r1, {s0-s3}\n"
      "vmov s4, s5, r8, r9\n"
      "vmov s6, s7, r10, r11\n"
      "vmov s8, r4\n"
      "vcvt.f32.s32 s4, s4\n"
      "vcvt.f32.s32 s5, s5\n"
      "vcvt.f32.s32 s6, s6\n"
      "vcvt.f32.s32 s7, s7\n"
      "vfma.f32 s0, s4, s8\n"
      "vfma.f32 s1, s5, s8\n"
      "vfma.f32 s2, s6, s8\n"
      "vfma.f32 s3, s7, s8\n"
      "vstmia r0, {s0-s3}\n"
      "pop {r4-r11, pc}\n");
}

void mix_values_q8_dsp(float* out, const float* weights, size_t weights_stride,
                       const int8_t* values, const uint16_t* scales, uint32_t n, uint32_t head_dim,
                       uint32_t n_heads) {
  float p[kMixBlock];  // then int16_t in its first half
  if (n == 0) memset(out, 0, size_t{n_heads} * head_dim * sizeof *out);
  for (; n_heads > 0; --n_heads, out += head_dim, weights += weights_stride) {
    for (uint32_t begin = 0; begin < n; begin += kMixBlock) {
      const uint32_t count = n - begin < kMixBlock ? n - begin : kMixBlock;
      const int8_t* v = values + size_t{begin} * head_dim;
      const float unit = quantize_mix_weights(p, weights + begin, scales + begin, count);
      uint32_t d = 0;
      for (; d + 4 <= head_dim; d += 4) {
        mix_four(out + d, begin != 0 ? out + d : kZeros, p, v + d, head_dim, count, bits_of(unit));
      }
      for (; d < head_dim; ++d) {
        int32_t dot = 0;
        for (uint32_t t = 0; t < count; ++t) {
          int16_t weight;
          memcpy(&weight, reinterpret_cast<const char*>(p) + 2 * t, sizeof weight);
          dot += weight * v[size_t{t} * head_dim + d];
        }
        out[d] = exact_fma(static_cast<float>(dot), unit, begin != 0 ? out[d] : 0.0f);
      }
    }
  }
}

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "dsp";
  k.matmul_q8 = matmul_q8_dsp;
  k.matmul_q4 = kHasQ4 ? matmul_q4_dsp : nullptr;
  k.matmul_f32 = matmul_f32_dsp;
  k.quantize_q8 = quantize_q8_dsp;
  k.rms_norm = kHasRmsNorm ? rms_norm_dsp : nullptr;
  k.rotate = rotate_dsp;
  k.softmax = softmax_dsp;
  k.mix_values = mix_values_dsp;
  k.mix_values_q8 = mix_values_q8_dsp;
  k.swiglu = kHasSwiglu ? swiglu_dsp : nullptr;
  k.add = add_dsp;
  k.odds = odds_dsp;
  return k;
}

}  // namespace

extern const Kernels kKernelsDsp;
const Kernels kKernelsDsp = make_table();

}  // namespace thimble

#else

namespace thimble {

extern const Kernels kKernelsDsp;
const Kernels kKernelsDsp = {};  // no name: not here

}  // namespace thimble

#endif
#endif
