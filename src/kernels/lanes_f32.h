// SPDX-License-Identifier: MIT
// Products of float32 matrices over 16 lanes, a part of lanes.h, which says what F is, and what
// they share with lanes_int8.h. One row of x is bound by memory: weights go by in a few long
// streams. Several rows are bound by arithmetic: they are multiplied block by block with a run of
// columns that stays in the first cache.
#ifndef THIMBLE_SRC_KERNELS_LANES_F32_H
#define THIMBLE_SRC_KERNELS_LANES_F32_H

#include "reference.h"

#if defined(__clang__)
#define THIMBLE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define THIMBLE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace thimble {

constexpr uint32_t kStreams = 4;

// Asks for the weights that come next, `stride` bytes apart in so many tiles, a few lines with
// every step of the work on the present ones, so that reading goes on meanwhile.
struct Ahead {
  const uint8_t* next;  // null: there are none
  size_t stride;
  uint32_t bytes;  // of each tile
  uint32_t each;   // of these, a step
  uint32_t at;

  template <class F, uint32_t kTiles>
  void step() {
    constexpr uint32_t kLine = 64;
    for (const uint32_t to = at + each; at < to && at < bytes; at += kLine) {
      THIMBLE_UNROLL
      for (uint32_t t = 0; t < kTiles; ++t) __builtin_prefetch(next + t * stride + at, 0, 2);
    }
  }
};

// In `steps` steps: at most `most` bytes behind `done` of `all` bytes of kTiles tiles, of which
// `left` more are there.
template <uint32_t kTiles>
static inline Ahead ahead_of(const void* tile, size_t all, size_t done, size_t most, uint32_t left,
                             uint32_t steps) {
  const uint8_t* at = static_cast<const uint8_t*>(tile);
  Ahead ahead = {at + done, all, 0, 0, 0};
  if (done == all) {
    if (left < kTiles) return ahead;
    ahead.next = at + kTiles * all;
    done = 0;
  }
  ahead.bytes = static_cast<uint32_t>(all - done < most ? all - done : most);
  ahead.each = (ahead.bytes / 64 / steps + 1) * 64;
  return ahead;
}

// body.template rows<kRows>(i): rows i to i + kRows - 1 of n, in blocks as large as there are.
template <uint32_t kRows, class Body>
static inline void over_rows(uint32_t i, uint32_t n, const Body& body) {
  for (; i + kRows <= n; i += kRows) body.template rows<kRows>(i);
  if constexpr (kRows > 1) {
    if (i < n) over_rows<kRows / 2>(i, n, body);
  }
}

// So few rows, such as the heads that attention gives for one token, are done before it would be
// known what comes next.
constexpr uint32_t kFewRows = 8;

constexpr uint32_t kStepColumns = 8;  // in which some of the next weights are asked for

// A block is kTiles tiles of rows, `tile_floats` apart, times kRows rows of x, all of whose chains
// run side by side, for `cols` columns; where these are not the first ones, from `out` on.
template <class F, uint32_t kTiles, uint32_t kRows>
static inline void block_f32(float* out, size_t out_stride, size_t tile_stride, const float* w,
                             size_t tile_floats, uint32_t cols, const float* x, size_t x_stride,
                             bool is_first, Ahead* ahead) {
  F acc[kTiles][kRows];
  THIMBLE_UNROLL
  for (uint32_t t = 0; t < kTiles; ++t) {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kRows; ++i) {
      acc[t][i] = is_first ? F::of(0.0f) : F::load(out + i * out_stride + t * tile_stride);
    }
  }
  for (uint32_t c = 0; c < cols;) {
    if (ahead) ahead->step<F, kTiles>();
    const uint32_t end = ahead && cols - c > kStepColumns ? c + kStepColumns : cols;
    for (; c < end; ++c) {
      F weights[kTiles];
      THIMBLE_UNROLL
      for (uint32_t t = 0; t < kTiles; ++t) weights[t] = F::load(w + t * tile_floats);
      if (kRows > 1) {
        THIMBLE_UNROLL
        for (uint32_t t = 0; t < kTiles; ++t) keep(weights[t]);
      }
      THIMBLE_UNROLL
      for (uint32_t i = 0; i < kRows; ++i) {
        const F value = F::of(x[i * x_stride + c]);
        THIMBLE_UNROLL
        for (uint32_t t = 0; t < kTiles; ++t) acc[t][i] = fma(weights[t], value, acc[t][i]);
      }
      w += kLanes;
    }
  }
  THIMBLE_UNROLL
  for (uint32_t t = 0; t < kTiles; ++t) {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kRows; ++i) acc[t][i].store(out + i * out_stride + t * tile_stride);
  }
}

