// SPDX-License-Identifier: MIT
// Products of matrices by whole numbers of 16 bits, of which an instruction multiplies two a lane
// and adds both to a sum of 32 bits: twice the products of float32 a cycle.
//
// In a block of the depth each row of the left matrix and each column of the right one, a vector x,
// becomes step * whole numbers, with norms of at most kNorm < 2^15.5: so no sum of products leaves
// 32 bits (Cauchy-Schwarz), and the step is as small as that allows. A rounded element is off by at
// most half a step, a product of vectors x, y of n elements by at most
//   sqrt(n) / 2 (step_x |y| + step_y |x|), 2.4e-4 |x| |y| for 128,
// and by 1e-5 |x| |y| as a rule (one standard deviation). Gradients are within 1e-3 of a tensor's
// largest so; with inputs in bf16, which are multiplied no faster, they were off by 2e-2.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_PAIRS_H
#define THIMBLE_TOOLS_TRAIN_LANES_PAIRS_H

#include <immintrin.h>

#include "kernels.h"
#include "lanes.h"
#include "lanes_gemm.h"
#include "lanes_rows.h"

namespace thimble::tools::train {
namespace {

// Of a block of the depth, at most: of half the length, steps are finer by the square root of 2.
constexpr uint32_t kPairs = 64;
// 2^15.5 = 46340.95, less what rounding may add to a norm, sqrt(128) / 2, and float's own errors.
constexpr float kNorm = 46320.0f, kMostWhole = 32767.0f;
// A vector with a norm squared of less is 0: smaller squares are coarse in float.
constexpr float kLeastSquares = 1e-36f;

// sums + the products of both halves of each lane.
inline VecI add_products(VecI sums, VecI x, VecI y) {
  return (VecI)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)x, (__m512i)y);
}

inline VecI load_pairs(const int32_t* p) {
  VecI v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void store_pairs(int32_t* p, VecI v) {
  memcpy(p, &v, sizeof v);
}

// The step of a vector with that norm squared and largest absolute value, and its inverse. What is
// not finite leaves a step that is not, either.
struct Step {
  float step, inverse;
};
inline Step step_of(float squares, float most) {
  if (squares < kLeastSquares) return {0.0f, 0.0f};
  const float by_norm = root(squares) * (1.0f / kNorm), by_most = most * (1.0f / kMostWhole);
  const float step = by_most > by_norm ? by_most : by_norm;
  return {step, 1.0f / step};
}
// The same of a vector in each lane.
struct Steps {
  Vec step, inverse;
};
inline Steps steps_of(Vec squares, Vec most) {
  Vec norm = squares;
  for (uint32_t lane = 0; lane < kWidth; ++lane) norm[lane] = root(norm[lane]);
  const Vec by_norm = norm * (1.0f / kNorm), by_most = most * (1.0f / kMostWhole);
  const Vec step = choose(by_most > by_norm, by_most, by_norm);
  const VecI is_zero = squares < kLeastSquares;
  return {choose(is_zero, Vec{}, step), choose(is_zero, Vec{}, 1.0f / step)};
}

// Rounded to nearest, even: |x * inverse| <= kMostWhole.
inline VecU whole_of(Vec x, Vec inverse) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the low bits are those of the whole number
  return as_bits(x * inverse + kMagic);
}
inline VecI pair_of(VecU first, VecU second) {
  return (VecI)((first & 0xffffu) | second << 16);
}

// kWidth columns of x (depth, ld), or the first ones of them, each rounded with a step of its own:
// pairs (depth / 2, out_stride), steps (kWidth). An odd depth ends with a 0.
template <class Lanes>
inline void round_columns(int32_t* out, size_t out_stride, float* steps, const float* x, size_t ld,
                          uint32_t depth, Lanes lanes) {
  constexpr uint32_t kChains = 4;
  Vec squares[kChains] = {}, most[kChains] = {};
  const auto measure = [&](uint32_t row, uint32_t chain) {
    const Vec v = load(x + row * ld, lanes);
    squares[chain] += v * v;
    most[chain] = greater(most[chain], greater(v, -v));
  };
  uint32_t k = 0;
  for (; k + kChains <= depth; k += kChains) {
#pragma GCC unroll 4
    for (uint32_t chain = 0; chain < kChains; ++chain) measure(k + chain, chain);
  }
  for (; k < depth; ++k) measure(k, 0);
  const Steps s = steps_of((squares[0] + squares[1]) + (squares[2] + squares[3]),
                           greater(greater(most[0], most[1]), greater(most[2], most[3])));
  store(steps, s.step);
  for (k = 0; k + 1 < depth; k += 2, out += out_stride) {
    store_pairs(out, pair_of(whole_of(load(x + k * ld, lanes), s.inverse),
                             whole_of(load(x + (k + 1) * ld, lanes), s.inverse)));
  }
  if (k < depth) {
    store_pairs(out, pair_of(whole_of(load(x + k * ld, lanes), s.inverse), VecU{}));
  }
}

