// SPDX-License-Identifier: MIT
// The kernels for tiles of 16 rows, written once over a vector of 16 lanes. An ISA file gives the
// vector types, in its anonymous namespace, so that everything here is compiled once for it and
// stays private to it:
//   F    16 floats: what exact_math.h wants, and the operations that `Floats` in x86_avx2.cpp shows
//   F::Half  8 floats, with fewer of them
//   keep(v)  makes the compiler hold v in a register rather than load it again for each use
//   V::four(p), v.splat<k>(): 4 floats loaded at once, and one of them in every lane
//   I    16 int32
//   Dot  int8 dot products: step(acc, 16 rows x 4 columns of Weights, 4 activations). Weights are
//        made of Bytes, with load(int8 weights), load_q4(q4 weights of 8 columns, two of them),
//        store and load_bytes; each counts as kOffset more than it is. What registers there are
//        for: of one row kStreams tiles at once, of many a block of kBlockTiles x kBlockRows, or
//        kGroupRows where rows have several groups; a turn of a row's loop is about kUnrolled
//        columns, more of which made g++ 12 move sums about
//   Rows, HalfRows  kPositions rows of int8 values, 16 or 8 lanes of each: load(rows),
//        step(acc, kPositions weights in int16), and sums(acc), which are V: F or F::Half
// Contracts: kernels.h. Order of operations: reference.cpp. Tiles of other heights go there too.
#ifndef THIMBLE_SRC_KERNELS_LANES_H
#define THIMBLE_SRC_KERNELS_LANES_H

#include "../exact_math.h"
#include "activation.h"
#include "key_blocks.h"
#include "lanes_f32.h"
#include "lanes_int8.h"
#include "reference.h"

namespace thimble {

// ---- Activations to int8 -------------------------------------------------------------------

template <class F>
static void quantize_q8_lanes(const QuantizedRows& out, const float* x, size_t x_stride,
                              uint32_t cols, uint32_t n) {
  const uint32_t group = out.group, groups = out.n_groups;
  for (uint32_t row = 0; row < n; ++row, x += x_stride) {
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t begin = g * group;
      const uint32_t count = begin + group < cols ? group : cols - begin;
      const float* at = x + begin;
      F max = F::of(0.0f);
      uint32_t c = 0;
      for (; c + kLanes <= count; c += kLanes) max = greater(absolute(F::load(at + c)), max);
      if (c < count) max = greater(absolute(F::load_first(at + c, count - c)), max);
      const float largest = greatest(max);
      const bool silent = largest < 1e-30f;
      const F inverse = F::of(silent ? 0.0f : 127.0f / largest);
      int8_t* values = out.values + size_t{row} * out.padded_cols + begin;
      typename F::I sum = F::I::of(0);
      for (c = 0; c < group; c += kLanes) {
        const uint32_t here = c >= count ? 0 : count - c < kLanes ? count - c : kLanes;
        F v = here == kLanes ? F::load(at + c) : F::load_first(at + c, here);
        v = silent ? F::of(0.0f) : mul(v, inverse);
        const auto whole = round_even(lesser(greater(v, F::of(-127.0f)), F::of(127.0f)));
        sum = add(sum, whole);
        if (group - c >= kLanes) {
          whole.store_int8(values + c);
        } else {
          int8_t last[kLanes];
          whole.store_int8(last);
          memcpy(values + c, last, group - c);
        }
      }
      out.scales[size_t{row} * groups + g] = silent ? 0.0f : largest / 127.0f;
      out.sums[size_t{row} * groups + g] = total(sum);
    }
  }
}

// ---- Lane by lane --------------------------------------------------------------------------
// How a loop body reaches memory: a whole vector V, or its first n lanes.

template <class V>
struct Whole {
  static V load(const float* p) { return V::load(p); }
  static V load_or(const float* p, V) { return V::load(p); }
  static void store(float* p, V v) { v.store(p); }
};

template <class V>
struct First {
  uint32_t n;
  V load(const float* p) const { return V::load_first(p, n); }  // zeros behind
  V load_or(const float* p, V other) const { return V::load_first_or(p, n, other); }
  void store(float* p, V v) const { v.store_first(p, n); }
};

// body(i, memory) for lanes i to i + 15 of n. For sums: an element always meets the same lane.
template <class F, class Body>
static inline void over_lanes(uint32_t n, Body body) {
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole<F>{});
  if (i < n) body(i, First<F>{n - i});
}

