// SPDX-License-Identifier: MIT
// tokenizer.json of Hugging Face's tokenizers: BPE, byte-level (GPT-2, Llama 3, Qwen 2, SmolLM,
// GPT-NeoX) or with byte fallback (Llama 2, Mistral, Gemma). What is not known is refused by name,
// since a tokenizer that is nearly right is a model that is quietly wrong.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr char kMetaSymbol[] = "\xe2\x96\x81";  // U+2581

struct Pattern {
  const char* regex;
  PreTokenizer kind;
};
constexpr Pattern kPatterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     kPreTokenizerGpt2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     kPreTokenizerGpt2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     kPreTokenizerLlama3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     kPreTokenizerQwen2},
};

std::string text_at(const Value& value, const char* key) {
  const Value* found = value.find(key);
  return found && found->string() ? *found->string() : "";
}

bool flag_at(const Value& value, const char* key, bool fallback) {
  const Value* found = value.find(key);
  return found && found->boolean() ? *found->boolean() : fallback;
}

bool is_null(const Value* value) {
  return !value || value->is_null();
}

// A value and, of a Sequence, its members instead.
std::vector<const Value*> members(const Value* value, const char* key) {
  std::vector<const Value*> all;
  if (is_null(value)) return all;
  const Value* list = value->find(key);
  if (text_at(*value, "type") != "Sequence" || !list || !list->list()) return {value};
  for (const Value& member : *list->list()) all.push_back(&member);
  return all;
}

class TokenizerJson {
 public:
  TokenizerJson(const Value& root, const std::string& path) : root_(root), path_(path) {}

