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

void rotate_and_store(thimble_session* s, uint32_t row) {
  const thimble_model& m = s->model;
  const Activations& a = s->act;
  float* q = a.qkv + size_t{row} * a.qkv_stride;
  float* k = q + size_t{m.n_heads} * m.head_dim;
  const float* v = k + size_t{m.n_kv_heads} * m.head_dim;
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
  kv_cache_store(s->cache, s->pass.layer, s->pass.first + row, k, v);
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

}  // namespace thimble
