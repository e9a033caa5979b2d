// SPDX-License-Identifier: MIT
// Products of matrices by whole numbers of 16 bits (lanes_whole.h), of which an instruction
// multiplies two a lane and adds both to a sum of 32 bits: twice the products of float32 a cycle.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_PAIRS_H
#define THIMBLE_TOOLS_TRAIN_LANES_PAIRS_H

#include <immintrin.h>

#include "kernels.h"
#include "lanes.h"
#include "lanes_gemm.h"
#include "lanes_whole.h"

namespace thimble::tools::train {
namespace {

// sums + the products of both halves of each lane.
inline VecI add_products(VecI sums, VecI x, VecI y) {
  return (VecI)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)x, (__m512i)y);
}

// ---- One tile

// A tile's left operand: pair k of row r at pairs[r * row_stride + k * k_stride].
struct LeftPairs {
  const int32_t* pairs;
  size_t row_stride, k_stride;
  const float* steps;  // of its rows
};
// A panel of the right one: steps (kPanel), then pairs (n, kPanel).
struct RightPairs {
  const float* panel;
  const float* steps() const { return panel; }
  const int32_t* pairs() const { return reinterpret_cast<const int32_t*>(panel + kPanel); }
};

template <uint32_t kRows, uint32_t kVectors, bool kByColumns>
__attribute__((always_inline)) inline void pairs_tile(uint32_t n, const LeftPairs& left,
                                                      const RightPairs& b, float* c, size_t ldc,
                                                      bool add) {
  VecI acc[kRows][kVectors];
#pragma GCC unroll 16
  for (uint32_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) acc[r][v] = VecI{};
  }
  // Of every three rows one pointer: x86 adds an index, or twice that, by itself.
  const size_t stride = kByColumns ? 1 : left.row_stride;
  const size_t step = kByColumns ? left.k_stride : 1;
  const int32_t* rows[(kRows + 2) / 3];
#pragma GCC unroll 16
  for (uint32_t r = 0; r < kRows; r += 3) rows[r / 3] = left.pairs + r * stride;
  const int32_t* from = b.pairs();
  for (uint32_t k = 0; k < n; ++k, from += kPanel) {
    VecI right[kVectors];
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) right[v] = load_pairs(from + v * kWidth);
#pragma GCC unroll 16
    for (uint32_t r = 0; r < kRows; ++r) {
      const VecI x = rows[r / 3][r % 3 * stride + k * step] - VecI{};
#pragma GCC unroll 4
      for (uint32_t v = 0; v < kVectors; ++v) acc[r][v] = add_products(acc[r][v], x, right[v]);
    }
  }
  Vec steps[kVectors];
#pragma GCC unroll 4
  for (uint32_t v = 0; v < kVectors; ++v) steps[v] = load(b.steps() + v * kWidth);
#pragma GCC unroll 16
  for (uint32_t r = 0; r < kRows; ++r) {
    const Vec step_of_row = all(left.steps[r]);
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) {
      put_product(c + r * ldc + v * kWidth, acc[r][v], steps[v] * step_of_row, add);
    }
  }
}

using PairsTile = void (*)(uint32_t n, const LeftPairs& left, const RightPairs& b, float* c,
                           size_t ldc, bool add);
template <uint32_t kRows, uint32_t kVectors, bool kByColumns>
void pairs_tile_of(uint32_t n, const LeftPairs& left, const RightPairs& b, float* c, size_t ldc,
                   bool add) {
  pairs_tile<kRows, kVectors, kByColumns>(n, left, b, c, ldc, add);
}
template <uint32_t kVectors, bool kByColumns, uint32_t... kLess>
inline PairsTile pairs_tile_with(uint32_t rows, Numbers<kLess...>) {
  static constexpr PairsTile kTiles[] = {pairs_tile_of<kLess + 1, kVectors, kByColumns>...};
  return kTiles[rows - 1];
}

// Tiles of one panel of the result: c (m, columns) = or += left * b.
template <bool kByColumns>
inline void multiply_pairs(const LeftPairs& left, uint32_t m, uint32_t n, const RightPairs& b,
                           float* c, size_t ldc, uint32_t columns, bool add) {
  const uint32_t vectors = columns <= kWidth ? 1 : 2;
  for_tiles(m, [&](uint32_t first, uint32_t rows) {
    const PairsTile tile = vectors == 1 ? pairs_tile_with<1, kByColumns>(rows, TileRows{})
                                        : pairs_tile_with<2, kByColumns>(rows, TileRows{});
    const LeftPairs from = {left.pairs + first * left.row_stride, left.row_stride, left.k_stride,
                            left.steps + first};
    to_whole_vectors(c + first * ldc, ldc, rows, columns, vectors * kWidth, add,
                     [&](float* to, size_t ld, bool adds) { tile(n, from, b, to, ld, adds); });
  });
}

