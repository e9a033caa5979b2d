// SPDX-License-Identifier: MIT
// Products of matrices, blocked (Goto, van de Geijn 2008): a tile of the result stays in registers,
// a panel of the right matrix in the first cache.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_GEMM_H
#define THIMBLE_TOOLS_TRAIN_LANES_GEMM_H

#include "kernels.h"
#include "lanes.h"

namespace thimble::tools::train {
namespace {

constexpr uint32_t kDepth = 256;  // of a block: columns of the left matrix

// Where a tile's left operand lies: element (row, k) at a[row * row_stride + k * k_stride].
struct Left {
  const float* a;
  size_t row_stride, k_stride;
};

// c (kRows, kVectors vectors) = or += left * right, right (depth, ...) with rows b_stride apart.
template <uint32_t kRows, uint32_t kVectors, bool kByColumns>
__attribute__((always_inline)) inline void tile(uint32_t depth, const Left& left, const float* b,
                                                size_t b_stride, float* c, size_t ldc, bool add) {
  Vec acc[kRows][kVectors];
#pragma GCC unroll 16
  for (uint32_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) {
      acc[r][v] = add ? load(c + r * ldc + v * kWidth) : Vec{};
    }
  }
  if (kByColumns) {  // the rows of a column side by side
    const float* a = left.a;
    for (uint32_t k = 0; k < depth; ++k, a += left.k_stride, b += b_stride) {
      Vec right[kVectors];
#pragma GCC unroll 4
      for (uint32_t v = 0; v < kVectors; ++v) right[v] = load(b + v * kWidth);
#pragma GCC unroll 16
      for (uint32_t r = 0; r < kRows; ++r) {
        const Vec x = all(a[r]);
#pragma GCC unroll 4
        for (uint32_t v = 0; v < kVectors; ++v) acc[r][v] += x * right[v];
      }
    }
  } else {
    // Of every three rows one pointer: x86 adds an index, or twice that, by itself.
    const size_t stride = left.row_stride;
    const float* rows[(kRows + 2) / 3];
#pragma GCC unroll 16
    for (uint32_t r = 0; r < kRows; r += 3) rows[r / 3] = left.a + r * stride;
    for (uint32_t k = 0; k < depth; ++k, b += b_stride) {
      Vec right[kVectors];
#pragma GCC unroll 4
      for (uint32_t v = 0; v < kVectors; ++v) right[v] = load(b + v * kWidth);
#pragma GCC unroll 16
      for (uint32_t r = 0; r < kRows; ++r) {
        const Vec x = all(rows[r / 3][r % 3 * stride + k]);
#pragma GCC unroll 4
        for (uint32_t v = 0; v < kVectors; ++v) acc[r][v] += x * right[v];
      }
    }
  }
#pragma GCC unroll 16
  for (uint32_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) store(c + r * ldc + v * kWidth, acc[r][v]);
  }
}

// 0 to n - 1.
template <uint32_t...>
struct Numbers {};
template <uint32_t n, uint32_t... kRest>
struct NumbersBelow : NumbersBelow<n - 1, n - 1, kRest...> {};
template <uint32_t... kAll>
struct NumbersBelow<0, kAll...> {
  using Type = Numbers<kAll...>;
};
using TileRows = NumbersBelow<kTileRows>::Type;

using Tile = void (*)(uint32_t depth, const Left& left, const float* b, size_t b_stride, float* c,
                      size_t ldc, bool add);
template <uint32_t kRows, uint32_t kVectors, bool kByColumns>
void tile_of(uint32_t depth, const Left& left, const float* b, size_t b_stride, float* c,
             size_t ldc, bool add) {
  if (add) {
    tile<kRows, kVectors, kByColumns>(depth, left, b, b_stride, c, ldc, true);
  } else {
    tile<kRows, kVectors, kByColumns>(depth, left, b, b_stride, c, ldc, false);
  }
}

// By the number of rows less 1.
template <uint32_t kVectors, bool kByColumns, uint32_t... kLess>
inline Tile tile_with(uint32_t rows, Numbers<kLess...>) {
  static constexpr Tile kTiles[] = {tile_of<kLess + 1, kVectors, kByColumns>...};
  return kTiles[rows - 1];
}

// m rows in tiles of nearly the same height: f(first, rows).
template <class F>
inline void for_tiles(uint32_t m, F f) {
  const uint32_t tiles = ceil_div(m, kTileRows);
  for (uint32_t t = 0, first = 0; t < tiles; ++t) {
    const uint32_t rows = (m - first) / (tiles - t);
    f(first, rows);
    first += rows;
  }
}

// Lets f(to, ld, add) write a tile as wide as whole vectors where only `columns` may be written.
template <class F>
inline void to_whole_vectors(float* c, size_t ldc, uint32_t rows, uint32_t columns, uint32_t wide,
                             bool add, F f) {
  if (columns == wide) return f(c, ldc, add);
  float part[kTileRows * kPanel];
  f(part, wide, false);
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t i = 0; i < columns; ++i) {
      const float x = part[r * wide + i];
      c[r * ldc + i] = add ? c[r * ldc + i] + x : x;
    }
  }
}

