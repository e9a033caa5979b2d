// SPDX-License-Identifier: MIT
#include "checkpoint_rows.h"

#include <algorithm>

#include "error.h"
#include "row_reader.h"

namespace thimble::tools {
namespace {

constexpr size_t kNone = SIZE_MAX;

// The tensors of a layer by part; kNone where the model has none.
using PartTensors = std::vector<size_t>;

class CheckpointRows {
 public:
  CheckpointRows(CheckpointParts parts, const CheckpointShape& shape)
      : tensors_(parts.tensors()),
        family_(parts.family()),
        shape_(shape.shape),
        rotary_dim_(shape.rotary_dim),
        pairs_(shape.rope_pairs),
        reader_(parts.tensors()) {
    find_tensors(&parts);
    parts.check_left_over();
    check_types();
  }

  void read(SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
    const ModelShape& s = shape_;
    switch (kind) {
      case kTokenEmbedding:
        return matrix(model_, Part::kEmbedding, s.vocab_size, row, cols, out, false);
      case kPositionEmbedding:
        return matrix(model_, Part::kPositions, s.n_ctx, row, cols, out, false);
      case kOutputHead:
        return matrix(model_, Part::kHead, s.vocab_size, row, cols, out, false);
      case kFinalNorm:
        return norm(model_, Part::kFinalNorm, row, cols, out);
      case kAttentionNorm:
        return norm(layers_[layer], Part::kAttentionNorm, row, cols, out);
      case kFeedForwardNorm:
        return norm(layers_[layer], Part::kFeedForwardNorm, row, cols, out);
      case kAttentionPostNorm:
        return norm(layers_[layer], Part::kAttentionPostNorm, row, cols, out);
      case kFeedForwardPostNorm:
        return norm(layers_[layer], Part::kFeedForwardPostNorm, row, cols, out);
      case kQkNorm:
        return qk_norm(layers_[layer], row, cols, out);
      case kAttentionQkv:
        return qkv(layers_[layer], row, cols, out);
      case kAttentionQkvBias:
        return qkv_bias(layers_[layer], cols, out);
      case kAttentionOutput:
        return matrix(layers_[layer], Part::kOutput, s.dim, row, cols, out);
      case kAttentionOutputBias:
        return vector(layers_[layer], Part::kOutputBias, cols, out);
      case kFeedForwardGateUp:
        if (s.gated && row < s.hidden_dim) {
          return matrix(layers_[layer], Part::kGate, s.hidden_dim, row, cols, out);
        }
        return matrix(layers_[layer], Part::kUp, s.hidden_dim, s.gated ? row - s.hidden_dim : row,
                      cols, out);
      case kFeedForwardGateUpBias:
        if (s.gated) vector(layers_[layer], Part::kGateBias, s.hidden_dim, out);
        return vector(layers_[layer], Part::kUpBias, s.hidden_dim,
                      out + (s.gated ? s.hidden_dim : 0));
      case kFeedForwardDown:
        return matrix(layers_[layer], Part::kDown, s.dim, row, cols, out);
      case kFeedForwardDownBias:
        return vector(layers_[layer], Part::kDownBias, cols, out);
      default:
        throw Refused("a checkpoint has no " + std::string(section_name(kind)));
    }
  }

 private:
  static size_t at(const PartTensors& tensors, Part part) {
    return tensors[static_cast<size_t>(part)];
  }

  // ---- Finding -----------------------------------------------------------------------------

