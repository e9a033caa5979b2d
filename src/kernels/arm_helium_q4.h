// SPDX-License-Identifier: MIT
// For arm_helium.cpp: matrix products with weights of 4 bits.
//
// Helium cannot look up bytes in a register, so levels are computed as q4_level does: y has the
// bits in the upper half of a byte, VHADD(y, VMULH(y, VQDMULH(y, y))) is the level. 128 products
// are 47 instructions, which a Cortex-M55 begins every second cycle, or every one where kinds
// alternate; the multiplier is busy for 48 cycles. A table in memory would take 30 instructions,
// but its eight gathers of 16 bytes are an access a byte: 128 of them.
#ifndef THIMBLE_SRC_KERNELS_ARM_HELIUM_Q4_H
#define THIMBLE_SRC_KERNELS_ARM_HELIUM_Q4_H

#include <arm_mve.h>

#include "arm_helium_q8.h"

namespace thimble {
namespace {

// clang-format off
// Columns in the low bits of 16 bytes of a row, times x. Leaves the bytes; q6 and q7 are free.
#define THIMBLE_LOW(mla, bytes, x, dot) \
  "vshl.i8 q6, " bytes ", #4\n\t"       \
  "vqdmulh.s8 q7, q6, q6\n\t"           \
  "vmulh.s8 q7, q6, q7\n\t"             \
  "vhadd.s8 q6, q6, q7\n\t"             \
  mla ".s8 %[" dot "], q6, " x "\n\t"

// Columns in the high bits, of two rows.
#define THIMBLE_HIGH2(bytes_a, bytes_b, mask, x, dot_a, dot_b) \
  "vand " bytes_a ", " bytes_a ", " mask "\n\t"               \
  "vqdmulh.s8 q6, " bytes_a ", " bytes_a "\n\t"               \
  "vand " bytes_b ", " bytes_b ", " mask "\n\t"               \
  "vqdmulh.s8 q7, " bytes_b ", " bytes_b "\n\t"               \
  "vmulh.s8 q6, " bytes_a ", q6\n\t"                          \
  "vmulh.s8 q7, " bytes_b ", q7\n\t"                          \
  "vhadd.s8 " bytes_a ", " bytes_a ", q6\n\t"                 \
  "vmladava.s8 %[" dot_a "], " bytes_a ", " x "\n\t"          \
  "vhadd.s8 " bytes_b ", " bytes_b ", q7\n\t"                 \
  "vmladava.s8 %[" dot_b "], " bytes_b ", " x "\n\t"

// 32 columns of four rows. Words of activations are for low and for high bits by turns. A register
// for the mask is free when the former are done with.
#define THIMBLE_DOT32(mla)                          \
  THIMBLE_LOAD_TILE4                                \
  "vld20.32 {q4, q5}, [%[x]]\n\t"                   \
  "vld21.32 {q4, q5}, [%[x]]!\n\t"                  \
  THIMBLE_LOW(mla, "q0", "q4", "d0")                \
  THIMBLE_LOW(mla, "q1", "q4", "d1")                \
  THIMBLE_LOW(mla, "q2", "q4", "d2")                \
  THIMBLE_LOW(mla, "q3", "q4", "d3")                \
  "vmov.i8 q4, #0xf0\n\t"                           \
  THIMBLE_HIGH2("q0", "q1", "q4", "q5", "d0", "d1") \
  THIMBLE_HIGH2("q2", "q3", "q4", "q5", "d2", "d3")

// The rows' chains stay in `out`: no register is left.
#define THIMBLE_CHAINS_BEGIN \
  "vmov.i32 q0, #0\n\t"      \
  "vstrw.32 q0, [%[out]]\n"
#define THIMBLE_CHAINS_STEP   \
  "vldrw.32 q2, [%[out]]\n\t" \
  "vfma.f32 q2, q0, q1\n\t"   \
  "vstrw.32 q2, [%[out]]\n\t"
// clang-format on

// Tiles of four rows, groups of a multiple of 32 columns.
__attribute__((noinline)) void whole_rows_q4(Walk* walk) {
  float* out;
  const int8_t *w, *x;
  const uint16_t* scales;
  const float* xs;
  uint32_t more, groups;
  int32_t d0, d1, d2, d3;
  // clang-format off
  __asm__ volatile(
      THIMBLE_WALK("out", "w", "0")
      THIMBLE_WALK("scales", "more", "8")
      "lsr %[more], #5\n"
      "0:\n\t" THIMBLE_BLOCK_BEGIN("x") THIMBLE_CHAINS_BEGIN
      "1:\n\t" THIMBLE_DOT32("vmladav")
      "wls lr, %[more], 3f\n"
      "2:\n\t" THIMBLE_DOT32("vmladava")
      "le lr, 2b\n"
      "3:\n\t" THIMBLE_FACTORS(THIMBLE_LOAD_SCALES4) THIMBLE_CHAINS_STEP THIMBLE_GROUP_END
      "adds %[out], #16\n\t" THIMBLE_BLOCK_END4
      "bne 0b"
      : [w] "=&r"(w), [x] "=&r"(x), [xs] "=&r"(xs), [scales] "=&l"(scales), [out] "=&r"(out),
        [groups] "=&r"(groups), [d0] "=&Te"(d0), [d1] "=&Te"(d1), [d2] "=&Te"(d2), [d3] "=&Te"(d3),
        [more] "=&r"(more)
      : [walk] "r"(walk)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory");
  // clang-format on
}

// clang-format off
// Four words of a row, from the addresses in q4, times activations in q1 and q2; q3 is the mask.
#define THIMBLE_ROW32(offset, dot)         \
  "vldrw.u32 q0, [q4, #" offset "]\n\t"    \
  THIMBLE_LOW("vmladava", "q0", "q1", dot) \
  "vand q0, q0, q3\n\t"                    \
  "vqdmulh.s8 q6, q0, q0\n\t"              \
  "vmulh.s8 q6, q0, q6\n\t"                \
  "vhadd.s8 q0, q0, q6\n\t"                \
  "vmladava.s8 %[" dot "], q0, q2\n\t"
// clang-format on

// Tiles of four, eight or sixteen rows, groups of a multiple of 8 columns: a lane is eight columns,
// a word of weights at the address in q4 and two of activations at the one in q5 and 32.
__attribute__((noinline)) void rows_q4(Walk* walk) {
  float* out;
  const int8_t* w;
  const uint16_t* scales;
  const float* xs;
  uint32_t more, groups;
  int32_t d0, d1, d2, d3;
  // clang-format off
  __asm__ volatile(
      THIMBLE_WALK("out", "w", "0")
      THIMBLE_WALK("scales", "more", "8")
      "lsr %[more], #3\n\t"
      "vmov.i8 q3, #0xf0\n"
      "0:\n\t" THIMBLE_BLOCK_BEGIN("d0") THIMBLE_CHAINS_BEGIN
      "vldrw.32 q4, [%[walk], #56]\n\t"
      "vadd.i32 q4, q4, %[w]\n\t"
      "sub %[d0], #32\n\t"
      "vidup.u32 q5, %[d0], #8\n"
      "1:\n\t"
      "mov %[d0], #0\n\t"
      "mov %[d1], #0\n\t"
      "mov %[d2], #0\n\t"
      "mov %[d3], #0\n\t"
      "wlstp.32 lr, %[more], 3f\n"
      "2:\n\t"
      "vldrw.u32 q1, [q5, #32]!\n\t"
      "vldrw.u32 q2, [q5, #4]\n\t"
      THIMBLE_ROW32("0", "d0") THIMBLE_ROW32("4", "d1") THIMBLE_ROW32("8", "d2")
      THIMBLE_ROW32("12", "d3")
      "vadd.i32 q4, q4, %[step]\n\t"
      "letp lr, 2b\n"
      "3:\n\t" THIMBLE_FACTORS(THIMBLE_LOAD_SCALES) THIMBLE_CHAINS_STEP THIMBLE_GROUP_END
      "adds %[out], #16\n\t" THIMBLE_BLOCK_END
      "bne 0b"
      : [w] "=&r"(w), [xs] "=&r"(xs), [scales] "=&l"(scales), [out] "=&r"(out),
        [groups] "=&r"(groups), [d0] "=&Te"(d0), [d1] "=&Te"(d1), [d2] "=&Te"(d2), [d3] "=&Te"(d3),
        [more] "=&r"(more)
      : [walk] "r"(walk), [step] "r"(8 * walk->scale_bytes)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory");
  // clang-format on
}

void matmul_q4_helium(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                      uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const uintptr_t addresses =
      reinterpret_cast<uintptr_t>(w.data) | reinterpret_cast<uintptr_t>(x.values);
  if (addresses % 4 == 0 && w.row_tile >= 4) {
    clear_marks<kAllMarks>();
    constexpr Blocks kBlocks = {whole_rows_q4, rows_q4, 32, 0};
    matmul_blocks<kWeightQ4>(kBlocks, out, out_stride, w, tile_begin, tile_end, x, n);
    if (unmarked()) return;
  }
  matmul_q4_reference(out, out_stride, w, tile_begin, tile_end, x, n);
}

}  // namespace
}  // namespace thimble

#endif
