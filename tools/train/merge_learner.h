// SPDX-License-Identifier: MIT
// Learns which symbols to merge: byte pair encoding (Gage 1994; Sennrich et al. 2016).
#ifndef THIMBLE_TOOLS_TRAIN_MERGE_LEARNER_H
#define THIMBLE_TOOLS_TRAIN_MERGE_LEARNER_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble::tools::train {

// As the engine's tokenizer has it, pairs that give the same text are one candidate: counted
// together, merged together, and, where a text is a token already, merged as soon as two symbols
// that give it meet. So the words are at every step what the engine makes of them.
//
// Each step takes the most frequent candidate; of equal ones, the first in the order of bytes.
// A step costs what the words with its candidate have in symbols; candidates wait in a heap.
// Memory: 20 bytes a symbol of different words, about 90 a candidate.
class MergeLearner {
 public:
  // symbols: texts, all different, that words start from; none is what two others give.
  // max_bytes: of a text that is learnt.
  MergeLearner(std::vector<std::string> symbols, size_t max_bytes);

  // Starts from the 256 bytes, in order.
  static MergeLearner over_bytes(size_t max_bytes);

  // A word that counts 0 teaches nothing, but is merged as others are. An empty one is left out.
  void add_word(const uint32_t* symbols, size_t n, uint64_t count);
  // Of a learner over bytes.
  void add_bytes(std::string_view word, uint64_t count);

  // Learns up to n texts from pairs that occur `min_count` times or more, and gives how many. Once,
  // when all words are there. `is_barred`: texts that no pair may give.
  size_t learn(size_t n, uint64_t min_count,
               const std::function<bool(const std::string&)>& is_barred);

  // Those given, then those learnt.
  const std::vector<std::string>& texts() const { return texts_; }
  // How often the pair that was learnt last occurred.
  uint64_t last_count() const { return last_count_; }
  // Symbols that the words are now, all together, and one of them, in the order of add_word.
  uint64_t n_symbols() const;
  uint32_t n_symbols(size_t word) const { return words_[word].n; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  // The hash of a text is a polynomial's value, so that of two texts in a row follows from theirs.
  struct Hashed {
    uint64_t hash, power;
  };
  struct Word {
    size_t at;  // in symbols_
    uint32_t n;
    uint64_t count;
  };
  struct Candidate {
    uint32_t left, right;  // one pair that gives it
    uint64_t hash;
    uint64_t count = 0;
    uint64_t waits_with = 0;      // the count that it stands in the heap with
    uint32_t token = kNone;       // once it is one
    bool is_touched = false;      // in touched_
    std::vector<uint32_t> words;  // that have it, or had it
  };
  struct Waiting {
    uint64_t count;
    uint32_t candidate;
  };

  void add_symbol(std::string text);
  size_t bytes_of(const Candidate& c) const {
    return texts_[c.left].size() + texts_[c.right].size();
  }
  uint8_t byte_of(const Candidate& c, size_t i) const;
  bool same_text(const Candidate& c, uint32_t left, uint32_t right) const;
  int compare_texts(const Candidate& a, const Candidate& b) const;
  // The candidate of a pair; kNone if it is too long.
  uint32_t candidate_of(uint32_t left, uint32_t right);
  uint32_t token_of(uint32_t left, uint32_t right);
  bool gives(uint32_t left, uint32_t right, uint32_t token) const;
  void grow_table();
  void add_pair(uint32_t word, uint32_t i);
  void remove_pair(const Word& word, uint32_t i);
  void merge_in_word(uint32_t word, uint32_t token);
  uint32_t merge_at(uint32_t word, uint32_t i, uint32_t token);
  void push_touched(uint64_t min_count);
  bool is_behind(const Waiting& a, const Waiting& b) const;

  size_t max_bytes_;
  std::vector<std::string> texts_;  // by symbol
  std::vector<Hashed> hashes_;      // by symbol
  std::vector<uint32_t> symbols_;   // of all words
  std::vector<Word> words_;
  std::vector<Candidate> candidates_;
  std::vector<uint32_t> table_;  // candidates by hash, kNone: free
  std::vector<uint32_t> touched_;
  std::vector<Waiting> heap_;
  uint64_t last_count_ = 0;
};

}  // namespace thimble::tools::train

#endif
