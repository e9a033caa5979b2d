// SPDX-License-Identifier: MIT
// Small checkpoints of several families with random weights, whole, so that a test can break one of
// their parts.
#ifndef THIMBLE_TESTS_FAMILY_CHECKPOINTS_H
#define THIMBLE_TESTS_FAMILY_CHECKPOINTS_H

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "random.h"

namespace thimble::test {

using Config = std::map<std::string, std::string>;  // values as JSON

inline std::string json_of(const Config& config) {
  std::string text;
  for (const auto& [key, value] : config) {
    text += (text.empty() ? "\"" : ",\"") + key + "\":" + value;
  }
  return "{" + text + "}";
}

// ---- Checkpoints to break ----------------------------------------------------------------------

struct Made {
  Config config;
  std::vector<FileTensor> tensors;

  void add(const std::string& name, const std::vector<uint64_t>& shape) {
    uint64_t n = 1;
    for (const uint64_t size : shape) n *= size;
    FileTensor tensor{name, "F32", shape, {}};
    for (uint64_t i = 0; i < n; ++i) {
      tensor.values.push_back(static_cast<float>(random_.below(2001)) / 1000.0f - 1.0f);
    }
    tensors.push_back(tensor);
  }
  FileTensor& operator[](const std::string& name) {
    for (FileTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    throw std::out_of_range(name);
  }
  void remove(const std::string& name) {
    tensors.erase(tensors.begin() + (&(*this)[name] - tensors.data()));
  }

 private:
  Random random_{29};
};

// dim 8, 2 heads of 4, 1 key/value head, hidden 12, vocabulary 10, 2 layers.
inline Made llama() {
  Made made;
  made.config = {{"architectures", "[\"LlamaForCausalLM\"]"},
                 {"model_type", "\"llama\""},
                 {"hidden_size", "8"},
                 {"intermediate_size", "12"},
                 {"num_hidden_layers", "2"},
                 {"num_attention_heads", "2"},
                 {"num_key_value_heads", "1"},
                 {"vocab_size", "10"},
                 {"max_position_embeddings", "32"},
                 {"rms_norm_eps", "1e-5"},
                 {"tie_word_embeddings", "true"}};
  made.add("model.embed_tokens.weight", {10, 8});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    made.add(layer + "input_layernorm.weight", {8});
    made.add(layer + "self_attn.q_proj.weight", {8, 8});
    made.add(layer + "self_attn.k_proj.weight", {4, 8});
    made.add(layer + "self_attn.v_proj.weight", {4, 8});
    made.add(layer + "self_attn.o_proj.weight", {8, 8});
    made.add(layer + "post_attention_layernorm.weight", {8});
    made.add(layer + "mlp.gate_proj.weight", {12, 8});
    made.add(layer + "mlp.up_proj.weight", {12, 8});
    made.add(layer + "mlp.down_proj.weight", {8, 12});
  }
  made.add("model.norm.weight", {8});
  return made;
}

// The same sizes with the names of the book, or of nanoGPT.
inline Made book(bool joined = false, const std::string& prefix = "") {
  Made made;
  made.add(prefix + "tok_emb.weight", {10, 8});
  made.add(prefix + "pos_emb.weight", {16, 8});
  for (const std::string n : {"0", "1"}) {
    const std::string layer = prefix + "trf_blocks." + n + ".";
    if (joined) {
      made.add(layer + "att.qkv.weight", {24, 8});
      made.add(layer + "att.proj.weight", {8, 8});
      made.add(layer + "att.proj.bias", {8});
    } else {
      made.add(layer + "att.mask", {16, 16});
      made.add(layer + "att.W_query.weight", {8, 8});
      made.add(layer + "att.W_key.weight", {8, 8});
      made.add(layer + "att.W_value.weight", {8, 8});
      made.add(layer + "att.out_proj.weight", {8, 8});
      made.add(layer + "att.out_proj.bias", {8});
    }
    made.add(layer + "ff.layers.0.weight", {32, 8});
    made.add(layer + "ff.layers.0.bias", {32});
    made.add(layer + "ff.layers.2.weight", {8, 32});
    made.add(layer + "ff.layers.2.bias", {8});
    for (const std::string norm : {"norm1.", "norm2."}) {
      made.add(layer + norm + "scale", {8});
      made.add(layer + norm + "shift", {8});
    }
  }
  made.add(prefix + "final_norm.scale", {8});
  made.add(prefix + "final_norm.shift", {8});
  made.add(prefix + "out_head.weight", {10, 8});
  return made;
}

inline Made nano_gpt(bool bias) {
  Made made;
  made.add("transformer.wte.weight", {10, 8});
  made.add("transformer.wpe.weight", {16, 8});
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& shape) {
    made.add("transformer." + name + ".weight", shape);
    if (bias) made.add("transformer." + name + ".bias", {shape[0]});
  };
  add("h.0.ln_1", {8});
  add("h.0.attn.c_attn", {24, 8});
  add("h.0.attn.c_proj", {8, 8});
  add("h.0.ln_2", {8});
  add("h.0.mlp.c_fc", {32, 8});
  add("h.0.mlp.c_proj", {8, 32});
  add("ln_f", {8});
  return made;
}

}  // namespace thimble::test

#endif
