// SPDX-License-Identifier: MIT
// Scaled by 1 / sqrt(head_dim). Causal: later positions would be masked with minus infinity, whose
// weight is 0, so they are not computed. Grouped queries (Ainslie et al. 2023): n_heads /
// n_kv_heads query heads share a KV head. The equations: attend_heads in attention.h.
#include "attention.h"

#include "exact_math.h"

namespace thimble {

void rotate_and_store(thimble_session* s, uint32_t row) {
  const thimble_model& m = s->model;
  const Activations& a = s->act;
  float* q = a.qkv + size_t{row} * a.qkv_stride;
  float* k = q + size_t{m.n_heads} * m.head_dim;
  const float* v = k + size_t{m.n_kv_heads} * m.head_dim;
  const float* table = a.rope + size_t{row} * 2 * m.head_dim;
  // Scaling the query once is scaling each of its scores.
  const float scale = 1.0f / exact_sqrt(static_cast<float>(m.head_dim));
  s->kernels->rotate(q, table, m.n_heads, m.head_dim, scale);
  s->kernels->rotate(k, table, m.n_kv_heads, m.head_dim, 1.0f);
  kv_cache_store(s->cache, s->pass.layer, s->pass.first + row, k, v);
}

void attend(thimble_session* s, uint32_t row, uint32_t kv_begin, uint32_t kv_end) {
  const thimble_model& m = s->model;
  const Activations& a = s->act;
  const uint32_t shared = m.n_heads / m.n_kv_heads;  // query heads a KV head
  const uint32_t n = s->pass.first + row + 1;        // positions to look at
  const uint32_t first = kv_begin * shared, n_heads = (kv_end - kv_begin) * shared;
  const float* q = a.qkv + size_t{row} * a.qkv_stride + size_t{first} * m.head_dim;
  const QuantizedRows q8 = skip_rows(a.query, first);
  if (s->cache.type == kWeightQ8) s->kernels->quantize_q8(q8, q, m.head_dim, m.head_dim, n_heads);
  const Look look = {s->cache,
                     s->pass.layer,
                     kv_begin,
                     kv_end,
                     shared,
                     n,
                     q,
                     q8,
                     a.scores + size_t{first} * a.scores_stride,
                     a.scores_stride,
                     a.context + size_t{row} * a.context_stride + size_t{first} * m.head_dim};
  attend_heads(
      *s->kernels, look, [] {},
      [&] {
        if (s->on_attention && !s->self_test.is_running) {
          s->on_attention(s->hook_user, look.layer, n - 1, first, n_heads, look.weights,
                          look.stride);
        }
      });
}

}  // namespace thimble
