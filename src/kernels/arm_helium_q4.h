// SPDX-License-Identifier: MIT
// For arm_helium.cpp: matrix products with weights of 4 bits.
//
// Helium cannot look up bytes in a register. In tiles of four rows, which this core's files have, a
// table in memory has the two levels of a byte as a halfword, and a gather of eight of them is
// eight accesses for sixteen weights: 64 products are 13 instructions, and 20 cycles by llvm-mca's
// model of a Cortex-M55, which takes a gather as it takes a load. Where each access took a cycle it
// would be 44. Other tiles compute levels as q4_level does: y has the bits in the upper half of a
// byte, VHADD(y, VMULH(y, VQDMULH(y, y))) is the level; 36 cycles by that model.
#ifndef THIMBLE_SRC_KERNELS_ARM_HELIUM_Q4_H
#define THIMBLE_SRC_KERNELS_ARM_HELIUM_Q4_H

#include <arm_mve.h>

#include "arm_helium_q8.h"
#include "q4_pairs.h"

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

// The rows' chains stay in `out`: no register is left.
#define THIMBLE_CHAINS_BEGIN \
  "vmov.i32 q0, #0\n\t"      \
  "vstrw.32 q0, [%[out]]\n"
#define THIMBLE_CHAINS_STEP   \
  "vldrw.32 q2, [%[out]]\n\t" \
  "vfma.f32 q2, q0, q1\n\t"   \
  "vstrw.32 q2, [%[out]]\n\t"
// clang-format on

// 512 bytes; see kPairs of arm_dsp_int8.h.
constexpr Q4Bytes kLevels = q4_bytes();

// clang-format off
// 16 columns of four rows.
#define THIMBLE_LOOK_UP16(mla)                  \
  "vldrb.u16 q0, [%[w]], #8\n\t"                \
  "vldrb.u16 q1, [%[w]], #8\n\t"                \
  "vldrb.u16 q2, [%[w]], #8\n\t"                \
  "vldrb.u16 q3, [%[w]], #8\n\t"                \
  "vldrh.u16 q5, [%[levels], q0, uxtw #1]\n\t"  \
  "vldrb.8 q4, [%[x]], #16\n\t"                 \
  "vldrh.u16 q6, [%[levels], q1, uxtw #1]\n\t"  \
  mla ".s8 %[d0], q5, q4\n\t"                   \
  "vldrh.u16 q5, [%[levels], q2, uxtw #1]\n\t"  \
  mla ".s8 %[d1], q6, q4\n\t"                   \
  "vldrh.u16 q6, [%[levels], q3, uxtw #1]\n\t"  \
  mla ".s8 %[d2], q5, q4\n\t"                   \
  mla ".s8 %[d3], q6, q4\n\t"
// clang-format on

// Tiles of four rows, `more` a multiple of 16 behind 32 columns.
__attribute__((noinline)) void whole_rows_q4(Walk* walk) {
  float32x4_t acc;
  const int8_t *w, *x;
  const uint16_t* scales;
  const float* xs;
  uint32_t more, groups;
  int32_t d0, d1, d2, d3;
  // clang-format off
  __asm__ volatile(
      THIMBLE_WALK("w", "scales", "0")
      "ldr %[more], [%[walk], #20]\n\t"
      "lsr %[more], #4\n"
      "0:\n\t" THIMBLE_BLOCK_BEGIN("x")
      "vmov.i32 %q[acc], #0\n"
      "1:\n\t" THIMBLE_LOOK_UP16("vmladav") THIMBLE_LOOK_UP16("vmladava")
      "wls lr, %[more], 3f\n"
      "2:\n\t" THIMBLE_LOOK_UP16("vmladava")
      "le lr, 2b\n"
      "3:\n\t" THIMBLE_FACTORS(THIMBLE_LOAD_SCALES4)
      "vfma.f32 %q[acc], q0, q1\n\t" THIMBLE_GROUP_END
      THIMBLE_WALK("d0", "d1", "24")  // out, blocks
      "vstrw.32 %q[acc], [%[d0]], #16\n\t"
      "subs %[d1], #1\n\t"
      "strd %[d0], %[d1], [%[walk], #24]\n\t"
      "bne 0b"
      : [acc] "=&w"(acc), [w] "=&l"(w), [x] "=&r"(x), [xs] "=&r"(xs), [scales] "=&l"(scales),
        [groups] "=&r"(groups), [d0] "=&Te"(d0), [d1] "=&Te"(d1), [d2] "=&Te"(d2), [d3] "=&Te"(d3),
        [more] "=&r"(more)
      : [walk] "r"(walk), [levels] "r"(kLevels.of)
      : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "lr", "cc", "memory");
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

// Tiles of eight or sixteen rows, groups of a multiple of 8 columns: a lane is eight columns,
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
      THIMBLE_WALK("w", "scales", "0")
      THIMBLE_WALK("more", "out", "20")
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
  const bool is_short = w.row_tile == 4 && w.group < 32;
  if (addresses % 4 == 0 && w.row_tile >= 4 && !is_short) {
    clear_marks<kAllMarks>();
    constexpr Blocks kBlocks = {whole_rows_q4, rows_q4, 0};
    matmul_blocks<kWeightQ4>(kBlocks, out, out_stride, w, tile_begin, tile_end, x, n);
    if (unmarked()) return;
  }
  matmul_q4_reference(out, out_stride, w, tile_begin, tile_end, x, n);
}

}  // namespace
}  // namespace thimble

#endif
