// SPDX-License-Identifier: MIT
// The fixed-size key/value cache: what attention has to remember of the positions so far.
#ifndef THIMBLE_SRC_KV_CACHE_H
#define THIMBLE_SRC_KV_CACHE_H

#include "arena.h"
#include "kernels/kernels.h"
#include "thimble/thimble.h"

namespace thimble {

// Where one layer's positions are, where layers see windows of the text, or all see its beginning
// (attention sinks) and its end.
struct KvLayer {
  uint32_t window;  // positions that are seen up to the current one; 0: all
  uint32_t sinks;   // and so many of the first ones
  uint32_t before;  // positions that the layers before it cache, all together
  uint32_t size;    // positions that it caches, a multiple of kLanes
  uint32_t kept;    // of those, the first ones stay: round_up(sinks, kLanes)
  uint32_t base;    // the position behind them, a multiple of kLanes: it moves along with the text
};

// What a cache is laid out for.
struct KvConfig {
  uint32_t n_ctx, n_batch;
  uint32_t n_sinks;  // 0: the text ends with the context
  WeightType type;
  uint32_t tile;
};

// What a layer whose own window is this one (0: it sees all) sees and caches; `before` and `base`
// are for the session's start. One that sees a window caches the window, n_batch - 1 positions that
// come with a batch, and what it takes to move in steps of 16. With sinks, all that a layer sees is
// n_ctx positions; a window of its own that is shorter stays as it is and needs no sinks.
KvLayer kv_layer(uint32_t window, const KvConfig& config);

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
  KvLayer* layers;                     // (n_layers); null: all alike, n_ctx positions from 0 on
  uint32_t heads_per_scale, n_scales;  // q8: KV heads that share a scale, scales of a position
};

inline uint32_t kv_padded_dim(uint32_t head_dim) {
  return (head_dim + 3) / 4 * 4;
}

// Takes its memory, with n_ctx rounded up to 16. For each position and layer, f32:
// n_kv_heads * head_dim * 8 bytes; q8: about n_kv_heads * head_dim * 2 + n_scales * 4.
KvCache kv_cache_take(Arena* arena, const thimble_model& model, const KvConfig& config);

// Positions that a layer caches, and those of the layers before it.
inline uint32_t kv_layer_size(const KvCache& cache, uint32_t layer) {
  return THIMBLE_MOVING && cache.layers ? cache.layers[layer].size : cache.n_ctx;
}
inline size_t kv_layer_before(const KvCache& cache, uint32_t layer) {
  return THIMBLE_MOVING && cache.layers ? cache.layers[layer].before : size_t{layer} * cache.n_ctx;
}

// Where a position that is cached lies among the layer's.
inline uint32_t kv_slot(const KvCache& cache, uint32_t layer, uint32_t position) {
  if (!THIMBLE_MOVING || !cache.layers) return position;
  const KvLayer& at = cache.layers[layer];
  return position < at.kept ? position : position - at.base + at.kept;
}

// The first position that the one before `end` sees, the sinks apart, which it sees if that is not
// 0.
inline uint32_t kv_seen_from(const KvCache& cache, uint32_t layer, uint32_t end) {
  if (!THIMBLE_MOVING || !cache.layers) return 0;
  const KvLayer& at = cache.layers[layer];
  return at.window > 0 && end - 1 >= at.window + at.sinks ? end - at.window : 0;
}
inline uint32_t kv_sinks(const KvCache& cache, uint32_t layer) {
  return THIMBLE_SINKS && cache.layers ? cache.layers[layer].sinks : 0;
}

// The most positions that any of a layer's sees, of a text of n.
inline uint32_t kv_most_seen(const KvCache& cache, uint32_t layer, uint32_t n) {
  if (!THIMBLE_MOVING || !cache.layers || cache.layers[layer].window == 0) return n;
  const uint32_t seen = cache.layers[layer].window + cache.layers[layer].sinks;
  return seen < n ? seen : n;
}

