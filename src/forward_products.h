// SPDX-License-Identifier: MIT
// The products of a pass with the model's matrices: on this core, shared with others, or with tiles
// that come from a store. A part of forward.cpp, which alone includes it: the compiler sees both
// together, and firmware has no call more.
#ifndef THIMBLE_SRC_FORWARD_PRODUCTS_H
#define THIMBLE_SRC_FORWARD_PRODUCTS_H

#include "session.h"
#include "shares.h"

namespace thimble {
namespace {

#if THIMBLE_STREAM
[[gnu::noinline]] bool has_store_failed(const thimble_session* s) {
  return stream_of(s).has_failed;
}

// Whether a read of the stage under way has failed.
inline bool has_read_failed(const thimble_session* s) {
  return is_stored(s->model) && has_store_failed(s);
}

// How far a stage came whose read failed, in units.
inline void stop_at(const thimble_session* s, uint32_t done) {
  if (has_read_failed(s)) stream_of(s).done = done;
}
#define THIMBLE_STREAMED
#else
constexpr bool has_read_failed(const thimble_session*) {
  return false;
}
inline void stop_at(const thimble_session*, uint32_t) {}
#define THIMBLE_STREAMED [[gnu::always_inline]] inline
#endif

// Row `row` of an embedding; where a read fails, has_read_failed says so.
THIMBLE_STREAMED void embedded_row(thimble_session* s, float* out, const Matrix& m, uint32_t row) {
#if THIMBLE_STREAM
  if (is_stored(s->model)) {
    Matrix tile;
    const uint32_t first = row / m.row_tile;
    if (stream_tiles(&stream_of(s), m, first, first + 1, &tile)) {
      read_row(out, tile, row % m.row_tile);
    }
    return;
  }
#endif
  (void)s;
  read_row(out, m, row);
}

// The matrix's input in int8, where its weights are, from batch row `row`.
QuantizedRows quantized_input(const thimble_session* s, const Matrix& m, uint32_t row) {
  QuantizedRows rows = s->act.input;
  rows.padded_cols = m.padded_cols;
  rows.group = m.group;
  rows.n_groups = m.n_groups;
  return skip_rows(rows, row);
}

void quantize(thimble_session* s, const Matrix& m, const float* x, size_t stride, uint32_t row) {
  if (m.type == kWeightF32) return;
  s->kernels->quantize_q8(quantized_input(s, m, row), x + row * stride, stride, m.cols, 1);
}

// out = x * m^T for tiles [begin, end) and n rows from batch row `row`, on this core.
void multiply_here(const thimble_session* s, const Matrix& m, uint32_t begin, uint32_t end,
                   float* out, size_t out_stride, const float* x, size_t x_stride, uint32_t row,
                   uint32_t n) {
  if (m.type == kWeightF32) {
    s->kernels->matmul_f32(out, out_stride, m, begin, end, x + row * x_stride, x_stride, n);
    return;
  }
  const auto matmul =
      THIMBLE_Q4 && m.type == kWeightQ4 ? s->kernels->matmul_q4 : s->kernels->matmul_q8;
  matmul(out, out_stride, m, begin, end, quantized_input(s, m, row), n);
}

#if THIMBLE_SHARES
struct Product {
  const Matrix& m;
  float* out;
  size_t out_stride;
  const float* x;
  size_t x_stride;
  uint32_t row, n;
};

void multiply_share(thimble_session* s, const void* product, uint32_t begin, uint32_t end) {
  const Product& p = *static_cast<const Product*>(product);
  multiply_here(s, p.m, begin, end, p.out, p.out_stride, p.x, p.x_stride, p.row, p.n);
}
#endif

// The same, by other cores, too, where there are some.
void multiply(const thimble_session* s, const Matrix& m, uint32_t begin, uint32_t end, float* out,
              size_t out_stride, const float* x, size_t x_stride, uint32_t row, uint32_t n) {
#if THIMBLE_SHARES
  if (is_shared(s, end - begin, uint64_t{n} * m.row_tile * m.padded_cols)) {
    const Product product = {m, out, out_stride, x, x_stride, row, n};
    run_shared(s, multiply_share, &product, begin, end);
    return;
  }
#endif
  multiply_here(s, m, begin, end, out, out_stride, x, x_stride, row, n);
}

#if THIMBLE_STREAM
// Asks for what the pass multiplies with behind the stage's matrix, where that can be said.
[[gnu::noinline]] void ask_for_next_matrix(const thimble_session* s) {
  const Weights& w = s->weights;
  const Pass& p = s->pass;
  uint32_t layer = p.layer;
  const Matrix* next = nullptr;
  switch (p.stage) {
    case kEmbed:
      next = &w.qkv;
      break;
    case kQkv:
      next = &w.output;
      break;
    case kAttentionOutputStage:
      next = &w.gate_up;
      break;
    case kGateUp:
      next = &w.down;
      break;
    case kDown:
      if (++layer < s->model.n_layers) {
        next = &w.qkv;
      } else if (p.first + p.n == p.end && !has_rule(s)) {
        next = &w.head;
        layer = 0;
      }
      break;
    default:
      break;
  }
  if (!next) return;
  const Matrix m = stored_layer(*next, stream_of(s), layer);
  stream_ahead(&stream_of(s), m, 0, tile_count(m));
}

// multiply, tile by tile as they come from the store. A rule may not want those behind `end`.
uint32_t multiply_stored(const thimble_session* s, const Matrix& m, uint32_t begin, uint32_t end,
                         float* out, size_t out_stride, const float* x, size_t x_stride,
                         uint32_t row, uint32_t n) {
  Stream* stream = &stream_of(s);
  const uint32_t all = s->pass.stage >= kHead && has_rule(s) ? end : tile_count(m);
  for (uint32_t first = begin; first < end;) {
    Matrix part;
    uint32_t tiles = stream_tiles(stream, m, first, all, &part);
    if (tiles == 0) return first - begin;
    if (first + tiles < all) {
      stream_ahead(stream, m, first + tiles, all);
    } else {
      ask_for_next_matrix(s);
    }
    if (tiles > end - first) tiles = end - first;
    multiply(s, part, 0, tiles, out + size_t{first} * m.row_tile, out_stride, x, x_stride, row, n);
    first += tiles;
  }
  return end - begin;
}
#endif

// multiply, with the model's own weights. Returns how many tiles that were: of a model in a store
// fewer than all where a read failed.
THIMBLE_STREAMED uint32_t multiply_own(const thimble_session* s, const Matrix& m, uint32_t begin,
                                       uint32_t end, float* out, size_t out_stride, const float* x,
                                       size_t x_stride, uint32_t row, uint32_t n) {
#if THIMBLE_STREAM
  if (is_stored(s->model)) {
    return multiply_stored(s, m, begin, end, out, out_stride, x, x_stride, row, n);
  }
#endif
  multiply(s, m, begin, end, out, out_stride, x, x_stride, row, n);
  return end - begin;
}

}  // namespace
}  // namespace thimble

#endif
