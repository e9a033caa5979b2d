// SPDX-License-Identifier: MIT
// Saved sessions: what goes on from them is what went on without, and what is damaged is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "crc32.h"
#include "saved_session.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

using Bytes = std::vector<uint8_t>;

thimble_config config_of(uint32_t n_ctx, uint32_t n_sinks, uint32_t n_batch, const char* isa,
                         uint32_t kv_type) {
  thimble_config config = {n_ctx, n_batch, isa, kv_type};
  config.n_sinks = n_sinks;
  return config;
}

// Exactly as many bytes as it says, at an odd address.
Bytes saved(const thimble_session* s) {
  const size_t n = thimble_session_save_bytes(s);
  Bytes block(n + 2, 0x5a);
  REQUIRE(thimble_session_save(s, block.data() + 1, n) == THIMBLE_OK);
  CHECK(block.front() == 0x5a);
  CHECK(block.back() == 0x5a);
  return Bytes(block.begin() + 1, block.end() - 1);
}

thimble_status load(thimble_session* s, const Bytes& from) {
  Bytes odd(from.size() + 1);
  std::copy(from.begin(), from.end(), odd.begin() + 1);
  return thimble_session_load(s, odd.data() + 1, from.size());
}

// Header fields changed, with checksums that are right again.
template <class F>
Bytes forged(Bytes bytes, F change) {
  SavedHeader h;
  std::memcpy(&h, bytes.data(), sizeof h);
  change(&h, &bytes);
  h.data_crc = crc32(0, bytes.data() + sizeof h, bytes.size() - sizeof h);
  h.header_crc = 0;
  h.header_crc = crc32(0, &h, sizeof h);
  std::memcpy(bytes.data(), &h, sizeof h);
  return bytes;
}

struct Case {
  const char* shape;
  uint32_t n_ctx, n_sinks;
};
constexpr Case kCases[] = {
    {"plain", 60, 0},   {"plain", 24, 3}, {"Gemma 3", 60, 0},   {"Gemma 3", 20, 2},
    {"Mistral", 60, 0}, {"GPT-2", 60, 0}, {"GPT-NeoX", 21, 17}, {"head_dim 6, untied", 50, 0}};

tools::ModelShape shape_of(const char* name) {
  for (const NamedShape& named : tiny_shapes()) {
    if (std::string(named.name) == name) return named.shape;
  }
  throw std::runtime_error("no such shape");
}

}  // namespace

TEST_CASE("saved sessions: go on with the same bits, on other kernels, batches and contexts") {
  for (const Case& c : kCases) {
    for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      CAPTURE(std::string(c.shape));
      CAPTURE(kv);
      TinyModel m(shape_of(c.shape), {kWeightQ8, 32, 16});
      const std::vector<int32_t> text = random_tokens(3, 49, m.shape.vocab_size);
      for (size_t cut : {size_t{1}, size_t{15}, size_t{37}}) {
        CAPTURE(cut);
        TestSession one(m.view, config_of(c.n_ctx, c.n_sinks, 1, "reference", kv));
        feed_pieces(one, text.data(), cut, 1);
        const Bytes bytes = saved(one);
        uint64_t expected = thimble_logits_hash(one, THIMBLE_HASH_START);
        for (size_t i = cut; i < text.size(); ++i) {
          feed_pieces(one, &text[i], 1, 1);
          expected = thimble_logits_hash(one, expected);
        }
        for (size_t t = 0; const char* isa = thimble_isa_at(t); ++t) {
          CAPTURE(std::string(isa));
          const uint32_t batch = static_cast<uint32_t>(1 + 6 * t);
          const uint32_t n_ctx = c.n_sinks ? c.n_ctx : std::max(49u, c.n_ctx - 1);
          TestSession s(m.view, config_of(n_ctx, c.n_sinks, batch, isa, kv), 0xa5);
          feed_pieces(s, text.data() + 7, 12, 5);  // something else before
          REQUIRE(load(s, bytes) == THIMBLE_OK);
          CHECK(thimble_position(s) == cut);
          CHECK(thimble_logits(s) == nullptr);
          finish_pass(s, t == 0 ? 33 : 0);
          CHECK(saved(s) == bytes);
          uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
          for (size_t i = cut; i < text.size(); ++i) {
            feed_pieces(s, &text[i], 1, 1);
            hash = thimble_logits_hash(s, hash);
          }
          REQUIRE(hash == expected);
          // Back to where it was saved, as far as that is possible, and to the beginning.
          if (c.n_sinks == 0) {
            REQUIRE(thimble_rewind(s, static_cast<uint32_t>(cut) - 1) == THIMBLE_OK);
            feed_pieces(s, &text[cut - 1], text.size() - cut + 1, 50);
            CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) ==
                  thimble_logits_hash(one, THIMBLE_HASH_START));
          }
        }
      }
    }
  }
}