// One panel of the result: c (m, columns) = or += left (m, depth) * b (depth, kPanel).
template <bool kByColumns>
inline void multiply_panel(const Left& left, uint32_t m, uint32_t depth, const float* b,
                           size_t b_stride, float* c, size_t ldc, uint32_t columns, bool add) {
  const uint32_t vectors = columns <= kWidth ? 1 : 2, wide = vectors * kWidth;
  for_tiles(m, [&](uint32_t first, uint32_t rows) {
    const Left from = {left.a + first * left.row_stride, left.row_stride, left.k_stride};
    const Tile of_rows = vectors == 1 ? tile_with<1, kByColumns>(rows, TileRows{})
                                      : tile_with<2, kByColumns>(rows, TileRows{});
    to_whole_vectors(
        c + first * ldc, ldc, rows, columns, wide, add,
        [&](float* to, size_t ld, bool adds) { of_rows(depth, from, b, b_stride, to, ld, adds); });
  });
}

size_t packed_floats(uint32_t k, uint32_t n) {
  return size_t{k} * ceil_div(n, kPanel) * kPanel;
}

void pack(float* out, const float* b, size_t k_stride, size_t n_stride, uint32_t k, uint32_t n) {
  for (uint32_t first = 0; first < n; first += kPanel) {
    const uint32_t columns = n - first < kPanel ? n - first : kPanel;
    for (uint32_t i = 0; i < k; ++i, out += kPanel) {
      const float* from = b + i * k_stride + first * n_stride;
      if (n_stride == 1 && columns == kPanel) {
        store(out, load(from));
        store(out + kWidth, load(from + kWidth));
        continue;
      }
      if (n_stride == 1) {
        memcpy(out, from, columns * sizeof(float));
      } else {
        for (uint32_t j = 0; j < columns; ++j) out[j] = from[j * n_stride];
      }
      for (uint32_t j = columns; j < kPanel; ++j) out[j] = 0.0f;
    }
  }
}

// Rows of the left matrix that stay in the first cache beside a panel while all panels pass.
constexpr uint32_t kRowsAtOnce = 16 * kTileRows;

void multiply(float* c, size_t ldc, const float* a, size_t lda, const PackedMatrix& b, uint32_t m,
              bool add, float* /* scratch */) {
  const uint32_t blocks = ceil_div(b.k, kDepth);
  for (uint32_t block = 0, first = 0; block < blocks; ++block) {
    const uint32_t depth = (b.k - first) / (blocks - block);
    for (uint32_t row = 0; row < m; row += kRowsAtOnce) {
      const uint32_t rows = m - row < kRowsAtOnce ? m - row : kRowsAtOnce;
      for (uint32_t n = 0; n < b.n; n += kPanel) {
        const uint32_t columns = b.n - n < kPanel ? b.n - n : kPanel;
        multiply_panel<false>({a + row * lda + first, lda, 1}, rows, depth,
                              b.data + size_t{n} * b.k + first * kPanel, kPanel, c + row * ldc + n,
                              ldc, columns, add || block > 0);
      }
    }
    first += depth;
  }
}

constexpr uint32_t kColumns = 384;  // of the right matrix that stay in the second cache

// Some columns of a, (depth, rows), side by side for a tile: rows of kColumnStride floats.
constexpr uint32_t kColumnStride = 16;
static_assert(kTileRows <= kColumnStride && kColumnStride % kWidth == 0, "a tile's rows fit");
static_assert(kProductScratch == kDepth * (kColumns + kColumnStride), "and so do both");
inline void pack_tile(float* out, const float* a, size_t lda, uint32_t depth, uint32_t rows,
                      bool may_read_on) {
  for (uint32_t k = 0; k < depth; ++k, a += lda, out += kColumnStride) {
    if (may_read_on) {
      for (uint32_t i = 0; i < kColumnStride; i += kWidth) store(out + i, load(a + i));
    } else {
      for (uint32_t i = 0; i < rows; ++i) out[i] = a[i];
    }
  }
}

void add_outer(float* c, size_t ldc, const float* a, size_t lda, const float* b, size_t ldb,
               uint32_t m, uint32_t n, uint32_t k, float* scratch) {
  float* columns_of_a = scratch + kDepth * kColumns;
  const uint32_t blocks = ceil_div(m, kDepth);
  for (uint32_t block = 0, first = 0; block < blocks; ++block) {
    const uint32_t depth = (m - first) / (blocks - block);
    for (uint32_t j = 0; j < k; j += kColumns) {
      const uint32_t width = k - j < kColumns ? k - j : kColumns;
      pack(scratch, b + first * ldb + j, ldb, 1, depth, width);
      for_tiles(n, [&](uint32_t i, uint32_t rows) {
        // Behind the last tile's columns there may be nothing to read.
        pack_tile(columns_of_a, a + first * lda + i, lda, depth, rows, i + kColumnStride <= n);
        for (uint32_t p = 0; p < width; p += kPanel) {
          const uint32_t columns = width - p < kPanel ? width - p : kPanel;
          multiply_panel<true>({columns_of_a, 1, kColumnStride}, rows, depth,
                               scratch + size_t{p} * depth, kPanel, c + i * ldc + j + p, ldc,
                               columns, true);
        }
      });
    }
    first += depth;
  }
}

}  // namespace
}  // namespace thimble::tools::train

#endif
