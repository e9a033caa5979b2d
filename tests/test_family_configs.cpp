// SPDX-License-Identifier: MIT
// What the fields of a configuration become, in each form that has one: Hugging Face's config.json,
// GGUF's keys, Meta's params.json, what training scripts store in a checkpoint.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "error.h"
#include "family_checkpoints.h"
#include "gguf_files.h"
#include "llama2c_files.h"
#include "readers/reader.h"

using namespace thimble;
using namespace thimble::test;
using tools::ModelShape;
using tools::open_checkpoint;
using Ropes = std::vector<uint64_t>;

namespace {

// Frequencies of pairs, as tables of the engine have them.
bool ropes_are(const Ropes& found, const std::vector<double>& frequencies) {
  if (found.size() != frequencies.size()) return false;
  for (size_t i = 0; i < found.size(); ++i) {
    const double expected = std::ldexp(frequencies[i] / 6.283185307179586, 64);
    if (std::fabs(static_cast<double>(found[i]) - expected) > expected * 1e-7) return false;
  }
  return true;
}

std::string refusal_of(const std::string& path, const tools::ReadOptions& options = {}) {
  try {
    open_checkpoint(path, options);
  } catch (const tools::Refused& refused) {
    return refused.what();
  }
  return "accepted";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// ---- GGUF --------------------------------------------------------------------------------------

GgufTestTensor f32(const std::string& name, const std::vector<uint64_t>& dims) {
  uint64_t n = 1;
  for (const uint64_t dim : dims) n *= dim;
  return {name, dims, 0, gguf_floats(std::vector<float>(static_cast<size_t>(n), 0.5f))};
}

// A model of an architecture: dim 8, 2 heads of 4, hidden 12, 2 layers, vocabulary 10.
struct GgufModel {
  std::string architecture;
  GgufTestFile file;

  explicit GgufModel(const std::string& name) : architecture(name) {
    const bool is_gpt2 = name == "gpt2", is_neox = name == "gptneox", is_gemma = name == "gemma3";
    const bool has_layer_norm = is_gpt2 || is_neox;
    file.key("general.architecture", 8, gguf_string(name));
    count("context_length", 16).count("embedding_length", 8).count("block_count", 2);
    count("feed_forward_length", 12).count("attention.head_count", 2);
    if (!has_layer_norm) count("attention.head_count_kv", 1);
    real(has_layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
         3e-5f);
    linear("token_embd", 8, 10, false);
    if (is_gpt2) linear("position_embd", 8, 16, false);
    for (const std::string block : {"blk.0.", "blk.1."}) {
      norm(block + "attn_norm", has_layer_norm);
      if (has_layer_norm) {
        linear(block + "attn_qkv", 8, 24, true);
      } else {
        linear(block + "attn_q", 8, 8, name == "qwen2");
        linear(block + "attn_k", 8, 4, name == "qwen2");
        linear(block + "attn_v", 8, 4, name == "qwen2");
      }
      for (const char* part : {"attn_q_norm.weight", "attn_k_norm.weight"}) {
        if (name == "qwen3" || is_gemma) file.tensor(f32(block + part, {4}));
      }
      linear(block + "attn_output", 8, 8, has_layer_norm);
      if (is_gemma) norm(block + "post_attention_norm", false);
      norm(block + "ffn_norm", has_layer_norm);
      if (!has_layer_norm) linear(block + "ffn_gate", 8, 12, false);
      linear(block + "ffn_up", 8, 12, has_layer_norm);
      linear(block + "ffn_down", 12, 8, has_layer_norm);
      if (is_gemma) norm(block + "post_ffw_norm", false);
    }
    norm("output_norm", has_layer_norm);
  }

  // In the place of the one that is there, if one is.
  GgufModel& raw(const std::string& name, uint32_t type, const std::string& value) {
    const std::string key = gguf_string(architecture + "." + name);
    for (auto at = file.keys.begin(); at != file.keys.end(); ++at) {
      if (at->compare(0, key.size(), key) == 0) {
        file.keys.erase(at);
        break;
      }
    }
    file.key(architecture + "." + name, type, value);
    return *this;
  }
  GgufModel& count(const std::string& name, uint32_t value) {
    return raw(name, 4, gguf_raw(value));
  }
  GgufModel& real(const std::string& name, float value) { return raw(name, 6, gguf_raw(value)); }
  GgufModel& text(const std::string& name, const std::string& value) {
    return raw(name, 8, gguf_string(value));
  }
  GgufModel& flag(const std::string& name, bool value) {
    return raw(name, 7, std::string(1, value ? '\1' : '\0'));
  }

  ModelShape shape() const {
    const TestFolder folder;
    return open_checkpoint(folder.write("m.gguf", file.bytes()), {}).shape;
  }
  std::string refusal() const {
    const TestFolder folder;
    return refusal_of(folder.write("m.gguf", file.bytes()));
  }

 private:
  void norm(const std::string& name, bool bias) {
    file.tensor(f32(name + ".weight", {8}));
    if (bias) file.tensor(f32(name + ".bias", {8}));
  }
  void linear(const std::string& name, uint64_t cols, uint64_t rows, bool bias) {
    file.tensor(f32(name + ".weight", {cols, rows}));
    if (bias) file.tensor(f32(name + ".bias", {rows}));
  }
};

}  // namespace

TEST_CASE("family configs: GGUF's keys of every architecture") {
  for (const char* name : {"llama", "qwen2", "qwen3", "gpt2", "gptneox", "gemma3"}) {
    CAPTURE(std::string(name));
    const ModelShape s = GgufModel(name).shape();
    const bool is_gpt2 = std::string(name) == "gpt2", is_gemma = std::string(name) == "gemma3";
    const bool has_layer_norm = is_gpt2 || std::string(name) == "gptneox";
    CHECK(s.dim == 8);
    CHECK(s.hidden_dim == 12);
    CHECK(s.n_layers == 2);
    CHECK(s.n_heads == 2);
    CHECK(s.n_kv_heads == (has_layer_norm ? 2 : 1));
    CHECK(s.head_dim == 4);
    CHECK(s.vocab_size == 10);
    CHECK(s.n_ctx == 16);
    CHECK(s.norm_eps == 3e-5f);
    CHECK(s.norm == (has_layer_norm ? kNormLayer : kNormRms));
    CHECK(s.gated == !has_layer_norm);
    CHECK(s.learned_positions == is_gpt2);
    CHECK(s.qk_norm == (std::string(name) == "qwen3" || is_gemma));
    CHECK(s.norm_after == is_gemma);
    CHECK(s.tied_head);
    CHECK(s.embedding_scale == (is_gemma ? std::sqrt(8.0f) : 1.0f));
    const uint32_t biases = has_layer_norm                 ? uint32_t{kKnownBiases}
                            : std::string(name) == "qwen2" ? uint32_t{kBiasQkv}
                                                           : 0;
    CHECK(s.biases == biases);
    const ActivationType activation = is_gpt2 || is_gemma ? kActivationGeluTanh
                                      : has_layer_norm    ? kActivationGelu
                                                          : kActivationSilu;
    CHECK(s.activation == activation);
    if (is_gpt2) {
      CHECK(ropes_are(s.ropes[0], {0, 0}));
    } else if (!is_gemma) {
      CHECK(ropes_are(s.ropes[0], {1, 0.01}));
    }
  }
}

TEST_CASE("family configs: GGUF's keys one by one") {
  CHECK(ropes_are(GgufModel("llama").real("rope.freq_base", 400).shape().ropes[0], {1, 1 / 20.0}));
  CHECK(ropes_are(GgufModel("llama").count("rope.dimension_count", 2).shape().ropes[0], {1, 0}));
  CHECK(ropes_are(GgufModel("llama")
                      .text("rope.scaling.type", "linear")
                      .real("rope.scaling.factor", 2)
                      .shape()
                      .ropes[0],
                  {0.5, 0.005}));
  CHECK(
      ropes_are(GgufModel("llama").text("rope.scaling.type", "none").shape().ropes[0], {1, 0.01}));
  GgufModel divided("llama");
  divided.file.tensor({"rope_freqs.weight", {2}, 0, gguf_floats({1, 8})});
  CHECK(ropes_are(divided.shape().ropes[0], {1, 0.01 / 8}));
  divided.file.tensors.back().data = gguf_floats({1, -8});
  CHECK(has(divided.refusal(), "a divisor of the rotary frequencies is not positive"));
  // YaRN scales scores by the square of what it is given.
  GgufModel yarn("llama");
  yarn.text("rope.scaling.type", "yarn").real("rope.scaling.factor", 4);
  yarn.count("rope.scaling.original_context_length", 4);
  const double factor = 0.1 * std::log(4.0) + 1;
  CHECK(static_cast<double>(yarn.shape().score_scale) == doctest::Approx(0.5 * factor * factor));
  yarn.real("rope.scaling.attn_factor", 0.5f);
  CHECK(static_cast<double>(yarn.shape().score_scale) ==
        doctest::Approx(0.5 * factor * factor / 4));

  CHECK(GgufModel("llama").count("vocab_size", 10).shape().vocab_size == 10);
  CHECK(GgufModel("gemma3").real("final_logit_softcapping", 30).shape().logit_cap == 30);
  CHECK(GgufModel("gptneox").flag("use_parallel_residual", false).shape().parallel == false);
  CHECK(GgufModel("gptneox").flag("use_parallel_residual", true).shape().parallel);

  // Gemma's windows: every sixth layer sees all, or as the pattern says.
  const auto windows = [](const ModelShape& s) {
    std::vector<uint32_t> out;
    for (const tools::LayerShape& layer : s.layers) out.push_back(layer.window);
    return out;
  };
  using Windows = std::vector<uint32_t>;
  GgufModel gemma("gemma3");
  gemma.count("attention.sliding_window", 4).real("rope.freq_base", 1e6f);
  CHECK(windows(gemma.shape()) == Windows{4, 4});
  CHECK(ropes_are(gemma.shape().ropes[0], {1, 0.001}));
  CHECK(ropes_are(gemma.shape().ropes[1], {1, 0.01}));
  GgufModel every = gemma, listed = gemma;
  every.count("attention.sliding_window_pattern", 2).real("rope.freq_base_swa", 400);
  CHECK(windows(every.shape()) == Windows{4, 0});
  CHECK(ropes_are(every.shape().ropes[1], {1, 1 / 20.0}));
  listed.raw("attention.sliding_window_pattern", 9, gguf_array(7, 2, std::string("\0\1", 2)));
  CHECK(windows(listed.shape()) == Windows{0, 4});
}

TEST_CASE("family configs: GGUF's keys that ask for what is not computed") {
  const auto refused = [](const GgufModel& model, const std::string& part) {
    const std::string found = model.refusal();
    CHECK_MESSAGE(has(found, part), found, " lacks ", part);
  };
  refused(GgufModel("llama").real("attn_logit_softcapping", 50), "'llama.attn_logit_softcapping'");
  refused(GgufModel("llama").real("attention.clamp_kqv", 8), "'llama.attention.clamp_kqv'");
  refused(GgufModel("llama").real("residual_scale", 2), "'llama.residual_scale'");
  refused(GgufModel("llama").real("rope.scale_linear", 2), "'llama.rope.scale_linear'");
  refused(GgufModel("llama").real("rope.scaling.yarn_log_multiplier", 0.1f),
          "'llama.rope.scaling.yarn_log_multiplier'");
  refused(GgufModel("llama").count("attention.key_length", 4).count("attention.value_length", 8),
          "keys and values of different lengths");
  // What tensors show, too, must agree.
  refused(GgufModel("llama").count("vocab_size", 11), "the vocabulary is 11 by the configuration");
  refused(GgufModel("llama").count("embedding_length", 16), "the width is 16 by the configuration");
  refused(GgufModel("llama").count("block_count", 1), "the number of layers is 1 by the");
  refused(GgufModel("llama").count("block_count", 3), "the tensor 'blk.2.attn_norm.weight'");
  refused(GgufModel("llama").count("feed_forward_length", 13), "the feed-forward width is 13 by");
  refused(GgufModel("llama").count("attention.head_count", 4),
          "'blk.0.attn_k.weight' has the shape (4, 8), expected (2, 8)");
  refused(GgufModel("llama").count("attention.head_count_kv", 2),
          "'blk.0.attn_k.weight' has the shape (4, 8), expected (8, 8)");
  refused(GgufModel("llama").count("attention.key_length", 8),
          "'blk.0.attn_q.weight' has the shape (8, 8), expected (16, 8)");
  refused(GgufModel("llama").text("rope.freq_base", "10000"),
          "'llama.rope.freq_base' is \"10000\", expected a finite number");
  refused(GgufModel("llama").real("rope.freq_base", HUGE_VALF),
          "'llama.rope.freq_base' is inf, expected a finite number");
  GgufModel bare("llama");
  bare.file.keys.erase(bare.file.keys.begin() + 7);
  refused(bare, "the epsilon of the norms is missing");
}

// ---- Hugging Face ------------------------------------------------------------------------------

TEST_CASE("family configs: config.json of families that are no Llama") {
  const auto shape = [](const Made& made) {
    const TestFolder folder;
    folder.write("config.json", json_of(made.config));
    folder.write("model.safetensors", safetensors_file(made.tensors));
    return open_checkpoint(folder.path, {}).shape;
  };
  const ModelShape gemma = shape(gemma3());
  CHECK(gemma.qk_norm);
  CHECK(gemma.norm_after);
  CHECK(gemma.embedding_scale == std::sqrt(8.0f));
  CHECK(gemma.activation == kActivationGeluTanh);
  REQUIRE(gemma.layers.size() == 2);
  CHECK(gemma.layers[0].window == 4);
  CHECK(gemma.layers[0].rope == 1);
  CHECK(gemma.layers[1].window == 0);
  CHECK(ropes_are(gemma.ropes[0], {1, 0.001}));
  CHECK(ropes_are(gemma.ropes[1], {1, 0.01}));
  Made scalar = gemma3();
  scalar.config["query_pre_attn_scalar"] = "64";
  CHECK(shape(scalar).score_scale == 0.125f);
  scalar.config["query_pre_attn_scalar"] = "4";
  CHECK(shape(scalar).score_scale == 0.0f);  // that of the head's size

  const ModelShape two = shape(gpt2());
  CHECK(two.learned_positions);
  CHECK(two.n_ctx == 16);
  CHECK(two.hidden_dim == 32);
  CHECK(two.n_heads == 2);
  CHECK(two.biases == kKnownBiases);
  CHECK(two.activation == kActivationGeluTanh);
  const ModelShape neo = shape(gpt_neo());
  CHECK(neo.score_scale == 1.0f);
  CHECK(neo.biases == (kKnownBiases & ~uint32_t{kBiasQkv}));
  REQUIRE(neo.layers.size() == 2);
  CHECK(neo.layers[0].window == 0);
  CHECK(neo.layers[1].window == 4);
  const ModelShape neox = shape(gpt_neox());
  CHECK(neox.parallel);
  CHECK(neox.activation == kActivationGelu);
  CHECK(!neox.tied_head);
  CHECK(ropes_are(neox.ropes[0], {1, 0}));  // half of a head of 4: one pair
  Made whole = gpt_neox();
  whole.config["rotary_pct"] = "1.0";
  CHECK(ropes_are(shape(whole).ropes[0], {1, std::pow(500, -0.5)}));
}

TEST_CASE("family configs: GPT-2's matrices lie transposed") {
  const TestFolder folder;
  const Made made = gpt2();
  folder.write("config.json", json_of(made.config));
  folder.write("model.safetensors", safetensors_file(made.tensors));
  const tools::Checkpoint checkpoint = open_checkpoint(folder.path, {});
  const std::vector<float> stored = Made(made)["transformer.h.0.mlp.c_fc.weight"].values;
  for (uint32_t row = 0; row < 32; ++row) {
    float found[8];
    checkpoint.rows(kFeedForwardGateUp, 0, row, 8, found);
    for (uint32_t i = 0; i < 8; ++i) REQUIRE(found[i] == stored[i * 32 + row]);
  }
}

// ---- PyTorch -----------------------------------------------------------------------------------

TEST_CASE("family configs: the params.json of Meta's checkpoints") {
  const TestFolder folder;
  const std::string path = folder.write("consolidated.00.pth", pytorch_zip(meta_llama().tensors));
  const auto params = [&](const Config& more) {
    Config config = {{"dim", "8"},         {"n_layers", "2"},      {"n_heads", "2"},
                     {"n_kv_heads", "1"},  {"vocab_size", "-1"},   {"norm_eps", "1e-6"},
                     {"multiple_of", "4"}, {"rope_theta", "400.0"}};
    for (const auto& [key, value] : more) config[key] = value;
    return folder.write("params.json", json_of(config));
  };
  tools::ReadOptions options;
  CHECK(has(refusal_of(path), path + ": the number of heads is nowhere in the file"));
  const std::string beside = params({});
  CHECK(has(refusal_of(path), "the context is nowhere in the file; say --ctx N"));
  options.n_ctx = 32;
  const tools::Checkpoint checkpoint = open_checkpoint(path, options);
  const ModelShape& s = checkpoint.shape;
  CHECK(s.n_heads == 2);
  CHECK(s.n_kv_heads == 1);
  CHECK(s.vocab_size == 10);
  CHECK(s.norm_eps == 1e-6f);
  CHECK(s.n_ctx == 32);
  CHECK(ropes_are(s.ropes[0], {1, 1 / 20.0}));
  CHECK(checkpoint.rope_pairs == tools::RopePairs::kNeighbours);
  CHECK(has(checkpoint.description, "Llama (Meta, llama2.c)"));
  // What is wrong in it is told by its name.
  params({{"use_scaled_rope", "true"}});
  CHECK(has(refusal_of(path, options), beside + ": 'use_scaled_rope' is true, which asks for"));
  params({{"n_heads", "\"two\""}});
  CHECK(has(refusal_of(path, options), beside + ": 'n_heads' is \"two\", expected a whole number"));
  params({{"dim", "16"}});
  CHECK(has(refusal_of(path, options), beside + ": the width is 16 by the configuration, but 8"));
  folder.write("params.json", "{");
  CHECK(has(refusal_of(path, options), beside + ": JSON: line 1"));
}

TEST_CASE("family configs: minGPT is told from nanoGPT by what it stores") {
  const TestFolder folder;
  const Made made = nano_gpt(true);
  // {"config": CONFIG, "model": the tensors}
  const auto checkpoint = [&](const char* key, const std::vector<const char*>& reals, bool nested) {
    PickleWriter p;
    p.step("}(").text(key);
    if (nested) p.step("}(").text("seed").integer(1).text("model");
    p.step("}(").text("n_head").integer(2).text("block_size").integer(16);
    for (const char* name : reals) p.text(name).real(0.1);
    p.step("u");
    if (nested) p.step("u");
    p.text("model");
    write_state_dict(&p, made.tensors, false);
    return folder.write("ckpt.pt", pytorch_zip_with(p.step("u").end(), storages_of(made.tensors)));
  };
  const std::string nano = checkpoint("model_args", {"dropout"}, false);
  CHECK(open_checkpoint(nano, {}).shape.activation == kActivationGelu);
  CHECK(open_checkpoint(nano, {}).shape.n_heads == 2);
  for (const bool nested : {false, true}) {
    const std::string min = checkpoint("config", {"embd_pdrop", "resid_pdrop"}, nested);
    CHECK(open_checkpoint(min, {}).shape.activation == kActivationGeluTanh);
    CHECK(open_checkpoint(min, {}).shape.n_heads == 2);
    tools::ReadOptions options;
    options.activation = kActivationRelu;
    CHECK(open_checkpoint(min, options).shape.activation == kActivationRelu);
  }
}
