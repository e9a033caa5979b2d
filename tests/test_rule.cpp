// SPDX-License-Identifier: MIT
// Rules in sessions: what is written under one meets it, however it is computed; files of rules
// that are damaged are refused or run safely.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "constrain/masks.h"
#include "constrain/nfa.h"
#include "error.h"
#include "syntax_matcher.h"
#include "tiny_answer.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// A text as tokens of random lengths; empty where some byte is none.
std::vector<int32_t> cut_at_random(const thimble_model& m, const std::string& text,
                                   Random* random) {
  std::vector<int32_t> out;
  for (size_t at = 0; at < text.size();) {
    std::vector<int32_t> fits;
    for (uint32_t id = 0; id < m.n_tokens; ++id) {
      const int32_t token = static_cast<int32_t>(id);
      const std::string piece = text_of_token(m, token);
      const bool is_control =
          (table_of<uint8_t>(m, kTokenTypes)[id] & ~kTokenWhole) == kTokenControl;
      if (!is_control && !piece.empty() && text.compare(at, piece.size(), piece) == 0) {
        fits.push_back(token);
      }
    }
    REQUIRE(!fits.empty());
    out.push_back(fits[random->below(static_cast<uint32_t>(fits.size()))]);
    at += text_of_token(m, out.back()).size();
  }
  return out;
}

}  // namespace

TEST_CASE("rule: texts drawn from random models meet random rules, and all that do can be drawn") {
  Random random(7);
  TestSession s(model().view, ruled());
  size_t n_ended = 0;
  for (uint32_t round = 0; round < 400; ++round) {
    CAPTURE(round);
    const tools::NodePtr tree = random_tree(&random, 3);
    const TinyRule rule(model().view, syntax_of(tree));
    const Answer a = answer(s, model().view, &rule.view, 30, hot(round));
    if (a.has_ended) {
      ++n_ended;
      CAPTURE(a.text);
      CHECK(matches(*tree, a.text));
      CHECK(rule.accepts(a.text));
    }
    CHECK(thimble_rule_is_met(s) == (rule.accepts(a.text) ? 1 : 0));

    std::string text = drawn_text(*tree, &random);
    REQUIRE(matches(*tree, text));
    CHECK(rule.accepts(text));
    const std::vector<int32_t> tokens = cut_at_random(model().view, text, &random);
    expect_ok(thimble_rewind(s, 2), "rewind");
    if (tokens.size() <= thimble_room(s)) {
      for (const int32_t token : tokens) feed_pieces(s, &token, 1, 1);
      CHECK(thimble_rule_is_met(s) == 1);
      const int32_t end = model().view.eos_id;
      if (thimble_room(s) > 0) CHECK(thimble_feed(s, &end, 1) == THIMBLE_OK);
    }
    // A text that differs in a byte.
    if (text.empty()) continue;
    text[random.below(static_cast<uint32_t>(text.size()))] ^= 1;
    CHECK(rule.accepts(text) == matches(*tree, text));
  }
  CHECK(n_ended > 200);
}

