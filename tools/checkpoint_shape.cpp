// SPDX-License-Identifier: MIT
#include "checkpoint_shape.h"

#include <algorithm>
#include <cmath>

#include "checkpoint_config.h"
#include "error.h"
#include "rope.h"

namespace thimble::tools {
namespace {

using Keys = Config::Keys;

ActivationType activation_named(const Config& config, const std::string& name) {
  if (name == "silu" || name == "swish") return kActivationSilu;
  if (name == "gelu") return kActivationGelu;
  if (name == "relu") return kActivationRelu;
  for (const char* tanh : {"gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_tanh"}) {
    if (name == tanh) return kActivationGeluTanh;
  }
  config.refuse("the activation is '" + name +
                "', expected silu, gelu (by erf), gelu_new or gelu_pytorch_tanh (by tanh), relu");
}

bool is_neox(const Family& family) {
  return std::string(family.name) == "GPT-NeoX";
}

// ---- Heads ---------------------------------------------------------------------------------

[[noreturn]] void ask_for_heads(const Config& config, uint32_t width) {
  std::string fits;
  for (uint32_t size : {32u, 48u, 64u, 80u, 96u, 128u, 256u, 16u, 8u, 12u}) {
    if (width % size != 0 || width / size > kMaxHeads) continue;
    fits += format("%s%u (of %u)", fits.empty() ? "" : ", ", width / size, size);
  }
  config.refuse(format(
      "the number of heads is nowhere in the file, and no tensor shows it; say --heads N. Of a "
      "width of %u these would fit: %s",
      width, fits.empty() ? "none of the usual sizes" : fits.c_str()));
}

// ---- Rotary positions ----------------------------------------------------------------------

RopeSettings scaled(const Config& config, const Value* scaling, RopeSettings s, uint32_t n_ctx) {
  if (!scaling) return s;
  if (!scaling->dict()) {
    config.refuse("rope_scaling", "is " + described(*scaling) + ", expected a dictionary or null");
  }
  const Config c(*scaling, config.path());
  const std::string type = c.text({"rope_type", "type"});
  if (type.empty() && c.find({"factor"})) {
    config.refuse("rope_scaling", "has a factor but no 'rope_type', expected one");
  }
  if (type.empty() || type == "default") return s;
  const auto number = [&](Keys keys, double otherwise) {
    const char* name = "";
    const Value* value = c.find(keys, &name);
    return value ? config.number_of(*value, name) : otherwise;
  };
  s.original_context = number({"original_max_position_embeddings"}, n_ctx);
  s.factor = number({"factor"}, s.original_context > 0 ? n_ctx / s.original_context : 1);
  if (type == "linear") {
    s.scaling = RopeScaling::kLinear;
  } else if (type == "llama3") {
    s.scaling = RopeScaling::kLlama3;
    s.low_freq_factor = number({"low_freq_factor"}, 1);
    s.high_freq_factor = number({"high_freq_factor"}, 4);
  } else if (type == "yarn") {
    s.scaling = RopeScaling::kYarn;
    s.beta_fast = number({"beta_fast"}, 32);
    s.beta_slow = number({"beta_slow"}, 1);
    s.attention_factor = number({"attention_factor"}, 0);
    if (const Value* cut = c.find({"truncate"})) s.truncate = !cut->boolean() || *cut->boolean();
    // With the two of DeepSeek their quotient is the factor.
    const double mscale = number({"mscale"}, 0), all_dim = number({"mscale_all_dim"}, 0);
    const auto of_log = [&](double m) {
      return s.factor > 1 ? 0.1 * m * std::log(s.factor) + 1 : 1.0;
    };
    if (s.attention_factor <= 0 && mscale > 0 && all_dim > 0) {
      s.attention_factor = of_log(mscale) / of_log(all_dim);
    }
  } else {
    config.refuse("rope_scaling",
                  "has the type '" + type + "', expected default, linear, llama3 or yarn");
  }
  const bool good = s.factor > 0 && s.original_context > 0 &&
                    s.high_freq_factor > s.low_freq_factor && s.low_freq_factor > 0;
  if (!good) config.refuse("rope_scaling", "of type " + type + " has numbers that make no sense");
  return s;
}

// What is said of rotations; newer configurations have all of it in `rope_parameters`, Gemma's once
// for each type of layer.
struct RopeFields {
  const Value *global, *local;  // dictionaries, or null

  explicit RopeFields(const Config& config)
      : global(config.find({"rope_parameters", "rope_scaling"})), local(nullptr) {
    const Value* of_full = global ? global->find("full_attention") : nullptr;
    if (!of_full) return;
    local = global->find("sliding_attention");
    global = of_full;
  }

