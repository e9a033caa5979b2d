// SPDX-License-Identifier: MIT
// Matrices as whole numbers of 16 bits, for products whose sums have 32 bits.
//
// In a block of the depth each row of the left matrix and each column of the right one, a vector x,
// becomes step * whole numbers, with norms of at most kNorm < 2^15.5: so no sum of products leaves
// 32 bits (Cauchy-Schwarz), and the step is as small as that allows. A rounded element is off by at
// most half a step, a product of vectors x, y of n elements by at most
//   sqrt(n) / 2 (step_x |y| + step_y |x|), 2.4e-4 |x| |y| for 128,
// and by 1e-5 |x| |y| as a rule (one standard deviation). Gradients are within 1e-3 of a tensor's
// largest so; with inputs in bf16, which are multiplied no faster, they were off by 2e-2.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_WHOLE_H
#define THIMBLE_TOOLS_TRAIN_LANES_WHOLE_H

#include <immintrin.h>

#include "lanes.h"

namespace thimble::tools::train {
namespace {

// Of a block of the depth, at most: of half the length, steps are finer by the square root of 2.
constexpr uint32_t kPairs = 64;
// 2^15.5 = 46340.95, less what rounding may add to a norm, sqrt(128) / 2, and float's own errors.
constexpr float kNorm = 46320.0f, kMostWhole = 32767.0f;
// A vector with a norm squared of less is 0: smaller squares are coarse in float.
constexpr float kLeastSquares = 1e-36f;

// Rounded once. A compiler left to choose does so here and not there, and bits would differ.
inline Vec multiply_add(Vec x, Vec y, Vec z) {
  return (Vec)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)z);
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
  const Vec norm = (Vec)_mm512_maskz_sqrt_ps(0xffff, (__m512)squares);
  const Vec by_norm = norm * (1.0f / kNorm), by_most = most * (1.0f / kMostWhole);
  const Vec step = choose(by_most > by_norm, by_most, by_norm);
  const VecI is_zero = squares < kLeastSquares;
  return {choose(is_zero, Vec{}, step), choose(is_zero, Vec{}, 1.0f / step)};
}

inline Vec size_of(Vec x) {
  return as_floats(as_bits(x) & 0x7fffffffu);
}

// Rounded to nearest, even: |x * inverse| <= kMostWhole.
inline VecU whole_of(Vec x, Vec inverse) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the low bits are those of the whole number
  return as_bits(multiply_add(x, inverse, all(kMagic)));
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
  alignas(64) float columns[2 * kPairs * kWidth];
  const auto measure = [&](const float* row, uint32_t chain, float* copy) {
    const Vec v = load(row, lanes);
    __builtin_prefetch(row + kWidth, 0, 2);  // the next columns, which no stream finds
    store(copy, v);
    squares[chain] = multiply_add(v, v, squares[chain]);
    most[chain] = greater(most[chain], size_of(v));
  };
  // Rows that are a power of two apart do not stay in the first cache: read once, from afar.
  float* copy = columns;
  uint32_t k = 0;
  for (; k + kChains <= depth; k += kChains, x += kChains * ld, copy += kChains * kWidth) {
#pragma GCC unroll 4
    for (uint32_t chain = 0; chain < kChains; ++chain) {
      measure(x + chain * ld, chain, copy + chain * kWidth);
    }
  }
  for (; k < depth; ++k, x += ld, copy += kWidth) measure(x, 0, copy);
  const Steps s = steps_of((squares[0] + squares[1]) + (squares[2] + squares[3]),
                           greater(greater(most[0], most[1]), greater(most[2], most[3])));
  store(steps, s.step);
  copy = columns;
  for (k = 0; k + 1 < depth; k += 2, copy += 2 * kWidth, out += out_stride) {
    store_pairs(out,
                pair_of(whole_of(load(copy), s.inverse), whole_of(load(copy + kWidth), s.inverse)));
  }
  if (k < depth) store_pairs(out, pair_of(whole_of(load(copy), s.inverse), VecU{}));
}

// Of a row of n floats the squares and largest values, by lanes.
inline void measure(const float* x, uint32_t n, Vec* squares, Vec* most) {
  Vec sum_of_squares = {}, largest_one = {};
  for_vectors(n, [&](size_t i, auto lanes) {
    const Vec v = load(x + i, lanes);
    sum_of_squares = multiply_add(v, v, sum_of_squares);
    largest_one = greater(largest_one, size_of(v));
  });
  *squares = sum_of_squares;
  *most = largest_one;
}
// A row of n floats to pairs of neighbours; returns its step.
inline float round_row(int32_t* out, const float* x, uint32_t n) {
  Vec squares, most;
  measure(x, n, &squares, &most);
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

// The same of any matrix: element (i, j) lies at b[i * k_stride + j * n_stride].
inline void pack_block(float* out, const float* b, size_t k_stride, size_t n_stride, uint32_t depth,
                       uint32_t columns) {
  if (n_stride == 1) return pack_block(out, b, k_stride, depth, columns);
  const uint32_t pairs = ceil_div(depth, 2);
  int32_t* pairs_out = reinterpret_cast<int32_t*>(out + kPanel);
  for (uint32_t j = 0; j < kPanel; ++j) {
    float line[2 * kPairs];
    int32_t row[kPairs] = {};
    out[j] = 0.0f;
    if (j < columns) {
      for (uint32_t i = 0; i < depth; ++i) line[i] = b[i * k_stride + j * n_stride];
      out[j] = round_row(row, line, depth);
    }
    for (uint32_t i = 0; i < pairs; ++i) pairs_out[i * kPanel + j] = row[i];
  }
}

// To one vector of a product = or += sums in units of `scale`.
inline void put_product(float* to, VecI sums, Vec scale, bool add) {
  const Vec whole = __builtin_convertvector(sums, Vec);
  store(to, add ? multiply_add(whole, scale, load(to)) : whole * scale);
}

}  // namespace
}  // namespace thimble::tools::train

#endif