// The same where lanes do not meet. Halves, since heads of 8 are common and what was stored under a
// mask cannot be loaded again without a wait.
template <class F, class Body>
static inline void over_elements(uint32_t n, Body body) {
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole<F>{});
  if (i + kLanes / 2 <= n) {
    body(i, Whole<typename F::Half>{});
    i += kLanes / 2;
  }
  if (i < n) body(i, First<typename F::Half>{n - i});
}

template <class F>
static void rms_norm_lanes(float* out, const float* x, const float* weight, uint32_t n, float eps) {
  F sum = F::of(0.0f);
  over_lanes<F>(n, [&](uint32_t i, auto memory) {
    const F v = memory.load(x + i);
    sum = fma(v, v, sum);
  });
  const float mean = fold(sum) / static_cast<float>(n);
  const float r = 1.0f / exact_sqrt(mean + eps);
  over_elements<F>(n, [&](uint32_t i, auto memory) {
    const auto v = memory.load(x + i);
    memory.store(out + i, mul(mul(v, v.of(r)), memory.load(weight + i)));
  });
}

template <class F>
static void layer_norm_lanes(float* out, const float* x, const float* weight, const float* bias,
                             uint32_t n, float eps) {
  const float count = static_cast<float>(n);
  F sum = F::of(0.0f);
  over_lanes<F>(n, [&](uint32_t i, auto memory) { sum = add(sum, memory.load(x + i)); });
  const F mean = F::of(fold(sum) / count);
  F squares = F::of(0.0f);
  over_lanes<F>(n, [&](uint32_t i, auto memory) {
    const F d = sub(memory.load_or(x + i, mean), mean);
    squares = fma(d, d, squares);
  });
  const F r = F::of(1.0f / exact_sqrt(fold(squares) / count + eps));
  over_lanes<F>(n, [&](uint32_t i, auto memory) {
    const F scaled = mul(sub(memory.load(x + i), mean), r);
    memory.store(out + i, fma(scaled, memory.load(weight + i), memory.load(bias + i)));
  });
}

template <class F>
static void rotate_lanes(float* x, const float* table, uint32_t n_heads, uint32_t head_dim,
                         float scale) {
  const float* sines = table + head_dim;
  for (uint32_t h = 0; h < n_heads; ++h, x += head_dim) {
    over_elements<F>(head_dim, [&](uint32_t i, auto memory) {
      const auto v = memory.load(x + i);
      const auto turned = mul(swap_pairs(v), memory.load(sines + i));
      memory.store(x + i, mul(fma(v, memory.load(table + i), turned), v.of(scale)));
    });
  }
}

template <class F>
static void swiglu_lanes(float* out, const float* gate, const float* up, uint32_t n) {
  over_lanes<F>(n, [&](uint32_t i, auto memory) {
    memory.store(out + i, mul(exact_silu(memory.load(gate + i)), memory.load(up + i)));
  });
}

template <class F>
static void activate_lanes(float* out, const float* x, const float* up, uint32_t n, uint32_t type) {
  with_activation(type, [&](auto act) {
    over_lanes<F>(n, [&](uint32_t i, auto memory) {
      const F y = act(memory.load(x + i));
      memory.store(out + i, up ? mul(y, memory.load(up + i)) : y);
    });
  });
}

template <class F>
static void add_lanes(float* x, const float* y, uint32_t n) {
  over_elements<F>(n, [&](uint32_t i, auto memory) {
    memory.store(x + i, add(memory.load(x + i), memory.load(y + i)));
  });
}

template <class F>
static uint16_t quantize_cached_lanes(int8_t* out, const float* x, uint32_t n) {
  F max = F::of(0.0f);
  over_lanes<F>(n,
                [&](uint32_t i, auto memory) { max = greater(absolute(memory.load(x + i)), max); });
  const float largest = greatest(max);
  if (largest < 1e-30f) {
    memset(out, 0, n);
    return 0;
  }
  const uint16_t scale = static_cast<uint16_t>((bits_of(largest / 127.0f) + 0xffffu) >> 16);
  const F inverse = F::of(1.0f / from_bf16(scale)), zero = F::of(0.0f);
  over_lanes<F>(n, [&](uint32_t i, auto memory) {
    const F v = mul(memory.load(x + i), inverse);
    const auto whole = round_even(add(greater(v, zero), lesser(v, zero)));  // 0 for a NaN
    if (n - i >= kLanes) return whole.store_int8(out + i);
    int8_t last[kLanes];
    whole.store_int8(last);
    memcpy(out + i, last, n - i);
  });
  return scale;
}

