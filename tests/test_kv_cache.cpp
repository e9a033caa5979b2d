// SPDX-License-Identifier: MIT
// The int8 key/value cache: what it stores, what attention makes of it, the same bits everywhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "attention.h"
#include "exact_math.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

struct CacheShape {
  uint32_t n_layers, n_kv_heads, head_dim, n_ctx, tile;
  WeightType type = kWeightQ8;
};

// A cache in a block of its own.
struct TestCache {
  explicit TestCache(const CacheShape& s) : block(bytes(s), 0xa5) {
    Arena arena(block.data());
    cache = kv_cache_take(&arena, model_of(s), {s.n_ctx, 1, 0, s.type, s.tile});
    kv_cache_clear(cache, s.n_layers);
  }
  static thimble_model model_of(const CacheShape& s) {
    static const FileHeader kAlike = {};  // without windows
    thimble_model m = {};
    m.image = reinterpret_cast<const uint8_t*>(&kAlike);
    m.n_layers = s.n_layers;
    m.n_kv_heads = s.n_kv_heads;
    m.head_dim = s.head_dim;
    return m;
  }
  static size_t bytes(const CacheShape& s) {
    Arena counter(nullptr);
    kv_cache_take(&counter, model_of(s), {s.n_ctx, 1, 0, s.type, s.tile});
    return static_cast<size_t>(counter.used());
  }

  // As the cache has it, in double.
  double key(uint32_t layer, uint32_t head, uint32_t position, uint32_t d) const {
    const Matrix m = kv_cache_keys(cache, layer, head, 0, position + 1);
    const uint32_t tile = m.row_tile, in = position % tile;
    const int8_t* data = static_cast<const int8_t*>(m.data) +
                         size_t{position / tile} * tile * m.padded_cols + in * 4;
    return static_cast<double>(data[d / 4 * tile * 4 + d % 4]) *
           static_cast<double>(from_bf16(m.scales[position]));
  }
  double value(uint32_t layer, uint32_t head, uint32_t position, uint32_t d) const {
    const int8_t* values = kv_cache_values_q8(cache, layer, head);
    const uint16_t scale = cache.value_scales[kv_scales_at(cache, layer, head) + position];
    return static_cast<double>(values[position * cache.head_dim + d]) *
           static_cast<double>(from_bf16(scale));
  }

  AlignedBlock block;
  KvCache cache = {};
};

const CacheShape kShapes[] = {{2, 4, 8, 32, 4},  {1, 3, 16, 20, 16}, {2, 5, 6, 17, 8},
                              {1, 2, 48, 40, 4}, {1, 1, 64, 16, 1},  {2, 1, 2, 19, 2}};

std::vector<float> random_floats(Random& random, size_t n, float size) {
  std::vector<float> x(n);
  for (float& v : x) v = random.normal() * size;
  return x;
}

thimble_config q8_config(uint32_t n_ctx, uint32_t n_batch, const char* isa) {
  return {n_ctx, n_batch, isa, THIMBLE_KV_Q8, 0};
}

}  // namespace

