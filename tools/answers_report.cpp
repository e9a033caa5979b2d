// SPDX-License-Identifier: MIT
#include "answers_report.h"

#include "error.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

// What most commands that were answered right should pass.
constexpr double kWantedShare = 0.97;
constexpr double kThresholds[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99};

double percent(size_t part, size_t all) {
  return all == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(all);
}

// How many pass a threshold.
struct Row {
  double threshold;
  size_t right, wrong, none;
};
Row row_of(const Verdicts& v, double threshold) {
  return {threshold, passing(v.right, threshold), passing(v.wrong, threshold),
          passing(v.none, threshold)};
}

std::string row_text(const Verdicts& v, const Row& row) {
  const size_t commands = row.right + row.wrong;
  return format("%-10.6g %9.2f %9.2f %9.2f %11.2f %11.2f\n", row.threshold,
                percent(row.right, v.n_right), percent(row.wrong, v.n_wrong),
                percent(v.n_none - row.none, v.n_none), percent(commands, v.n_right + v.n_wrong),
                percent(row.right, commands));
}

std::string row_json(const Verdicts& v, const Row& row) {
  const size_t commands = row.right + row.wrong;
  return format(
      "{\"threshold\": %.6f, \"right\": %.4f, \"wrong\": %.4f, \"refused\": %.4f, "
      "\"pass\": %.4f, \"exact\": %.4f}",
      row.threshold, percent(row.right, v.n_right), percent(row.wrong, v.n_wrong),
      percent(v.n_none - row.none, v.n_none), percent(commands, v.n_right + v.n_wrong),
      percent(row.right, commands));
}

std::string thresholds_text(const AnswersReport& r) {
  const Verdicts& v = r.score.verdicts;
  std::string out = format(
      "\n%zu commands were answered right, %zu wrong; %zu sentences are none.\n"
      "At or above a confidence, percent: of the right ones pass; of the wrong ones; of those that "
      "are\nnone are refused; of all commands pass; of these are right.\n"
      "confidence     right     wrong   refused        pass       exact\n",
      v.n_right, v.n_wrong, v.n_none);
  for (const double threshold : kThresholds) out += row_text(v, row_of(v, threshold));
  if (r.threshold >= 0) out += "--threshold\n" + row_text(v, row_of(v, r.threshold));
  out += format("%g %% of the right ones pass\n", 100 * kWantedShare);
  return out + row_text(v, row_of(v, threshold_for(v, kWantedShare)));
}

bool is_wrong(const Answer& a) {
  return !a.has_ended || a.found != a.expected;
}

}  // namespace

std::string answers_text(const AnswersReport& r) {
  const AnswerScore& s = r.score;
  std::string out;
  if (r.shows_wrong) {
    for (const Answer& a : r.answers) {
      if (!is_wrong(a)) continue;
      out += a.sentence + "\n  expected   " + a.expected + "\n  found      " + a.found +
             (a.has_ended ? "" : " (not ended)") + "\n";
      if (r.has_rule) out += format("  confidence %.6f\n", static_cast<double>(a.confidence));
    }
    if (!out.empty()) out += "\n";
  }
  out += format("sentences      %zu\nexact          %.2f %%\n", s.n, percent(s.exact, s.n));
  if (s.n_intent > 0) out += format("intent         %.2f %%\n", percent(s.intent, s.n_intent));
  out += format("ended          %.2f %%\nsentences/s    %.0f\n", percent(s.ended, s.n),
                static_cast<double>(s.n) / r.seconds);
  if (s.n_intent > 0) out += "\nexpected intent            sentences   exact %  intent %\n";
  for (const IntentScore& i : s.intents) {
    out += format("%-26s %9zu %9.2f %9.2f\n", i.name.c_str(), i.n, percent(i.exact, i.n),
                  percent(i.intent, i.n));
  }
  if (r.has_rule) out += thresholds_text(r);
  return out;
}

std::string answers_json(const AnswersReport& r) {
  const AnswerScore& s = r.score;
  std::string out = format("{\"sentences\": %zu, \"exact\": %.4f, ", s.n, percent(s.exact, s.n));
  if (s.n_intent > 0) out += format("\"intent\": %.4f, ", percent(s.intent, s.n_intent));
  out += format("\"ended\": %.4f, \"sentences_per_second\": %.1f", percent(s.ended, s.n),
                static_cast<double>(s.n) / r.seconds);
  const char* comma = "";
  if (s.n_intent > 0) {
    out += ",\n \"intents\": [";
    for (const IntentScore& i : s.intents) {
      out += format("%s\n  {\"name\": %s, \"sentences\": %zu, \"exact\": %.4f, \"intent\": %.4f}",
                    comma, json_string(i.name).c_str(), i.n, percent(i.exact, i.n),
                    percent(i.intent, i.n));
      comma = ",";
    }
    out += "]";
  }
  if (r.has_rule) {
    const Verdicts& v = s.verdicts;
    out += format(",\n \"commands_right\": %zu, \"commands_wrong\": %zu, \"none\": %zu", v.n_right,
                  v.n_wrong, v.n_none);
    out += ",\n \"thresholds\": [";
    comma = "";
    for (const double threshold : kThresholds) {
      out += std::string(comma) + "\n  " + row_json(v, row_of(v, threshold));
      comma = ",";
    }
    out += "]";
    if (r.threshold >= 0) out += ",\n \"given\": " + row_json(v, row_of(v, r.threshold));
    out += ",\n \"chosen\": " + row_json(v, row_of(v, threshold_for(v, kWantedShare)));
  }
  if (r.shows_wrong) {
    out += ",\n \"wrong\": [";
    comma = "";
    for (size_t i = 0; i < r.answers.size(); ++i) {
      const Answer& a = r.answers[i];
      if (!is_wrong(a)) continue;
      out += format(
          "%s\n  {\"line\": %zu, \"sentence\": %s, \"expected\": %s, \"found\": %s, "
          "\"ended\": %s, \"confidence\": %.9g}",
          comma, i + 1, json_string(a.sentence).c_str(), json_string(a.expected).c_str(),
          json_string(a.found).c_str(), a.has_ended ? "true" : "false",
          static_cast<double>(a.confidence));
      comma = ",";
    }
    out += "]";
  }
  return out + "}\n";
}

}  // namespace thimble::tools
