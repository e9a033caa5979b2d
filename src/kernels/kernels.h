// SPDX-License-Identifier: MIT
// The kernels: one table of functions an instruction set. What every entry computes is written here
// once; kernels/reference.cpp is the definition to the last bit, and every other table equals it.
#ifndef THIMBLE_SRC_KERNELS_KERNELS_H
#define THIMBLE_SRC_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "../format.h"
#include "../parts.h"

namespace thimble {

// Buffers that hold matrix products are a multiple of this many floats: whole tiles are written.
constexpr uint32_t kLanes = 16;

// A matrix of weights (or of cached keys) in tiles of `row_tile` rows, padded with zero rows.
//   f32: data is float  [tiles][cols][row_tile]
//   q8:  data is int8   [tiles][padded_cols / 4][row_tile][4]
//        scales is bf16 [tiles][n_groups][row_tile]
//   q4:  data is bytes  [tiles][padded_cols / 8][row_tile][4], byte i of eight columns holds column
//        i in its low bits and column 4 + i in its high bits; scales as of q8. In tiles of 4 rows,
//        where bytes are looked up: [tiles][padded_cols / 16][4][8], byte i of sixteen columns
//        holds column 2 i in its low bits and column 2 i + 1 in its high bits.
struct Matrix {
  const void* data;
  const uint16_t* scales;  // q8 and q4 only
  uint32_t rows;
  uint32_t cols;
  uint32_t padded_cols;  // f32: cols; q8, q4: a multiple of group, zeros behind cols
  uint32_t row_tile;     // 1, 2, 4, 8 or 16
  uint32_t group;     // q8, q4: columns that share a scale: 32, 64, 128, or a whole row, which is
                      // a multiple of 4, of q4 of 16
  uint32_t n_groups;  // q8, q4: padded_cols / group
  WeightType type;
};

inline uint32_t tile_count(const Matrix& m) {
  return (m.rows + m.row_tile - 1) / m.row_tile;
}

// Bytes of so many weights.
inline size_t weight_bytes(WeightType type, size_t n) {
  return type == kWeightF32 ? n * sizeof(float) : THIMBLE_Q4 && type == kWeightQ4 ? n / 2 : n;
}

// The matrix from tile `first` on.
inline Matrix tiles_from(Matrix m, uint32_t first) {
  const size_t rows = size_t{first} * m.row_tile;
  m.data = static_cast<const uint8_t*>(m.data) + weight_bytes(m.type, rows * m.padded_cols);
  if (m.scales) m.scales += rows * m.n_groups;
  m.rows -= static_cast<uint32_t>(rows);
  return m;
}

// Where a q4 tile has the four bits of a column of a row.
struct Q4Place {
  size_t byte;
  uint32_t shift;
};
inline Q4Place q4_place(uint32_t row_tile, uint32_t col, uint32_t row) {
  if (row_tile == 4) return {size_t{col / 16} * 32 + row * 8 + col % 16 / 2, col % 2 * 4};
  return {(size_t{col / 8} * row_tile + row) * 4 + col % 4, col & 4};
}
inline uint32_t q4_bits(const void* tile, uint32_t row_tile, uint32_t col, uint32_t row) {
  const Q4Place place = q4_place(row_tile, col, row);
  return (static_cast<const uint8_t*>(tile)[place.byte] >> place.shift) & 15u;
}

// Rows of activations in int8, one f32 scale a group of columns.
struct QuantizedRows {
  int8_t* values;  // (n, padded_cols), zeros behind cols
  float* scales;   // (n, n_groups)
  int32_t* sums;   // (n, n_groups): the sum of a group's values
  uint32_t padded_cols;
  uint32_t group;
  uint32_t n_groups;  // padded_cols / group
};

inline QuantizedRows skip_rows(QuantizedRows rows, size_t n) {
  rows.values += n * rows.padded_cols;
  rows.scales += n * rows.n_groups;
  rows.sums += n * rows.n_groups;
  return rows;
}

// No entry needs alignment beyond that of its element type. No two arguments may overlap unless an
// entry says so.

// What only machines with wide vectors have: a prefill's rows taken together, and odds of very many
// tokens.
struct WideKernels {
  // mix_values (below) for one query head at `n_rows` successive positions of a text, of which row
  // i looks at the first n + i: weights: (n_rows, weights_stride), values: (n + n_rows - 1,
  // head_dim), out: (n_rows, out_stride).
  void (*mix_rows)(float* out, size_t out_stride, const float* weights, size_t weights_stride,
                   const float* values, uint32_t n, uint32_t head_dim, uint32_t n_rows);

