// SPDX-License-Identifier: MIT
#include "train/merge_learner.h"

#include <algorithm>
#include <utility>

namespace thimble::tools::train {
namespace {

constexpr uint64_t kBase = 0x9e3779b97f4a7c15u;

size_t slot_of(uint64_t hash, size_t slots) {
  hash ^= hash >> 32;
  return static_cast<size_t>((hash * 0xd6e8feb86659fd93u) >> 20) & (slots - 1);
}

}  // namespace

MergeLearner::MergeLearner(std::vector<std::string> symbols, size_t max_bytes)
    : max_bytes_(max_bytes), table_(1024, kNone) {
  for (std::string& text : symbols) add_symbol(std::move(text));
}

MergeLearner MergeLearner::over_bytes(size_t max_bytes) {
  std::vector<std::string> bytes(256);
  for (size_t byte = 0; byte < bytes.size(); ++byte) bytes[byte] = static_cast<char>(byte);
  return MergeLearner(std::move(bytes), max_bytes);
}

void MergeLearner::add_symbol(std::string text) {
  Hashed h = {0, 1};
  for (const char c : text) {
    h.hash = h.hash * kBase + static_cast<uint8_t>(c) + 1;
    h.power *= kBase;
  }
  hashes_.push_back(h);
  texts_.push_back(std::move(text));
}

void MergeLearner::add_word(const uint32_t* symbols, size_t n, uint64_t count) {
  if (n == 0) return;
  const uint32_t word = static_cast<uint32_t>(words_.size());
  words_.push_back({symbols_.size(), static_cast<uint32_t>(n), count});
  symbols_.insert(symbols_.end(), symbols, symbols + n);
  for (uint32_t i = 0; i + 1 < n; ++i) add_pair(word, i);
}

void MergeLearner::add_bytes(std::string_view word, uint64_t count) {
  const std::vector<uint32_t> symbols(reinterpret_cast<const uint8_t*>(word.data()),
                                      reinterpret_cast<const uint8_t*>(word.data()) + word.size());
  add_word(symbols.data(), symbols.size(), count);
}

uint64_t MergeLearner::n_symbols() const {
  uint64_t n = 0;
  for (const Word& word : words_) n += word.n * word.count;
  return n;
}

// ---- Candidates ---------------------------------------------------------------------------------

uint8_t MergeLearner::byte_of(const Candidate& c, size_t i) const {
  const std::string& left = texts_[c.left];
  return static_cast<uint8_t>(i < left.size() ? left[i] : texts_[c.right][i - left.size()]);
}

bool MergeLearner::same_text(const Candidate& c, uint32_t left, uint32_t right) const {
  if (c.left == left && c.right == right) return true;
  const std::string &a = texts_[left], &b = texts_[right];
  if (bytes_of(c) != a.size() + b.size()) return false;
  for (size_t i = 0; i < a.size() + b.size(); ++i) {
    const char byte = i < a.size() ? a[i] : b[i - a.size()];
    if (byte_of(c, i) != static_cast<uint8_t>(byte)) return false;
  }
  return true;
}

int MergeLearner::compare_texts(const Candidate& a, const Candidate& b) const {
  const size_t n_a = bytes_of(a), n_b = bytes_of(b);
  for (size_t i = 0; i < std::min(n_a, n_b); ++i) {
    const int difference = byte_of(a, i) - byte_of(b, i);
    if (difference != 0) return difference;
  }
  return n_a == n_b ? 0 : n_a < n_b ? -1 : 1;
}

uint32_t MergeLearner::candidate_of(uint32_t left, uint32_t right) {
  if (texts_[left].size() + texts_[right].size() > max_bytes_) return kNone;
  const uint64_t hash = hashes_[left].hash * hashes_[right].power + hashes_[right].hash;
  size_t slot = slot_of(hash, table_.size());
  for (; table_[slot] != kNone; slot = (slot + 1) & (table_.size() - 1)) {
    const Candidate& c = candidates_[table_[slot]];
    if (c.hash == hash && same_text(c, left, right)) return table_[slot];
  }
  const uint32_t candidate = static_cast<uint32_t>(candidates_.size());
  table_[slot] = candidate;
  candidates_.emplace_back();
  candidates_.back().left = left;
  candidates_.back().right = right;
  candidates_.back().hash = hash;
  if (candidates_.size() * 2 > table_.size()) grow_table();
  return candidate;
}

void MergeLearner::grow_table() {
  table_.assign(table_.size() * 2, kNone);
  for (uint32_t i = 0; i < candidates_.size(); ++i) {
    size_t slot = slot_of(candidates_[i].hash, table_.size());
    while (table_[slot] != kNone) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = i;
  }
}

uint32_t MergeLearner::token_of(uint32_t left, uint32_t right) {
  const uint32_t candidate = candidate_of(left, right);
  return candidate == kNone ? kNone : candidates_[candidate].token;
}

// Whether two symbols give a token's text.
bool MergeLearner::gives(uint32_t left, uint32_t right, uint32_t token) const {
  const std::string &a = texts_[left], &b = texts_[right], &text = texts_[token];
  return a.size() + b.size() == text.size() && text.compare(0, a.size(), a) == 0 &&
         text.compare(a.size(), b.size(), b) == 0;
}

// ---- Words --------------------------------------------------------------------------------------

void MergeLearner::add_pair(uint32_t word, uint32_t i) {
  const Word& w = words_[word];
  const uint32_t index = candidate_of(symbols_[w.at + i], symbols_[w.at + i + 1]);
  if (index == kNone) return;
  Candidate& c = candidates_[index];
  c.count += w.count;
  if (c.token != kNone) return;
  if (c.words.empty() || c.words.back() != word) c.words.push_back(word);
  if (!c.is_touched) {
    c.is_touched = true;
    touched_.push_back(index);
  }
}

void MergeLearner::remove_pair(const Word& w, uint32_t i) {
  const uint32_t index = candidate_of(symbols_[w.at + i], symbols_[w.at + i + 1]);
  if (index != kNone) candidates_[index].count -= w.count;
}

// All places of a new token in a word, from the left.
void MergeLearner::merge_in_word(uint32_t word, uint32_t token) {
  const Word& w = words_[word];
  for (uint32_t i = 0; i + 1 < w.n;) {
    const uint32_t* pair = symbols_.data() + w.at + i;
    i = gives(pair[0], pair[1], token) ? merge_at(word, i, token) : i + 1;
  }
}

// Merges the symbols at i and i + 1, and what then gives a token with a neighbour: the older the
// token, the earlier. Gives where the symbol is that came of it.
uint32_t MergeLearner::merge_at(uint32_t word, uint32_t i, uint32_t token) {
  Word& w = words_[word];
  uint32_t* const s = symbols_.data() + w.at;
  while (token != kNone) {
    for (uint32_t k = i > 0 ? i - 1 : 0; k <= i + 1 && k + 1 < w.n; ++k) remove_pair(w, k);
    s[i] = token;
    --w.n;
    std::copy(s + i + 2, s + w.n + 1, s + i + 1);
    if (i > 0) add_pair(word, i - 1);
    if (i + 1 < w.n) add_pair(word, i);

    const uint32_t before = i > 0 ? token_of(s[i - 1], s[i]) : kNone;
    const uint32_t behind = i + 1 < w.n ? token_of(s[i], s[i + 1]) : kNone;
    token = std::min(before, behind);
    if (token != kNone && token == before) --i;
  }
  return i;
}

// ---- Steps --------------------------------------------------------------------------------------

// Candidates are taken in the order of counts, then of texts.
bool MergeLearner::is_behind(const Waiting& a, const Waiting& b) const {
  if (a.count != b.count) return a.count < b.count;
  return compare_texts(candidates_[a.candidate], candidates_[b.candidate]) > 0;
}

void MergeLearner::push_touched(uint64_t min_count) {
  const auto behind = [this](const Waiting& a, const Waiting& b) { return is_behind(a, b); };
  for (const uint32_t index : touched_) {
    Candidate& c = candidates_[index];
    c.is_touched = false;
    if (c.token != kNone || c.count < min_count || c.count <= c.waits_with) continue;
    c.waits_with = c.count;
    heap_.push_back({c.count, index});
    std::push_heap(heap_.begin(), heap_.end(), behind);
  }
  touched_.clear();
}

size_t MergeLearner::learn(size_t n, uint64_t min_count,
                           const std::function<bool(const std::string&)>& is_barred) {
  const auto behind = [this](const Waiting& a, const Waiting& b) { return is_behind(a, b); };
  size_t n_learnt = 0;
  push_touched(min_count);
  while (n_learnt < n && !heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), behind);
    const Waiting top = heap_.back();
    heap_.pop_back();
    Candidate& best = candidates_[top.candidate];
    if (best.token != kNone || top.count != best.waits_with) continue;  // it waits elsewhere, too
    if (best.count != top.count) {
      best.waits_with = best.count >= min_count ? best.count : 0;
      if (best.waits_with == 0) continue;
      heap_.push_back({best.count, top.candidate});
      std::push_heap(heap_.begin(), heap_.end(), behind);
      continue;
    }
    std::string text = texts_[best.left] + texts_[best.right];
    if (is_barred(text)) continue;
    const uint32_t token = static_cast<uint32_t>(texts_.size());
    best.token = token;
    last_count_ = best.count;
    add_symbol(std::move(text));
    const std::vector<uint32_t> words = std::move(best.words);
    best.words = {};
    for (const uint32_t word : words) merge_in_word(word, token);
    push_touched(min_count);
    ++n_learnt;
  }
  return n_learnt;
}

}  // namespace thimble::tools::train