// ---- Attention -----------------------------------------------------------------------------

// Row by row within each step, so that the steps of several rows, each a chain, run side by side.
template <class F>
static void softmax_lanes(float* x, size_t stride, uint32_t n_rows, uint32_t n) {
  constexpr uint32_t kTogether = 8;
  for (; n_rows > 0; x += kTogether * stride) {
    const uint32_t rows = n_rows < kTogether ? n_rows : kTogether;
    float max[kTogether], inverse[kTogether];
    for (uint32_t r = 0; r < rows; ++r) {
      const float* row = x + r * stride;
      F most = F::of(row[0]);
      over_lanes<F>(
          n, [&](uint32_t i, auto memory) { most = greater(memory.load_or(row + i, most), most); });
      max[r] = greatest(most);
    }
    for (uint32_t r = 0; r < rows; ++r) {
      float* row = x + r * stride;
      const F most = F::of(max[r]);
      // What lies behind the row has no weight.
      const F nothing = F::of(-__builtin_inff());
      F sum = F::of(0.0f);
      over_lanes<F>(n, [&](uint32_t i, auto memory) {
        const F e = exact_exp(sub(memory.load_or(row + i, nothing), most));
        sum = add(sum, e);
        memory.store(row + i, e);
      });
      inverse[r] = 1.0f / fold(sum);
    }
    for (uint32_t r = 0; r < rows; ++r) {
      float* row = x + r * stride;
      over_lanes<F>(n, [&](uint32_t i, auto memory) {
        memory.store(row + i, mul(memory.load(row + i), F::of(inverse[r])));
      });
    }
    n_rows -= rows;
  }
}

// Lanes of kVectors vectors V of the context of kHeads heads, side by side; the last vector through
// `tail`. Every kShared of the heads have the same values.
template <class V, uint32_t kHeads, uint32_t kShared, uint32_t kVectors, class Tail>
static inline void mix_block(float* out, const float* weights, size_t weights_stride,
                             const float* values, size_t kv_stride, uint32_t n, uint32_t head_dim,
                             uint32_t first_head, uint32_t q, Tail tail) {
  constexpr uint32_t kLast = kVectors - 1;
  const float* v[kHeads];
  V acc[kHeads][kVectors];
  THIMBLE_UNROLL
  for (uint32_t h = 0; h < kHeads; ++h) {
    v[h] = values + size_t{(first_head + h) / q} * kv_stride;
    THIMBLE_UNROLL
    for (uint32_t d = 0; d < kVectors; ++d) acc[h][d] = V::of(0.0f);
  }
  weights += first_head * weights_stride;
  const auto position = [&](uint32_t t, auto weight_of) {
    const size_t at = size_t{t} * head_dim;
    V value[kVectors];
    THIMBLE_UNROLL
    for (uint32_t h = 0; h < kHeads; ++h) {
      if (h % kShared == 0) {
        THIMBLE_UNROLL
        for (uint32_t d = 0; d < kLast; ++d) value[d] = V::load(v[h] + at + d * V::kWidth);
        value[kLast] = tail.load(v[h] + at + kLast * V::kWidth);
        if (kShared > 1) {
          THIMBLE_UNROLL
          for (uint32_t d = 0; d < kVectors; ++d) keep(value[d]);
        }
      }
      const V weight = weight_of(h);
      THIMBLE_UNROLL
      for (uint32_t d = 0; d < kVectors; ++d) acc[h][d] = fma(weight, value[d], acc[h][d]);
    }
  };
  uint32_t t = 0;
  for (; t + 4 <= n; t += 4) {
    decltype(V::four(weights)) fours[kHeads];
    THIMBLE_UNROLL
    for (uint32_t h = 0; h < kHeads; ++h) {
      fours[h] = V::four(weights + h * weights_stride + t);
      keep(fours[h]);
    }
    position(t, [&](uint32_t h) { return fours[h].template splat<0>(); });
    position(t + 1, [&](uint32_t h) { return fours[h].template splat<1>(); });
    position(t + 2, [&](uint32_t h) { return fours[h].template splat<2>(); });
    position(t + 3, [&](uint32_t h) { return fours[h].template splat<3>(); });
  }
  for (; t < n; ++t) {
    position(t, [&](uint32_t h) { return V::of(weights[h * weights_stride + t]); });
  }
  out += size_t{first_head} * head_dim;
  THIMBLE_UNROLL
  for (uint32_t h = 0; h < kHeads; ++h) {
    float* to = out + size_t{h} * head_dim;
    THIMBLE_UNROLL
    for (uint32_t d = 0; d < kLast; ++d) acc[h][d].store(to + d * V::kWidth);
    tail.store(to + kLast * V::kWidth, acc[h][kLast]);
  }
}

