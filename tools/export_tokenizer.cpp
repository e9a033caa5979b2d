// SPDX-License-Identifier: MIT
#include "export_tokenizer.h"

#include <algorithm>
#include <cfloat>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "error.h"
#include "model.h"
#include "readers/gguf.h"

namespace thimble::tools {

namespace {

constexpr char kMetaSymbol[] = "\xe2\x96\x81";  // U+2581, SentencePiece's mark for a space

struct Tokens {
  explicit Tokens(const thimble_model& m)
      : header(header_of(m)),
        offsets(table_of<uint32_t>(m, kTokenOffsets)),
        bytes(table_of<char>(m, kTokenBytes)),
        ranks(table_of<int32_t>(m, kTokenRanks)),
        types(table_of<uint8_t>(m, kTokenTypes)),
        splits(header.tokenizer == kTokenizerByteBpe ? table_of<uint16_t>(m, kTokenSplits)
                                                     : nullptr) {}
  std::string text(uint32_t id) const {
    return std::string(bytes + offsets[id], bytes + offsets[id + 1]);
  }
  uint8_t type(uint32_t id) const { return types[id] & static_cast<uint8_t>(~kTokenWhole); }

  const FileHeader& header;
  const uint32_t* offsets;
  const char* bytes;
  const int32_t* ranks;
  const uint8_t* types;
  const uint16_t* splits;
};

// A control token whose text the model does not have needs one that no other token has.
std::string control_name(const Tokens& t, uint32_t id) {
  const int32_t signed_id = static_cast<int32_t>(id);
  if (signed_id == t.header.bos_id) return "<s>";
  if (signed_id == t.header.eos_id) return "</s>";
  return id == 0 ? "<unk>" : format("<control_%u>", id);
}

std::string with_meta_symbols(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ') {
      out += kMetaSymbol;
    } else {
      out += c;
    }
  }
  return out;
}

// GPT-2 spells a byte as a character that can be seen: itself where it is one in Latin-1, otherwise
// the next free one from U+0100 on.
std::vector<std::string> byte_spellings() {
  std::vector<std::string> out(256);
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    const uint32_t c = seen ? byte : next++;
    if (c < 0x80) {
      out[byte] = std::string(1, static_cast<char>(c));
    } else {
      out[byte] = {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
    }
  }
  return out;
}

std::string spelled(const std::string& text, size_t begin, size_t end) {
  static const std::vector<std::string> spellings = byte_spellings();
  std::string out;
  for (size_t i = begin; i < end; ++i) out += spellings[static_cast<uint8_t>(text[i])];
  return out;
}

// Whether the pair whose left part has `at` bytes merges into the token.
bool merges_at(uint16_t split, size_t at) {
  if (split == 0) return true;
  if ((split & kSplitMask) == 0) return split == at;
  return at <= kMaxMaskedSplit && (split >> (at - 1) & 1) != 0;
}

// The list of merges, the earliest first. A token that any pair merges into gets all its pairs.
std::vector<std::string> merges_of(const Tokens& t) {
  std::unordered_set<std::string> symbols;  // what a word may consist of while it is merged
  std::vector<uint32_t> order;
  for (uint32_t id = 0; id < t.header.n_tokens; ++id) {
    if (t.type(id) != kTokenNormal) continue;
    const std::string text = t.text(id);
    if (text.size() == 1 || t.ranks[id] >= 0) symbols.insert(text);
    if (text.size() > 1 && t.ranks[id] >= 0) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return t.ranks[a] > t.ranks[b]; });
  std::vector<std::string> out;
  for (const uint32_t id : order) {
    const std::string text = t.text(id);
    for (size_t at = 1; at < text.size(); ++at) {
      if (!merges_at(t.splits[id], at)) continue;
      if (symbols.count(text.substr(0, at)) == 0 || symbols.count(text.substr(at)) == 0) continue;
      out.push_back(spelled(text, 0, at) + " " + spelled(text, at, text.size()));
    }
  }
  return out;
}

const char* pre_tokenizer(const FileHeader& h) {
  const char* const names[] = {nullptr, "gpt-2", "llama-bpe", "qwen2", "smollm"};
  const bool ignores = (h.tokenizer_flags & kTokenizerIgnoresMerges) != 0;
  const bool expected = h.pre_tokenizer == kPreTokenizerLlama3;
  if (h.pre_tokenizer < 1 || h.pre_tokenizer > 4) {
    throw RefusedExport(format("GGUF has no name for the pre-tokenizer %u", h.pre_tokenizer));
  }
  if (ignores != expected) {
    throw RefusedExport(
        format("with the pre-tokenizer \"%s\" readers of GGUF %s words that are tokens, "
               "but this model %s",
               names[h.pre_tokenizer], expected ? "do not merge" : "merge",
               ignores ? "does not" : "does"));
  }
  return names[h.pre_tokenizer];
}

