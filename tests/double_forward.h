// SPDX-License-Identifier: MIT
// A Llama's forward pass in double precision, written plainly and apart from the engine, with a
// bound for how far the engine's float arithmetic may stray from it.
//
// The bound is derived along with the values. Every number is an `Estimate`: its value, and the
// variance of the engine's error. Model (Higham, Mary 2019): rounding errors are independent and of
// mean zero. One rounding of a result v adds (u v)^2 / 3, the variance of a number spread evenly
// over [-u v, u v], u = 2^-24. Errors go through an operation by its exact derivatives. A bound is
// kSigmas standard deviations: were the errors normal, one logit in 10^15 would exceed it. The
// model leaves out how the errors of a block and of its input hang together, which for random
// weights can add a half to a deviation, not eight.
//
// With int8 weights, activations are quantized as the contract says: value = round(x * 127 /
// max|x|) in each group. An error that does not reach the next tie vanishes there. Where it might
// reach it, the value may be a step off, and that step counts as one deviation.
#ifndef THIMBLE_TESTS_DOUBLE_FORWARD_H
#define THIMBLE_TESTS_DOUBLE_FORWARD_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "image.h"

namespace thimble::test {

constexpr double kUnit = 0x1p-24;
constexpr double kSigmas = 8;

struct Estimate {
  double value = 0, variance = 0;
  double bound() const { return kSigmas * std::sqrt(variance); }
};
using Estimates = std::vector<Estimate>;

inline double square(double x) {
  return x * x;
}

// `n` roundings of a result v.
inline double roundings(double v, double n = 1) {
  return n * square(kUnit * v) / 3;
}

class DoubleForward {
 public:
  // `rows` gives the weights that the engine computes with: of int8 weights, the dequantized ones.
  DoubleForward(const tools::ModelShape& shape, const tools::WeightLayout& layout,
                const tools::RowSource& rows)
      : shape_(shape), layout_(layout) {
    const uint32_t q = shape.n_heads * shape.head_dim, kv = shape.n_kv_heads * shape.head_dim;
    embedding_ = read(rows, kTokenEmbedding, 0, shape.vocab_size, shape.dim);
    for (uint32_t l = 0; l < shape.n_layers; ++l) {
      layers_.push_back({read(rows, kAttentionNorm, l, 1, shape.dim),
                         read(rows, kAttentionQkv, l, q + 2 * kv, shape.dim),
                         read(rows, kAttentionOutput, l, shape.dim, q),
                         read(rows, kFeedForwardNorm, l, 1, shape.dim),
                         read(rows, kFeedForwardGateUp, l, 2 * shape.hidden_dim, shape.dim),
                         read(rows, kFeedForwardDown, l, shape.dim, shape.hidden_dim),
                         {},
                         {}});
    }
    final_norm_ = read(rows, kFinalNorm, 0, 1, shape.dim);
    head_ = shape.tied_head ? embedding_ : read(rows, kOutputHead, 0, shape.vocab_size, shape.dim);
  }

  // The next token; gives the logits behind it.
  Estimates feed(int32_t token) {
    Estimates x(shape_.dim);
    for (uint32_t i = 0; i < shape_.dim; ++i) {
      x[i].value = embedding_.at(static_cast<uint32_t>(token), i);
    }
    for (Layer& layer : layers_) {
      add(&x, multiply(layer.output, attention(&layer, multiply(layer.qkv, norm(x, layer.norm)))));
      const Estimates gate_up = multiply(layer.gate_up, norm(x, layer.feed_forward_norm));
      add(&x, multiply(layer.down, swiglu(gate_up)));
    }
    ++position_;
    return multiply(head_, norm(x, final_norm_));
  }

  // Quantized values so far that might lie on the other side of a tie in the engine.
  size_t possible_flips() const { return possible_flips_; }

 private:
  struct Weights {
    uint32_t cols;
    std::vector<float> data;
    double at(uint32_t row, uint32_t col) const {
      return static_cast<double>(data[size_t{row} * cols + col]);
    }
    uint32_t rows() const { return static_cast<uint32_t>(data.size() / cols); }
  };
  struct Layer {
    Weights norm, qkv, output, feed_forward_norm, gate_up, down;
    std::vector<Estimates> keys, values;  // of every position, (n_kv_heads * head_dim)
  };

