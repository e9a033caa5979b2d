// SPDX-License-Identifier: MIT
// Texts as tokens, record by record, in the windows that are trained on and those held out.
#ifndef THIMBLE_TOOLS_TRAIN_CORPUS_H
#define THIMBLE_TOOLS_TRAIN_CORPUS_H

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "network.h"
#include "text_records.h"
#include "thimble/thimble.h"
#include "token_store.h"

namespace thimble::tools::train {

// Tokens [at, at + n] of the corpus: n that are fed, and what follows each of them. The first
// `skipped` targets are not asked for.
struct Window {
  uint64_t at;
  uint32_t n, skipped;
};

class Corpus {
 public:
  // `model` has the tokenizer and must stay. folder: for the tokens, which lie in a file.
  Corpus(const thimble_model& model, uint32_t n_ctx, const std::string& folder);

  // All records, pieces that lie side by side together. `progress` is told the share that is done.
  // Throws Refused for what cannot be encoded.
  void add(const TextRecords& records, const std::function<void(double)>& progress = {});

  // The same by hand: a record to train on, in one part or more, or one that is held out. One that
  // continues another has no beginning-of-text token, one that goes on no end.
  void begin_record(bool continues = false);
  void add_prompt(std::string_view text);  // of the record's beginning: given, not learnt
  void add_text(std::string_view text);
  void end_record(bool goes_on = false);
  void add_held_out(const TextRecord& record);

  // After the last record. Throws Refused, with the texts' `name`, if there is nothing to learn.
  void finish(const std::string& name);

  // Of a record that is longer than the context the first window starts where it does; the others
  // overlap the one before by half, and what is in that was asked for there. Nor is, of a record
  // that continues another, what so few tokens before it would say.
  const std::vector<Window>& windows() const { return windows_; }
  const std::vector<Window>& held_out() const { return held_out_; }
  uint64_t held_out_bytes() const { return held_out_bytes_; }    // text of its targets
  uint64_t held_out_tokens() const { return held_out_tokens_; }  // targets
  uint64_t n_tokens() const { return tokens_.size(); }
  uint64_t epoch_tokens() const { return epoch_tokens_; }  // of all windows
  uint32_t checksum() const { return tokens_.checksum(); }

  // Windows side by side in one pack.
  void append(const Window& window, Pack* pack) const;

 private:
  uint32_t encode(std::string_view text, uint32_t flags);
  void add_windows(uint64_t at, uint64_t n_tokens);

  const thimble_model& model_;
  uint32_t n_ctx_;
  TokenStore tokens_;
  uint64_t record_at_ = 0;  // of the record that was begun
  uint64_t given_ = 0;      // its tokens that are not asked for
  bool is_at_start_ = false, continues_ = false;
  std::vector<Window> windows_, held_out_;
  uint64_t held_out_bytes_ = 0, held_out_tokens_ = 0, epoch_tokens_ = 0;
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
