// SPDX-License-Identifier: MIT
#include "vocabulary.h"

#include <algorithm>
#include <cfloat>
#include <unordered_set>

#include "characters.h"
#include "tokenizer.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The bytes that GPT-2 spells as U+0100 and following, in that order.
std::vector<uint8_t> renamed_bytes() {
  std::vector<uint8_t> bytes;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool keeps_name = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    if (!keeps_name) bytes.push_back(static_cast<uint8_t>(byte));
  }
  return bytes;
}

std::string quoted(const std::string& text) {
  std::string shown = "'";
  for (const char c : text.substr(0, 40)) {
    const uint8_t byte = static_cast<uint8_t>(c);
    shown += byte < 0x20 || byte == 0x7f ? format("\\x%02x", byte) : std::string(1, c);
  }
  return shown + (text.size() > 40 ? "...'" : "'");
}

// The merges of one token, as long as they are being collected.
struct Ways {
  size_t first = 0, last = 0;    // in the list
  std::vector<uint16_t> splits;  // bytes of the left half
};

class MergeSetter {
 public:
  MergeSetter(Vocabulary* v, const std::vector<Merge>& merges, const std::string& path)
      : v_(*v), merges_(merges), path_(path), ids_(ids_of_texts(*v)), ways_(v->texts.size()) {
    for (size_t id = 0; id < v->texts.size(); ++id) {
      const bool is_there = v->types[id] != kTokenNormal && v->types[id] != kTokenByte;
      if (is_there && ids_.count(v->texts[id]) == 0) added_.insert(v->texts[id]);
    }
  }

  void set() {
    for (size_t i = 0; i < merges_.size(); ++i) add(i);
    const bool byte_level = v_.kind == kTokenizerByteBpe;
    v_.splits.assign(byte_level ? v_.texts.size() : 0, 0);
    v_.scores.assign(v_.texts.size(), byte_level ? -1.0f : -FLT_MAX);
    for (size_t id = 0; id < ways_.size(); ++id) {
      const Ways& ways = ways_[id];
      if (ways.splits.empty()) continue;
      v_.scores[id] = static_cast<float>(merges_.size() - 1 - ways.first);
      set_split(id, ways);
    }
    if (n_inexact_ > 0) {
      v_.note +=
          (v_.note.empty() ? "" : "; ") +
          format(
              "%zu tokens, %s the first, have merges that the engine's tables cannot tell apart; "
              "words with them may be cut otherwise than by the tokenizer's own program",
              n_inexact_, quoted(v_.texts[first_inexact_]).c_str());
    }
  }

 private:
  int32_t id_of(const std::string& text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? -1 : found->second;
  }

  void add(size_t i) {
    const auto& [left, right] = merges_[i];
    const int32_t result = id_of(left + right);
    if (is_added(left) || is_added(right) || is_added(left + right)) return;
    if (left.empty() || right.empty() || id_of(left) < 0 || id_of(right) < 0 || result < 0) {
      throw Refused(format("%s: merge %zu (%s and %s): expected two tokens that give a third",
                           path_.c_str(), i + 1, quoted(left).c_str(), quoted(right).c_str()));
    }
    Ways& ways = ways_[static_cast<size_t>(result)];
    const uint16_t split = static_cast<uint16_t>(std::min<size_t>(left.size(), UINT16_MAX));
    if (ways.splits.empty()) ways.first = i;
    if (std::find(ways.splits.begin(), ways.splits.end(), split) != ways.splits.end()) return;
    ways.last = i;
    ways.splits.push_back(split);
  }

  // Added tokens are found before words are merged.
  bool is_added(const std::string& text) const { return added_.count(text) > 0; }

  // Whether a text may be a symbol while a word is merged.
  bool is_symbol(const std::string& text) const {
    const int32_t id = id_of(text);
    if (id < 0) return false;
    if (!ways_[static_cast<size_t>(id)].splits.empty()) return true;
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(text.data());
    return v_.kind == kTokenizerByteBpe ? text.size() == 1
                                        : utf8_valid_character(bytes, text.size()) == text.size();
  }

