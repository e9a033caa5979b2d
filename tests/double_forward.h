// SPDX-License-Identifier: MIT
// A decoder's forward pass in double precision, written plainly and apart from the engine, with a
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

#include <algorithm>
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
    const uint32_t norm = shape.norm == kNormLayer ? 2 : 1;
    const uint32_t up = (shape.gated ? 2 : 1) * shape.hidden_dim;
    const auto if_there = [&](bool is_there, SectionKind kind, uint32_t layer, uint32_t n_rows,
                              uint32_t cols) {
      return is_there ? read(rows, kind, layer, n_rows, cols) : Weights{cols, {}};
    };
    if (shape.learned_positions) {
      positions_ = read(rows, kPositionEmbedding, 0, shape.n_ctx, shape.dim);
    }
    embedding_ = read(rows, kTokenEmbedding, 0, shape.vocab_size, shape.dim);
    for (uint32_t l = 0; l < shape.n_layers; ++l) {
      layers_.push_back(
          {read(rows, kAttentionNorm, l, norm, shape.dim),
           read(rows, kAttentionQkv, l, q + 2 * kv, shape.dim),
           read(rows, kAttentionOutput, l, shape.dim, q),
           read(rows, kFeedForwardNorm, l, norm, shape.dim),
           read(rows, kFeedForwardGateUp, l, up, shape.dim),
           read(rows, kFeedForwardDown, l, shape.dim, shape.hidden_dim),
           if_there(shape.biases & kBiasQkv, kAttentionQkvBias, l, 1, q + 2 * kv),
           if_there(shape.qk_norm, kQkNorm, l, 2, shape.head_dim),
           if_there(shape.biases & kBiasAttentionOutput, kAttentionOutputBias, l, 1, shape.dim),
           if_there(shape.norm_after, kAttentionPostNorm, l, norm, shape.dim),
           if_there(shape.biases & kBiasFeedForwardIn, kFeedForwardGateUpBias, l, 1, up),
           if_there(shape.biases & kBiasFeedForwardDown, kFeedForwardDownBias, l, 1, shape.dim),
           if_there(shape.norm_after, kFeedForwardPostNorm, l, norm, shape.dim),
           shape.layers.empty() ? tools::LayerShape{} : shape.layers[l],
           {},
           {}});
    }
    final_norm_ = read(rows, kFinalNorm, 0, norm, shape.dim);
    head_ = shape.tied_head ? embedding_ : read(rows, kOutputHead, 0, shape.vocab_size, shape.dim);
  }

  // The next token; gives the logits behind it.
  Estimates feed(int32_t token) {
    Estimates x(shape_.dim);
    for (uint32_t i = 0; i < shape_.dim; ++i) {
      const double scale = static_cast<double>(shape_.embedding_scale);
      x[i].value = embedding_.at(static_cast<uint32_t>(token), i) * scale;
      if (scale != 1) x[i].variance = roundings(x[i].value);
      if (!shape_.learned_positions) continue;
      x[i].value += positions_.at(position_, i);
      x[i].variance += roundings(x[i].value);
    }
    for (Layer& layer : layers_) {
      const Estimates before = x;
      Estimates qkv = biased(multiply(layer.qkv, norm(x, layer.norm)), layer.qkv_bias);
      Estimates given = multiply(layer.output, attention(&layer, qkv));
      add(&x, after(biased(given, layer.output_bias), layer.post_norm));
      const Estimates& from = shape_.parallel ? before : x;
      const Estimates gate_up =
          biased(multiply(layer.gate_up, norm(from, layer.feed_forward_norm)), layer.gate_up_bias);
      given = multiply(layer.down, activate(gate_up));
      add(&x, after(biased(given, layer.down_bias), layer.feed_forward_post_norm));
    }
    ++position_;
    return scaled_logits(multiply(head_, norm(x, final_norm_)));
  }

  // A text without end, as thimble_config's n_sinks has it: beyond n_ctx positions only the first
  // n_sinks are seen, as far away as they would be in a text of n_ctx, and the last ones.
  void set_sinks(uint32_t n_ctx, uint32_t n_sinks) {
    n_ctx_ = n_ctx;
    n_sinks_ = n_sinks;
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
    // Without rows where the model has none.
    Weights qkv_bias, qk_norm, output_bias, post_norm, gate_up_bias, down_bias,
        feed_forward_post_norm;
    tools::LayerShape kind;
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

  static Estimates biased(Estimates x, const Weights& bias) {
    for (uint32_t i = 0; bias.rows() > 0 && i < x.size(); ++i) {
      x[i].value += bias.at(0, i);
      x[i].variance += roundings(x[i].value);
    }
    return x;
  }

  Estimates after(const Estimates& x, const Weights& weight) const {
    return weight.rows() > 0 ? norm(x, weight) : x;
  }

  Estimates norm(const Estimates& x, const Weights& weight) const {
    return shape_.norm == kNormLayer ? layer_norm(x, weight) : rms_norm(x, weight, 0);
  }

  // (x - mean) / sqrt(variance + eps) * weight + bias. With c_i = x_i - mean, s = sqrt(var + eps):
  //   d out_i = weight_i / s * (d x_i - sum over j of (1 + c_i c_j / s^2) d x_j / n)
  Estimates layer_norm(const Estimates& x, const Weights& weight) const {
    const double n = static_cast<double>(x.size());
    double mean = 0, spread = 0, size = 0;
    for (const Estimate& e : x) {
      mean += e.value / n;
      size += std::fabs(e.value) / n;
    }
    double m = static_cast<double>(shape_.norm_eps);
    for (const Estimate& e : x) m += square(e.value - mean) / n;
    // The rounding of the mean is one for all, and of each difference its own.
    const double of_mean = roundings(size, n / 16 + 5);
    Estimates out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double c = x[i].value - mean;
      const double factor = weight.at(0, static_cast<uint32_t>(i)) / std::sqrt(m);
      spread = 0;
      for (size_t j = 0; j < x.size(); ++j) {
        const double by = (i == j ? 1 : 0) - (1 + c * (x[j].value - mean) / m) / n;
        spread += square(by) * x[j].variance;
      }
      const double scaled = factor * c;
      out[i].value = scaled + weight.at(1, static_cast<uint32_t>(i));
      out[i].variance = square(factor) * (spread + of_mean + roundings(c)) +
                        roundings(scaled, n / 16 + 10) + roundings(out[i].value);
    }
    return out;
  }

  // x / sqrt(mean(x^2) + eps) * weight. With m = mean(x^2) + eps:
  //   d out_i = weight_i / sqrt(m) * (d x_i - x_i / (n m) * sum over j of x_j d x_j)
  Estimates rms_norm(const Estimates& x, const Weights& weight, uint32_t row) const {
    const double n = static_cast<double>(x.size());
    double m = static_cast<double>(shape_.norm_eps), spread = 0;
    for (const Estimate& e : x) {
      m += square(e.value) / n;
      spread += square(e.value) * e.variance;
    }
    Estimates out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double factor = weight.at(row, static_cast<uint32_t>(i)) / std::sqrt(m);
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
      if (max < 1e-30) continue;  // silent: ReLU may give nothing but zeros
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
    const bool is_int8 = layout_.type != kWeightF32;
    const Estimates x = is_int8 ? quantized(input) : input;
    const uint32_t step = is_int8 ? (layout_.group ? layout_.group : w.cols) : 1;
    Estimates out(w.rows());
    for (uint32_t r = 0; r < w.rows(); ++r) {
      for (uint32_t begin = 0; begin < w.cols; begin += step) {
        double term = 0;
        for (uint32_t c = begin; c < begin + step && c < w.cols; ++c) {
          term += w.at(r, c) * x[c].value;
          out[r].variance += square(w.at(r, c)) * x[c].variance;
        }
        out[r].value += term;
        out[r].variance += roundings(out[r].value);          // the fma
        if (is_int8) out[r].variance += roundings(term, 2);  // float(dot) and the scales' product
      }
    }
    return out;
  }

  // Neighbouring pairs turn by position * theta^(-2i / head_dim) (Su et al. 2021), or by what the
  // layer's table says.
  void rotate(Estimate* x, uint32_t rope, uint32_t position) const {
    for (uint32_t i = 0; i < shape_.head_dim; i += 2) {
      double angle =
          position * std::pow(static_cast<double>(shape_.rope_theta),
                              -static_cast<double>(i) / static_cast<double>(shape_.head_dim));
      if (!shape_.ropes.empty()) {
        const uint64_t turns = shape_.ropes[rope][i / 2] * position;
        angle = std::ldexp(static_cast<double>(turns), -64) * 6.283185307179586476925;
        if (shape_.ropes[rope][i / 2] == 0) continue;
      }
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

  // Queries and keys as attention wants them.
  Estimates normed_and_turned(const Layer& layer, Estimates qkv, uint32_t position) const {
    const size_t head_dim = shape_.head_dim, q_width = shape_.n_heads * head_dim;
    for (size_t at = 0; at < q_width + shape_.n_kv_heads * head_dim; at += head_dim) {
      if (layer.qk_norm.rows() > 0) {
        Estimates head(head_dim);
        std::copy_n(qkv.data() + at, head_dim, head.data());
        head = rms_norm(head, layer.qk_norm, at < q_width ? 0 : 1);
        std::copy_n(head.data(), head_dim, qkv.data() + at);
      }
      rotate(qkv.data() + at, layer.kind.rope, position);
    }
    return qkv;
  }

  // softmax(q . k / sqrt(head_dim)) . v (Vaswani et al. 2017). With weights p and context c:
  //   d c = sum over t of p_t (v_t - c) d score_t + p_t d v_t
  Estimates attention(Layer* layer, const Estimates& qkv) const {
    const size_t head_dim = shape_.head_dim;
    const size_t q_width = shape_.n_heads * head_dim, kv_width = shape_.n_kv_heads * head_dim;
    const Estimates turned = normed_and_turned(*layer, qkv, position_);
    const Estimate* k = turned.data() + q_width;
    layer->keys.emplace_back(k, k + kv_width);
    layer->values.emplace_back(k + kv_width, k + 2 * kv_width);

    const size_t n = layer->keys.size(), rest = n_ctx_ - n_sinks_;
    const bool has_sinks = n_sinks_ > 0 && (layer->kind.window == 0 || layer->kind.window > rest);
    const size_t window = has_sinks ? n_ctx_ : layer->kind.window;
    const size_t first = window == 0 || n <= window ? 0 : has_sinks ? n - rest : n - window;
    const Estimates distant =
        normed_and_turned(*layer, qkv, n_ctx_ - 1);  // what sinks are met with
    std::vector<size_t> seen;
    for (size_t t = 0; t < n; ++t) {
      if (t >= first || (has_sinks && t < n_sinks_)) seen.push_back(t);
    }
    const double root = shape_.score_scale != 0.0f ? 1 / static_cast<double>(shape_.score_scale)
                                                   : std::sqrt(static_cast<double>(head_dim));
    Estimates out(q_width);
    for (size_t h = 0; h < shape_.n_heads; ++h) {
      const size_t kv = h / (shape_.n_heads / shape_.n_kv_heads) * head_dim;
      Estimates scores(n);
      double max = -HUGE_VAL;
      for (size_t t : seen) {
        for (size_t d = 0; d < head_dim; ++d) {
          const Estimate& a = (t < first ? distant : turned)[h * head_dim + d];
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
      for (size_t t : seen) sum += std::exp(scores[t].value - max);
      for (size_t d = 0; d < head_dim; ++d) {
        Estimate& c = out[h * head_dim + d];
        for (size_t t : seen) {
          c.value += std::exp(scores[t].value - max) / sum * layer->values[t][kv + d].value;
        }
        double chain = 0;
        for (size_t t : seen) {
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

  // act(g) and its derivative; the engine's own error of it, apart from roundings of the result.
  struct Activation {
    double value, slope, error;
  };
  Activation activation(double g) const {
    const double kRoot = std::sqrt(2 / 3.14159265358979323846), kCube = 0.044715;
    switch (shape_.activation) {
      case kActivationSilu: {  // g s, s = 1 / (1 + exp(-g))
        const double s = 1 / (1 + std::exp(-g));
        return {g * s, s * (1 + g * (1 - s)), 2 * kUnit * g * s};
      }
      case kActivationGeluTanh: {  // g s(2 u)
        const double u = kRoot * (g + kCube * g * g * g);
        const double s = 1 / (1 + std::exp(-2 * u));
        const double du = kRoot * (1 + 3 * kCube * g * g);
        // The exponent is rounded, too: |2 u| (1 - s) times as much.
        return {g * s, s + g * s * (1 - s) * 2 * du,
                kUnit * g * s * (2 + 4 * std::fabs(2 * u) * (1 - s))};
      }
      case kActivationGelu: {  // g Phi(g); within 3e-7 (exact_math.h)
        const double phi = std::erfc(-g / std::sqrt(2.0)) / 2;
        return {g * phi, phi + g * std::exp(-g * g / 2) / std::sqrt(2 * 3.14159265358979323846),
                1.5e-7};
      }
      default:
        return {std::fmax(g, 0), g > 0 ? 1.0 : 0.0, 0};
    }
  }

  Estimates activate(const Estimates& gate_up) const {
    Estimates out(shape_.hidden_dim);
    for (size_t i = 0; i < out.size(); ++i) {
      const Estimate& g = gate_up[i];
      const Estimate one = {1, 0};
      const Estimate& up = shape_.gated ? gate_up[shape_.hidden_dim + i] : one;
      const Activation act = activation(g.value);
      out[i].value = act.value * up.value;
      out[i].variance = square(act.slope * up.value) * g.variance +
                        square(act.value) * up.variance + square(act.error * up.value) +
                        roundings(out[i].value, 3);
    }
    return out;
  }

  // cap * tanh(scale * x / cap)
  Estimates scaled_logits(Estimates x) const {
    const double scale = static_cast<double>(shape_.logit_scale);
    const double cap = static_cast<double>(shape_.logit_cap);
    for (Estimate& e : x) {
      e.value *= scale;
      e.variance = square(scale) * e.variance + (scale != 1 ? roundings(e.value) : 0);
      if (cap == 0) continue;
      const double t = std::tanh(e.value / cap);
      e.variance = square(1 - square(t)) * (e.variance + roundings(e.value)) + square(2e-7 * cap) +
                   roundings(t * cap, 2);
      e.value = t * cap;
    }
    return x;
  }

  tools::ModelShape shape_;
  tools::WeightLayout layout_;
  Weights embedding_, positions_{1, {}}, final_norm_, head_;
  std::vector<Layer> layers_;
  uint32_t position_ = 0, n_ctx_ = 0, n_sinks_ = 0;
  size_t possible_flips_ = 0;
};

}  // namespace thimble::test

#endif
