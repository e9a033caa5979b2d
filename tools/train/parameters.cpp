// SPDX-License-Identifier: MIT
#include "parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "random_stream.h"

namespace thimble::tools::train {

Floats::Floats(size_t n) : block_(n * sizeof(float)) {
  if (n > 0) std::memset(block_.data(), 0, n * sizeof(float));
}

Parameters::Parameters(const ModelShape& s) : shape_(s) {
  const uint32_t q = s.n_heads * s.head_dim, kv = s.n_kv_heads * s.head_dim;
  const uint32_t norm = s.norm == kNormLayer ? 2 : 1, up = (s.gated ? 2 : 1) * s.hidden_dim;
  add(kTokenEmbedding, 0, s.vocab_size, s.dim, true);
  if (s.learned_positions) add(kPositionEmbedding, 0, s.n_ctx, s.dim, true);
  for (uint32_t l = 0; l < s.n_layers; ++l) {
    add(kAttentionNorm, l, norm, s.dim, false);
    add(kAttentionQkv, l, q + 2 * kv, s.dim, true);
    if (s.biases & kBiasQkv) add(kAttentionQkvBias, l, 1, q + 2 * kv, false);
    add(kAttentionOutput, l, s.dim, q, true);
    if (s.biases & kBiasAttentionOutput) add(kAttentionOutputBias, l, 1, s.dim, false);
    add(kFeedForwardNorm, l, norm, s.dim, false);
    add(kFeedForwardGateUp, l, up, s.dim, true);
    if (s.biases & kBiasFeedForwardIn) add(kFeedForwardGateUpBias, l, 1, up, false);
    add(kFeedForwardDown, l, s.dim, s.hidden_dim, true);
    if (s.biases & kBiasFeedForwardDown) add(kFeedForwardDownBias, l, 1, s.dim, false);
  }
  add(kFinalNorm, 0, norm, s.dim, false);
  if (!s.tied_head) add(kOutputHead, 0, s.vocab_size, s.dim, true);
}

Parameters::Parameters(const ModelShape& shape, const std::vector<Tensor>& tensors)
    : shape_(shape) {
  for (const Tensor& t : tensors) add(t.kind, t.layer, t.rows, t.cols, t.is_matrix);
}

void Parameters::add(SectionKind kind, uint32_t layer, uint32_t rows, uint32_t cols,
                     bool is_matrix) {
  constexpr size_t kFloats = 16;
  tensors_.push_back({kind, layer, rows, cols, size_, is_matrix});
  size_ += (size_t{rows} * cols + kFloats - 1) / kFloats * kFloats;
}

const Tensor* Parameters::find(SectionKind kind, uint32_t layer) const {
  const auto at = std::find_if(tensors_.begin(), tensors_.end(),
                               [&](const Tensor& t) { return t.kind == kind && t.layer == layer; });
  return at == tensors_.end() ? nullptr : &*at;
}

void initialize(const Parameters& parameters, uint64_t seed, float* weights) {
  constexpr double kDeviation = 0.02;
  const double residual = kDeviation / std::sqrt(2.0 * parameters.shape().n_layers);
  for (const Tensor& t : parameters.tensors()) {
    float* w = weights + t.offset;
    if (!t.is_matrix) {
      const bool is_norm =
          t.kind == kAttentionNorm || t.kind == kFeedForwardNorm || t.kind == kFinalNorm;
      std::fill_n(w, t.size(), 0.0f);
      if (is_norm) std::fill_n(w, t.cols, 1.0f);
      continue;
    }
    const bool is_residual = t.kind == kAttentionOutput || t.kind == kFeedForwardDown;
    RandomStream random(seed, t.kind * uint64_t{65536} + t.layer);
    for (size_t i = 0; i < t.size(); ++i) {
      w[i] = static_cast<float>(random.normal() * (is_residual ? residual : kDeviation));
    }
  }
}

RowSource rows_of(const Parameters& parameters, const float* weights) {
  return [&parameters, weights, last = static_cast<const Tensor*>(nullptr)](
             SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) mutable {
    if (!last || last->kind != kind || last->layer != layer) last = parameters.find(kind, layer);
    std::memcpy(out, weights + last->offset + size_t{row} * cols, cols * sizeof(float));
  };
}

void read_rows(const Parameters& parameters, const RowSource& rows, float* weights) {
  for (const Tensor& t : parameters.tensors()) {
    for (uint32_t row = 0; row < t.rows; ++row) {
      rows(t.kind, t.layer, row, t.cols, weights + t.offset + size_t{row} * t.cols);
    }
  }
}

}  // namespace thimble::tools::train
