// SPDX-License-Identifier: MIT
// Adapters: what their file may be, what a session makes of them, and when it refuses.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "adapter_file.h"
#include "crc32.h"
#include "plan.h"
#include "tiny_adapter.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

const uint32_t kMatrixSets[] = {kLoraMatrices, kMatrixQkv, kMatrixOutput | kMatrixDown,
                                kMatrixGateUp};

std::vector<tools::WeightLayout> layouts(uint32_t tile) {
  return {{kWeightF32, 0, tile},
          {kWeightQ8, 32, tile},
          {kWeightQ8, 0, tile},
          {kWeightQ4, 32, tile},
          {kWeightQ4, 0, tile, kMatrixDown}};
}

thimble_config config_of(uint32_t lora_rank, uint32_t n_batch = 1, const char* isa = nullptr,
                         uint32_t kv_type = THIMBLE_KV_F32) {
  thimble_config config{};
  config.n_batch = n_batch;
  config.isa = isa;
  config.kv_type = kv_type;
  config.lora_rank = lora_rank;
  return config;
}

uint64_t hash_with(const thimble_model& model, const thimble_adapter* adapter,
                   const thimble_config& config, size_t piece, uint64_t budget) {
  TestSession s(model, config, 0x5a);
  expect_ok(thimble_session_lora(s, adapter), "thimble_session_lora");
  return hash_of_text(s, random_tokens(3, 21, model.vocab_size), piece, budget);
}

std::vector<float> logits_with(const thimble_model& model, const thimble_adapter* adapter) {
  TestSession s(model, config_of(adapter ? adapter->rank : 0, 8));
  expect_ok(thimble_session_lora(s, adapter), "thimble_session_lora");
  const std::vector<int32_t> text = random_tokens(3, 21, model.vocab_size);
  feed_pieces(s, text.data(), text.size(), text.size());
  const float* logits = thimble_logits(s);
  return {logits, logits + model.vocab_size};
}

}  // namespace

TEST_CASE("adapter: the same bits from all kernels, batches and slices") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : layouts(16)) {
      CAPTURE(named.name);
      CAPTURE(layout_name(layout));
      const TinyModel m(named.shape, layout);
      const TinyAdapter adapter(m.view, layout.group == 0 ? 5 : 8);
      const uint64_t expected =
          hash_with(m.view, &adapter.view, config_of(8, 1, "reference"), 1, 0);
      CHECK(expected != hash_with(m.view, nullptr, config_of(8), 1, 0));
      for (size_t i = 0; const char* isa = thimble_isa_at(i); ++i) {
        CAPTURE(isa);
        CHECK(hash_with(m.view, &adapter.view, config_of(8, 7, isa), 100, 0) == expected);
      }
      CHECK(hash_with(m.view, &adapter.view, config_of(200, 3), 5, 1) == expected);
      CHECK(hash_with(m.view, &adapter.view, config_of(8, 32), 100, 700) == expected);
    }
  }
}

TEST_CASE("adapter: neither tiles, ranks nor the cache's type change what holds") {
  const tools::ModelShape shape = tiny_shape(40, 52, 2, 4, 2, 10, 64, 48, true);
  for (const uint32_t rank : {1u, 3u, 17u, 64u, 256u}) {
    for (const uint32_t matrices : kMatrixSets) {
      if (rank > 17 && matrices != kLoraMatrices) continue;  // they take long
      for (const tools::WeightLayout& layout : layouts(16)) {
        CAPTURE(rank);
        CAPTURE(matrices);
        CAPTURE(layout_name(layout));
        uint64_t expected = 0;
        for (const uint32_t tile : {16u, 4u, 1u}) {
          tools::WeightLayout tiled = layout;
          tiled.row_tile = tile;
          const TinyModel m(shape, tiled);
          const TinyAdapter adapter(m.view, rank, matrices);
          thimble_config config = config_of(rank, 6, nullptr, THIMBLE_KV_Q8);
          const uint64_t hash = hash_with(m.view, &adapter.view, config, 9, 333);
          if (tile == 16) expected = hash;
          CHECK(hash == expected);
          if (tile != 4) continue;
          config.n_draft = 3;
          CHECK(hash_with(m.view, &adapter.view, config, 9, 0) == expected);
        }
      }
    }
  }
}

