// SPDX-License-Identifier: MIT
// For arm_dsp.cpp: matrix products in int8. Contracts: kernels.h.
#ifndef THIMBLE_SRC_KERNELS_ARM_DSP_INT8_H
#define THIMBLE_SRC_KERNELS_ARM_DSP_INT8_H

#include "reference.h"

namespace thimble {
namespace {

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

}  // namespace
}  // namespace thimble

#endif
