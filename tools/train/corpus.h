// SPDX-License-Identifier: MIT
// Texts as tokens, record by record, a part of them held out.
#ifndef THIMBLE_TOOLS_TRAIN_CORPUS_H
#define THIMBLE_TOOLS_TRAIN_CORPUS_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "network.h"
#include "thimble/thimble.h"
#include "token_store.h"

namespace thimble::tools::train {

enum class RecordRule { kMarks, kLines, kFiles };  // <|endoftext|>, a line or a file a record

// Tokens [at, at + n] of the corpus: n that are fed, and what follows each of them. The first
// `skipped` targets are not asked for.
struct Window {
  uint64_t at;
  uint32_t n, skipped;
};

class Corpus {
 public:
  // `model` has the tokenizer and must stay. held_out: a share of the records, 0 to 1. folder: for
  // the tokens, which lie in a file.
  Corpus(const thimble_model& model, uint32_t n_ctx, double held_out, uint64_t seed,
         const std::string& folder);

  // Throws Refused for what cannot be encoded.
  void add(std::string_view text, RecordRule rule);
  // After the last text. Throws Refused, if there is nothing to learn from.
  void finish();

  // Of a record that is longer than the context the first window starts where it does; the others
  // overlap the one before by half, and what is in that was asked for there.
  const std::vector<Window>& windows() const { return windows_; }
  const std::vector<Window>& held_out() const { return held_out_; }
  uint64_t held_out_bytes() const { return held_out_bytes_; }    // text of its targets
  uint64_t held_out_tokens() const { return held_out_tokens_; }  // targets
  uint64_t n_records() const { return n_records_; }
  uint64_t n_held_out_records() const { return held_out_.size(); }
  uint64_t n_tokens() const { return tokens_.size(); }
  uint64_t epoch_tokens() const { return epoch_tokens_; }  // of all windows
  uint64_t n_bytes() const { return n_bytes_; }
  uint32_t checksum() const { return tokens_.checksum(); }

  // Windows side by side in one pack.
  void append(const Window& window, Pack* pack) const;

 private:
  void add_record(std::string_view record);
  void add_windows(uint64_t at, uint32_t n_tokens);

  const thimble_model& model_;
  uint32_t n_ctx_;
  double share_;
  uint64_t seed_;
  TokenStore tokens_;
  std::vector<Window> windows_, held_out_;
  uint64_t held_out_bytes_ = 0, held_out_tokens_ = 0, n_records_ = 0, n_bytes_ = 0,
           epoch_tokens_ = 0;
};

// Packs of the corpus for one step after another: epochs in ever new orders.
class Batches {
 public:
  struct Place {
    uint64_t epoch = 0, at = 0;  // windows of that epoch that were used
  };
  // A batch has at least `tokens` tokens, a pack at most pack_tokens (or one window).
  Batches(const Corpus& corpus, uint64_t seed, uint32_t tokens, uint32_t pack_tokens);

  std::vector<Pack> next();
  const Place& place() const { return place_; }
  void go_to(const Place& place);

 private:
  void shuffle();

  const Corpus& corpus_;
  uint64_t seed_;
  uint32_t tokens_, pack_tokens_;
  Place place_;
  std::vector<uint32_t> order_;
};

// Windows in packs, in their order.
std::vector<Pack> packs_of(const Corpus& corpus, const std::vector<Window>& windows,
                           uint32_t pack_tokens);

}  // namespace thimble::tools::train

#endif
