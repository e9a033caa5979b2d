// SPDX-License-Identifier: MIT
// Tokens for whole words beside merges, where a word that is a token needs no merging: what would
// only be a step on the way to a word ("arden" to " garden") then takes no place.
#ifndef THIMBLE_TOOLS_TRAIN_WHOLE_WORDS_H
#define THIMBLE_TOOLS_TRAIN_WHOLE_WORDS_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "train/word_counts.h"

namespace thimble::tools::train {

struct WholeWords {
  std::vector<std::string> merged;  // the most urgent first
  std::vector<std::string> words;   // those that save most first
  uint64_t last_count = 0;          // how often the pair occurred that was merged last
  uint64_t n_tokens = 0;            // that the text is then
};

// `n` texts together if the text has them. How many of them are merges is searched for: merges are
// learnt from the words that are no tokens, tokens are the words that most is saved by, in turn. So
// it takes some 50 times as long as merges alone. Words are in bytes.
WholeWords learn_whole_words(const WordCounts& counts, size_t n, size_t max_bytes,
                             uint64_t min_count,
                             const std::function<bool(const std::string&)>& is_barred);

}  // namespace thimble::tools::train

#endif
