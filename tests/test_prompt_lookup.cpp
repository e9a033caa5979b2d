// SPDX-License-Identifier: MIT
// What is computed ahead changes nothing that a caller sees, and costs no more than it may.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "prompt_lookup.h"
#include "session.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

const std::vector<thimble_sampling>& samplings(bool from_candidates) {
  static const std::vector<thimble_sampling> some = {
      {}, {1.5f, 0.9f, 0, 0, 0, 5, 3}, {0, 0, 0, 1.3f, 6, 0, 0}, {0.9f, 0, 0.01f, 1.2f, 3, 4, 9}};
  static const std::vector<thimble_sampling> all = [] {
    std::vector<thimble_sampling> more = some;
    more.push_back({0.8f, 0.9f, 0, 0, 0, 0, 7});
    more.push_back({2.0f, 0, 0, 0.7f, 40, 0, 8});
    return more;
  }();
  return from_candidates ? some : all;
}

// A session without drafts and one with them, which are told the same.
struct Pair {
  Pair(const thimble_model& view, const thimble_config& config, uint32_t n_draft)
      : model(view),
        n_candidates(config.n_candidates),
        plain(view, config),
        drafting(view, with_drafts(config, n_draft), 0xff) {}

  static thimble_config with_drafts(thimble_config config, uint32_t n_draft) {
    config.n_draft = n_draft;
    return config;
  }

  // As many drafts as there can be, whatever they are worth.
  void give_credit() const {
    Drafts& drafts = *drafting.session->drafts;
    drafts.credit = most_credit(drafts);
    drafts.run = drafts.capacity;
  }

  void compare() const {
    REQUIRE(thimble_position(drafting) == thimble_position(plain));
    REQUIRE(thimble_logits_hash(drafting, 7) == thimble_logits_hash(plain, 7));
    const float *expected = thimble_logits(plain), *found = thimble_logits(drafting);
    REQUIRE((expected == nullptr) == (found == nullptr));
    if (expected) {
      REQUIRE(std::memcmp(expected, found, model.vocab_size * sizeof(float)) == 0);
    }
    for (const thimble_sampling& sampling : samplings(n_candidates > 0)) {
      REQUIRE(thimble_sample(drafting, &sampling) == thimble_sample(plain, &sampling));
    }
  }

  // What is computed ahead is not saved.
  void compare_saved() const {
    // What windows have moved beyond, after a rewind, depends on the batch.
    if (plain.session->cached != plain.session->position) return;
    if (drafting.session->cached < drafting.session->position) return;
    std::vector<uint8_t> expected(thimble_session_save_bytes(plain)),
        found(thimble_session_save_bytes(drafting));
    REQUIRE(thimble_session_save(plain, expected.data(), expected.size()) == THIMBLE_OK);
    REQUIRE(thimble_session_save(drafting, found.data(), found.size()) == THIMBLE_OK);
    REQUIRE(found == expected);
  }

  void finish(uint64_t budget) const {
    finish_pass(plain);
    finish_pass(drafting, budget);
    compare();
  }

  void feed(const int32_t* tokens, size_t n, uint64_t budget = 0) const {
    const thimble_status expected = thimble_feed(plain, tokens, n);
    REQUIRE(thimble_feed(drafting, tokens, n) == expected);
    if (expected != THIMBLE_OK) return compare();
    // Until the next step nothing can be seen of what is known already.
    REQUIRE(thimble_logits(drafting) == nullptr);
    REQUIRE(thimble_feed(drafting, tokens, n) == THIMBLE_ERROR_BUSY);
    finish(budget);
  }

  void rewind(uint32_t position) const {
    REQUIRE(thimble_rewind(plain, position) == THIMBLE_OK);
    REQUIRE(thimble_rewind(drafting, position) == THIMBLE_OK);
    compare();
  }

  void reload() const {
    std::vector<uint8_t> saved(thimble_session_save_bytes(drafting));
    REQUIRE(thimble_session_save(drafting, saved.data(), saved.size()) == THIMBLE_OK);
    REQUIRE(thimble_session_load(drafting, saved.data(), saved.size()) == THIMBLE_OK);
    finish_pass(drafting);
    compare();
  }

  int32_t draw(const thimble_sampling& sampling) const { return thimble_sample(plain, &sampling); }
  thimble_drafts counts() const { return thimble_draft_counts(drafting); }

