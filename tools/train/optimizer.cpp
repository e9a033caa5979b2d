// SPDX-License-Identifier: MIT
#include "optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace thimble::tools::train {
namespace {

// The norm is summed in pieces of so many floats, whoever sums them.
constexpr size_t kPiece = size_t{1} << 14;

double norm_of(const Workers& workers, const float* x, size_t n) {
  std::vector<double> sums((n + kPiece - 1) / kPiece);
  workers.run_pieces(n, kPiece, [&](size_t begin, size_t end) {
    double lanes[8] = {};
    for (size_t i = begin; i < end; ++i) {
      const double v = static_cast<double>(x[i]);
      lanes[i % 8] += v * v;
    }
    for (double lane : lanes) sums[begin / kPiece] += lane;
  });
  double sum = 0;
  for (double each : sums) sum += each;
  return std::sqrt(sum);
}

// Of a matrix in rows: its nearest orthogonal one, roughly (singular values of about 0.7 to 1.2),
// by five steps of X = a X + (b A + c A^2) X, A = X X' (a Newton-Schulz iteration).
class Orthogonalizer {
 public:
  Orthogonalizer(const Kernels& kernels, uint32_t rows, uint32_t cols)
      : kernels_(kernels),
        rows_(rows),
        cols_(cols),
        gram_(square()),
        mixed_(square()),
        packed_(kernels.packed_floats(std::max(rows, cols), std::max(rows, cols))),
        next_(size_t{rows} * cols),
        scratch_(kProductScratch) {}

  // rows <= cols
  void run(float* x) {
    constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
    const size_t n = size_t{rows_} * cols_;
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const float inverse = static_cast<float>(1 / (std::sqrt(squares) + 1e-12));
    for (size_t i = 0; i < n; ++i) x[i] *= inverse;
    for (int step = 0; step < 5; ++step) {
      kernels_.pack(packed_.data(), x, 1, cols_, cols_, rows_);
      kernels_.multiply(gram_.data(), rows_, x, cols_, {packed_.data(), cols_, rows_}, rows_, false,
                        scratch_.data());
      kernels_.pack(packed_.data(), gram_.data(), rows_, 1, rows_, rows_);
      kernels_.multiply(mixed_.data(), rows_, gram_.data(), rows_, {packed_.data(), rows_, rows_},
                        rows_, false, scratch_.data());
      for (size_t i = 0; i < square(); ++i) mixed_[i] = kB * gram_[i] + kC * mixed_[i];
      kernels_.pack(packed_.data(), x, cols_, 1, rows_, cols_);
      kernels_.multiply(next_.data(), cols_, mixed_.data(), rows_, {packed_.data(), rows_, cols_},
                        rows_, false, scratch_.data());
      for (size_t i = 0; i < n; ++i) x[i] = kA * x[i] + next_[i];
    }
  }

 private:
  size_t square() const { return size_t{rows_} * rows_; }
  const Kernels& kernels_;
  uint32_t rows_, cols_;
  Floats gram_, mixed_, packed_, next_, scratch_;
};

void transpose(float* out, const float* x, uint32_t rows, uint32_t cols) {
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < cols; ++c) out[size_t{c} * rows + r] = x[size_t{r} * cols + c];
  }
}

}  // namespace

Optimizer::Optimizer(const Parameters& parameters, const Kernels& kernels,
                     const OptimizerOptions& options)
    : parameters_(parameters),
      kernels_(kernels),
      options_(options),
      first_(parameters.size()),
      second_(parameters.size()) {
  const ModelShape& s = parameters.shape();
  const uint32_t q = s.n_heads * s.head_dim, kv = s.n_kv_heads * s.head_dim;
  for (const Tensor& t : parameters.tensors()) {
    std::vector<uint32_t> parts;
    if (t.kind == kAttentionQkv) parts = {q, kv, kv};
    if (t.kind == kAttentionOutput || t.kind == kFeedForwardDown) parts = {t.rows};
    if (t.kind == kFeedForwardGateUp) parts.assign(s.gated ? 2 : 1, s.hidden_dim);
    if (!options.muon || parts.empty()) {
      for (size_t begin = 0; begin < t.size(); begin += kPiece) {
        pieces_.push_back({t.offset + begin, std::min(kPiece, t.size() - begin), t.is_matrix});
      }
      continue;
    }
    size_t at = t.offset;
    for (uint32_t rows : parts) {
      blocks_.push_back({at, rows, t.cols});
      at += size_t{rows} * t.cols;
    }
  }
}

double Optimizer::step(const Workers& workers, uint64_t number, float rate, float* gradient,
                       float* weights) {
  const double norm = norm_of(workers, gradient, parameters_.size());
  const double clip = static_cast<double>(options_.clip);
  const float scale = clip > 0 && norm > clip ? static_cast<float>(clip / norm) : 1.0f;
  workers.run(blocks_.size(),
              [&](size_t i, uint32_t) { muon(blocks_[i], rate, scale, gradient, weights); });
  adam(workers, number, rate, scale, gradient, weights);
  return norm;
}

void Optimizer::adam(const Workers& workers, uint64_t number, float rate, float scale,
                     const float* gradient, float* weights) const {
  AdamStep s{};
  s.rate = rate;
  s.beta1 = options_.beta1;
  s.beta2 = options_.beta2;
  const double n = static_cast<double>(number);
  s.correction1 = static_cast<float>(1 / (1 - std::pow(static_cast<double>(s.beta1), n)));
  s.correction2 = static_cast<float>(1 / (1 - std::pow(static_cast<double>(s.beta2), n)));
  s.epsilon = options_.epsilon;
  s.gradient_scale = scale;
  workers.run(pieces_.size(), [&](size_t i, uint32_t) {
    const Piece& piece = pieces_[i];
    AdamStep step_of = s;
    step_of.decay = piece.is_decayed ? options_.weight_decay : 0.0f;
    kernels_.adam(weights + piece.offset, first_.data() + piece.offset,
                  second_.data() + piece.offset, gradient + piece.offset, piece.n, step_of);
  });
}

void Optimizer::muon(const Block& block, float rate, float scale, const float* gradient,
                     float* weights) const {
  const uint32_t rows = block.rows, cols = block.cols;
  const size_t n = size_t{rows} * cols;
  const float beta = options_.momentum;
  float* momentum = first_.data() + block.offset;
  const float* g = gradient + block.offset;
  float* w = weights + block.offset;
  Floats update(n), turned(n);
  for (size_t i = 0; i < n; ++i) {
    const float d = g[i] * scale;
    momentum[i] = beta * momentum[i] + d;
    update[i] = beta * momentum[i] + d;  // Nesterov's
  }
  if (rows <= cols) {
    Orthogonalizer(kernels_, rows, cols).run(update.data());
  } else {
    transpose(turned.data(), update.data(), rows, cols);
    Orthogonalizer(kernels_, cols, rows).run(turned.data());
    transpose(update.data(), turned.data(), cols, rows);
  }
  // As large as AdamW's steps mostly are, so that one rate suits both (Liu et al. 2025).
  const float size = rate * 0.2f * std::sqrt(static_cast<float>(std::max(rows, cols)));
  const float kept = 1.0f - rate * options_.weight_decay;
  for (size_t i = 0; i < n; ++i) w[i] = kept * w[i] - size * update[i];
}

}  // namespace thimble::tools::train