TEST_CASE("q8 cache: stored within half a scale, whatever else is stored, in every layout") {
  Random random(31);
  for (const CacheShape& s : kShapes) {
    TestCache t(s);
    const size_t width = size_t{s.n_kv_heads} * s.head_dim;
    std::vector<std::vector<float>> keys, values;
    for (uint32_t layer = 0; layer < s.n_layers; ++layer) {
      for (uint32_t p = 0; p < s.n_ctx; ++p) {
        const float size = p % 5 == 4 ? 1e-33f : p % 3 ? 1.0f : 300.0f;
        keys.push_back(random_floats(random, width, size));
        values.push_back(random_floats(random, width, size));
        kv_cache_store(kKernelsReference, t.cache, layer, p, keys.back().data(),
                       values.back().data());
      }
    }
    const uint32_t together = t.cache.heads_per_scale;
    CHECK(together * s.head_dim >= 32);
    CHECK((together - 1) * s.head_dim < 32);
    for (uint32_t layer = 0; layer < s.n_layers; ++layer) {
      for (uint32_t p = 0; p < s.n_ctx; ++p) {
        for (uint32_t h = 0; h < s.n_kv_heads; ++h) {
          const uint32_t first = h / together * together * s.head_dim;
          const uint32_t end =
              std::min<uint32_t>(static_cast<uint32_t>(width), first + together * s.head_dim);
          for (int which = 0; which < 2; ++which) {
            const std::vector<float>& x = (which ? values : keys)[layer * s.n_ctx + p];
            double max = 0;
            for (uint32_t i = first; i < end; ++i) {
              max = std::max(max, std::fabs(static_cast<double>(x[i])));
            }
            // A bf16 scale rounded up is at most 2^-7 too large.
            const double scale = max < 1e-30 ? 0 : max / 127 * (1 + 1.0 / 128);
            for (uint32_t d = 0; d < s.head_dim; ++d) {
              const double original = static_cast<double>(x[h * s.head_dim + d]);
              const double stored = which ? t.value(layer, h, p, d) : t.key(layer, h, p, d);
              // Half a step, and the rounding of the product with the reciprocal.
              const double bound = scale == 0 ? max : scale * (0.5 + 1e-4);
              REQUIRE(std::fabs(stored - original) <= bound);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("cache: every table stores the same, one by one and in rows, odd numbers too") {
  Random random(33);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const WeightType type : {kWeightF32, kWeightQ8}) {
    for (CacheShape s : kShapes) {
      s.type = type;
      const size_t width = size_t{s.n_kv_heads} * s.head_dim, stride = 2 * width + 3;
      std::vector<float> x = random_floats(random, stride * s.n_ctx, 1.0f);
      for (size_t i = 0; i < x.size(); i += 1 + random.below(97)) {
        const float odd[] = {nan, -nan, infinity, -infinity, 0.0f, -0.0f, 1e-40f, 3e38f, -1e-31f};
        x[i] = odd[random.below(9)];
      }
      const size_t size = TestCache::bytes(s);
      TestCache one_by_one(s);
      for (uint32_t p = 0; p < s.n_ctx; ++p) {
        const float* key = x.data() + p * stride;
        kv_cache_store(kKernelsReference, one_by_one.cache, 0, p, key, key + width);
      }
      for (size_t table = 0; const Kernels* k = kernels_at(table); ++table) {
        TestCache rows(s);
        for (uint32_t p = 0; p < s.n_ctx;) {
          const uint32_t n = std::min(s.n_ctx - p, 1 + random.below(20));
          const float* key = x.data() + p * stride;
          kv_cache_store_rows(*k, rows.cache, 0, p, n, key, key + width, stride);
          p += n;
        }
        REQUIRE_MESSAGE(memcmp(rows.block.data(), one_by_one.block.data(), size) == 0,
                        std::string(k->name));
      }
    }
  }
}

TEST_CASE("q8 cache: attention over it is that of the numbers it stores") {
  Random random(32);
  for (const CacheShape& s : kShapes) {
    TestCache t(s);
    const size_t width = size_t{s.n_kv_heads} * s.head_dim;
    const uint32_t shared = 2, n_heads = s.n_kv_heads * shared, layer = s.n_layers - 1;
    for (uint32_t p = 0; p < s.n_ctx; ++p) {
      const std::vector<float> k = random_floats(random, width, 1.0f);
      const std::vector<float> v = random_floats(random, width, 1.0f);
      kv_cache_store(kKernelsReference, t.cache, layer, p, k.data(), v.data());
    }
    const std::vector<float> q = random_floats(random, size_t{n_heads} * s.head_dim, 1.0f);
    const uint32_t padded = kv_padded_dim(s.head_dim);
    std::vector<int8_t> q_values(size_t{n_heads} * padded);
    std::vector<float> q_scales(n_heads);
    std::vector<int32_t> q_sums(n_heads);
    const QuantizedRows q8 = {q_values.data(), q_scales.data(), q_sums.data(), padded, padded, 1};
    for (size_t table = 0; const Kernels* kernels = kernels_at(table); ++table) {
      kernels->quantize_q8(q8, q.data(), s.head_dim, s.head_dim, n_heads);
      for (uint32_t n : {1u, s.n_ctx / 2, s.n_ctx}) {
        const size_t stride = round_up(s.n_ctx, kLanes);
        std::vector<float> weights(n_heads * stride), context(size_t{n_heads} * s.head_dim);
        const Look look = {t.cache, layer,    0,  s.n_kv_heads,   shared, 0,
                           n,       q.data(), q8, weights.data(), stride, context.data()};
        attend_heads(
            *kernels, look, [] {}, [] {});
        for (uint32_t h = 0; h < n_heads; ++h) {
          std::vector<double> score(n);
          double max = -1e300, sum = 0;
          for (uint32_t p = 0; p < n; ++p) {
            for (uint32_t d = 0; d < s.head_dim; ++d) {
              const double qd =
                  static_cast<double>(q_values[h * padded + d]) * static_cast<double>(q_scales[h]);
              score[p] += qd * t.key(layer, h / shared, p, d);
            }
            max = std::max(max, score[p]);
          }
          for (double& e : score) sum += e = std::exp(e - max);
          double largest = 0;  // of the values, for the bound
          for (uint32_t d = 0; d < s.head_dim; ++d) {
            double expected = 0;
            for (uint32_t p = 0; p < n; ++p) {
              expected += score[p] / sum * t.value(layer, h / shared, p, d);
              largest = std::max(largest, std::fabs(t.value(layer, h / shared, p, d)));
            }
            // A weight is rounded to a step of 1 / 32767 of the largest e: half a step for each
            // position. The scores' floats (three roundings of up to 2^-24 of at most 40) and the
            // softmax's are worth another 2e-5.
            const double bound = largest * (n * 0.5 / 32767 + 2e-5);
            const double found = static_cast<double>(context[h * s.head_dim + d]);
            REQUIRE_MESSAGE(std::fabs(found - expected) <= bound, std::string(kernels->name));
          }
        }
      }
    }
  }
}

TEST_CASE("q8 cache: the same bits for every kernel table, batch, slice and way of feeding") {
  const std::vector<NamedShape> shapes = tiny_shapes();
  const std::vector<tools::WeightLayout> layouts = all_weight_types();
  const uint32_t batches[] = {1, 5, 64};
  const uint64_t budgets[] = {0, 1, 1000};
  for (size_t shape = 0; shape < shapes.size(); ++shape) {
    for (size_t type = 0; type < layouts.size(); ++type) {
      TinyModel m(shapes[shape].shape, layouts[type]);
      const std::vector<int32_t> text = random_tokens(5, 47, m.shape.vocab_size);
      TestSession reference(m.view, q8_config(0, 1, "reference"));
      const uint64_t expected = hash_of_text(reference, text, 1);
      TestSession f32(m.view, {0, 1, nullptr, THIMBLE_KV_F32, 0});
      CHECK(hash_of_text(f32, text, 1) != expected);
      for (size_t i = 0; kernels_at(i); ++i) {
        for (size_t batch = 0; batch < 3; ++batch) {
          TestSession s(m.view, q8_config(0, batches[batch], kernels_at(i)->name), 0xff);
          for (size_t budget = 0; budget < 3; ++budget) {
            if (!in_turn(shape + type + i + batch + budget, 3)) continue;
            CAPTURE(std::string(kernels_at(i)->name));
            CAPTURE(std::string(shapes[shape].name));
            CAPTURE(batches[batch]);
            CAPTURE(budgets[budget]);
            REQUIRE(hash_of_text(s, text, 17, budgets[budget]) == expected);
            REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
          }
        }
      }
    }
  }
}

TEST_CASE("q8 cache: bytes are those of the parts, and nothing beyond them is touched") {
  constexpr uint8_t kCanary = 0x5c;
  const auto chunk = [](uint64_t bytes) { return (bytes + 63) / 64 * 64; };
  for (const NamedShape& named : tiny_shapes()) {
    TinyModel m(named.shape, {kWeightQ8, 32, 4});
    for (uint32_t n_ctx : {1u, 16u, 33u, 48u}) {
      const thimble_config f32 = {n_ctx, 1, nullptr, THIMBLE_KV_F32, 0};
      const thimble_config q8 = q8_config(n_ctx, 1, nullptr);
      uint64_t positions = 0;
      for (uint32_t l = 0; l < m.view.n_layers; ++l) {
        const uint32_t window = named.shape.layers.empty() ? 0 : named.shape.layers[l].window;
        const uint32_t kept = window ? std::min(window + 1 + 14, n_ctx) : n_ctx;
        positions += (kept + 15) / 16 * 16;
      }
      const uint64_t heads = positions * m.view.n_kv_heads, head_dim = m.view.head_dim;
      const uint64_t together = (31 + head_dim) / head_dim;
      const uint64_t scales = (m.view.n_kv_heads + together - 1) / together;
      const uint64_t cache = chunk(heads * kv_padded_dim(m.view.head_dim)) +
                             chunk(heads * head_dim) + 2 * chunk(2 * positions * scales);
      const uint64_t query = chunk(uint64_t{m.view.n_heads} * kv_padded_dim(m.view.head_dim)) +
                             2 * chunk(4 * uint64_t{m.view.n_heads});
      const size_t need = thimble_session_bytes(&m.view, &q8);
      CHECK(need - cache - query ==
            thimble_session_bytes(&m.view, &f32) - 2 * chunk(4 * heads * head_dim));

      AlignedBlock block(need + 128, kCanary);
      thimble_session* s = nullptr;
      REQUIRE(thimble_session_init(&s, &m.view, &q8, block.data(), need - 1) ==
              THIMBLE_ERROR_ARENA_TOO_SMALL);
      REQUIRE(thimble_session_init(&s, &m.view, &q8, block.data(), need) == THIMBLE_OK);
      const std::vector<int32_t> text = random_tokens(6, n_ctx, m.shape.vocab_size);
      feed_pieces(s, text.data(), text.size(), 3);
      CHECK(std::all_of(block.data() + need, block.data() + block.size(),
                        [](uint8_t byte) { return byte == kCanary; }));
    }
  }
}

TEST_CASE("q8 cache: going back to a position leaves nothing behind") {
  TinyModel m(tiny_shapes()[2].shape, {kWeightQ8, 32, 4});
  const std::vector<int32_t> text = random_tokens(5, 45, m.shape.vocab_size);
  const std::vector<int32_t> other = random_tokens(9, 45, m.shape.vocab_size);
  TestSession fresh(m.view, q8_config(0, 1, nullptr)), s(m.view, q8_config(0, 5, nullptr));
  const uint64_t expected = hash_of_text(fresh, text, 7);
  for (uint32_t back : {0u, 1u, 15u, 16u, 30u}) {
    REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
    if (back > 0) feed_pieces(s, text.data(), back, 17);
    feed_pieces(s, other.data(), other.size() - back, 5);
    REQUIRE(thimble_rewind(s, back) == THIMBLE_OK);
    std::vector<int32_t> rest(text.begin() + back, text.end());
    CHECK(hash_of_text(s, rest, 7) == expected);
  }
}

TEST_CASE("session: an unknown type of cache is refused") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  for (uint32_t type : {2u, 3u, 0xffffffffu}) {
    const thimble_config config = {0, 1, nullptr, type, 0};
    CHECK(thimble_session_bytes(&m.view, &config) == 0);
  }
}
