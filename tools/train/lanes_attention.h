// SPDX-License-Identifier: MIT
// Causal attention of one sequence, a few queries at a time, so that no more than their rows of
// weights are ever there (Dao et al. 2022). The backward pass computes them again.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_ATTENTION_H
#define THIMBLE_TOOLS_TRAIN_LANES_ATTENTION_H

#include "dropout.h"
#include "kernels.h"
#include "lanes.h"
#include "lanes_gemm.h"
#include "lanes_rows.h"

namespace thimble::tools::train {
namespace {

constexpr uint32_t kQueries = 2 * kTileRows;  // of a block
constexpr float kNever = -1e30f;              // a score whose weight is 0

inline uint32_t padded(uint32_t n, uint32_t to) {
  return ceil_div(n, to) * to;
}

// Some keys of a head, from the first panel that a block of queries sees.
struct Seen {
  uint32_t begin, end;  // whole panels
};
inline Seen seen_by(const AttentionCall& call, uint32_t query, uint32_t rows) {
  const uint32_t last = query + rows, window = call.window;
  const uint32_t first = window > 0 && query + 1 > window ? query + 1 - window : 0;
  return {first / kPanel * kPanel, padded(last, kPanel)};
}

// A head's vectors as columns, (head_dim, n): panels of them.
inline void pack_columns(float* out, const float* x, size_t ld, uint32_t n, uint32_t head_dim) {
  pack(out, x, 1, ld, head_dim, n);
}

// products (rows, ld) of rows of `a` with the columns seen.
inline void products(float* out, size_t ld, const float* a, size_t lda, const float* columns,
                     uint32_t head_dim, uint32_t rows, Seen seen) {
  for (uint32_t t = seen.begin; t < seen.end; t += kPanel) {
    multiply_panel<false>({a, lda, 1}, rows, head_dim, columns + size_t{t} * head_dim, kPanel,
                          out + (t - seen.begin), ld, kPanel, false);
  }
}

// out (rows, head_dim) = or += weights (rows, ld) * vectors (seen, width)
inline void mix(float* out, size_t ldo, const float* weights, size_t ld, const float* vectors,
                uint32_t head_dim, uint32_t rows, uint32_t count) {
  const uint32_t width = padded(head_dim, kWidth);
  for (uint32_t d = 0; d < head_dim; d += kPanel) {
    const uint32_t columns = head_dim - d < kPanel ? head_dim - d : kPanel;
    multiply_panel<false>({weights, ld, 1}, rows, count, vectors + d, width, out + d, ldo, columns,
                          false);
  }
}

// transposed (head_dim, n) += vectors' (head_dim, rows) * weights (rows, ld), columns from `at` on.
inline void add_transposed(float* out, size_t n, const float* vectors, size_t ldv,
                           const float* weights, size_t ld, uint32_t head_dim, uint32_t rows,
                           Seen seen) {
  for (uint32_t t = seen.begin; t < seen.end; t += kPanel) {
    multiply_panel<true>({vectors, 1, ldv}, head_dim, rows, weights + (t - seen.begin), ld, out + t,
                         n, kPanel, true);
  }
}

inline void copy_rows(float* out, const float* x, size_t ld, uint32_t n, uint32_t n_padded,
                      uint32_t head_dim) {
  const uint32_t width = padded(head_dim, kWidth);
  for (uint32_t i = 0; i < n; ++i, x += ld) {
    for_vectors(head_dim,
                [&](size_t d, auto lanes) { store(out + i * width + d, load(x + d, lanes)); });
  }
  memset(out + n * width, 0, (n_padded - n) * width * sizeof(float));
}

// Query `query` sees weights [first, last) of its row, which begins at key seen.begin.
struct Row {
  uint32_t first, last;
};
inline Row row_of(const AttentionCall& call, uint32_t query, Seen seen) {
  const uint32_t from = call.window > 0 && query + 1 > call.window ? query + 1 - call.window : 0;
  return {from > seen.begin ? from - seen.begin : 0, query + 1 - seen.begin};
}
inline void hide(float* row, Row see, uint32_t count) {
  const VecI numbers = (VecI)lane_numbers();
  const auto hide_vector = [&](uint32_t t) {
    const VecI seen = (numbers + static_cast<int32_t>(t) >= static_cast<int32_t>(see.first)) &
                      (numbers + static_cast<int32_t>(t) < static_cast<int32_t>(see.last));
    store(row + t, choose(seen, load(row + t), all(kNever)));
  };
  for (uint32_t t = 0; t < see.first; t += kWidth) hide_vector(t);
  for (uint32_t t = see.last / kWidth * kWidth; t < count; t += kWidth) hide_vector(t);
}

// f(t, factors of keys t on, factors of keys t + kWidth on): 0 where dropped. count: whole panels.
struct Dropping {
  uint32_t limit;
  float scale;
};
template <class F>
inline void each_panel(uint32_t count, Dropping drop, uint32_t seed, F f) {
  if (drop.limit == 0) {
    for (uint32_t t = 0; t < count; t += kPanel) f(t, all(1.0f), all(1.0f));
    return;
  }
  const Vec scale = all(drop.scale);
  VecU numbers = lane_numbers() + seed;
  for (uint32_t t = 0; t < count; t += kPanel, numbers += kWidth) {
    const VecU bits = random_bits(numbers);
    f(t, choose((VecI)((bits & 0xffffu) >= drop.limit), scale, Vec{}),
      choose((VecI)((bits >> 16) >= drop.limit), scale, Vec{}));
  }
}

struct AttentionScratch {
  float* key_columns;    // (head_dim, n): panels
  float* value_columns;  // the same
  float* keys;           // (n, width)
  float* values;         // (n, width)
  float* key_sums;       // (head_dim, n)
  float* value_sums;     // (head_dim, n)
  float* weights;        // (kQueries, n)
  float* slopes;         // (kQueries, n)
};
inline size_t scratch_floats(uint32_t n, uint32_t head_dim) {
  const size_t rows = padded(n, kPanel), width = padded(head_dim, kWidth);
  return rows * (4 * head_dim + 2 * width + 2 * kQueries) + 64 * 8;
}
inline AttentionScratch lay_out(float* at, uint32_t n, uint32_t head_dim) {
  const size_t rows = padded(n, kPanel), width = padded(head_dim, kWidth);
  const auto take = [&](size_t floats) {
    float* here = at;
    at += (floats + 15) / 16 * 16;
    return here;
  };
  AttentionScratch s;
  s.key_columns = take(rows * head_dim);
  s.value_columns = take(rows * head_dim);
  s.keys = take(rows * width);
  s.values = take(rows * width);
  s.key_sums = take(rows * head_dim);
  s.value_sums = take(rows * head_dim);
  s.weights = take(rows * kQueries);
  s.slopes = take(rows * kQueries);
  return s;
}

inline Dropping dropping_of(const AttentionCall& call) {
  const uint32_t limit = dropout_limit(call.dropout);
  return {limit, dropout_scale(call.dropout)};
}

void attention(const AttentionCall& call, float* context) {
  const uint32_t n = call.n, hd = call.head_dim, shared = call.n_heads / call.n_kv_heads;
  const size_t rows = padded(n, kPanel);
  const AttentionScratch s = lay_out(call.scratch, n, hd);
  const Dropping drop = dropping_of(call);
  for (uint32_t kv = 0; kv < call.n_kv_heads; ++kv) {
    const float* k = call.qkv + size_t{call.n_heads + kv} * hd;
    const float* v = k + size_t{call.n_kv_heads} * hd;
    pack_columns(s.key_columns, k, call.ld, n, hd);
    copy_rows(s.values, v, call.ld, n, static_cast<uint32_t>(rows), hd);
    for (uint32_t h = kv * shared; h < (kv + 1) * shared; ++h) {
      const float* q = call.qkv + size_t{h} * hd;
      for (uint32_t first = 0; first < n; first += kQueries) {
        const uint32_t count = n - first < kQueries ? n - first : kQueries;
        const Seen seen = seen_by(call, first, count);
        const uint32_t keys = seen.end - seen.begin;
        products(s.weights, rows, q + first * call.ld, call.ld, s.key_columns, hd, count, seen);
        float inverse[kQueries];
        for (uint32_t i = 0; i < count; ++i) {
          float* w = s.weights + i * rows;
          hide(w, row_of(call, first + i, seen), keys);
          Vec most = load(w);
          for (uint32_t t = kWidth; t < keys; t += kWidth) most = greater(most, load(w + t));
          const float max = largest(most);
          Vec total = {};
          each_panel(keys, drop, attention_number(call.dropout_seed, h, first + i),
                     [&](uint32_t t, Vec a, Vec b) {
                       const Vec x = exp_of(load(w + t) - max),
                                 y = exp_of(load(w + t + kWidth) - max);
                       total += x + y;
                       store(w + t, x * a);
                       store(w + t + kWidth, y * b);
                     });
          const float odds = sum(total);
          inverse[i] = 1.0f / odds;
          call.log_sums[size_t{h} * n + first + i] = max + __builtin_logf(odds);
        }
        float* out = context + first * call.ld_context + size_t{h} * hd;
        mix(out, call.ld_context, s.weights, rows,
            s.values + size_t{seen.begin} * padded(hd, kWidth), hd, count, keys);
        for (uint32_t i = 0; i < count; ++i) {
          float* head = out + i * call.ld_context;
          for_vectors(hd, [&](size_t d, auto lanes) {
            store(head + d, load(head + d, lanes) * inverse[i], lanes);
          });
        }
      }
    }
  }
}

// With weights P = softmax(S), what dropout leaves of them R = P mask, context C = R V:
//   dV = R' dC    dR = dC V'    dS = P (dR mask - sum over d of dC C)    dQ = dS K    dK = dS' Q
void attention_backward(const AttentionCall& call, const float* dcontext, float* dqkv) {
  const uint32_t n = call.n, hd = call.head_dim, shared = call.n_heads / call.n_kv_heads;
  const size_t rows = padded(n, kPanel), width = padded(hd, kWidth);
  const AttentionScratch s = lay_out(call.scratch, n, hd);
  const Dropping drop = dropping_of(call);
  for (uint32_t kv = 0; kv < call.n_kv_heads; ++kv) {
    const size_t k_at = size_t{call.n_heads + kv} * hd, v_at = k_at + size_t{call.n_kv_heads} * hd;
    pack_columns(s.key_columns, call.qkv + k_at, call.ld, n, hd);
    pack_columns(s.value_columns, call.qkv + v_at, call.ld, n, hd);
    copy_rows(s.keys, call.qkv + k_at, call.ld, n, static_cast<uint32_t>(rows), hd);
    memset(s.key_sums, 0, rows * hd * sizeof(float));
    memset(s.value_sums, 0, rows * hd * sizeof(float));
    for (uint32_t h = kv * shared; h < (kv + 1) * shared; ++h) {
      for (uint32_t first = 0; first < n; first += kQueries) {
        const uint32_t count = n - first < kQueries ? n - first : kQueries;
        const Seen seen = seen_by(call, first, count);
        const uint32_t keys = seen.end - seen.begin;
        const float* q = call.qkv + first * call.ld + size_t{h} * hd;
        const float* dc = dcontext + first * call.ld_context + size_t{h} * hd;
        const float* c = call.context + first * call.ld_context + size_t{h} * hd;
        products(s.weights, rows, q, call.ld, s.key_columns, hd, count, seen);
        products(s.slopes, rows, dc, call.ld_context, s.value_columns, hd, count, seen);
        for (uint32_t i = 0; i < count; ++i) {
          float* w = s.weights + i * rows;
          float* slope = s.slopes + i * rows;
          hide(w, row_of(call, first + i, seen), keys);
          const float log_sum = call.log_sums[size_t{h} * n + first + i];
          const float* dci = dc + i * call.ld_context;
          const float* ci = c + i * call.ld_context;
          const float along = sum_over(
              hd, [&](size_t d, auto lanes) { return load(dci + d, lanes) * load(ci + d, lanes); });
          each_panel(keys, drop, attention_number(call.dropout_seed, h, first + i),
                     [&](uint32_t t, Vec a, Vec b) {
                       const Vec x = exp_of(load(w + t) - log_sum),
                                 y = exp_of(load(w + t + kWidth) - log_sum);
                       store(w + t, x * a);
                       store(w + t + kWidth, y * b);
                       store(slope + t, x * (load(slope + t) * a - along));
                       store(slope + t + kWidth, y * (load(slope + t + kWidth) * b - along));
                     });
        }
        mix(dqkv + first * call.ld + size_t{h} * hd, call.ld, s.slopes, rows,
            s.keys + seen.begin * width, hd, count, keys);
        add_transposed(s.key_sums, rows, q, call.ld, s.slopes, rows, hd, count, seen);
        add_transposed(s.value_sums, rows, dc, call.ld_context, s.weights, rows, hd, count, seen);
      }
    }
    for (uint32_t t = 0; t < n; ++t) {
      float* dk = dqkv + t * call.ld + k_at;
      float* dv = dqkv + t * call.ld + v_at;
      for (uint32_t d = 0; d < hd; ++d) {
        dk[d] = s.key_sums[d * rows + t];
        dv[d] = s.value_sums[d * rows + t];
      }
    }
  }
}

}  // namespace
}  // namespace thimble::tools::train

#endif
