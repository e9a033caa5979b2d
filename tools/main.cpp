// SPDX-License-Identifier: MIT
// The program `thimble <verb>`: finds the verb, prints what it throws, sets the exit code.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "args.h"
#include "error.h"
#include "interrupt.h"
#include "output.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {
namespace {

struct Verb {
  const char* name;
  int (*run)(const Words& words);
  const char* help;
  const char* summary;
};

const Verb kVerbs[] = {
    {"run", run_verb, kRunHelp, "continue a text"},
    {"chat", chat_verb, kChatHelp, "talk with an instruction model in turns"},
    {"constrain", constrain_verb, kConstrainHelp, "compile a rule for what a model may write"},
    {"convert", convert_verb, kConvertHelp, "turn a checkpoint into a model file"},
    {"embed", embed_verb, kEmbedHelp, "turn a model file into C, assembler or an object to link"},
    {"export", export_verb, kExportHelp, "write a model as GGUF, for larger machines"},
    {"inspect", inspect_verb, kInspectHelp, "show what a model file holds"},
    {"intents", intents_verb, kIntentsHelp, "write sentences and answers to train commands on"},
    {"merge", merge_verb, kMergeHelp, "turn a model and its adapter into one model file"},
    {"plan", plan_verb, kPlanHelp, "tell the flash and RAM that a model takes"},
    {"eval", eval_verb, kEvalHelp, "measure how well a model predicts a text"},
    {"bench", bench_verb, kBenchHelp, "measure speed beside this machine's limits"},
    {"tokens", tokens_verb, kTokensHelp, "show what a tokenizer makes of a text"},
    {"logits", logits_verb, kLogitsHelp, "show what a model says at every position"},
    {"trace", trace_verb, kTraceHelp, "show what a model attends to, as a page or numbers"},
    {"train", train_verb, kTrainHelp, "make a model from texts"},
    {"pack", pack_verb, kPackHelp, "make a text small, by the model that predicts it"},
    {"unpack", unpack_verb, kUnpackHelp, "give a packed text back"},
};

std::string usage() {
  std::string text = "usage: thimble VERB ...\n\n";
  for (const Verb& verb : kVerbs) text += format("  %-9s %s\n", verb.name, verb.summary);
  return text + "\nthimble VERB --help tells more, with examples; thimble --version.\n";
}

const Verb* find_verb(const std::string& name) {
  for (const Verb& verb : kVerbs) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

bool asks_for_help(const Words& words) {
  for (const std::string& word : words) {
    if (word == "--") return false;
    if (word == "--help" || word == "-h") return true;
  }
  return false;
}

int dispatch(const Words& words) {
  if (words.empty()) {
    std::fprintf(stderr, "%s", usage().c_str());
    return 2;
  }
  const std::string& name = words[0];
  if (name == "--version") {
    print_text("thimble " THIMBLE_VERSION "\n");
    return 0;
  }
  if (name == "--help" || name == "-h" || (name == "help" && words.size() == 1)) {
    print_text(usage());
    return 0;
  }
  // `thimble help run` means `thimble run --help`.
  const bool help_first = name == "help";
  const std::string& verb_name = help_first ? words[1] : name;
  const Verb* verb = find_verb(verb_name);
  if (!verb) {
    std::vector<std::string> names = {"--help", "--version"};
    for (const Verb& each : kVerbs) names.push_back(each.name);
    const std::string guess = nearest(verb_name, names);
    std::fprintf(stderr, "thimble: unknown %s '%s'%s\nsee thimble --help\n",
                 verb_name[0] == '-' ? "option" : "verb", verb_name.c_str(),
                 guess.empty() ? "" : ("; did you mean '" + guess + "'?").c_str());
    return 2;
  }
  const Words rest(words.begin() + 1, words.end());
  if (help_first || asks_for_help(rest)) {
    print_text(verb->help);
    return 0;
  }
  try {
    return verb->run(rest);
  } catch (const WrongUsage& wrong) {
    std::fprintf(stderr, "thimble: %s\nsee thimble %s --help\n", printable(wrong.what()).c_str(),
                 verb->name);
    return 2;
  }
}

// A file opened later must not get the number of a standard stream that the caller closed. Reading
// only, so that writing to a closed stdout is an error.
void occupy_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) != fd) return;
  }
}

int guarded(const Words& words) {
  try {
    const int code = dispatch(words);
    finish_stdout();
    return code;
  } catch (const ClosedOutput&) {
    return 0;  // the reader has what it wanted
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "thimble: out of memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "thimble: %s\n", printable(error.what()).c_str());
  } catch (...) {
    std::fprintf(stderr, "thimble: failed for an unknown reason\n");
  }
  return 1;
}

}  // namespace
}  // namespace thimble::tools

int main(int argc, char** argv) {
  thimble::tools::occupy_standard_streams();
  // A closed stdout and a file beyond `ulimit -f` become error codes where they are written.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  const int code = thimble::tools::guarded({argv + (argc > 0 ? 1 : 0), argv + argc});
  if (code > thimble::tools::kInterruptedCode) {
    const int signal = code - thimble::tools::kInterruptedCode;
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  return code;
}