TEST_CASE("rule: masks are what a walk of each token from each state says") {
  Random random(11);
  for (const uint32_t vocab_size : {64u, 299u, 600u}) {
    const TinyModel m(tiny_shape(32, 40, 1, 4, 2, 8, vocab_size, 16, true), {kWeightQ8, 32, 4},
                      true);
    for (uint32_t round = 0; round < 40; ++round) {
      CAPTURE(round);
      const tools::Syntax syntax = syntax_of(random_tree(&random, 3));
      const tools::Dfa dfa = tools::dfa_of(tools::nfa_of(syntax));
      tools::Masks masks;
      try {
        masks = tools::masks_of(dfa, m.view);
      } catch (const tools::Refused&) {  // not to be spelled
        CHECK(vocab_size == 64);
        continue;
      }
      const TinyRule rule(m.view, tools::write_rule(dfa, masks, m.view));
      for (uint32_t state = 0; state < dfa.n_states; ++state) {
        uint32_t allowed = 0, only = 0;
        for (uint32_t id = 0; id < vocab_size; ++id) {
          const int32_t token = static_cast<int32_t>(id);
          const bool is_end = thimble_is_end(&m.view, token) != 0;
          const bool is_control =
              (table_of<uint8_t>(m.view, kTokenTypes)[id] & ~kTokenWhole) == kTokenControl;
          uint32_t at = state;
          bool expected = !is_control && !text_of_token(m.view, token).empty();
          for (const char c : text_of_token(m.view, token)) {
            expected = expected && rule_byte(rule.tables, &at, static_cast<uint8_t>(c));
          }
          if (is_end) expected = dfa.accepts[state] != 0;
          const bool found = rule_any(rule.tables, state, id, 1);
          if (vocab_size > 64 || !expected) CHECK(found == expected);
          allowed += found;
          if (found) only = id;
        }
        CHECK(rule_only(rule.tables, state) == (allowed == 1 ? static_cast<int32_t>(only) : -1));
        CHECK(rule_any(rule.tables, state, 0, vocab_size) == (allowed > 0));
        if (vocab_size > 64) CHECK(allowed > 0);
      }
    }
  }
}

TEST_CASE("rule: the ways to compute an answer give one answer") {
  const TinyRule rule(model().view, "(some|none)( [a-z]{2,9}){0,9}( =====|é+!){1,4}");
  for (const uint32_t top_k : {1u, 5u}) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      CAPTURE(seed);
      TestSession plain(model().view, ruled());
      const Answer expected = answer(plain, model().view, &rule.view, 60, hot(seed, top_k));
      for (const uint32_t n_candidates : {0u, 8u, 100u}) {
        for (const uint32_t n_draft : {0u, 4u, 16u}) {
          for (const uint64_t budget : {0u, 700u}) {
            thimble_config config{};
            config.n_candidates = n_candidates;
            config.n_draft = n_draft;
            TestSession s(model().view, ruled(config));
            const Answer found = answer(s, model().view, &rule.view, 60, hot(seed, top_k), budget);
            CHECK(found.tokens == expected.tokens);
            CHECK(found.hash == expected.hash);
          }
        }
      }
    }
  }
}

TEST_CASE("rule: what it forces is drafted") {
  const TinyRule rule(model().view, "=====================");
  thimble_config config{};
  config.n_draft = 8;
  TestSession s(model().view, ruled(config));
  const Answer a = answer(s, model().view, &rule.view, 60, hot(1));
  CHECK(a.text == "=====================");
  CHECK(a.has_ended);
  const thimble_drafts drafts = thimble_draft_counts(s);
  CHECK(drafts.drafted >= 16);
  CHECK(drafts.accepted == drafts.drafted);
}

TEST_CASE("rule: masked logits are the others' bits, or minus infinity") {
  const TinyRule rule(model().view, "[a-m]+");
  TestSession s(model().view, ruled()), plain(model().view);
  const int32_t prompt[] = {1, 300, 310};
  feed_pieces(s, prompt, 3, 3);
  feed_pieces(plain, prompt, 3, 3);
  const std::vector<float> before(thimble_logits(plain), thimble_logits(plain) + 600);
  REQUIRE(thimble_session_constrain(s, &rule.view) == THIMBLE_OK);
  CHECK(thimble_logits(s) == nullptr);  // until the head is computed again
  finish_pass(s);
  size_t n = 0;
  for (uint32_t id = 0; id < 600; ++id) {
    const bool is_allowed = rule_any(rule.tables, 0, id, 1);
    const float expected = is_allowed ? before[id] : -__builtin_inff();
    CHECK(thimble_logits(s)[id] == expected);
    n += is_allowed;
  }
  CHECK(n > 26);
  REQUIRE(thimble_session_constrain(s, nullptr) == THIMBLE_OK);
  finish_pass(s);
  CHECK(std::equal(before.begin(), before.end(), thimble_logits(s)));
}