TEST_CASE("saved sessions: the same bytes however the text came to be") {
  for (const Case& c : kCases) {
    CAPTURE(std::string(c.shape));
    TinyModel m(shape_of(c.shape), {kWeightF32, 0, 16});
    const std::vector<int32_t> text = random_tokens(3, 49, m.shape.vocab_size);
    TestSession one(m.view, config_of(c.n_ctx, c.n_sinks, 1, "reference", THIMBLE_KV_Q8));
    feed_pieces(one, text.data(), text.size(), 1);
    for (uint32_t batch : {1u, 5u, 64u}) {
      TestSession s(m.view, config_of(c.n_ctx, c.n_sinks, batch, nullptr, THIMBLE_KV_Q8), 0xa5);
      feed_pieces(s, text.data(), text.size(), std::min<size_t>(c.n_ctx, 17));
      CHECK(saved(s) == saved(one));
    }
  }
}

TEST_CASE("saved sessions: empty, rewound, with candidates, drawn from at once") {
  TinyModel m(shape_of("plain"), {kWeightQ8, 32, 16}, true);
  const std::vector<int32_t> text = random_tokens(3, 20, m.shape.vocab_size);
  thimble_config config = config_of(40, 0, 4, nullptr, THIMBLE_KV_F32);
  TestSession s(m.view, config);
  config.n_candidates = 5;
  TestSession other(m.view, config);
  REQUIRE(load(other, saved(s)) == THIMBLE_OK);
  CHECK(thimble_position(other) == 0);
  CHECK(thimble_step(other, 0) == THIMBLE_OK);
  const thimble_sampling greedy = {};
  CHECK(thimble_sample(other, &greedy) == THIMBLE_ERROR_NO_LOGITS);

  feed_pieces(s, text.data(), text.size(), 20);
  REQUIRE(load(other, saved(s)) == THIMBLE_OK);
  CHECK(thimble_feed(other, text.data(), 1) == THIMBLE_ERROR_BUSY);
  CHECK(thimble_session_save_bytes(other) == 0);
  uint8_t byte;
  CHECK(thimble_session_save(other, &byte, 1) == THIMBLE_ERROR_BUSY);
  CHECK(load(other, saved(s)) == THIMBLE_ERROR_BUSY);
  finish_pass(other, 10);
  CHECK(thimble_sample(other, &greedy) == thimble_sample(s, &greedy));
  CHECK(thimble_logits_hash(other, 1) == thimble_logits_hash(s, 1));

  REQUIRE(thimble_rewind(s, 11) == THIMBLE_OK);
  const Bytes rewound = saved(s);
  REQUIRE(load(other, rewound) == THIMBLE_OK);
  CHECK(thimble_sample(other, &greedy) == THIMBLE_ERROR_NO_LOGITS);
  feed_pieces(other, &text[11], 9, 9);
  feed_pieces(s, &text[11], 9, 9);
  CHECK(thimble_sample(other, &greedy) == thimble_sample(s, &greedy));
}

TEST_CASE("saved sessions: with windows, rewound beyond what is cached") {
  TinyModel m(shape_of("Mistral"), {kWeightF32, 0, 16});
  const std::vector<int32_t> text = random_tokens(3, 60, m.shape.vocab_size);
  TestSession s(m.view, config_of(64, 0, 1, nullptr, THIMBLE_KV_F32));
  feed_pieces(s, text.data(), 60, 1);
  REQUIRE(thimble_rewind(s, 20) == THIMBLE_OK);  // computed again from the start, later
  const Bytes bytes = saved(s);
  TestSession other(m.view, config_of(64, 0, 3, "reference", THIMBLE_KV_F32), 0x5a);
  REQUIRE(load(other, bytes) == THIMBLE_OK);
  feed_pieces(s, &text[20], 1, 1);
  feed_pieces(other, &text[20], 1, 1);
  CHECK(thimble_logits_hash(other, 1) == thimble_logits_hash(s, 1));
}

