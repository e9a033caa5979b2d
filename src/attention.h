// SPDX-License-Identifier: MIT
// Causal multi-head attention over the key/value cache, and the core that it shares with the forms
// of thimble/attention.hpp.
#ifndef THIMBLE_SRC_ATTENTION_H
#define THIMBLE_SRC_ATTENTION_H

#include <string.h>

#include "session.h"

namespace thimble {

// The text's first positions, where those that followed them have left the cache (attention sinks:
// Xiao et al. 2023). Their keys stay as they were rotated; it is the query that is rotated to the
// distance that a cache of n_ctx positions would show.
struct Sinks {
  uint32_t n;       // 0: there are none, or no gap behind them
  uint32_t padded;  // n rounded up to kLanes: so many floats are free before each head's weights
  const float* q;   // (n_heads, head_dim), scaled and rotated. May be where the context goes
  float* given;     // (n_heads, head_dim): their part of the context. May be where the other q are
};

// What one position looks at: `n` cached positions from slot `first` on, and the sinks before them,
// through the query heads of KV heads [kv_begin, kv_end).
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
#if THIMBLE_SINKS
  Sinks sinks = {};
#endif
};

// Scores start with a whole tile: those before the first position that is seen are never read.
inline uint32_t seen_at(const Look& look) {
  return look.first % kLanes;
}

inline uint32_t head_count(const Look& look) {
  return (look.kv_end - look.kv_begin) * look.shared;
}

// Scores of `n` cached positions from slot `first` on, a multiple of kLanes; whole tiles are
// written. scores: (n_heads, look.stride).
static inline void score_keys(const Kernels& kernels, const Look& look, uint32_t first, uint32_t n,
                              const float* q, float* scores) {
  const uint32_t head_dim = look.cache.head_dim;
  for (uint32_t kv = look.kv_begin; kv < look.kv_end; ++kv) {
    const Matrix keys = kv_cache_keys(look.cache, look.layer, kv, first, n);
    if (look.cache.type == kWeightQ8) {
      const QuantizedRows rows = skip_rows(look.q8, (kv - look.kv_begin) * look.shared);
      kernels.matmul_q8(scores, look.stride, keys, 0, tile_count(keys), rows, look.shared);
    } else {
      kernels.matmul_f32(scores, look.stride, keys, 0, tile_count(keys), q, head_dim, look.shared);
      q += size_t{look.shared} * head_dim;
    }
    scores += look.shared * look.stride;
  }
}

// The values of `n` cached positions from slot `first` on, by their weights, (n_heads,
// look.stride), to context, (n_heads, head_dim).
static inline void mix_values(const Kernels& kernels, const Look& look, uint32_t first, uint32_t n,
                              const float* weights, float* context) {
  const KvCache& cache = look.cache;
  const uint32_t head_dim = cache.head_dim;
  const size_t skipped = size_t{first} * head_dim;
  if (cache.type != kWeightQ8) {
    kernels.mix_values(
        context, weights, look.stride, kv_cache_values(cache, look.layer, look.kv_begin) + skipped,
        kv_value_stride(cache, look.layer), n, head_dim, head_count(look), look.shared);
    return;
  }
  for (uint32_t kv = look.kv_begin; kv < look.kv_end; ++kv) {
    kernels.mix_values_q8(
        context, weights, look.stride, kv_cache_values_q8(cache, look.layer, kv) + skipped,
        cache.value_scales + kv_scales_at(cache, look.layer, kv) + first, n, head_dim, look.shared);
    context += size_t{look.shared} * head_dim;
    weights += look.shared * look.stride;
  }
}

#if THIMBLE_SINKS
// The sinks' scores, right before those of the other positions.
inline void score_sinks(const Kernels& kernels, const Look& look) {
  const Sinks& sinks = look.sinks;
  const uint32_t head_dim = look.cache.head_dim, n_heads = head_count(look);
  if (look.cache.type == kWeightQ8) {
    kernels.quantize_q8(look.q8, sinks.q, head_dim, head_dim, n_heads);
  }
  float* row = look.weights - sinks.padded;
  score_keys(kernels, look, 0, sinks.n, sinks.q, row);
  const uint32_t to = sinks.padded + seen_at(look) - sinks.n;
  for (uint32_t h = 0; h < n_heads; ++h, row += look.stride) {
    memmove(row + to, row, sinks.n * sizeof(float));
  }
}
#endif

// The core of all attention here, head by head (Vaswani et al. 2017, equation 1):
//   scores  = q . k_t                    for the positions t < n
//   weights = softmax(scores)
//   context = sum over t of weights_t * v_t
// With sinks the softmax runs over them and the other positions, and the context is the sum of two
// chains, that of the other positions and that of the sinks.
// Scores come in tiles of positions. What the last tile computes for positions from n on is
// never read. on_scores and on_weights run when these are there, and may change those of positions
// t < n.
template <class OnScores, class OnWeights>
inline void attend_heads(const Kernels& kernels, const Look& look, OnScores on_scores,
                         OnWeights on_weights) {
  const uint32_t skipped = seen_at(look), n_heads = head_count(look);
  uint32_t n_sinks = 0;
  float* weights = look.weights + skipped;
  score_keys(kernels, look, look.first - skipped, look.n + skipped, look.q, look.weights);
#if THIMBLE_SINKS
  n_sinks = look.sinks.n;
  if (n_sinks > 0) score_sinks(kernels, look);
#endif
  on_scores();
  kernels.softmax(weights - n_sinks, look.stride, n_heads, look.n + n_sinks);
  on_weights();
  mix_values(kernels, look, look.first, look.n, weights, look.context);
#if THIMBLE_SINKS
  if (n_sinks > 0) {
    mix_values(kernels, look, 0, n_sinks, weights - n_sinks, look.sinks.given);
    kernels.add(look.context, look.sinks.given, n_heads * look.cache.head_dim);
  }
#endif
}

// Adds the biases of queries, keys and values, norms queries and keys where the model does, rotates
// them to the positions of batch rows [begin, end), scales the queries, and stores keys and values.
void rotate_and_store(thimble_session* s, uint32_t begin, uint32_t end);

// The context vectors of batch row `row`, for the query heads of KV heads [kv_begin, kv_end).
void attend(thimble_session* s, uint32_t row, uint32_t kv_begin, uint32_t kv_end);

// Prefill: rows of a batch that see the same positions, but for the last few, take them together.
#if defined(__OPTIMIZE_SIZE__)
#define THIMBLE_ATTEND_ROWS 0
#else
#define THIMBLE_ATTEND_ROWS 1

// How many rows from `row` on do: as many as there is room for scores.
uint32_t attend_together(const thimble_session* s, uint32_t row);

// The context vectors of batch rows [row, row + n_rows), for the query heads of one KV head.
void attend_rows(thimble_session* s, uint32_t row, uint32_t n_rows, uint32_t kv);
#endif

}  // namespace thimble

#endif