// Whether positions up to `end` fit into a layer without moving what is there.
inline bool kv_layer_has_room(const KvCache& cache, uint32_t layer, uint32_t end) {
  return kv_slot(cache, layer, end - 1) < kv_layer_size(cache, layer);
}

// Moves a layer's positions so that what `first` sees stays and those behind it have room.
void kv_cache_move(const KvCache& cache, uint32_t layer, uint32_t first);

// Whether the position before `end` can be computed with what the layers still have.
bool kv_cache_reaches(const KvCache& cache, uint32_t n_layers, uint32_t end);

// The first position, the sinks apart, that a layer has to cache when `next` is computed next: a
// multiple of kLanes.
uint32_t kv_needed_from(const KvCache& cache, uint32_t layer, uint32_t next);

// Lays an empty cache out for position `next`.
void kv_cache_start_at(const KvCache& cache, uint32_t n_layers, uint32_t next);

// Zeros everywhere. Positions behind the last one are computed with its tile and thrown away; zeros
// keep what a session reads independent of what the arena held before.
void kv_cache_clear(const KvCache& cache, uint32_t n_layers);

// Numbers from one KV head's keys to the next head's, and the same for values.
inline uint32_t kv_key_dim(const KvCache& cache) {
  return cache.type == kWeightQ8 ? kv_padded_dim(cache.head_dim) : cache.head_dim;
}
inline size_t kv_value_stride(const KvCache& cache, uint32_t layer) {
  return size_t{kv_layer_size(cache, layer)} * cache.head_dim;
}
// Where a head's positions start, in positions.
inline size_t kv_head_at(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  return kv_layer_before(cache, layer) * cache.n_kv_heads +
         size_t{kv_head} * kv_layer_size(cache, layer);
}

// Stores key and value vectors, (n_kv_heads, head_dim) each, of one position. q8: the scale is
// max|x| / 127 rounded up to bf16, a value x / scale rounded to nearest even.
void kv_cache_store(const Kernels& kernels, const KvCache& cache, uint32_t layer, uint32_t position,
                    const float* key, const float* value);

#if !defined(__OPTIMIZE_SIZE__)
// Those of n positions, `stride` floats apart. Whole lines of a tile of keys are written at a time.
void kv_cache_store_rows(const Kernels& kernels, const KvCache& cache, uint32_t layer,
                         uint32_t position, uint32_t n, const float* key, const float* value,
                         size_t stride);
#endif

// A position's row as bytes, the same for every tile: f32: keys, then values, (n_kv_heads,
// head_dim) each; q8: scales of keys, of values, (n_scales) bf16 each, then int8 keys and values.
size_t kv_row_bytes(const KvCache& cache);
void kv_cache_save_row(const KvCache& cache, uint32_t layer, uint32_t position, uint8_t* out);
void kv_cache_load_row(const KvCache& cache, uint32_t layer, uint32_t position, const uint8_t* row);

// `n` keys of a head from slot `first` (a multiple of kLanes) on, as a matrix (n, head_dim).
Matrix kv_cache_keys(const KvCache& cache, uint32_t layer, uint32_t kv_head, uint32_t first,
                     uint32_t n);

// The values of a head, (positions, head_dim).
inline const float* kv_cache_values(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  return static_cast<const float*>(cache.values) +
         kv_head_at(cache, layer, kv_head) * cache.head_dim;
}
inline const int8_t* kv_cache_values_q8(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  return static_cast<const int8_t*>(cache.values) +
         kv_head_at(cache, layer, kv_head) * cache.head_dim;
}

// Where the scales of a head's positions start, in key_scales and in value_scales.
inline size_t kv_scales_at(const KvCache& cache, uint32_t layer, uint32_t kv_head) {
  const uint32_t scale = kv_head / cache.heads_per_scale;
  return kv_layer_before(cache, layer) * cache.n_scales +
         size_t{scale} * kv_layer_size(cache, layer);
}

}  // namespace thimble

#endif
