// SPDX-License-Identifier: MIT
// How sure a model is of an answer: exact odds under the rule, the same bits however they come.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "crc32.h"
#include "saved_session.h"
#include "tiny_answer.h"

using namespace thimble;
using namespace thimble::test;

namespace {

constexpr int32_t kBos = 1, kEos = 2, kA = 260;  // and then b, c, ...

// A session whose answer is about to begin.
void begin(thimble_session* s, const thimble_rule* rule) {
  expect_ok(thimble_rewind(s, 0), "rewind");
  expect_ok(thimble_session_constrain(s, nullptr), "constrain");
  feed_pieces(s, &kBos, 1, 1);
  expect_ok(thimble_session_constrain(s, rule), "constrain");
  finish_pass(s);
}

// The definition, in the plainest words: of logits that are minus infinity where the rule forbids.
float share(const float* logits, uint32_t n, int32_t token) {
  float max = logits[0];
  for (uint32_t i = 1; i < n; ++i) max = logits[i] > max ? logits[i] : max;
  std::vector<uint32_t> odds(n);
  kKernelsReference.odds(odds.data(), logits, n, max, 1.0f);
  uint64_t sum = 0, unit = 1;
  for (const uint32_t each : odds) sum += each;
  for (; sum > UINT32_MAX; sum /= 2) unit *= 2;
  const float quotient = static_cast<float>(odds[static_cast<uint32_t>(token)]) /
                         static_cast<float>(static_cast<uint32_t>(sum));
  return quotient * (1.0f / static_cast<float>(unit));
}

double softmax(const float* logits, uint32_t n, int32_t token) {
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]));
  return std::exp(static_cast<double>(logits[token])) / sum;
}

}  // namespace

TEST_CASE("confidence: it is the product of the tokens' shares in what the rule allows") {
  const TinyRule rule(model().view, "[a-z ]{2,60}|(no|yes)*");
  TestSession s(model().view, ruled());
  const uint32_t n = model().view.n_tokens;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    begin(s, &rule.view);
    CHECK(thimble_session_confidence(s) == 1.0f);
    float expected = 1;
    double by_softmax = 1;
    const thimble_sampling sampling = hot(seed);
    for (uint32_t i = 0; i < 12; ++i) {
      const int32_t token = thimble_sample(s, &sampling);
      expected *= share(thimble_logits(s), n, token);
      by_softmax *= softmax(thimble_logits(s), n, token);
      REQUIRE(thimble_feed(s, &token, 1) == THIMBLE_OK);
      CHECK(thimble_session_confidence(s) == expected);
      // A factor: five roundings to 2^-24, two exp of an ulp, 600 odds cut to 2^-30 of the largest.
      const double bound = (i + 1) * (5 * 0x1p-24 + 4 * 0x1p-23 + 600 * 0x1p-30);
      CHECK(std::fabs(static_cast<double>(expected) - by_softmax) < bound);
      if (thimble_is_end(&model().view, token)) break;
      finish_pass(s);
    }
    CHECK(expected > 0);
    CHECK(expected < 1);
  }
}

TEST_CASE("confidence: the ways to compute an answer give one confidence") {
  const TinyRule rule(model().view, "(some|none)( [a-f]{2,9}){0,9}( =====|!){1,4}");
  TestSession plain(model().view, ruled());
  for (const uint64_t seed : {1u, 2u, 3u}) {
    CAPTURE(seed);
    const Answer expected = answer(plain, model().view, &rule.view, 60, hot(seed, 100));
    CHECK(expected.confidence > 0);
    for (size_t i = 0; const char* isa = thimble_isa_at(i); ++i) {
      CAPTURE(isa);
      for (const uint32_t n_candidates : {0u, 150u}) {  // no state allows more
        for (const uint32_t n_draft : {0u, 8u}) {
          thimble_config config{};
          config.isa = isa;
          config.n_candidates = n_candidates;
          config.n_draft = n_draft;
          TestSession s(model().view, ruled(config));
          const Answer found = answer(s, model().view, &rule.view, 60, hot(seed, 100), 700 * i);
          CHECK(found.tokens == expected.tokens);
          CHECK(bits_of(found.confidence) == bits_of(expected.confidence));
        }
      }
    }
  }
}

