// SPDX-License-Identifier: MIT
// The tokenizer of a GGUF file: SentencePiece's BPE ("llama") or byte-level BPE ("gpt2").
#include <algorithm>
#include <string>
#include <vector>

#include "error.h"
#include "readers/gguf.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

struct Name {
  const char* name;
  PreTokenizer kind;
};

// llama.cpp has a name for each family of models; many cut words alike.
constexpr Name kPreTokenizers[] = {
    {"gpt-2", kPreTokenizerGpt2},       {"gpt2", kPreTokenizerGpt2},
    {"phi-2", kPreTokenizerGpt2},       {"mpt", kPreTokenizerGpt2},
    {"olmo", kPreTokenizerGpt2},        {"llama-bpe", kPreTokenizerLlama3},
    {"llama3", kPreTokenizerLlama3},    {"llama-v3", kPreTokenizerLlama3},
    {"smaug-bpe", kPreTokenizerLlama3}, {"dbrx", kPreTokenizerLlama3},
    {"qwen2", kPreTokenizerQwen2},      {"deepseek-r1-qwen", kPreTokenizerQwen2},
    {"smollm", kPreTokenizerSmolLm},    {"starcoder", kPreTokenizerSmolLm},
    {"refact", kPreTokenizerSmolLm},    {"command-r", kPreTokenizerSmolLm},
};

struct Metadata {
  const Value& values;
  const std::string& path;

  const Value* find(const char* key) const {
    return values.find(std::string("tokenizer.ggml.") + key);
  }
  std::string text(const char* key) const {
    const Value* value = find(key);
    return value && value->string() ? *value->string() : "";
  }
  bool flag(const char* key, bool fallback) const {
    const Value* value = find(key);
    return value && value->boolean() ? *value->boolean() : fallback;
  }
  int32_t id(const char* key, size_t n_tokens, int32_t fallback) const {
    const Value* value = find(key);
    if (!value) return fallback;
    const int64_t* id = value->integer();
    if (id && *id >= 0 && static_cast<uint64_t>(*id) < n_tokens) return static_cast<int32_t>(*id);
    if (id && (*id == -1 || *id == int64_t{0xffffffff})) return -1;
    throw Refused(format("%s: tokenizer.ggml.%s: expected a token id below %zu", path.c_str(), key,
                         n_tokens));
  }
};

uint8_t type_of(int32_t type) {
  switch (type) {
    case kGgufTokenUnknown:
    case kGgufTokenControl:
      return kTokenControl;
    case kGgufTokenUser:
      return kTokenUser;
    case kGgufTokenByte:
      return kTokenByte;
    default:
      return kTokenNormal;
  }
}

// llama.cpp's converter fills gaps up to the size of the model with such names.
bool is_padding(const std::string& text, size_t id) {
  return text == format("[PAD%zu]", id) || text == format("<dummy%05zu>", id);
}

void set_scored(Vocabulary* v, const GgufFile& file, const std::string& path) {
  v->kind = kTokenizerScoredBpe;
  if (file.scores.size() != file.tokens.size()) {
    throw Refused(format("%s: tokenizer.ggml.scores: found %zu, expected %zu, one a token",
                         path.c_str(), file.scores.size(), file.tokens.size()));
  }
  v->scores = file.scores;
  for (size_t id = 0; id < v->texts.size(); ++id) {
    std::string& text = v->texts[id];
    const int byte = named_byte(text);
    if (v->types[id] == kTokenByte && byte >= 0) {
      text.assign(1, static_cast<char>(byte));
    } else {
      if (v->types[id] == kTokenByte) v->types[id] = kTokenNormal;
      text = with_spaces(text);
    }
  }
}

void set_byte_level(Vocabulary* v, const GgufFile& file, const Metadata& metadata) {
  v->kind = kTokenizerByteBpe;
  const std::string pre = metadata.text("pre");
  const auto known = std::find_if(std::begin(kPreTokenizers), std::end(kPreTokenizers),
                                  [&](const Name& name) { return pre == name.name; });
  if (known == std::end(kPreTokenizers)) {
    throw Refused(
        format("%s: tokenizer.ggml.pre: found '%s', expected gpt-2, llama-bpe, qwen2 or "
               "smollm",
               metadata.path.c_str(), pre.c_str()));
  }
  v->pre_tokenizer = known->kind;
  v->ignore_merges = known->kind == kPreTokenizerLlama3 && pre != "dbrx" && pre != "smaug-bpe";
  for (size_t id = 0; id < v->texts.size(); ++id) {
    if (v->types[id] == kTokenByte) v->types[id] = kTokenNormal;
    if (v->types[id] != kTokenNormal) continue;
    if (std::optional<std::string> bytes = bytes_of_spelling(v->texts[id])) {
      v->texts[id] = std::move(*bytes);
    }
  }
  std::vector<Merge> merges;
  merges.reserve(file.merges.size());
  for (const std::string& merge : file.merges) {
    merges.push_back(merge_of_line(merge, merges.size(), metadata.path));
  }
  set_merges(v, merges, metadata.path);
}

}  // namespace

Vocabulary vocabulary_from_gguf(const GgufFile& file, const std::string& path) {
  const Metadata metadata = {file.metadata, path};
  const std::string model = metadata.text("model");
  if (model != "llama" && model != "gpt2") {
    const char* what = model == "bert" ? " (WordPiece)" : model == "t5" ? " (Unigram)" : "";
    throw Refused(format("%s: tokenizer.ggml.model: found '%s'%s, expected llama or gpt2",
                         path.c_str(), model.c_str(), what));
  }
  const size_t n = file.tokens.size();
  if (n == 0) throw Refused(path + ": tokenizer.ggml.tokens: found none, expected the tokens");
  Vocabulary v;
  v.texts = file.tokens;
  v.types.assign(n, kTokenNormal);
  for (size_t id = 0; id < file.token_types.size() && id < n; ++id) {
    v.types[id] = type_of(file.token_types[id]);
  }
  v.n_tokens = static_cast<uint32_t>(n);
  while (v.n_tokens > 1 && is_padding(v.texts[v.n_tokens - 1], v.n_tokens - 1)) {
    v.texts[--v.n_tokens].clear();
    v.types[v.n_tokens] = kTokenNormal;
  }
  const bool scored = model == "llama";
  if (scored) {
    set_scored(&v, file, path);
  } else {
    set_byte_level(&v, file, metadata);
  }
  v.bos_id = metadata.id("bos_token_id", n, scored ? 1 : -1);
  v.eos_id = metadata.id("eos_token_id", n, scored ? 2 : -1);
  v.end_of_turn_id = metadata.id("eot_token_id", n, -1);
  if (const Value* chat = file.metadata.find("tokenizer.chat_template")) {
    if (chat->string()) v.chat_template = *chat->string();
  }
  v.add_space_prefix = scored && metadata.flag("add_space_prefix", true);
  v.add_bos = metadata.flag("add_bos_token", scored || v.ignore_merges) && v.bos_id >= 0;
  return v;
}

}  // namespace thimble::tools