  const thimble_model& model;
  uint32_t n_candidates;
  TestSession plain, drafting;
};

// Everything that can be done with a session, in any order.
void live(const Pair& pair, uint64_t seed, int n_steps) {
  Random random(seed);
  const thimble_model& m = pair.model;
  const uint32_t n_ctx = thimble_context_size(pair.plain);
  const auto any_token = [&] {  // of a few, so that they repeat
    return static_cast<int32_t>(random.below(random.below(3) ? 3 : m.vocab_size));
  };
  std::vector<int32_t> tokens(n_ctx + 2);
  for (int step = 0; step < n_steps; ++step) {
    CAPTURE(step);
    if (random.below(4) > 0) pair.give_credit();
    const uint64_t budget = random.below(3) ? 0 : 1 + random.below(2000);
    const uint32_t position = thimble_position(pair.plain);
    const uint32_t ahead = std::max(pair.drafting.session->cached, position) - position;
    const int32_t* drafted = pair.drafting.session->tokens + position;
    const uint32_t what = random.below(42);
    if (position + 1 >= n_ctx && random.below(3)) {
      pair.rewind(random.below(n_ctx));
    } else if (what < 18) {  // as a text is generated, or as it was drafted
      int32_t token = any_token();
      if (thimble_logits_hash(pair.plain, 1) != 1 && random.below(4)) {
        token = pair.draw(samplings(true)[random.below(2)]);
      }
      if (ahead > 0 && random.below(2)) token = drafted[0];
      pair.feed(&token, 1, budget);
    } else if (what < 28) {  // several, the first of them perhaps drafted
      const uint32_t n = 1 + random.below(random.below(2) ? 6 : 20);
      for (uint32_t i = 0; i < n; ++i) tokens[i] = any_token();
      std::copy(drafted, drafted + std::min({ahead, n, random.below(ahead + 2)}), tokens.begin());
      pair.feed(tokens.data(), n, budget);
    } else if (what < 32) {
      pair.rewind(random.below(2) ? position - std::min(position, random.below(4))
                                  : random.below(position + 1));
    } else if (what < 35 && position < n_ctx) {  // a pass that is given up
      tokens[0] = ahead > 0 && random.below(2) ? drafted[0] : any_token();
      REQUIRE(thimble_feed(pair.drafting, tokens.data(), 1) == THIMBLE_OK);
      for (uint32_t i = random.below(20); i > 0; --i) thimble_step(pair.drafting, 500);
      REQUIRE(thimble_rewind(pair.drafting, position) == THIMBLE_OK);
      pair.rewind(position);
    } else if (what < 38 && m.max_token_bytes > 0) {  // in the activations' memory
      const std::string words(thimble_encode_word_bytes(pair.drafting) - 1, 'a');
      std::vector<int32_t> ids(words.size() + 2);
      REQUIRE(thimble_encode(pair.drafting, words.data(), words.size(), 0, ids.data(), ids.size()) >
              0);
      pair.compare();
    } else if (what == 38) {
      thimble_status status;
      do status = thimble_self_test(pair.drafting, random.below(2) ? 0 : 3000, nullptr);
      while (status == THIMBLE_MORE);
      REQUIRE((status == THIMBLE_OK || status == THIMBLE_ERROR_CONTEXT_FULL));
      if (status == THIMBLE_OK) pair.rewind(0);
    } else if (what == 39) {
      pair.compare_saved();
      if (random.below(2)) pair.reload();
    } else {
      const int32_t wrong = static_cast<int32_t>(m.vocab_size);
      REQUIRE(thimble_feed(pair.drafting, &wrong, 1) != THIMBLE_OK);
      REQUIRE(thimble_rewind(pair.drafting, position + 1) == THIMBLE_ERROR_ARGUMENT);
      pair.compare();
    }
  }
}

// Feeds what it draws, n times.
void generate(const Pair& pair, const thimble_sampling& sampling, uint32_t n, uint64_t budget = 0) {
  for (uint32_t i = 0; i < n; ++i) {
    const int32_t token = pair.draw(sampling);
    REQUIRE(token >= 0);
    pair.feed(&token, 1, budget);
  }
}

}  // namespace