  double number(const Config& config, Keys keys, double otherwise) const {
    const double stated = config.number(keys, otherwise);
    return global ? Config(*global, config.path()).number(keys, stated) : stated;
  }
};

// ---- Layers --------------------------------------------------------------------------------

// Which layers see a window, from a list of one word a layer.
std::vector<bool> layers_named(const Config& config, Keys keys, const char* word, uint32_t n) {
  const char* name = "";
  const Value* value = config.find(keys, &name);
  if (!value) return {};
  const Value::List* list = value->list();
  if (!list || list->size() != n) {
    config.refuse(name, format("has %zu entries, expected one for each of the %u layers",
                               list ? list->size() : size_t{0}, n));
  }
  std::vector<bool> is;
  for (const Value& entry : *list) {
    const std::string* type = entry.string();
    const bool known = type && (*type == word || *type == "full_attention" || *type == "global");
    if (!known)
      config.refuse(name, "has the entry " + described(entry) + ", expected " + word +
                              ", full_attention or global");
    is.push_back(*type == word);
  }
  return is;
}

std::vector<bool> windowed_layers(const Config& config, const Family& family, uint32_t n) {
  switch (family.windows) {
    case WindowRule::kNone:
      return {};
    case WindowRule::kAll:
      return std::vector<bool>(n, true);
    case WindowRule::kQwen: {
      if (!config.flag({"use_sliding_window"}, false)) return {};
      std::vector<bool> is = layers_named(config, {"layer_types"}, "sliding_attention", n);
      if (!is.empty()) return is;
      const Value* from = config.find({"max_window_layers"});
      const int64_t* first = from ? from->integer() : nullptr;
      is.resize(n);
      for (uint32_t i = 0; i < n; ++i) is[i] = !first || int64_t{i} >= *first;
      return is;
    }
    case WindowRule::kLayerTypes: {
      std::vector<bool> is = layers_named(config, {"layer_types"}, "sliding_attention", n);
      if (!is.empty()) return is;
      uint32_t every = config.count({"sliding_window_pattern", "_sliding_window_pattern"});
      if (every == 0) every = 6;
      is.resize(n);
      for (uint32_t i = 0; i < n; ++i) is[i] = (i + 1) % every != 0;
      return is;
    }
    case WindowRule::kAttentionLayers: {
      std::vector<bool> is = layers_named(config, {"attention_layers"}, "local", n);
      if (!is.empty()) return is;
      // [[["global", "local"], 12]]
      const Value* types = config.find({"attention_types"});
      if (!types || !types->list()) return is;
      for (const Value& entry : *types->list()) {
        const Value::List* pair = entry.list();
        const bool whole = pair && pair->size() == 2 && (*pair)[0].list() && (*pair)[1].integer();
        if (!whole) config.refuse("'attention_types' is not a list of [[types], times]");
        const size_t before = is.size();
        for (int64_t times = 0; times < *(*pair)[1].integer() && is.size() < n; ++times) {
          for (const Value& type : *(*pair)[0].list()) {
            const bool known =
                type.string() && (*type.string() == "local" || *type.string() == "global");
            if (!known)
              config.refuse("'attention_types' has a type that is neither global nor local");
            is.push_back(*type.string() == "local");
          }
          if (is.size() == before) break;  // no types at all, so many times
        }
      }
      if (is.size() != n) config.refuse("'attention_types' does not make as many layers as it has");
      return is;
    }
  }
  return {};
}

// ---- The shape -----------------------------------------------------------------------------

void check_equal(const Config& config, const char* what, uint32_t stated, uint64_t found) {
  if (stated == 0 || stated == found) return;
  config.refuse(format("%s is %u by the configuration, but %llu by the tensors", what, stated,
                       static_cast<unsigned long long>(found)));
}

[[noreturn]] void refuse_size(const CheckpointParts& parts, size_t tensor, const char* what,
                              uint64_t n, uint32_t most) {
  throw Refused(
      parts.tensors()->path(tensor) + ": the tensor '" + parts.tensors()->all()[tensor].name +
      format("' has %llu %s, expected 1 to %u", static_cast<unsigned long long>(n), what, most));
}

void set_sizes(const Config& config, const CheckpointParts& parts, const ReadOptions& options,
               ModelShape* to) {
  ModelShape& s = *to;
  const Family& family = parts.family();
  const auto rows = [&](Part part, bool transposed) {
    const size_t tensor = parts.need(part);
    const uint64_t n = parts.rows_of(tensor, transposed);
    if (n < 1 || n > kMaxVocab) refuse_size(parts, tensor, "rows", n, kMaxVocab);
    return static_cast<uint32_t>(n);
  };
  const size_t embedding = parts.need(Part::kEmbedding);
  s.vocab_size = rows(Part::kEmbedding, false);
  s.dim = static_cast<uint32_t>(
      std::min<uint64_t>(parts.tensors()->all()[embedding].shape[1], UINT32_MAX));
  check_equal(config, "the vocabulary", config.count({"vocab_size"}), s.vocab_size);
  if (s.dim < 1 || s.dim > kMaxDim) refuse_size(parts, embedding, "columns", s.dim, kMaxDim);
  check_equal(config, "the width", config.count({"hidden_size", "n_embd", "dim", "emb_dim"}),
              s.dim);
  s.n_layers = parts.count_layers();
  const uint32_t n_layers =
      config.count({"num_hidden_layers", "n_layer", "num_layers", "n_layers"});
  if (s.n_layers == 0 || s.n_layers < n_layers) parts.need(Part::kAttentionNorm, s.n_layers);
  check_equal(config, "the number of layers", n_layers, s.n_layers);
  s.hidden_dim = rows(Part::kUp, family.transposed);
  check_equal(config, "the feed-forward width", config.count({"intermediate_size", "n_inner"}),
              s.hidden_dim);

  const auto q = parts.find(Part::kQ);
  const uint32_t q_rows = q ? rows(Part::kQ, family.transposed) : 0;
  s.n_heads = options.n_heads.value_or(0);
  if (!s.n_heads)
    s.n_heads = config.count({"num_attention_heads", "n_head", "num_heads", "n_heads"});
  s.head_dim = config.count({"head_dim"});
  if (!s.n_heads) ask_for_heads(config, q_rows ? q_rows : s.dim);
  if (!s.head_dim) {
    const uint32_t width = q_rows ? q_rows : s.dim;
    if (width % s.n_heads != 0) {
      config.refuse(format("%u heads do not divide a width of %u", s.n_heads, width));
    }
    s.head_dim = width / s.n_heads;
  }
  s.n_kv_heads = options.n_kv_heads.value_or(0);
  if (!s.n_kv_heads)
    s.n_kv_heads = config.count({"num_key_value_heads", "n_kv_heads", "n_kv_groups"});
  if (!s.n_kv_heads && q && s.head_dim > 0) {
    const uint32_t k_rows = rows(Part::kK, family.transposed);
    s.n_kv_heads = std::max(1u, k_rows / s.head_dim);
  }
  if (!s.n_kv_heads) s.n_kv_heads = s.n_heads;
  if (s.head_dim < 1 || s.head_dim % 2 != 0 || s.head_dim > kMaxHeadDim) {
    config.refuse(format("heads of %u dimensions, expected an even number of up to %u", s.head_dim,
                         kMaxHeadDim));
  }
  if (s.n_heads > kMaxHeads || s.n_kv_heads > kMaxHeads || s.n_heads % s.n_kv_heads != 0) {
    config.refuse(format("%u heads and %u key/value heads, expected up to %u and a divisor of them",
                         s.n_heads, s.n_kv_heads, kMaxHeads));
  }

  s.n_ctx = config.count(
      {"max_position_embeddings", "n_positions", "context_length", "block_size", "max_seq_len"});
  if (family.has_positions) {
    const uint32_t n = rows(Part::kPositions, false);
    check_equal(config, "the context", s.n_ctx, n);
    s.n_ctx = n;
  }
  if (!s.n_ctx) s.n_ctx = options.n_ctx.value_or(0);
  if (!s.n_ctx) {
    config.refuse(
        "the context is nowhere in the file; say --ctx N, the positions it was trained on");
  }
}

void set_biases(const CheckpointParts& parts, const Config& config, ModelShape* s) {
  const auto has = [&](Part part) { return parts.find(part).has_value(); };
  if (has(Part::kQBias) || has(Part::kQkvBias)) s->biases |= kBiasQkv;
  if (has(Part::kOutputBias)) s->biases |= kBiasAttentionOutput;
  if (has(Part::kUpBias)) s->biases |= kBiasFeedForwardIn;
  if (has(Part::kDownBias)) s->biases |= kBiasFeedForwardDown;
  // Where the configuration says so they must be there, or must not.
  const auto say = [&](Keys keys, uint32_t on, uint32_t off) {
    if (!config.find(keys)) return;
    s->biases = config.flag(keys, false) ? s->biases | on : s->biases & ~off;
  };
  say({"attention_bias"}, kBiasQkv, kBiasQkv | kBiasAttentionOutput);
  say({"qkv_bias"}, kBiasQkv, kBiasQkv);
  say({"mlp_bias"}, kBiasFeedForwardIn | kBiasFeedForwardDown,
      kBiasFeedForwardIn | kBiasFeedForwardDown);
  s->qk_norm = has(Part::kQNorm);
  s->norm_after = has(Part::kAttentionPostNorm);
}

// Divisors of a GGUF file (rope_freqs).
std::vector<float> stored_divisors(CheckpointParts* parts, uint32_t rotary_dim) {
  if (!parts->find(Part::kRopeDivisors)) return {};
  const size_t index = parts->need(Part::kRopeDivisors, 0, rotary_dim / 2, 0);
  std::vector<float> divisors(rotary_dim / 2);
  parts->tensors()->read(index, 0, divisors.size(), divisors.data());
  for (float d : divisors) {
    if (!(d > 0 && std::isfinite(d))) {
      throw Refused(parts->path() + ": a divisor of the rotary frequencies is not positive");
    }
  }
  return divisors;
}

void set_positions(CheckpointParts* parts, const Config& config, const ReadOptions& options,
                   CheckpointShape* to) {
  ModelShape& s = to->shape;
  const Family& family = parts->family();
  s.learned_positions = family.has_positions;
  if (family.has_positions) {
    to->rotary_dim = 0;
    s.ropes = {std::vector<uint64_t>(s.head_dim / 2)};
  } else {
    const RopeFields fields(config);
    const bool is_hf = family.naming == Naming::kHuggingFace;
    RopeSettings settings;
    settings.theta = fields.number(config, {"rope_theta", "rotary_emb_base"},
                                   family.is_gemma && is_hf ? 1e6 : 10000);
    if (options.rope_theta) settings.theta = static_cast<double>(*options.rope_theta);
    const double share = fields.number(config, {"partial_rotary_factor", "rotary_pct"},
                                       is_neox(family) && is_hf ? 0.25 : 1);
    if (!(share > 0 && share <= 1)) {
      config.refuse(format("a share of %g of each head is to be rotated, expected up to 1", share));
    }
    settings.rotary_dim = options.rotary_dim ? *options.rotary_dim : config.count({"rotary_dim"});
    if (settings.rotary_dim == 0) settings.rotary_dim = static_cast<uint32_t>(s.head_dim * share);
    if (settings.rotary_dim % 2 != 0 || settings.rotary_dim > s.head_dim || settings.theta < 1) {
      config.refuse(
          format("%u of %u dimensions of a head are to be rotated from base %g, expected "
                 "an even number of them and a base of at least 1",
                 settings.rotary_dim, s.head_dim, settings.theta));
    }
    to->rotary_dim = settings.rotary_dim;
    s.rope_theta = static_cast<float>(settings.theta);
    const Value* scaling = options.rope_scaling ? &*options.rope_scaling : fields.global;
    RopeSettings global = scaled(config, scaling, settings, s.n_ctx);
    global.divisors = stored_divisors(parts, settings.rotary_dim);
    s.ropes = {rope_turns(global, s.head_dim)};
    const double factor = rope_attention_factor(global);
    if (factor != 1.0) {
      if (global.rotary_dim != s.head_dim) {
        config.refuse("YaRN on a part of a head, which Thimble does not compute");
      }
      if (s.score_scale == 0.0f) {
        s.score_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
      }
      s.score_scale = static_cast<float>(static_cast<double>(s.score_scale) * factor * factor);
    }
    if (family.is_gemma) {
      settings.theta = config.number({"rope_local_base_freq"}, 10000);
      if (fields.local) {
        const Config local(*fields.local, config.path());
        settings.theta = local.number({"rope_theta"}, settings.theta);
        settings = scaled(config, fields.local, settings, s.n_ctx);
      }
      if (settings.theta < 1 || settings.scaling == RopeScaling::kYarn) {
        config.refuse("the rotary base of layers with a window is less than 1, or scaled by YaRN");
      }
      s.ropes.push_back(rope_turns(settings, s.head_dim));
    }
  }

  const uint32_t window = config.count({"sliding_window", "window_size"});
  const std::vector<bool> windowed =
      window ? windowed_layers(config, family, s.n_layers) : std::vector<bool>();
  if (!windowed.empty()) {
    s.layers.resize(s.n_layers);
    for (uint32_t i = 0; i < s.n_layers; ++i) {
      if (windowed[i]) s.layers[i] = {window, family.is_gemma ? 1u : 0u};
    }
  }
  if (s.layers.empty() && s.ropes.size() > 1) s.ropes.resize(1);
  if (const Value* rotated = config.find({"no_rope_layers"})) {  // 1 where a layer is rotated
    const Value::List* list = rotated->list();
    if (!list || list->size() != s.n_layers) {
      config.refuse("'no_rope_layers' is not a list of a number for each layer");
    }
    s.layers.resize(s.n_layers);
    s.ropes.push_back(std::vector<uint64_t>(s.head_dim / 2));
    for (uint32_t i = 0; i < s.n_layers; ++i) {
      const int64_t* is = (*list)[i].integer();
      if (!is || *is < 0 || *is > 1) {
        config.refuse("no_rope_layers",
                      "has the entry " + described((*list)[i]) + ", expected 0 or 1");
      }
      if (*is == 0) s.layers[i].rope = static_cast<uint32_t>(s.ropes.size() - 1);
    }
  }
}

// Whether two matrices hold the same numbers.
bool same_values(const Tensors& tensors, size_t a, size_t b) {
  if (tensors.all()[a].shape != tensors.all()[b].shape) return false;
  const uint64_t n = element_count(tensors.all()[a]);
  constexpr size_t kAtOnce = 65536;
  std::vector<float> x(kAtOnce), y(kAtOnce);
  for (uint64_t at = 0; at < n; at += kAtOnce) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(kAtOnce, n - at));
    tensors.read(a, at, count, x.data());
    tensors.read(b, at, count, y.data());
    if (!std::equal(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(count), y.begin())) {
      return false;
    }
  }
  return true;
}

