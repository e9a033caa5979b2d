// SPDX-License-Identifier: MIT
#include <cmath>

#include "error.h"
#include "readers/family_checkpoint.h"
#include "readers/gguf.h"
#include "readers/gguf_keys.h"
#include "readers/hugging_face.h"
#include "readers/tokenizers.h"

namespace thimble::tools {
namespace {

// The keys of GGUF (behind "llama.", say) by the names of config.json.
struct KeyName {
  const char *gguf, *name;
};
constexpr KeyName kKeyNames[] = {
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"attention.sliding_window", "sliding_window"},
    {"rope.dimension_count", "rotary_dim"},
    {"rope.freq_base", "rope_theta"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {"vocab_size", "vocab_size"},
    {"use_parallel_residual", "use_parallel_residual"},
    {"expert_count", "num_experts"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"attention.max_alibi_bias", "alibi"},
    {"attention.clamp_kqv", "clip_qkv"},
    {"residual_scale", "residual_multiplier"},
};

Value config_of(const GgufFile& gguf, const std::string& architecture, const std::string& path) {
  const auto find = [&](const std::string& key) {
    return gguf.metadata.find(architecture + "." + key);
  };
  Value::Dict config;
  for (const KeyName& key : kKeyNames) {
    if (const Value* value = find(key.gguf)) config.emplace_back(key.name, *value);
  }
  const Value* key_length = find("attention.key_length");
  const Value* value_length = find("attention.value_length");
  if (key_length && value_length && key_length->integer() && value_length->integer() &&
      *key_length->integer() != *value_length->integer()) {
    throw Refused(path + ": keys and values of different lengths, expected equal ones");
  }
  // Which layers have a window: one of so many has none, or true where a layer has one.
  if (const Value* pattern = find("attention.sliding_window_pattern")) {
    if (const Value::List* list = pattern->list()) {
      Value::List types;
      for (const Value& is : *list) {
        const bool windowed = is.boolean() && *is.boolean();
        types.emplace_back(windowed ? "sliding_attention" : "full_attention");
      }
      config.emplace_back("layer_types", std::move(types));
    } else {
      config.emplace_back("sliding_window_pattern", *pattern);
    }
  }
  if (find("rope.scale_linear") || find("rope.scaling.yarn_log_multiplier")) {
    throw Refused(
        path + ": has '" + architecture +
        (find("rope.scale_linear") ? ".rope.scale_linear" : ".rope.scaling.yarn_log_multiplier") +
        "', which is not read; expected rope.scaling.type and rope.scaling.factor");
  }
  const Value* type = find("rope.scaling.type");
  if (type && type->string() && *type->string() != "none") {
    Value::Dict scaling;
    scaling.emplace_back("type", *type);
    const KeyName names[] = {
        {"rope.scaling.factor", "factor"},
        {"rope.scaling.original_context_length", "original_max_position_embeddings"},
        {"rope.scaling.yarn_beta_fast", "beta_fast"},
        {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    for (const KeyName& key : names) {
      if (const Value* value = find(key.gguf)) scaling.emplace_back(key.name, *value);
    }
    // llama.cpp multiplies what the factor of YaRN gives by it.
    const Value *factor = find("rope.scaling.factor"), *more = find("rope.scaling.attn_factor");
    if (factor && more && factor->real() && more->real() && *factor->real() > 1) {
      scaling.emplace_back("attention_factor",
                           *more->real() * (0.1 * std::log(*factor->real()) + 1));
    }
    config.emplace_back("rope_scaling", std::move(scaling));
  }
  return config;
}

}  // namespace

const char* gguf_key(const std::string& name) {
  if (name == "rope_scaling") return "rope.scaling";  // the keys behind it, see config_of
  for (const KeyName& key : kKeyNames) {
    if (name == key.name) return key.gguf;
  }
  return nullptr;
}

Checkpoint open_gguf_checkpoint(const std::string& path, const ReadOptions& options) {
  GgufFile gguf = open_gguf(path);
  const Value* named = gguf.metadata.find("general.architecture");
  const std::string architecture = named && named->string() ? *named->string() : "";
  const Family* family = find_family(Naming::kGguf, architecture);
  if (!family) {
    throw Refused(path + ": the architecture is '" + architecture + "', expected one of " +
                  known_architectures(Naming::kGguf));
  }
  const Value config = config_of(gguf, architecture, path);
  std::shared_ptr<const Tensors> tensors = std::move(gguf.tensors);
  Checkpoint checkpoint =
      family_checkpoint(*family, config, path, std::move(tensors), path, options);
  checkpoint.description = gguf.description;
  if (!gguf.tokens.empty()) {
    checkpoint.vocabulary = vocabulary_from_gguf(gguf, path);
    pad_vocabulary(&*checkpoint.vocabulary, checkpoint.shape.vocab_size, path);
  }
  return checkpoint;
}

}  // namespace thimble::tools