  static Weights read(const tools::RowSource& rows, SectionKind kind, uint32_t layer,
                      uint32_t n_rows, uint32_t cols) {
    Weights w{cols, std::vector<float>(size_t{n_rows} * cols)};
    for (uint32_t r = 0; r < n_rows; ++r) {
      rows(kind, layer, r, cols, w.data.data() + size_t{r} * cols);
    }
    return w;
  }

  // x = x + y
  static void add(Estimates* x, const Estimates& y) {
    for (size_t i = 0; i < x->size(); ++i) {
      Estimate& to = (*x)[i];
      to.value += y[i].value;
      to.variance += y[i].variance + roundings(to.value);
    }
  }

  // x / sqrt(mean(x^2) + eps) * weight. With m = mean(x^2) + eps:
  //   d out_i = weight_i / sqrt(m) * (d x_i - x_i / (n m) * sum over j of x_j d x_j)
  Estimates norm(const Estimates& x, const Weights& weight) const {
    const double n = static_cast<double>(x.size());
    double m = static_cast<double>(shape_.norm_eps), spread = 0;
    for (const Estimate& e : x) {
      m += square(e.value) / n;
      spread += square(e.value) * e.variance;
    }
    Estimates out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double factor = weight.at(0, static_cast<uint32_t>(i)) / std::sqrt(m);
      const double share = x[i].value / (n * m);
      out[i].value = factor * x[i].value;
      out[i].variance =
          square(factor) * (square(1 - share * x[i].value) * x[i].variance +
                            square(share) * (spread - square(x[i].value) * x[i].variance));
      // The sum: n / 16 fmas in a lane and 4 folds; mean, eps, sqrt, 1 / ; the two products.
      out[i].variance += roundings(out[i].value, n / 16 + 10);
    }
    return out;
  }

  // The engine's int8 activations, as the numbers that they stand for.
  Estimates quantized(const Estimates& x) {
    Estimates out(x.size());
    const size_t group = layout_.group ? layout_.group : x.size();
    for (size_t begin = 0; begin < x.size(); begin += group) {
      const size_t end = begin + group < x.size() ? begin + group : x.size();
      size_t largest = begin;
      for (size_t i = begin; i < end; ++i) {
        if (std::fabs(x[i].value) > std::fabs(x[largest].value)) largest = i;
      }
      const double max = std::fabs(x[largest].value);
      const double max_variance = x[largest].variance / square(max);  // relative
      const double scale = max / 127;
      for (size_t i = begin; i < end; ++i) {
        const double steps = x[i].value / scale;
        const double whole = std::nearbyint(steps);  // ties to even
        const double steps_variance =
            x[i].variance / square(scale) + square(steps) * max_variance + roundings(steps, 2);
        out[i].value = whole * scale;
        out[i].variance = square(out[i].value) * max_variance + roundings(out[i].value);
        const double to_tie = 0.5 - std::fabs(steps - whole);
        if (i != largest && to_tie <= kSigmas * std::sqrt(steps_variance)) {
          ++possible_flips_;
          out[i].variance += square(scale) + x[i].variance;
        }
      }
    }
    return out;
  }

  // w . x
  Estimates multiply(const Weights& w, const Estimates& input) {
    const bool is_q8 = layout_.type == kWeightQ8;
    const Estimates x = is_q8 ? quantized(input) : input;
    const uint32_t step = is_q8 ? (layout_.group ? layout_.group : w.cols) : 1;
    Estimates out(w.rows());
    for (uint32_t r = 0; r < w.rows(); ++r) {
      for (uint32_t begin = 0; begin < w.cols; begin += step) {
        double term = 0;
        for (uint32_t c = begin; c < begin + step && c < w.cols; ++c) {
          term += w.at(r, c) * x[c].value;
          out[r].variance += square(w.at(r, c)) * x[c].variance;
        }
        out[r].value += term;
        out[r].variance += roundings(out[r].value);        // the fma
        if (is_q8) out[r].variance += roundings(term, 2);  // float(dot) and the scales' product
      }
    }
    return out;
  }

