// SPDX-License-Identifier: MIT
#include "network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "error.h"
#include "exact_math.h"
#include "random_stream.h"
#include "rope.h"

namespace thimble::tools::train {
namespace {

// Rows of the head's chunks: logits should stay in the second cache, but each chunk also adds to
// all of the head's gradient.
uint32_t head_rows_for(uint32_t vocab_size) {
  constexpr uint32_t kFloats = 1u << 18;
  return std::clamp(kFloats / vocab_size, 128u, 256u);
}
// One row of logits starts in another set of the cache than the next.
size_t logits_stride(const ModelShape& shape) {
  return shape.vocab_size + 16;
}

[[noreturn]] void refuse_shape(const char* what) {
  throw Refused(std::string("a model with ") + what + " cannot be trained here");
}

void check_trainable(const ModelShape& s) {
  if (s.norm_after) refuse_shape("norms behind its blocks");
  if (s.parallel) refuse_shape("blocks side by side");
  if (s.qk_norm) refuse_shape("norms of queries and keys");
  if (s.embedding_scale != 1.0f) refuse_shape("scaled embeddings");
  if (s.logit_scale != 1.0f || s.logit_cap != 0.0f) refuse_shape("scaled or capped logits");
}

}  // namespace

uint32_t Pack::n_targets() const {
  return static_cast<uint32_t>(
      std::count_if(targets.begin(), targets.end(), [](int32_t t) { return t >= 0; }));
}

// ---- Memory

size_t Network::Workspace::floats(const ModelShape& s, uint32_t tokens) {
  const size_t q = size_t{s.n_heads} * s.head_dim, kv = size_t{s.n_kv_heads} * s.head_dim;
  const size_t up = (s.gated ? 2 : 1) * size_t{s.hidden_dim};
  const size_t a_layer = 2 * s.dim + (q + 2 * kv) + q + s.n_heads + up;
  const size_t shared = 4 * s.dim + s.hidden_dim + (q + 2 * kv) + q;
  return tokens * (s.n_layers * a_layer + shared) + head_rows_for(s.vocab_size) * logits_stride(s) +
         kProductScratch + attention_scratch(tokens, s.head_dim) + 16 * (6 * s.n_layers + 16);
}

float* Network::Workspace::take(size_t n) {
  float* at = block_.data() + used_;
  used_ += (n + 15) / 16 * 16;
  return at;
}

Network::Workspace::Workspace(const Network& network, uint32_t tokens)
    : block_(floats(network.shape_, tokens)) {
  const ModelShape& s = network.shape_;
  const size_t n = tokens, qkv = network.q_width_ + 2 * network.kv_width_;
  for (uint32_t l = 0; l < s.n_layers; ++l) {
    x_.push_back(take(n * s.dim));
    mid_.push_back(take(n * s.dim));
    qkv_.push_back(take(n * qkv));
    context_.push_back(take(n * network.q_width_));
    log_sums_.push_back(take(n * s.n_heads));
    up_.push_back(take(n * network.up_width_));
  }
  x_.push_back(take(n * s.dim));
  normed_ = take(n * s.dim);
  block_out_ = take(n * s.dim);
  dx_ = take(n * s.dim);
  active_ = take(n * s.hidden_dim);
  dqkv_ = take(n * qkv);
  dcontext_ = take(n * network.q_width_);
  logits_ = take(network.head_rows_ * logits_stride(s));
  product_ = take(kProductScratch);
  attention_ = take(attention_scratch(tokens, s.head_dim));
}

// ---- One pass

struct Network::Pass {
  const PackedWeights& weights;
  const Pack& pack;
  Workspace& w;
  const Training* training;
  const Int8Steps& steps;
  uint32_t n;  // tokens
  float dropout;

