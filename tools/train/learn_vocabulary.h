// SPDX-License-Identifier: MIT
// A vocabulary of byte pair encoding, learnt from a text.
#ifndef THIMBLE_TOOLS_TRAIN_LEARN_VOCABULARY_H
#define THIMBLE_TOOLS_TRAIN_LEARN_VOCABULARY_H

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "image.h"

namespace thimble::tools::train {

struct VocabularyOptions {
  // kTokenizerScoredBpe: as SentencePiece makes them: <unk>, <s>, </s>, 256 byte tokens, what was
  // merged with scores 0, -1, -2 and so on, the text's characters. A text gets a space before it,
  // and a space stands only at a token's start.
  // kTokenizerByteBpe: as GPT-2's: 256 bytes, what was merged, <|endoftext|>. A byte that is no
  // UTF-8 is read as U+FFFD.
  TokenizerType kind = kTokenizerScoredBpe;
  uint32_t vocab_size = 1024;      // all tokens; up to kMaxVocab
  bool splits_digits = true;       // a digit is a token by itself
  bool splits_punctuation = true;  // scored: no token has letters beside what is none
  // Byte-level: tokens for whole words beside merges; a word that is a token is not merged
  // (kTokenizerIgnoresMerges). Fewer tokens, of stories 2.9 % with 1024, 1.2 % with 2048; takes
  // some 50 times as long. GGUF has no way to say it together with this pre-tokenizer.
  bool has_whole_words = false;
  double coverage = 0.9995;           // scored: share of the text's characters that get tokens, the
                                      // most frequent first; (0, 1]; bytes stand for the others
  uint32_t max_token_bytes = 64;      // of what is merged; up to kMaxTokenBytes
  uint64_t min_count = 2;             // a pair that occurs less is not merged
  bool may_be_smaller = false;        // where the text's pairs do not suffice, instead of Refused
  size_t most_word_bytes = 32 << 20;  // of all different words; with more, a part of the records is
                                      // learnt from: half of them, a quarter, ..., chosen by hash
};

struct VocabularyReport {
  uint64_t text_bytes = 0, n_records = 0;  // learnt from
  uint32_t halvings = 0;                   // of the records, because of most_word_bytes
  size_t n_words = 0;                      // different ones
  size_t n_characters = 0, n_merges = 0, n_whole_words = 0;
  uint64_t last_count = 0;  // how often the pair occurred that was merged last
  uint64_t n_tokens = 0;    // that the text is then
};

// The result is decided by the texts alone, not by their order: the pair that occurs most is merged
// first, of equal ones the first in the order of bytes. Time: that of a look at each word, then a
// few seconds for 32 000 merges. Memory: up to some 40 times the bytes of all different words, of
// which 16 MB of English have about half a megabyte.
//
// Throws Refused: no text, options out of range, a size that the characters do not leave room in,
// or that the text's pairs do not suffice for; the message says what would do.
Vocabulary learn_vocabulary(const std::vector<std::string_view>& records,
                            const VocabularyOptions& options, VocabularyReport* report = nullptr);

}  // namespace thimble::tools::train

#endif
