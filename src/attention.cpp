// SPDX-License-Identifier: MIT
// Scaled by score_scale, mostly 1 / sqrt(head_dim). Causal: later positions would be masked with
// minus infinity, whose weight is 0, so they are not computed. Grouped queries (Ainslie et al.
// 2023): n_heads / n_kv_heads query heads share a KV head. The equations: attend_heads in
// attention.h.
#include "attention.h"

#include "exact_math.h"

namespace thimble {
#if THIMBLE_SINKS
namespace {

// The sinks that a batch row sees behind a gap.
uint32_t sinks_seen(const thimble_session* s, uint32_t row) {
  const uint32_t layer = s->pass.layer;
  return kv_seen_from(s->cache, layer, s->pass.first + row + 1) > 0 ? kv_sinks(s->cache, layer) : 0;
}

}  // namespace
#endif

namespace {

// Returns the row's key, rotated, behind which its value is.
const float* rotate_row(thimble_session* s, uint32_t row) {
  const thimble_model& m = s->model;
  const Activations& a = s->act;
  float* q = a.qkv + size_t{row} * a.qkv_stride;
  float* k = q + size_t{m.n_heads} * m.head_dim;
  const Weights& w = s->weights;
  const uint32_t layer = s->pass.layer;
  if (THIMBLE_BIASES && w.qkv_bias) {
    s->kernels->add(q, at_layer(w.qkv_bias, w, layer), (m.n_heads + 2 * m.n_kv_heads) * m.head_dim);
  }
  if (THIMBLE_QK_NORM && w.qk_norm) {
    const float* weight = at_layer(w.qk_norm, w, layer);
    for (uint32_t h = 0; h < m.n_heads + m.n_kv_heads; ++h) {
      float* head = q + size_t{h} * m.head_dim;
      const float* by = h < m.n_heads ? weight : weight + m.head_dim;
      s->kernels->rms_norm(head, head, by, m.head_dim, w.norm_eps);
    }
  }
  const uint32_t tables = header_of(m).n_ropes;
  const float* table = a.rope + (size_t{row} * tables + rope_of(w, layer)) * 2 * m.head_dim;
  // Scaling the query once is scaling each of its scores.
  const float scale = header_of(m).score_scale;
#if THIMBLE_SINKS
  if (sinks_seen(s, row) > 0) {  // the query that meets them waits where the context will be
    float* distant = a.context + size_t{row} * a.context_stride;
    memcpy(distant, q, size_t{m.n_heads} * m.head_dim * sizeof(float));
    const float* farthest = s->sink_rope + size_t{rope_of(w, layer)} * 2 * m.head_dim;
    s->kernels->rotate(distant, farthest, m.n_heads, m.head_dim, scale);
  }
#endif
  s->kernels->rotate(q, table, m.n_heads, m.head_dim, scale);
  s->kernels->rotate(k, table, m.n_kv_heads, m.head_dim, 1.0f);
  return k;
}

}  // namespace

void rotate_and_store(thimble_session* s, uint32_t begin, uint32_t end) {
  const size_t width = size_t{s->model.n_kv_heads} * s->model.head_dim;
  const uint32_t layer = s->pass.layer, first = s->pass.first;
#if THIMBLE_ATTEND_ROWS
  if (begin == end) return;
  const float* k = rotate_row(s, begin);
  for (uint32_t row = begin + 1; row < end; ++row) rotate_row(s, row);
  kv_cache_store_rows(*s->kernels, s->cache, layer, first + begin, end - begin, k, k + width,
                      s->act.qkv_stride);
#else
  for (uint32_t row = begin; row < end; ++row) {
    const float* k = rotate_row(s, row);
    kv_cache_store(*s->kernels, s->cache, layer, first + row, k, k + width);
  }
#endif
}

void attend(thimble_session* s, uint32_t row, uint32_t kv_begin, uint32_t kv_end) {
  const thimble_model& m = s->model;
  const Activations& a = s->act;
  const uint32_t shared = m.n_heads / m.n_kv_heads;  // query heads a KV head
  const uint32_t end = s->pass.first + row + 1;      // positions so far
  const uint32_t begin = kv_seen_from(s->cache, s->pass.layer, end);
  const uint32_t first = kv_begin * shared, n_heads = (kv_end - kv_begin) * shared;
  float* q = a.qkv + size_t{row} * a.qkv_stride + size_t{first} * m.head_dim;
  float* context = a.context + size_t{row} * a.context_stride + size_t{first} * m.head_dim;
  const QuantizedRows q8 = skip_rows(a.query, first);
  if (s->cache.type == kWeightQ8) s->kernels->quantize_q8(q8, q, m.head_dim, m.head_dim, n_heads);
  Look look = {s->cache,
               s->pass.layer,
               kv_begin,
               kv_end,
               shared,
               kv_slot(s->cache, s->pass.layer, begin),
               end - begin,
               q,
               q8,
               a.scores + size_t{first} * a.scores_stride,
               a.scores_stride,
               context};
#if THIMBLE_SINKS
  look.weights += a.sinks_stride;
  look.sinks = {sinks_seen(s, row), a.sinks_stride, context, q};
#endif
  attend_heads(
      *s->kernels, look, [] {},
      [&] {
        if (s->on_attention && !s->self_test.is_running) {
          s->on_attention(s->hook_user, look.layer, end - 1, begin, first, n_heads,
                          look.weights + seen_at(look), look.stride);
        }
      });
}

#if THIMBLE_ATTEND_ROWS
uint32_t attend_together(const thimble_session* s, uint32_t row) {
  const uint32_t left = s->pass.n - row;
  const uint32_t rows = left < s->model.n_kv_heads ? left : s->model.n_kv_heads;
  const uint32_t last = s->pass.first + row + rows - 1;
  const bool from_start = kv_seen_from(s->cache, s->pass.layer, last + 1) == 0 &&
                          kv_slot(s->cache, s->pass.layer, last) == last;
  if (!from_start) return 1;
  constexpr uint32_t kBlock = 8;
  return rows < kBlock ? rows : rows / kBlock * kBlock;
}

void attend_rows(thimble_session* s, uint32_t row, uint32_t n_rows, uint32_t kv) {
  const thimble_model& m = s->model;
  const Activations& a = s->act;
  const Kernels& kernels = *s->kernels;
  const KvCache& cache = s->cache;
  const uint32_t layer = s->pass.layer, head_dim = m.head_dim, shared = m.n_heads / m.n_kv_heads;
  const uint32_t n = s->pass.first + row + 1;  // what the first row sees
  const size_t stride = a.scores_stride, of_head = n_rows * stride;
  const bool is_q8 = cache.type == kWeightQ8;
  const float* q = a.qkv + row * size_t{a.qkv_stride} + size_t{kv} * shared * head_dim;
  float* context = a.context + row * size_t{a.context_stride} + size_t{kv} * shared * head_dim;
  const Matrix keys = kv_cache_keys(cache, layer, kv, 0, n + n_rows - 1);
  for (uint32_t h = 0; h < shared; ++h, q += head_dim) {
    if (is_q8) {
      kernels.quantize_q8(skip_rows(a.query, h * n_rows), q, a.qkv_stride, head_dim, n_rows);
    } else {
      kernels.matmul_f32(a.scores + h * of_head, stride, keys, 0, tile_count(keys), q, a.qkv_stride,
                         n_rows);
    }
  }
  if (is_q8) {
    kernels.matmul_q8(a.scores, stride, keys, 0, tile_count(keys), a.query, n_rows * shared);
  }
  float* weights = a.scores;
  for (uint32_t i = 0; i < n_rows; ++i, weights += stride) {
    kernels.softmax(weights, of_head, shared, n + i);
    if (s->on_attention && !s->self_test.is_running) {
      s->on_attention(s->hook_user, layer, n + i - 1, 0, kv * shared, shared, weights, of_head);
    }
  }
  weights = a.scores;
  for (uint32_t h = 0; h < shared; ++h, context += head_dim, weights += of_head) {
    if (is_q8) {
      kernels.wide->mix_rows_q8(
          context, a.context_stride, weights, stride, kv_cache_values_q8(cache, layer, kv),
          cache.value_scales + kv_scales_at(cache, layer, kv), n, head_dim, n_rows);
    } else {
      kernels.wide->mix_rows(context, a.context_stride, weights, stride,
                             kv_cache_values(cache, layer, kv), n, head_dim, n_rows);
    }
  }
}
#endif

}  // namespace thimble