// Everything a mix needs, for lanes [out, values] onwards.
struct Mix {
  float* out;
  const float* weights;
  size_t weights_stride;
  const float* values;
  size_t kv_stride;
  uint32_t n, head_dim, n_heads, q;
};

template <class V, uint32_t kHeads, uint32_t kVectors, class Tail>
static inline void mix_heads(const Mix& m, Tail tail) {
  uint32_t h = 0;
  for (; h + kHeads <= m.n_heads; h += kHeads) {
    if (kHeads % 2 == 0 && m.q % 2 == 0) {
      mix_block<V, kHeads, 2, kVectors>(m.out, m.weights, m.weights_stride, m.values, m.kv_stride,
                                        m.n, m.head_dim, h, m.q, tail);
    } else {
      mix_block<V, kHeads, 1, kVectors>(m.out, m.weights, m.weights_stride, m.values, m.kv_stride,
                                        m.n, m.head_dim, h, m.q, tail);
    }
  }
  for (; h < m.n_heads; ++h) {
    mix_block<V, 1, 1, kVectors>(m.out, m.weights, m.weights_stride, m.values, m.kv_stride, m.n,
                                 m.head_dim, h, m.q, tail);
  }
}

template <class F>
static void mix_values_lanes(float* out, const float* weights, size_t weights_stride,
                             const float* values, size_t kv_stride, uint32_t n, uint32_t head_dim,
                             uint32_t n_heads, uint32_t q) {
  using Half = typename F::Half;
  constexpr uint32_t kChains = F::kChains;  // that hide the latency of fma
  Mix m = {out, weights, weights_stride, values, kv_stride, n, head_dim, n_heads, q};
  for (uint32_t left = head_dim; left > 0;) {
    uint32_t done;
    if (left >= 4 * kLanes) {
      mix_heads<F, kChains / 4, 4>(m, Whole<F>{});
      done = 4 * kLanes;
    } else if (left >= 3 * kLanes) {
      mix_heads<F, kChains / 4, 3>(m, Whole<F>{});
      done = 3 * kLanes;
    } else if (left >= 2 * kLanes) {
      mix_heads<F, kChains / 2, 2>(m, Whole<F>{});
      done = 2 * kLanes;
    } else if (left >= kLanes) {
      mix_heads<F, kChains, 1>(m, Whole<F>{});
      done = kLanes;
    } else if (left >= kLanes / 2) {
      mix_heads<Half, F::kHalfChains, 1>(m, Whole<Half>{});
      done = kLanes / 2;
    } else {
      mix_heads<Half, F::kHalfChains, 1>(m, First<Half>{left});
      done = left;
    }
    m.out += done;
    m.values += done;
    left -= done;
  }
}

// kRows rows of weights by lanes of kVectors vectors of the values, which all rows share; row i has
// i positions more than the first.
template <class V, uint32_t kVectors, class Tail>
struct MixRows {
  float* out;
  size_t out_stride;
  const float* weights;
  size_t weights_stride;
  const float* values;
  uint32_t n, head_dim;
  Tail tail;