bool is_tied(CheckpointParts* parts, const Config& config) {
  const bool stated = config.find({"tie_word_embeddings"}) != nullptr;
  const bool tied = config.flag({"tie_word_embeddings"}, parts->family().tied);
  const auto head = parts->find(Part::kHead);
  if (!head) {
    if (!tied) parts->need(Part::kHead);
    return true;
  }
  if (tied && stated) {  // a copy that is stored all the same
    parts->mark_used(*head);
    return true;
  }
  if (!same_values(*parts->tensors(), parts->need(Part::kEmbedding), *head)) return false;
  parts->mark_used(*head);
  return true;
}

}  // namespace

CheckpointShape checkpoint_shape(CheckpointParts* parts, const Value& value,
                                 const std::string& config_path, const ReadOptions& options) {
  const Family& family = parts->family();
  const Config config(value, config_path,
                      family.naming == Naming::kGguf ? family.architectures : "");
  config.refuse_unsupported(options.rope_scaling.has_value());
  CheckpointShape to = {};
  ModelShape& s = to.shape;
  set_sizes(config, *parts, options, &s);
  s.norm = family.norm;
  const Keys eps = {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"};
  if (family.naming == Naming::kGguf && !config.find(eps) && !options.norm_eps) {
    config.refuse(
        "the epsilon of the norms is missing, expected attention.layer_norm_epsilon or "
        "attention.layer_norm_rms_epsilon (or say --norm-eps)");
  }
  const bool is_hf_rms = family.naming == Naming::kHuggingFace && family.norm == kNormRms;
  s.norm_eps = static_cast<float>(config.number(eps, is_hf_rms ? 1e-6 : 1e-5));
  s.gated = family.gated;
  s.activation = family.activation;
  const std::string named =
      config.text({"hidden_activation", "hidden_act", "activation_function", "activation"});
  if (!named.empty()) s.activation = activation_named(config, named);
  if (options.activation) s.activation = *options.activation;
  s.score_scale = config.flag({"scale_attn_weights"}, true) ? family.score_scale : 1.0f;
  if (const Value* scalar = config.find({"query_pre_attn_scalar"})) {
    const double n = config.number_of(*scalar, "query_pre_attn_scalar");
    const bool is_usual = std::fabs(n - s.head_dim) < 1e-9;
    s.score_scale = is_usual ? 0.0f : static_cast<float>(1 / std::sqrt(n));
  }
  if (family.is_gemma) s.embedding_scale = std::sqrt(static_cast<float>(s.dim));
  s.logit_cap = static_cast<float>(config.number({"final_logit_softcapping"}, 0));
  s.parallel = config.flag({"use_parallel_residual"}, is_neox(family));
  set_biases(*parts, config, &s);
  to.rope_pairs = options.rope_pairs ? *options.rope_pairs : family.rope_pairs;
  set_positions(parts, config, options, &to);
  s.tied_head = is_tied(parts, config);
  return to;
}

}  // namespace thimble::tools
