// SPDX-License-Identifier: MIT
// What a rule costs of a decode step. For a quiet machine:
//   build/test_thimble -tc="measure: what a rule costs*" --no-skip -s
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine.h"
#include "tiny_model.h"
#include "tiny_rule.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// Words of two to nine letters, many with a space before them, some with marks, and all bytes.
tools::Vocabulary words(uint32_t vocab_size) {
  tools::Vocabulary v = tiny_vocabulary(400);
  Random random(5);
  v.texts.resize(3 + 256);
  while (v.texts.size() < vocab_size) {
    std::string text = random.below(2) ? " " : "";
    for (uint32_t i = 2 + random.below(8); i > 0; --i) {
      text += static_cast<char>('a' + random.below(26));
    }
    if (random.below(16) == 0) text[random.below(static_cast<uint32_t>(text.size()))] = '"';
    if (std::find(v.texts.end() - 1, v.texts.end(), text) == v.texts.end()) v.texts.push_back(text);
  }
  v.scores.clear();
  for (size_t i = 0; i < v.texts.size(); ++i) v.scores.push_back(-static_cast<float>(i));
  v.types.resize(3 + 256);
  v.types.resize(vocab_size, kTokenNormal);
  return v;
}

struct Times {
  double step = 1e9, ruled = 1e9, masks = 1e9;
};

Times measure(const thimble_model& m, const thimble_rule& rule) {
  thimble_config config{};
  config.n_ctx = 64;
  config.rules = THIMBLE_RULES_TEXT;
  TestSession s(m, config);
  const int32_t token = 400;
  thimble_sampling sampling{};
  Times t;
  const RuleTables tables = rule_tables(rule.image);
  std::vector<float> logits(m.vocab_size, 1.0f);
  for (int round = 0; round < 30; ++round) {
    for (const bool is_ruled : {false, true}) {
      expect_ok(thimble_rewind(s, 0), "rewind");
      feed_pieces(s, &token, 1, 1);
      expect_ok(thimble_session_constrain(s, is_ruled ? &rule : nullptr), "constrain");
      finish_pass(s);
      const tools::Stopwatch watch;
      feed_pieces(s, &token, 1, 1);
      REQUIRE(thimble_sample(s, &sampling) >= 0);
      double& least = is_ruled ? t.ruled : t.step;
      least = std::min(least, watch.seconds());
    }
    const tools::Stopwatch watch;
    rule_mask(tables, 0, logits.data(), 0, m.vocab_size);
    t.masks = std::min(t.masks, watch.seconds());
  }
  return t;
}

}  // namespace

TEST_CASE("measure: what a rule costs of a step" * doctest::skip()) {
  for (const uint32_t vocab_size : {1024u, 32000u, 128000u}) {
    const tools::Vocabulary vocabulary = words(vocab_size);
    const tools::ModelShape shape = tiny_shape(288, 768, 6, 6, 6, 48, vocab_size, 64, true);
    const tools::ImageInMemory built = tools::build_image_in_memory(
        shape, {kWeightQ8, 0, 16}, &vocabulary,
        [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
          random_row(1, kind, layer, row, cols, out);
        },
        false);
    thimble_model m;
    REQUIRE(thimble_model_open(&m, built.data(), built.bytes) == THIMBLE_OK);
    for (const char* regex : {"[^\"\\\\\\x00-\\x1f]*\"", "[a-z ]{0,2000}", "( token)*"}) {
      if (std::string(regex) == "( token)*") continue;
      const TinyRule rule(m, regex);
      const Times t = measure(m, rule.view);
      MESSAGE("vocabulary ", vocab_size, ", ", std::string(regex), ": step ", t.step * 1e6,
              " us, with the rule ", t.ruled * 1e6, " us, masks alone ", t.masks * 1e6,
              " us: ", 100 * (t.ruled - t.step) / t.step, " %");
    }
  }
}
