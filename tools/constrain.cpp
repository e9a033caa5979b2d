// SPDX-License-Identifier: MIT
// thimble constrain: a rule for what a model may write, compiled for its vocabulary.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "args.h"
#include "constrain/grammar_reader.h"
#include "constrain/regex_reader.h"
#include "constrain/rule_writer.h"
#include "constrain/schema_reader.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "json_reader.h"
#include "rule.h"
#include "size_text.h"
#include "utf8_text.h"
#include "verbs.h"

namespace thimble::tools {

const char kConstrainHelp[] =
    R"(usage: thimble constrain MODEL CHOICE... -o FILE
       thimble constrain MODEL --regex|--schema|--grammar|--choices RULE -o FILE

Compiles a rule for what a model may write, to a file that `thimble run --constrain` and
thimble_session_constrain read in place: an automaton, and the tokens that each of its states allows.
It belongs to the model's vocabulary, so that models that share one share it. What cannot be compiled
is refused, naming the place.

The rule
  CHOICE...            the text is one of these
  --choices FILE       one of the file's lines
  --regex PATTERN      the whole text matches: | ( ) [ ] . * + ? {m,n}, \d \w \s (ASCII), \p{L} \p{N},
                       \n \t \xHH \uHHHH, over Unicode characters
  --schema FILE        JSON of this schema, without spaces, keys in the schema's order: type, enum,
                       const, anyOf, $ref within the file, properties, required,
                       additionalProperties, items, prefixItems, minItems, maxItems, minLength,
                       maxLength, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum
  --grammar FILE       a grammar in GBNF's notation, which begins with root
  --depth N            how often a definition may stand within itself, and how deep values that a
                       schema leaves open nest, 0 to 16; default 3

  -o FILE              the rule's file

Examples
  thimble constrain story.thimble yes no "I do not know" -o answer.rule
  thimble constrain story.thimble --regex "[0-9]{1,2}:[0-5][0-9]( [ap]m)?" -o time.rule
  thimble constrain story.thimble --schema light.json -o light.rule
  thimble run story.thimble -p "Is it day or night? It is " --constrain answer.rule
)";

namespace {

constexpr uint32_t kMaxDepth = 16;

Syntax choices_syntax(const std::vector<std::string>& choices) {
  std::vector<NodePtr> parts;
  parts.reserve(choices.size());
  for (const std::string& choice : choices) parts.push_back(text_node(choice));
  Syntax syntax;
  syntax.root = choice_node(std::move(parts));
  return syntax;
}

std::vector<std::string> lines_of(const std::string& path) {
  const std::string text = read_text(path);
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    size_t last = end;
    if (last > at && text[last - 1] == '\r') --last;
    if (last > at) lines.push_back(text.substr(at, last - at));
    if (last > at && !is_utf8(lines.back())) {
      throw Refused(format("%s: choice %zu is no UTF-8", path.c_str(), lines.size()));
    }
    at = end + 1;
  }
  if (lines.empty()) throw Refused(path + ": has no choices, expected one a line");
  return lines;
}

const char* const kKinds[] = {"--choices", "--regex", "--schema", "--grammar"};

// What the rule is called in messages.
struct Rule {
  Syntax syntax;
  std::string name;
};

Rule read_rule(const Args& args, const std::vector<std::string>& choices) {
  const uint32_t depth = static_cast<uint32_t>(args.count("--depth", 3, 0, kMaxDepth));
  if (args.has("--choices")) {
    const std::string path = args.text("--choices", "");
    return {choices_syntax(lines_of(path)), path};
  }
  if (args.has("--regex")) {
    Rule rule = {{}, "--regex"};
    rule.syntax.root = read_regex(args.text("--regex", ""), rule.name);
    return rule;
  }
  if (args.has("--schema")) {
    const std::string path = args.text("--schema", "");
    return {read_schema(read_json(read_text(path), path), path, depth), path};
  }
  if (args.has("--grammar")) {
    const std::string path = args.text("--grammar", "");
    return {read_grammar(read_text(path), path, depth), path};
  }
  for (const std::string& choice : choices) {
    if (choice.empty() || !is_utf8(choice)) {
      throw WrongUsage("a choice is '" + choice + "', expected a text in UTF-8");
    }
  }
  return {choices_syntax(choices), "the choices"};
}

}  // namespace

int constrain_verb(const Words& words) {
  const Args args(words, {{"--choices", true},
                          {"--regex", true},
                          {"--schema", true},
                          {"--grammar", true},
                          {"--depth", true},
                          {"-o", true}});
  if (args.positional().empty()) throw WrongUsage("expected a model file, found nothing");
  const std::string& model_path = args.positional()[0];
  const std::vector<std::string> choices(args.positional().begin() + 1, args.positional().end());
  for (const char* kind : kKinds) {
    if (!args.has(kind)) continue;
    if (!choices.empty()) {
      throw WrongUsage(std::string("option '") + kind + "' and the choice '" + choices[0] +
                       "' exclude each other: a file has one rule");
    }
    std::vector<const char*> others;
    for (const char* other : kKinds) {
      if (other != kind) others.push_back(other);
    }
    exclude(args, kind, others, "a file has one rule");
  }
  if (choices.empty() && !args.has("--choices") && !args.has("--regex") && !args.has("--schema") &&
      !args.has("--grammar")) {
    throw WrongUsage("expected choices, --choices, --regex, --schema or --grammar, found no rule");
  }
  if (args.has("--depth") && !args.has("--schema") && !args.has("--grammar")) {
    throw WrongUsage("option '--depth' needs '--schema' or '--grammar'");
  }
  const std::string output = args.text("-o", "");
  if (output.empty()) throw WrongUsage("option '-o FILE' is missing");
  if (same_file(output, model_path)) {
    throw WrongUsage("'-o " + output + "' would overwrite the model, expected another name");
  }

  const Stopwatch watch;
  const Rule rule = read_rule(args, choices);
  const LoadedModel loaded(model_path);
  const ImageInMemory image = [&] {
    try {
      return build_rule(rule.syntax, loaded.model());
    } catch (const Refused& refused) {
      throw Refused(rule.name + ": " + refused.what());
    }
  }();
  OutputFile file(output);
  file.write(image.data(), image.bytes);
  file.commit();
  const RuleHeader& h = *reinterpret_cast<const RuleHeader*>(image.data());
  std::fprintf(stderr, "wrote  %s: a rule of %u states for %u tokens, %s, compiled in %.2f s\n",
               output.c_str(), h.n_states, h.vocab_size, size_text(image.bytes).c_str(),
               watch.seconds());
  return 0;
}

}  // namespace thimble::tools