// Each of a handful of sums of up to 200 products in floats: some 1e-6 of the largest logit. With
// int8 the inputs are rounded once for W, and a second time between A and B, to 1 / 254 of the
// largest: of B A, which is a third of W, that is about a hundredth.
TEST_CASE("adapter: as the merged model") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : layouts(8)) {
      CAPTURE(named.name);
      CAPTURE(layout_name(layout));
      const TinyModel m(named.shape, layout);
      for (const uint32_t matrices : kMatrixSets) {
        const TinyAdapter adapter(m.view, 4, matrices);
        const tools::ImageInMemory merged = tools::build_image_in_memory(
            named.shape, {kWeightF32, 0, 8}, nullptr, tools::merged_rows(m.view, adapter.view));
        thimble_model merged_model;
        REQUIRE(thimble_model_open(&merged_model, merged.data(), merged.bytes) == THIMBLE_OK);
        const std::vector<float> found = logits_with(m.view, &adapter.view);
        const std::vector<float> expected = logits_with(merged_model, nullptr);
        const std::vector<float> without = logits_with(m.view, nullptr);
        double error = 0, change = 0, largest = 0;
        for (size_t i = 0; i < found.size(); ++i) {
          const double e = static_cast<double>(expected[i]);
          largest = std::max(largest, std::fabs(e));
          error = std::max(error, std::fabs(static_cast<double>(found[i]) - e));
          change = std::max(change, std::fabs(static_cast<double>(without[i]) - e));
        }
        CHECK(error < largest * (layout.type == kWeightF32 ? 1e-4 : 0.1));
        CHECK(error < change / 2);
      }
    }
  }
}

TEST_CASE("adapter: two of them in turn, and none") {
  const TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true), {kWeightQ8, 32, 16}, false, 1,
                    true);
  const TinyAdapter one(m.view, 8), two(m.view, 3, kMatrixQkv | kMatrixDown, 2);
  TestSession s(m.view, config_of(8, 4));
  const std::vector<int32_t> text = random_tokens(3, 21, 64);
  const auto hash = [&](const thimble_adapter* adapter) {
    expect_ok(thimble_rewind(s, 0), "rewind");
    expect_ok(thimble_session_lora(s, adapter), "lora");
    return hash_of_text(s, text, 5);
  };
  const uint64_t first = hash(&one.view), second = hash(&two.view), none = hash(nullptr);
  CHECK(first != second);
  CHECK(first != none);
  CHECK(none == hash_with(m.view, nullptr, config_of(0), 5, 0));
  CHECK(hash(&one.view) == first);
  CHECK(hash(&two.view) == second);
  // The model's own results are what the self-test wants; then the adapter is in use again.
  thimble_status status;
  do status = thimble_self_test(s, 500, nullptr);
  while (status == THIMBLE_MORE);
  CHECK(status == THIMBLE_OK);
  CHECK(hash_of_text(s, text, 5) == second);
}

