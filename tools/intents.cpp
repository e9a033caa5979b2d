// SPDX-License-Identifier: MIT
// thimble intents: sentences and answers to train a model of commands on, and the rule it keeps to.
#include <cstdio>
#include <string>
#include <vector>

#include "args.h"
#include "error.h"
#include "files.h"
#include "intents/answer_schema.h"
#include "intents/phrases.h"
#include "intents/sentences.h"
#include "train/hashed_text.h"
#include "utf8_text.h"
#include "verbs.h"

namespace thimble::tools {

const char kIntentsHelp[] =
    R"help(usage: thimble intents FILE -o OUT [options]

Writes sentences that people may say, each with a tab and the answer behind it, from a file of
intents: what a device can do and how one asks for it. `thimble train --records answers` learns from
them, and `thimble constrain --schema` makes of the schema a rule for the answers.

  -o OUT               the sentences, one a line
  --schema FILE        the JSON schema of all answers
  --count N            sentences; default 100000
  --held-out           sentences to measure with: of templates that training never sees, half of them
                       with words that it never sees either
  --share S            of templates, and of the words of open lists, that are held out, 0 to 0.5;
                       default 0.1; the same for both
  --none FILE          sentences that are no commands, one a line; may be said several times, with
                       commas between. The share S of them is held out
  --none-share S       of all sentences that are no commands; default 0.2
  --pairs S            that are two commands; default 0.05
  --seed S             default 1

The file, line by line; # begins a comment
  slot NAME: text      what an answer may hold, in the order of its keys: words of the sentence, or
  slot NAME: 0..100    a number, or
  slot NAME: a | b     one of some words
  list NAME: PHRASE    what is said in several places; a line that ends with | goes on
  open NAME: PHRASE    the same, of which training does not see all: names of things
  ways NAME: A | B     phrases of which each, in the place of @NAME, makes a sentence of its own, that
                       is held out or not; may have ways within that stand before
  heard WORD: a | b    what a recogniser takes it for
  intent NAME [N]      then its sentences, a line each; N: drawn so often, default 1. Those of 'none'
                       are no commands
  PHRASE -> SLOT=VALUE, ...
                       a sentence, and what it means without saying it
A phrase: words, (a | 3* b) one of them, [a] said or not, <list>, {slot} the slot's own list, and what
is said there is its value, {slot=list}, {slot=0..100/5} a number; "= VALUE" behind a list's
alternative is its value; <made-up> is a word that nobody knows. The lists before, after and filler are
put around and between, join between two commands, and 'break' has words that no command ends with.

Examples
  thimble intents command.intents -o command.txt --schema command.json --count 1000000
  thimble train command.txt --records answers --vocab-kind bytes --ctx 128 -o command.thimble
  thimble constrain command.thimble --schema command.json -o command.rule
  thimble run command.thimble --constrain command.rule -t 0 -p "$(printf 'lights off\t')"
)help";

namespace {
// Those of the files that belong to this side.
std::vector<std::string> read_others(const std::string& paths, double share, bool held_out) {
  std::vector<std::string> others;
  for (size_t at = 0; at < paths.size();) {
    const size_t comma = std::min(paths.find(',', at), paths.size());
    const std::string path = paths.substr(at, comma - at);
    at = comma + 1;
    const std::string text = read_text(path);
    for (size_t begin = 0, n = 1; begin < text.size(); ++n) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      std::string line = text.substr(begin, end - begin);
      begin = end + 1;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.empty()) continue;
      if (line.find('\t') != std::string::npos || !is_utf8(line)) {
        throw Refused(format("%s: line %zu has a tab or is no UTF-8, expected a sentence a line",
                             path.c_str(), n));
      }
      const double number = static_cast<double>(train::hashed_text(line) >> 11) * 0x1p-53;
      if ((number < share) == held_out) others.push_back(std::move(line));
    }
  }
  return others;
}

}  // namespace

int intents_verb(const Words& words) {
  const Args args(words, {{"-o", true},
                          {"--schema", true},
                          {"--count", true},
                          {"--held-out", false},
                          {"--share", true},
                          {"--none", true},
                          {"--none-share", true},
                          {"--pairs", true},
                          {"--seed", true}});
  const std::string& path = args.one_positional("a file of intents");
  const std::string output = args.text("-o", ""), schema_path = args.text("--schema", "");
  if (output.empty()) throw WrongUsage("option '-o OUT' is missing");
  for (const std::string* written : {&output, &schema_path}) {
    const bool is_output_again = written == &schema_path && same_file(output, schema_path);
    if (same_file(*written, path) || is_output_again) {
      throw WrongUsage("'" + *written +
                       "' would be written over another file, expected another name");
    }
  }
  const double share = args.real("--share", 0.1, 0, 0.5);
  SentenceOptions options;
  options.is_training = !args.has("--held-out");
  options.none = args.real("--none-share", 0.2, 0, 1);
  options.pairs = args.real("--pairs", 0.05, 0, 1 - options.none);
  const uint64_t count = args.count("--count", 100000, 1, 1000000000);
  const uint64_t seed = args.count("--seed", 1, 0, UINT64_MAX);
  const IntentFile file = read_intents(read_text(path), path, share);
  const Sentences sentences(file, read_others(args.text("--none", ""), share, !options.is_training),
                            options);
  OutputFile out(output);
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < count; ++i) {
    // Other sentences than those of the other side.
    const std::string line = sentences.line(2 * seed + !options.is_training, i) + "\n";
    out.write(line.data(), line.size());
    bytes += line.size();
  }
  if (!schema_path.empty()) {
    const std::string schema = answer_schema(file);
    OutputFile schema_file(schema_path);
    schema_file.write(schema.data(), schema.size());
    schema_file.commit();
  }
  out.commit();
  size_t n_templates = 0, n_held_out = 0;
  for (const Intent& intent : file.intents) {
    for (const Template& t : intent.templates) n_held_out += t.is_held_out;
    n_templates += intent.templates.size();
  }
  std::fprintf(stderr,
               "wrote  %s: %llu sentences, %llu bytes; %zu intents, %zu templates, %zu of "
               "them held out\n",
               output.c_str(), static_cast<unsigned long long>(count),
               static_cast<unsigned long long>(bytes), file.intents.size(), n_templates,
               n_held_out);
  return 0;
}

}  // namespace thimble::tools
