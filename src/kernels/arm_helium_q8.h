// SPDX-License-Identifier: MIT
// For arm_helium.cpp: matrix products with int8 weights, and activations to int8.
#ifndef THIMBLE_SRC_KERNELS_ARM_HELIUM_Q8_H
#define THIMBLE_SRC_KERNELS_ARM_HELIUM_Q8_H

#include <arm_mve.h>

#include "arm_helium_lanes.h"

namespace thimble {
namespace {

// ---- Matrix products -----------------------------------------------------------------------

// What whole_rows_q8, rows_q8 and theirs of 4 bits do: blocks of four rows, tile by tile, with one
// vector. The assembler has it so.
struct Walk {
  const int8_t* w;
  const uint16_t* scales;
  const int8_t* x;
  const float* xs;
  uint32_t groups;
  uint32_t more;  // columns of a group behind its first ones, which are 32, 16 or none
  float* out;
  uint32_t blocks;
  // From where a block began to the next one's weights, from where its scales end to the next
  // one's: within a tile, and to the next tile. In bytes.
  int32_t step, scales_step;
  int32_t tile_step, tile_scales_step;
  uint32_t scale_bytes;       // of a group in a tile
  uint32_t tile_blocks_mask;  // blocks of a tile - 1
  uint32_t rows[4];           // where a row's words lie in a block, in bytes
};
#define THIMBLE_WALK(a, b, at) "ldrd %[" a "], %[" b "], [%[walk], #" at "]\n\t"

// Sixteen columns of four rows, in q0 to q3, times sixteen activations.
#define THIMBLE_DOT16(mla)                                                                  \
  "vldrb.8 q4, [%[x]], #16\n\t" mla ".s8 %[d0], q0, q4\n\t" mla ".s8 %[d1], q1, q4\n\t" mla \
  ".s8 %[d2], q2, q4\n\t" mla ".s8 %[d3], q3, q4\n\t"

// Their load from a tile of four rows, which interleave as VLD4 wants it,
#define THIMBLE_LOAD_TILE4                \
  "vld40.32 {q0, q1, q2, q3}, [%[w]]\n\t" \
  "vld41.32 {q0, q1, q2, q3}, [%[w]]\n\t" \
  "vld42.32 {q0, q1, q2, q3}, [%[w]]\n\t" \
  "vld43.32 {q0, q1, q2, q3}, [%[w]]!\n\t"

// and from any tile: four columns of a row at each of four addresses, which move on then.
#define THIMBLE_GATHER              \
  "vldrw.u32 q0, [%q[at]]\n\t"      \
  "vldrw.u32 q1, [%q[at], #4]\n\t"  \
  "vldrw.u32 q2, [%q[at], #8]\n\t"  \
  "vldrw.u32 q3, [%q[at], #12]\n\t" \
  "vadd.i32 %q[at], %q[at], %q[columns]\n\t"

#define THIMBLE_BLOCK_BEGIN(x) THIMBLE_WALK(x, "xs", "8") "ldr %[groups], [%[walk], #16]\n\t"

// A group's dots to q0, ws * xs to q1.
#define THIMBLE_FACTORS(load_scales) \
  THIMBLE_DOTS("q0")                 \
  load_scales                        \
      "ldr %[d0], [%[xs]], #4\n\t"   \
      "vshl.i32 q1, q1, #16\n\t"     \
      "vcvt.f32.s32 q0, q0\n\t"      \
      "vmul.f32 q1, q1, %[d0]\n\t"

// Scales of a group, and to those of the next one: in tiles of four rows they follow.
#define THIMBLE_LOAD_SCALES4 "vldrh.u32 q1, [%[scales]], #8\n\t"
#define THIMBLE_LOAD_SCALES       \
  "vldrh.u32 q1, [%[scales]]\n\t" \
  "ldr %[d1], [%[walk], #48]\n\t" \
  "add %[scales], %[d1]\n\t"

#define THIMBLE_GROUP_END  \
  "subs %[groups], #1\n\t" \
  "bne 1b\n\t"

// Leaves zero in the flags behind the last block, in tiles of four rows and in any.
#define THIMBLE_BLOCK_END4        \
  "ldr %[d0], [%[walk], #28]\n\t" \
  "subs %[d0], #1\n\t"            \
  "str %[d0], [%[walk], #28]\n\t"
#define THIMBLE_BLOCK_END                   \
  THIMBLE_BLOCK_END4                        \
  THIMBLE_WALK("d1", "d2", "32")            \
  "ldr %[d3], [%[walk], #52]\n\t"           \
  "tst %[d0], %[d3]\n\t"                    \
  "it eq\n\t"                               \
  "ldrdeq %[d1], %[d2], [%[walk], #40]\n\t" \
  "add %[w], %[d1]\n\t"                     \
  "add %[scales], %[d2]\n\t"                \
  "cmp %[d0], #0\n\t"

static_assert(sizeof(void*) == 4 && sizeof(Walk) == 72, "as the assembler has it");

// Tiles of four rows, where `more` is a multiple of 16 behind 32 columns.
__attribute__((noinline)) void whole_rows_q8(Walk* walk) {
  float32x4_t acc;
  float* out;
  const int8_t *w, *x;
  const uint16_t* scales;
  const float* xs;
  uint32_t more, groups;
  int32_t d0, d1, d2, d3;
  // clang-format off
  __asm__ volatile(
      THIMBLE_WALK("w", "scales", "0")
      THIMBLE_WALK("more", "out", "20")
      "lsr %[more], #4\n"
      "0:\n\t" THIMBLE_BLOCK_BEGIN("x")
      "vmov.i32 %q[acc], #0\n"
      "1:\n\t" THIMBLE_LOAD_TILE4 THIMBLE_DOT16("vmladav")
               THIMBLE_LOAD_TILE4 THIMBLE_DOT16("vmladava")
      "wls lr, %[more], 3f\n"
      "2:\n\t" THIMBLE_LOAD_TILE4 THIMBLE_DOT16("vmladava")
      "le lr, 2b\n"
      "3:\n\t" THIMBLE_FACTORS(THIMBLE_LOAD_SCALES4)
      "vfma.f32 %q[acc], q0, q1\n\t" THIMBLE_GROUP_END
      "vstrw.32 %q[acc], [%[out]], #16\n\t" THIMBLE_BLOCK_END4
      "bne 0b"
      : [acc] "=&w"(acc), [w] "=&r"(w), [x] "=&r"(x), [xs] "=&r"(xs), [scales] "=&l"(scales),
        [out] "=&r"(out), [groups] "=&r"(groups), [d0] "=&Te"(d0), [d1] "=&Te"(d1),
        [d2] "=&Te"(d2), [d3] "=&Te"(d3), [more] "=&r"(more)
      : [walk] "r"(walk)
      : "q0", "q1", "q2", "q3", "q4", "lr", "cc", "memory");
  // clang-format on
}

// Tiles of any four, eight or sixteen rows, where `more` is a multiple of 4 behind 16 columns.
__attribute__((noinline)) void rows_q8(Walk* walk) {
  const uint32x4_t columns = vdupq_n_u32(8 * walk->scale_bytes);  // bytes of 16
  float32x4_t acc;
  uint32x4_t at;
  float* out;
  const int8_t *w, *x;
  const uint16_t* scales;
  const float* xs;
  uint32_t more, groups;
  int32_t d0, d1, d2, d3;
  // clang-format off
  __asm__ volatile(
      THIMBLE_WALK("w", "scales", "0")
      THIMBLE_WALK("more", "out", "20")
      "0:\n\t" THIMBLE_BLOCK_BEGIN("x")
      "vmov.i32 %q[acc], #0\n\t"
      "vldrw.32 %q[at], [%[walk], #56]\n\t"
      "vadd.i32 %q[at], %q[at], %[w]\n"
      "1:\n\t" THIMBLE_GATHER THIMBLE_DOT16("vmladav")
      "wlstp.8 lr, %[more], 3f\n"
      "2:\n\t" THIMBLE_GATHER THIMBLE_DOT16("vmladava")
      "letp lr, 2b\n"
      "3:\n\t" THIMBLE_FACTORS(THIMBLE_LOAD_SCALES)
      "vfma.f32 %q[acc], q0, q1\n\t" THIMBLE_GROUP_END
      "vstrw.32 %q[acc], [%[out]], #16\n\t" THIMBLE_BLOCK_END
      "bne 0b"
      : [acc] "=&w"(acc), [at] "=&w"(at), [w] "=&r"(w), [x] "=&r"(x), [xs] "=&r"(xs),
        [scales] "=&l"(scales), [out] "=&r"(out), [groups] "=&r"(groups), [d0] "=&Te"(d0),
        [d1] "=&Te"(d1), [d2] "=&Te"(d2), [d3] "=&Te"(d3), [more] "=&r"(more)
      : [columns] "w"(columns), [walk] "r"(walk)
      : "q0", "q1", "q2", "q3", "q4", "lr", "cc", "memory");
  // clang-format on
}

// whole_rows: tiles of four rows, groups of at least 32 columns and a multiple of 16; rows: any
// other, where the first `first` columns of a group are not of `more`.
struct Blocks {
  void (*whole_rows)(Walk*);
  void (*rows)(Walk*);
  uint32_t first;
};

template <WeightType kType>
inline void matmul_blocks(const Blocks& blocks, float* out, size_t out_stride, const Matrix& w,
                          uint32_t tile_begin, uint32_t tile_end, const QuantizedRows& x,
                          uint32_t n) {
  const uint32_t height = w.row_tile, groups = w.n_groups, tile_scales = groups * height;
  const size_t tile_bytes = weight_bytes(kType, size_t{w.padded_cols} * height);
  const int32_t back = 8 - 2 * static_cast<int32_t>(tile_scales);
  const int32_t next = static_cast<int32_t>(tile_bytes + 16 - 4 * height);
  const bool whole = height == 4 && w.group >= 32 && w.group % 16 == 0;
  // Of several vectors, each meets the rows that lie in the cache before the next rows are loaded.
  const uint32_t together = n == 1 ? tile_end - tile_begin : height == 4 ? 4 : 1;
  for (uint32_t tile = tile_begin; tile < tile_end; tile += together) {
    const uint32_t tiles = tile_end - tile < together ? tile_end - tile : together;
    for (uint32_t i = 0; i < n; ++i) {
      Walk walk = {static_cast<const int8_t*>(w.data) + tile * tile_bytes,
                   w.scales + size_t{tile} * tile_scales,
                   x.values + size_t{i} * w.padded_cols,
                   x.scales + size_t{i} * groups,
                   groups,
                   w.group - (whole ? 32 : blocks.first),
                   out + i * out_stride + size_t{tile} * height,
                   tiles * (height / 4),
                   16,
                   back,
                   next,
                   8 - 2 * static_cast<int32_t>(height),
                   2 * height,
                   height / 4 - 1,
                   {0, 4 * height, 8 * height, 12 * height}};
      if (whole) {
        blocks.whole_rows(&walk);
      } else {
        blocks.rows(&walk);
      }
    }
  }
}

// Rows of up to 16 columns with one scale, in tiles of four: the keys of narrow heads. Columns that
// the rows do not have are any others times zero.
__attribute__((noinline)) void short_rows_q8(float* out, const int8_t* w, const uint16_t* scales,
                                             uint32_t tiles, uint32_t cols, const int8_t* values,
                                             float xs) {
  int8x16_t x;
  uint32x4_t at;
  float32x4_t acc;
  int32_t d0, d1, d2, d3;
  __asm__ volatile(
      "vctp.8 %[cols]\n\t"
      "vpst\n\t"
      "vldrbt.u8 %q[x], [%[values]]\n\t"
      "lsr %[d0], %[cols], #2\n\t"
      "vctp.32 %[d0]\n\t"
      "mov %[d0], #0\n\t"
      "vmov.i32 %q[at], #0\n\t"
      "vpst\n\t"
      "vidupt.u32 %q[at], %[d0], #4\n\t"
      "vshl.i32 %q[at], %q[at], #2\n\t"
      "vadd.i32 %q[at], %q[at], %[w]\n\t"
      "wls lr, %[tiles], 2f\n"
      "1:\n\t"
      "vldrw.u32 q0, [%q[at]]\n\t"
      "vldrw.u32 q1, [%q[at], #4]\n\t"
      "vldrw.u32 q2, [%q[at], #8]\n\t"
      "vldrw.u32 q3, [%q[at], #12]\n\t"
      "vmladav.s8 %[d0], q0, %q[x]\n\t"
      "vmladav.s8 %[d1], q1, %q[x]\n\t"
      "vmladav.s8 %[d2], q2, %q[x]\n\t"
      "vmladav.s8 %[d3], q3, %q[x]\n\t" THIMBLE_DOTS("q0")
      "vldrh.u32 q1, [%[scales]], #8\n\t"
      "vadd.i32 %q[at], %q[at], %[tile_bytes]\n\t"
      "vshl.i32 q1, q1, #16\n\t"
      "vcvt.f32.s32 q0, q0\n\t"
      "vmul.f32 q1, q1, %[xs]\n\t"
      "vmov.i32 %q[acc], #0\n\t"
      "vfma.f32 %q[acc], q0, q1\n\t"
      "vstrw.32 %q[acc], [%[out]], #16\n\t"
      "le lr, 1b\n"
      "2:"
      : [x] "=&w"(x), [at] "=&w"(at), [acc] "=&w"(acc), [scales] "+l"(scales), [out] "+r"(out), [d0] "=&Te"(d0),
        [d1] "=&Te"(d1), [d2] "=&Te"(d2), [d3] "=&Te"(d3)
      : [w] "r"(w), [values] "r"(values), [cols] "r"(cols), [tiles] "r"(tiles),
        [tile_bytes] "r"(4 * cols), [xs] "r"(xs)
      : "q0", "q1", "q2", "q3", "lr", THIMBLE_PREDICATES, "memory");
}

void matmul_q8_helium(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                      uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  // Loads of words want words' alignment, which a model's sections have.
  const bool aligned = reinterpret_cast<uintptr_t>(w.data) % 4 == 0;
  const bool is_short = w.n_groups == 1 && w.group <= 16 && w.row_tile == 4;
  if (aligned && (is_short || w.group > 16) && w.row_tile >= 4) {
    clear_marks<kAllMarks>();
    if (is_short) {
      const size_t row = size_t{tile_begin} * 4;
      for (uint32_t i = 0; i < n; ++i) {
        short_rows_q8(out + i * out_stride + row,
                      static_cast<const int8_t*>(w.data) + row * w.group, w.scales + row,
                      tile_end - tile_begin, w.group, x.values + size_t{i} * w.group, x.scales[i]);
      }
    } else {
      constexpr Blocks kBlocks = {whole_rows_q8, rows_q8, 16};
      matmul_blocks<kWeightQ8>(kBlocks, out, out_stride, w, tile_begin, tile_end, x, n);
    }
    if (unmarked()) return;
  }
  matmul_q8_reference(out, out_stride, w, tile_begin, tile_end, x, n);
}

// ---- Activations to int8 -------------------------------------------------------------------

// The largest |x|; a NaN is none.
inline float largest_size(const float* x, uint32_t n) {
  float32x4_t max = vdupq_n_f32(0.0f);
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[x]], #16\n\t"
      "vmaxnma.f32 %q[max], q0\n\t"
      "letp lr, 1b\n"
      "2:"
      : [x] "+r"(x), [max] "+w"(max)
      : [n] "r"(n)
      : "q0", "lr", "memory");
  return vmaxnmvq_f32(0.0f, max);
}

