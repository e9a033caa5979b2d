// SPDX-License-Identifier: MIT
#include "checkpoint_parts.h"

#include <algorithm>
#include <unordered_set>

#include "error.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Buffers that some frameworks store and nobody needs.
bool is_needless(const std::string& name) {
  for (const char* end :
       {".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
        ".rotary_emb.inv_freq", ".att.mask", ".attn.mask", ".attention.mask", "freqs_cis",
        "freqs_cos", "freqs_sin", ".attention.rotary_emb.inv_freq"}) {
    if (ends_with(name, end)) return true;
  }
  return name == "rope.freqs" || ends_with(name, ".rope.freqs");
}

// What training scripts save beside a model: the state of optimizers, schedulers and generators.
bool is_training_state(const std::string& name) {
  for (const char* word : {"optim", "sched", "scaler", "rng"}) {
    if (name.find(word) != std::string::npos) return true;
  }
  return false;
}

// What stands before the embedding's name, wherever it comes.
std::vector<std::string> prefixes_of(const Family& family, const Tensors& tensors) {
  const std::string embedding = part_name(family, Part::kEmbedding, 0);
  std::vector<std::string> prefixes;
  for (const Tensor& tensor : tensors.all()) {
    if (!ends_with(tensor.name, embedding)) continue;
    const std::string prefix = tensor.name.substr(0, tensor.name.size() - embedding.size());
    if (!prefix.empty() && (prefix.back() != '.' || is_training_state(prefix))) continue;
    prefixes.push_back(prefix);
  }
  return prefixes;
}

constexpr size_t kKnownPenalty = 6;
constexpr size_t kMaxCompared = 20000;  // names, so that a hostile file does not keep us long

// Single insertions, deletions and changes from a to b; at most 64 characters of each.
size_t distance(const std::string& a, const std::string& b) {
  const size_t n = std::min<size_t>(a.size(), 64), m = std::min<size_t>(b.size(), 64);
  std::vector<size_t> row(m + 1);
  for (size_t j = 0; j <= m; ++j) row[j] = j;
  for (size_t i = 1; i <= n; ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= m; ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[m];
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + ")";
}

}  // namespace

CheckpointParts::CheckpointParts(const Family& family, std::shared_ptr<const Tensors> tensors,
                                 const std::string& path)
    : family_(family), tensors_(std::move(tensors)), path_(path), used_(tensors_->all().size()) {
  const std::vector<Tensor>& all = tensors_->all();
  for (size_t i = 0; i < all.size(); ++i) by_name_.emplace(all[i].name, i);
  const std::vector<std::string> prefixes = prefixes_of(family, *tensors_);
  if (prefixes.size() > 1) {
    throw Refused(path_ + ": holds more than one model, such as '" + prefixes[0] + "' and '" +
                  prefixes[1] + "', expected one");
  }
  if (!prefixes.empty()) prefix_ = prefixes[0];
  need(Part::kEmbedding);
}

bool CheckpointParts::match(const Family& family, const Tensors& tensors) {
  const std::vector<std::string> prefixes = prefixes_of(family, tensors);
  if (prefixes.empty()) return false;
  const std::string norm = prefixes[0] + part_name(family, Part::kAttentionNorm, 0);
  return std::any_of(tensors.all().begin(), tensors.all().end(),
                     [&](const Tensor& tensor) { return tensor.name == norm; });
}

// The first of a part's names that is there, or else its usual one.
std::string CheckpointParts::full_name(Part part, uint32_t layer) const {
  std::string usual;
  for (size_t nth = 0;; ++nth) {
    const std::string name = part_name(family_, part, layer, nth);
    if (name.empty()) return usual;
    std::string whole = with_prefix(name);
    if (by_name_.count(whole)) return whole;
    if (nth == 0) usual = whole;
  }
}

