// SPDX-License-Identifier: MIT
// What --help says of options is what each verb takes.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "error.h"
#include "verbs.h"

using namespace thimble::tools;

namespace {

struct Described {
  std::string option;
  bool takes_value;
};

// `  --batch B            tokens in one pass`, `  -o OUT, --output OUT`: what lines begin with.
std::vector<Described> described_in(const std::string& help) {
  std::vector<Described> all;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, 3, "  -") != 0) continue;
    for (size_t at = 2; at < line.size() && line[at] == '-';) {
      const size_t end = std::min(line.find_first_of(" ,", at), line.size());
      const bool takes_value = end + 1 < line.size() && line[end] == ' ' && line[end + 1] != ' ';
      all.push_back({line.substr(at, end - at), takes_value});
      const size_t next = line.find(", -", end);
      const size_t text = line.find("  ", end);
      at = next < text ? next + 2 : line.size();
    }
  }
  return all;
}

// The option that a verb does not know among these words, or "".
std::string unknown_option(int (*verb)(const Words&), const Words& words) {
  try {
    verb(words);
  } catch (const WrongUsage& wrong) {
    const std::string what = wrong.what();
    const size_t at = what.find("unknown option '");
    if (at != std::string::npos) return what.substr(at + 16, what.find('\'', at + 16) - at - 16);
  }
  return "";
}

}  // namespace

TEST_CASE("every option that --help describes is described once, and taken") {
  const struct {
    const char* name;
    int (*run)(const Words&);
    const char* help;
  } verbs[] = {
      {"run", run_verb, kRunHelp},
      {"chat", chat_verb, kChatHelp},
      {"constrain", constrain_verb, kConstrainHelp},
      {"convert", convert_verb, kConvertHelp},
      {"embed", embed_verb, kEmbedHelp},
      {"export", export_verb, kExportHelp},
      {"inspect", inspect_verb, kInspectHelp},
      {"intents", intents_verb, kIntentsHelp},
      {"merge", merge_verb, kMergeHelp},
      {"plan", plan_verb, kPlanHelp},
      {"eval", eval_verb, kEvalHelp},
      {"bench", bench_verb, kBenchHelp},
      {"tokens", tokens_verb, kTokensHelp},
      {"logits", logits_verb, kLogitsHelp},
      {"trace", trace_verb, kTraceHelp},
      {"train", train_verb, kTrainHelp},
      {"pack", pack_verb, kPackHelp},
      {"unpack", unpack_verb, kUnpackHelp},
  };
  for (const auto& verb : verbs) {
    CAPTURE(verb.name);
    std::set<std::string> seen;
    for (const Described& described : described_in(verb.help)) {
      CAPTURE(described.option);
      CHECK_MESSAGE(seen.insert(described.option).second, "described twice");
      // The one behind it is no option: a verb that knows the first stops there.
      Words words = {described.option};
      if (described.takes_value) words.push_back("1");
      words.push_back("--no-such-option");
      CHECK(unknown_option(verb.run, words) == "--no-such-option");
    }
  }
}
