// SPDX-License-Identifier: MIT
#include "corpus.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "crc32.h"
#include "error.h"
#include "random_stream.h"
#include "records.h"
#include "vocabulary.h"

namespace thimble::tools::train {
namespace {

std::vector<std::string_view> records_by(RecordRule rule, std::string_view text) {
  if (rule == RecordRule::kMarks) return split_records(text);
  std::vector<std::string_view> records;
  for (size_t start = 0; start < text.size();) {
    size_t end = rule == RecordRule::kLines ? text.find('\n', start) : text.size();
    end = std::min(end, text.size());
    const std::string_view record = text.substr(start, end - start);
    if (record.find_first_not_of(" \t\r\n\v\f") != std::string_view::npos) {
      records.push_back(record);
    }
    start = end + 1;
  }
  return records;
}

}  // namespace

Corpus::Corpus(const thimble_model& model, uint32_t n_ctx, double held_out, uint64_t seed,
               const std::string& folder)
    : model_(model),
      n_ctx_(n_ctx),
      share_(held_out),
      seed_(seed),
      tokens_(folder, model.vocab_size) {}

void Corpus::add(std::string_view text, RecordRule rule) {
  for (std::string_view record : records_by(rule, text)) add_record(record);
}

void Corpus::add_record(std::string_view record) {
  std::vector<int32_t> tokens = encode_all(model_, std::string(record), THIMBLE_ENCODE_BOS);
  const uint64_t at = tokens_.size();
  const uint32_t n_text = static_cast<uint32_t>(tokens.size());
  // Where the record ends the model says so, with whatever the engine takes for an end.
  const int32_t end = model_.eos_id >= 0 ? model_.eos_id : model_.bos_id;
  if (end >= 0) tokens.push_back(end);
  tokens_.append(tokens);
  n_bytes_ += record.size();
  // By its number, so that a record stays what it is when others are added behind.
  RandomStream random(seed_ ^ 0x68656c64u, n_records_++);
  const uint32_t n = static_cast<uint32_t>(tokens_.size() - at);
  if (share_ > 0 && random.unit() < share_) {
    // As `thimble eval` scores it: without its end, and cut at the context.
    const uint32_t scored = n_text == 0 ? 0 : std::min(n_ctx_, n_text - 1);
    if (scored == 0) return;
    held_out_.push_back({at, scored, 0});
    return;
  }
  add_windows(at, n);
}

void Corpus::add_windows(uint64_t at, uint32_t n_tokens) {
  if (n_tokens < 2) return;
  const uint32_t n = n_tokens - 1;
  windows_.push_back({at, std::min(n, n_ctx_), 0});
  for (uint32_t done = n_ctx_; done < n;) {
    // Half of the context again, more where the record ends.
    const uint32_t end = std::min(done + std::max(1u, n_ctx_ / 2), n);
    const uint32_t begin = end - n_ctx_;
    windows_.push_back({at + begin, n_ctx_, done - begin});
    done = end;
  }
}

void Corpus::finish() {
  tokens_.finish();
  if (windows_.empty() && held_out_.size() > 1) {
    throw Refused(
        format("all %zu records were held out, expected some to learn from: give a "
               "smaller --held-out, or 0",
               held_out_.size()));
  }
  if (windows_.empty() && held_out_.size() == 1) {  // a single one is better learnt
    const Window only = held_out_[0];
    held_out_.clear();
    add_windows(only.at, static_cast<uint32_t>(tokens_.size() - only.at));
  }
  if (windows_.empty()) {
    throw Refused("the texts hold nothing to learn from: expected records of at least 2 tokens");
  }
  for (const Window& w : windows_) epoch_tokens_ += w.n;
  std::vector<char> text(3 * size_t{model_.max_token_bytes} + 3);
  for (const Window& w : held_out_) {
    thimble_decoder decoder{};
    for (uint32_t i = 1; i <= w.n; ++i) {
      const int32_t bytes =
          thimble_decode(&model_, &decoder, tokens_[w.at + i], text.data(), text.size());
      held_out_bytes_ += static_cast<uint64_t>(std::max(0, bytes));
    }
    held_out_tokens_ += w.n;
  }
}

void Corpus::append(const Window& w, Pack* pack) const {
  pack->sequences.push_back({static_cast<uint32_t>(pack->tokens.size()), w.n});
  for (uint32_t i = 0; i < w.n; ++i) {
    pack->tokens.push_back(tokens_[w.at + i]);
    pack->targets.push_back(i < w.skipped ? -1 : tokens_[w.at + i + 1]);
  }
}

Batches::Batches(const Corpus& corpus, uint64_t seed, uint32_t tokens, uint32_t pack_tokens)
    : corpus_(corpus), seed_(seed), tokens_(tokens), pack_tokens_(pack_tokens) {
  shuffle();
}

void Batches::shuffle() {
  order_.resize(corpus_.windows().size());
  std::iota(order_.begin(), order_.end(), 0u);
  RandomStream random(seed_ ^ 0x6f72646572u, place_.epoch);
  for (size_t i = order_.size(); i > 1; --i) {
    std::swap(order_[i - 1], order_[random.below(static_cast<uint32_t>(i))]);
  }
}

void Batches::go_to(const Place& place) {
  place_ = place;
  shuffle();
}

std::vector<Pack> Batches::next() {
  std::vector<Pack> packs(1);
  for (size_t tokens = 0; tokens < tokens_;) {
    if (place_.at == order_.size()) {
      place_ = {place_.epoch + 1, 0};
      shuffle();
    }
    const Window& w = corpus_.windows()[order_[static_cast<size_t>(place_.at++)]];
    const size_t held = packs.back().tokens.size();
    if (held > 0 && held + w.n > pack_tokens_) packs.emplace_back();
    corpus_.append(w, &packs.back());
    tokens += w.n;
  }
  return packs;
}

std::vector<Pack> packs_of(const Corpus& corpus, const std::vector<Window>& windows,
                           uint32_t pack_tokens) {
  std::vector<Pack> packs;
  for (const Window& w : windows) {
    if (packs.empty() || packs.back().tokens.size() + w.n > pack_tokens) packs.emplace_back();
    corpus.append(w, &packs.back());
  }
  return packs;
}

}  // namespace thimble::tools::train