  template <uint32_t kRows>
  void rows(uint32_t first) const {
    constexpr uint32_t kLast = kVectors - 1;
    const float* w = weights + first * weights_stride;
    const float* v = values;
    const uint32_t end = n + first;  // of what all of them see
    V acc[kRows][kVectors];
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kRows; ++i) {
      THIMBLE_UNROLL
      for (uint32_t d = 0; d < kVectors; ++d) acc[i][d] = V::of(0.0f);
    }
    for (uint32_t t = 0; t < end; ++t, v += head_dim) {
      V value[kVectors];
      THIMBLE_UNROLL
      for (uint32_t d = 0; d < kLast; ++d) value[d] = V::load(v + d * V::kWidth);
      value[kLast] = tail.load(v + kLast * V::kWidth);
      THIMBLE_UNROLL
      for (uint32_t d = 0; d < kVectors; ++d) keep(value[d]);
      THIMBLE_UNROLL
      for (uint32_t i = 0; i < kRows; ++i) {
        const V weight = V::of(w[i * weights_stride + t]);
        THIMBLE_UNROLL
        for (uint32_t d = 0; d < kVectors; ++d) acc[i][d] = fma(weight, value[d], acc[i][d]);
      }
    }
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kRows; ++i) {
      const float* more = v;
      THIMBLE_UNROLL
      for (uint32_t t = 0; t < i; ++t, more += head_dim) {
        const V weight = V::of(w[i * weights_stride + end + t]);
        THIMBLE_UNROLL
        for (uint32_t d = 0; d < kLast; ++d) {
          acc[i][d] = fma(weight, V::load(more + d * V::kWidth), acc[i][d]);
        }
        acc[i][kLast] = fma(weight, tail.load(more + kLast * V::kWidth), acc[i][kLast]);
      }
      float* to = out + (first + i) * out_stride;
      THIMBLE_UNROLL
      for (uint32_t d = 0; d < kLast; ++d) acc[i][d].store(to + d * V::kWidth);
      tail.store(to + kLast * V::kWidth, acc[i][kLast]);
    }
  }
};

template <class F>
static void mix_rows_lanes(float* out, size_t out_stride, const float* weights,
                           size_t weights_stride, const float* values, uint32_t n,
                           uint32_t head_dim, uint32_t n_rows) {
  using Half = typename F::Half;
  constexpr uint32_t kVectors = F::kBlockTiles < 2 ? 1 : 2;
  constexpr uint32_t kRows = F::kBlockRows, kHalfRows = F::kHalfChains;
  for (uint32_t left = head_dim; left > 0;) {
    uint32_t done;
    if (left >= kVectors * kLanes) {
      over_rows<kRows>(0, n_rows,
                       MixRows<F, kVectors, Whole<F>>{
                           out, out_stride, weights, weights_stride, values, n, head_dim, {}});
      done = kVectors * kLanes;
    } else if (left >= kLanes) {
      over_rows<kRows>(0, n_rows,
                       MixRows<F, 1, Whole<F>>{
                           out, out_stride, weights, weights_stride, values, n, head_dim, {}});
      done = kLanes;
    } else if (left >= kLanes / 2) {
      over_rows<kHalfRows>(0, n_rows,
                           MixRows<Half, 1, Whole<Half>>{
                               out, out_stride, weights, weights_stride, values, n, head_dim, {}});
      done = kLanes / 2;
    } else {
      over_rows<kHalfRows>(0, n_rows,
                           MixRows<Half, 1, First<Half>>{out, out_stride, weights, weights_stride,
                                                         values, n, head_dim, First<Half>{left}});
      done = left;
    }
    out += done;
    values += done;
    left -= done;
  }
}

// The values in int8: sums over positions are exact in any order, so positions go side by side.

// The weights of `count` positions to 15 bits, zeros behind up to a whole vector; returns what one
// unit of them weighs. tail_scales: the scales of the last vector, where it is not whole.
template <class F>
static inline float quantize_weights(int16_t* p, const float* weights, const uint16_t* scales,
                                     const uint16_t* tail_scales, uint32_t count) {
  const auto products = [&](auto body) {
    over_lanes<F>(count, [&](uint32_t i, auto memory) {
      const uint16_t* at = i + kLanes <= count ? scales + i : tail_scales;
      body(i, mul(memory.load(weights + i), F::load_bf16(at)));
    });
  };
  F max = F::of(0.0f);
  products([&](uint32_t, const F& e) { max = greater(e, max); });
  const float largest = greatest(max);
  const bool silent = largest < 1e-30f;
  const F inverse = F::of(silent ? 0.0f : 32767.0f / largest);
  products([&](uint32_t i, const F& e) {
    const F v = silent ? F::of(0.0f) : mul(e, inverse);
    round_even(lesser(greater(v, F::of(0.0f)), F::of(32767.0f))).store_int16(p + i);
  });
  return silent ? 0.0f : largest / 32767.0f;
}