  // Splits of a text whose halves can meet while a word is merged.
  size_t count_possible(const std::string& text) const {
    size_t n = 0;
    for (size_t k = 1; k < text.size(); ++k) {
      if (is_symbol(text.substr(0, k)) && is_symbol(text.substr(k))) ++n;
    }
    return n;
  }

  void set_split(size_t id, const Ways& ways) {
    const bool byte_level = v_.kind == kTokenizerByteBpe;
    const size_t n = ways.splits.size();
    if (byte_level && n == 1) {
      v_.splits[id] = ways.splits[0];
      return;
    }
    const bool all_ways = count_possible(v_.texts[id]) == n;
    const bool in_a_row = ways.last - ways.first == n - 1;
    if (byte_level && !all_ways && v_.texts[id].size() <= kMaxMaskedSplit + 1) {
      uint32_t mask = kSplitMask;
      for (const uint16_t split : ways.splits) mask |= 1u << (split - 1);
      v_.splits[id] = static_cast<uint16_t>(mask);
      if (in_a_row) return;
    } else if (all_ways && in_a_row) {
      return;
    }
    if (n_inexact_++ == 0) first_inexact_ = id;
  }

  Vocabulary& v_;
  const std::vector<Merge>& merges_;
  const std::string& path_;
  TokenIds ids_;
  std::unordered_set<std::string> added_;
  std::vector<Ways> ways_;  // by id
  size_t n_inexact_ = 0, first_inexact_ = 0;
};

}  // namespace

int named_byte(const std::string& text) {
  if (text.size() != 6 || text.compare(0, 3, "<0x") != 0 || text[5] != '>') return -1;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string with_spaces(std::string text) {
  constexpr char kMetaSymbol[] = "\xe2\x96\x81";
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 3, kMetaSymbol) == 0) {
      out += ' ';
      i += 3;
    } else {
      out += text[i++];
    }
  }
  return out;
}

std::optional<std::string> bytes_of_spelling(const std::string& text) {
  static const std::vector<uint8_t> renamed = renamed_bytes();
  std::string bytes;
  const uint8_t* at = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* const end = at + text.size();
  while (at < end) {
    const uint32_t n = utf8_valid_character(at, static_cast<size_t>(end - at));
    if (n == 0) return std::nullopt;
    const uint32_t code = utf8_code_point(at, n);
    if (code >= 0x100 && code - 0x100 < renamed.size()) {
      bytes += static_cast<char>(renamed[code - 0x100]);
    } else if (code < 0x100 && !std::binary_search(renamed.begin(), renamed.end(), code)) {
      bytes += static_cast<char>(code);
    } else {
      return std::nullopt;
    }
    at += n;
  }
  return bytes;
}

TokenIds ids_of_texts(const Vocabulary& v) {
  TokenIds ids;
  ids.reserve(v.texts.size());
  for (size_t id = 0; id < v.texts.size(); ++id) {
    if (v.types[id] == kTokenNormal && !v.texts[id].empty()) {
      ids.emplace(v.texts[id], static_cast<int32_t>(id));
    }
  }
  return ids;
}

void set_merges(Vocabulary* v, const std::vector<Merge>& merges, const std::string& path) {
  MergeSetter(v, merges, path).set();
}

void set_merges_by_id(Vocabulary* v) {
  v->splits.assign(v->texts.size(), 0);
  v->scores.assign(v->texts.size(), -1.0f);
  const size_t n = v->texts.size();
  for (size_t id = 0; id < n; ++id) {
    if (v->types[id] == kTokenNormal && v->texts[id].size() > 1) {
      v->scores[id] = static_cast<float>(n - 1 - id);
    }
  }
}

void pad_vocabulary(Vocabulary* v, uint32_t vocab_size, const std::string& path) {
  const size_t n = v->texts.size();
  if (v->n_tokens == 0) v->n_tokens = static_cast<uint32_t>(n);
  if (vocab_size == 0 || n == vocab_size) return;
  if (n > vocab_size) {
    // Padding of its own may go.
    if (v->n_tokens > vocab_size) {
      throw Refused(format("%s: a tokenizer of another size: found %u tokens, the model has %u",
                           path.c_str(), v->n_tokens, vocab_size));
    }
  }
  v->texts.resize(vocab_size);
  v->scores.resize(vocab_size, v->kind == kTokenizerByteBpe ? -1.0f : -FLT_MAX);
  v->types.resize(vocab_size, kTokenNormal);
  if (v->kind == kTokenizerByteBpe) v->splits.resize(vocab_size, 0);
}

