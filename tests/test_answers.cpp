// SPDX-License-Identifier: MIT
// eval --answers: sentences read, answered and judged.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "answers.h"
#include "constrain/regex_reader.h"
#include "test_folder.h"
#include "tiny_answer.h"

using namespace thimble;
using namespace thimble::test;
using tools::AnswerScore;

namespace {

std::string refusal_of(const std::string& text) {
  return refusal_when([&] { tools::read_answers(text, "said.txt"); });
}

const std::string kNone = R"({"intent":"none"})", kOn = R"({"intent":"on"})",
                  kOff = R"({"intent":"off"})";

tools::Answer answered(const std::string& expected, const std::string& found, float confidence,
                       bool has_ended = true) {
  return {"", expected, found, has_ended, confidence};
}

}  // namespace

TEST_CASE("answers: a line is a sentence, a tab and its answer") {
  const std::vector<tools::Answer> answers =
      tools::read_answers("a b\tc d\r\n\t\nx\ty", "said.txt");
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].sentence == "a b");
  CHECK(answers[0].expected == "c d");
  CHECK(answers[1].sentence.empty());
  CHECK(answers[1].expected.empty());
  CHECK(answers[2].sentence == "x");
  CHECK(answers[2].expected == "y");
  CHECK(refusal_of("a\tb\nc d\n") ==
        "said.txt:2: found 0 tabs, expected SENTENCE, one tab, ANSWER");
  CHECK(refusal_of("a\tb\n\nc\td\n") ==
        "said.txt:2: found 0 tabs, expected SENTENCE, one tab, ANSWER");
  CHECK(refusal_of("a\tb\tc") == "said.txt:1: found 2 tabs, expected SENTENCE, one tab, ANSWER");
  CHECK(refusal_of("a\t\xff") == "said.txt:1: is no UTF-8");
  CHECK(refusal_of("") == "said.txt: is empty, expected lines of SENTENCE, tab, ANSWER");
}

TEST_CASE("answers: intents of one command, of several, of no such thing") {
  CHECK(tools::intents_of(kOn) == "on");
  CHECK(tools::intents_of(R"({"name":"x","intent":"on"})") == "on");
  CHECK(tools::intents_of("[" + kOn + "," + kOff + "]") == "on+off");
  for (const char* other : {"", "on", "{}", "[]", R"({"intent":1})", R"([{"intent":"on"},2])",
                            R"({"intent":"on"}})", "\xff", R"({"intent":"on","intent":"off"})"}) {
    CHECK(tools::intents_of(other).empty());
  }
}

TEST_CASE("answers: what is right, ends and passes is counted") {
  const AnswerScore s = tools::score_of({
      answered(kOn, kOn, 0.9f),
      answered(kOn, kOn, 0.4f),
      answered(kOn, kOn, 0.95f, false),  // right so far, but not ended
      answered(kOn, R"({"intent":"on","name":"x"})", 0.8f),
      answered(kOff, kNone, 0.99f),  // wrong, and passes never
      answered(kNone, kNone, 0.99f),
      answered(kNone, kOff, 0.3f),
      answered("[" + kOn + "," + kOff + "]", kOn, 0.5f),
      answered("no JSON", "no JSON", 0.7f),
  });
  CHECK(s.n == 9);
  CHECK(s.exact == 4);
  CHECK(s.ended == 8);
  CHECK(s.n_intent == 8);
  CHECK(s.intent == 5);
  REQUIRE(s.intents.size() == 4);
  CHECK(s.intents[0].name == "none");
  CHECK(s.intents[0].n == 2);
  CHECK(s.intents[0].exact == 1);
  CHECK(s.intents[2].name == "on");
  CHECK(s.intents[2].n == 4);
  CHECK(s.intents[2].exact == 2);
  CHECK(s.intents[2].intent == 4);
  CHECK(s.intents[3].name == "several");
  const tools::Verdicts& v = s.verdicts;
  CHECK(v.n_right == 3);
  CHECK(v.n_wrong == 4);
  CHECK(v.n_none == 2);
  CHECK(v.right == std::vector<float>{0.9f, 0.4f, 0.7f});
  CHECK(v.wrong == std::vector<float>{0.95f, 0.8f, 0.5f});
  CHECK(v.none == std::vector<float>{0.3f});
  CHECK(tools::passing(v.right, 0.7) == 2);
  CHECK(tools::passing(v.right, 0) == 3);
  CHECK(tools::passing(v.wrong, 1) == 0);
}

TEST_CASE("answers: the threshold is the highest that enough of the right ones pass") {
  tools::Verdicts v;
  CHECK(tools::threshold_for(v, 0.97) == 0);
  for (int i = 100; i >= 1; --i) v.right.push_back(static_cast<float>(i) / 128);
  CHECK(tools::passing(v.right, tools::threshold_for(v, 0.97)) == 97);
  CHECK(tools::passing(v.right, tools::threshold_for(v, 1)) == 100);
  CHECK(tools::threshold_for(v, 0.97) == 0.03125);  // 4 / 128
  v.right = {0.25f};
  CHECK(tools::threshold_for(v, 0.97) == 0.25);
}

TEST_CASE("answers: a model answers under a rule, without one, and within its context") {
  const TinyModel m(tiny_shape(32, 40, 1, 4, 2, 8, 600, 48, true), {kWeightQ8, 32, 4}, true);
  const TinyRule choice(m.view, "yes|no|perhaps");
  const TestFolder folder;
  const auto write = [&](const char* name, const AlignedBlock& image) {
    return folder.write(name,
                        std::string(reinterpret_cast<const char*>(image.data()), image.size()));
  };
  const tools::LoadedModel loaded(write("m.thimble", m.image));
  thimble_config config{};
  const auto rule =
      tools::load_rule(write("m.rule", choice.image), loaded, THIMBLE_RULES_CONFIDENCE, &config);
  const tools::Session session(loaded, config);
  tools::Answer a = {"is it", "yes", "", false, 0};
  tools::answer(session, loaded, rule.get(), &a);
  CHECK(a.has_ended);
  CHECK(choice.accepts(a.found));
  CHECK(a.confidence > 0);
  CHECK(a.confidence < 1);
  // The same again, and the next sentence begins anew.
  tools::Answer again = {"is it", "yes", "", false, 0}, other = {"was it", "yes", "", false, 0};
  tools::answer(session, loaded, rule.get(), &other);
  tools::answer(session, loaded, rule.get(), &again);
  CHECK(again.found == a.found);
  CHECK(again.confidence == a.confidence);
  CHECK(other.confidence != a.confidence);
  // A random model hardly ends by itself.
  tools::answer(session, loaded, nullptr, &a);
  CHECK_FALSE(a.has_ended);
  CHECK(thimble_room(session) == 0);
  CHECK(a.confidence == 0.0f);
  const std::string refusal = refusal_when([&] {
    tools::Answer longer = {std::string(60, 'q'), "", "", false, 0};
    tools::answer(session, loaded, rule.get(), &longer);
  });
  CHECK(refusal.find("the context of") != refusal.npos);
}