TEST_CASE("drafts: a session does the same with them, whatever is done with it") {
  uint64_t seed = 0, drafted = 0, accepted = 0;
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types()) {
      const bool with_vocabulary = ++seed % 2 == 0;
      TinyModel m(named.shape, layout, with_vocabulary, seed, true);
      for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
        ++seed;
        const uint32_t n_draft = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 4 : 16;
        const uint32_t n_batch = seed % 4 ? 1 : 7, n_ctx = seed % 5 ? 0 : 19;
        const uint32_t n_candidates = seed % 7 < 3 ? 0 : seed % 7 < 5 ? 11 : 40;
        const char* isa = thimble_isa_at(seed % 8);
        CAPTURE(std::string(named.name));
        CAPTURE(layout_name(layout));
        CAPTURE(seed);
        const Pair pair(m.view, {n_ctx, n_batch, isa, kv_type, n_candidates}, n_draft);
        live(pair, seed, 60);
        drafted += pair.counts().drafted;
        accepted += pair.counts().accepted;
      }
    }
  }
  CHECK(drafted > 4000);
  CHECK(accepted > 800);
}

TEST_CASE("drafts: the same in a text that goes on for ever") {
  uint64_t accepted = 0;
  for (const NamedShape& named : tiny_shapes()) {
    if (named.shape.learned_positions) continue;
    TinyModel m(named.shape, {kWeightQ8, 32, 16});
    for (uint32_t n_draft : {1u, 5u, 16u}) {
      CAPTURE(std::string(named.name));
      CAPTURE(n_draft);
      const Pair pair(m.view, {29, 1, nullptr, THIMBLE_KV_Q8, 0, 3}, n_draft);
      Random random(n_draft);
      std::vector<int32_t> several(20);
      for (int32_t& token : several) token = static_cast<int32_t>(random.below(3));
      pair.feed(several.data(), 5);
      for (uint32_t round = 0; round < 40; ++round) {
        generate(pair, samplings(false)[random.below(6)], random.below(12));
        pair.give_credit();
        const uint32_t position = thimble_position(pair.plain);
        const int32_t token = static_cast<int32_t>(random.below(3));
        pair.feed(&token, 1, 99);
        if (random.below(3) == 0) {
          pair.rewind(position);
          pair.feed(&token, 1);
        }
        if (random.below(4) == 0) pair.feed(several.data(), 1 + random.below(20));
        pair.compare_saved();
      }
      CHECK(thimble_position(pair.plain) > 150);
      accepted += pair.counts().accepted;
    }
  }
  CHECK(accepted > 300);
}

TEST_CASE("drafts: the same text on every kernel table, greedy and sampled, to the context's end") {
  for (const NamedShape& named : tiny_shapes()) {
    TinyModel m(named.shape, {kWeightQ8, 32, 4});
    for (size_t i = 0; thimble_isa_at(i); ++i) {
      size_t kinds = 0;
      for (uint32_t n_candidates : {0u, 11u}) {
        for (const thimble_sampling& sampling : samplings(n_candidates > 0)) {
          if (i > 0 && kinds++ % 4 != i % 4) continue;  // a few of them on each but the first
          CAPTURE(std::string(named.name));
          CAPTURE(std::string(thimble_isa_at(i)));
          const Pair pair(m.view, {0, 3, thimble_isa_at(i), THIMBLE_KV_Q8, n_candidates}, 7);
          const std::vector<int32_t> prompt = {1, 2, 3, 1, 2};
          pair.feed(prompt.data(), prompt.size());
          generate(pair, sampling, m.view.n_ctx - 5, 77);
          const int32_t token = 1;
          CHECK(thimble_feed(pair.drafting, &token, 1) == THIMBLE_ERROR_CONTEXT_FULL);
          CHECK(thimble_position(pair.drafting) == m.view.n_ctx);
        }
      }
    }
  }
}