  Vocabulary read() {
    const Value* model = root_.find("model");
    if (!model || !model->dict()) refuse("model: found none, expected a BPE model");
    const std::string type = text_at(*model, "type");
    if (type != "BPE" && !(type.empty() && model->find("merges"))) {
      refuse(format("model.type: found %s, expected BPE", shown(type).c_str()));
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const std::string text = text_at(*model, key);
      if (!text.empty())
        refuse(format("model.%s: found %s, expected none", key, shown(text).c_str()));
    }
    v_.kind = is_byte_level() ? kTokenizerByteBpe : kTokenizerScoredBpe;
    if (v_.kind == kTokenizerScoredBpe && !flag_at(*model, "byte_fallback", false)) {
      refuse(
          "is neither byte-level BPE nor BPE with byte fallback (model.byte_fallback), the two "
          "kinds that are read");
    }
    v_.ignore_merges = v_.kind == kTokenizerByteBpe && flag_at(*model, "ignore_merges", false);
    read_tokens(*model);
    read_added();
    read_normalizer();
    read_pre_tokenizer();
    read_merges(*model);
    read_post_processor();
    return std::move(v_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { throw Refused(path_ + ": " + why); }

  void note(const std::string& text) { v_.note += (v_.note.empty() ? "" : "; ") + text; }

  bool has_type(const char* part, const char* key, const char* type) const {
    for (const Value* member : members(root_.find(part), key)) {
      if (text_at(*member, "type") == type) return true;
    }
    return false;
  }

  bool is_byte_level() const {
    return has_type("pre_tokenizer", "pretokenizers", "ByteLevel") ||
           (has_type("decoder", "decoders", "ByteLevel") &&
            !has_type("decoder", "decoders", "ByteFallback"));
  }

  std::string text_of_token(const std::string& text) const {
    if (v_.kind == kTokenizerScoredBpe) return with_spaces(text);
    return bytes_of_spelling(text).value_or(text);
  }

  void grow(size_t id) {
    if (id >= kMaxVocab) {
      refuse(format("found a token with id %zu, expected less than %u", id, kMaxVocab));
    }
    if (id < v_.texts.size()) return;
    v_.texts.resize(id + 1);
    v_.types.resize(id + 1, kTokenNormal);
  }

  size_t id_of(const Value* value, const std::string& text) const {
    if (!value || !value->integer() || *value->integer() < 0 ||
        *value->integer() >= int64_t{kMaxVocab}) {
      refuse(format("token %s: expected an id, 0 to %u", shown(text).c_str(), kMaxVocab - 1));
    }
    return static_cast<size_t>(*value->integer());
  }

  void read_tokens(const Value& model) {
    const Value* vocab = model.find("vocab");
    if (!vocab || !vocab->dict() || vocab->dict()->empty()) {
      refuse("model.vocab: found none, expected the tokens and their ids");
    }
    std::vector<bool> is_taken;
    for (const auto& [text, id_value] : *vocab->dict()) {
      const size_t id = id_of(&id_value, text);
      grow(id);
      if (is_taken.size() <= id) is_taken.resize(id + 1);
      if (is_taken[id])
        refuse(format("two tokens have the id %zu, one is %s", id, shown(text).c_str()));
      is_taken[id] = true;
      const int byte = v_.kind == kTokenizerScoredBpe ? named_byte(text) : -1;
      if (byte >= 0) {
        v_.texts[id].assign(1, static_cast<char>(byte));
        v_.types[id] = kTokenByte;
      } else {
        v_.texts[id] = text_of_token(text);
      }
    }
  }

  void read_added() {
    const Value* added = root_.find("added_tokens");
    if (is_null(added)) return;
    if (!added->list()) refuse("added_tokens: expected a list");
    bool strips = false;
    for (const Value& token : *added->list()) {
      const std::string text = text_at(token, "content");
      const size_t id = id_of(token.find("id"), text);
      const bool is_special = flag_at(token, "special", false);
      grow(id);
      // Runs of spaces in SentencePiece's spelling are reached by merges, not by their letters.
      if (!is_special && v_.kind == kTokenizerScoredBpe && !text.empty() &&
          text.find(kMetaSymbol) != std::string::npos) {
        v_.texts[id] = with_spaces(text);
        continue;
      }
      v_.texts[id] = text;
      v_.types[id] = is_special ? kTokenControl : kTokenUser;
      strips |= flag_at(token, "lstrip", false) || flag_at(token, "rstrip", false);
    }
    if (strips) note("spaces beside added tokens are kept (lstrip, rstrip)");
  }

  void read_normalizer() {
    for (const Value* step : members(root_.find("normalizer"), "normalizers")) {
      const std::string type = text_at(*step, "type");
      const bool scored = v_.kind == kTokenizerScoredBpe;
      if (type == "Sequence") continue;  // an empty one
      if (type == "NFC") {
        note("Unicode's NFC normalization is left to the writer of a text");
      } else if (scored && type == "Prepend" && text_at(*step, "prepend") == kMetaSymbol) {
        v_.add_space_prefix = true;
      } else if (scored && type == "Replace" && is_space_to_mark(*step)) {
        has_marks_ = true;
      } else {
        refuse(format("normalizer: found %s, expected %s", shown(type).c_str(),
                      scored ? "U+2581 for spaces (Prepend, Replace)" : "none or NFC"));
      }
    }
  }

  bool is_space_to_mark(const Value& step) const {
    const Value* pattern = step.find("pattern");
    return pattern && text_at(*pattern, "String") == " " && text_at(step, "content") == kMetaSymbol;
  }

  void read_pre_tokenizer() {
    const std::vector<const Value*> steps = members(root_.find("pre_tokenizer"), "pretokenizers");
    if (v_.kind == kTokenizerByteBpe) {
      v_.pre_tokenizer = byte_level_kind(steps);
      return;
    }
    for (const Value* step : steps) {
      const std::string type = text_at(*step, "type");
      if (type == "Metaspace") {
        read_metaspace(*step);
      } else if (type == "Split" && has_marks_ && step->find("pattern") &&
                 text_at(*step->find("pattern"), "String") == " ") {
        continue;  // no space is left by then
      } else {
        refuse("pre_tokenizer: found " + described(*step) + ", expected Metaspace or none");
      }
    }
    if (!has_marks_)
      refuse("found no step that makes spaces U+2581, expected Replace or Metaspace");
  }

  void read_metaspace(const Value& step) {
    has_marks_ = true;
    const std::string scheme = text_at(step, "prepend_scheme");
    v_.add_space_prefix |=
        scheme.empty() ? flag_at(step, "add_prefix_space", true) : scheme != "never";
    if (!flag_at(step, "split", true)) return;
    // Then a word never has a space within or more than one; the engine would let it.
    for (size_t id = 0; id < v_.texts.size(); ++id) {
      if (v_.types[id] == kTokenNormal && v_.texts[id].find(' ', 1) != std::string::npos) {
        return note("runs of spaces may be cut otherwise (Metaspace splits)");
      }
    }
  }

  // For messages: a type, and the pattern that matters.
  std::string described(const Value& step) const {
    std::string text = shown(text_at(step, "type"));
    if (const Value* pattern = step.find("pattern")) {
      const std::string regex = text_at(*pattern, "Regex") + text_at(*pattern, "String");
      text += " with the pattern " + regex.substr(0, 500);
    }
    return text;
  }

  PreTokenizer byte_level_kind(const std::vector<const Value*>& steps) {
    PreTokenizer kind = kPreTokenizerNone;
    bool digits = false, is_byte_level = false;
    for (const Value* step : steps) {
      const std::string type = text_at(*step, "type");
      if (type == "ByteLevel" && !is_byte_level) {
        is_byte_level = true;
        if (flag_at(*step, "add_prefix_space", true)) {
          refuse("pre_tokenizer: add_prefix_space: found true, expected false for byte-level BPE");
        }
        if (flag_at(*step, "use_regex", true)) {
          if (kind != kPreTokenizerNone) refuse_words(*step);
          kind = kPreTokenizerGpt2;
        }
      } else if (type == "Split" && kind == kPreTokenizerNone && !digits && !is_byte_level) {
        kind = split_kind(*step);
      } else if (type == "Digits" && flag_at(*step, "individual_digits", false) && !digits &&
                 kind == kPreTokenizerNone) {
        digits = true;
      } else {
        refuse_words(*step);
      }
    }
    if (digits && kind == kPreTokenizerGpt2) return kPreTokenizerSmolLm;
    if (digits || kind == kPreTokenizerNone || !is_byte_level) {
      refuse(
          "pre_tokenizer: found no pattern that cuts words, expected that of GPT-2, Llama 3, "
          "Qwen 2 or SmolLM");
    }
    return kind;
  }

  PreTokenizer split_kind(const Value& step) {
    const Value* pattern = step.find("pattern");
    const std::string regex = pattern ? text_at(*pattern, "Regex") : "";
    const std::string behavior = text_at(step, "behavior");
    const bool isolates = behavior == "Isolated" && !flag_at(step, "invert", false);
    // What the pattern does not match is the seam, if it is inverted: they match everything.
    const bool removes = behavior == "Removed" && flag_at(step, "invert", false);
    for (const Pattern& known : kPatterns) {
      if (regex == known.regex && (isolates || removes)) return known.kind;
    }
    refuse_words(step);
  }

  [[noreturn]] void refuse_words(const Value& step) const {
    refuse("pre_tokenizer: found " + described(step) +
           ", expected the way of GPT-2, Llama 3, Qwen 2 or SmolLM");
  }

  void read_merges(const Value& model) {
    const Value* list = model.find("merges");
    if (!list || !list->list()) refuse("model.merges: found none, expected a list");
    std::vector<Merge> merges;
    merges.reserve(list->list()->size());
    for (const Value& merge : *list->list()) {
      if (const std::string* line = merge.string()) {
        const size_t space = line->find(' ', 1);
        if (space == std::string::npos) refuse_merge(merges.size());
        merges.emplace_back(text_of_token(line->substr(0, space)),
                            text_of_token(line->substr(space + 1)));
        continue;
      }
      const Value::List* pair = merge.list();
      if (!pair || pair->size() != 2 || !(*pair)[0].string() || !(*pair)[1].string()) {
        refuse_merge(merges.size());
      }
      merges.emplace_back(text_of_token(*(*pair)[0].string()), text_of_token(*(*pair)[1].string()));
    }
    set_merges(&v_, merges, path_);
  }

  [[noreturn]] void refuse_merge(size_t index) const {
    refuse(format("model.merges: entry %zu: expected \"a b\" or [\"a\", \"b\"]", index));
  }

  // A template that puts a token first says which one begins a text.
  void read_post_processor() {
    v_.add_bos = false;
    for (const Value* step : members(root_.find("post_processor"), "processors")) {
      if (text_at(*step, "type") != "TemplateProcessing") continue;
      const Value* single = step->find("single");
      if (!single || !single->list() || single->list()->empty()) continue;
      const Value* first = single->list()->front().find("SpecialToken");
      if (!first) continue;
      v_.bos_id = find_special(v_, text_at(*first, "id"));
      v_.add_bos = v_.bos_id >= 0;
    }
  }

  const Value& root_;
  const std::string& path_;
  Vocabulary v_;
  bool has_marks_ = false;
};

}  // namespace

VocabularyFile open_hf_tokenizer(const Value& root, const std::string& path, uint32_t vocab_size) {
  VocabularyFile result;
  result.vocabulary = TokenizerJson(root, path).read();
  const bool byte_level = result.vocabulary.kind == kTokenizerByteBpe;
  result.description = format("Hugging Face tokenizer, %s, %zu tokens",
                              byte_level ? "byte-level BPE" : "BPE with byte fallback",
                              result.vocabulary.texts.size());
  read_companions(&result.vocabulary, path);
  pad_vocabulary(&result.vocabulary, vocab_size, path);
  return result;
}

}  // namespace thimble::tools
