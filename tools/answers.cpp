// SPDX-License-Identifier: MIT
// thimble eval --answers: sentences with their answers, as a model for commands learns them.
#include "answers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "adapter_file.h"
#include "answers_report.h"
#include "error.h"
#include "files.h"
#include "interrupt.h"
#include "json_reader.h"
#include "odd_text.h"
#include "output.h"
#include "progress.h"
#include "utf8_text.h"

namespace thimble::tools {

std::vector<Answer> read_answers(std::string_view text, const std::string& path) {
  std::vector<Answer> answers;
  while (!text.empty()) {
    const size_t line_end = text.find('\n');
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(line_end == text.npos ? text.size() : line_end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const size_t n_tabs = static_cast<size_t>(std::count(line.begin(), line.end(), '\t'));
    if (n_tabs != 1) {
      throw Refused(format("%s:%zu: found %zu tabs, expected SENTENCE, one tab, ANSWER",
                           path.c_str(), answers.size() + 1, n_tabs));
    }
    if (!is_utf8(line)) {
      throw Refused(format("%s:%zu: is no UTF-8", path.c_str(), answers.size() + 1));
    }
    const size_t tab = line.find('\t');
    answers.emplace_back();
    answers.back().sentence = line.substr(0, tab);
    answers.back().expected = line.substr(tab + 1);
  }
  if (answers.empty()) throw Refused(path + ": is empty, expected lines of SENTENCE, tab, ANSWER");
  return answers;
}

void answer(thimble_session* session, const LoadedModel& loaded, const LoadedRule* rule,
            Answer* answer) {
  const thimble_model& model = loaded.model();
  checked(thimble_rewind(session, 0), "rewind");
  checked(thimble_session_constrain(session, nullptr), "rule");
  const std::vector<int32_t> prompt = encode_prompt(session, loaded, answer->sentence + "\t", true);
  compute(session, prompt.data(), prompt.size());
  if (rule) use_rule(session, rule);
  // The answer is no text's beginning, whose space would be dropped.
  thimble_decoder decoder{};
  decoder.started = 1;
  std::vector<char> text(3 * model.max_token_bytes + 3);
  answer->found.clear();
  for (;;) {
    const int32_t token = draw_token(session, thimble_sampling{});
    answer->has_ended = thimble_is_end(&model, token) != 0;
    if (thimble_room(session) == 0) break;
    if (answer->has_ended) {
      checked(thimble_feed(session, &token, 1), "feed");  // for the confidence; nothing is computed
      break;
    }
    const int32_t n = thimble_decode(&model, &decoder, token, text.data(), text.size());
    answer->found.append(text.data(), static_cast<size_t>(checked(n, "text of a token")));
    compute(session, &token, 1);
  }
  const int32_t n = thimble_decode_end(&decoder, text.data(), text.size());
  answer->found.append(text.data(), static_cast<size_t>(checked(n, "end of a text")));
  answer->confidence = thimble_session_confidence(session);
}

std::string intents_of(const std::string& answer) {
  Value value;
  try {
    value = read_json(answer, "answer");
  } catch (const Refused&) {
    return "";
  }
  const Value::List one = {value};
  std::string intents;
  for (const Value& each : value.list() ? *value.list() : one) {
    const Value* intent = each.find("intent");
    if (!intent || !intent->string()) return "";
    intents += (intents.empty() ? "" : "+") + *intent->string();
  }
  return intents;
}

AnswerScore score_of(const std::vector<Answer>& answers) {
  AnswerScore score;
  for (const Answer& a : answers) {
    const std::string expected = intents_of(a.expected), found = intents_of(a.found);
    const bool is_exact = a.has_ended && a.found == a.expected;
    ++score.n;
    score.exact += is_exact;
    score.ended += a.has_ended;
    if (!expected.empty()) {
      // Those of two commands are many, and each of them rare.
      const std::string name = expected.find('+') == expected.npos ? expected : "several";
      const auto same = [&](const IntentScore& other) { return other.name == name; };
      auto at = std::find_if(score.intents.begin(), score.intents.end(), same);
      if (at == score.intents.end()) at = score.intents.insert(at, IntentScore{name});
      ++at->n;
      at->exact += is_exact;
      at->intent += found == expected;
      ++score.n_intent;
      score.intent += found == expected;
    }
    Verdicts& v = score.verdicts;
    const bool is_none = expected == kNoIntent;
    ++(is_none ? v.n_none : is_exact ? v.n_right : v.n_wrong);
    if (found == kNoIntent) continue;
    (is_none ? v.none : is_exact ? v.right : v.wrong).push_back(a.confidence);
  }
  std::sort(score.intents.begin(), score.intents.end(),
            [](const IntentScore& a, const IntentScore& b) { return a.name < b.name; });
  return score;
}

size_t passing(const std::vector<float>& confidences, double threshold) {
  const float least = static_cast<float>(threshold);  // as firmware compares them
  return static_cast<size_t>(
      std::count_if(confidences.begin(), confidences.end(), [&](float c) { return c >= least; }));
}

double threshold_for(const Verdicts& verdicts, double share) {
  std::vector<float> right = verdicts.right;
  if (right.empty()) return 0;
  std::sort(right.begin(), right.end());
  const double above = std::ceil(share * static_cast<double>(right.size()));
  const size_t place = right.size() - static_cast<size_t>(above);
  return std::floor(static_cast<double>(right[place]) * 1e6) / 1e6;
}

int eval_answers(const Args& args) {
  exclude(args, "--answers", {"--limit", "--sinks", "--recompute"},
          "it is whole answers that count");
  const double threshold = args.real("--threshold", -1, 0, 1);
  if (args.has("--threshold") && !args.has("--constrain")) {
    throw WrongUsage("option '--threshold' needs '--constrain', which gives a confidence");
  }
  thimble_config config{};
  config.n_ctx = static_cast<uint32_t>(args.count("--ctx", 0, 2, UINT32_MAX));
  config.kv_type = kv_type_of(args);
  config.n_batch = 16;
  const std::string isa = chosen_isa();
  config.isa = isa.c_str();

  const LoadedModel loaded(args.positional()[0]);
  const MappedFile file(args.positional()[1]);
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  note_oddities(text, file.path());
  std::vector<Answer> answers = read_answers(text, file.path());
  const std::unique_ptr<LoadedAdapter> adapter =
      load_adapter(args.text("--lora", ""), loaded, &config);
  const std::unique_ptr<LoadedRule> rule =
      load_rule(args.text("--constrain", ""), loaded, THIMBLE_RULES_CONFIDENCE, &config);
  const Session session(loaded, config);
  if (adapter) use_adapter(session, *adapter);
  const Interrupt interrupt;
  const Stopwatch watch;
  const size_t n = answers.size();
  size_t done = 0;
  {
    Progress bar("eval");
    for (; done < n && interrupt.signal() == 0; ++done) {
      bar.show(static_cast<double>(done) / static_cast<double>(n));
      try {
        naming(loaded.path(), [&] { answer(session, loaded, rule.get(), &answers[done]); });
      } catch (const Refused& error) {
        throw Refused(format("%s:%zu: ", file.path().c_str(), done + 1) + error.what());
      }
    }
  }
  answers.resize(done);
  const AnswersReport report = {answers,         score_of(answers), watch.seconds(),
                                rule != nullptr, threshold,         args.has("--wrong")};
  print_text(args.has("--json") ? answers_json(report) : answers_text(report));
  if (done < n) std::fprintf(stderr, "interrupted: those were %zu of %zu sentences\n", done, n);
  return exit_code(interrupt);
}

}  // namespace thimble::tools
