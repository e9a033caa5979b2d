// SPDX-License-Identifier: MIT
// The small files beside a tokenizer of Hugging Face, which say what begins and ends a text:
// tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json.
#include <sys/stat.h>

#include <string>
#include <vector>

#include "error.h"
#include "json_reader.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxFileBytes = 32u << 20;

Value read_beside(const std::string& path, const char* name) {
  const std::string beside = path.substr(0, path.rfind('/') + 1) + name;
  struct stat info {};
  if (stat(beside.c_str(), &info) != 0) return {};
  JsonOptions options;
  options.large_integers_as_reals = true;
  const InputFile file(beside);
  return read_json(read_whole_file(file, kMaxFileBytes), beside, options);
}

// A token's text: "<s>", or {"content": "<s>", ...}.
const std::string* token_text(const Value& config, const char* key) {
  const Value* value = config.find(key);
  if (value && value->dict()) value = value->find("content");
  return value ? value->string() : nullptr;
}

// One id, or the first of several.
int32_t token_id(const Vocabulary& v, const Value& config, const char* key) {
  const Value* value = config.find(key);
  if (value && value->list() && !value->list()->empty()) value = &value->list()->front();
  const int64_t* id = value ? value->integer() : nullptr;
  return id && *id >= 0 && static_cast<uint64_t>(*id) < v.texts.size() ? static_cast<int32_t>(*id)
                                                                       : -1;
}

// The chat template in Jinja: a file of its own, or in tokenizer_config.json as a text or as a list
// of named ones, of which 'default' counts. "" if there is none.
std::string chat_template(const Value& config, const std::string& path) {
  const std::string beside = path.substr(0, path.rfind('/') + 1) + "chat_template.jinja";
  struct stat info {};
  if (stat(beside.c_str(), &info) == 0 && info.st_size > 0) {
    return read_whole_file(InputFile(beside), kMaxFileBytes);
  }
  const Value* value = config.find("chat_template");
  if (value && value->list()) {
    const Value* chosen = nullptr;
    for (const Value& named : *value->list()) {
      const Value* name = named.find("name");
      if (name && name->string() && *name->string() == "default") chosen = named.find("template");
    }
    value = chosen;
  }
  return value && value->string() ? *value->string() : "";
}

// Tokens of tokenizer_config.json that the tokenizer's own file may lack.
void add_decoder_tokens(Vocabulary* v, const Value& config) {
  const Value* added = config.find("added_tokens_decoder");
  if (!added || !added->dict()) return;
  for (const auto& [id_text, token] : *added->dict()) {
    const Value* content = token.find("content");
    const Value* special = token.find("special");
    if (!content || !content->string() || content->string()->empty() || id_text.size() > 7 ||
        id_text.find_first_not_of("0123456789") != std::string::npos || id_text.empty()) {
      continue;
    }
    const size_t id = std::stoul(id_text);
    if (id >= v->texts.size() || v->texts[id] != *content->string()) continue;
    v->types[id] =
        special && special->boolean() && *special->boolean() ? kTokenControl : kTokenUser;
  }
}

}  // namespace

std::string read_companions(Vocabulary* v, const std::string& path) {
  const Value tokenizer = read_beside(path, "tokenizer_config.json");
  const Value map = read_beside(path, "special_tokens_map.json");
  const Value generation = read_beside(path, "generation_config.json");
  const Value config = read_beside(path, "config.json");
  if (v->kind == kTokenizerByteBpe) add_decoder_tokens(v, tokenizer);

  const auto named = [&](const char* key) -> int32_t {
    for (const Value* from : {&tokenizer, &map}) {
      if (const std::string* text = token_text(*from, key)) {
        const int32_t id = find_special(*v, *text);
        if (id >= 0) return id;
      }
    }
    return -1;
  };
  const auto control = [&](int32_t id) {
    if (id >= 0 && v->types[static_cast<size_t>(id)] != kTokenByte) {
      v->types[static_cast<size_t>(id)] = kTokenControl;
    }
    return id;
  };
  // A tokenizer_config.json that names no token has none, whatever the model's configuration says.
  const bool is_told = tokenizer.find("bos_token") != nullptr;
  if (const int32_t id = named("bos_token"); id >= 0) v->bos_id = control(id);
  if (v->bos_id < 0 && !is_told) v->bos_id = token_id(*v, config, "bos_token_id");
  if (const int32_t id = named("eos_token"); id >= 0) v->eos_id = control(id);
  if (v->eos_id < 0) v->eos_id = token_id(*v, generation, "eos_token_id");
  if (v->eos_id < 0) v->eos_id = token_id(*v, config, "eos_token_id");
  for (const char* text : {"<|im_end|>", "<|eot_id|>", "<end_of_turn>"}) {
    if (v->end_of_turn_id >= 0) break;
    const int32_t id = find_special(*v, text);
    if (id >= 0 && v->types[static_cast<size_t>(id)] == kTokenControl) v->end_of_turn_id = id;
  }
  v->chat_template = chat_template(tokenizer, path);
  const Value* add_bos = tokenizer.find("add_bos_token");
  if (add_bos && add_bos->boolean()) v->add_bos = *add_bos->boolean();
  if (v->bos_id < 0) v->add_bos = false;
  const Value* name = tokenizer.find("tokenizer_class");
  return name && name->string() ? *name->string() : "";
}

}  // namespace thimble::tools