TEST_CASE("drafts: what was drafted is told apart from what is fed at every place") {
  for (const NamedShape& named : tiny_shapes()) {
    TinyModel m(named.shape, {kWeightQ8, 32, 16});
    const Pair pair(m.view, {0, 1, nullptr, THIMBLE_KV_F32, 0}, 6);
    const std::vector<int32_t> text = {4, 5, 6, 7, 8, 9, 10, 4, 5};
    for (uint32_t right = 0; right <= 6; ++right) {
      for (bool at_once : {false, true}) {
        CAPTURE(std::string(named.name));
        CAPTURE(right);
        pair.rewind(0);
        pair.feed(text.data(), 8);
        pair.give_credit();
        pair.feed(&text[8], 1);
        REQUIRE(pair.drafting.session->cached == 9 + 6);  // 6 7 8 9 10 4
        std::vector<int32_t> more(text.begin() + 2, text.begin() + 2 + right);
        more.push_back(3);
        const thimble_drafts before = pair.counts();
        pair.feed(more.data(), at_once ? more.size() : right > 0 ? right : 1);
        if (!at_once && right > 0) pair.feed(&more[right], 1);
        CHECK(pair.counts().accepted - before.accepted == right);
      }
    }
  }
}

TEST_CASE("drafts: where they are looked up") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  TestSession s(m.view, {0, 1, nullptr, 0, 0, 0, 4});
  const auto found = [&](const std::vector<int32_t>& text) {
    std::copy(text.begin(), text.end(), s.session->tokens);
    return prompt_lookup(s, static_cast<uint32_t>(text.size()));
  };
  CHECK(found({}) == 0);
  CHECK(found({1}) == 0);
  CHECK(found({1, 1}) == 0);
  CHECK(found({1, 1, 1}) == 2);
  CHECK(found({1, 2, 1, 2}) == 2);
  CHECK(found({1, 2, 3, 2}) == 0);                             // one token alone says little
  CHECK(found({1, 2, 3, 1, 2, 4, 1, 2}) == 5);                 // the latest
  CHECK(found({9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2}) == 3);        // the longest
  CHECK(found({9, 1, 2, 9, 1, 2, 4, 8, 1, 2, 9, 1, 2}) == 6);  // of these the latest
  CHECK(found({1, 2, 1, 2, 1, 2}) == 4);
}

TEST_CASE("drafts: what overflows counts from where it is fed, not where it is drafted") {
  tools::ModelShape shape = family_shapes()[3].shape;
  REQUIRE(shape.learned_positions);
  // What the tokens add to position 14 is good for a file, its square not for a norm.
  TinyModel m(shape, {kWeightF32, 0, 1});
  const SectionEntry& positions = section_of(m.view, kPositionEmbedding);
  const float huge = 3e19f;
  std::memcpy(m.image.data() + positions.offset + 14 * positions.cols * sizeof huge, &huge,
              sizeof huge);
  const thimble_sampling greedy = {};
  for (uint32_t n_candidates : {0u, 8u}) {
    const Pair pair(m.view, {0, 1, nullptr, 0, n_candidates}, 8);
    for (uint32_t last = 10; last < 20; ++last) {
      pair.rewind(0);
      for (uint32_t i = 0; i < last; ++i) {
        const int32_t token = static_cast<int32_t>(i % 3);
        pair.give_credit();
        pair.feed(&token, 1);
        CHECK((pair.draw(greedy) == THIMBLE_ERROR_NOT_FINITE) == (i >= 14));
      }
      pair.rewind(std::min(last, 14u));
      const int32_t other = 7;
      if (last < 14) pair.feed(&other, 1);
    }
    CHECK(pair.counts().accepted > 20);
  }
}

// ---- What it costs -----------------------------------------------------------------------------

namespace {

// Rows that were computed beyond the tokens, at the price of one, in thousandths of a decode step.
int64_t cost(const thimble_session* s) {
  const thimble_drafts counts = thimble_draft_counts(s);
  return int64_t{counts.drafted} * s->drafts->price - int64_t{counts.accepted} * kDecodeStep;
}

}  // namespace

