// SPDX-License-Identifier: MIT
// Sessions that keep the likeliest tokens instead of all logits draw what the others draw.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "candidates.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

thimble_config candidates_config(uint32_t n_candidates, uint32_t n_batch = 1) {
  return {0, n_batch, nullptr, THIMBLE_KV_F32, n_candidates};
}

}  // namespace

TEST_CASE("candidates: the likeliest in the order of ids, offered in any pieces") {
  Random random(41);
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int round = 0; round < 200; ++round) {
    const uint32_t n = 1 + random.below(200), capacity = 1 + random.below(40);
    std::vector<float> logits(n);
    for (float& x : logits) {
      x = round % 3 == 0 ? random.normal() : static_cast<float>(random.below(5)) - 2.0f;
      if (x == 0.0f && random.below(2)) x = -0.0f;
      if (round % 7 == 1 && random.below(9) == 0) x = nan;
      if (round % 7 == 2 && random.below(9) == 0) x = random.below(2) ? infinity : -infinity;
    }
    std::vector<float> kept_logits(capacity);
    std::vector<int32_t> kept_ids(capacity);
    Candidates kept = {kept_logits.data(), kept_ids.data(), capacity, 0, 0, 0};
    for (uint32_t at = 0; at < n;) {
      const uint32_t piece = std::min(n - at, 1 + random.below(70));
      candidates_offer(&kept, *kernels_at(0), logits.data() + at, piece, static_cast<int32_t>(at));
      at += piece;
    }

    // NaN is the smallest, with minus infinity; equal ones by id.
    std::vector<int32_t> expected(n);
    for (uint32_t i = 0; i < n; ++i) expected[i] = static_cast<int32_t>(i);
    const auto value = [&](int32_t id) {
      const float x = logits[static_cast<size_t>(id)];
      return x == x ? x : -infinity;
    };
    std::stable_sort(expected.begin(), expected.end(),
                     [&](int32_t a, int32_t b) { return value(a) > value(b); });
    expected.resize(std::min(n, capacity));
    std::sort(expected.begin(), expected.end());
    REQUIRE(kept.n == expected.size());
    REQUIRE(std::equal(expected.begin(), expected.end(), kept.ids));
    for (uint32_t i = 0; i < kept.n; ++i) {
      const float x = logits[static_cast<size_t>(kept.ids[i])];
      const bool both_nan = x != x && kept.logits[i] != kept.logits[i];
      if (!both_nan) REQUIRE(kept.logits[i] == x);
    }
  }
}

TEST_CASE("candidates: the same tokens and the same hash as with all logits") {
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 16}, tools::WeightLayout{kWeightQ8, 32, 4},
        tools::WeightLayout{kWeightQ8, 0, 1}}) {
    TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, true), layout);
    for (uint32_t k : {1u, 5u, 40u, 100u, 256u}) {
      TestSession all(m.view, candidates_config(0)), some(m.view, candidates_config(k, 3), 0xff);
      const thimble_config one = candidates_config(k), every = candidates_config(0);
      if (k <= 100) {
        CHECK(thimble_session_bytes(&m.view, &one) < thimble_session_bytes(&m.view, &every));
      }
      int32_t token = 1;
      for (uint32_t i = 0; i < 40; ++i) {
        feed_pieces(all, &token, 1, 1);
        feed_pieces(some, &token, 1, 1, i % 2 ? 300 : 0);
        CHECK(thimble_logits(some) == nullptr);
        REQUIRE(thimble_logits(all) != nullptr);
        REQUIRE(thimble_logits_hash(some, 7) == thimble_logits_hash(all, 7));
        const auto same = [&](const thimble_sampling& sampling) {
          const int32_t expected = thimble_sample(all, &sampling);
          REQUIRE(expected >= 0);
          REQUIRE(thimble_sample(some, &sampling) == expected);
          REQUIRE(thimble_sample(some, &sampling) == expected);  // nothing was changed
          return expected;
        };
        const thimble_sampling greedy = {};
        same(greedy);
        for (uint64_t seed = 0; seed < 8; ++seed) {
          for (uint32_t top_k : {1u, 4u, k}) {
            if (top_k > k) continue;
            token = same({3.0f, 0, 0, 0, 0, top_k, seed, 0});
            same({0.05f, 0.9f, 0, 0, 0, top_k, seed, 0});
            same({50.0f, 0.7f, 0.3f, 0, 0, top_k, seed, 0});
            same({1.8f, 0.7f, 0.05f, 0, 0, top_k, seed, 1});
            if (top_k + 20 > k) continue;
            same({2.0f, 0.95f, 0, 1.5f, 20, top_k, seed, 0});
            same({0, 0, 0, 2.0f, 20, top_k, seed, 0});
          }
        }
      }
    }
  }
}

TEST_CASE("candidates: what they are not enough for is refused") {
  TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, true), {kWeightQ8, 32, 4});
  TestSession s(m.view, candidates_config(40));
  const std::vector<int32_t> text = random_tokens(3, 30, 300);
  feed_pieces(s, text.data(), text.size(), 30);
  const auto draw = [&](const thimble_sampling& sampling) { return thimble_sample(s, &sampling); };
  CHECK(draw({0.8f, 0.9f, 0, 0, 0, 0, 1, 0}) == THIMBLE_ERROR_ARGUMENT);   // all tokens
  CHECK(draw({0.8f, 0.9f, 0, 0, 0, 41, 1, 0}) == THIMBLE_ERROR_ARGUMENT);  // more than are kept
  CHECK(draw({0.8f, 0.9f, 0, 0, 0, 40, 1, 0}) >= 0);
  CHECK(draw({0.8f, 0.9f, 0, 1.1f, 20, 21, 1, 0}) ==
        THIMBLE_ERROR_ARGUMENT);  // the penalty's window
  CHECK(draw({0.8f, 0.9f, 0, 1.1f, 20, 20, 1, 0}) >= 0);
  CHECK(draw({0.8f, 0.9f, 0, 0.9f, 5, 20, 1, 0}) == THIMBLE_ERROR_ARGUMENT);  // lifts others up
  CHECK(draw({0, 0, 0, 1.1f, 30, 0, 1, 0}) >= 0);
  // The window of 64 is too much from the first token on, though only 30 are there yet.
  CHECK(draw({0, 0, 0, 1.1f, 0, 0, 1, 0}) == THIMBLE_ERROR_ARGUMENT);
  const thimble_config too_many = candidates_config(257), as_many = candidates_config(300);
  CHECK(thimble_session_bytes(&m.view, &too_many) == 0);
  CHECK(thimble_session_bytes(&m.view, &as_many) == thimble_session_bytes(&m.view, nullptr));
}

TEST_CASE("candidates: encoding between passes disturbs neither draw nor hash") {
  TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, true), {kWeightQ8, 32, 16}, true);
  TestSession s(m.view, candidates_config(8, 2));
  const std::vector<int32_t> text = random_tokens(3, 9, 300);
  feed_pieces(s, text.data(), text.size(), 9);
  const uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
  const thimble_sampling sampling = {1.0f, 0, 0, 0, 0, 8, 5, 0};
  const int32_t token = thimble_sample(s, &sampling);
  // One word that needs all of the scratch.
  const size_t longest = thimble_encode_word_bytes(s);
  const std::string word(longest - 1, 'a');  // and the space before it
  std::vector<int32_t> tokens(longest + 2);
  REQUIRE(thimble_encode(s, word.data(), word.size(), THIMBLE_ENCODE_BOS, tokens.data(),
                         tokens.size()) > 0);
  CHECK(thimble_sample(s, &sampling) == token);
  CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == hash);
}
