// SPDX-License-Identifier: MIT
#include "train/word_counts.h"

#include <algorithm>
#include <cstring>

#include "characters.h"
#include "pretokenizer.h"
#include "unicode_classes.h"

namespace thimble::tools::train {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

enum Part : uint8_t { kPartSpace, kPartLetter, kPartNumber, kPartOther, kPartInvalid };

// Marks of scripts such as Devanagari's vowels stand within words.
bool is_mark_of_script(uint32_t code) {
  return (code >= 0x300 && code < 0x2000) || (code >= 0xa000 && code < 0xfe00);
}

Part part_of(uint32_t code) {
  if (code == ' ') return kPartSpace;
  const CharacterClass cls = class_of(code);
  if (cls == kLetter) return kPartLetter;
  if (cls == kNumber) return kPartNumber;
  return cls == kOther && is_mark_of_script(code) ? kPartLetter : kPartOther;
}

struct AsciiParts {
  AsciiParts() {
    for (uint32_t code = 0; code < 128; ++code) parts[code] = part_of(code);
  }
  Part parts[128];
};

bool is_boundary(const WordRules& rules, Part before, Part after) {
  if (before == kPartInvalid || after == kPartInvalid) return true;
  if (rules.splits_digits && (before == kPartNumber || after == kPartNumber)) return true;
  if (after == kPartSpace) return before != kPartSpace;
  return rules.splits_punctuation && before != kPartSpace && before != after;
}

}  // namespace

bool WordCounts::add(std::string_view record) {
  if (record.empty()) return true;
  text_bytes_ += record.size();
  if (rules_.kind == kTokenizerByteBpe) {
    add_byte_level(record);
  } else {
    // Every text is encoded with a space before it.
    prefixed_.assign(1, ' ').append(record);
    add_scored(prefixed_);
  }
  return kept_bytes_ <= most_bytes_;
}

void WordCounts::add_scored(std::string_view text) {
  static const AsciiParts ascii;
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(text.data());
  size_t start = 0;
  Part before = kPartInvalid;
  for (size_t i = 0; i < text.size();) {
    uint32_t n = 1;
    Part part;
    if (bytes[i] < 0x80) {
      part = ascii.parts[bytes[i]];
    } else {
      n = utf8_valid_character(bytes + i, text.size() - i);
      part = n > 0 ? part_of(utf8_code_point(bytes + i, n)) : kPartInvalid;
      n = n > 0 ? n : 1;
    }
    if (is_boundary(rules_, before, part)) {
      add_word(text.substr(start, i - start));
      start = i;
    }
    i += n;
    if (part == kPartInvalid) {
      ++invalid_bytes_;
      start = i;
    }
    before = part;
  }
  add_word(text.substr(start));
}

void WordCounts::add_byte_level(std::string_view text) {
  while (!text.empty()) {
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(text.data());
    const size_t n = first_word(rules_.pre_tokenizer, bytes, text.size());
    const std::string_view word = text.substr(0, n);
    // The tokenizer reads a byte that is no UTF-8 as U+FFFD.
    replaced_.clear();
    bool is_valid = true;
    for (size_t i = 0; i < n;) {
      const uint32_t length = utf8_valid_character(bytes + i, n - i);
      replaced_ += length > 0 ? word.substr(i, length) : std::string_view("\xef\xbf\xbd");
      is_valid &= length > 0;
      i += length > 0 ? length : 1;
    }
    add_word(is_valid ? word : std::string_view(replaced_));
    text.remove_prefix(n);
  }
}

void WordCounts::add_word(std::string_view word) {
  while (word.size() > kMaxCountedBytes) {
    size_t n = kMaxCountedBytes;  // between characters
    while ((static_cast<uint8_t>(word[n]) & 0xc0) == 0x80) --n;
    add_piece(word.substr(0, n));
    word.remove_prefix(n);
  }
  if (!word.empty()) add_piece(word);
}

void WordCounts::add_piece(std::string_view piece) {
  const auto found = words_.find(piece);
  if (found != words_.end()) {
    ++found->second;
  } else if (kept_bytes_ <= most_bytes_) {
    words_.emplace(kept(piece), 1);
  }
}

std::string_view WordCounts::kept(std::string_view piece) {
  if (blocks_.empty() || kBlockBytes - block_used_ < piece.size()) {
    blocks_.emplace_back(new char[kBlockBytes]);
    block_used_ = 0;
  }
  char* const at = blocks_.back().get() + block_used_;
  std::memcpy(at, piece.data(), piece.size());
  block_used_ += piece.size();
  kept_bytes_ += piece.size();
  return {at, piece.size()};
}

}  // namespace thimble::tools::train