// ---- Whole matrices

// A panel has all blocks of the depth, each its steps and then its pairs.
inline size_t panel_floats(uint32_t k) {
  const uint32_t pairs = ceil_div(k, 2);
  return size_t{kPanel} * (pairs + ceil_div(pairs, kPairs));
}
size_t packed_pairs_floats(uint32_t k, uint32_t n) {
  return panel_floats(k) * ceil_div(n, kPanel);
}
// Where block `block` begins, elements `first` on, in a panel.
inline size_t block_at(uint32_t block, uint32_t first) {
  return size_t{kPanel} * (first / 2 + block);
}

void pack_pairs(float* out, const float* b, size_t k_stride, size_t n_stride, uint32_t k,
                uint32_t n) {
  for (uint32_t column = 0; column < n; column += kPanel, out += panel_floats(k)) {
    const uint32_t columns = n - column < kPanel ? n - column : kPanel;
    for_pair_blocks(k, [&](uint32_t block, uint32_t first, uint32_t depth) {
      pack_block(out + block_at(block, first), b + first * k_stride + column * n_stride, k_stride,
                 n_stride, depth, columns);
    });
  }
}

void multiply_by_pairs(float* c, size_t ldc, const float* a, size_t lda, const PackedMatrix& b,
                       uint32_t m, bool add, float* scratch) {
  static_assert(kRowsAtOnce * (kPairs + 1) <= kProductScratch, "rows and their steps fit");
  float* steps = scratch;
  int32_t* rounded = reinterpret_cast<int32_t*>(scratch + kRowsAtOnce);
  for_pair_blocks(b.k, [&](uint32_t block, uint32_t first, uint32_t depth) {
    const uint32_t pairs = ceil_div(depth, 2);
    for (uint32_t row = 0; row < m; row += kRowsAtOnce) {
      const uint32_t rows = m - row < kRowsAtOnce ? m - row : kRowsAtOnce;
      for (uint32_t r = 0; r < rows; ++r) {
        steps[r] = round_row(rounded + r * pairs, a + (row + r) * lda + first, depth);
      }
      const float* panel = b.data + block_at(block, first);
      for (uint32_t n = 0; n < b.n; n += kPanel, panel += panel_floats(b.k)) {
        multiply_pairs<false>({rounded, pairs, 1, steps}, rows, pairs, {panel}, c + row * ldc + n,
                              ldc, b.n - n < kPanel ? b.n - n : kPanel, add || block > 0);
      }
    }
  });
}

void add_outer_by_pairs(float* c, size_t ldc, const float* a, size_t lda, const float* b,
                        size_t ldb, uint32_t m, uint32_t n, uint32_t k, float* scratch) {
  static_assert(kTileRows <= kWidth, "a tile's rows are columns of one vector");
  constexpr uint32_t kRight = kColumns * (kPairs + 1);
  static_assert(kColumns % kPanel == 0 && kRight + kWidth * (kPairs + 1) <= kProductScratch,
                "both sides fit");
  float* steps = scratch + kRight;
  int32_t* left = reinterpret_cast<int32_t*>(steps + kWidth);
  for_pair_blocks(m, [&](uint32_t, uint32_t first, uint32_t depth) {
    const uint32_t pairs = ceil_div(depth, 2), panel = kPanel * (pairs + 1);
    for (uint32_t j = 0; j < k; j += kColumns) {
      const uint32_t width = k - j < kColumns ? k - j : kColumns;
      for (uint32_t p = 0; p < width; p += kPanel) {
        pack_block(scratch + p / kPanel * panel, b + first * ldb + j + p, ldb, depth,
                   width - p < kPanel ? width - p : kPanel);
      }
      for_tiles(n, [&](uint32_t i, uint32_t rows) {
        const float* from = a + first * lda + i;
        if (i + kWidth <= n) {
          round_columns(left, kWidth, steps, from, lda, depth, Whole{});
        } else {  // behind the last tile's columns there may be nothing to read
          round_columns(left, kWidth, steps, from, lda, depth, Part{rows});
        }
        for (uint32_t p = 0; p < width; p += kPanel) {
          multiply_pairs<true>({left, 1, kWidth, steps}, rows, pairs,
                               {scratch + p / kPanel * panel}, c + i * ldc + j + p, ldc,
                               width - p < kPanel ? width - p : kPanel, true);
        }
      });
    }
  });
}

}  // namespace
}  // namespace thimble::tools::train

#endif
