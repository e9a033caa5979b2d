// SPDX-License-Identifier: MIT
#include "checkpoint_config.h"

#include <cmath>

#include "error.h"
#include "json_string.h"
#include "readers/gguf_keys.h"

namespace thimble::tools {

std::string described(const Value& value) {
  if (const bool* is = value.boolean()) return *is ? "true" : "false";
  if (const int64_t* n = value.integer()) return std::to_string(*n);
  if (const double* x = value.real()) return format("%.17g", *x);
  if (const std::string* text = value.string()) return shown(*text);
  return value.list() ? "a list" : value.dict() ? "a dictionary" : "null";
}

void Config::refuse(const std::string& why) const {
  throw Refused(path_ + ": " + why);
}

void Config::refuse(const std::string& name, const std::string& why) const {
  const char* key = architecture_.empty() ? nullptr : gguf_key(name);
  refuse("'" + (key ? architecture_ + "." + key : name) + "' " + why);
}

const Value* Config::find(Keys keys, const char** name) const {
  for (const char* key : keys) {
    const Value* value = config_.find(key);
    if (value && !value->is_null()) {
      if (name) *name = key;
      return value;
    }
  }
  return nullptr;
}

uint32_t Config::count(Keys keys) const {
  const char* name = "";
  const Value* value = find(keys, &name);
  if (!value) return 0;
  if (const int64_t* n = value->integer()) {
    if (*n >= 1 && *n <= INT32_MAX) return static_cast<uint32_t>(*n);
    refuse(name, format("is %lld, expected 1 to %d", static_cast<long long>(*n), INT32_MAX));
  }
  refuse(name, "is " + described(*value) + ", expected a whole number");
}

double Config::number(Keys keys, double otherwise) const {
  const char* name = "";
  const Value* value = find(keys, &name);
  return value ? number_of(*value, name) : otherwise;
}

double Config::number_of(const Value& value, const char* name) const {
  if (const int64_t* n = value.integer()) return static_cast<double>(*n);
  if (const double* x = value.real()) {
    if (std::isfinite(*x)) return *x;
  }
  refuse(name, "is " + described(value) + ", expected a finite number");
}

bool Config::flag(Keys keys, bool otherwise) const {
  const char* name = "";
  const Value* value = find(keys, &name);
  if (!value) return otherwise;
  if (const bool* is = value->boolean()) return *is;
  refuse(name, "is " + described(*value) + ", expected true or false");
}

std::string Config::text(Keys keys) const {
  const char* name = "";
  const Value* value = find(keys, &name);
  if (!value) return "";
  if (const std::string* is = value->string()) return *is;
  refuse(name, "is " + described(*value) + ", expected a string");
}

void Config::refuse_unsupported(bool rope_scaling_is_said) const {
  const struct {
    const char *key, *what;
    double off = 0;
  } fields[] = {
      {"num_experts", "a mixture of experts"},
      {"num_local_experts", "a mixture of experts"},
      {"n_routed_experts", "a mixture of experts"},
      {"moe_intermediate_size", "a mixture of experts"},
      {"alibi", "ALiBi positions"},
      {"attn_logit_softcapping", "capped attention scores"},
      {"scale_attn_by_inverse_layer_idx", "scores scaled by layer"},
      {"add_cross_attention", "cross attention"},
      {"use_mrope", "rotary positions in sections"},
      {"quantization_config", "weights that another program quantized"},
      {"clip_qkv", "clipped queries and keys"},
      {"use_bidirectional_attention", "attention to later positions"},
      {"is_encoder_decoder", "an encoder"},
      {"use_scaled_rope", "scaled rotary positions without telling how (say --rope-scaling)"},
      {"residual_multiplier", "a scaled residual stream", 1},
      {"attention_multiplier", "scaled scores", 1},
      {"embedding_multiplier", "scaled embeddings", 1},
      {"logits_scaling", "scaled logits", 1},
  };
  for (const auto& field : fields) {
    const bool is_said = rope_scaling_is_said && std::string(field.key) == "use_scaled_rope";
    const Value* value = is_said ? nullptr : find({field.key});
    if (!value || (value->boolean() && !*value->boolean())) continue;
    const double off = field.off;
    if (value->integer() && static_cast<double>(*value->integer()) == off) continue;
    if (value->real() && !(*value->real() < off || *value->real() > off)) continue;
    refuse(field.key, "is " + described(*value) + ", which asks for " + field.what +
                          "; Thimble does not compute that");
  }
  const std::string positions = text({"position_embedding_type"});
  if (!positions.empty() && positions != "rope" && positions != "absolute" &&
      positions != "learned") {
    refuse("'position_embedding_type' is '" + positions + "', expected rope or absolute");
  }
}

}  // namespace thimble::tools
