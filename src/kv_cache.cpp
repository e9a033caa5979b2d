// SPDX-License-Identifier: MIT
#include "kv_cache.h"

#include <string.h>

#include "exact_math.h"

namespace thimble {
namespace {

uint32_t element_bytes(const KvCache& cache) {
  return cache.type == kWeightQ8 ? sizeof(int8_t) : sizeof(float);
}

void store_f32(const KvCache& cache, uint32_t layer, uint32_t position, const float* key,
               const float* value) {
  const size_t head_dim = cache.head_dim, tile = cache.tile;
  const size_t stride = kv_key_stride(cache), first = size_t{layer} * cache.n_kv_heads * stride;
  float* keys =
      static_cast<float*>(cache.keys) + first + position / tile * tile * head_dim + position % tile;
  float* values = static_cast<float*>(cache.values) + first + position * head_dim;
  for (uint32_t h = 0; h < cache.n_kv_heads; ++h) {
    for (size_t d = 0; d < head_dim; ++d) keys[d * tile] = key[d];
    memcpy(values, value, head_dim * sizeof(float));
    keys += stride;
    values += stride;
    key += head_dim;
    value += head_dim;
  }
}

// The bf16 that is just large enough for all of x to fit into [-127, 127] times it; 0 if x is
// silent. The largest size is found among the bits: those of a positive float order as it does, and
// a NaN is passed over.
uint16_t scale_for(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint32_t size = bits_of(x[i]) & 0x7fffffffu;
    if (size > largest && size <= 0x7f800000u) largest = size;
  }
  if (float_of(largest) < 1e-30f) return 0;
  return static_cast<uint16_t>((bits_of(float_of(largest) / 127.0f) + 0xffffu) >> 16);
}

// Within [-127, 127], since the scale was rounded up; 0 for a NaN.
int8_t quantized(float x, float inverse) {
  return static_cast<int8_t>(round_to_even(x * inverse));
}

void store_q8(const KvCache& cache, uint32_t layer, uint32_t position, const float* key,
              const float* value) {
  const size_t head_dim = cache.head_dim, tile = cache.tile;
  const uint32_t together = cache.heads_per_scale;
  const size_t head = size_t{layer} * cache.n_kv_heads;
  int8_t* keys = static_cast<int8_t*>(cache.keys) + head * kv_key_stride(cache) +
                 position / tile * tile * kv_padded_dim(cache.head_dim) + position % tile * 4;
  int8_t* values =
      static_cast<int8_t*>(cache.values) + head * kv_value_stride(cache) + position * head_dim;
  uint32_t left = cache.n_kv_heads;
  for (uint32_t scale = 0; scale < cache.n_scales; ++scale) {
    const uint32_t heads = left < together ? left : together;
    left -= heads;
    const uint16_t key_scale = scale_for(key, heads * head_dim);
    const uint16_t value_scale = scale_for(value, heads * head_dim);
    const size_t at = (size_t{layer} * cache.n_scales + scale) * cache.n_ctx + position;
    cache.key_scales[at] = key_scale;
    cache.value_scales[at] = value_scale;
    const float key_inverse = key_scale ? 1.0f / from_bf16(key_scale) : 0.0f;
    const float value_inverse = value_scale ? 1.0f / from_bf16(value_scale) : 0.0f;
    for (uint32_t h = 0; h < heads; ++h) {
      for (size_t d = 0; d < head_dim; ++d) {
        keys[d / 4 * tile * 4 + d % 4] = quantized(key[d], key_inverse);
        values[d] = quantized(value[d], value_inverse);
      }
      keys += kv_key_stride(cache);
      values += kv_value_stride(cache);
      key += head_dim;
      value += head_dim;
    }
  }
}

}  // namespace

KvCache kv_cache_take(Arena* arena, const thimble_model& model, uint32_t n_ctx, WeightType type,
                      uint32_t tile) {
  KvCache cache = {};
  cache.n_ctx = static_cast<uint32_t>(round_up(n_ctx, kLanes));
  cache.n_kv_heads = model.n_kv_heads;
  cache.head_dim = model.head_dim;
  cache.tile = tile;
  cache.type = type;
  cache.heads_per_scale = (31 + model.head_dim) / model.head_dim;
  cache.n_scales = (model.n_kv_heads + cache.heads_per_scale - 1) / cache.heads_per_scale;
  const uint64_t heads = uint64_t{model.n_layers} * model.n_kv_heads;
  const uint64_t positions = heads * cache.n_ctx;
  if (type == kWeightQ8) {
    cache.keys = arena->take<int8_t>(positions * kv_padded_dim(model.head_dim));
    cache.values = arena->take<int8_t>(positions * model.head_dim);
    const uint64_t scales = uint64_t{model.n_layers} * cache.n_scales * cache.n_ctx;
    cache.key_scales = arena->take<uint16_t>(scales);
    cache.value_scales = arena->take<uint16_t>(scales);
  } else {
    cache.keys = arena->take<float>(positions * model.head_dim);
    cache.values = arena->take<float>(positions * model.head_dim);
  }
  return cache;
}

void kv_cache_clear(const KvCache& cache, uint32_t n_layers) {
  const size_t heads = size_t{n_layers} * cache.n_kv_heads * element_bytes(cache);
  memset(cache.keys, 0, heads * kv_key_stride(cache));
  memset(cache.values, 0, heads * kv_value_stride(cache));
  if (cache.type != kWeightQ8) return;
  const size_t scales = size_t{n_layers} * cache.n_scales * cache.n_ctx;
  memset(cache.key_scales, 0, scales * sizeof(uint16_t));
  memset(cache.value_scales, 0, scales * sizeof(uint16_t));
}

void kv_cache_store(const KvCache& cache, uint32_t layer, uint32_t position, const float* key,
                    const float* value) {
  if (cache.type == kWeightQ8) {
    store_q8(cache, layer, position, key, value);
  } else {
    store_f32(cache, layer, position, key, value);
  }
}

Matrix kv_cache_keys(const KvCache& cache, uint32_t layer, uint32_t kv_head, uint32_t n) {
  const size_t at = (size_t{layer} * cache.n_kv_heads + kv_head) * kv_key_stride(cache);
  Matrix m;
  m.data = static_cast<const uint8_t*>(cache.keys) + at * element_bytes(cache);
  m.rows = n;
  m.cols = cache.head_dim;
  m.row_tile = cache.tile;
  m.type = cache.type;
  if (cache.type == kWeightQ8) {
    m.scales = cache.key_scales + kv_scales_at(cache, layer, kv_head);
    m.padded_cols = kv_padded_dim(cache.head_dim);
    m.group = m.padded_cols;
    m.n_groups = 1;
  } else {
    m.scales = nullptr;
    m.padded_cols = cache.head_dim;
    m.group = 0;
    m.n_groups = 0;
  }
  return m;
}

}  // namespace thimble
