// SPDX-License-Identifier: MIT
#include "kv_cache.h"

#include <string.h>

#include "exact_math.h"
#include "model.h"

namespace thimble {
namespace {

uint32_t element_bytes(const KvCache& cache) {
  return cache.type == kWeightQ8 ? sizeof(int8_t) : sizeof(float);
}

// n positions of one tile, whose keys, and values, are `stride` floats apart.
[[gnu::always_inline]] inline void store_f32(const KvCache& cache, uint32_t layer,
                                             uint32_t position, uint32_t n, const float* key,
                                             const float* value, size_t key_stride) {
  const size_t head_dim = cache.head_dim, tile = cache.tile;
  const size_t stride = kv_value_stride(cache, layer);
  const size_t first = kv_layer_before(cache, layer) * cache.n_kv_heads * head_dim;
  float* keys =
      static_cast<float*>(cache.keys) + first + position / tile * tile * head_dim + position % tile;
  float* values = static_cast<float*>(cache.values) + first + position * head_dim;
  for (uint32_t h = 0; h < cache.n_kv_heads; ++h) {
    for (size_t d = 0; d < head_dim; ++d) {
      for (uint32_t i = 0; i < n; ++i) keys[d * tile + i] = key[i * key_stride + d];
    }
    for (uint32_t i = 0; i < n; ++i) {
      memcpy(values + i * head_dim, value + i * key_stride, head_dim * sizeof(float));
    }
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

void store_q8([[maybe_unused]] const Kernels& kernels, const KvCache& cache, uint32_t layer,
              uint32_t position, const float* key, const float* value) {
  const size_t head_dim = cache.head_dim, tile = cache.tile;
  const uint32_t together = cache.heads_per_scale;
  const size_t key_dim = kv_padded_dim(cache.head_dim), size = kv_layer_size(cache, layer);
  const size_t before = kv_layer_before(cache, layer), first = before * cache.n_kv_heads;
  int8_t* keys = static_cast<int8_t*>(cache.keys) + first * key_dim +
                 position / tile * tile * key_dim + position % tile * 4;
  int8_t* values = static_cast<int8_t*>(cache.values) + (first + position) * head_dim;
  uint32_t left = cache.n_kv_heads;
  for (uint32_t scale = 0; scale < cache.n_scales; ++scale) {
    const uint32_t heads = left < together ? left : together;
    left -= heads;
    const size_t at = before * cache.n_scales + scale * size + position;
#if !defined(__OPTIMIZE_SIZE__)
    if (kernels.wide) {
      alignas(64) int8_t key_q8[kMaxHeadDim], value_q8[kMaxHeadDim];
      cache.key_scales[at] = kernels.wide->quantize_cached(key_q8, key, heads * cache.head_dim);
      cache.value_scales[at] =
          kernels.wide->quantize_cached(value_q8, value, heads * cache.head_dim);
      for (uint32_t h = 0; h < heads; ++h) {
        const int8_t* from = key_q8 + h * head_dim;
        size_t d = 0;
        for (; d + 4 <= head_dim; d += 4) memcpy(keys + d * tile, from + d, 4);
        for (; d < head_dim; ++d) keys[d / 4 * tile * 4 + d % 4] = from[d];
        memcpy(values, value_q8 + h * head_dim, head_dim);
        keys += size * key_dim;
        values += size * head_dim;
      }
      key += heads * head_dim;
      value += heads * head_dim;
      continue;
    }
#endif
    const uint16_t key_scale = scale_for(key, heads * head_dim);
    const uint16_t value_scale = scale_for(value, heads * head_dim);
    cache.key_scales[at] = key_scale;
    cache.value_scales[at] = value_scale;
    const float key_inverse = key_scale ? 1.0f / from_bf16(key_scale) : 0.0f;
    const float value_inverse = value_scale ? 1.0f / from_bf16(value_scale) : 0.0f;
    for (uint32_t h = 0; h < heads; ++h) {
      for (size_t d = 0; d < head_dim; ++d) {
        keys[d / 4 * tile * 4 + d % 4] = quantized(key[d], key_inverse);
        values[d] = quantized(value[d], value_inverse);
      }
      keys += size * key_dim;
      values += size * head_dim;
      key += head_dim;
      value += head_dim;
    }
  }
}

}  // namespace

KvLayer kv_layer(uint32_t window, const KvConfig& config) {
  KvLayer layer = {};
  layer.window = window;
  uint64_t all = round_up(config.n_ctx, kLanes);
  if (THIMBLE_SINKS && config.n_sinks > 0) {
    const uint32_t rest = config.n_ctx - config.n_sinks;
    all = UINT64_MAX;
    if (window == 0 || window > rest) {
      layer.window = rest;
      layer.sinks = config.n_sinks;
      layer.kept = layer.base = static_cast<uint32_t>(round_up(config.n_sinks, kLanes));
    }
  }
  uint64_t size = all;
  if (layer.window > 0) {
    size = layer.kept + round_up(uint64_t{layer.window} + config.n_batch + 14, kLanes);
  }
  layer.size = static_cast<uint32_t>(size < all ? size : all);
  return layer;
}

KvCache kv_cache_take(Arena* arena, const thimble_model& model, const KvConfig& config) {
  KvCache cache = {};
  cache.n_ctx = static_cast<uint32_t>(round_up(config.n_ctx, kLanes));
  cache.n_kv_heads = model.n_kv_heads;
  cache.head_dim = model.head_dim;
  cache.tile = config.tile;
  cache.type = config.type;
  cache.heads_per_scale = (31 + model.head_dim) / model.head_dim;
  cache.n_scales = (model.n_kv_heads + cache.heads_per_scale - 1) / cache.heads_per_scale;
  uint64_t cached = uint64_t{model.n_layers} * cache.n_ctx;
#if THIMBLE_MOVING
  const bool has_windows = THIMBLE_WINDOWS && header_of(model).has_windows;
  if (has_windows || config.n_sinks > 0) {
    cache.layers = arena->take<KvLayer>(model.n_layers);
    const uint32_t* kinds = has_windows ? table_of<uint32_t>(model, kLayerKinds) : nullptr;
    cached = 0;
    for (uint32_t i = 0; i < model.n_layers; ++i) {
      KvLayer layer = kv_layer(kinds ? kinds[2 * i] : 0, config);
      layer.before = static_cast<uint32_t>(cached);
      cached += layer.size;
      if (cache.layers) cache.layers[i] = layer;
    }
  }
#endif
  const uint64_t positions = cached * model.n_kv_heads;
  if (config.type == kWeightQ8) {
    cache.keys = arena->take<int8_t>(positions * kv_padded_dim(model.head_dim));
    cache.values = arena->take<int8_t>(positions * model.head_dim);
    const uint64_t scales = cached * cache.n_scales;
    cache.key_scales = arena->take<uint16_t>(scales);
    cache.value_scales = arena->take<uint16_t>(scales);
  } else {
    cache.keys = arena->take<float>(positions * model.head_dim);
    cache.values = arena->take<float>(positions * model.head_dim);
  }
  return cache;
}

void kv_cache_clear(const KvCache& cache, uint32_t n_layers) {
  const size_t cached = kv_layer_before(cache, n_layers - 1) + kv_layer_size(cache, n_layers - 1);
  const size_t positions = cached * cache.n_kv_heads * element_bytes(cache);
  memset(cache.keys, 0, positions * kv_key_dim(cache));
  memset(cache.values, 0, positions * cache.head_dim);
  if (cache.type != kWeightQ8) return;
  const size_t scales = cached * cache.n_scales;
  memset(cache.key_scales, 0, scales * sizeof(uint16_t));
  memset(cache.value_scales, 0, scales * sizeof(uint16_t));
}

void kv_cache_store(const Kernels& kernels, const KvCache& cache, uint32_t layer, uint32_t position,
                    const float* key, const float* value) {
  position = kv_slot(cache, layer, position);
  if (cache.type == kWeightQ8) {
    store_q8(kernels, cache, layer, position, key, value);
  } else {
    store_f32(cache, layer, position, 1, key, value, 0);
  }
}

#if !defined(__OPTIMIZE_SIZE__)
void kv_cache_store_rows(const Kernels& kernels, const KvCache& cache, uint32_t layer,
                         uint32_t position, uint32_t n, const float* key, const float* value,
                         size_t stride) {
  while (n > 0) {
    const uint32_t slot = kv_slot(cache, layer, position), left = cache.tile - slot % cache.tile;
    const uint32_t here = cache.type == kWeightQ8 ? 1 : n < left ? n : left;
    if (cache.type == kWeightQ8) {
      store_q8(kernels, cache, layer, slot, key, value);
    } else {
      store_f32(cache, layer, slot, here, key, value, stride);
    }
    position += here;
    n -= here;
    key += here * stride;
    value += here * stride;
  }
}
#endif

uint32_t kv_needed_from(const KvCache& cache, uint32_t layer, uint32_t next) {
  const uint32_t seen = kv_seen_from(cache, layer, next + 1) / kLanes * kLanes;
  return cache.layers && seen > cache.layers[layer].kept ? seen : 0;
}

#if THIMBLE_MOVING
namespace {

uint32_t base_for(const KvCache& cache, uint32_t layer, uint32_t next) {
  if (!cache.layers) return 0;
  const uint32_t needed = kv_needed_from(cache, layer, next);
  return needed > 0 ? needed : cache.layers[layer].kept;
}

}  // namespace

void kv_cache_move(const KvCache& cache, uint32_t layer, uint32_t first) {
  KvLayer& at = cache.layers[layer];
  const uint32_t base = base_for(cache, layer, first);
  const size_t gone = base - at.base, moved = at.size - at.kept - gone;
  at.base = base;
  // Tiles divide kLanes, so whole ones move; rows of `width` bytes a position.
  const auto move = [&](void* data, size_t row, size_t width) {
    uint8_t* to = static_cast<uint8_t*>(data) + (row + at.kept) * width;
    memmove(to, to + gone * width, moved * width);
  };
  for (uint32_t h = 0; h < cache.n_kv_heads; ++h) {
    const size_t head = kv_head_at(cache, layer, h);
    move(cache.keys, head, kv_key_dim(cache) * element_bytes(cache));
    move(cache.values, head, cache.head_dim * element_bytes(cache));
  }
  if (cache.type != kWeightQ8) return;
  for (uint32_t s = 0; s < cache.n_scales; ++s) {
    const size_t row = kv_scales_at(cache, layer, s * cache.heads_per_scale);
    move(cache.key_scales, row, sizeof(uint16_t));
    move(cache.value_scales, row, sizeof(uint16_t));
  }
}

bool kv_cache_reaches(const KvCache& cache, uint32_t n_layers, uint32_t end) {
  for (uint32_t i = 0; cache.layers && i < n_layers; ++i) {
    const KvLayer& at = cache.layers[i];
    if (at.base > at.kept && kv_seen_from(cache, i, end) < at.base) return false;
  }
  return true;
}

void kv_cache_start_at(const KvCache& cache, uint32_t n_layers, uint32_t next) {
  for (uint32_t i = 0; cache.layers && i < n_layers; ++i) {
    cache.layers[i].base = base_for(cache, i, next);
  }
}
#endif

namespace {

// Calls copy(cached, row, bytes) for what a row consists of, piece by piece.
template <class Copy>
void each_piece(const KvCache& cache, uint32_t layer, uint32_t position, Copy copy) {
  const uint32_t slot = kv_slot(cache, layer, position), width = element_bytes(cache);
  const size_t tile = cache.tile, together = cache.type == kWeightQ8 ? 4 : 1;
  size_t at = 0;
  const auto piece = [&](void* cached, size_t bytes) {
    copy(static_cast<uint8_t*>(cached), at, bytes);
    at += bytes;
  };
  if (cache.type == kWeightQ8) {
    uint16_t* const both[] = {cache.key_scales, cache.value_scales};
    for (uint16_t* scales : both) {
      for (uint32_t i = 0; i < cache.n_scales; ++i) {
        piece(scales + kv_scales_at(cache, layer, i * cache.heads_per_scale) + slot, 2);
      }
    }
  }
  for (uint32_t h = 0; h < cache.n_kv_heads; ++h) {
    uint8_t* keys = static_cast<uint8_t*>(cache.keys) +
                    (kv_head_at(cache, layer, h) + slot / tile * tile) * kv_key_dim(cache) * width +
                    slot % tile * together * width;
    for (uint32_t d = 0; d < cache.head_dim; ++d) {
      piece(keys + (d / together * tile * together + d % together) * width, width);
    }
  }
  for (uint32_t h = 0; h < cache.n_kv_heads; ++h) {
    piece(static_cast<uint8_t*>(cache.values) +
              (kv_head_at(cache, layer, h) + slot) * cache.head_dim * width,
          cache.head_dim * width);
  }
}

}  // namespace

size_t kv_row_bytes(const KvCache& cache) {
  const size_t numbers = size_t{2} * cache.n_kv_heads * cache.head_dim * element_bytes(cache);
  return numbers + (cache.type == kWeightQ8 ? 4 * cache.n_scales : 0);
}

void kv_cache_save_row(const KvCache& cache, uint32_t layer, uint32_t position, uint8_t* out) {
  each_piece(cache, layer, position,
             [&](const uint8_t* cached, size_t at, size_t n) { memcpy(out + at, cached, n); });
}

void kv_cache_load_row(const KvCache& cache, uint32_t layer, uint32_t position,
                       const uint8_t* row) {
  each_piece(cache, layer, position,
             [&](uint8_t* cached, size_t at, size_t n) { memcpy(cached, row + at, n); });
}

Matrix kv_cache_keys(const KvCache& cache, uint32_t layer, uint32_t kv_head, uint32_t first,
                     uint32_t n) {
  const size_t at = (kv_head_at(cache, layer, kv_head) + first) * kv_key_dim(cache);
  Matrix m;
  m.data = static_cast<const uint8_t*>(cache.keys) + at * element_bytes(cache);
  m.rows = n;
  m.cols = cache.head_dim;
  m.row_tile = cache.tile;
  m.type = cache.type;
  if (cache.type == kWeightQ8) {
    m.scales = cache.key_scales + kv_scales_at(cache, layer, kv_head) + first;
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
