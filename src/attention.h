// SPDX-License-Identifier: MIT
// Causal multi-head attention over the key/value cache, and the core that it shares with the forms
// of thimble/attention.hpp.
#ifndef THIMBLE_SRC_ATTENTION_H
#define THIMBLE_SRC_ATTENTION_H

#include "session.h"

namespace thimble {

// What one position looks at: `n` cached positions from `first` on, through the query heads of KV
// heads [kv_begin, kv_end).
struct Look {
  const KvCache& cache;
  uint32_t layer;
  uint32_t kv_begin, kv_end;
  uint32_t shared;  // query heads a KV head
  uint32_t first;
  uint32_t n;
  const float* q;    // (n_heads, head_dim), scaled; n_heads = (kv_end - kv_begin) * shared
  QuantizedRows q8;  // the same in int8, one scale a head, if the cache is
  float* weights;    // (n_heads, stride): first the scores, then the weights, from seen_at on
  size_t stride;     // at least seen_at + n rounded up to whole tiles (kLanes)
  float* context;    // (n_heads, head_dim): the result. May be where q is
};

// Scores start with a whole tile: those before the first position that is seen are never read.
inline uint32_t seen_at(const Look& look) {
  return look.first % kLanes;
}

// The core of all attention here, head by head (Vaswani et al. 2017, equation 1):
//   scores  = q . k_t                    for the positions t < n
//   weights = softmax(scores)
//   context = sum over t of weights_t * v_t
// Scores come in tiles of positions. What the last tile computes for positions from n on is
// never read. on_scores and on_weights run when these are there, and may change those of positions
// t < n.
template <class OnScores, class OnWeights>
inline void attend_heads(const Kernels& kernels, const Look& look, OnScores on_scores,
                         OnWeights on_weights) {
  const bool is_q8 = look.cache.type == kWeightQ8;
  const uint32_t n_heads = (look.kv_end - look.kv_begin) * look.shared;
  const uint32_t head_dim = look.cache.head_dim;
  const uint32_t skipped = seen_at(look);
  const float* q = look.q;
  float* weights = look.weights + skipped;
  float* scores = look.weights;
  for (uint32_t kv = look.kv_begin; kv < look.kv_end; ++kv) {
    const Matrix keys =
        kv_cache_keys(look.cache, look.layer, kv, look.first - skipped, look.n + skipped);
    if (is_q8) {
      const QuantizedRows rows = skip_rows(look.q8, (kv - look.kv_begin) * look.shared);
      kernels.matmul_q8(scores, look.stride, keys, 0, tile_count(keys), rows, look.shared);
    } else {
      kernels.matmul_f32(scores, look.stride, keys, 0, tile_count(keys), q, head_dim, look.shared);
      q += size_t{look.shared} * head_dim;
    }
    scores += look.shared * look.stride;
  }
  on_scores();
  kernels.softmax(weights, look.stride, n_heads, look.n);
  on_weights();
  if (!is_q8) {
    kernels.mix_values(
        look.context, weights, look.stride,
        kv_cache_values(look.cache, look.layer, look.kv_begin) + size_t{look.first} * head_dim,
        kv_value_stride(look.cache, look.layer), look.n, head_dim, n_heads, look.shared);
    return;
  }
  for (uint32_t kv = look.kv_begin, head = 0; kv < look.kv_end; ++kv, head += look.shared) {
    kernels.mix_values_q8(
        look.context + size_t{head} * head_dim, weights + head * look.stride, look.stride,
        kv_cache_values_q8(look.cache, look.layer, kv) + size_t{look.first} * head_dim,
        look.cache.value_scales + kv_scales_at(look.cache, look.layer, kv) + look.first, look.n,
        head_dim, look.shared);
  }
}

// Adds the biases of queries, keys and values, norms queries and keys where the model does, rotates
// them to the position of batch row `row`, scales the queries, and stores key and value.
void rotate_and_store(thimble_session* s, uint32_t row);

// The context vectors of batch row `row`, for the query heads of KV heads [kv_begin, kv_end).
void attend(thimble_session* s, uint32_t row, uint32_t kv_begin, uint32_t kv_end);

}  // namespace thimble

#endif
