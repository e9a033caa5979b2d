// SPDX-License-Identifier: MIT
#include "calibration.h"

#include <algorithm>

#include "aligned_block.h"
#include "engine.h"
#include "error.h"
#include "forward.h"
#include "model.h"
#include "records.h"
#include "session.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 30;
constexpr uint32_t kBatch = 4;      // the head meets the last one of each
constexpr uint32_t kLongest = 512;  // of a text, in tokens
// Of a tied embedding: its rows are inputs themselves, whose columns count alike.
constexpr float kAsInput = 0.5f;

struct OwnSession {
  OwnSession(const thimble_model& model, uint32_t n_batch) {
    thimble_config config{};
    config.n_ctx = std::min(model.n_ctx, kLongest);
    config.n_batch = std::min(n_batch, config.n_ctx);
    const size_t bytes = thimble_session_bytes(&model, &config);
    arena = AlignedBlock(bytes);
    checked(thimble_session_init(&session, &model, &config, arena.data(), bytes), "session");
  }
  AlignedBlock arena;
  thimble_session* session = nullptr;
};

}  // namespace

std::vector<std::vector<int32_t>> calibration_texts(const thimble_model& model,
                                                    const std::string& text, size_t most) {
  std::vector<std::vector<int32_t>> texts;
  for (const std::string_view record : split_records(text)) {
    if (most == 0) break;
    // No token is longer than this.
    const size_t bytes = std::min(record.size(), most * model.max_token_bytes);
    const std::vector<int32_t> tokens =
        encode_all(model, std::string(record.substr(0, bytes)), THIMBLE_ENCODE_BOS);
    const size_t piece = std::min(model.n_ctx, kLongest);
    for (size_t begin = 0; begin < tokens.size() && most > 0; begin += piece) {
      const size_t n = std::min({piece, tokens.size() - begin, most});
      const auto at = tokens.begin() + static_cast<std::ptrdiff_t>(begin);
      texts.emplace_back(at, at + static_cast<std::ptrdiff_t>(n));
      most -= n;
    }
  }
  return texts;
}

std::vector<std::vector<int32_t>> own_texts(const thimble_model& model, size_t tokens) {
  const OwnSession own(model, 1);
  std::vector<std::vector<int32_t>> texts;
  thimble_sampling sampling{};
  sampling.temperature = 1.0f;
  while (tokens > 0) {
    ++sampling.seed;
    const int32_t any = static_cast<int32_t>(sampling.seed * 7919 % model.n_tokens);
    std::vector<int32_t> text = {model.bos_id >= 0 ? model.bos_id : any};
    const size_t most = std::min(tokens, size_t{own.session->n_ctx});
    while (text.size() < most) {
      checked(thimble_feed(own.session, &text.back(), 1), "feed");
      checked(thimble_step(own.session, 0), "step");
      const int32_t next = checked(thimble_sample(own.session, &sampling), "sample");
      if (thimble_is_end(&model, next)) break;
      text.push_back(next);
    }
    checked(thimble_rewind(own.session, 0), "rewind");
    tokens -= text.size();
    texts.push_back(std::move(text));
  }
  return texts;
}

Calibration::Calibration(const thimble_model& model, std::vector<std::vector<int32_t>> texts,
                         uint32_t layers_at_once)
    : model_(model), texts_(std::move(texts)), layers_at_once_(layers_at_once) {}

const Moments* Calibration::of(SectionKind kind, uint32_t layer) {
  const bool is_tied = header_of(model_).tied_head != 0;
  if (kind == kTokenEmbedding && is_tied) kind = kOutputHead;
  if (kind == kTokenEmbedding || kind == kPositionEmbedding) return nullptr;
  if (is_layer_section(kind) ? layer < first_layer_ || layer >= end_layer_
                             : moments_.count({kind, layer}) == 0) {
    gather(is_layer_section(kind) ? layer : 0);
  }
  return &moments_.at({kind, layer});
}

void Calibration::add(const Key& key, const float* rows, size_t stride, uint32_t n_rows,
                      uint32_t n) {
  Moments& m = moments_[key];
  if (m.means.empty()) {
    m.n = n;
    m.means.assign(size_t{n} * n, 0.0f);
  }
  counts_[key] += n_rows;
  for (uint32_t r = 0; r < n_rows; ++r, rows += stride) {
    for (uint32_t i = 0; i < n; ++i) {
      const float x = rows[i];
      float* row = &m.means[size_t{i} * n];
      for (uint32_t j = 0; j <= i; ++j) row[j] += x * rows[j];
    }
  }
}

// At the beginning of a stage that multiplies.
void Calibration::watch(const thimble_session* s) {
  const Activations& a = s->act;
  const Pass& p = s->pass;
  const uint32_t dim = s->model.dim;
  if (p.stage == kHead) {
    const float* last = a.normed + size_t{p.n - 1} * a.x_stride;
    if (first_layer_ == 0) add({kOutputHead, 0}, last, a.x_stride, 1, dim);
    return;
  }
  if (p.layer < first_layer_ || p.layer >= end_layer_) return;
  switch (p.stage) {
    case kQkv:
      return add({kAttentionQkv, p.layer}, a.normed, a.x_stride, p.n, dim);
    case kAttentionOutputStage:
      return add({kAttentionOutput, p.layer}, a.context, a.context_stride, p.n,
                 s->model.n_heads * s->model.head_dim);
    case kGateUp:
      return add({kFeedForwardGateUp, p.layer}, a.normed, a.x_stride, p.n, dim);
    case kDown:
      return add({kFeedForwardDown, p.layer}, a.gate_up, a.gate_up_stride, p.n,
                 s->model.hidden_dim);
    default:
      return;
  }
}

void Calibration::gather(uint32_t first_layer) {
  const uint64_t dim = model_.dim, q = uint64_t{model_.n_heads} * model_.head_dim;
  const uint64_t hidden = model_.hidden_dim;
  const uint64_t layer_bytes = (2 * dim * dim + q * q + hidden * hidden) * sizeof(float);
  const uint64_t fit =
      std::clamp<uint64_t>(kMostBytes / layer_bytes, 1, std::max(1u, layers_at_once_));
  moments_.clear();
  counts_.clear();
  first_layer_ = first_layer;
  end_layer_ = static_cast<uint32_t>(std::min<uint64_t>(model_.n_layers, first_layer + fit));
  const OwnSession own(model_, kBatch);
  thimble_session* s = own.session;
  for (const std::vector<int32_t>& text : texts_) {
    for (size_t begin = 0; begin < text.size(); begin += kBatch) {
      const size_t n = std::min<size_t>(kBatch, text.size() - begin);
      checked(thimble_feed(s, &text[begin], n), "feed");
      Stage seen = kIdle;
      do {
        if (s->pass.stage != seen && s->pass.unit == 0) {
          seen = s->pass.stage;
          watch(s);
        }
      } while (checked(thimble_step(s, 1), "step") == THIMBLE_MORE);
    }
    checked(thimble_rewind(s, 0), "rewind");
  }
  for (auto& [key, m] : moments_) {
    const size_t n = m.n;
    const float count = static_cast<float>(counts_[key]);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        m.means[i * n + j] /= count;
        m.means[j * n + i] = m.means[i * n + j];
      }
    }
    if (key.first != kOutputHead || !header_of(model_).tied_head) continue;
    float mean = 0;
    for (size_t i = 0; i < n; ++i) mean += m.means[i * n + i] / static_cast<float>(n);
    for (size_t i = 0; i < n; ++i) m.means[i * n + i] += kAsInput * mean;
  }
}

}  // namespace thimble::tools
