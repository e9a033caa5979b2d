// SPDX-License-Identifier: MIT
#include "kv_cache.h"

#include <string.h>

namespace thimble {

KvCache kv_cache_take(Arena* arena, const thimble_model& model, uint32_t n_ctx) {
  KvCache cache;
  cache.n_ctx = n_ctx;
  cache.n_kv_heads = model.n_kv_heads;
  cache.head_dim = model.head_dim;
  const uint64_t floats =
      uint64_t{model.n_layers} * model.n_kv_heads * model.head_dim * round_up(n_ctx, kLanes);
  cache.keys = arena->take<float>(floats);
  cache.values = arena->take<float>(floats);
  return cache;
}

void kv_cache_store(const KvCache& cache, uint32_t layer, uint32_t position, const float* key,
                    const float* value) {
  const size_t head_stride = kv_head_stride(cache), head_dim = cache.head_dim;
  const size_t first = size_t{layer} * cache.n_kv_heads * head_stride;
  float* keys = cache.keys + first + position / kLanes * kLanes * head_dim + position % kLanes;
  float* values = cache.values + first + position * head_dim;
  for (uint32_t h = 0; h < cache.n_kv_heads; ++h) {
    for (size_t d = 0; d < head_dim; ++d) keys[d * kLanes] = key[d];
    memcpy(values, value, head_dim * sizeof(float));
    keys += head_stride;
    values += head_stride;
    key += head_dim;
    value += head_dim;
  }
}

Matrix kv_cache_keys(const KvCache& cache, uint32_t layer, uint32_t kv_head, uint32_t n) {
  Matrix m;
  m.data = cache.keys + (size_t{layer} * cache.n_kv_heads + kv_head) * kv_head_stride(cache);
  m.scales = nullptr;
  m.rows = n;
  m.cols = cache.head_dim;
  m.padded_cols = cache.head_dim;
  m.row_tile = kLanes;
  m.group = 0;
  m.n_groups = 0;
  m.type = kWeightF32;
  return m;
}

}  // namespace thimble
