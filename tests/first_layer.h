// SPDX-License-Identifier: MIT
// The attention weights of a Llama's first layer in double precision, apart from the engine, each
// with the most that the engine's float arithmetic may be away from it.
#ifndef THIMBLE_TESTS_FIRST_LAYER_H
#define THIMBLE_TESTS_FIRST_LAYER_H

#include <cmath>
#include <cstdint>
#include <vector>

#include "tiny_model.h"

namespace thimble::test {

constexpr double kHalfUlp = 0x1p-24;

// A number with the most that the engine's float arithmetic can be away from it.
struct Bounded {
  double value = 0, error = 0;
};

// Layer 0 apart from the engine, in double: norm, projection, rotation, scores, softmax. Bounds
// are worst cases (Higham 2002, chapter 3): n roundings of a sum are within n u of its absolute
// terms, 1.01 for what is of second order.
class FirstLayer {
 public:
  explicit FirstLayer(const TinyModel& model) : model_(model), shape_(model.shape) {}

  // Feeds a token; the weights of each head at its position.
  std::vector<std::vector<Bounded>> feed(int32_t token) {
    const uint32_t d = shape_.head_dim, q_width = shape_.n_heads * d;
    std::vector<Bounded> qkv = project(normed(token));
    for (uint32_t at = 0; at < q_width + shape_.n_kv_heads * d; at += d) rotate(&qkv[at]);
    keys_.emplace_back(qkv.begin() + q_width, qkv.begin() + q_width + shape_.n_kv_heads * d);
    std::vector<std::vector<Bounded>> heads;
    for (uint32_t h = 0; h < shape_.n_heads; ++h) {
      heads.push_back(softmax(&qkv[h * d], h / (shape_.n_heads / shape_.n_kv_heads) * d));
    }
    return heads;
  }

 private:
  std::vector<double> row(SectionKind kind, uint32_t index, uint32_t cols) const {
    std::vector<float> w(cols);
    random_row(model_.seed, kind, 0, index, cols, w.data());
    return {w.begin(), w.end()};
  }

  std::vector<Bounded> normed(int32_t token) const {
    const std::vector<double> x = row(kTokenEmbedding, static_cast<uint32_t>(token), shape_.dim);
    const std::vector<double> weight = row(kAttentionNorm, 0, shape_.dim);
    double mean = static_cast<double>(shape_.norm_eps);
    for (double each : x) mean += each * each / shape_.dim;
    std::vector<Bounded> out(shape_.dim);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i].value = x[i] / std::sqrt(mean) * weight[i];
      // The sum's lane, its folds, mean, epsilon, root, inverse and two products.
      out[i].error = std::fabs(out[i].value) * (shape_.dim / 16 + 1 + 10) * kHalfUlp;
    }
    return out;
  }

  std::vector<Bounded> project(const std::vector<Bounded>& x) const {
    std::vector<Bounded> out((shape_.n_heads + 2 * shape_.n_kv_heads) * shape_.head_dim);
    for (uint32_t r = 0; r < out.size(); ++r) {
      const std::vector<double> w = row(kAttentionQkv, r, shape_.dim);
      for (size_t c = 0; c < w.size(); ++c) {
        out[r].value += w[c] * x[c].value;
        out[r].error +=
            std::fabs(w[c]) * x[c].error + shape_.dim * kHalfUlp * std::fabs(w[c] * x[c].value);
      }
    }
    return out;
  }

  void rotate(Bounded* x) const {
    for (uint32_t i = 0; i < shape_.head_dim; i += 2) {
      const double angle =
          static_cast<double>(keys_.size()) * std::pow(static_cast<double>(shape_.rope_theta),
                                                       -static_cast<double>(i) / shape_.head_dim);
      const double cosine = std::cos(angle), sine = std::sin(angle);
      const Bounded a = x[i], b = x[i + 1];
      // The engine's sines and cosines are within 1e-7, its two operations round.
      const double error =
          (a.error + b.error) + (1e-7 + 2 * kHalfUlp) * (std::fabs(a.value) + std::fabs(b.value));
      x[i] = {a.value * cosine - b.value * sine, error};
      x[i + 1] = {a.value * sine + b.value * cosine, error};
    }
  }

  std::vector<Bounded> softmax(const Bounded* q, uint32_t key_at) const {
    const uint32_t d = shape_.head_dim;
    const double root = std::sqrt(static_cast<double>(d));
    std::vector<Bounded> scores(keys_.size());
    double max = -HUGE_VAL, error = 0, spread = 0, sum = 0;
    for (size_t t = 0; t < scores.size(); ++t) {
      for (uint32_t i = 0; i < d; ++i) {
        const Bounded& k = keys_[t][key_at + i];
        const double product = std::fabs(q[i].value * k.value);
        scores[t].value += q[i].value * k.value / root;
        // The chain, the scale's root, inverse and product.
        scores[t].error += (std::fabs(q[i].value) * k.error + std::fabs(k.value) * q[i].error +
                            q[i].error * k.error + (d + 3) * kHalfUlp * product) /
                           root;
      }
      max = std::fmax(max, scores[t].value);
    }
    for (const Bounded& s : scores) {
      sum += std::exp(s.value - max);
      error = std::fmax(error, s.error);
      spread = std::fmax(spread, max - s.value);
    }
    std::vector<Bounded> weights(scores.size());
    for (size_t t = 0; t < scores.size(); ++t) {
      weights[t].value = std::exp(scores[t].value - max) / sum;
      // Above and below the line a score may be off, max's subtraction rounds, exp is within 2
      // half ulps; then the sum, its inverse, the product.
      const double relative = 2 * (error + (spread + 2) * kHalfUlp) +
                              (static_cast<double>(scores.size()) / 16 + 1 + 4 + 2) * kHalfUlp;
      weights[t].error = 1.01 * relative * weights[t].value;
    }
    return weights;
  }

  const TinyModel& model_;
  const tools::ModelShape& shape_;
  std::vector<std::vector<Bounded>> keys_;
};

}  // namespace thimble::test

#endif