  // mix_rows over int8 values, whose blocks and scales are as of mix_values_q8.
  void (*mix_rows_q8)(float* out, size_t out_stride, const float* weights, size_t weights_stride,
                      const int8_t* values, const uint16_t* scales, uint32_t n, uint32_t head_dim,
                      uint32_t n_rows);

  // n numbers of the cache to int8, in units of the bf16 scale that is returned: max|x| / 127
  // rounded up to bf16, and value = x * (1 / scale) rounded to nearest even. If max|x| is below
  // 1e-30, zeros and 0. A NaN counts as no maximum and becomes 0.
  uint16_t (*quantize_cached)(int8_t* out, const float* x, uint32_t n);

  // The sum of those odds that are at least `low`; at most 2^30 each.
  uint64_t (*mass_at_least)(const uint32_t* odds, uint32_t n, uint32_t low);

  // Copies those keys that lie within [low, low + span], which ends below 2^32, to `found`, in
  // their order, the first `most` of them. Returns how many there are, or some number above `most`.
  uint32_t (*collect)(uint32_t* found, uint32_t most, const uint32_t* keys, uint32_t n,
                      uint32_t low, uint32_t span);
};

struct Kernels {
  const char* name;
  uint32_t row_tile;  // the tile height that these kernels are fast at; the key cache's

  // out[i][r] = chain over columns c, ascending from +0: acc = fma(w[r][c], x[i][c], acc),
  // for i < n and the rows of tiles [tile_begin, tile_end). out: (n, out_stride), x: (n, x_stride).
  // All row_tile rows of a tile are written, padding included, and nothing else.
  void (*matmul_f32)(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                     uint32_t tile_end, const float* x, size_t x_stride, uint32_t n);

  // out[i][r] = chain over groups g, ascending from +0: acc = fma(float(dot), ws * xs, acc), where
  // dot is the exact int32 dot product of the group. Rows and out as above.
  void (*matmul_q8)(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                    uint32_t tile_end, const QuantizedRows& x, uint32_t n);

  // The same of q4: a weight counts as q4_level of its bits.
  void (*matmul_q4)(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                    uint32_t tile_end, const QuantizedRows& x, uint32_t n);

  // Rows of x: (n, x_stride), of which `cols` columns count, to int8: scale = max|x| / 127,
  // value = x * (127 / max|x|) rounded to nearest even, within [-127, 127]. A group whose max|x| is
  // below 1e-30 becomes zeros with scale 0. A NaN counts as no maximum and becomes -127.
  void (*quantize_q8)(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                      uint32_t n);

  // out[i] = (x[i] * r) * weight[i], r = 1 / sqrt(sum(x^2) / n + eps). The sum: 16 lanes, element i
  // to lane i mod 16 by fma, then lanes folded 8, 4, 2, 1. out may be x. (Zhang, Sennrich 2019)
  void (*rms_norm)(float* out, const float* x, const float* weight, uint32_t n, float eps);

  // out[i] = fma((x[i] - mean) * r, weight[i], bias[i]), mean = sum(x) / n,
  // r = 1 / sqrt(sum((x - mean)^2) / n + eps); sums in lanes as above. out may be x. (Ba et al.
  // 2016)
  void (*layer_norm)(float* out, const float* x, const float* weight, const float* bias, uint32_t n,
                     float eps);

  // The rotation's table of one position, (2, head_dim): cosines, each twice, then sines as -sin,
  // +sin. frequencies: (head_dim / 2), turns a position as fractions of 2^64, so that whole turns
  // fall off the top and the angle is exact at every position.
  void (*rope_table)(float* table, const uint64_t* frequencies, uint32_t head_dim,
                     uint32_t position);

