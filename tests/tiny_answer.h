// SPDX-License-Identifier: MIT
// Answers of small models under rules.
#ifndef THIMBLE_TESTS_TINY_ANSWER_H
#define THIMBLE_TESTS_TINY_ANSWER_H

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tiny_model.h"
#include "tiny_rule.h"

namespace thimble::test {

// The one that answers.
inline const TinyModel& model() {
  static const TinyModel m(tiny_shape(32, 40, 1, 4, 2, 8, 600, 160, true), {kWeightQ8, 32, 4},
                           true);
  return m;
}

inline thimble_config ruled(thimble_config config = {}) {
  config.rules = THIMBLE_RULES_CONFIDENCE;
  return config;
}

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  bool has_ended = false;
  uint64_t hash = THIMBLE_HASH_START;
  float confidence = 0;  // of the text, and of its end if it has ended
};

// An answer to a prompt of two tokens.
inline Answer answer(thimble_session* s, const thimble_model& m, const thimble_rule* rule, size_t n,
                     const thimble_sampling& sampling, uint64_t budget = 0) {
  const int32_t prompt[] = {1, 300};
  expect_ok(thimble_rewind(s, 0), "rewind");
  expect_ok(thimble_session_constrain(s, nullptr), "constrain");
  feed_pieces(s, prompt, 2, 2, budget);
  expect_ok(thimble_session_constrain(s, rule), "constrain");
  finish_pass(s, budget);
  Answer out;
  while (out.tokens.size() < n && thimble_room(s) > 0) {
    out.hash = thimble_logits_hash(s, out.hash);
    const int32_t token = thimble_sample(s, &sampling);
    REQUIRE(token >= 0);
    out.has_ended = thimble_is_end(&m, token) != 0;
    if (out.has_ended) {
      expect_ok(thimble_feed(s, &token, 1), "feed");
      break;
    }
    out.tokens.push_back(token);
    out.text += text_of_token(m, token);
    feed_pieces(s, &token, 1, 1, budget);
  }
  out.confidence = thimble_session_confidence(s);
  if (out.has_ended) expect_ok(thimble_rewind(s, thimble_position(s)), "rewind");
  return out;
}

inline thimble_sampling hot(uint64_t seed, uint32_t top_k = 0) {
  thimble_sampling sampling{};
  sampling.temperature = 2;
  sampling.seed = seed;
  sampling.top_k = top_k;
  return sampling;
}

}  // namespace thimble::test

#endif
