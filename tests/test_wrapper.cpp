// SPDX-License-Identifier: MIT
// The C++ wrapper: the C API's results, and errors as it is asked to give them.
#define THIMBLE_EXCEPTIONS
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "spelling_model.h"
#include "thimble/thimble.hpp"
#include "tiny_adapter.h"
#include "tiny_rule.h"

namespace {

using thimble::Status;
using namespace thimble::test;

struct Wrapped {
  explicit Wrapped(uint32_t rules = 0, uint32_t lora_rank = 0)
      : tiny(spelling_shape("plain", 512), {}, true, 1, true) {
    REQUIRE(model.open({tiny.image.data(), tiny.image.size()}));
    config.n_ctx = 32;
    config.rules = rules;
    config.lora_rank = lora_rank;
    arena = thimble::Memory(thimble::session_bytes(model, config));
    REQUIRE(session.init(model, config, arena));
  }

  void finish() {
    while (session.step(1000).is_more()) {
    }
  }

  TinyModel tiny;
  thimble::Model model;
  thimble::Config config;
  thimble::Memory arena;
  thimble::Session session;
};

}  // namespace

TEST_CASE("wrapper: a text, as the C API computes and spells it") {
  Wrapped w;
  TestSession plain(w.tiny.view, w.config);
  int32_t tokens[20], expected[20];
  const auto fed = w.session.encode("a cat on", THIMBLE_ENCODE_BOS, tokens);
  REQUIRE(fed);
  const int32_t n = thimble_encode(plain, "a cat on", 8, THIMBLE_ENCODE_BOS, expected, 20);
  REQUIRE(static_cast<int32_t>(fed->size()) == n);
  CHECK(w.session.feed(*fed));
  CHECK(w.session.logits().empty());
  w.finish();
  feed_pieces(plain, expected, static_cast<size_t>(n), 20);
  CHECK(w.session.logits().size() == w.model->vocab_size);
  CHECK(w.session.logits_hash() == thimble_logits_hash(plain, THIMBLE_HASH_START));
  CHECK(w.session.position() == static_cast<uint32_t>(n));
  CHECK(w.session.room() == w.session.context_size() - w.session.position());
  thimble::Sampling warm;
  warm.temperature = 2.0f;
  const auto token = w.session.sample(warm);
  REQUIRE(token);
  CHECK(*token == thimble_sample(plain, &warm));

  thimble::Decoder decoder;
  std::string text;
  std::array<char, 64> room;
  for (int32_t each : *fed) {
    if (const auto piece = decoder.next(w.model, each, room)) text += *piece;
  }
  text += *decoder.end(room);
  CHECK(text == "a cat on");
}

TEST_CASE("wrapper: what fails is told in words, and thrown only by check") {
  Wrapped w;
  thimble::Model other;
  const std::vector<uint8_t> nothing(128);
  const Status refused = other.open({w.tiny.image.data(), 100});
  CHECK(!refused);
  CHECK(refused.code() == THIMBLE_ERROR_TRUNCATED);
  CHECK(other.fault().found == 100);
  int32_t tokens[2];
  const auto none = w.session.encode("zq zq zq", 0, tokens);
  CHECK(!none);
  CHECK(none.status() == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  CHECK(w.session.sample().status() == THIMBLE_ERROR_NO_LOGITS);
  CHECK_THROWS_WITH_AS(thimble::check(w.session.sample()), "there are no logits yet",
                       thimble::Error);
  CHECK_THROWS_AS(thimble::check(refused), thimble::Error);
  CHECK(!thimble::check(w.session.rewind()));

  thimble::Session empty;
  CHECK(!empty);
  CHECK(empty.step() == THIMBLE_ERROR_ARGUMENT);
  CHECK(empty.sample().status() == THIMBLE_ERROR_ARGUMENT);
  CHECK(empty.logits().empty());
  w.config.n_ctx = 1u << 30;
  CHECK(thimble::session_bytes(w.model, w.config) == 0);
  CHECK(empty.init(w.model, w.config, w.arena) == THIMBLE_ERROR_CONFIG);
}

TEST_CASE("wrapper: views and blocks move") {
  Wrapped w;
  thimble::Session moved = std::move(w.session);
  CHECK(moved);
  CHECK(!w.session);  // NOLINT: that is what is tested
  CHECK(moved.feed(3));
  CHECK(moved.step() == THIMBLE_OK);
  thimble::Memory block(100);
  const uint8_t* at = block.data();
  CHECK(reinterpret_cast<uintptr_t>(at) % THIMBLE_ALIGNMENT == 0);
  thimble::Memory other = std::move(block);
  CHECK(other.data() == at);
  CHECK(other.size() == 100);
  CHECK(block.size() == 0);  // NOLINT: that is what is tested
  CHECK(moved.self_test(0) == THIMBLE_OK);
}

TEST_CASE("wrapper: a hook is there as long as it lives") {
  Wrapped w;
  uint32_t seen = 0;
  {
    const thimble::AttentionHook hook(
        w.session, [&](uint32_t, uint32_t, uint32_t, uint32_t, uint32_t n_heads, const float*,
                       size_t) { seen += n_heads; });
    CHECK(w.session.feed(1));
    CHECK(w.session.step());
  }
  CHECK(seen == w.model->n_layers * w.model->n_heads);
  CHECK(w.session.feed(1));
  CHECK(w.session.step());
  CHECK(seen == w.model->n_layers * w.model->n_heads);
}

TEST_CASE("wrapper: saved, packed, adapted and ruled") {
  Wrapped w(1, 4), other(1, 4);
  CHECK(w.session.feed(5));
  w.finish();
  std::vector<uint8_t> saved(w.session.save_bytes());
  REQUIRE(w.session.save(saved));
  REQUIRE(other.session.load(saved));
  other.finish();
  CHECK(other.session.logits_hash() == w.session.logits_hash());

  const TinyAdapter tiny_adapter(w.tiny.view, 4);
  thimble::Adapter adapter;
  REQUIRE(adapter.open(w.model, {tiny_adapter.image.data(), tiny_adapter.image.size()}));
  CHECK(adapter->rank == 4);
  CHECK(w.session.use(adapter) == THIMBLE_ERROR_NOT_EMPTY);
  CHECK(w.session.rewind());
  CHECK(w.session.use(adapter));
  CHECK(w.session.use_no_adapter());

  const TinyRule tiny_rule(w.tiny.view, "cat");
  thimble::Rule rule;
  REQUIRE(rule.open(w.model, {tiny_rule.image.data(), tiny_rule.image.size()}));
  CHECK(w.session.feed(5));
  w.finish();
  CHECK(w.session.constrain(rule));
  w.finish();
  CHECK(!w.session.rule_is_met());
  CHECK(w.session.constrain_no_more());
  w.finish();

  const std::string text = "a cat, \xff";
  std::vector<uint8_t> packed;
  thimble::Packing packing;
  REQUIRE(packing.begin(w.session, text));
  for (bool more = true; more;) {
    uint8_t room[3];
    const auto piece = packing.step(room, &more, 5000);
    REQUIRE(piece);
    packed.insert(packed.end(), piece->begin(), piece->end());
  }
  std::string unpacked;
  thimble::Unpacking unpacking;
  REQUIRE(*unpacking.begin(other.session, packed) == text.size());
  for (bool more = true; more;) {
    char room[3];
    const auto piece = unpacking.step(room, &more);
    REQUIRE(piece);
    unpacked += *piece;
  }
  CHECK(unpacked == text);
  packed.pop_back();
  CHECK(!thimble::Unpacking().begin(other.session, {packed.data(), 2}));
}