TEST_CASE("drafts: never more than four percent of the tokens' own passes, at any moment") {
  TinyModel m(tiny_shape(16, 16, 1, 2, 1, 8, 64, 1024, true), {kWeightF32, 0, 16});
  for (uint32_t n_draft : {1u, 5u, 16u}) {
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(kind);
      Random random(5);
      TestSession s(m.view, {0, 1, nullptr, 0, 0, 0, n_draft});
      uint32_t n_fed = 0;
      for (uint32_t i = 0; i < 1000; ++i) {
        const uint32_t ahead = s.session->cached - s.session->position;
        int32_t token = 0;
        if (kind == 0) {  // never two tokens again
          token = static_cast<int32_t>(i % 2 ? i / 128 + 1 : (i * 29 + i / 64) % 64);
        } else if (kind == 1) {  // looks as if it repeated, but never does
          token = static_cast<int32_t>(i % 3 < 2 ? i % 3 : 2 + random.below(60));
        } else if (kind == 2) {  // what was drafted, until it is worth most, then something else
          const bool is_right = ahead > 0 && (i / 100) % 2 == 0;
          token = is_right ? s.session->tokens[i] : static_cast<int32_t>(random.below(3));
        } else {  // repeats indeed
          token = static_cast<int32_t>(i % 7);
        }
        feed_pieces(s, &token, 1, 1);
        ++n_fed;
        REQUIRE(cost(s) <= int64_t{kEarned} * n_fed);
      }
      const thimble_drafts counts = thimble_draft_counts(s);
      CHECK(counts.accepted <= counts.drafted);
      if (kind == 3) CHECK(counts.accepted > 150);
      if (kind == 1) CHECK(counts.drafted > 10);
    }
  }
}

TEST_CASE("drafts: none while a hook wants to see what is fed") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  const Pair pair(m.view, {}, 4);
  const std::vector<int32_t> text = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
  std::vector<uint32_t> seen;
  const thimble_attention_hook hook = [](void* user, uint32_t layer, uint32_t position, uint32_t,
                                         uint32_t first_head, uint32_t, const float*, size_t) {
    if (layer == 0 && first_head == 0) {
      static_cast<std::vector<uint32_t>*>(user)->push_back(position);
    }
  };
  for (uint32_t i = 0; i < text.size(); ++i) {
    pair.give_credit();
    if (i == 9) {
      CHECK(pair.counts().accepted > 0);
      REQUIRE(pair.drafting.session->cached > 9);
      REQUIRE(thimble_on_attention(pair.drafting, hook, &seen) == THIMBLE_OK);
    }
    pair.feed(&text[i], 1);
  }
  CHECK(seen == std::vector<uint32_t>{9, 10, 11, 12, 13, 14, 15});
}

// ---- Memory ------------------------------------------------------------------------------------

TEST_CASE(
    "drafts: their bytes are rows of logits or candidates, a batch, and what is known of them") {
  const auto chunk = [](uint64_t bytes) { return round_up(bytes, 64); };
  for (const NamedShape& named : tiny_shapes()) {
    TinyModel m(named.shape, {kWeightQ8, 32, 16});
    for (uint32_t n_candidates : {0u, 11u}) {
      for (uint32_t n_draft : {1u, 4u, 16u}) {
        for (uint32_t n_batch : {1u, 3u, 17u, 32u}) {
          const auto bytes = [&](uint32_t n_ctx, uint32_t batch, uint32_t drafts) {
            const thimble_config config = {n_ctx, batch, nullptr, 0, n_candidates, 0, drafts};
            return thimble_session_bytes(&m.view, &config);
          };
          const uint64_t rows = n_draft + 1;
          const auto logits = [&](uint64_t n) {
            return n_candidates ? 2 * chunk(n * n_candidates * 4) + chunk(n * kHeadChunk * 4)
                                : chunk(n * round_up(m.view.vocab_size, kLanes) * 4);
          };
          CHECK(bytes(40, n_batch, n_draft) ==
                bytes(40, std::max(n_batch, n_draft + 1), 0) + logits(rows) - logits(1) + 576);
          CHECK(bytes(1, n_batch, n_draft) == bytes(1, n_batch, 0));  // nothing to be drafted
          CHECK(bytes(2, n_batch, n_draft) == bytes(2, n_batch, 1));
        }
      }
    }
  }
}

TEST_CASE("drafts: configurations outside their range, and counts without them") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  AlignedBlock arena(1 << 20);
  for (uint32_t n_draft : {17u, 1000u, 0xffffffffu}) {
    const thimble_config config = {0, 1, nullptr, 0, 0, 0, n_draft};
    thimble_session* s = nullptr;
    CHECK(thimble_session_bytes(&m.view, &config) == 0);
    CHECK(thimble_session_init(&s, &m.view, &config, arena.data(), arena.size()) ==
          THIMBLE_ERROR_CONFIG);
    CHECK(s == nullptr);
  }
  TestSession s(m.view);
  for (const thimble_drafts& none : {thimble_draft_counts(nullptr), thimble_draft_counts(s)}) {
    CHECK(none.drafted == 0);
    CHECK(none.accepted == 0);
  }
}