// A name with "^" ahead (the head's) stands beside the model, not within it.
std::string CheckpointParts::with_prefix(const std::string& name) const {
  if (name[0] != '^') return prefix_ + name;
  std::string prefix = prefix_;
  for (;;) {
    std::string whole = prefix + name.substr(1);
    if (by_name_.count(whole) || prefix.empty()) return whole;
    const size_t dot = prefix.rfind('.', prefix.size() - 2);
    prefix = dot == std::string::npos || prefix.size() < 2 ? "" : prefix.substr(0, dot + 1);
  }
}

std::optional<size_t> CheckpointParts::find(Part part, uint32_t layer) const {
  const std::string name = full_name(part, layer);
  const auto at = name.empty() ? by_name_.end() : by_name_.find(name);
  if (at == by_name_.end()) return std::nullopt;
  return at->second;
}

size_t CheckpointParts::need(Part part, uint32_t layer) const {
  if (const auto found = find(part, layer)) return *found;
  const std::string name = full_name(part, layer);
  // A misspelt name is none that the family has, so those come later.
  std::unordered_set<std::string> expected;
  for (uint32_t i = 0, n = count_layers(); i <= n; ++i) {
    for (size_t p = 0; p < static_cast<size_t>(Part::kCount); ++p) {
      expected.insert(full_name(static_cast<Part>(p), i));
    }
  }
  std::vector<std::pair<size_t, std::string>> similar;
  for (const Tensor& tensor : tensors_->all()) {
    if (similar.size() == kMaxCompared) break;
    const size_t known = expected.count(tensor.name) ? kKnownPenalty : 0;
    similar.emplace_back(distance(name, tensor.name) + known, shown(tensor.name));
  }
  const size_t n = std::min<size_t>(3, similar.size());
  std::partial_sort(similar.begin(), similar.begin() + static_cast<std::ptrdiff_t>(n),
                    similar.end());
  std::string text;
  for (size_t i = 0; i < n; ++i) text += (i ? ", " : "") + similar[i].second;
  throw Refused(path_ + ": the tensor '" + name + "' of a " + family_.name +
                " model is missing; the names most like it: " + (n ? text : "none at all"));
}

size_t CheckpointParts::need(Part part, uint32_t layer, uint64_t rows, uint64_t cols,
                             bool transposed) {
  const size_t index = need(part, layer);
  const Tensor& tensor = tensors_->all()[index];
  std::vector<uint64_t> expected = {rows};
  if (cols > 0) expected = transposed ? std::vector{cols, rows} : std::vector{rows, cols};
  if (tensor.shape != expected) {
    throw Refused(tensors_->path(index) + ": the tensor '" + tensor.name + "' has the shape " +
                  shape_text(tensor.shape) + ", expected " + shape_text(expected));
  }
  used_[index] = true;
  return index;
}

uint64_t CheckpointParts::rows_of(size_t tensor, bool transposed) const {
  const Tensor& t = tensors_->all()[tensor];
  if (t.shape.size() != 2) {
    throw Refused(tensors_->path(tensor) + ": the tensor '" + t.name + "' has the shape " +
                  shape_text(t.shape) + ", expected a matrix");
  }
  return t.shape[transposed ? 1 : 0];
}

void CheckpointParts::check_left_over() const {
  const std::vector<Tensor>& all = tensors_->all();
  for (size_t i = 0; i < all.size(); ++i) {
    if (used_[i] || is_needless(all[i].name)) continue;
    // Beside the model in a training checkpoint: the optimizer's tensors, and single numbers.
    const bool within = all[i].name.compare(0, prefix_.size(), prefix_) == 0 && !prefix_.empty();
    if (!within && (is_training_state(all[i].name) || all[i].shape.empty())) continue;
    throw Refused(
        tensors_->path(i) + ": nothing in a " + family_.name + " model uses the tensor " +
        shown(all[i].name) + " " + shape_text(all[i].shape) +
        "; expected none that is left over, since the model would compute something else");
  }
}

uint32_t CheckpointParts::count_layers() const {
  uint32_t n = 0;
  while (n < kMaxLayers && find(Part::kAttentionNorm, n)) ++n;
  return n;
}

}  // namespace thimble::tools