TEST_CASE("confidence: of candidates it is the share in those that are kept") {
  const TinyRule rule(model().view, "[a-z]{8}");
  thimble_config config{};
  config.n_candidates = 4;
  TestSession s(model().view, ruled(config)), all(model().view, ruled());
  const Answer few = answer(s, model().view, &rule.view, 20, hot(1, 2));
  const Answer whole = answer(all, model().view, &rule.view, 20, hot(1, 2));
  CHECK(few.tokens == whole.tokens);
  CHECK(few.confidence > whole.confidence);
  CHECK(few.confidence < 1);
  // One that is not kept.
  begin(s, &rule.view);
  begin(all, &rule.view);
  int32_t least = kA;
  for (int32_t i = kA; i < kA + 26; ++i) {
    if (thimble_logits(all)[i] < thimble_logits(all)[least]) least = i;
  }
  REQUIRE(thimble_feed(s, &least, 1) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == 0.0f);
}

TEST_CASE("confidence: what is given or forced counts 1, and what was before nothing") {
  const TinyRule rule(model().view, "abc[a-z]*"), forced(model().view, "=====");
  TestSession s(model().view, ruled()), none(model().view);
  CHECK(thimble_session_confidence(nullptr) == 0.0f);
  CHECK(thimble_session_confidence(none) == 0.0f);
  CHECK(thimble_session_confidence(s) == 0.0f);
  CHECK(answer(s, model().view, &forced.view, 5, hot(1)).confidence == 1.0f);
  const int32_t abc[] = {kA, kA + 1, kA + 2}, wrong = kA + 3;
  begin(s, &rule.view);
  CHECK(thimble_feed(s, &wrong, 1) == THIMBLE_ERROR_FORBIDDEN);
  CHECK(thimble_session_confidence(s) == 1.0f);
  feed_pieces(s, abc, 3, 3);
  CHECK(thimble_session_confidence(s) == 1.0f);
  feed_pieces(s, &wrong, 1, 1);
  const float four = thimble_session_confidence(s);
  CHECK(four > 0);
  CHECK(four < 1);
  feed_pieces(s, &wrong, 1, 1);
  const float five = thimble_session_confidence(s);
  CHECK(five < four);
  // The end, whose pass is not run.
  REQUIRE(thimble_feed(s, &kEos, 1) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) < five);
  const float ended = thimble_session_confidence(s);
  // Within the answer a rewind leaves it, and what comes without logits is given.
  REQUIRE(thimble_rewind(s, 5) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == ended);
  feed_pieces(s, &wrong, 1, 1);
  CHECK(thimble_session_confidence(s) == ended);
  REQUIRE(thimble_rewind(s, 1) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == 1.0f);
  feed_pieces(s, abc, 3, 3);
  feed_pieces(s, &wrong, 1, 1);
  CHECK(thimble_session_confidence(s) == four);
  // Constrained once more, it begins once more.
  REQUIRE(thimble_session_constrain(s, &forced.view) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == 1.0f);
  REQUIRE(thimble_rewind(s, 4) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == 0.0f);
}

TEST_CASE("confidence: numbers that leave no odds are no confidence") {
  const TinyRule rule(model().view, "[a-z]*");
  TestSession s(model().view, ruled());
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, std::numeric_limits<float>::quiet_NaN(), -kInfinity}) {
    begin(s, &rule.view);
    float* logits = const_cast<float*>(thimble_logits(s));
    for (uint32_t i = 0; i < 600; ++i) logits[i] = bad;
    REQUIRE(thimble_feed(s, &kA, 1) == THIMBLE_OK);
    CHECK(thimble_session_confidence(s) == 0.0f);
  }
  // Some NaNs beside numbers have no odds, and a token that is one neither.
  begin(s, &rule.view);
  float* logits = const_cast<float*>(thimble_logits(s));
  logits[kA + 1] = std::numeric_limits<float>::quiet_NaN();
  const float expected = share(logits, 600, kA);
  REQUIRE(thimble_feed(s, &kA, 1) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == expected);
  begin(s, &rule.view);
  const_cast<float*>(thimble_logits(s))[kA] = std::numeric_limits<float>::quiet_NaN();
  REQUIRE(thimble_feed(s, &kA, 1) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == 0.0f);
}