template <class F, uint32_t kTiles>
struct BlocksF32 {
  float* out;
  size_t out_stride;
  const float* w;
  size_t tile_floats;
  uint32_t cols;
  const float* x;
  size_t x_stride;
  bool is_first;
  Ahead* ahead;

  template <uint32_t kRows>
  [[gnu::always_inline]] void rows(uint32_t i) const {
    block_f32<F, kTiles, kRows>(out + i * out_stride, out_stride, kLanes, w, tile_floats, cols,
                                x + i * x_stride, x_stride, is_first, ahead);
  }
};

// The same of kFewRows rows or more, each block in a function of its own, in which g++ 12 has
// registers for all that its loop wants.
template <class F, uint32_t kTiles>
struct LongBlocksF32 {
  BlocksF32<F, kTiles> blocks;

  template <uint32_t kRows>
  [[gnu::noinline]] void rows(uint32_t i) const {
    blocks.template rows<kRows>(i);
  }
};

// kTiles tiles, of which `left` are there behind them, times n rows.
template <class F, uint32_t kTiles>
static inline void tiles_f32(float* out, size_t out_stride, const float* w, uint32_t cols,
                             const float* x, size_t x_stride, uint32_t n, uint32_t left) {
  constexpr uint32_t kRun = F::kRunBytes / (kTiles * kLanes * sizeof(float));
  const size_t tile_floats = size_t{cols} * kLanes;
  if (n < kFewRows) {
    over_rows<F::kBlockRows>(
        0, n,
        BlocksF32<F, kTiles>{out, out_stride, w, tile_floats, cols, x, x_stride, true, nullptr});
    return;
  }
  for (uint32_t c = 0; c < cols || c == 0; c += kRun) {
    const uint32_t here = cols - c < kRun ? cols - c : kRun;
    Ahead ahead = ahead_of<kTiles>(w, tile_floats * sizeof *w, (c + here) * kLanes * sizeof *w,
                                   kRun * kLanes * sizeof *w, left,
                                   (n / F::kBlockRows + 1) * (kRun / kStepColumns));
    over_rows<F::kBlockRows>(
        0, n,
        LongBlocksF32<F, kTiles>{{out, out_stride, w + size_t{c} * kLanes, tile_floats, here, x + c,
                                  x_stride, c == 0, &ahead}});
  }
}

template <class F>
static void matmul_f32_lanes(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                             uint32_t tile_end, const float* x, size_t x_stride, uint32_t n) {
  if (w.row_tile != kLanes) {
    matmul_f32_reference(out, out_stride, w, tile_begin, tile_end, x, x_stride, n);
    return;
  }
  const size_t tile_floats = size_t{w.cols} * kLanes;
  const float* data = static_cast<const float*>(w.data) + tile_begin * tile_floats;
  out += size_t{tile_begin} * kLanes;
  uint32_t tiles = tile_end - tile_begin;
  if (n == 1) {
    // One vector is bound by memory: the tiles are walked as a few long streams, far apart, which
    // the machine fetches ahead. On Zen 4 int8 gained up to 80 % over neighbouring tiles, and eight
    // streams lost 15 % to four.
    const uint32_t each = tiles / kStreams;
    for (uint32_t i = 0; i < each; ++i, data += tile_floats, out += kLanes) {
      block_f32<F, kStreams, 1>(out, 0, size_t{each} * kLanes, data, each * tile_floats, w.cols, x,
                                0, true, nullptr);
    }
    const uint32_t others = (kStreams - 1) * each;
    data += others * tile_floats, out += others * kLanes;
    tiles -= kStreams * each;
  }
  constexpr uint32_t kTiles = F::kBlockTiles;
  if (n == 2 && F::kBlockRows > 4) {  // a pair of heads: twice as many tiles hide the latency
    constexpr uint32_t kMore = 2 * kTiles;
    for (; tiles >= kMore; data += kMore * tile_floats, out += kMore * kLanes, tiles -= kMore) {
      block_f32<F, kMore, 2>(out, out_stride, kLanes, data, tile_floats, w.cols, x, x_stride, true,
                             nullptr);
    }
  }
  for (; tiles >= kTiles; data += kTiles * tile_floats, out += kTiles * kLanes) {
    tiles -= kTiles;
    tiles_f32<F, kTiles>(out, out_stride, data, w.cols, x, x_stride, n, tiles);
  }
  if (kTiles > 2 && tiles >= 2) {
    tiles_f32<F, 2>(out, out_stride, data, w.cols, x, x_stride, n, 0);
    tiles -= 2, data += 2 * tile_floats, out += 2 * kLanes;
  }
  if (tiles > 0) tiles_f32<F, 1>(out, out_stride, data, w.cols, x, x_stride, n, 0);
}

}  // namespace thimble

#endif