// One block of positions for V::kWidth lanes of kHeads heads. Rows: Rows::kPositions rows of values
// a step.
template <class Rows, uint32_t kHeads>
static inline void mix_rows(float* out, size_t out_stride, const int16_t (&p)[kHeads][kMixBlock],
                            const float (&units)[kHeads], const int8_t* values, uint32_t count,
                            uint32_t head_dim, bool is_first) {
  using V = typename Rows::V;
  constexpr uint32_t kPositions = Rows::kPositions;
  typename Rows::I dot[kHeads];
  THIMBLE_UNROLL
  for (uint32_t h = 0; h < kHeads; ++h) dot[h] = Rows::I::of(0);
  const auto positions = [&](uint32_t t, uint32_t here) {
    const int8_t* at[kPositions];  // where there is none, the first again, with weight 0
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kPositions; ++i)
      at[i] = values + size_t{t + (i < here ? i : 0)} * head_dim;
    const Rows rows = Rows::load(at);
    THIMBLE_UNROLL
    for (uint32_t h = 0; h < kHeads; ++h) dot[h] = rows.step(dot[h], p[h] + t);
  };
  uint32_t t = 0;
  for (; t + kPositions <= count; t += kPositions) positions(t, kPositions);
  if (t < count) positions(t, count - t);
  THIMBLE_UNROLL
  for (uint32_t h = 0; h < kHeads; ++h) {
    float* to = out + h * out_stride;
    const V before = is_first ? V::of(0.0f) : V::load(to);
    fma(Rows::sums(dot[h]), V::of(units[h]), before).store(to);
  }
}

// kHeads heads that look at `n` positions, or rows of which each looks at one more.
template <class F, class Rows, class HalfRows, uint32_t kHeads>
static inline void mix_heads_q8(float* out, size_t out_stride, const float* weights,
                                size_t weights_stride, const int8_t* values, const uint16_t* scales,
                                uint32_t n, uint32_t more, uint32_t head_dim) {
  alignas(64) int16_t p[kHeads][kMixBlock];
  float units[kHeads];
  const uint32_t end = n + (kHeads - 1) * more;
  for (uint32_t begin = 0; begin < end; begin += kMixBlock) {
    const auto positions = [&](uint32_t seen) {
      return seen < begin ? 0 : seen - begin < kMixBlock ? seen - begin : kMixBlock;
    };
    const uint32_t most = positions(end), filled = (most + kLanes - 1) / kLanes * kLanes;
    for (uint32_t h = 0; h < kHeads; ++h) {
      const uint32_t count = positions(n + h * more);
      uint16_t tail_scales[kLanes] = {};
      for (uint32_t t = count / kLanes * kLanes; t < count; ++t) {
        tail_scales[t % kLanes] = scales[begin + t];
      }
      units[h] = quantize_weights<F>(p[h], weights + h * weights_stride + begin, scales + begin,
                                     tail_scales, count);
      for (uint32_t t = count; t < filled; ++t) p[h][t] = 0;  // adds nothing to what is exact
    }
    const int8_t* v = values + size_t{begin} * head_dim;
    uint32_t d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) {
      mix_rows<Rows, kHeads>(out + d, out_stride, p, units, v + d, most, head_dim, begin == 0);
    }
    if (d + kLanes / 2 <= head_dim) {
      mix_rows<HalfRows, kHeads>(out + d, out_stride, p, units, v + d, most, head_dim, begin == 0);
      d += kLanes / 2;
    }
    for (; d < head_dim; ++d) {
      for (uint32_t h = 0; h < kHeads; ++h) {
        int32_t dot = 0;
        for (uint32_t t = 0; t < most; ++t) dot += p[h][t] * v[size_t{t} * head_dim + d];
        float* to = out + h * out_stride + d;
        *to = exact_fma(static_cast<float>(dot), units[h], begin == 0 ? 0.0f : *to);
      }
    }
  }
}

// Heads, or rows, of a mix over int8 values.
template <class F, class Rows, class HalfRows>
struct MixQ8 {
  float* out;
  size_t out_stride;
  const float* weights;
  size_t weights_stride;
  const int8_t* values;
  const uint16_t* scales;
  uint32_t n, more, head_dim;

  template <uint32_t kHeads>
  void rows(uint32_t first) const {
    mix_heads_q8<F, Rows, HalfRows, kHeads>(out + first * out_stride, out_stride,
                                            weights + first * weights_stride, weights_stride,
                                            values, scales, n + first * more, more, head_dim);
  }
};

template <class F, class Rows, class HalfRows>
static void mix_values_q8_lanes(float* out, const float* weights, size_t weights_stride,
                                const int8_t* values, const uint16_t* scales, uint32_t n,
                                uint32_t head_dim, uint32_t n_heads) {
  over_rows<4>(0, n_heads,
               MixQ8<F, Rows, HalfRows>{out, head_dim, weights, weights_stride, values, scales, n,
                                        0, head_dim});
}