int32_t find_special(const Vocabulary& v, const std::string& text) {
  int32_t normal = -1;
  for (size_t id = 0; id < v.texts.size(); ++id) {
    if (v.texts[id] != text || v.types[id] == kTokenByte) continue;
    if (v.types[id] != kTokenNormal) return static_cast<int32_t>(id);
    if (normal < 0) normal = static_cast<int32_t>(id);
  }
  return normal;
}

bool spells_plainly(const Vocabulary& v, std::string* why) {
  const std::string sentence = "The quick brown fox jumps over the lazy dog.";
  const TokenIds ids = ids_of_texts(v);
  std::string missing;
  for (const char c : sentence) {
    const std::string letter(1, c);
    if (ids.count(letter) > 0 || missing.find(c) != std::string::npos) continue;
    missing += c;
  }
  if (missing.empty()) return true;
  if (why) *why = format("no token for %s of '%s'", quoted(missing).c_str(), sentence.c_str());
  return false;
}

ImageInMemory image_of_vocabulary(const Vocabulary& v) {
  ModelShape shape;
  shape.dim = shape.head_dim = 2;
  shape.hidden_dim = shape.n_layers = shape.n_heads = shape.n_kv_heads = shape.n_ctx = 1;
  shape.vocab_size = static_cast<uint32_t>(v.texts.size());
  WeightLayout layout;
  layout.row_tile = 1;
  const RowSource zeros = [](SectionKind, uint32_t, uint32_t, uint32_t cols, float* out) {
    std::fill_n(out, cols, 0.0f);
  };
  return build_image_in_memory(shape, layout, &v, zeros);
}

std::vector<uint8_t> types_with_whole(const Vocabulary& v) {
  Vocabulary plain = v;
  plain.marks_whole = false;
  const ImageInMemory image = image_of_vocabulary(plain);
  thimble_model model;
  std::vector<uint8_t> types = v.types;
  if (thimble_model_open(&model, image.data(), image.bytes) != THIMBLE_OK) return types;
  std::vector<int32_t> scratch(encode_scratch_bytes(model.max_token_bytes) / sizeof(int32_t) + 1);
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] != kTokenNormal || !is_utf8(v.texts[id]) || v.texts[id].empty()) continue;
    if (v.ignore_merges || merges_whole(model, static_cast<int32_t>(id), scratch.data(),
                                        scratch.size() * sizeof(int32_t))) {
      types[id] |= kTokenWhole;
    }
  }
  return types;
}

std::vector<int32_t> encode_all(const thimble_model& model, const std::string& text,
                                uint32_t flags) {
  // Most words are short, and a text that is one word is not: room for it is taken when needed.
  size_t scratch_bytes = encode_scratch_bytes(std::min<size_t>(text.size() + 1, 1 << 16));
  for (;;) {
    std::vector<int32_t> scratch(scratch_bytes / sizeof(int32_t) + 1);
    std::vector<int32_t> tokens(text.size() + 2);
    int32_t n = THIMBLE_ERROR_OUTPUT_TOO_SMALL;
    for (int round = 0; round < 2 && n == THIMBLE_ERROR_OUTPUT_TOO_SMALL; ++round) {
      if (round > 0) tokens.resize(3 * text.size() + 2);
      n = encode_text(model, text.data(), text.size(), flags, tokens.data(), tokens.size(),
                      scratch.data(), scratch_bytes);
    }
    if (n >= 0) {
      tokens.resize(static_cast<size_t>(n));
      return tokens;
    }
    const size_t whole = encode_scratch_bytes(3 * text.size() + 1);
    if (n != THIMBLE_ERROR_TEXT_TOO_LONG || scratch_bytes >= whole) {
      throw Refused(format("the text cannot be encoded: %s",
                           thimble_status_text(static_cast<thimble_status>(n))));
    }
    scratch_bytes = whole;
  }
}

}  // namespace thimble::tools