// A text as a string of Jinja, the language of templates.
std::string jinja(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "'";
}

// What opens and closes turns, as a chat template.
std::string chat_template(const thimble_model& model) {
  const uint32_t* offsets = table_of<uint32_t>(model, kTurnOffsets);
  const char* bytes = table_of<char>(model, kTurnTexts);
  const auto text = [&](uint32_t i) {
    return jinja(std::string(bytes + offsets[i], bytes + offsets[i + 1]));
  };
  const char* const roles[] = {"system", "user", "assistant"};
  std::string out = "{% for message in messages %}";
  for (uint32_t role = 0; role < 3; ++role) {
    out += format("{%% %s message['role'] == '%s' %%}", role == 0 ? "if" : "elif", roles[role]);
    out += "{{ " + text(2 * role) + " + message['content'] + " + text(2 * role + 1) + " }}";
  }
  return out + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ " + text(4) +
         " }}{% endif %}";
}

void export_ids(const FileHeader& h, GgufWriter* out) {
  const std::pair<const char*, int32_t> ids[] = {{"tokenizer.ggml.bos_token_id", h.bos_id},
                                                 {"tokenizer.ggml.eos_token_id", h.eos_id},
                                                 {"tokenizer.ggml.eot_token_id", h.end_of_turn_id}};
  for (const auto& [key, id] : ids) {
    if (id >= 0) out->u32(key, static_cast<uint32_t>(id));
  }
  out->boolean("tokenizer.ggml.add_bos_token", (h.tokenizer_flags & kTokenizerAddsBos) != 0);
}

}  // namespace

void export_tokenizer(const thimble_model& model, GgufWriter* out) {
  const FileHeader& h = header_of(model);
  if (h.tokenizer == kTokenizerNone) {
    out->text("tokenizer.ggml.model", "none");
    return;
  }
  const bool byte_level = h.tokenizer == kTokenizerByteBpe;
  const Tokens t(model);
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;
  int32_t top = 0;
  for (uint32_t id = 0; id < h.vocab_size; ++id) top = std::max(top, t.ranks[id]);
  for (uint32_t id = 0; id < h.vocab_size; ++id) {
    std::string text = t.text(id);
    int32_t type = kGgufTokenNormal;
    if (id >= h.n_tokens) {
      text = format("[PAD%u]", id);
      type = kGgufTokenUnused;
    } else if (t.type(id) == kTokenControl) {
      if (text.empty()) text = control_name(t, id);
      type = !byte_level && text == "<unk>" ? kGgufTokenUnknown : kGgufTokenControl;
    } else if (t.type(id) == kTokenUser) {
      if (!byte_level) text = with_meta_symbols(text);
      type = kGgufTokenUser;
    } else if (t.type(id) == kTokenByte && !byte_level) {
      text = format("<0x%02X>", static_cast<unsigned>(static_cast<uint8_t>(text[0])));
      type = kGgufTokenByte;
    } else {
      text = byte_level ? spelled(text, 0, text.size()) : with_meta_symbols(text);
    }
    texts.push_back(std::move(text));
    types.push_back(type);
    // Only their order says anything.
    scores.push_back(t.ranks[id] < 0 ? -FLT_MAX : static_cast<float>(t.ranks[id] - top));
  }
  out->text("tokenizer.ggml.model", byte_level ? "gpt2" : "llama");
  out->text("tokenizer.ggml.pre", byte_level ? pre_tokenizer(h) : "default");
  out->texts("tokenizer.ggml.tokens", texts);
  if (!byte_level) out->reals("tokenizer.ggml.scores", scores);
  out->integers("tokenizer.ggml.token_type", types);
  if (byte_level) out->texts("tokenizer.ggml.merges", merges_of(t));
  export_ids(h, out);
  out->boolean("tokenizer.ggml.add_space_prefix",
               (h.tokenizer_flags & kTokenizerAddSpacePrefix) != 0);
  if (h.turn_bytes > 0) out->text("tokenizer.chat_template", chat_template(model));
}

}  // namespace thimble::tools
