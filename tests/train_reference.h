// SPDX-License-Identifier: MIT
// A decoder's loss and its gradient in double precision, written plainly, position by position, and
// apart from the trainer.
#ifndef THIMBLE_TESTS_TRAIN_REFERENCE_H
#define THIMBLE_TESTS_TRAIN_REFERENCE_H

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "train/network.h"

namespace thimble::test {

using Doubles = std::vector<double>;

// What dropout multiplies a number with: 0 or 1 / (1 - p). Empty: 1.
struct ReferenceDropout {
  std::function<double(uint32_t layer, uint32_t place, size_t element)> residual;
  std::function<double(uint32_t layer, uint32_t begin, uint32_t head, uint32_t query, uint32_t key)>
      attention;
};

class TrainReference {
 public:
  TrainReference(const tools::train::Parameters& parameters, ReferenceDropout dropout = {})
      : parameters_(parameters), s_(parameters.shape()), dropout_(std::move(dropout)) {}

  // softmax of the logits of each token of the pack.
  std::vector<Doubles> expectations(const Doubles& weights, const tools::train::Pack& pack) {
    std::vector<Doubles> found(pack.tokens.size());
    found_ = &found;
    run(weights, pack, nullptr);
    found_ = nullptr;
    return found;
  }

  // From now on these count, another model's, where a target is asked for, in its place.
  void learn(const std::vector<Doubles>* expected) { expected_ = expected; }

  // The sum of -ln softmax(target); gradient (may be null, parameters.size()) of it is added to.
  double run(const Doubles& weights, const tools::train::Pack& pack, Doubles* gradient) {
    w_ = &weights;
    g_ = gradient;
    double loss = 0;
    for (const tools::train::Sequence& sequence : pack.sequences) {
      loss += run_sequence(pack, sequence);
    }
    return loss;
  }

 private:
  using Rows = std::vector<Doubles>;  // (n, width)

  double w(const tools::train::Tensor& t, size_t i) const { return (*w_)[t.offset + i]; }
  double& g(const tools::train::Tensor& t, size_t i) const { return (*g_)[t.offset + i]; }
  const tools::train::Tensor* find(SectionKind kind, uint32_t layer = 0) const {
    return parameters_.find(kind, layer);
  }
  double kept(uint32_t layer, uint32_t place, size_t element) const {
    return dropout_.residual ? dropout_.residual(layer, place, element) : 1.0;
  }

  Doubles multiply(const tools::train::Tensor& t, const tools::train::Tensor* bias,
                   const Doubles& x) const {
    Doubles y(t.rows);
    for (uint32_t r = 0; r < t.rows; ++r) {
      if (bias) y[r] = w(*bias, r);
      for (uint32_t c = 0; c < t.cols; ++c) y[r] += w(t, size_t{r} * t.cols + c) * x[c];
    }
    return y;
  }
  Doubles multiply_back(const tools::train::Tensor& t, const tools::train::Tensor* bias,
                        const Doubles& x, const Doubles& dy) const {
    Doubles dx(t.cols);
    for (uint32_t r = 0; r < t.rows; ++r) {
      if (bias) g(*bias, r) += dy[r];
      for (uint32_t c = 0; c < t.cols; ++c) {
        dx[c] += dy[r] * w(t, size_t{r} * t.cols + c);
        g(t, size_t{r} * t.cols + c) += dy[r] * x[c];
      }
    }
    return dx;
  }