TEST_CASE("saved sessions: a damaged one is refused, whichever byte it is, and changes nothing") {
  TinyModel m(shape_of("plain"), {kWeightQ8, 32, 16});
  const std::vector<int32_t> text = random_tokens(3, 20, m.shape.vocab_size);
  TestSession s(m.view, config_of(24, 0, 4, nullptr, THIMBLE_KV_Q8));
  feed_pieces(s, text.data(), 3, 3);
  const Bytes good = saved(s);
  feed_pieces(s, text.data(), 9, 9);
  const Bytes before = saved(s);
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= static_cast<uint8_t>(1 << i % 8);
    REQUIRE(load(s, bad) < 0);
  }
  for (size_t n = 0; n < good.size(); n += n < 140 ? 1 : 97) {
    Bytes bad(good.begin(), good.begin() + static_cast<ptrdiff_t>(n));
    REQUIRE(load(s, bad) == THIMBLE_ERROR_TRUNCATED);
  }
  Bytes longer = good;
  longer.push_back(0);
  CHECK(load(s, longer) == THIMBLE_ERROR_TRUNCATED);
  CHECK(saved(s) == before);

  const auto fault = [&](auto change) { return load(s, forged(good, change)); };
  CHECK(fault([](SavedHeader* h, Bytes*) { h->magic[1] = 'X'; }) == THIMBLE_ERROR_MAGIC);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->version = 2; }) == THIMBLE_ERROR_VERSION);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->byte_order = 0x04030201; }) ==
        THIMBLE_ERROR_BYTE_ORDER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->model_data_crc ^= 1; }) == THIMBLE_ERROR_OTHER_MODEL);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->kv_type = THIMBLE_KV_F32; }) ==
        THIMBLE_ERROR_OTHER_LAYOUT);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->n_sinks = 4; }) == THIMBLE_ERROR_OTHER_LAYOUT);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->position = h->cached = h->n_tokens = 25; }) ==
        THIMBLE_ERROR_OTHER_LAYOUT);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->position = 0xffffffff; }) ==
        THIMBLE_ERROR_OTHER_LAYOUT);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->cached = 2; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->cached = 9; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->n_tokens = 4; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->has_logits = 0; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->has_logits = 2; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->overflowed = 4; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->header_bytes = 64; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader* h, Bytes*) { h->reserved[19] = 1; }) == THIMBLE_ERROR_HEADER);
  CHECK(fault([](SavedHeader*, Bytes* b) { (*b)[sizeof(SavedHeader) + 3] = 0x7f; }) ==
        THIMBLE_ERROR_TOKEN);
  CHECK(fault([](SavedHeader*, Bytes*) {}) == THIMBLE_OK);
  // Of another model, of another cache.
  finish_pass(s);
  TinyModel other(shape_of("plain"), {kWeightQ8, 32, 16}, false, 2);
  TestSession of_other(other.view, config_of(24, 0, 4, nullptr, THIMBLE_KV_Q8));
  CHECK(load(of_other, good) == THIMBLE_ERROR_OTHER_MODEL);
  TestSession of_f32(m.view, config_of(24, 0, 4, nullptr, THIMBLE_KV_F32));
  CHECK(load(of_f32, good) == THIMBLE_ERROR_OTHER_LAYOUT);
  TestSession of_short(m.view, config_of(2, 0, 1, nullptr, THIMBLE_KV_Q8));
  CHECK(load(of_short, good) == THIMBLE_ERROR_OTHER_LAYOUT);
  TestSession of_sinks(m.view, config_of(24, 2, 1, nullptr, THIMBLE_KV_Q8));
  CHECK(load(of_sinks, good) == THIMBLE_ERROR_OTHER_LAYOUT);
}

TEST_CASE("saved sessions: arguments") {
  TinyModel m(shape_of("plain"), {kWeightF32, 0, 16});
  TestSession s(m.view, config_of(8, 0, 1, nullptr, THIMBLE_KV_F32));
  uint8_t byte = 0;
  CHECK(thimble_session_save_bytes(nullptr) == 0);
  CHECK(thimble_session_save(nullptr, &byte, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_save(s, nullptr, 1000) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_save(s, &byte, 1) == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  CHECK(thimble_session_load(nullptr, &byte, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_load(s, nullptr, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_load(s, &byte, 0) == THIMBLE_ERROR_TRUNCATED);
}
