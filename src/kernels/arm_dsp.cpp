// SPDX-License-Identifier: MIT
// Cortex-M4F and M7F (Armv7E-M): two 16-bit products an instruction, a scalar FPU with fma. The
// inner loops are assembler that means the same in Thumb and Arm state: compilers at -Os neither
// unroll nor load several registers at once.
#if defined(__arm__)

#include <string.h>

#include "reference.h"

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && (__ARM_FP & 4)

#include "arm_dsp_f32.h"

namespace thimble {
namespace {

// ---- Matrix products in int8 -----------------------------------------------------------------

// Blocks of 4 neighbouring rows of weights times one row of activations.
struct RowBlocks {
  const int8_t* weights;   // 4 columns of 4 rows are 16 bytes, the next 4 columns stride behind
  const uint16_t* scales;  // 4 a group, the next group's stride / 2 behind
  const int8_t* values_end;
  uint32_t skipped;       // columns / 4 that are missing from a group to a multiple of 16 columns
  uint32_t count;         // -(group / 4 + skipped) << 16 | stride, the stride being 4 * row_tile
  const float* x_scales;  // (n_groups)
  int32_t weights_step;   // from the end of a block's weights to the next block, in bytes
  int32_t scales_step;    // the same for its scales
  const int8_t* values;   // activations, (n_groups, group)
  float* out;             // (blocks, 4)
  uint32_t blocks;        // at least one
};
static_assert(sizeof(RowBlocks) == 44, "multiply_rows loads it as 11 words");

// clang-format off
// r8, r9: activations of columns 1, 3 and 0, 2 as halfwords; r10 is free.
#define THIMBLE_ONE_ROW(weights, dot)         \
  "sxtb16 r10, " weights "\n"                 \
  "sxtb16 " weights ", " weights ", ror #8\n" \
  "smlad " dot ", r10, r9, " dot "\n"         \
  "smlad " dot ", " weights ", r8, " dot "\n"
#define THIMBLE_FOUR_ROWS     \
  "ldr r8, [r12], #4\n"       \
  "sxtb16 r9, r8\n"           \
  "sxtb16 r8, r8, ror #8\n"   \
  THIMBLE_ONE_ROW("r4", "r0") \
  THIMBLE_ONE_ROW("r5", "r1") \
  THIMBLE_ONE_ROW("r6", "r2") \
  THIMBLE_ONE_ROW("r7", "r3")
#define THIMBLE_STRIDED "ldm r11, {r4-r7}\n uxtah r11, r11, lr\n" THIMBLE_FOUR_ROWS
#define THIMBLE_CONTIGUOUS "ldm r11!, {r4-r7}\n" THIMBLE_FOUR_ROWS
// clang-format on

// Four columns are 20 instructions (21 strided) of 4 bytes each, for 16 products. A group enters
// the loop of 16 columns where its remainder wants it.
//   r0-r3 dots, r4-r7 weights, r11 weights' address, r12 activations' address,
//   lr count and stride, s0-s3 the rows' chains, s12 scales, s13 x_scales, s14 values_end,
//   sp: four zeros, the loop's entry, and RowBlocks from `count` on
__attribute__((naked, noinline)) void multiply_rows(const RowBlocks*) {
  __asm__(
      ".syntax unified\n"
      "push {r4-r11, lr}\n"
      "ldm r0, {r1-r11}\n"
      "vmov s12, r2\n"
      "vmov s13, r6\n"
      "vmov s14, r3\n"
      "mov r12, r9\n"
      "uxth r0, r5\n"
      "cmp r0, #16\n"
      "beq 1f\n"
      "adr r0, 3f\n"
      "mov r2, #84\n"
      "b 2f\n"
      "1: adr r0, 4f\n"
      "mov r2, #80\n"
      "2: mla r4, r4, r2, r0\n"
      "push {r4-r11}\n"
      "mov r11, r1\n"
      "mov r0, #0\n"
      "mov r1, #0\n"
      "mov r2, #0\n"
      "mov r3, #0\n"
      "push {r0-r3}\n"
      "vldmia sp, {s0-s3}\n"

      "1: ldm sp, {r0-r4, lr}\n"  // a group
      "mov pc, r4\n"
      ".p2align 2\n"
      "3:\n" THIMBLE_STRIDED THIMBLE_STRIDED THIMBLE_STRIDED THIMBLE_STRIDED
      "adds lr, lr, #0x40000\n"
      "bcc 3b\n"
      "b 5f\n"
      ".p2align 2\n"
      "4:\n" THIMBLE_CONTIGUOUS THIMBLE_CONTIGUOUS THIMBLE_CONTIGUOUS THIMBLE_CONTIGUOUS
      "adds lr, lr, #0x40000\n"
      "bcc 4b\n"  // carries at zero, which leaves the stride alone in lr

      "5: vmov s4, s5, r0, r1\n"
      "vmov s6, s7, r2, r3\n"
      "vmov r0, r1, s12, s13\n"
      "ldrd r2, r3, [r0]\n"
      "add r0, r0, lr, lsr #1\n"
      "vldmia r1!, {s15}\n"
      "vmov s12, s13, r0, r1\n"
      "lsl r0, r2, #16\n"
      "bfc r2, #0, #16\n"
      "lsl r1, r3, #16\n"
      "bfc r3, #0, #16\n"
      "vmov s8, s9, r0, r2\n"
      "vmov s10, s11, r1, r3\n"
      "vcvt.f32.s32 s4, s4\n"
      "vcvt.f32.s32 s5, s5\n"
      "vcvt.f32.s32 s6, s6\n"
      "vcvt.f32.s32 s7, s7\n"
      "vmul.f32 s8, s8, s15\n"
      "vmul.f32 s9, s9, s15\n"
      "vmul.f32 s10, s10, s15\n"
      "vmul.f32 s11, s11, s15\n"
      "vfma.f32 s0, s4, s8\n"
      "vfma.f32 s1, s5, s9\n"
      "vfma.f32 s2, s6, s10\n"
      "vfma.f32 s3, s7, s11\n"
      "vmov r4, s14\n"
      "cmp r12, r4\n"
      "bne 1b\n"

      "ldrd r4, r5, [sp, #40]\n"  // out, blocks
      "vstmia r4!, {s0-s3}\n"
      "subs r5, r5, #1\n"
      "strd r4, r5, [sp, #40]\n"
      "vmov r0, s12\n"
      "add r4, sp, #24\n"
      "ldm r4, {r1-r3, r12}\n"  // x_scales, the steps, values
      "add r11, r11, r2\n"
      "add r0, r0, r3\n"
      "vmov s12, s13, r0, r1\n"
      "vldmia sp, {s0-s3}\n"
      "bne 1b\n"
      "add sp, sp, #48\n"
      "pop {r4-r11, pc}\n");
}

// clang-format off
#define THIMBLE_SHORT_ROW(weights, first, dot, odd) \
  "sxtb16 r12, " weights "\n"                              \
  "sxtb16 " weights ", " weights ", ror #8\n"              \
  first "\n"                                               \
  "smlad " dot ", " weights ", " odd ", " dot "\n"
#define THIMBLE_SHORT_ROWS(row_0, row_1, row_2, row_3, odd) \
  "ldm lr!, {r4-r7}\n"                                            \
  THIMBLE_SHORT_ROW("r4", row_0, "r0", odd)                 \
  THIMBLE_SHORT_ROW("r5", row_1, "r1", odd)                 \
  THIMBLE_SHORT_ROW("r6", row_2, "r2", odd)                 \
  THIMBLE_SHORT_ROW("r7", row_3, "r3", odd)
// clang-format on

// The same for tiles of 4 rows of 8 columns with one scale, the keys of small heads: 66
// instructions a tile, the activations in registers. A product and +0 is what fma gives with +0, as
// it is not rounded to 0: its factors are a whole number and a float.
//   r0-r3 dots, r4-r7 weights, r8-r11 activations, lr weights' address, s11 zero, s12 x_scale,
//   s13 weights_end, s14 scales' address, s15 out
__attribute__((naked, noinline)) void multiply_8_columns(const RowBlocks*) {
  __asm__(
      ".syntax unified\n"
      "push {r4-r11, lr}\n"
      "ldm r0, {r1-r11}\n"
      "mov lr, r1\n"
      "add r11, r1, r11, lsl #5\n"
      "mov r0, #0\n"
      "vldr s12, [r6]\n"
      "vmov s11, r0\n"
      "vmov s13, r11\n"
      "vmov s14, s15, r2, r10\n"
      "ldr r11, [r9, #4]\n"
      "ldr r9, [r9]\n"
      "sxtb16 r10, r11\n"
      "sxtb16 r11, r11, ror #8\n"
      "sxtb16 r8, r9\n"
      "sxtb16 r9, r9, ror #8\n"
      "1:\n"
      THIMBLE_SHORT_ROWS("smuad r0, r12, r8", "smuad r1, r12, r8", "smuad r2, r12, r8",
                         "smuad r3, r12, r8", "r9")
      THIMBLE_SHORT_ROWS("smlad r0, r12, r10, r0", "smlad r1, r12, r10, r1",
                         "smlad r2, r12, r10, r2", "smlad r3, r12, r10, r3", "r11")
      "vmov s0, s1, r0, r1\n"
      "vmov s2, s3, r2, r3\n"
      "vmov r0, r1, s14, s15\n"
      "ldr r3, [r0], #4\n"
      "ldr r5, [r0], #4\n"
      "lsl r2, r3, #16\n"
      "bfc r3, #0, #16\n"
      "lsl r4, r5, #16\n"
      "bfc r5, #0, #16\n"
      "vmov s4, s5, r2, r3\n"
      "vmov s6, s7, r4, r5\n"
      "vcvt.f32.s32 s0, s0\n"
      "vcvt.f32.s32 s1, s1\n"
      "vcvt.f32.s32 s2, s2\n"
      "vcvt.f32.s32 s3, s3\n"
      "vmul.f32 s4, s4, s12\n"
      "vmul.f32 s5, s5, s12\n"
      "vmul.f32 s6, s6, s12\n"
      "vmul.f32 s7, s7, s12\n"
      "vmul.f32 s0, s0, s4\n"
      "vmul.f32 s1, s1, s5\n"
      "vmul.f32 s2, s2, s6\n"
      "vmul.f32 s3, s3, s7\n"
      "vadd.f32 s0, s0, s11\n"
      "vadd.f32 s1, s1, s11\n"
      "vadd.f32 s2, s2, s11\n"
      "vadd.f32 s3, s3, s11\n"
      "vstmia r1!, {s0-s3}\n"
      "vmov s14, s15, r0, r1\n"
      "vmov r0, s13\n"
      "cmp lr, r0\n"
      "bne 1b\n"
      "pop {r4-r11, pc}\n");
}

// LDM, LDRD and the packed count want more than the contract gives; files give it.
bool wants_reference(const Matrix& w, const QuantizedRows& x) {
  const uintptr_t addresses = reinterpret_cast<uintptr_t>(w.data) |
                              reinterpret_cast<uintptr_t>(w.scales) |
                              reinterpret_cast<uintptr_t>(x.values);
  return w.row_tile < 4 || addresses % 4 != 0 || w.group > 0x3fff0u;
}

void matmul_q8_dsp(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                   uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  if (wants_reference(w, x)) {
    matmul_q8_reference(out, out_stride, w, tile_begin, tile_end, x, n);
    return;
  }
  const uint32_t height = w.row_tile, cols = w.padded_cols, groups = w.n_groups;
  // Tiles of 4 rows follow each other as one run of blocks; otherwise the blocks of a tile do. Of
  // long rows a tile meets all activations while it is near; for short ones a call costs more.
  const bool one_run = height == 4 && (n == 1 || cols <= 64);
  const uint32_t tiles = one_run ? tile_end - tile_begin : 1;
  const auto multiply =
      height == 4 && cols == 8 && groups == 1 ? multiply_8_columns : multiply_rows;
  RowBlocks b;
  b.skipped = (0 - w.group / 4) % 4;
  b.count = (0 - (w.group / 4 + b.skipped)) << 16 | 4 * height;
  b.weights_step = height == 4 ? 0 : 16 - static_cast<int32_t>(cols * height);
  b.scales_step = height == 4 ? 0 : 8 - static_cast<int32_t>(groups * height * 2);
  b.blocks = tiles * height / 4;
  for (uint32_t tile = tile_begin; tile < tile_end; tile += tiles) {
    b.weights = static_cast<const int8_t*>(w.data) + size_t{tile} * cols * height;
    b.scales = w.scales + size_t{tile} * groups * height;
    b.out = out + size_t{tile} * height;
    b.values = x.values;
    b.x_scales = x.scales;
    for (uint32_t i = 0; i < n; ++i) {
      b.values_end = b.values + cols;
      multiply(&b);
      b.values = b.values_end;
      b.x_scales += groups;
      b.out += out_stride;
    }
  }
}

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