  // h = (x - mean) / s, and s.
  Doubles standardized(const Doubles& x, double* spread) const {
    const double n = static_cast<double>(x.size());
    double mean = 0, squares = 0;
    if (s_.norm == kNormLayer) {
      for (double v : x) mean += v / n;
    }
    for (double v : x) squares += (v - mean) * (v - mean) / n;
    *spread = std::sqrt(squares + static_cast<double>(s_.norm_eps));
    Doubles h(x.size());
    for (size_t i = 0; i < x.size(); ++i) h[i] = (x[i] - mean) / *spread;
    return h;
  }
  Doubles norm(const tools::train::Tensor& t, const Doubles& x) const {
    double spread;
    Doubles h = standardized(x, &spread);
    for (size_t i = 0; i < h.size(); ++i) {
      h[i] = h[i] * w(t, i) + (s_.norm == kNormLayer ? w(t, h.size() + i) : 0.0);
    }
    return h;
  }
  // From the Jacobian of h: d h_i / d x_j = (delta_ij - [layer] 1 / n - h_i h_j / n) / s.
  Doubles norm_back(const tools::train::Tensor& t, const Doubles& x, const Doubles& dy) const {
    double spread;
    const Doubles h = standardized(x, &spread);
    const size_t n = x.size();
    const double layer = s_.norm == kNormLayer ? 1.0 : 0.0;
    Doubles dx(n);
    for (size_t i = 0; i < n; ++i) {
      g(t, i) += dy[i] * h[i];
      if (layer > 0) g(t, n + i) += dy[i];
      const double dh = dy[i] * w(t, i);
      for (size_t j = 0; j < n; ++j) {
        const double part = (layer + h[i] * h[j]) / static_cast<double>(n);
        dx[j] += dh * ((i == j ? 1.0 : 0.0) - part) / spread;
      }
    }
    return dx;
  }

  double act(double x) const {
    switch (s_.activation) {
      case kActivationSilu:
        return x / (1 + std::exp(-x));
      case kActivationGeluTanh:
        return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case kActivationGelu:
        return x / 2 * std::erfc(-x / std::sqrt(2.0));
      default:
        return x > 0 ? x : 0;
    }
  }
  double slope(double x) const {
    switch (s_.activation) {
      case kActivationSilu: {
        const double e = 1 / (1 + std::exp(-x));
        return e + x * e * (1 - e);
      }
      case kActivationGeluTanh: {
        const double k = std::sqrt(2 / M_PI), t = std::tanh(k * (x + 0.044715 * x * x * x));
        return (1 + t) / 2 + x / 2 * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
      }
      case kActivationGelu:
        return std::erfc(-x / std::sqrt(2.0)) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
      default:
        return x > 0 ? 1 : 0;
    }
  }

  void rotate(double* x, uint32_t layer, uint32_t position, bool back) const {
    const uint32_t rope = s_.layers.empty() ? 0 : s_.layers[layer].rope;
    for (uint32_t i = 0; i < s_.head_dim; i += 2) {
      double angle = position * std::pow(static_cast<double>(s_.rope_theta),
                                         -static_cast<double>(i) / s_.head_dim);
      if (!s_.ropes.empty()) {
        angle = std::ldexp(static_cast<double>(s_.ropes[rope][i / 2] * position), -64) * 2 * M_PI;
      }
      const double c = std::cos(angle), s = back ? -std::sin(angle) : std::sin(angle);
      const double a = x[i], b = x[i + 1];
      x[i] = a * c - b * s;
      x[i + 1] = a * s + b * c;
    }
  }

  struct Layer {
    Rows x, normed, qkv, context, mid, normed2, up, active;
    std::vector<Rows> weights;  // (n_heads, n, n), before dropout
  };

