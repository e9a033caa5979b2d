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

// As Meta names a Llama's tensors; its sizes are in params.json.
inline Made meta_llama() {
  Made made;
  made.add("tok_embeddings.weight", {10, 8});
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    made.add(layer + "attention_norm.weight", {8});
    made.add(layer + "attention.wq.weight", {8, 8});
    made.add(layer + "attention.wk.weight", {4, 8});
    made.add(layer + "attention.wv.weight", {4, 8});
    made.add(layer + "attention.wo.weight", {8, 8});
    made.add(layer + "ffn_norm.weight", {8});
    made.add(layer + "feed_forward.w1.weight", {12, 8});
    made.add(layer + "feed_forward.w3.weight", {12, 8});
    made.add(layer + "feed_forward.w2.weight", {8, 12});
  }
  made.add("norm.weight", {8});
  made.add("output.weight", {10, 8});
  return made;
}

// ---- As Hugging Face names them: dim 8, 2 heads of 4, vocabulary 10
// --------------------------------

inline Made gemma3() {
  Made made = llama();
  made.config["architectures"] = R"(["Gemma3ForCausalLM"])";
  made.config["sliding_window"] = "4";
  made.config["layer_types"] = R"(["sliding_attention","full_attention"])";
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    made.add(layer + "self_attn.q_norm.weight", {4});
    made.add(layer + "self_attn.k_norm.weight", {4});
    made.add(layer + "pre_feedforward_layernorm.weight", {8});
    made.add(layer + "post_feedforward_layernorm.weight", {8});
  }
  return made;
}

// Adds a weight and its bias.
inline void add_linear(Made* made, const std::string& name, const std::vector<uint64_t>& shape,
                       bool transposed = false) {
  made->add(name + ".weight", transposed ? std::vector{shape[1], shape[0]} : shape);
  made->add(name + ".bias", {shape[0]});
}

inline Made gpt2() {
  Made made;
  made.config = {{"architectures", R"(["GPT2LMHeadModel"])"},
                 {"n_embd", "8"},
                 {"n_head", "2"},
                 {"n_layer", "1"},
                 {"n_positions", "16"},
                 {"vocab_size", "10"},
                 {"layer_norm_epsilon", "1e-5"},
                 {"activation_function", "\"gelu_new\""}};
  made.add("transformer.wte.weight", {10, 8});
  made.add("transformer.wpe.weight", {16, 8});
  add_linear(&made, "transformer.h.0.ln_1", {8});
  add_linear(&made, "transformer.h.0.attn.c_attn", {24, 8}, true);
  add_linear(&made, "transformer.h.0.attn.c_proj", {8, 8}, true);
  add_linear(&made, "transformer.h.0.ln_2", {8});
  add_linear(&made, "transformer.h.0.mlp.c_fc", {32, 8}, true);
  add_linear(&made, "transformer.h.0.mlp.c_proj", {8, 32}, true);
  add_linear(&made, "transformer.ln_f", {8});
  return made;
}

inline Made gpt_neo() {
  Made made;
  made.config = {{"architectures", R"(["GPTNeoForCausalLM"])"},
                 {"hidden_size", "8"},
                 {"num_heads", "2"},
                 {"num_layers", "2"},
                 {"window_size", "4"},
                 {"attention_types", R"([[["global","local"],1]])"},
                 {"max_position_embeddings", "16"},
                 {"activation_function", "\"gelu_new\""}};
  made.add("transformer.wte.weight", {10, 8});
  made.add("transformer.wpe.weight", {16, 8});
  for (const std::string layer : {"transformer.h.0.", "transformer.h.1."}) {
    add_linear(&made, layer + "ln_1", {8});
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
      made.add(layer + "attn.attention." + name + ".weight", {8, 8});
    }
    add_linear(&made, layer + "attn.attention.out_proj", {8, 8});
    add_linear(&made, layer + "ln_2", {8});
    add_linear(&made, layer + "mlp.c_fc", {32, 8});
    add_linear(&made, layer + "mlp.c_proj", {8, 32});
  }
  add_linear(&made, "transformer.ln_f", {8});
  return made;
}

inline Made gpt_neox() {
  Made made;
  made.config = {{"architectures", R"(["GPTNeoXForCausalLM"])"},
                 {"hidden_size", "8"},
                 {"intermediate_size", "32"},
                 {"num_attention_heads", "2"},
                 {"num_hidden_layers", "1"},
                 {"max_position_embeddings", "16"},
                 {"rotary_pct", "0.5"},
                 {"rotary_emb_base", "500"},
                 {"use_parallel_residual", "true"},
                 {"hidden_act", "\"gelu\""}};
  made.add("gpt_neox.embed_in.weight", {10, 8});
  const std::string layer = "gpt_neox.layers.0.";
  add_linear(&made, layer + "input_layernorm", {8});
  add_linear(&made, layer + "attention.query_key_value", {24, 8});
  add_linear(&made, layer + "attention.dense", {8, 8});
  add_linear(&made, layer + "post_attention_layernorm", {8});
  add_linear(&made, layer + "mlp.dense_h_to_4h", {32, 8});
  add_linear(&made, layer + "mlp.dense_4h_to_h", {8, 32});
  add_linear(&made, "gpt_neox.final_layer_norm", {8});
  made.add("embed_out.weight", {10, 8});
  return made;
}

inline std::vector<Made> hugging_face_models() {
  return {llama(), gemma3(), gpt2(), gpt_neo(), gpt_neox()};
}

}  // namespace thimble::test

#endif
