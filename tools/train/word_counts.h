// SPDX-License-Identifier: MIT
// The different words of a text, as the tokenizer will cut them, and how often each occurs.
#ifndef THIMBLE_TOOLS_TRAIN_WORD_COUNTS_H
#define THIMBLE_TOOLS_TRAIN_WORD_COUNTS_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format.h"

namespace thimble::tools::train {

// What merges never cross. Scored BPE: the tokenizer merges up to the next space, so a boundary
// must show in the two characters at it; then no token has both, and it holds in any text.
struct WordRules {
  TokenizerType kind = kTokenizerScoredBpe;
  // Byte-level: one that cuts by itself. Scored: none.
  PreTokenizer pre_tokenizer = kPreTokenizerNone;
  bool splits_digits = true;       // scored: a digit stands alone
  bool splits_punctuation = true;  // scored: letters, numbers and all else stay apart
};

// Longer words are counted in pieces, so that texts without spaces cost no more than others.
constexpr size_t kMaxCountedBytes = 128;

// Memory: about 100 bytes a different word, and its text.
class WordCounts {
 public:
  // most_bytes: of the texts of all different words.
  WordCounts(const WordRules& rules, size_t most_bytes) : rules_(rules), most_bytes_(most_bytes) {}

  // Whether the words had room. The record may go afterwards.
  bool add(std::string_view record);

  const std::unordered_map<std::string_view, uint64_t>& words() const { return words_; }
  uint64_t text_bytes() const { return text_bytes_; }        // of all records
  uint64_t invalid_bytes() const { return invalid_bytes_; }  // scored: no UTF-8, so in no word

 private:
  void add_scored(std::string_view text);
  void add_byte_level(std::string_view text);
  void add_word(std::string_view word);
  void add_piece(std::string_view piece);
  std::string_view kept(std::string_view piece);

  WordRules rules_;
  size_t most_bytes_;
  std::unordered_map<std::string_view, uint64_t> words_;
  std::vector<std::unique_ptr<char[]>> blocks_;  // what the words' texts lie in
  size_t block_used_ = 0, kept_bytes_ = 0;
  uint64_t text_bytes_ = 0, invalid_bytes_ = 0;
  std::string prefixed_, replaced_;
};

}  // namespace thimble::tools::train

#endif