  // Of the dropout at a place of the network.
  uint64_t seed(uint32_t layer, uint32_t place) const {
    const uint64_t own = training ? training->seed : 0;
    return mixed(own + (uint64_t{layer} * 8 + place + 1) * 0x9e3779b97f4a7c15u);
  }
  float* gradient(const Tensor& t) const { return training->gradient + t.offset; }
};

namespace {
enum Place : uint32_t { kAtEmbedding, kAtAttention, kAtOutput, kAtDown };
}  // namespace

Network::Network(const Parameters& parameters, const Kernels& kernels)
    : parameters_(parameters), shape_(parameters.shape()), kernels_(kernels) {
  const ModelShape& s = shape_;
  check_trainable(s);
  q_width_ = s.n_heads * s.head_dim;
  kv_width_ = s.n_kv_heads * s.head_dim;
  up_width_ = (s.gated ? 2 : 1) * s.hidden_dim;
  head_rows_ = head_rows_for(s.vocab_size);
  score_scale_ =
      s.score_scale != 0.0f ? s.score_scale : 1.0f / exact_sqrt(static_cast<float>(s.head_dim));
  const auto find = [&](SectionKind kind, uint32_t l = 0) { return parameters.find(kind, l); };
  for (uint32_t l = 0; l < s.n_layers; ++l) {
    const LayerShape kind = s.layers.empty() ? LayerShape{} : s.layers[l];
    layers_.push_back({find(kAttentionNorm, l), find(kAttentionQkv, l), find(kAttentionQkvBias, l),
                       find(kAttentionOutput, l), find(kAttentionOutputBias, l),
                       find(kFeedForwardNorm, l), find(kFeedForwardGateUp, l),
                       find(kFeedForwardGateUpBias, l), find(kFeedForwardDown, l),
                       find(kFeedForwardDownBias, l), kind.window, kind.rope});
  }
  embedding_ = find(kTokenEmbedding);
  positions_ = find(kPositionEmbedding);
  final_norm_ = find(kFinalNorm);
  head_ = s.tied_head ? embedding_ : find(kOutputHead);
  std::vector<std::vector<uint64_t>> tables = s.ropes;
  if (tables.empty()) {
    RopeSettings settings;
    settings.theta = static_cast<double>(s.rope_theta);
    settings.rotary_dim = s.head_dim;
    tables.push_back(rope_turns(settings, s.head_dim));
  }
  const size_t row = size_t{2} * s.head_dim;
  rope_.resize(tables.size() * s.n_ctx * row);
  for (size_t t = 0; t < tables.size(); ++t) {
    for (uint32_t position = 0; position < s.n_ctx; ++position) {
      exact_rope_table(rope_.data() + (t * s.n_ctx + position) * row, tables[t].data(), s.head_dim,
                       position);
    }
  }
}

double Network::run(const PackedWeights& weights, const Pack& pack, Workspace* workspace,
                    const Training* training, const Int8Steps& steps) const {
  const uint32_t n = static_cast<uint32_t>(pack.tokens.size());
  if (n == 0) return 0;
  const Pass p = {weights, pack, *workspace, training, steps, n, training ? training->dropout : 0};
  forward(p);
  const double loss = head(p);
  if (!training) return loss;
  for (uint32_t l = shape_.n_layers; l-- > 0;) {
    feed_forward_backward(p, l);
    attention_block_backward(p, l);
  }
  embed_backward(p);
  return loss;
}

void Network::forward(const Pass& p) const {
  embed(p);
  for (uint32_t l = 0; l < shape_.n_layers; ++l) {
    attention_block(p, l);
    feed_forward_block(p, l);
  }
  normed_input(p, *final_norm_, p.w.x_[shape_.n_layers]);
}

// ---- What both directions share

void Network::round_input(const Pass& p, float* x, uint32_t n) const {
  if (!p.steps.activations) return;
  kernels_.round_int8(x, n, p.n, n, p.steps.group ? p.steps.group : n, false);
}

void Network::normed_input(const Pass& p, const Tensor& norm, const float* x) const {
  const auto apply = shape_.norm == kNormLayer ? kernels_.layer_norm : kernels_.rms_norm;
  apply(p.w.normed_, x, p.weights.at(norm), p.n, shape_.dim, shape_.norm_eps);
  round_input(p, p.w.normed_, shape_.dim);
}

// dx += what came back to normed_.
void Network::norm_backward(const Pass& p, const Tensor& norm, const float* x) const {
  const auto apply =
      shape_.norm == kNormLayer ? kernels_.layer_norm_backward : kernels_.rms_norm_backward;
  apply(p.w.dx_, p.gradient(norm), p.w.normed_, x, p.weights.at(norm), p.n, shape_.dim,
        shape_.norm_eps);
}

void Network::multiply(const Pass& p, float* out, const float* x, const Tensor& matrix,
                       const Tensor* bias) const {
  kernels_.multiply(out, matrix.rows, x, matrix.cols, p.weights.forward(matrix), p.n, false,
                    p.w.product_);
  if (bias) kernels_.add_rows(out, matrix.rows, p.weights.at(*bias), p.n, matrix.rows);
}

void Network::input_backward(const Pass& p, float* dx, const float* dy,
                             const Tensor& matrix) const {
  kernels_.multiply(dx, matrix.cols, dy, matrix.rows, p.weights.backward(matrix), p.n, false,
                    p.w.product_);
}

void Network::weights_backward(const Pass& p, const float* dy, const float* x, const Tensor& matrix,
                               const Tensor* bias) const {
  kernels_.add_outer(p.gradient(matrix), matrix.cols, dy, matrix.rows, x, matrix.cols, p.n,
                     matrix.rows, matrix.cols, p.w.product_);
  if (bias) kernels_.sum_rows(p.gradient(*bias), dy, matrix.rows, p.n, matrix.rows);
}

void Network::rotate(const Pass& p, float* qkv, uint32_t rope, bool inverse) const {
  const size_t stride = q_width_ + size_t{2} * kv_width_, row = size_t{2} * shape_.head_dim;
  const float* tables = rope_.data() + rope * shape_.n_ctx * row;
  for (const Sequence& s : p.pack.sequences) {
    for (uint32_t i = 0; i < s.n; ++i) {
      float* q = qkv + (s.begin + i) * stride;
      const float* table = tables + i * row;
      kernels_.rotate(q, table, shape_.n_heads, shape_.head_dim, score_scale_, inverse);
      kernels_.rotate(q + q_width_, table, shape_.n_kv_heads, shape_.head_dim, 1.0f, inverse);
    }
  }
}

void Network::round_cache(const Pass& p, float* qkv) const {
  if (!p.steps.cache) return;
  const size_t stride = q_width_ + size_t{2} * kv_width_;
  const uint32_t together = (31 + shape_.head_dim) / shape_.head_dim * shape_.head_dim;
  kernels_.round_int8(qkv, stride, p.n, q_width_, shape_.head_dim, false);
  for (const uint32_t at : {q_width_, q_width_ + kv_width_}) {
    kernels_.round_int8(qkv + at, stride, p.n, kv_width_, together, true);
  }
}

AttentionCall Network::attention_call(const Pass& p, uint32_t layer, const Sequence& s) const {
  const size_t stride = q_width_ + size_t{2} * kv_width_;
  AttentionCall call{};
  call.qkv = p.w.qkv_[layer] + s.begin * stride;
  call.ld = stride;
  call.context = p.w.context_[layer] + size_t{s.begin} * q_width_;
  call.ld_context = q_width_;
  call.log_sums = p.w.log_sums_[layer] + size_t{s.begin} * shape_.n_heads;
  call.n = s.n;
  call.n_heads = shape_.n_heads;
  call.n_kv_heads = shape_.n_kv_heads;
  call.head_dim = shape_.head_dim;
  call.window = layers_[layer].window;
  call.dropout = p.dropout;
  call.dropout_seed = mixed(p.seed(layer, kAtAttention) + s.begin);
  call.scratch = p.w.attention_;
  return call;
}

// The gradient of a block's result, which dropout may have thinned.
const float* Network::branch_gradient(const Pass& p, uint32_t layer, uint32_t place) const {
  if (!(p.dropout > 0.0f)) return p.w.dx_;
  kernels_.dropout_backward(p.w.block_out_, p.w.dx_, size_t{p.n} * shape_.dim, p.dropout,
                            p.seed(layer, place));
  return p.w.block_out_;
}

// ---- Forward

void Network::embed(const Pass& p) const {
  const size_t dim = shape_.dim;
  float* x = p.w.x_[0];
  for (uint32_t i = 0; i < p.n; ++i) {
    const float* row = p.weights.at(*embedding_) + static_cast<size_t>(p.pack.tokens[i]) * dim;
    std::memcpy(x + i * dim, row, dim * sizeof(float));
  }
  if (positions_) {
    for (const Sequence& s : p.pack.sequences) {
      kernels_.add(x + s.begin * dim, p.weights.at(*positions_), s.n * dim);
    }
  }
  if (p.dropout > 0.0f) {
    kernels_.dropout_backward(x, x, p.n * dim, p.dropout, p.seed(0, kAtEmbedding));
  }
}

void Network::attention_block(const Pass& p, uint32_t l) const {
  const Layer& layer = layers_[l];
  normed_input(p, *layer.norm, p.w.x_[l]);
  multiply(p, p.w.qkv_[l], p.w.normed_, *layer.qkv, layer.qkv_bias);
  rotate(p, p.w.qkv_[l], layer.rope, false);
  round_cache(p, p.w.qkv_[l]);
  for (const Sequence& s : p.pack.sequences) {
    kernels_.attention(attention_call(p, l, s), p.w.context_[l] + size_t{s.begin} * q_width_);
  }
  const float* context = p.w.context_[l];
  if (p.steps.activations) {
    std::memcpy(p.w.dcontext_, context, p.n * q_width_ * sizeof(float));
    round_input(p, p.w.dcontext_, q_width_);
    context = p.w.dcontext_;
  }
  multiply(p, p.w.block_out_, context, *layer.output, layer.output_bias);
  const size_t n = size_t{p.n} * shape_.dim;
  kernels_.add_dropout(p.w.mid_[l], p.w.x_[l], p.w.block_out_, n, p.dropout, p.seed(l, kAtOutput));
}

void Network::feed_forward_block(const Pass& p, uint32_t l) const {
  const Layer& layer = layers_[l];
  normed_input(p, *layer.feed_forward_norm, p.w.mid_[l]);
  multiply(p, p.w.up_[l], p.w.normed_, *layer.up, layer.up_bias);
  kernels_.activate(p.w.active_, p.w.up_[l], p.n, shape_.hidden_dim, shape_.activation,
                    shape_.gated);
  round_input(p, p.w.active_, shape_.hidden_dim);
  multiply(p, p.w.block_out_, p.w.active_, *layer.down, layer.down_bias);
  const size_t n = size_t{p.n} * shape_.dim;
  kernels_.add_dropout(p.w.x_[l + 1], p.w.mid_[l], p.w.block_out_, n, p.dropout,
                       p.seed(l, kAtDown));
}

void Network::logits(const Pass& p, uint32_t first, uint32_t rows) const {
  kernels_.multiply(p.w.logits_, logits_stride(shape_), p.w.normed_ + first * size_t{shape_.dim},
                    shape_.dim, p.weights.forward(*head_), rows, false, p.w.product_);
}

// Of some rows, whose logits become gradients. taught: the teacher's pass, or null.
double Network::loss(const Pass& p, const Pass* taught, uint32_t first, uint32_t rows) const {
  const size_t stride = logits_stride(shape_);
  const int32_t* targets = p.pack.targets.data() + first;
  const float scale = p.training ? p.training->scale : 1.0f;
  logits(p, first, rows);
  if (!taught) {
    return kernels_.cross_entropy(p.w.logits_, stride, targets, rows, shape_.vocab_size, scale);
  }
  p.training->teacher->network.logits(*taught, first, rows);
  return kernels_.cross_entropy_with(p.w.logits_, taught->w.logits_, stride, targets, rows,
                                     shape_.vocab_size, scale);
}

// The loss of all; in training the gradient goes on from here into dx_.
double Network::head(const Pass& p) const {
  const size_t dim = shape_.dim, stride = logits_stride(shape_);
  const Int8Steps none;
  std::optional<Pass> taught;
  if (p.training && p.training->teacher) {
    const Teacher& teacher = *p.training->teacher;
    taught.emplace(Pass{teacher.weights, p.pack, *teacher.workspace, nullptr, none, p.n, 0});
    teacher.network.forward(*taught);
  }
  double total = 0;
  for (uint32_t first = 0; first < p.n; first += head_rows_) {
    const uint32_t rows = std::min(head_rows_, p.n - first);
    float* normed = p.w.normed_ + first * dim;
    total += loss(p, taught ? &*taught : nullptr, first, rows);
    if (!p.training) continue;
    kernels_.add_outer(p.gradient(*head_), dim, p.w.logits_, stride, normed, dim, rows,
                       shape_.vocab_size, shape_.dim, p.w.product_);
    kernels_.multiply(normed, dim, p.w.logits_, stride, p.weights.backward(*head_), rows, false,
                      p.w.product_);
  }
  if (p.training) {
    std::memset(p.w.dx_, 0, p.n * dim * sizeof(float));
    norm_backward(p, *final_norm_, p.w.x_[shape_.n_layers]);
  }
  return total;
}

// ---- Backward: dx_ is the gradient of a layer's result before, of its input behind

void Network::feed_forward_backward(const Pass& p, uint32_t l) const {
  const Layer& layer = layers_[l];
  float* up = p.w.up_[l];
  const float* dy = branch_gradient(p, l, kAtDown);
  input_backward(p, p.w.active_, dy, *layer.down);
  kernels_.activate_backward(up, p.w.active_, p.n, shape_.hidden_dim, shape_.activation,
                             shape_.gated);
  round_input(p, p.w.active_, shape_.hidden_dim);
  weights_backward(p, dy, p.w.active_, *layer.down, layer.down_bias);
  normed_input(p, *layer.feed_forward_norm, p.w.mid_[l]);
  weights_backward(p, up, p.w.normed_, *layer.up, layer.up_bias);
  input_backward(p, p.w.normed_, up, *layer.up);
  norm_backward(p, *layer.feed_forward_norm, p.w.mid_[l]);
}

void Network::attention_block_backward(const Pass& p, uint32_t l) const {
  const Layer& layer = layers_[l];
  const float* dy = branch_gradient(p, l, kAtOutput);
  const float* context = p.w.context_[l];
  if (p.steps.activations) {
    std::memcpy(p.w.dcontext_, context, size_t{p.n} * q_width_ * sizeof(float));
    round_input(p, p.w.dcontext_, q_width_);
    context = p.w.dcontext_;
  }
  weights_backward(p, dy, context, *layer.output, layer.output_bias);
  input_backward(p, p.w.dcontext_, dy, *layer.output);
  for (const Sequence& s : p.pack.sequences) {
    kernels_.attention_backward(attention_call(p, l, s), p.w.dcontext_ + size_t{s.begin} * q_width_,
                                p.w.dqkv_ + s.begin * (q_width_ + size_t{2} * kv_width_));
  }
  rotate(p, p.w.dqkv_, layer.rope, true);
  normed_input(p, *layer.norm, p.w.x_[l]);
  weights_backward(p, p.w.dqkv_, p.w.normed_, *layer.qkv, layer.qkv_bias);
  input_backward(p, p.w.normed_, p.w.dqkv_, *layer.qkv);
  norm_backward(p, *layer.norm, p.w.x_[l]);
}

void Network::embed_backward(const Pass& p) const {
  const size_t dim = shape_.dim;
  if (p.dropout > 0.0f) {
    kernels_.dropout_backward(p.w.dx_, p.w.dx_, p.n * dim, p.dropout, p.seed(0, kAtEmbedding));
  }
  for (uint32_t i = 0; i < p.n; ++i) {
    float* row = p.gradient(*embedding_) + static_cast<size_t>(p.pack.tokens[i]) * dim;
    kernels_.add(row, p.w.dx_ + i * dim, dim);
  }
  if (!positions_) return;
  for (const Sequence& s : p.pack.sequences) {
    kernels_.add(p.gradient(*positions_), p.w.dx_ + s.begin * dim, s.n * dim);
  }
}

}  // namespace thimble::tools::train