// A row of n floats to pairs of neighbours; returns its step.
inline float round_row(int32_t* out, const float* x, uint32_t n) {
  Vec squares = {}, most = {};
  for_vectors(n, [&](size_t i, auto lanes) {
    const Vec v = load(x + i, lanes);
    squares += v * v;
    most = greater(most, greater(v, -v));
  });
  const Step s = step_of(sum(squares), largest(most));
  const Vec inverse = all(s.inverse);
  typedef uint16_t Halves __attribute__((vector_size(2 * kWidth)));
  for_vectors(n, [&](size_t i, auto lanes) {
    const Halves halves = __builtin_convertvector(whole_of(load(x + i, lanes), inverse), Halves);
    if (lanes.n == kWidth) {
      memcpy(out + i / 2, &halves, sizeof halves);
    } else {
      memcpy(out + i / 2, &halves, (lanes.n + 1) / 2 * sizeof(int32_t));
    }
  });
  return s.step;
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
      float* to = c + r * ldc + v * kWidth;
      const Vec product = __builtin_convertvector(acc[r][v], Vec) * (steps[v] * step_of_row);
      store(to, add ? load(to) + product : product);
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

// Blocks of the depth k: f(number, first element, elements). All but the last are even.
template <class F>
inline void for_pair_blocks(uint32_t k, F f) {
  const uint32_t pairs = ceil_div(k, 2), blocks = ceil_div(pairs, kPairs);
  for (uint32_t block = 0, first = 0; block < blocks; ++block) {
    const uint32_t n = (pairs - first) / (blocks - block);
    f(block, 2 * first, k - 2 * first < 2 * n ? k - 2 * first : 2 * n);
    first += n;
  }
}

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

// Columns of b, (depth, columns) in rows `ld` apart, as a block of a panel.
inline void pack_block(float* out, const float* b, size_t ld, uint32_t depth, uint32_t columns) {
  int32_t* pairs = reinterpret_cast<int32_t*>(out + kPanel);
  for (uint32_t v = 0; v < kPanel; v += kWidth) {
    if (v + kWidth <= columns) {
      round_columns(pairs + v, kPanel, out + v, b + v, ld, depth, Whole{});
    } else {
      const uint32_t left = columns > v ? columns - v : 0;
      round_columns(pairs + v, kPanel, out + v, b + (left > 0 ? v : 0), ld, depth, Part{left});
    }
  }
}

void pack_pairs(float* out, const float* b, size_t k_stride, size_t n_stride, uint32_t k,
                uint32_t n) {
  for (uint32_t column = 0; column < n; column += kPanel, out += panel_floats(k)) {
    const uint32_t columns = n - column < kPanel ? n - column : kPanel;
    for_pair_blocks(k, [&](uint32_t block, uint32_t first, uint32_t depth) {
      float* to = out + block_at(block, first);
      const float* from = b + first * k_stride + column * n_stride;
      if (n_stride == 1) return pack_block(to, from, k_stride, depth, columns);
      const uint32_t pairs = ceil_div(depth, 2);
      int32_t* pairs_to = reinterpret_cast<int32_t*>(to + kPanel);
      for (uint32_t j = 0; j < kPanel; ++j) {
        float line[2 * kPairs];
        int32_t row[kPairs] = {};
        to[j] = 0.0f;
        if (j < columns) {
          for (uint32_t i = 0; i < depth; ++i) line[i] = from[i * k_stride + j * n_stride];
          to[j] = round_row(row, line, depth);
        }
        for (uint32_t i = 0; i < pairs; ++i) pairs_to[i * kPanel + j] = row[i];
      }
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
