// SPDX-License-Identifier: MIT
// For arm_dsp.cpp: matrix products of int8 activations with weights of int8 and of 4 bits.
// Contracts: kernels.h.
#ifndef THIMBLE_SRC_KERNELS_ARM_DSP_INT8_H
#define THIMBLE_SRC_KERNELS_ARM_DSP_INT8_H

#include "q4_pairs.h"
#include "reference.h"

namespace thimble {
namespace {

// Blocks of 4 neighbouring rows of weights times one row of activations.
struct RowBlocks {
  const int8_t* weights;   // 4 columns (q4: 8) of 4 rows are 16 bytes, the next ones stride behind
  const uint16_t* scales;  // 4 a group, the next group's stride / 2 behind
  const int8_t* values_end;
  uintptr_t start;  // columns / 4 that a group lacks to a multiple of 16 (q4: table of levels)
  uint32_t count;   // -(group / 4 + start) << 16 | stride (q4: -(group / 8) << 16 | stride),
                    // the stride being 4 * row_tile
  const float* x_scales;  // (n_groups)
  int32_t weights_step;   // from the end of a block's weights to the next block, in bytes
  int32_t scales_step;    // the same for its scales
  const int8_t* values;   // activations, (n_groups, group)
  float* out;             // (blocks, 4)
  uint32_t blocks;        // at least one
};
static_assert(sizeof(RowBlocks) == 44, "THIMBLE_BLOCKS_LOAD loads it as 11 words");

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

// What both kinds of weights share, around the loop over a group's columns:
//   r0-r3 dots, r11 weights' address, r12 activations' address, lr count and stride,
//   s0-s3 the rows' chains, s12 scales, s13 x_scales, s14 values_end,
//   sp: four zeros, r4 as the frame is made, and RowBlocks from `count` on
// First RowBlocks to r1 to r11, r0 then being free.
#define THIMBLE_BLOCKS_LOAD \
  "push {r4-r11, lr}\n"     \
  "ldm r0, {r1-r11}\n"      \
  "vmov s12, r2\n"          \
  "vmov s13, r6\n"          \
  "vmov s14, r3\n"          \
  "mov r12, r9\n"
#define THIMBLE_BLOCKS_FRAME \
  "push {r4-r11}\n"          \
  "mov r11, r1\n"            \
  "mov r0, #0\n"             \
  "mov r1, #0\n"             \
  "mov r2, #0\n"             \
  "mov r3, #0\n"             \
  "push {r0-r3}\n"           \
  "vldmia sp, {s0-s3}\n"

// A group's scales, and on to the next one's: anywhere, and in tiles of four rows.
#define THIMBLE_NEXT_SCALES "ldrd r2, r3, [r0]\n add r0, r0, lr, lsr #1\n"
#define THIMBLE_NEXT_SCALES4 "ldrd r2, r3, [r0], #8\n"

// A group's dots onto the chains; then to 1, the next group's begin, until the block's end.
#define THIMBLE_GROUP_END(load_scales)                  \
  "vmov s4, s5, r0, r1\n"                               \
  "vmov s6, s7, r2, r3\n"                               \
  "vmov r0, r1, s12, s13\n"                             \
  load_scales                                           \
  "vldmia r1!, {s15}\n"                                 \
  "vmov s12, s13, r0, r1\n"                             \
  "lsl r0, r2, #16\n"                                   \
  "bfc r2, #0, #16\n"                                   \
  "lsl r1, r3, #16\n"                                   \
  "bfc r3, #0, #16\n"                                   \
  "vmov s8, s9, r0, r2\n"                               \
  "vmov s10, s11, r1, r3\n"                             \
  "vcvt.f32.s32 s4, s4\n"                               \
  "vcvt.f32.s32 s5, s5\n"                               \
  "vcvt.f32.s32 s6, s6\n"                               \
  "vcvt.f32.s32 s7, s7\n"                               \
  "vmul.f32 s8, s8, s15\n"                              \
  "vmul.f32 s9, s9, s15\n"                              \
  "vmul.f32 s10, s10, s15\n"                            \
  "vmul.f32 s11, s11, s15\n"                            \
  "vfma.f32 s0, s4, s8\n"                               \
  "vfma.f32 s1, s5, s9\n"                               \
  "vfma.f32 s2, s6, s10\n"                              \
  "vfma.f32 s3, s7, s11\n"                              \
  "vmov r4, s14\n"                                      \
  "cmp r12, r4\n"                                       \
  "bne 1b\n"

// Then to 1 until the last block's end.
#define THIMBLE_BLOCKS_END                              \
  "ldrd r4, r5, [sp, #40]\n" /* out, blocks */          \
  "vstmia r4!, {s0-s3}\n"                               \
  "subs r5, r5, #1\n"                                   \
  "strd r4, r5, [sp, #40]\n"                            \
  "vmov r0, s12\n"                                      \
  "add r4, sp, #24\n"                                   \
  "ldm r4, {r1-r3, r12}\n" /* x_scales, steps, values */ \
  "add r11, r11, r2\n"                                  \
  "add r0, r0, r3\n"                                    \
  "vmov s12, s13, r0, r1\n"                             \
  "vldmia sp, {s0-s3}\n"                                \
  "bne 1b\n"                                            \
  "add sp, sp, #48\n"                                   \
  "pop {r4-r11, pc}\n"
// clang-format on

// Four columns are 20 instructions (21 strided) of 4 bytes each, for 16 products. A group enters
// the loop of 16 columns where its remainder wants it, at r4; r4 to r7 are weights then.
__attribute__((naked, noinline)) void multiply_rows_q8(const RowBlocks*) {
  __asm__(".syntax unified\n" THIMBLE_BLOCKS_LOAD
          "uxth r0, r5\n"
          "cmp r0, #16\n"
          "beq 1f\n"
          "adr r0, 3f\n"
          "mov r2, #84\n"
          "b 2f\n"
          "1: adr r0, 4f\n"
          "mov r2, #80\n"
          "2: mla r4, r4, r2, r0\n" THIMBLE_BLOCKS_FRAME

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

          "5:\n" THIMBLE_GROUP_END(THIMBLE_NEXT_SCALES) THIMBLE_BLOCKS_END);
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

// 1 KiB, looked up at random: flash with wait states and no cache behind them is a bad place for
// it. With -fdata-sections a linker script can put .rodata*kPairs* elsewhere.
constexpr Q4Pairs kPairs = q4_pairs(false);

// clang-format off
// Two bytes of a row, the activations of their columns in x and y; r9 and r10 are free.
#define THIMBLE_TWO_PAIRS(byte_0, byte_1, x, y, dot) \
  "ldrb r9, [r11, #" byte_0 "\n"                     \
  "ldrb r10, [r11, #" byte_1 "]\n"                   \
  "ldr r9, [r8, r9, lsl #2]\n"                       \
  "ldr r10, [r8, r10, lsl #2]\n"                     \
  "smlad " dot ", r9, " x ", " dot "\n"              \
  "smlad " dot ", r10, " y ", " dot "\n"
#define THIMBLE_FOUR_PAIRS(byte_0, byte_1, byte_2, byte_3, dot) \
  THIMBLE_TWO_PAIRS(byte_0 "]", byte_1, "r4", "r5", dot)        \
  THIMBLE_TWO_PAIRS(byte_2 "]", byte_3, "r6", "r7", dot)
// clang-format on

// Tiles of 8 and 16 rows: eight columns are 58 instructions for 32 products. The table has the
// levels of a byte as halfwords, columns i and 4 + i, so that is how r4 to r7 have the activations;
// r8 is its address.
__attribute__((naked, noinline)) void multiply_rows_q4(const RowBlocks*) {
  __asm__(
      ".syntax unified\n" THIMBLE_BLOCKS_LOAD THIMBLE_BLOCKS_FRAME
      "1: ldm sp, {r0-r3, r8, lr}\n"  // a group
      "2:\n"
      "ldrd r4, r5, [r12], #8\n"      // activations
      "pkhbt r9, r4, r5, lsl #16\n"   // 0, 1, 4, 5
      "pkhtb r10, r5, r4, asr #16\n"  // 2, 3, 6, 7
      "sxtb16 r4, r9\n"
      "sxtb16 r5, r9, ror #8\n"
      "sxtb16 r6, r10\n"
      "sxtb16 r7, r10, ror #8\n"
      THIMBLE_FOUR_PAIRS("0", "1", "2", "3", "r0")
      THIMBLE_FOUR_PAIRS("4", "5", "6", "7", "r1")
      THIMBLE_FOUR_PAIRS("8", "9", "10", "11", "r2")
      THIMBLE_FOUR_PAIRS("12", "13", "14", "15", "r3")
      "uxtah r11, r11, lr\n"
      "adds lr, lr, #0x10000\n"
      "bcc 2b\n"
      THIMBLE_GROUP_END(THIMBLE_NEXT_SCALES) THIMBLE_BLOCKS_END);
}

// The same for tiles of 4 rows, whose bytes hold neighbouring columns, and activations of 16 bits.
struct Q4Blocks {
  int32_t dots[4];        // where groups begin: zeros, or the dots of the parts before
  const uint32_t* pairs;  // of kPairs
  uint32_t count;         // -(group / 16) << 16 | 1, or | 0 for a part of the only group, whose
                          // dots are what `out` is given
  const float* x_scales;  // (n_groups)
  const float* chains;    // (4), where blocks begin
  const int16_t* values;  // activations, (n_groups, group)
  float* out;             // (blocks, 4)
  uint32_t blocks;        // at least one; one of a part
  const int8_t* weights;
  const uint16_t* scales;
  const int16_t* values_end;
};
static_assert(sizeof(Q4Blocks) == 56, "as the assembler has it");

// 16 columns are 100 instructions for 64 products.
//   r0-r3 dots, r8 pairs, r11 32 before the weights' address, r12 activations' address, lr count,
//   s0-s3, s12-s14 as above, sp: Q4Blocks up to `blocks`
__attribute__((naked, noinline)) void multiply_tiles_q4(const Q4Blocks*) {
  __asm__(
      ".syntax unified\n"
      "push {r4-r11, lr}\n"
      "ldr r11, [r0, #44]\n"
      "ldrd r1, r2, [r0, #48]\n"
      "sub r11, r11, #32\n"
      "vmov s12, r1\n"
      "vmov s14, r2\n"
      "ldm r0, {r0-r10}\n"
      "push {r0-r10}\n"
      "vmov s13, r6\n"
      "vldmia r7, {s0-s3}\n"
      "mov r12, r8\n"
      "1: ldm sp, {r0-r3, r8, lr}\n"  // a group
      "2: ldm r12!, {r4-r7}\n"
      THIMBLE_TWO_PAIRS("32]!", "1", "r4", "r5", "r0")
      THIMBLE_TWO_PAIRS("2]", "3", "r6", "r7", "r0")
      THIMBLE_FOUR_PAIRS("8", "9", "10", "11", "r1")
      THIMBLE_FOUR_PAIRS("16", "17", "18", "19", "r2")
      THIMBLE_FOUR_PAIRS("24", "25", "26", "27", "r3")
      "ldm r12!, {r4-r7}\n"
      THIMBLE_FOUR_PAIRS("4", "5", "6", "7", "r0")
      THIMBLE_FOUR_PAIRS("12", "13", "14", "15", "r1")
      THIMBLE_FOUR_PAIRS("20", "21", "22", "23", "r2")
      THIMBLE_FOUR_PAIRS("28", "29", "30", "31", "r3")
      "adds lr, lr, #0x10000\n"
      "bcc 2b\n"
      "beq 3f\n"
      THIMBLE_GROUP_END(THIMBLE_NEXT_SCALES4)
      "ldrd r4, r5, [sp, #36]\n"  // out, blocks
      "vstmia r4!, {s0-s3}\n"
      "subs r5, r5, #1\n"
      "strd r4, r5, [sp, #36]\n"
      "add r4, sp, #24\n"
      "ldm r4, {r1, r4, r12}\n"  // x_scales, chains, values
      "vmov s13, r1\n"
      "vldmia r4, {s0-s3}\n"
      "bne 1b\n"
      "b 4f\n"
      "3: ldr r4, [sp, #36]\n"
      "stm r4, {r0-r3}\n"
      "4: add sp, sp, #44\n"
      "pop {r4-r11, pc}\n");
}

// int8 to 16 bits, of a multiple of 8 columns.
void widen(int16_t* to, const int8_t* values, uint32_t columns) {
  const int8_t* end = values + columns;
  uint32_t a, b, c, d;
  __asm__ volatile(
      "1: ldrd %[a], %[b], [%[values]], #8\n"
      "sxtb16 %[c], %[a]\n"
      "sxtb16 %[a], %[a], ror #8\n"
      "pkhbt %[d], %[c], %[a], lsl #16\n"
      "pkhtb %[c], %[a], %[c], asr #16\n"
      "strd %[d], %[c], [%[to]], #8\n"
      "sxtb16 %[c], %[b]\n"
      "sxtb16 %[b], %[b], ror #8\n"
      "pkhbt %[d], %[c], %[b], lsl #16\n"
      "pkhtb %[c], %[b], %[c], asr #16\n"
      "strd %[d], %[c], [%[to]], #8\n"
      "cmp %[values], %[end]\n"
      "bne 1b\n"
      : [to] "+r"(to), [values] "+r"(values), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)
      : [end] "r"(end)
      : "cc", "memory");
}

constexpr uint32_t kWideColumns = 448;  // on the stack

// Longer rows go in runs of columns, block by block: `out` has the chains so far, or the only
// group's dots.
__attribute__((noinline)) void matmul_tiles_q4(float* out, size_t out_stride, const Matrix& w,
                                               uint32_t tile_begin, uint32_t tile_end,
                                               const QuantizedRows& x, uint32_t n) {
  const uint32_t cols = w.padded_cols, groups = w.n_groups;
  const bool one_group = groups == 1;
  const uint32_t run = one_group ? kWideColumns : kWideColumns / w.group * w.group;
  const uint32_t together = cols <= run ? tile_end - tile_begin : 1;
  int16_t wide[kWideColumns];
  Q4Blocks b;
  b.pairs = kPairs.of;
  b.values = wide;
  b.blocks = together;
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t c = 0; c < cols; c += run) {
      const uint32_t here = cols - c < run ? cols - c : run, g = c / w.group;
      widen(wide, x.values + size_t{i} * cols + c, here);
      b.values_end = wide + here;
      b.x_scales = x.scales + size_t{i} * groups + g;
      b.count = (0 - (one_group ? here : w.group) / 16) << 16 | (!one_group || c + here == cols);
      for (uint32_t tile = tile_begin; tile < tile_end; tile += together) {
        b.out = out + i * out_stride + size_t{tile} * 4;
        b.weights = static_cast<const int8_t*>(w.data) + (size_t{tile} * cols + c) * 2;
        b.scales = w.scales + (size_t{tile} * groups + g) * 4;
        const float* so_far = c == 0 ? kZeros : b.out;
        b.chains = one_group ? kZeros : so_far;
        memcpy(b.dots, one_group ? so_far : kZeros, sizeof b.dots);
        multiply_tiles_q4(&b);
      }
    }
  }
}