  double run_sequence(const tools::train::Pack& pack, const tools::train::Sequence& sequence) {
    const uint32_t n = sequence.n, dim = s_.dim, hd = s_.head_dim;
    const uint32_t q = s_.n_heads * hd, kv = s_.n_kv_heads * hd, hidden = s_.hidden_dim;
    const size_t first = sequence.begin;
    const double scale =
        s_.score_scale != 0.0f ? static_cast<double>(s_.score_scale) : 1 / std::sqrt(hd);
    const tools::train::Tensor& embedding = *find(kTokenEmbedding);
    const tools::train::Tensor* positions = find(kPositionEmbedding);
    const tools::train::Tensor& head = s_.tied_head ? embedding : *find(kOutputHead);
    Rows x(n, Doubles(dim));
    for (uint32_t t = 0; t < n; ++t) {
      for (uint32_t i = 0; i < dim; ++i) {
        x[t][i] = w(embedding, static_cast<size_t>(pack.tokens[first + t]) * dim + i);
        if (positions) x[t][i] += w(*positions, size_t{t} * dim + i);
        x[t][i] *= kept(0, 0, (first + t) * dim + i);
      }
    }
    std::vector<Layer> layers(s_.n_layers);
    const auto window_begin = [&](uint32_t l, uint32_t t) {
      const uint32_t window = s_.layers.empty() ? 0 : s_.layers[l].window;
      return window > 0 && t + 1 > window ? t + 1 - window : 0;
    };
    for (uint32_t l = 0; l < s_.n_layers; ++l) {
      Layer& a = layers[l];
      a.x = x;
      a.weights.assign(s_.n_heads, Rows(n, Doubles(n)));
      for (uint32_t t = 0; t < n; ++t) {
        a.normed.push_back(norm(*find(kAttentionNorm, l), x[t]));
        a.qkv.push_back(multiply(*find(kAttentionQkv, l), find(kAttentionQkvBias, l), a.normed[t]));
        for (uint32_t at = 0; at < q + kv; at += hd) rotate(&a.qkv[t][at], l, t, false);
        Doubles context(q);
        for (uint32_t h = 0; h < s_.n_heads; ++h) {
          const uint32_t k_at = q + h / (s_.n_heads / s_.n_kv_heads) * hd, v_at = k_at + kv;
          Doubles& p = a.weights[h][t];
          double sum = 0;
          for (uint32_t u = window_begin(l, t); u <= t; ++u) {
            double score = 0;
            for (uint32_t d = 0; d < hd; ++d) score += a.qkv[t][h * hd + d] * a.qkv[u][k_at + d];
            sum += p[u] = std::exp(score * scale);
          }
          for (uint32_t u = 0; u <= t; ++u) {
            p[u] /= sum;
            const double r = p[u] * kept_weight(l, sequence.begin, h, t, u);
            for (uint32_t d = 0; d < hd; ++d) context[h * hd + d] += r * a.qkv[u][v_at + d];
          }
        }
        a.context.push_back(context);
        const Doubles out =
            multiply(*find(kAttentionOutput, l), find(kAttentionOutputBias, l), context);
        for (uint32_t i = 0; i < dim; ++i) x[t][i] += out[i] * kept(l, 2, (first + t) * dim + i);
        a.mid.push_back(x[t]);
        a.normed2.push_back(norm(*find(kFeedForwardNorm, l), x[t]));
        a.up.push_back(
            multiply(*find(kFeedForwardGateUp, l), find(kFeedForwardGateUpBias, l), a.normed2[t]));
        Doubles active(hidden);
        for (uint32_t i = 0; i < hidden; ++i) {
          active[i] = act(a.up[t][i]) * (s_.gated ? a.up[t][hidden + i] : 1.0);
        }
        a.active.push_back(active);
        const Doubles down =
            multiply(*find(kFeedForwardDown, l), find(kFeedForwardDownBias, l), active);
        for (uint32_t i = 0; i < dim; ++i) x[t][i] += down[i] * kept(l, 3, (first + t) * dim + i);
      }
    }
    double loss = 0;
    Rows dx(n, Doubles(dim));
    for (uint32_t t = 0; t < n; ++t) {
      const int32_t target = pack.targets[first + t];
      if (target < 0) continue;
      const Doubles normed = norm(*find(kFinalNorm), x[t]);
      Doubles logits = multiply(head, nullptr, normed), wanted(logits.size());
      if (expected_) {
        wanted = (*expected_)[first + t];
      } else {
        wanted[static_cast<size_t>(target)] = 1;
      }
      double sum = 0;
      for (double v : logits) sum += std::exp(v);
      for (size_t i = 0; i < logits.size(); ++i) loss += wanted[i] * (std::log(sum) - logits[i]);
      for (double& v : logits) v = std::exp(v) / sum;
      if (found_) (*found_)[first + t] = logits;
      if (!g_) continue;
      for (size_t i = 0; i < logits.size(); ++i) logits[i] -= wanted[i];
      dx[t] = norm_back(*find(kFinalNorm), x[t], multiply_back(head, nullptr, normed, logits));
    }
    if (!g_) return loss;
    for (uint32_t l = s_.n_layers; l-- > 0;) {
      const Layer& a = layers[l];
      Rows dqkv(n, Doubles(q + 2 * kv));
      for (uint32_t t = 0; t < n; ++t) {
        Doubles dy(dim);
        for (uint32_t i = 0; i < dim; ++i) dy[i] = dx[t][i] * kept(l, 3, (first + t) * dim + i);
        const Doubles dactive = multiply_back(*find(kFeedForwardDown, l),
                                              find(kFeedForwardDownBias, l), a.active[t], dy);
        Doubles dup(a.up[t].size());
        for (uint32_t i = 0; i < hidden; ++i) {
          dup[i] = dactive[i] * slope(a.up[t][i]) * (s_.gated ? a.up[t][hidden + i] : 1.0);
          if (s_.gated) dup[hidden + i] = dactive[i] * act(a.up[t][i]);
        }
        const Doubles dmid =
            norm_back(*find(kFeedForwardNorm, l), a.mid[t],
                      multiply_back(*find(kFeedForwardGateUp, l), find(kFeedForwardGateUpBias, l),
                                    a.normed2[t], dup));
        for (uint32_t i = 0; i < dim; ++i) {
          dx[t][i] += dmid[i];
          dy[i] = dx[t][i] * kept(l, 2, (first + t) * dim + i);
        }
        const Doubles dcontext = multiply_back(*find(kAttentionOutput, l),
                                               find(kAttentionOutputBias, l), a.context[t], dy);
        for (uint32_t h = 0; h < s_.n_heads; ++h) {
          const uint32_t k_at = q + h / (s_.n_heads / s_.n_kv_heads) * hd, v_at = k_at + kv;
          const Doubles& p = a.weights[h][t];
          Doubles dp(n);
          double along = 0;
          for (uint32_t u = 0; u <= t; ++u) {
            const double factor = kept_weight(l, sequence.begin, h, t, u);
            for (uint32_t d = 0; d < hd; ++d) {
              dp[u] += factor * dcontext[h * hd + d] * a.qkv[u][v_at + d];
              dqkv[u][v_at + d] += factor * p[u] * dcontext[h * hd + d];
            }
            along += p[u] * dp[u];
          }
          for (uint32_t u = 0; u <= t; ++u) {
            const double ds = p[u] * (dp[u] - along) * scale;
            for (uint32_t d = 0; d < hd; ++d) {
              dqkv[t][h * hd + d] += ds * a.qkv[u][k_at + d];
              dqkv[u][k_at + d] += ds * a.qkv[t][h * hd + d];
            }
          }
        }
      }
      for (uint32_t t = 0; t < n; ++t) {
        for (uint32_t at = 0; at < q + kv; at += hd) rotate(&dqkv[t][at], l, t, true);
        const Doubles din =
            norm_back(*find(kAttentionNorm, l), a.x[t],
                      multiply_back(*find(kAttentionQkv, l), find(kAttentionQkvBias, l),
                                    a.normed[t], dqkv[t]));
        for (uint32_t i = 0; i < dim; ++i) dx[t][i] += din[i];
      }
    }
    for (uint32_t t = 0; t < n; ++t) {
      for (uint32_t i = 0; i < dim; ++i) {
        const double d = dx[t][i] * kept(0, 0, (first + t) * dim + i);
        g(embedding, static_cast<size_t>(pack.tokens[first + t]) * dim + i) += d;
        if (positions) g(*positions, size_t{t} * dim + i) += d;
      }
    }
    return loss;
  }

  double kept_weight(uint32_t layer, uint32_t begin, uint32_t head, uint32_t query,
                     uint32_t key) const {
    return dropout_.attention ? dropout_.attention(layer, begin, head, query, key) : 1.0;
  }

  const tools::train::Parameters& parameters_;
  const tools::ModelShape& s_;
  ReferenceDropout dropout_;
  const Doubles* w_ = nullptr;
  Doubles* g_ = nullptr;
  std::vector<Doubles>* found_ = nullptr;
  const std::vector<Doubles>* expected_ = nullptr;
};

}  // namespace thimble::test

#endif
