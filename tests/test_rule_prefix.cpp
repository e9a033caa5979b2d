// SPDX-License-Identifier: MIT
// Rules behind a text that every answer begins with.
#include <doctest/doctest.h>

#include <string>

#include "constrain/rule_prefix.h"
#include "syntax_matcher.h"
#include "test_folder.h"
#include "tiny_answer.h"

using namespace thimble;
using namespace thimble::test;

TEST_CASE("rule behind a prefix: its texts are the prefix and the rule's") {
  const TinyModel m(tiny_shape(32, 40, 1, 4, 2, 8, 600, 160, true), {kWeightQ8, 32, 4}, true);
  Random random(3);
  for (uint32_t round = 0; round < 60; ++round) {
    CAPTURE(round);
    const tools::NodePtr tree = random_tree(&random, 3);
    const TinyRule rule(m.view, syntax_of(tree));
    std::string prefix;
    for (uint32_t i = random.below(4); i > 0; --i) {
      prefix += static_cast<char>(random.below(256));
    }
    const TinyRule behind(m.view, tools::rule_behind(prefix, rule.view, m.view));
    CHECK(behind.view.n_states == rule.view.n_states + prefix.size());
    std::string text = drawn_text(*tree, &random);
    CHECK(behind.accepts(prefix + text));
    if (!text.empty()) text[random.below(static_cast<uint32_t>(text.size()))] ^= 1;
    CHECK(behind.accepts(prefix + text) == rule.accepts(text));
    // What is drawn under it meets it.
    TestSession s(m.view, ruled());
    const Answer a = answer(s, m.view, &behind.view, 30, hot(round));
    if (!a.has_ended) continue;
    REQUIRE(a.text.size() >= prefix.size());
    CHECK(a.text.substr(0, prefix.size()) == prefix);
    CHECK(matches(*tree, a.text.substr(prefix.size())));
  }
}

TEST_CASE("rule behind a prefix: states that would be too many are refused") {
  const TinyModel m(tiny_shape(32, 40, 1, 4, 2, 8, 600, 16, true), {kWeightQ8, 32, 4}, true);
  const TinyRule rule(m.view, "ab");
  CHECK(refusal_when([&] { tools::rule_behind(std::string(65533, 'a'), rule.view, m.view); }) ==
        "the rule has 3 states, and 65533 more for the prompt's last token are more than 65535");
}