// LDM, LDRD and the packed count want more than the contract gives; files give it.
bool wants_reference(const Matrix& w, const QuantizedRows& x) {
  const uintptr_t addresses = reinterpret_cast<uintptr_t>(w.data) |
                              reinterpret_cast<uintptr_t>(w.scales) |
                              reinterpret_cast<uintptr_t>(x.values);
  return w.row_tile < 4 || addresses % 4 != 0 || w.group > 0x3fff0u;
}

template <WeightType kType>
inline void matmul_int8(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                        uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  constexpr bool kQ4 = kType == kWeightQ4;
  const bool four_rows = kQ4 && w.row_tile == 4;
  if (wants_reference(w, x) || (four_rows && w.n_groups > 1 && w.group > kWideColumns)) {
    const auto matmul = kQ4 ? matmul_q4_reference : matmul_q8_reference;
    matmul(out, out_stride, w, tile_begin, tile_end, x, n);
    return;
  }
  if (four_rows) {
    matmul_tiles_q4(out, out_stride, w, tile_begin, tile_end, x, n);
    return;
  }
  const uint32_t height = w.row_tile, cols = w.padded_cols, groups = w.n_groups;
  const size_t tile_bytes = weight_bytes(kType, size_t{cols} * height);
  // Tiles of 4 rows follow each other as one run of blocks; otherwise the blocks of a tile do. Of
  // long rows a tile meets all activations while it is near; for short ones a call costs more.
  const bool one_run = height == 4 && (n == 1 || cols <= 64);
  const uint32_t tiles = one_run ? tile_end - tile_begin : 1;
  const auto multiply = kQ4                                       ? multiply_rows_q4
                        : height == 4 && cols == 8 && groups == 1 ? multiply_8_columns
                                                                  : multiply_rows_q8;
  RowBlocks b;
  b.start = kQ4 ? reinterpret_cast<uintptr_t>(kPairs.of) : (0 - w.group / 4) % 4;
  b.count = (0 - (kQ4 ? w.group / 8 : w.group / 4 + b.start)) << 16 | 4 * height;
  b.weights_step = height == 4 ? 0 : 16 - static_cast<int32_t>(tile_bytes);
  b.scales_step = height == 4 ? 0 : 8 - static_cast<int32_t>(groups * height * 2);
  b.blocks = tiles * height / 4;
  for (uint32_t tile = tile_begin; tile < tile_end; tile += tiles) {
    b.weights = static_cast<const int8_t*>(w.data) + tile * tile_bytes;
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

void matmul_q8_dsp(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                   uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  matmul_int8<kWeightQ8>(out, out_stride, w, tile_begin, tile_end, x, n);
}

void matmul_q4_dsp(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                   uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  matmul_int8<kWeightQ4>(out, out_stride, w, tile_begin, tile_end, x, n);
}

}  // namespace
}  // namespace thimble

#endif