  void find_tensors(CheckpointParts* parts) {
    const ModelShape& s = shape_;
    const bool t = family_.transposed;
    const uint64_t q = uint64_t{s.n_heads} * s.head_dim, kv = uint64_t{s.n_kv_heads} * s.head_dim;
    const bool is_layer_norm = s.norm == kNormLayer;
    PartTensors* to = &model_;
    uint32_t layer = 0;
    const auto need = [&](Part part, uint64_t rows, uint64_t cols) {
      (*to)[static_cast<size_t>(part)] = parts->need(part, layer, rows, cols, t && cols > 0);
    };
    // A LayerNorm without a bias has one of zeros.
    const auto need_norm = [&](Part part) {
      need(part, s.dim, 0);
      const Part bias = static_cast<Part>(static_cast<int>(part) + 1);
      if (is_layer_norm && parts->find(bias, layer)) need(bias, s.dim, 0);
    };
    model_.assign(static_cast<size_t>(Part::kCount), kNone);
    const auto need_table = [&](Part part, uint64_t rows) {  // never transposed
      model_[static_cast<size_t>(part)] = parts->need(part, 0, rows, s.dim, false);
    };
    need_table(Part::kEmbedding, s.vocab_size);
    if (s.learned_positions) need_table(Part::kPositions, s.n_ctx);
    if (!s.tied_head) need_table(Part::kHead, s.vocab_size);
    need_norm(Part::kFinalNorm);
    layers_.assign(s.n_layers, PartTensors(static_cast<size_t>(Part::kCount), kNone));
    for (layer = 0; layer < s.n_layers; ++layer) {
      to = &layers_[layer];
      need_norm(Part::kAttentionNorm);
      const bool biased = (s.biases & kBiasQkv) != 0;
      if (parts->find(Part::kQkv, layer)) {
        need(Part::kQkv, q + 2 * kv, s.dim);
        if (biased) need(Part::kQkvBias, q + 2 * kv, 0);
      } else {
        need(Part::kQ, q, s.dim);
        need(Part::kK, kv, s.dim);
        need(Part::kV, kv, s.dim);
        if (biased) {
          need(Part::kQBias, q, 0);
          need(Part::kKBias, kv, 0);
          need(Part::kVBias, kv, 0);
        }
      }
      if (s.qk_norm) {
        need(Part::kQNorm, s.head_dim, 0);
        need(Part::kKNorm, s.head_dim, 0);
      }
      need(Part::kOutput, s.dim, q);
      if (s.biases & kBiasAttentionOutput) need(Part::kOutputBias, s.dim, 0);
      if (s.norm_after) need(Part::kAttentionPostNorm, s.dim, 0);
      need_norm(Part::kFeedForwardNorm);
      if (s.gated) need(Part::kGate, s.hidden_dim, s.dim);
      need(Part::kUp, s.hidden_dim, s.dim);
      need(Part::kDown, s.dim, s.hidden_dim);
      if (s.biases & kBiasFeedForwardIn) {
        if (s.gated) need(Part::kGateBias, s.hidden_dim, 0);
        need(Part::kUpBias, s.hidden_dim, 0);
      }
      if (s.biases & kBiasFeedForwardDown) need(Part::kDownBias, s.dim, 0);
      if (s.norm_after) need(Part::kFeedForwardPostNorm, s.dim, 0);
    }
  }

  // A type that is not read is refused now, not behind half of the work.
  void check_types() const {
    const auto check = [&](const PartTensors& tensors) {
      float first;
      for (const size_t tensor : tensors) {
        if (tensor != kNone) tensors_->read(tensor, 0, 1, &first);
      }
    };
    check(model_);
    for (const PartTensors& tensors : layers_) check(tensors);
  }

  // ---- Reading -----------------------------------------------------------------------------

  void matrix(const PartTensors& tensors, Part part, uint64_t rows, uint64_t row, uint32_t cols,
              float* out) {
    matrix(tensors, part, rows, row, cols, out, family_.transposed);
  }
  void matrix(const PartTensors& tensors, Part part, uint64_t rows, uint64_t row, uint32_t cols,
              float* out, bool transposed) {
    const uint32_t near =
        family_.qkv_order == QkvOrder::kHeads ? 3 * shape_.head_dim : shape_.head_dim;
    reader_.read(at(tensors, part), transposed, rows, row, cols, near, out);
  }

  void vector(const PartTensors& tensors, Part part, uint32_t n, float* out) const {
    tensors_->read(at(tensors, part), 0, n, out);
  }

  void add_one(uint32_t n, float* out) const {
    if (!family_.is_gemma || family_.naming == Naming::kGguf) return;
    for (uint32_t i = 0; i < n; ++i) out[i] = 1.0f + out[i];
  }

