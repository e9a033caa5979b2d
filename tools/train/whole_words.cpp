// SPDX-License-Identifier: MIT
#include "train/whole_words.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "train/merge_learner.h"

namespace thimble::tools::train {
namespace {

// Rounds of merges from words that are no tokens, then tokens from words that are long.
constexpr int kRounds = 3;
// Numbers of merges that are tried: eighths of n, then halves of that beside the best one.
constexpr size_t kShares = 8;
constexpr int kRefinements = 4;

struct Word {
  std::string_view text;
  uint64_t count;
  bool may_be_token;
  bool is_token = false;
};

class Search {
 public:
  Search(const WordCounts& counts, size_t n, size_t max_bytes, uint64_t min_count,
         const std::function<bool(const std::string&)>& is_barred)
      : n_(n), max_bytes_(max_bytes), min_count_(min_count), is_barred_(is_barred) {
    for (const auto& [text, count] : counts.words()) {
      const bool may_be = text.size() > 1 && text.size() <= max_bytes && count >= min_count &&
                          !is_barred(std::string(text));
      words_.push_back({text, count, may_be});
    }
    std::sort(words_.begin(), words_.end(),
              [](const Word& a, const Word& b) { return a.text < b.text; });
  }

  void try_merges(size_t n_merges) {
    for (int round = 0; round < kRounds; ++round) {
      WholeWords found = learn(n_merges);
      const size_t n_best = best_.merged.size() + best_.words.size();
      const size_t n_found = found.merged.size() + found.words.size();
      if (n_found > n_best || (n_found == n_best && found.n_tokens < best_.n_tokens)) {
        best_ = std::move(found);
        best_merges_ = n_merges;
      }
    }
  }

  size_t best_merges() const { return best_merges_; }
  WholeWords take() { return std::move(best_); }

 private:
  WholeWords learn(size_t n_merges) {
    MergeLearner learner = MergeLearner::over_bytes(max_bytes_);
    for (const Word& word : words_) learner.add_bytes(word.text, word.is_token ? 0 : word.count);
    WholeWords found;
    learner.learn(n_merges, min_count_, is_barred_);
    found.merged.assign(learner.texts().begin() + 256, learner.texts().end());
    found.last_count = learner.last_count();
    choose_words(learner, &found);
    return found;
  }

  void choose_words(const MergeLearner& learner, WholeWords* found) {
    const std::unordered_set<std::string_view> merged(found->merged.begin(), found->merged.end());
    std::vector<std::pair<uint64_t, size_t>> saved;  // tokens, by a word
    for (size_t i = 0; i < words_.size(); ++i) {
      Word& word = words_[i];
      word.is_token = merged.count(word.text) > 0;
      const uint64_t n = word.is_token ? 1 : learner.n_symbols(i);
      found->n_tokens += n * word.count;
      if (n > 1 && word.may_be_token) saved.emplace_back((n - 1) * word.count, i);
    }
    const size_t room = std::min(n_ - found->merged.size(), saved.size());
    std::sort(saved.begin(), saved.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    for (size_t k = 0; k < room; ++k) {
      Word& word = words_[saved[k].second];
      word.is_token = true;
      found->words.emplace_back(word.text);
      found->n_tokens -= saved[k].first;
    }
  }

  size_t n_, max_bytes_;
  uint64_t min_count_;
  const std::function<bool(const std::string&)>& is_barred_;
  std::vector<Word> words_;
  WholeWords best_;
  size_t best_merges_ = 0;
};

}  // namespace

WholeWords learn_whole_words(const WordCounts& counts, size_t n, size_t max_bytes,
                             uint64_t min_count,
                             const std::function<bool(const std::string&)>& is_barred) {
  Search search(counts, n, max_bytes, min_count, is_barred);
  for (size_t share = kShares; share > 0; --share) search.try_merges(n * share / kShares);
  size_t step = n / kShares;
  for (int k = 0; k < kRefinements && step > 1; ++k) {
    step /= 2;
    const size_t best = search.best_merges();
    if (best >= step) search.try_merges(best - step);
    if (best + step <= n) search.try_merges(best + step);
  }
  return search.take();
}

}  // namespace thimble::tools::train