  // Rotates neighbouring pairs (x[2i], x[2i+1]) of each head and multiplies by scale, in place.
  // x: (n_heads, head_dim). table: of rope_table.
  //   x'[j] = fma(x[j], cos[j], x[j ^ 1] * sin[j]) * scale              (Su et al. 2021)
  void (*rotate)(float* x, const float* table, uint32_t n_heads, uint32_t head_dim, float scale);

  // Each row of x: (n_rows, stride), the first n columns: e = exp(x - max), x = e * (1 / sum(e)),
  // in place; the sum in lanes as above. Nothing behind column n is read or written.
  void (*softmax)(float* x, size_t stride, uint32_t n_rows, uint32_t n);

  // Context vectors of the `n_heads` query heads that start at kv head 0 of `values`:
  // out[h][d] = chain over positions t < n, ascending from +0: fma(weights[h][t], v[h / q][t][d],
  // acc), q = queries a kv head. weights: (n_heads, weights_stride); values: kv heads kv_stride
  // floats apart, each (n, head_dim); out: (n_heads, head_dim).
  void (*mix_values)(float* out, const float* weights, size_t weights_stride, const float* values,
                     size_t kv_stride, uint32_t n, uint32_t head_dim, uint32_t n_heads, uint32_t q);

  // The same over int8 values, for the `n_heads` query heads that share one KV head. values:
  // (n, head_dim), of position t in units of the bf16 scales[t]; out: (n_heads, head_dim).
  // Positions go in blocks of kMixBlock, each with weights of 15 bits:
  //   e[t] = weights[h][t] * scales[t], max = the largest of a block (0 for a NaN)
  //   p[t] = e[t] * (32767 / max) rounded to nearest even, within [0, 32767]; 0 for a NaN
  //   out[h][d] = chain over blocks, ascending from +0: acc = fma(float(dot), max / 32767, acc),
  // dot = the exact int32 sum of p[t] * values[t][d]. A block whose max is below 1e-30 has p[t] = 0
  // and 0 for max / 32767.
  void (*mix_values_q8)(float* out, const float* weights, size_t weights_stride,
                        const int8_t* values, const uint16_t* scales, uint32_t n, uint32_t head_dim,
                        uint32_t n_heads);

  // out[i] = (g / (1 + exp(-g))) * up[i], g = gate[i]. out may be gate. (Shazeer 2020: SwiGLU)
  void (*swiglu)(float* out, const float* gate, const float* up, uint32_t n);

  // out[i] = act(x[i]) * up[i], or act(x[i]) where up is null; act: exact_math.h. out may be x.
  void (*activate)(float* out, const float* x, const float* up, uint32_t n, uint32_t type);

  // x[i] = x[i] + y[i].
  void (*add)(float* x, const float* y, uint32_t n);

  // The lowest index of the largest element; NaNs are never the largest. n >= 1.
  uint32_t (*argmax)(const float* x, uint32_t n);

  // weights[i] = trunc(exp(s) * 2^30), s = (x[i] - max) * inv_temperature bounded to [-200, 0] and
  // -200 for a NaN: odds as integers, whose sums are exact in any order.
  void (*odds)(uint32_t* weights, const float* x, uint32_t n, float max, float inv_temperature);

  // NULL where vectors are not wide.
  const WideKernels* wide;
};

// What a build leaves out (parts.h) is null in every table.
constexpr bool kHasQ4 = THIMBLE_Q4;
constexpr bool kHasLayerNorm = THIMBLE_LAYER_NORM;
constexpr bool kHasRmsNorm = THIMBLE_RMS_NORM || THIMBLE_QK_NORM;
constexpr bool kHasSwiglu = THIMBLE_SILU;
constexpr bool kHasActivations = THIMBLE_ACTIVATIONS;

constexpr uint32_t kMixBlock = 256;  // 32767 * 127 * 256 < 2^31

// Tables that this machine can run, best first; NULL past the end.
const Kernels* kernels_at(size_t index);

// By name; NULL or "" is the best one. NULL if there is none of that name here.
const Kernels* kernels_by_name(const char* name);

extern const Kernels kKernelsReference;

}  // namespace thimble

#endif