// To int8, and their sum. x * (127 / max) cannot round to more than 127, and a NaN leaves a mark.
inline int32_t to_int8(int8_t* values, const float* x, float inverse, uint32_t n) {
  int32_t sum = 0;
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[x]], #16\n\t"
      "vmul.f32 q0, q0, %[inverse]\n\t"
      "vcvtn.s32.f32 q0, q0\n\t"
      "vstrb.32 q0, [%[values]], #4\n\t"
      "vaddva.s32 %[sum], q0\n\t"
      "letp lr, 1b\n"
      "2:"
      : [x] "+r"(x), [values] "+l"(values), [sum] "+Te"(sum)
      : [n] "r"(n), [inverse] "r"(inverse)
      : "q0", "lr", "memory");
  return sum;
}

void quantize_q8_helium(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                        uint32_t n) {
  const uint32_t group = out.group, groups = out.n_groups;
  int8_t* values = out.values;
  float* scales = out.scales;
  int32_t* sums = out.sums;
  clear_marks<kAllMarks>();
  for (uint32_t i = 0; i < n; ++i) {
    const float* at = x + i * x_stride;
    for (uint32_t g = 0; g < groups; ++g, at += group) {
      const uint32_t begin = g * group;
      const uint32_t count = begin + group < cols ? group : cols - begin;
      const float max = largest_size(at, count);
      const bool silent = max < 1e-30f;
      const float inverse = silent ? 0.0f : 127.0f / max;
      *scales++ = silent ? 0.0f : max / 127.0f;
      *sums++ = to_int8(values, at, inverse, count);
      if (count < group) memset(values + count, 0, group - count);
      values += group;
    }
  }
  if (!unmarked()) quantize_q8_reference(out, x, x_stride, cols, n);
}

}  // namespace
}  // namespace thimble

#endif