TEST_CASE("rule: what a session refuses") {
  const TinyRule rule(model().view, "ab*");
  const thimble_model& m = model().view;
  TestSession s(m, ruled()), none(m);
  const int32_t bos = 1, a = 260, b = 261, c = 262;
  REQUIRE(text_of_token(m, a) == "a");
  CHECK(thimble_session_constrain(nullptr, &rule.view) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_constrain(none, &rule.view) == THIMBLE_ERROR_CONFIG);
  CHECK(thimble_session_constrain(none, nullptr) == THIMBLE_OK);
  CHECK(thimble_rule_is_met(nullptr) == 0);
  CHECK(thimble_rule_is_met(none) == 0);
  REQUIRE(thimble_feed(s, &bos, 1) == THIMBLE_OK);
  CHECK(thimble_session_constrain(s, &rule.view) == THIMBLE_ERROR_BUSY);
  finish_pass(s);
  REQUIRE(thimble_session_constrain(s, &rule.view) == THIMBLE_OK);
  finish_pass(s);
  CHECK(thimble_rule_is_met(s) == 0);
  for (const int32_t token : {b, c, bos, m.eos_id, int32_t{0}}) {
    CHECK(thimble_feed(s, &token, 1) == THIMBLE_ERROR_FORBIDDEN);
  }
  const int32_t both[] = {a, b}, wrong[] = {a, c};
  CHECK(thimble_feed(s, wrong, 2) == THIMBLE_ERROR_FORBIDDEN);
  CHECK(thimble_position(s) == 1);
  feed_pieces(s, both, 2, 2);
  CHECK(thimble_rule_is_met(s) == 1);
  // Back to the answer's beginning and on; then before it, where there is no rule any more.
  REQUIRE(thimble_rewind(s, 1) == THIMBLE_OK);
  CHECK(thimble_rule_is_met(s) == 0);
  CHECK(thimble_feed(s, &b, 1) == THIMBLE_ERROR_FORBIDDEN);
  feed_pieces(s, both, 2, 1);
  REQUIRE(thimble_rewind(s, 2) == THIMBLE_OK);
  CHECK(thimble_feed(s, &c, 1) == THIMBLE_ERROR_FORBIDDEN);
  feed_pieces(s, &b, 1, 1);
  feed_pieces(s, &m.eos_id, 1, 1);
  CHECK(thimble_rule_is_met(s) == 1);
  const thimble_sampling sampling = hot(1);
  CHECK(thimble_sample(s, &sampling) == THIMBLE_ERROR_DEAD_END);
  CHECK(thimble_feed(s, &b, 1) == THIMBLE_ERROR_FORBIDDEN);
  REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
  feed_pieces(s, &c, 1, 1);

  const TinyModel same(model().shape, model().layout, true);
  const TinyModel other(tiny_shape(32, 40, 1, 4, 2, 8, 500, 16, true), model().layout, true);
  const TinyModel bare(model().shape, model().layout);
  TestSession elsewhere(same.view, ruled());
  CHECK(thimble_session_constrain(elsewhere, &rule.view) == THIMBLE_ERROR_OTHER_MODEL);
  thimble_rule view;
  const auto open = [&](const thimble_model& of) {
    return thimble_rule_open(&view, &of, rule.image.data(), rule.image.size());
  };
  CHECK(open(same.view) == THIMBLE_OK);  // the same vocabulary
  CHECK(thimble_session_constrain(elsewhere, &view) == THIMBLE_OK);
  CHECK(open(other.view) == THIMBLE_ERROR_OTHER_MODEL);
  CHECK(view.image == nullptr);
  CHECK(thimble_rule_verify(&view) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_constrain(s, &view) == THIMBLE_ERROR_ARGUMENT);
  CHECK(open(bare.view) == THIMBLE_ERROR_NO_TOKENIZER);
  CHECK(thimble_rule_open(nullptr, &m, rule.image.data(), 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_rule_open(&view, nullptr, rule.image.data(), 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_rule_open(&view, &m, nullptr, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_rule_open(&view, &m, m.image, m.image_bytes) == THIMBLE_ERROR_MAGIC);
  CHECK(thimble_rule_open(&view, &m, rule.image.data() + 4, 4) == THIMBLE_ERROR_MISALIGNED);
}

TEST_CASE("rule: a self-test takes it off") {
  const TinyModel m(tiny_shape(32, 40, 1, 4, 2, 8, 600, 64, true), {kWeightQ8, 32, 4}, true, 1,
                    true);
  const TinyRule rule(m.view, "a+");
  TestSession s(m.view, ruled());
  REQUIRE(thimble_session_constrain(s, &rule.view) == THIMBLE_OK);
  CHECK(thimble_self_test(s, 0, nullptr) == THIMBLE_OK);
  const int32_t token = 270;
  CHECK(thimble_feed(s, &token, 1) == THIMBLE_OK);
}

TEST_CASE("rule: a saved session goes on with its answer") {
  const TinyRule rule(model().view, "(ab|ba){40}"), other(model().view, "(ab|ba){41}");
  for (const uint32_t n_sinks : {0u, 2u}) {
    thimble_config config{};
    config.n_sinks = n_sinks;
    if (n_sinks) config.n_ctx = 32;
    TestSession s(model().view, ruled(config)), t(model().view, ruled(config)),
        plain(model().view, config);
    const Answer expected = answer(s, model().view, &rule.view, 90, hot(3));
    CHECK(expected.has_ended);
    const Answer begun =
        answer(s, model().view, &rule.view, expected.tokens.size() / 2 + 1, hot(3));
    std::vector<uint8_t> saved(thimble_session_save_bytes(s));
    REQUIRE(thimble_session_save(s, saved.data(), saved.size()) == THIMBLE_OK);
    const auto load = [&](thimble_session* to) {
      return thimble_session_load(to, saved.data(), saved.size());
    };
    CHECK(load(plain) == THIMBLE_ERROR_OTHER_RULE);
    CHECK(load(t) == THIMBLE_ERROR_OTHER_RULE);
    REQUIRE(thimble_session_constrain(t, &other.view) == THIMBLE_OK);
    CHECK(load(t) == THIMBLE_ERROR_OTHER_RULE);
    REQUIRE(thimble_session_constrain(t, &rule.view) == THIMBLE_OK);
    REQUIRE(load(t) == THIMBLE_OK);
    finish_pass(t);
    std::vector<int32_t> tokens = begun.tokens;
    const thimble_sampling sampling = hot(3);
    for (int32_t token; !thimble_is_end(&model().view, token = thimble_sample(t, &sampling));) {
      REQUIRE(token >= 0);
      tokens.push_back(token);
      feed_pieces(t, &token, 1, 1);
    }
    CHECK(tokens == expected.tokens);
    // What was saved without a rule has none.
    REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
    const int32_t free_tokens[] = {1, 280, 270};
    feed_pieces(s, free_tokens, 3, 3);
    saved.resize(thimble_session_save_bytes(s));
    REQUIRE(thimble_session_save(s, saved.data(), saved.size()) == THIMBLE_OK);
    REQUIRE(thimble_session_constrain(plain, nullptr) == THIMBLE_OK);
    CHECK(load(plain) == THIMBLE_OK);
    CHECK(load(t) == THIMBLE_OK);
    finish_pass(t);
    feed_pieces(t, free_tokens, 3, 1);
  }
}

TEST_CASE("rule: a text without end keeps its state") {
  const TinyRule rule(model().view, "(abc)*");
  thimble_config config{};
  config.n_ctx = 32;
  config.n_sinks = 2;
  TestSession s(model().view, ruled(config));
  const int32_t bos = 1, letters[] = {260, 261, 262};
  feed_pieces(s, &bos, 1, 1);
  REQUIRE(thimble_session_constrain(s, &rule.view) == THIMBLE_OK);
  finish_pass(s);
  for (uint32_t i = 0; i < 500; ++i) {
    CAPTURE(i);
    REQUIRE(thimble_feed(s, &letters[(i + 1) % 3], 1) == THIMBLE_ERROR_FORBIDDEN);
    feed_pieces(s, &letters[i % 3], 1, 1);
    if (i % 7 != 0) continue;
    const uint32_t position = thimble_position(s);
    if (thimble_rewind(s, position - 1) != THIMBLE_OK) continue;
    REQUIRE(thimble_feed(s, &letters[(i + 1) % 3], 1) == THIMBLE_ERROR_FORBIDDEN);
    feed_pieces(s, &letters[i % 3], 1, 1);
  }
}

TEST_CASE("rule: a damaged file is refused, or runs within its bounds") {
  const TinyModel m(tiny_shape(24, 20, 1, 3, 1, 8, 64, 16, true), {kWeightQ8, 32, 4}, true);
  const TinyRule good(m.view, "(a|be)*[^b-d]{2,3}");
  const uint32_t header_bytes = header_of(good.view).header_bytes;
  thimble_rule view;
  for (size_t n = 0; n < good.image.size(); ++n) {
    const AlignedBlock cut(good.image.data(), n);
    CHECK(thimble_rule_open(&view, &m.view, cut.data(), n) != THIMBLE_OK);
  }
  size_t n_run = 0;
  for (size_t at = 0; at < good.image.size(); ++at) {
    CAPTURE(at);
    for (const uint32_t flip : {0x01u, 0x02u, 0x80u, 0xffu}) {
      AlignedBlock bad(good.image.data(), good.image.size());
      bad.data()[at] ^= static_cast<uint8_t>(flip);
      thimble_status status = thimble_rule_open(&view, &m.view, bad.data(), bad.size());
      if (at < header_bytes) CHECK(status != THIMBLE_OK);
      if (status == THIMBLE_OK) CHECK(thimble_rule_verify(&view) == THIMBLE_ERROR_DATA_CHECKSUM);
      // Right checksums do not help the header; what else is possible runs.
      seal_rule(&bad);
      status = thimble_rule_open(&view, &m.view, bad.data(), bad.size());
      const bool is_sum =
          (at >= offsetof(RuleHeader, header_crc) && at < offsetof(RuleHeader, flags)) ||
          (at >= offsetof(RuleHeader, file_bytes) && at < offsetof(RuleHeader, data_crc));
      if (at < header_bytes && !is_sum) CHECK(status != THIMBLE_OK);
      if (status != THIMBLE_OK) continue;
      ++n_run;
      answer_under(m.view, view);
    }
  }
  CHECK(n_run > 100);
}

TEST_CASE("rule: each count of a header is refused by its name") {
  const TinyModel m(tiny_shape(24, 20, 1, 3, 1, 8, 64, 16, true), {kWeightQ8, 32, 4}, true);
  const TinyRule good(m.view, "(a|be)*");
  const struct {
    uint32_t offset, value;
    const char* what;
    thimble_status status;
  } cases[] = {
      {offsetof(RuleHeader, flags), 1, "flags", THIMBLE_ERROR_UNSUPPORTED},
      {offsetof(RuleHeader, n_states), 0, "n_states", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, n_states), 65536, "n_states", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, n_edges), 1u << 30, "n_edges", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, n_masks), 0, "n_masks", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, n_bitmaps), 99, "n_bitmaps", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, n_listed), 1u << 30, "n_listed", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, vocab_size), 0, "vocab_size", THIMBLE_ERROR_HEADER},
      {offsetof(RuleHeader, vocab_size), 63, "vocab_size", THIMBLE_ERROR_OTHER_MODEL},
      {offsetof(RuleHeader, vocabulary_crc), 63, "checksum of the vocabulary",
       THIMBLE_ERROR_OTHER_MODEL},
      {offsetof(RuleHeader, reserved), 1, "reserved byte", THIMBLE_ERROR_HEADER},
  };
  for (const auto& each : cases) {
    CAPTURE(each.what);
    AlignedBlock bad(good.image.data(), good.image.size());
    std::memcpy(bad.data() + each.offset, &each.value, sizeof each.value);
    seal_rule(&bad);
    thimble_rule view;
    CHECK(thimble_rule_open(&view, &m.view, bad.data(), bad.size()) == each.status);
    REQUIRE(view.fault.what != nullptr);
    CHECK(std::string(view.fault.what) == each.what);
  }
}
