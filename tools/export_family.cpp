// SPDX-License-Identifier: MIT
#include "export_family.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "error.h"
#include "gguf_writer.h"
#include "model.h"

namespace thimble::tools {

namespace {

constexpr uint32_t kLocalPeriod = 6;  // of Gemma 3: the last of each six layers sees everything
constexpr float kLocalTheta = 10000.0f;

// The first that has no objection is taken.
const ExportFamily kFamilies[] = {
    {"gemma3", false, true, true, kActivationGeluTanh, true, false, true, false, 0, 0, false, true,
     false, false, true, false},
    {"qwen3", false, false, true, kActivationSilu, true, false, true, false, 0, 0, false, false,
     false, false, true, false},
    {"qwen2", false, false, true, kActivationSilu, false, false, true, false, kBiasQkv, 0, false,
     false, false, false, true, false},
    {"llama", false, false, true, kActivationSilu, false, false, false, false, 0, kKnownBiases,
     false, false, true, false, true, true},
    {"gpt2", true, false, false, kActivationGeluTanh, false, true, false, true, kKnownBiases, 0,
     false, false, false, false, false, false},
    {"gptneox", true, false, false, kActivationGelu, false, false, true, true, kKnownBiases, 0,
     true, false, false, true, false, true},
};

// ---- Rotary tables

// Turns a position as the format has them, the low 20 bits aside.
uint64_t turns(float theta, uint32_t pair, uint32_t width, double factor) {
  constexpr long double kTwoPi = 6.283185307179586476925286766559005768L;
  const long double exponent =
      -2.0L * static_cast<long double>(pair) / static_cast<long double>(width);
  const long double frequency = std::pow(static_cast<long double>(theta), exponent);
  return static_cast<uint64_t>(
      std::ldexp(frequency / static_cast<long double>(factor) / kTwoPi, 64));
}

bool is_near(uint64_t a, uint64_t b) {
  return (a > b ? a - b : b - a) <= uint64_t{1} << 20;
}

bool is_table(const uint64_t* table, const RopeFacts& rope) {
  for (uint32_t i = 0; i < rope.width / 2; ++i) {
    const double factor = static_cast<double>(rope.factors.empty() ? rope.linear : rope.factors[i]);
    if (!is_near(table[i], turns(rope.theta, i, rope.width, factor))) return false;
  }
  return true;
}

// The base that the table's first two pairs tell. The second has 40 bits, of which the power takes
// some: what remains is exact enough for the nearest float.
float theta_of(const uint64_t* table, uint32_t width) {
  if (width < 4) return kLocalTheta;
  const long double ratio = static_cast<long double>(table[0]) / static_cast<long double>(table[1]);
  return static_cast<float>(std::pow(ratio, static_cast<long double>(width) / 2));
}

// Nothing where the rotated pairs are not the first ones. `theta` is a guess.
std::optional<RopeFacts> rope_facts(const uint64_t* table, uint32_t head_dim, float theta) {
  RopeFacts rope;
  const uint32_t pairs = head_dim / 2;
  while (rope.width / 2 < pairs && table[rope.width / 2] != 0) rope.width += 2;
  for (uint32_t i = rope.width / 2; i < pairs; ++i) {
    if (table[i] != 0) return std::nullopt;
  }
  rope.theta = theta;
  if (rope.width == 0 || is_table(table, rope)) return rope;
  rope.theta = theta_of(table, rope.width);
  if (is_table(table, rope)) return rope;
  for (const float base : {theta, rope.theta}) {
    rope.theta = base;
    rope.linear = static_cast<float>(static_cast<double>(turns(base, 0, rope.width, 1)) /
                                     static_cast<double>(table[0]));
    if (is_table(table, rope)) return rope;
  }
  rope.theta = theta;
  rope.linear = 1.0f;
  for (uint32_t i = 0; i < rope.width / 2; ++i) {
    rope.factors.push_back(static_cast<float>(static_cast<double>(turns(theta, i, rope.width, 1)) /
                                              static_cast<double>(table[i])));
  }
  return rope;
}

// ---- What layers see

struct Layers {
  const uint32_t* kinds;  // (n_layers, 2): window, rotary table; null: all alike
  uint32_t window(uint32_t layer) const { return kinds ? kinds[2 * layer] : 0; }
  uint32_t rope(uint32_t layer) const { return kinds ? kinds[2 * layer + 1] : 0; }
};

bool is_local(uint32_t layer) {
  return layer % kLocalPeriod != kLocalPeriod - 1;
}

// Gemma 3's layers: the objection, or "" and what they leave to say.
std::string local_layers(const FileHeader& h, const Layers& layers, const uint64_t* ropes,
                         ExportShape* out) {
  const uint32_t window = layers.window(0) != 0 ? layers.window(0) : h.n_ctx;
  int64_t global = -1;  // the table of layers that see everything
  for (uint32_t i = 0; i < h.n_layers; ++i) {
    const uint32_t seen = layers.window(i) != 0 ? layers.window(i) : h.n_ctx;
    if (seen != (is_local(i) ? window : h.n_ctx)) {
      return format("layer %u sees %u positions, expected %u", i, seen,
                    is_local(i) ? window : h.n_ctx);
    }
    if (!is_local(i) && global < 0) global = layers.rope(i);
    if (layers.rope(i) != (is_local(i) ? layers.rope(0) : static_cast<uint32_t>(global))) {
      return format("layer %u has other rotary frequencies", i);
    }
  }
  const uint32_t half = h.head_dim / 2;
  RopeFacts local;
  local.width = h.head_dim;
  local.theta = kLocalTheta;
  if (!is_table(ropes + size_t{layers.rope(0)} * half, local)) {
    return "the rotary base of layers with a window is not 10000";
  }
  if (global >= 0) {
    const auto facts = rope_facts(ropes + static_cast<size_t>(global) * half, h.head_dim,
                                  global == 0 ? h.rope_theta : kLocalTheta);
    if (!facts) return "the rotated dimensions are not the first ones";
    out->rope = *facts;
  } else {
    out->rope = local;
  }
  out->local_window = window;
  return "";
}

std::string like_layers(const FileHeader& h, const Layers& layers, const uint64_t* ropes,
                        ExportShape* out) {
  for (uint32_t i = 0; i < h.n_layers; ++i) {
    const uint32_t window = layers.window(i);
    if (window != 0 && window < h.n_ctx) return format("layer %u has a window", i);
    if (layers.rope(i) != layers.rope(0)) return "layers have different rotary frequencies";
  }
  const uint32_t table = layers.rope(0);
  const auto facts = rope_facts(ropes + size_t{table} * (h.head_dim / 2), h.head_dim,
                                table == 0 ? h.rope_theta : kLocalTheta);
  if (!facts) return "the rotated dimensions are not the first ones";
  out->rope = *facts;
  return "";
}

// ---- Choice

std::string objection_to_blocks(const FileHeader& h, const ExportFamily& f) {
  if ((h.norm == kNormLayer) != f.layer_norm) {
    return f.layer_norm ? "the norm is not LayerNorm" : "the norm is LayerNorm";
  }
  if ((h.norm_after != 0) != f.norm_after) {
    return f.norm_after ? "there is no norm after blocks" : "there is a norm after blocks";
  }
  if ((h.gated != 0) != f.gated) {
    return f.gated ? "the feed-forward is not gated" : "the feed-forward is gated";
  }
  if (h.activation != f.activation) return "the activation is another one";
  if ((h.qk_norm != 0) != f.qk_norm) {
    return f.qk_norm ? "q and k have no norm" : "q and k have a norm";
  }
  if ((h.learned_positions != 0) != f.learned_positions) {
    return f.learned_positions ? "positions are not learned" : "positions are learned";
  }
  if (h.parallel != 0 && !f.may_be_parallel) return "the blocks of a layer are parallel";
  if (f.joined_qkv && h.n_kv_heads != h.n_heads) return "there are fewer key/value heads";
  if (!f.key_length && h.head_dim * h.n_heads != h.dim) return "the heads are not dim wide";
  const bool lacks_all = (f.needs_biases & ~h.biases) != 0 && !f.layer_norm;
  if (lacks_all) return "q, k and v have no bias";
  if ((h.biases & ~(f.needs_biases | f.may_biases)) != 0) return "there are other biases";
  return "";
}

std::string objection_to_scales(const FileHeader& h, const ExportFamily& f) {
  const float scale = f.local_layers ? std::sqrt(static_cast<float>(h.dim)) : 1.0f;
  if (h.embedding_scale != scale) return "the embedding is scaled otherwise";
  if (h.score_scale != 1.0f / std::sqrt(static_cast<float>(h.head_dim))) {
    return "scores are scaled otherwise";
  }
  if (h.logit_scale != 1.0f || h.logit_cap != 0.0f) return "logits are scaled or capped";
  return "";
}

std::string objection_to_rope(const FileHeader& h, const ExportFamily& f, const RopeFacts& rope) {
  if (f.learned_positions) return rope.width > 0 ? "positions are rotary, too" : "";
  if (rope.width == 0) return "positions are not rotary";
  if (rope.width != h.head_dim && !f.partial_rotary) return "a part of the head is not rotated";
  if (!rope.factors.empty() && !f.rope_factors) return "rotary positions are scaled pair by pair";
  return "";
}

std::string objection(const thimble_model& model, const ExportFamily& f, ExportShape* out) {
  const FileHeader& h = header_of(model);
  const Layers layers = {has_layer_kinds(h) ? table_of<uint32_t>(model, kLayerKinds) : nullptr};
  const uint64_t* ropes = table_of<uint64_t>(model, kRopeFrequencies);
  std::string text = objection_to_blocks(h, f);
  if (text.empty()) text = objection_to_scales(h, f);
  if (text.empty()) {
    text =
        f.local_layers ? local_layers(h, layers, ropes, out) : like_layers(h, layers, ropes, out);
  }
  return text.empty() ? objection_to_rope(h, f, out->rope) : text;
}

}  // namespace

ExportShape export_shape(const thimble_model& model) {
  std::string all;
  for (const ExportFamily& family : kFamilies) {
    ExportShape shape;
    shape.family = &family;
    const std::string text = objection(model, family, &shape);
    if (text.empty()) return shape;
    all += format("%s %s (%s)", all.empty() ? "" : ",", family.name, text.c_str());
  }
  throw RefusedExport("no architecture of GGUF that is known here expresses this model:" + all);
}

}  // namespace thimble::tools
