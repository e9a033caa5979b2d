// SPDX-License-Identifier: MIT
#include "field_options.h"

#include <string>

#include "error.h"
#include "json_reader.h"

namespace thimble::tools {
namespace {

// A number, or the word `none` where that is not null, which stands for 0.
struct NumberRow {
  const char* name;
  std::optional<float> ReadOptions::*field;
  double low, high;  // as a header may have it: src/header.cpp
  const char* none;
};
constexpr NumberRow kNumbers[] = {
    {"--rope-theta", &ReadOptions::rope_theta, 1, 1e12, nullptr},
    {"--norm-eps", &ReadOptions::norm_eps, 1e-12, 1, nullptr},
    {"--score-scale", &ReadOptions::score_scale, 1e-6, 1e6, nullptr},
    {"--embedding-scale", &ReadOptions::embedding_scale, 1e-6, 1e6, nullptr},
    {"--logit-scale", &ReadOptions::logit_scale, 1e-6, 1e6, nullptr},
    {"--logit-cap", &ReadOptions::logit_cap, 1e-6, 1e6, "none"},
};

struct CountRow {
  const char* name;
  std::optional<uint32_t> ReadOptions::*field;
  uint32_t low, high;
  const char* none;
};
constexpr CountRow kCounts[] = {
    {"--heads", &ReadOptions::n_heads, 1, kMaxHeads, nullptr},
    {"--kv-heads", &ReadOptions::n_kv_heads, 1, kMaxHeads, nullptr},
    {"--ctx", &ReadOptions::n_ctx, 1, kMaxContext, nullptr},
    {"--rotary-dim", &ReadOptions::rotary_dim, 2, kMaxHeadDim, nullptr},
    {"--window", &ReadOptions::window, 1, kMaxContext, "none"},
};

// Words for the values of an enumeration, 0 and up. A field may be a bool: no, yes.
struct WordRow {
  const char* name;
  std::vector<const char*> words;
  void (*set)(uint32_t value, ReadOptions* read, VocabularyOptions* vocabulary);
};
const std::vector<WordRow>& word_rows() {
  using R = ReadOptions;
  using V = VocabularyOptions;
  static const std::vector<WordRow> rows = {
      {"--activation",
       {"silu", "gelu_new", "gelu", "relu"},
       [](uint32_t x, R* r, V*) { r->activation = static_cast<ActivationType>(x); }},
      {"--rope-pairs",
       {"neighbours", "halves"},
       [](uint32_t x, R* r, V*) { r->rope_pairs = static_cast<RopePairs>(x); }},
      {"--parallel", {"no", "yes"}, [](uint32_t x, R* r, V*) { r->parallel = x == 1; }},
      {"--space-prefix", {"no", "yes"}, [](uint32_t x, R*, V* v) { v->add_space_prefix = x == 1; }},
      {"--add-bos", {"no", "yes"}, [](uint32_t x, R*, V* v) { v->add_bos = x == 1; }},
      {"--ignore-merges", {"no", "yes"}, [](uint32_t x, R*, V* v) { v->ignore_merges = x == 1; }},
      {"--fillers", {"no", "yes"}, [](uint32_t x, R*, V* v) { v->has_fillers = x == 1; }},
      {"--pre-tokenizer",
       {"gpt2", "llama3", "qwen2", "smollm"},
       [](uint32_t x, R*, V* v) { v->pre_tokenizer = static_cast<PreTokenizer>(x + 1); }},
  };
  return rows;
}

constexpr const char* kIds[] = {"--bos", "--eos"};

[[noreturn]] void wrong(const char* name, const std::string& found, const std::string& expected) {
  throw WrongUsage(std::string("option '") + name + "' is '" + found + "', expected " + expected);
}

bool is_none(const Args& args, const char* name, const char* none) {
  return none && args.text(name, "") == none;
}

void set_words(const Args& args, ReadOptions* read, VocabularyOptions* vocabulary) {
  for (const WordRow& row : word_rows()) {
    if (!args.has(row.name)) continue;
    const std::string found = args.text(row.name, "");
    std::string expected;
    uint32_t value = 0;
    while (value < row.words.size() && found != row.words[value]) {
      const bool is_last = value + 1 == row.words.size();
      expected += (value == 0 ? "" : is_last ? " or " : ", ") + std::string(row.words[value]);
      ++value;
    }
    if (value == row.words.size()) wrong(row.name, found, expected);
    row.set(value, read, vocabulary);
  }
}

// A token id, or -1 for none.
std::optional<int32_t> id_of(const Args& args, const char* name) {
  if (!args.has(name)) return std::nullopt;
  if (args.text(name, "") == "-1") return -1;
  return static_cast<int32_t>(args.count(name, 0, 0, kMaxVocab - 1));
}

}  // namespace

std::vector<Option> with_field_options(std::vector<Option> own) {
  for (const NumberRow& row : kNumbers) own.push_back({row.name, true});
  for (const CountRow& row : kCounts) own.push_back({row.name, true});
  for (const WordRow& row : word_rows()) own.push_back({row.name, true});
  for (const char* name : kIds) own.push_back({name, true});
  own.push_back({"--rope-scaling", true});
  return own;
}

ReadOptions read_options_of(const Args& args) {
  ReadOptions read;
  VocabularyOptions unused;
  for (const NumberRow& row : kNumbers) {
    if (!args.has(row.name)) continue;
    const bool none = is_none(args, row.name, row.none);
    read.*row.field = none ? 0.0f : static_cast<float>(args.real(row.name, 0, row.low, row.high));
  }
  for (const CountRow& row : kCounts) {
    if (!args.has(row.name)) continue;
    const bool none = is_none(args, row.name, row.none);
    read.*row.field = none ? 0u : static_cast<uint32_t>(args.count(row.name, 0, row.low, row.high));
  }
  set_words(args, &read, &unused);
  if (args.has("--rope-scaling")) {
    const std::string text = args.text("--rope-scaling", "");
    try {
      read.rope_scaling = read_json(text, "option '--rope-scaling'");
    } catch (const Refused& refused) {
      throw WrongUsage(refused.what());
    }
    if (!read.rope_scaling->dict()) {
      wrong("--rope-scaling", text, "a dictionary in JSON, as config.json has it");
    }
  }
  return read;
}

VocabularyOptions vocabulary_options_of(const Args& args) {
  VocabularyOptions options;
  ReadOptions unused;
  set_words(args, &unused, &options);
  options.bos_id = id_of(args, kIds[0]);
  options.eos_id = id_of(args, kIds[1]);
  return options;
}

void amend(const VocabularyOptions& options, Vocabulary* v) {
  for (const auto& id : {options.bos_id, options.eos_id}) {
    if (id && *id >= static_cast<int32_t>(v->texts.size())) {
      throw WrongUsage(format("token %d is none of a vocabulary of %zu", *id, v->texts.size()));
    }
  }
  if (v->kind != kTokenizerByteBpe && (options.pre_tokenizer || options.ignore_merges)) {
    throw WrongUsage(
        "options '--pre-tokenizer' and '--ignore-merges' are for byte-level tokenizers, and this "
        "one is none");
  }
  if (options.bos_id) v->bos_id = *options.bos_id;
  if (options.eos_id) v->eos_id = *options.eos_id;
  if (options.add_space_prefix) v->add_space_prefix = *options.add_space_prefix;
  if (options.add_bos) v->add_bos = *options.add_bos;
  if (options.ignore_merges) v->ignore_merges = *options.ignore_merges;
  if (options.pre_tokenizer) v->pre_tokenizer = *options.pre_tokenizer;
}

}  // namespace thimble::tools
