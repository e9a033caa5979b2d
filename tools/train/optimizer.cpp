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

// x (rows, cols), rows <= cols, becomes its nearest orthogonal matrix, roughly (singular values of
// about 0.7 to 1.2), by five steps of X = a X + (b A + c A^2) X, A = X X' (a Newton-Schulz
// iteration).
void orthogonalize(const Kernels& kernels, uint32_t rows, uint32_t cols, float* x,
                   const Optimizer::MuonRoom& room) {
  constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  const size_t n = size_t{rows} * cols, square = size_t{rows} * rows;
  float *gram = room.gram.data(), *mixed = room.mixed.data(), *next = room.next.data();
  float *packed = room.packed.data(), *scratch = room.product.data();
  double squares = 0;
  for (size_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const float inverse = static_cast<float>(1 / (std::sqrt(squares) + 1e-12));
  for (size_t i = 0; i < n; ++i) x[i] *= inverse;
  for (int step = 0; step < 5; ++step) {
    kernels.pack(packed, x, 1, cols, cols, rows);
    kernels.multiply(gram, rows, x, cols, {packed, cols, rows}, rows, false, scratch);
    kernels.pack(packed, gram, rows, 1, rows, rows);
    kernels.multiply(mixed, rows, gram, rows, {packed, rows, rows}, rows, false, scratch);
    for (size_t i = 0; i < square; ++i) mixed[i] = kB * gram[i] + kC * mixed[i];
    kernels.pack(packed, x, cols, 1, rows, cols);
    kernels.multiply(next, cols, mixed, rows, {packed, rows, cols}, rows, false, scratch);
    for (size_t i = 0; i < n; ++i) x[i] = kA * x[i] + next[i];
  }
}

void transpose(float* out, const float* x, uint32_t rows, uint32_t cols) {
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < cols; ++c) out[size_t{c} * rows + r] = x[size_t{r} * cols + c];
  }
}

}  // namespace

Optimizer::MuonRoom::MuonRoom(const Kernels& kernels, size_t n, uint32_t shorter, uint32_t longer)
    : update(n),
      turned(n),
      gram(size_t{shorter} * shorter),
      mixed(gram.size()),
      packed(
          std::max(kernels.packed_floats(longer, shorter), kernels.packed_floats(shorter, longer))),
      next(n),
      product(kProductScratch) {}

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
  make_room(workers.n_threads());
  workers.run(blocks_.size(), [&](size_t i, uint32_t thread) {
    muon(blocks_[i], rate, scale, gradient, weights, rooms_[thread]);
  });
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

// For the largest block, once: memory that comes and goes is cleared each time.
void Optimizer::make_room(uint32_t threads) {
  size_t n = 0;
  uint32_t shorter = 0, longer = 0;
  for (const Block& block : blocks_) {
    n = std::max(n, size_t{block.rows} * block.cols);
    shorter = std::max(shorter, std::min(block.rows, block.cols));
    longer = std::max(longer, std::max(block.rows, block.cols));
  }
  while (n > 0 && rooms_.size() < threads) rooms_.emplace_back(kernels_, n, shorter, longer);
}

void Optimizer::muon(const Block& block, float rate, float scale, const float* gradient,
                     float* weights, const MuonRoom& room) const {
  const uint32_t rows = block.rows, cols = block.cols;
  const size_t n = size_t{rows} * cols;
  const float beta = options_.momentum;
  float* momentum = first_.data() + block.offset;
  const float* g = gradient + block.offset;
  float* w = weights + block.offset;
  float *update = room.update.data(), *turned = room.turned.data();
  for (size_t i = 0; i < n; ++i) {
    const float d = g[i] * scale;
    momentum[i] = beta * momentum[i] + d;
    update[i] = beta * momentum[i] + d;  // Nesterov's
  }
  if (rows <= cols) {
    orthogonalize(kernels_, rows, cols, update, room);
  } else {
    transpose(turned, update, rows, cols);
    orthogonalize(kernels_, cols, rows, turned, room);
    transpose(update, turned, cols, rows);
  }
  // As large as AdamW's steps mostly are, so that one rate suits both (Liu et al. 2025).
  const float size = rate * 0.2f * std::sqrt(static_cast<float>(std::max(rows, cols)));
  const float kept = 1.0f - rate * options_.weight_decay;
  for (size_t i = 0; i < n; ++i) w[i] = kept * w[i] - size * update[i];
}

}  // namespace thimble::tools::train
