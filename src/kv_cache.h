// SPDX-License-Identifier: MIT
// The fixed-size key/value cache: what attention has to remember of the positions so far.
#ifndef THIMBLE_SRC_KV_CACHE_H
#define THIMBLE_SRC_KV_CACHE_H

#include "arena.h"
#include "kernels/kernels.h"
#include "thimble/thimble.h"

namespace thimble {

// Keys lie in tiles of `tile` positions (a Matrix whose rows are positions), so that one query
// meets so many keys at a time; values lie row by row, so that a context vector's lanes run along
// the head. Int8 (q8): a key or value vector of a position is in units of a bf16 scale; heads
// narrower than 32 share scales, as many as it takes for 32 numbers.
struct KvCache {
  void* keys;    // f32: (n_layers, n_kv_heads, n_ctx / tile, head_dim, tile)
                 // q8: int8 (n_layers, n_kv_heads, n_ctx / tile, padded head_dim / 4, tile, 4)
  void* values;  // f32 or int8 (n_layers, n_kv_heads, n_ctx, head_dim)
  uint16_t* key_scales;    // q8: (n_layers, n_scales, n_ctx)
  uint16_t* value_scales;  // q8: (n_layers, n_scales, n_ctx)
  uint32_t n_ctx;          // a multiple of kLanes
  uint32_t n_kv_heads, head_dim;
  uint32_t tile;  // positions: 1, 2, 4, 8 or 16
  WeightType type;
  uint32_t heads_per_scale, n_scales;  // q8: KV heads that share a scale, scales of a position
};

inline uint32_t kv_padded_dim(uint32_t head_dim) {
  return (head_dim + 3) / 4 * 4;
}

// Takes its memory, with n_ctx rounded up to 16. For each position and layer, f32:
// n_kv_heads * head_dim * 8 bytes; q8: about n_kv_heads * head_dim * 2 + n_scales * 4.
KvCache kv_cache_take(Arena* arena, const thimble_model& model, uint32_t n_ctx, WeightType type,
                      uint32_t tile);

// Zeros everywhere. Positions behind the last one are computed with its tile and thrown away; zeros
// keep what a session reads independent of what the arena held before.
void kv_cache_clear(const KvCache& cache, uint32_t n_layers);

// Numbers from one KV head's keys to the next head's, and the same for values.
inline size_t kv_key_stride(const KvCache& cache) {
  const uint32_t dim =
      cache.type == kWeightQ8 ? kv_padded_dim(cache.head_dim) : uint32_t{cache.head_dim};
  return size_t{cache.n_ctx} * dim;
}
inline size_t kv_value_stride(const KvCache& cache) {
  return size_t{cache.n_ctx} * cache.head_dim;
}

// Stores key and value vectors, (n_kv_heads, head_dim) each, of one position. q8: the scale is
// max|x| / 127 rounded up to bf16, a value x / scale rounded to nearest even.
void kv_cache_store(const KvCache& cache, uint32_t layer, uint32_t position, const float* key,
                    const float* value);

// The first `n` keys of a head, as a matrix (n, head_dim).
Matrix kv_cache_keys(const KvCache& cache, uint32_t layer, uint32_t kv_head, uint32_t n);

// The values of a head, (n_ctx, head_dim).
inline const float* kv_cache_values(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  return static_cast<const float*>(cache.values) +
         (size_t{layer} * cache.n_kv_heads + kv_head) * kv_value_stride(cache);
}
inline const int8_t* kv_cache_values_q8(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  return static_cast<const int8_t*>(cache.values) +
         (size_t{layer} * cache.n_kv_heads + kv_head) * kv_value_stride(cache);
}

// Where the scales of a head's positions start, in key_scales and in value_scales.
inline size_t kv_scales_at(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  const uint32_t scale = kv_head / cache.heads_per_scale;
  return (size_t{layer} * cache.n_scales + scale) * cache.n_ctx;
}

}  // namespace thimble

#endif