  void norm(const PartTensors& tensors, Part part, uint32_t row, uint32_t n, float* out) const {
    if (row == 0) {
      vector(tensors, part, n, out);
      return add_one(n, out);
    }
    const Part bias = static_cast<Part>(static_cast<int>(part) + 1);
    if (at(tensors, bias) == kNone) {
      std::fill(out, out + n, 0.0f);
    } else {
      vector(tensors, bias, n, out);
    }
  }

  void qk_norm(const PartTensors& tensors, uint32_t row, uint32_t n, float* out) const {
    std::vector<float> weights(n);
    vector(tensors, row == 0 ? Part::kQNorm : Part::kKNorm, n, weights.data());
    add_one(n, weights.data());
    for (uint32_t i = 0; i < n; ++i) {
      out[i] = weights[rope_source_row(pairs_, i, shape_.head_dim, rotary_dim_)];
    }
  }

  // Where the engine's row of q, k and v lies: which of them, and which row of it.
  struct QkvRow {
    uint32_t which, row;
  };
  QkvRow qkv_row(uint32_t row) const {
    const uint32_t q = shape_.n_heads * shape_.head_dim, kv = shape_.n_kv_heads * shape_.head_dim;
    const uint32_t which = row < q ? 0 : row < q + kv ? 1 : 2;
    const uint32_t within = which == 0 ? row : which == 1 ? row - q : row - q - kv;
    if (which == 2) return {which, within};
    return {which, rope_source_row(pairs_, within, shape_.head_dim, rotary_dim_)};
  }
  // The same in a joined tensor.
  uint32_t joined_row(const QkvRow& r) const {
    const uint32_t d = shape_.head_dim;
    if (family_.qkv_order == QkvOrder::kHeads) return (r.row / d * 3 + r.which) * d + r.row % d;
    const uint32_t q = shape_.n_heads * d, kv = shape_.n_kv_heads * d;
    return r.row + (r.which > 0 ? q : 0) + (r.which > 1 ? kv : 0);
  }

  void qkv(const PartTensors& tensors, uint32_t row, uint32_t cols, float* out) {
    const uint32_t q = shape_.n_heads * shape_.head_dim, kv = shape_.n_kv_heads * shape_.head_dim;
    const QkvRow r = qkv_row(row);
    if (at(tensors, Part::kQkv) != kNone) {
      return matrix(tensors, Part::kQkv, q + 2 * kv, joined_row(r), cols, out);
    }
    const Part parts[] = {Part::kQ, Part::kK, Part::kV};
    matrix(tensors, parts[r.which], r.which == 0 ? q : kv, r.row, cols, out);
  }

  void qkv_bias(const PartTensors& tensors, uint32_t n, float* out) const {
    const uint32_t q = shape_.n_heads * shape_.head_dim, kv = shape_.n_kv_heads * shape_.head_dim;
    std::vector<float> joined(n);
    const bool is_joined = at(tensors, Part::kQkvBias) != kNone;
    if (is_joined) {
      vector(tensors, Part::kQkvBias, n, joined.data());
    } else {
      vector(tensors, Part::kQBias, q, joined.data());
      vector(tensors, Part::kKBias, kv, joined.data() + q);
      vector(tensors, Part::kVBias, kv, joined.data() + q + kv);
    }
    for (uint32_t i = 0; i < n; ++i) {
      const QkvRow r = qkv_row(i);
      const uint32_t block = r.row + (r.which > 0 ? q : 0) + (r.which > 1 ? kv : 0);
      out[i] = joined[is_joined ? joined_row(r) : block];
    }
  }

  std::shared_ptr<const Tensors> tensors_;
  const Family& family_;
  ModelShape shape_;
  uint32_t rotary_dim_;
  RopePairs pairs_;
  RowReader reader_;
  PartTensors model_;
  std::vector<PartTensors> layers_;
};

}  // namespace

RowSource checkpoint_rows(CheckpointParts parts, const CheckpointShape& shape) {
  auto rows = std::make_shared<CheckpointRows>(std::move(parts), shape);
  return [rows](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
    rows->read(kind, layer, row, cols, out);
  };
}

}  // namespace thimble::tools
