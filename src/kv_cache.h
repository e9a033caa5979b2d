// SPDX-License-Identifier: MIT
// The fixed-size key/value cache: what attention has to remember of the positions so far.
#ifndef THIMBLE_SRC_KV_CACHE_H
#define THIMBLE_SRC_KV_CACHE_H

#include "arena.h"
#include "kernels/kernels.h"
#include "thimble/thimble.h"

namespace thimble {

// Keys lie in tiles of kLanes positions (a Matrix whose rows are positions), so that one query
// meets 16 keys at a time; values lie row by row, so that a context vector's lanes run along the
// head.
struct KvCache {
  float* keys;    // (n_layers, n_kv_heads, n_ctx / 16, head_dim, 16), n_ctx rounded up to 16
  float* values;  // (n_layers, n_kv_heads, n_ctx, head_dim), n_ctx rounded up to 16
  uint32_t n_ctx, n_kv_heads, head_dim;
};

// Takes its memory: n_layers * n_kv_heads * head_dim * n_ctx (rounded up to 16) * 8 bytes.
KvCache kv_cache_take(Arena* arena, const thimble_model& model, uint32_t n_ctx);

// Floats from one KV head's keys or values to the next head's.
inline size_t kv_head_stride(const KvCache& cache) {
  return static_cast<size_t>(round_up(cache.n_ctx, kLanes)) * cache.head_dim;
}

// Stores key and value vectors, (n_kv_heads, head_dim) each, of one position.
void kv_cache_store(const KvCache& cache, uint32_t layer, uint32_t position, const float* key,
                    const float* value);

// The first `n` keys of a head, as a matrix (n, head_dim).
Matrix kv_cache_keys(const KvCache& cache, uint32_t layer, uint32_t kv_head, uint32_t n);

// The values of a head, (n_ctx, head_dim).
inline const float* kv_cache_values(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  return cache.values + (size_t{layer} * cache.n_kv_heads + kv_head) * kv_head_stride(cache);
}

}  // namespace thimble

#endif