TEST_CASE("adapter: what a session refuses") {
  const TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true), {kWeightQ8, 32, 16});
  const TinyModel same(m.shape, m.layout), other(m.shape, m.layout, false, 2);
  const TinyAdapter adapter(m.view, 8);
  const int32_t token = 5;
  TestSession s(m.view, config_of(8)), narrow(m.view, config_of(7)), none(m.view);
  CHECK(thimble_session_lora(nullptr, &adapter.view) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_lora(narrow, &adapter.view) == THIMBLE_ERROR_LORA_RANK);
  CHECK(thimble_session_lora(none, &adapter.view) == THIMBLE_ERROR_LORA_RANK);
  CHECK(thimble_session_lora(none, nullptr) == THIMBLE_OK);
  TestSession elsewhere(same.view, config_of(8));
  CHECK(thimble_session_lora(elsewhere, &adapter.view) == THIMBLE_ERROR_OTHER_MODEL);
  REQUIRE(thimble_feed(s, &token, 1) == THIMBLE_OK);
  CHECK(thimble_session_lora(s, &adapter.view) == THIMBLE_ERROR_BUSY);
  finish_pass(s);
  CHECK(thimble_session_lora(s, &adapter.view) == THIMBLE_ERROR_NOT_EMPTY);
  REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
  CHECK(thimble_session_lora(s, &adapter.view) == THIMBLE_OK);

  thimble_config too_high = config_of(kMaxLoraRank + 1);
  CHECK(thimble_session_bytes(&m.view, &too_high) == 0);
  thimble_adapter view;
  const auto open = [&](const TinyModel& model) {
    return thimble_adapter_open(&view, &model.view, adapter.image.data(), adapter.image.size());
  };
  CHECK(open(same) == THIMBLE_OK);
  CHECK(open(other) == THIMBLE_ERROR_OTHER_MODEL);
  CHECK(view.image == nullptr);
  CHECK(thimble_adapter_verify(&view) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_lora(s, &view) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_adapter_open(nullptr, &m.view, adapter.image.data(), 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_adapter_open(&view, nullptr, adapter.image.data(), 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_adapter_open(&view, &m.view, nullptr, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_adapter_open(&view, &m.view, m.image.data(), m.image.size()) ==
        THIMBLE_ERROR_MAGIC);
  CHECK(thimble_adapter_open(&view, &m.view, adapter.image.data() + 4, 4) ==
        THIMBLE_ERROR_MISALIGNED);
}

TEST_CASE("adapter: a damaged file is refused") {
  for (const tools::WeightLayout& layout : layouts(4)) {
    const TinyModel m(tiny_shape(24, 20, 2, 3, 1, 8, 32, 16, true), layout);
    const TinyAdapter good(m.view, 3, kMatrixQkv | kMatrixDown);
    const uint32_t header_bytes = header_of(good.view).header_bytes;
    thimble_adapter view;
    for (size_t n = 0; n < good.image.size(); n += n < header_bytes ? 1 : 97) {
      const AlignedBlock cut(good.image.data(), n);
      CHECK(thimble_adapter_open(&view, &m.view, cut.data(), n) != THIMBLE_OK);
    }
    for (size_t at = 0; at < good.image.size(); ++at) {
      CAPTURE(at);
      for (const uint8_t bit : {uint8_t{0x01}, uint8_t{0x80}}) {
        AlignedBlock bad(good.image.data(), good.image.size());
        bad.data()[at] ^= bit;
        thimble_status status = thimble_adapter_open(&view, &m.view, bad.data(), bad.size());
        if (at < header_bytes) {
          CHECK(status != THIMBLE_OK);
          // Right checksums do not help, but to the file whose data they are of.
          seal(&bad);
          status = thimble_adapter_open(&view, &m.view, bad.data(), bad.size());
          const bool is_sum = at >= offsetof(AdapterHeader, header_crc) &&
                              at < offsetof(AdapterHeader, header_crc) + sizeof(uint32_t);
          const bool is_data_sum = at >= offsetof(AdapterHeader, data_crc) &&
                                   at < offsetof(AdapterHeader, data_crc) + sizeof(uint32_t);
          if (is_sum) continue;  // sealed again
          if (!is_data_sum) CHECK(status != THIMBLE_OK);
          if (!is_data_sum) continue;
        }
        REQUIRE(status == THIMBLE_OK);
        CHECK(thimble_adapter_verify(&view) == THIMBLE_ERROR_DATA_CHECKSUM);
        CHECK(view.fault.what != nullptr);
      }
    }
  }
}

// What the file says may be absurd, but not where the engine looks.
TEST_CASE("adapter: any content runs within its bounds") {
  const TinyModel m(tiny_shape(24, 20, 2, 3, 1, 8, 32, 16, true), {kWeightQ8, 32, 4});
  const TinyAdapter good(m.view, 3);
  AlignedBlock bad(good.image.data(), good.image.size());
  for (size_t at = header_of(good.view).header_bytes; at < bad.size(); ++at) {
    bad.data()[at] = static_cast<uint8_t>(at * 151);
  }
  thimble_adapter view;
  REQUIRE(thimble_adapter_open(&view, &m.view, bad.data(), bad.size()) == THIMBLE_OK);
  TestSession s(m.view, config_of(3, 4));
  REQUIRE(thimble_session_lora(s, &view) == THIMBLE_OK);
  hash_of_text(s, random_tokens(1, 12, 32), 4);
}

TEST_CASE("adapter: a saved session belongs to its adapter") {
  const TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true), {kWeightQ8, 32, 16});
  const TinyAdapter one(m.view, 8), two(m.view, 8, kLoraMatrices, 2);
  const std::vector<int32_t> text = random_tokens(3, 9, 64);
  TestSession s(m.view, config_of(8)), t(m.view, config_of(8, 4)), plain(m.view);
  REQUIRE(thimble_session_lora(s, &one.view) == THIMBLE_OK);
  feed_pieces(s, text.data(), text.size(), 4);
  std::vector<uint8_t> saved(thimble_session_save_bytes(s));
  REQUIRE(thimble_session_save(s, saved.data(), saved.size()) == THIMBLE_OK);
  const auto load = [&](thimble_session* session) {
    return thimble_session_load(session, saved.data(), saved.size());
  };
  CHECK(load(plain) == THIMBLE_ERROR_OTHER_ADAPTER);
  CHECK(load(t) == THIMBLE_ERROR_OTHER_ADAPTER);
  REQUIRE(thimble_session_lora(t, &two.view) == THIMBLE_OK);
  CHECK(load(t) == THIMBLE_ERROR_OTHER_ADAPTER);
  REQUIRE(thimble_session_lora(t, &one.view) == THIMBLE_OK);
  REQUIRE(load(t) == THIMBLE_OK);
  finish_pass(t);
  for (thimble_session* each : {s.session, t.session}) feed_pieces(each, text.data(), 3, 1);
  CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == thimble_logits_hash(t, THIMBLE_HASH_START));
  // And what was saved without one to sessions without.
  REQUIRE(thimble_session_lora(plain, nullptr) == THIMBLE_OK);
  feed_pieces(plain, text.data(), 2, 2);
  saved.resize(thimble_session_save_bytes(plain));
  REQUIRE(thimble_session_save(plain, saved.data(), saved.size()) == THIMBLE_OK);
  CHECK(load(t) == THIMBLE_ERROR_OTHER_ADAPTER);
  REQUIRE(thimble_rewind(t, 0) == THIMBLE_OK);
  REQUIRE(thimble_session_lora(t, nullptr) == THIMBLE_OK);
  CHECK(load(t) == THIMBLE_OK);
}