template <class F, class Rows, class HalfRows>
static void mix_rows_q8_lanes(float* out, size_t out_stride, const float* weights,
                              size_t weights_stride, const int8_t* values, const uint16_t* scales,
                              uint32_t n, uint32_t head_dim, uint32_t n_rows) {
  over_rows<8>(0, n_rows,
               MixQ8<F, Rows, HalfRows>{out, out_stride, weights, weights_stride, values, scales, n,
                                        1, head_dim});
}

// ---- Drawing a token -----------------------------------------------------------------------

template <class F>
static uint32_t argmax_lanes(const float* x, uint32_t n) {
  F most = F::of(-__builtin_inff());
  over_lanes<F>(
      n, [&](uint32_t i, auto memory) { most = greater(memory.load_or(x + i, most), most); });
  const float largest = greatest(most);
  if (largest == -__builtin_inff()) return 0;
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const uint32_t equal = equal_lanes(F::load(x + i), F::of(largest));
    if (equal != 0) return i + static_cast<uint32_t>(__builtin_ctz(equal));
  }
  while (!(x[i] >= largest)) ++i;
  return i;
}

template <class F>
static void odds_lanes(uint32_t* weights, const float* x, uint32_t n, float max,
                       float inv_temperature) {
  over_lanes<F>(n, [&](uint32_t i, auto memory) {
    const F scaled = mul(sub(memory.load(x + i), F::of(max)), F::of(inv_temperature));
    const F e = exact_exp(lesser(greater(scaled, F::of(-200.0f)), F::of(0.0f)));
    const auto whole = truncate(mul(e, F::of(1073741824.0f)));
    if (n - i >= kLanes) return whole.store(weights + i);
    uint32_t odds[kLanes];
    whole.store(odds);
    memcpy(weights + i, odds, (n - i) * sizeof odds[0]);
  });
}

template <class F>
static uint64_t mass_at_least_lanes(const uint32_t* odds, uint32_t n, uint32_t low) {
  return sum_at_least(odds, n, low);
}

template <class F>
static uint32_t collect_lanes(uint32_t* found, uint32_t most, const uint32_t* keys, uint32_t n,
                              uint32_t low, uint32_t span) {
  uint32_t count = 0;
  for (uint32_t start = 0; start < n; start += kKeyBlock) {
    const uint32_t* block = keys + start;
    const uint32_t length = n - start < kKeyBlock ? n - start : kKeyBlock;
    if (length == kKeyBlock && !any_within(block, low, span)) continue;
    for (uint32_t i = 0; i < length; ++i) {
      if (block[i] - low > span) continue;
      if (count < most) found[count] = block[i];
      ++count;
    }
    if (count > most) return count;
  }
  return count;
}

// ---- The table -----------------------------------------------------------------------------
// F, Dot, what mix_values_q8_lanes wants, and a Dot of its own for 4 bits.

template <class F, class Rows, class HalfRows>
static constexpr WideKernels kWideKernels = {
    mix_rows_lanes<F>, mix_rows_q8_lanes<F, Rows, HalfRows>, quantize_cached_lanes<F>,
    mass_at_least_lanes<F>, collect_lanes<F>};

template <class F, class Dot, class Rows, class HalfRows, class DotQ4 = Dot>
static constexpr Kernels lanes_table(const char* name) {
  return {name,
          kLanes,
          matmul_f32_lanes<F>,
          matmul_q8_lanes<F, Dot>,
          kHasQ4 ? matmul_q4_lanes<F, DotQ4> : nullptr,
          quantize_q8_lanes<F>,
          kHasRmsNorm ? rms_norm_lanes<F> : nullptr,
          kHasLayerNorm ? layer_norm_lanes<F> : nullptr,
          exact_rope_table,
          rotate_lanes<F>,
          softmax_lanes<F>,
          mix_values_lanes<F>,
          mix_values_q8_lanes<F, Rows, HalfRows>,
          kHasSwiglu ? swiglu_lanes<F> : nullptr,
          kHasActivations ? activate_lanes<F> : nullptr,
          add_lanes<F>,
          argmax_lanes<F>,
          odds_lanes<F>,
          &kWideKernels<F, Rows, HalfRows>};
}

}  // namespace thimble

#endif
