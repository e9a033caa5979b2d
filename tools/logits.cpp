// SPDX-License-Identifier: MIT
// thimble logits: what a model says at every position, to hold beside the framework it comes from.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "json_string.h"
#include "model.h"
#include "odd_text.h"
#include "output.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {

const char kLogitsHelp[] =
    R"(usage: thimble logits MODEL --tokens IDS | -p TEXT [options]

Computes the logits of every position, to compare them with those of the program that the model was
trained with. Without --json: a line for each of the likeliest tokens, with its id, text, logit and
probability.

  --tokens IDS         ids separated by commas: 1,17,5; exactly these
  -p TEXT              a text, the beginning-of-text token first if the model has one; `-p -` reads
                       stdin
  --top K              the K likeliest tokens of each position; default 5
  --json               {"tokens":[...],"logits":[[...],...]}, all logits with 9 significant digits
  --kv f32|q8          how keys and values are cached; default f32

Examples
  thimble logits model.thimble --tokens 1,17,5 --json >logits.json
  thimble logits story.thimble -p "Once upon a" --top 3
)";

namespace {

std::vector<int32_t> parse_tokens(const std::string& list, const thimble_model& model) {
  std::vector<int32_t> tokens;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const std::string word = list.substr(at, end - at);
    const bool is_number = !word.empty() && word.size() <= 9 &&
                           word.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number) {
      throw WrongUsage("option '--tokens' has '" + word +
                       "' in it, expected token ids separated by commas, as in 1,17,5");
    }
    tokens.push_back(std::stoi(word));
    if (static_cast<uint32_t>(tokens.back()) >= model.vocab_size) {
      throw Refused(format("option '--tokens': found token %d, the model has 0 to %u",
                           tokens.back(), model.vocab_size - 1));
    }
    at = end + 1;
  }
  return tokens;
}

// 9 digits tell every float apart from all others.
void print_json_row(const float* logits, uint32_t n) {
  std::string row = "[";
  for (uint32_t i = 0; i < n; ++i) {
    row += format("%s%.9g", i ? "," : "", static_cast<double>(logits[i]));
  }
  print_text(row + "]");
}

// The text of a token as a string in quotes; "" without a tokenizer.
std::string token_text(const thimble_model& model, int32_t id) {
  if (header_of(model).tokenizer == kTokenizerNone) return "";
  const uint32_t* offsets = table_of<uint32_t>(model, kTokenOffsets) + id;
  return json_string(
      std::string(table_of<char>(model, kTokenBytes) + offsets[0], offsets[1] - offsets[0]));
}

void print_top(const thimble_model& model, const float* logits, uint32_t top) {
  const uint32_t n = model.vocab_size;
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  // Of equal ones the lowest id first.
  std::partial_sort(order.begin(), order.begin() + top, order.end(), [&](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (!(logits[a] < logits[b]) && a < b);
  });
  const double max = static_cast<double>(logits[order[0]]);
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - max);
  for (uint32_t i = 0; i < top; ++i) {
    const double logit = static_cast<double>(logits[order[i]]);
    print_text(
        format("  %6d  %12.6f  %8.4f %%  ", order[i], logit, 100 * std::exp(logit - max) / sum) +
        token_text(model, order[i]) + "\n");
  }
}

}  // namespace

int logits_verb(const Words& words) {
  const Args args(
      words,
      {{"--tokens", true}, {"-p", true}, {"--top", true}, {"--json", false}, {"--kv", true}});
  const std::string& path = args.one_positional("a model file");
  if (args.has("--tokens") == args.has("-p")) {
    throw WrongUsage("expected either --tokens IDS or -p TEXT");
  }
  if (args.has("--json") && args.has("--top")) {
    throw WrongUsage("options '--json' and '--top' exclude each other: JSON has all logits");
  }
  const LoadedModel loaded(path);
  const thimble_model& model = loaded.model();
  const std::string isa = chosen_isa();
  thimble_config config = {};
  config.isa = isa.empty() ? nullptr : isa.c_str();
  config.kv_type = kv_type_of(args);
  const Session session(loaded, config);

  std::vector<int32_t> tokens;
  if (args.has("--tokens")) {
    tokens = parse_tokens(args.text("--tokens", ""), model);
    const uint32_t room = thimble_context_size(session);
    if (tokens.size() > room) {
      throw Refused(format("option '--tokens': found %zu tokens, the context of %s holds %u",
                           tokens.size(), path.c_str(), room));
    }
  } else {
    std::string text = args.text("-p", "");
    if (text == "-") note_oddities(text = read_text("-"), "stdin");
    tokens = encode_prompt(session, loaded, text, true);
  }

  const bool json = args.has("--json");
  const uint32_t top = static_cast<uint32_t>(
      args.count("--top", std::min(5u, model.vocab_size), 1, model.vocab_size));
  if (json) {
    print_text("{\"tokens\":[");
    for (size_t i = 0; i < tokens.size(); ++i) {
      print_text((i ? "," : "") + std::to_string(tokens[i]));
    }
    print_text("],\"logits\":[");
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    compute(session, &tokens[i], 1);
    naming(path, [&] { require_finite(session); });
    const float* logits = thimble_logits(session);
    if (json) {
      if (i > 0) print_text(",\n");
      print_json_row(logits, model.vocab_size);
    } else {
      const std::string text = token_text(model, tokens[i]);
      print_text(format("position %zu, token %d", i, tokens[i]) + (text.empty() ? "" : " " + text) +
                 "\n");
      print_top(model, logits, top);
    }
  }
  if (json) print_text("]}\n");
  return 0;
}

}  // namespace thimble::tools
