// SPDX-License-Identifier: MIT
// How often a model answers as expected, and what its confidence is worth.
#ifndef THIMBLE_TOOLS_ANSWERS_H
#define THIMBLE_TOOLS_ANSWERS_H

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "args.h"
#include "engine.h"
#include "rule_file.h"

namespace thimble::tools {

// A line of the file, and what the model made of its sentence.
struct Answer {
  std::string sentence, expected;
  std::string found;
  bool has_ended = false;
  float confidence = 0;  // 0 without a rule
};

// SENTENCE<tab>ANSWER a line. Throws Refused, naming the file and the line that is none.
std::vector<Answer> read_answers(std::string_view text, const std::string& path);

// The greedy answer to a sentence and a tab, until its end or that of the context; under the rule,
// if there is one, with the end in its confidence. Throws Refused, or NotFinite.
void answer(thimble_session* session, const LoadedModel& loaded, const LoadedRule* rule,
            Answer* answer);

// The intents of an answer, {"intent": ...} or a list of such, with a plus between them; "" if it
// is something else.
std::string intents_of(const std::string& answer);

constexpr const char* kNoIntent = "none";  // {"intent":"none"}: no command

struct IntentScore {
  std::string name;  // as expected
  size_t n = 0, exact = 0, intent = 0;
};

// What an answer's confidence tells its reader to do with it. One that is none asks for nothing, so
// only others pass, with a confidence at or above the threshold.
struct Verdicts {
  std::vector<float> right, wrong, none;  // confidences of those that can pass: commands answered
                                          // exactly, otherwise, and what should have been none
  size_t n_right = 0, n_wrong = 0, n_none = 0;  // with those that cannot
};

struct AnswerScore {
  size_t n = 0, exact = 0, ended = 0;
  size_t n_intent = 0, intent = 0;  // of those whose expected answer has one
  std::vector<IntentScore> intents;
  Verdicts verdicts;
};
AnswerScore score_of(const std::vector<Answer>& answers);

// How many of those pass.
size_t passing(const std::vector<float>& confidences, double threshold);

// The highest threshold, of six decimals, that `share` of the commands answered right pass; 0 if
// there is none.
double threshold_for(const Verdicts& verdicts, double share);

// thimble eval MODEL FILE --answers; returns the exit code.
int eval_answers(const Args& args);

}  // namespace thimble::tools

#endif