TEST_CASE("confidence: a session that does not count has none, and tells the same") {
  const TinyRule rule(model().view, "[a-z]{40}");
  thimble_config config{};
  config.rules = THIMBLE_RULES_TEXT;
  TestSession silent(model().view, config), s(model().view, ruled());
  const Answer counted = answer(s, model().view, &rule.view, 12, hot(5));
  const Answer other = answer(silent, model().view, &rule.view, 12, hot(5));
  CHECK(counted.confidence > 0);
  CHECK(other.confidence == 0.0f);
  CHECK(other.text == counted.text);
  CHECK(other.hash == counted.hash);
  // Nor behind a rewind to the answer's beginning, nor where it is loaded into one that counts.
  std::vector<uint8_t> saved(thimble_session_save_bytes(silent));
  REQUIRE(thimble_session_save(silent, saved.data(), saved.size()) == THIMBLE_OK);
  REQUIRE(thimble_rewind(silent, 2) == THIMBLE_OK);
  CHECK(thimble_session_confidence(silent) == 0.0f);
  REQUIRE(thimble_session_load(s, saved.data(), saved.size()) == THIMBLE_OK);
  finish_pass(s);
  const thimble_sampling sampling = hot(5);
  const int32_t token = thimble_sample(s, &sampling);
  feed_pieces(s, &token, 1, 1);
  CHECK(thimble_session_confidence(s) == 0.0f);
  REQUIRE(thimble_rewind(s, 2) == THIMBLE_OK);
  CHECK(thimble_session_confidence(s) == 1.0f);
  config.rules = THIMBLE_RULES_CONFIDENCE + 1;
  CHECK(thimble_session_bytes(&model().view, &config) == 0);
}

TEST_CASE("confidence: a saved session goes on with it, and refuses what is none") {
  const TinyRule rule(model().view, "[a-z]{40}");
  TestSession s(model().view, ruled()), t(model().view, ruled());
  const Answer begun = answer(s, model().view, &rule.view, 12, hot(5));
  std::vector<uint8_t> saved(thimble_session_save_bytes(s));
  REQUIRE(thimble_session_save(s, saved.data(), saved.size()) == THIMBLE_OK);
  REQUIRE(thimble_session_constrain(t, &rule.view) == THIMBLE_OK);
  REQUIRE(thimble_session_load(t, saved.data(), saved.size()) == THIMBLE_OK);
  CHECK(thimble_session_confidence(t) == begun.confidence);
  finish_pass(t);
  for (uint32_t i = 0; i < 10; ++i) {
    const thimble_sampling sampling = hot(5);
    const int32_t token = thimble_sample(s, &sampling);
    REQUIRE(thimble_sample(t, &sampling) == token);
    feed_pieces(s, &token, 1, 1);
    feed_pieces(t, &token, 1, 1);
    CHECK(thimble_session_confidence(t) == thimble_session_confidence(s));
  }
  const auto loaded = [&](float confidence, bool has_rule) {
    SavedHeader h;
    std::vector<uint8_t> changed = saved;
    std::memcpy(&h, changed.data(), sizeof h);
    h.rule_confidence = confidence;
    if (!has_rule) h.rule_header_crc = h.rule_data_crc = h.rule_start = h.rule_base = 0;
    if (!has_rule) h.rule_base_state = 0;
    h.header_crc = 0;
    h.header_crc = crc32(0, &h, sizeof h);
    std::memcpy(changed.data(), &h, sizeof h);
    const thimble_status status = thimble_session_load(t, changed.data(), changed.size());
    finish_pass(t);
    return status;
  };
  for (const float bad : {-1.0f, -0.0f, 1.5f, std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity()}) {
    CHECK(loaded(bad, true) == THIMBLE_ERROR_HEADER);
  }
  CHECK(loaded(1.0f, true) == THIMBLE_OK);
  CHECK(loaded(1.0f, false) == THIMBLE_ERROR_HEADER);
  CHECK(loaded(0.0f, false) == THIMBLE_OK);
  CHECK(thimble_session_confidence(t) == 0.0f);
}
