// SPDX-License-Identifier: MIT
#include "corpus.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "error.h"
#include "random_stream.h"
#include "tokenizer.h"
#include "vocabulary.h"

namespace thimble::tools::train {
namespace {

// Targets behind a beginning that is none: what so few tokens say of them is no lesson.
constexpr uint32_t kSkippedBehindCut = 16;
std::string_view prompt_of(const TextRecord& record) {
  return record.text.substr(0, record.prompt_bytes);
}

constexpr size_t kPartBytes = size_t{1} << 20;  // of a long record, encoded at once

}  // namespace

Corpus::Corpus(const thimble_model& model, uint32_t n_ctx, const std::string& folder)
    : model_(model), n_ctx_(n_ctx), tokens_(folder, model.vocab_size) {}

void Corpus::add(const TextRecords& records, const std::function<void(double)>& progress) {
  const double all = static_cast<double>(records.training_bytes() + records.held_out_bytes());
  uint64_t done = 0, forgotten = 0;
  const auto tell = [&](size_t bytes) {
    done += bytes;
    if (progress) progress(static_cast<double>(done) / all);
    if (done - forgotten < (uint64_t{64} << 20)) return;
    records.forget();
    forgotten = done;
  };
  const std::vector<TextRecord>& training = records.training();
  for (size_t i = 0; i < training.size(); ++i) {
    begin_record(training[i].continues);
    if (training[i].prompt_bytes > 0) add_prompt(prompt_of(training[i]));
    std::string_view part = training[i].text.substr(training[i].prompt_bytes);
    for (; training[i].goes_on && i + 1 < training.size(); ++i) {
      const std::string_view next = training[i + 1].text;
      if (!training[i + 1].continues || next.data() != part.data() + part.size()) break;
      if (part.size() + next.size() <= kPartBytes) {
        part = {part.data(), part.size() + next.size()};
        continue;
      }
      add_text(part);
      tell(part.size());
      part = next;
    }
    add_text(part);
    tell(part.size());
    end_record(training[i].goes_on);
  }
  for (const TextRecord& record : records.held_out()) {
    add_held_out(record);
    tell(record.text.size());
  }
}

uint32_t Corpus::encode(std::string_view text, uint32_t flags) {
  const std::vector<int32_t> tokens = encode_all(model_, std::string(text), flags);
  tokens_.append(tokens);
  return static_cast<uint32_t>(tokens.size());
}

void Corpus::begin_record(bool continues) {
  record_at_ = tokens_.size();
  given_ = 1;  // the first token follows nothing
  is_at_start_ = true;
  continues_ = continues;
}

void Corpus::add_prompt(std::string_view text) {
  add_text(text);
  given_ = tokens_.size() - record_at_;
}

void Corpus::add_text(std::string_view text) {
  const uint32_t beginning = continues_ ? 0 : THIMBLE_ENCODE_BOS;
  encode(text, is_at_start_ ? beginning : kEncodeContinues);
  is_at_start_ = false;
}

void Corpus::end_record(bool goes_on) {
  // Where the record ends the model says so, with whatever the engine takes for an end.
  const int32_t end = model_.eos_id >= 0 ? model_.eos_id : model_.bos_id;
  if (end >= 0 && !goes_on) tokens_.append({end});
  const size_t first = windows_.size();
  add_windows(record_at_, tokens_.size() - record_at_);
  if (continues_ && windows_.size() > first) {
    Window& window = windows_[first];
    window.skipped = std::min(window.n / 2, kSkippedBehindCut);
  }
}

// As `thimble eval` scores it: without its end, and cut at the context.
void Corpus::add_held_out(const TextRecord& record) {
  const uint64_t at = tokens_.size();
  const uint32_t flags = record.continues ? 0 : THIMBLE_ENCODE_BOS;
  uint32_t given = 1, n;
  if (record.prompt_bytes > 0) {
    given = encode(prompt_of(record), flags);
    n = given + encode(record.text.substr(record.prompt_bytes), kEncodeContinues);
  } else {
    n = encode(record.text, flags);
  }
  n = std::min(n_ctx_ + 1, n);
  if (n > given) held_out_.push_back({at, n - 1, given - 1});
}

void Corpus::add_windows(uint64_t at, uint64_t n_tokens) {
  if (n_tokens < 2) return;
  const uint64_t n = n_tokens - 1, skipped = given_ - 1;
  const uint64_t first = std::min<uint64_t>(n, n_ctx_);
  if (skipped < first) {
    windows_.push_back({at, static_cast<uint32_t>(first), static_cast<uint32_t>(skipped)});
  }
  for (uint64_t done = n_ctx_; done < n;) {
    // Half of the context again, more where the record ends.
    const uint64_t end = std::min(done + std::max(1u, n_ctx_ / 2), n);
    const uint64_t begin = end - n_ctx_;
    const uint64_t asked = std::max(done, skipped);
    if (asked < end) {
      windows_.push_back({at + begin, n_ctx_, static_cast<uint32_t>(asked - begin)});
    }
    done = end;
  }
}

void Corpus::finish(const std::string& name) {
  tokens_.finish();
  if (windows_.empty()) {
    throw Refused(name + ": holds nothing to learn: expected a record of at least 2 tokens");
  }
  for (const Window& w : windows_) epoch_tokens_ += w.n;
  std::vector<char> text(3 * size_t{model_.max_token_bytes} + 3);
  for (const Window& w : held_out_) {
    thimble_decoder decoder{};
    for (uint32_t i = 1; i <= w.n; ++i) {
      const int32_t bytes =
          thimble_decode(&model_, &decoder, tokens_[w.at + i], text.data(), text.size());
      if (i > w.skipped) held_out_bytes_ += static_cast<uint64_t>(std::max(0, bytes));
    }
    held_out_tokens_ += w.n - w.skipped;
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