  // Neighbouring pairs turn by position * theta^(-2i / head_dim) (Su et al. 2021).
  void rotate(Estimate* x) const {
    for (uint32_t i = 0; i < shape_.head_dim; i += 2) {
      const double angle =
          position_ * std::pow(static_cast<double>(shape_.rope_theta),
                               -static_cast<double>(i) / static_cast<double>(shape_.head_dim));
      const double cosine = std::cos(angle), sine = std::sin(angle);
      const Estimate a = x[i], b = x[i + 1];
      // The engine's sines and cosines are within 1e-7.
      const double table = square(1e-7) * (square(a.value) + square(b.value));
      x[i].value = a.value * cosine - b.value * sine;
      x[i].variance = a.variance * square(cosine) + b.variance * square(sine) + table +
                      roundings(b.value * sine) + roundings(x[i].value);
      x[i + 1].value = a.value * sine + b.value * cosine;
      x[i + 1].variance = a.variance * square(sine) + b.variance * square(cosine) + table +
                          roundings(a.value * sine) + roundings(x[i + 1].value);
    }
  }

  // softmax(q . k / sqrt(head_dim)) . v (Vaswani et al. 2017). With weights p and context c:
  //   d c = sum over t of p_t (v_t - c) d score_t + p_t d v_t
  Estimates attention(Layer* layer, const Estimates& qkv) const {
    const size_t head_dim = shape_.head_dim;
    const size_t q_width = shape_.n_heads * head_dim, kv_width = shape_.n_kv_heads * head_dim;
    Estimates turned = qkv;
    for (size_t at = 0; at < q_width + kv_width; at += head_dim) rotate(turned.data() + at);
    const Estimate* k = turned.data() + q_width;
    layer->keys.emplace_back(k, k + kv_width);
    layer->values.emplace_back(k + kv_width, k + 2 * kv_width);

    const size_t n = layer->keys.size();
    const double root = std::sqrt(static_cast<double>(head_dim));
    Estimates out(q_width);
    for (size_t h = 0; h < shape_.n_heads; ++h) {
      const size_t kv = h / (shape_.n_heads / shape_.n_kv_heads) * head_dim;
      Estimates scores(n);
      double max = -HUGE_VAL;
      for (size_t t = 0; t < n; ++t) {
        for (size_t d = 0; d < head_dim; ++d) {
          const Estimate& a = turned[h * head_dim + d];
          const Estimate& b = layer->keys[t][kv + d];
          scores[t].value += a.value * b.value / root;
          scores[t].variance += (square(a.value) * b.variance + square(b.value) * a.variance +
                                 roundings(a.value * b.value, 3)) /  // 1 / sqrt, and its product
                                    square(root) +
                                roundings(scores[t].value);
        }
        max = std::fmax(max, scores[t].value);
      }
      double sum = 0;
      for (size_t t = 0; t < n; ++t) sum += std::exp(scores[t].value - max);
      for (size_t d = 0; d < head_dim; ++d) {
        Estimate& c = out[h * head_dim + d];
        for (size_t t = 0; t < n; ++t) {
          c.value += std::exp(scores[t].value - max) / sum * layer->values[t][kv + d].value;
        }
        double chain = 0;
        for (size_t t = 0; t < n; ++t) {
          const double p = std::exp(scores[t].value - max) / sum;
          const Estimate& v = layer->values[t][kv + d];
          // exp is within an ulp, 2 u; then what scales it; before, the subtraction of max.
          const double weight = square(2 * kUnit) + roundings(1) + roundings(scores[t].value - max);
          c.variance += square(p * (v.value - c.value)) * (scores[t].variance + weight);
          c.variance += square(p) * v.variance;
          chain += p * v.value;
          c.variance += roundings(chain);
        }
        c.variance += roundings(c.value, static_cast<double>(n) / 16 + 5);  // 1 / sum
      }
    }
    return out;
  }

  // g / (1 + exp(-g)) * up; the derivative by g is s (1 + g (1 - s)), s = 1 / (1 + exp(-g)).
  Estimates swiglu(const Estimates& gate_up) const {
    Estimates out(shape_.hidden_dim);
    for (size_t i = 0; i < out.size(); ++i) {
      const Estimate& g = gate_up[i];
      const Estimate& up = gate_up[shape_.hidden_dim + i];
      const double s = 1 / (1 + std::exp(-g.value));
      out[i].value = g.value * s * up.value;
      out[i].variance = square(s * (1 + g.value * (1 - s)) * up.value) * g.variance +
                        square(g.value * s) * up.variance + square(2 * kUnit * out[i].value) +
                        roundings(out[i].value, 3);
    }
    return out;
  }

  tools::ModelShape shape_;
  tools::WeightLayout layout_;
  Weights embedding_, final_norm_, head_;
  std::vector<Layer> layers_;
  uint32_t position_ = 0;
  size_t possible_flips_ = 0;
};

}  // namespace thimble::test

#endif
