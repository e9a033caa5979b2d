// SPDX-License-Identifier: MIT
// Configurations and names of families: what is understood, and what is refused by name. Small
// checkpoints with random weights, in files of their own.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "family_checkpoints.h"
#include "gguf_files.h"
#include "json_reader.h"
#include "readers/reader.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/thimble-families-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

// ---- Opening ----------------------------------------------------------------------------------

tools::Checkpoint open_folder(const Folder& folder, const Made& made,
                              const tools::ReadOptions& options = {}) {
  folder.write("config.json", json_of(made.config));
  folder.write("model.safetensors", safetensors_file(made.tensors));
  return tools::open_checkpoint(folder.path(), options);
}

tools::ModelShape shape_of(const Made& made, const tools::ReadOptions& options = {}) {
  const Folder folder;
  return open_folder(folder, made, options).shape;
}

// The message of what is refused, without the folder's name; "" if nothing is.
template <class Open>
std::string refusal(const Folder& folder, const Open& open) {
  try {
    open();
    return "";
  } catch (const tools::Refused& refused) {
    std::string text = refused.what();
    for (size_t at; (at = text.find(folder.path())) != std::string::npos;) {
      text.replace(at, folder.path().size(), "DIR");
    }
    return text;
  }
}

std::string refusal(const Made& made) {
  const Folder folder;
  return refusal(folder, [&] { open_folder(folder, made); });
}

std::string refusal_with(Made made, const Config& more) {
  for (const auto& [key, value] : more) made.config[key] = value;
  return refusal(made);
}

// The hash of a few tokens' logits.
uint64_t hash_of(const tools::Checkpoint& checkpoint) {
  const tools::ImageInMemory image =
      tools::build_image_in_memory(checkpoint.shape, {kWeightF32, 0, 4}, nullptr, checkpoint.rows);
  thimble_model model;
  REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);
  TestSession session(model);
  return hash_of_text(session, random_tokens(3, 9, model.vocab_size), 2);
}

tools::ReadOptions two_heads() {
  tools::ReadOptions options;
  options.n_heads = 2;
  return options;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define CHECK_SAYS(found, ...)                                                \
  do {                                                                        \
    const std::string text_ = (found);                                        \
    for (const char* part_ : {__VA_ARGS__}) {                                 \
      CHECK_MESSAGE(has(text_, part_), text_, " lacks ", std::string(part_)); \
    }                                                                         \
  } while (false)

}  // namespace

// ---- What is understood -----------------------------------------------------------------------

TEST_CASE("families: a Llama's configuration") {
  const tools::ModelShape s = shape_of(llama());
  CHECK(s.dim == 8);
  CHECK(s.hidden_dim == 12);
  CHECK(s.n_layers == 2);
  CHECK(s.n_heads == 2);
  CHECK(s.n_kv_heads == 1);
  CHECK(s.head_dim == 4);
  CHECK(s.vocab_size == 10);
  CHECK(s.n_ctx == 32);
  CHECK(s.norm_eps == 1e-5f);
  CHECK(s.gated);
  CHECK(s.tied_head);
  CHECK(s.biases == 0);
  CHECK(s.layers.empty());
  Made bare = llama();
  bare.config.erase("rms_norm_eps");
  CHECK(shape_of(bare).norm_eps == 1e-6f);  // as transformers has it
}

TEST_CASE("families: every shape of rotary configuration") {
  const auto ropes = [](const Config& more) {
    Made made = llama();
    for (const auto& [key, value] : more) made.config[key] = value;
    return shape_of(made);
  };
  const auto turns = [](double frequency) { return std::ldexp(frequency / 6.283185307179586, 64); };
  const auto is_near = [](uint64_t found, double expected) {
    return std::fabs(static_cast<double>(found) - expected) <= expected * 1e-9;
  };
  const tools::ModelShape plain = ropes({{"rope_theta", "400.0"}});
  REQUIRE(plain.ropes.size() == 1);
  CHECK(is_near(plain.ropes[0][0], turns(1)));
  CHECK(is_near(plain.ropes[0][1], turns(1 / 20.0)));
  // The newer way to say the same.
  CHECK(ropes({{"rope_parameters", R"({"rope_type":"default","rope_theta":400.0})"}}).ropes ==
        plain.ropes);
  CHECK(ropes({{"rope_theta", "400.0"}, {"rope_scaling", "null"}}).ropes == plain.ropes);
  const tools::ModelShape linear =
      ropes({{"rope_theta", "400.0"}, {"rope_scaling", R"({"type":"linear","factor":2.0})"}});
  CHECK(is_near(linear.ropes[0][1], turns(1 / 40.0)));
  // Half of a head: one pair of two; the other is not rotated.
  const tools::ModelShape part = ropes({{"partial_rotary_factor", "0.5"}});
  CHECK(is_near(part.ropes[0][0], turns(1)));
  CHECK(part.ropes[0][1] == 0);
  // YaRN multiplies both q and k, so scores by the square.
  const tools::ModelShape yarn =
      ropes({{"rope_scaling",
              R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":8})"}});
  const double factor = 0.1 * std::log(4.0) + 1;
  CHECK(static_cast<double>(yarn.score_scale) == doctest::Approx(0.5 * factor * factor));
  const tools::ModelShape mscale = ropes(
      {{"rope_scaling",
        R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":8,"mscale":1.0,)"
        R"("mscale_all_dim":1.0})"}});
  CHECK(mscale.score_scale == 0.0f);  // as without YaRN
  // No rotation in the second layer.
  const tools::ModelShape nope = ropes({{"no_rope_layers", "[1,0]"}});
  REQUIRE(nope.ropes.size() == 2);
  CHECK(nope.layers[0].rope == 0);
  CHECK(nope.layers[1].rope == 1);
  CHECK(nope.ropes[1] == std::vector<uint64_t>(2));
}

TEST_CASE("families: what the options say goes before what the configuration says") {
  Made made = llama();
  made.config["rope_theta"] = "400.0";
  const tools::ModelShape stated = shape_of(made);
  tools::ReadOptions options;
  options.rope_theta = 900.0f;
  made.config["rope_theta"] = "900.0";
  const tools::ModelShape other = shape_of(made);
  CHECK(other.ropes != stated.ropes);
  for (const char* elsewhere : {"rope_theta", "rope_parameters"}) {
    Made plain = llama();
    plain.config[elsewhere] = elsewhere == std::string("rope_theta")
                                  ? "400.0"
                                  : R"({"rope_type":"default","rope_theta":400.0})";
    CHECK(shape_of(plain, options).ropes == other.ropes);
    CHECK(shape_of(plain, options).rope_theta == 900.0f);
  }

  // Meta's params.json says that positions are scaled, not how.
  const char* scaling = R"({"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,)"
                        R"("high_freq_factor":4.0,"original_max_position_embeddings":8})";
  Made scaled = llama();
  scaled.config["rope_scaling"] = scaling;
  const tools::ModelShape expected = shape_of(scaled);
  Made unsaid = llama();
  unsaid.config["use_scaled_rope"] = "true";
  CHECK_SAYS(refusal(unsaid), "use_scaled_rope", "say --rope-scaling");
  tools::ReadOptions said;
  said.rope_scaling = tools::read_json(scaling, "test");
  CHECK(shape_of(unsaid, said).ropes == expected.ropes);
  CHECK(shape_of(llama(), said).ropes == expected.ropes);
  CHECK(shape_of(llama()).ropes != expected.ropes);

  tools::ReadOptions partial;
  partial.rotary_dim = 2;
  CHECK(shape_of(llama(), partial).ropes[0][1] == 0);
  partial.rotary_dim = 3;
  const Folder folder;
  CHECK_SAYS(refusal(folder, [&] { open_folder(folder, llama(), partial); }), "3 of 4 dimensions");

  // The numbers of a window where some layers have one; of all where none has.
  tools::ReadOptions window;
  window.window = 5;
  const auto windows = [](const tools::ModelShape& shape) {
    std::vector<uint32_t> out;
    for (const tools::LayerShape& layer : shape.layers) out.push_back(layer.window);
    return out;
  };
  using Windows = std::vector<uint32_t>;
  CHECK(windows(shape_of(llama(), window)) == Windows{5, 5});
  Made mixed = llama();
  mixed.config["architectures"] = R"(["Qwen2ForCausalLM"])";
  mixed.config["sliding_window"] = "8";
  mixed.config["use_sliding_window"] = "true";
  mixed.config["max_window_layers"] = "1";
  CHECK(windows(shape_of(mixed)) == Windows{0, 8});
  CHECK(windows(shape_of(mixed, window)) == Windows{0, 5});
  window.window = 0;
  CHECK(windows(shape_of(mixed, window)) == Windows{0, 0});

  tools::ReadOptions theta;
  theta.rope_theta = 900.0f;
  const Folder learned;
  const std::string path = learned.write("plain.pt", pytorch_zip(nano_gpt(false).tensors));
  theta.activation = kActivationGelu;
  theta.n_heads = 2;
  CHECK_SAYS(refusal(learned, [&] { tools::open_checkpoint(path, theta); }), "learns its positions",
             "--rope-theta");
}

TEST_CASE("families: windows, where the family has them") {
  const auto windows = [](const Config& more) {
    Made made = llama();
    for (const auto& [key, value] : more) made.config[key] = value;
    std::vector<uint32_t> out;
    for (const tools::LayerShape& layer : shape_of(made).layers) out.push_back(layer.window);
    return out;
  };
  const std::string mistral = R"(["MistralForCausalLM"])", qwen = R"(["Qwen2ForCausalLM"])";
  using Windows = std::vector<uint32_t>;
  CHECK(windows({{"sliding_window", "8"}}).empty());
  CHECK(windows({{"architectures", mistral}, {"sliding_window", "8"}}) == Windows{8, 8});
  CHECK(windows({{"architectures", mistral}, {"sliding_window", "null"}}).empty());
  const Config off = {{"architectures", qwen},
                      {"sliding_window", "8"},
                      {"use_sliding_window", "false"},
                      {"max_window_layers", "1"}};
  CHECK(windows(off).empty());
  Config on = off;
  on["use_sliding_window"] = "true";
  CHECK(windows(on) == Windows{0, 8});
  on["layer_types"] = R"(["sliding_attention","full_attention"])";
  CHECK(windows(on) == Windows{8, 0});
}

TEST_CASE("families: one hash whatever file the same weights lie in") {
  const Made made = llama();
  const Folder folder;
  const uint64_t expected = hash_of(open_folder(folder, made));
  {  // A head that is a copy of the embedding is tied.
    Made copy = made;
    copy.tensors.push_back(copy["model.embed_tokens.weight"]);
    copy.tensors.back().name = "lm_head.weight";
    copy.config["tie_word_embeddings"] = "false";
    CHECK(shape_of(copy).tied_head);
  }
  {  // A file by itself, its configuration beside it.
    CHECK(hash_of(tools::open_checkpoint(folder.path() + "/model.safetensors", {})) == expected);
  }
  {  // PyTorch, named as Hugging Face does and not.
    const Folder torch;
    torch.write("config.json", json_of(made.config));
    const std::string other = torch.write("weights.pt", pytorch_old(made.tensors));
    torch.write("pytorch_model.bin", pytorch_zip(made.tensors));
    CHECK(hash_of(tools::open_checkpoint(torch.path(), {})) == expected);
    CHECK(hash_of(tools::open_checkpoint(other, {})) == expected);
  }
  {  // Shards of both kinds, and safetensors by any name.
    const Folder shards, torch_shards, named;
    for (const Folder* each : {&shards, &torch_shards, &named}) {
      each->write("config.json", json_of(made.config));
    }
    for (const NamedBytes& file : safetensors_shards(made.tensors)) {
      shards.write(file.name, file.bytes);
    }
    CHECK(hash_of(tools::open_checkpoint(shards.path(), {})) == expected);
    const auto middle = made.tensors.begin() + 7;
    torch_shards.write("a.bin", pytorch_zip({made.tensors.begin(), middle}));
    torch_shards.write("b.bin", pytorch_zip({middle, made.tensors.end()}));
    std::string map;
    for (size_t i = 0; i < made.tensors.size(); ++i) {
      map += (i ? ",\"" : "\"") + made.tensors[i].name + "\":\"" + (i < 7 ? "a" : "b") + ".bin\"";
    }
    const std::string index =
        torch_shards.write("pytorch_model.bin.index.json", "{\"weight_map\":{" + map + "}}");
    CHECK(hash_of(tools::open_checkpoint(torch_shards.path(), {})) == expected);
    CHECK(hash_of(tools::open_checkpoint(index, {})) == expected);
    named.write("weights.safetensors", safetensors_file(made.tensors));
    CHECK(hash_of(tools::open_checkpoint(named.path(), {})) == expected);
  }
}

TEST_CASE("families: the book's model with q, k and v apart or joined, whatever stands before") {
  const Folder folder;
  const Made apart = book();
  const std::string path = folder.write("model.pth", pytorch_zip(apart.tensors));
  const tools::Checkpoint checkpoint = tools::open_checkpoint(path, two_heads());
  CHECK(checkpoint.shape.n_ctx == 16);
  CHECK(checkpoint.shape.activation == kActivationGeluTanh);
  CHECK(checkpoint.shape.norm == kNormLayer);
  CHECK(checkpoint.shape.learned_positions);
  CHECK_FALSE(checkpoint.shape.tied_head);
  const uint64_t expected = hash_of(checkpoint);

  Made joined = book(true);
  for (FileTensor& tensor : joined.tensors) {
    const size_t at = tensor.name.find("att.");
    if (at == std::string::npos) {
      tensor = Made(apart)[tensor.name];
      continue;
    }
    const std::string layer = tensor.name.substr(0, at);
    Made from = apart;
    if (has(tensor.name, "att.qkv")) {
      tensor.values.clear();
      for (const char* part : {"att.W_query.weight", "att.W_key.weight", "att.W_value.weight"}) {
        const std::vector<float>& rows = from[layer + part].values;
        tensor.values.insert(tensor.values.end(), rows.begin(), rows.end());
      }
    } else {
      tensor.values = from[layer + "att.out_proj" + tensor.name.substr(at + 8)].values;
    }
  }
  CHECK(hash_of(tools::open_checkpoint(folder.write("joined.pth", pytorch_zip(joined.tensors)),
                                       two_heads())) == expected);
  // A state dict in safetensors, with prefixes, and the optimizer's tensors beside it.
  Made prefixed = apart;
  for (FileTensor& tensor : prefixed.tensors) {
    tensor.name = "model_state_dict._orig_mod.module." + tensor.name;
  }
  prefixed.add("optimizer_state_dict.state.0.exp_avg", {10, 8});
  prefixed.add("best_val_loss", {});
  CHECK(hash_of(tools::open_checkpoint(
            folder.write("prefixed.safetensors", safetensors_file(prefixed.tensors)),
            two_heads())) == expected);
  // Two models in one file: neither is taken.
  for (const FileTensor& tensor : apart.tensors) {
    prefixed.tensors.push_back(tensor);
    prefixed.tensors.back().name = "ema." + tensor.name;
  }
  const std::string twice = folder.write("twice.pth", pytorch_zip(prefixed.tensors));
  CHECK_SAYS(refusal(folder, [&] { tools::open_checkpoint(twice, two_heads()); }),
             "holds more than one model", "ema.");
}

TEST_CASE("families: nanoGPT without biases, and what no file says is asked for") {
  const Folder folder;
  const std::string plain = folder.write("plain.pt", pytorch_zip(nano_gpt(false).tensors));
  tools::ReadOptions options;
  CHECK_SAYS(refusal(folder, [&] { tools::open_checkpoint(plain, options); }), "DIR/plain.pt",
             "--activation gelu");
  options.activation = kActivationGelu;
  CHECK_SAYS(refusal(folder, [&] { tools::open_checkpoint(plain, options); }), "DIR/plain.pt",
             "--heads N");
  options.n_heads = 2;
  const tools::ModelShape s = tools::open_checkpoint(plain, options).shape;
  CHECK(s.biases == 0);
  CHECK(s.activation == kActivationGelu);
  CHECK(s.tied_head);
  const std::string biased = folder.write("biased.pt", pytorch_zip(nano_gpt(true).tensors));
  CHECK(tools::open_checkpoint(biased, options).shape.biases == kKnownBiases);
  // Heads that do not fit.
  options.n_heads = 3;
  CHECK_SAYS(refusal(folder, [&] { tools::open_checkpoint(plain, options); }), "3 heads", "8");
}

TEST_CASE("families: candidates for the number of heads") {
  const Folder folder;
  Made made;
  made.add("tok_emb.weight", {10, 96});
  made.add("pos_emb.weight", {16, 96});
  made.add("trf_blocks.0.norm1.scale", {96});
  made.add("trf_blocks.0.ff.layers.0.weight", {96, 96});
  const std::string path = folder.write("model.pth", pytorch_zip(made.tensors));
  CHECK_SAYS(refusal(folder, [&] { tools::open_checkpoint(path, {}); }), "--heads N", "3 (of 32)",
             "2 (of 48)", "1 (of 96)");
}

// ---- What is refused --------------------------------------------------------------------------

TEST_CASE("families: an unknown architecture, with those known") {
  CHECK_SAYS(refusal_with(llama(), {{"architectures", R"(["MambaForCausalLM"])"}}),
             "DIR/config.json", "'MambaForCausalLM'", "LlamaForCausalLM", "Gemma3ForCausalLM",
             "GPTNeoXForCausalLM");
  const Folder folder;
  const std::string path =
      folder.write("strange.pth", pytorch_zip({{"encoder.weight", "F32", {2}, {1, 2}}}));
  CHECK_SAYS(refusal(folder, [&] { tools::open_checkpoint(path, {}); }), "DIR/strange.pth",
             "encoder.weight", "GPTModel", "nanoGPT");
}

TEST_CASE("families: fields whose meaning is not supported, each by its name") {
  const struct {
    const char *key, *value, *says;
  } fields[] = {
      {"num_experts", "8", "mixture of experts"},
      {"num_local_experts", "8", "mixture of experts"},
      {"n_routed_experts", "64", "mixture of experts"},
      {"alibi", "true", "ALiBi"},
      {"attn_logit_softcapping", "50.0", "capped"},
      {"position_embedding_type", "\"relative_key\"", "relative_key"},
      {"quantization_config", R"({"quant_method":"gptq"})", "quantized"},
      {"use_bidirectional_attention", "true", "later positions"},
      {"scale_attn_by_inverse_layer_idx", "true", "by layer"},
      {"hidden_act", "\"quick_gelu\"", "quick_gelu"},
      {"rope_scaling", R"({"rope_type":"dynamic","factor":2.0})", "'dynamic'"},
      {"rope_scaling", R"({"rope_type":"longrope","long_factor":[1.0]})", "'longrope'"},
      {"rope_scaling", R"({"type":"su","factor":2.0})", "'su'"},
      {"rope_scaling", R"({"factor":2.0})", "rope_type"},
      {"rope_scaling", R"({"rope_type":3})", "rope_type"},
      {"rope_scaling", "[]", "rope_scaling"},
      {"rope_scaling", R"({"rope_type":"linear","factor":0.0})", "rope_scaling"},
      {"rope_scaling", R"({"rope_type":"linear","factor":"2"})", "factor"},
      {"partial_rotary_factor", "1.5", "1.5"},
      {"partial_rotary_factor", "-1e9", "rotated"},
      {"no_rope_layers", "[1]", "no_rope_layers"},
      {"no_rope_layers", "[1,true]", "'no_rope_layers' has the entry true, expected 0 or 1"},
      {"no_rope_layers", "[2,1]", "'no_rope_layers' has the entry 2, expected 0 or 1"},
      {"head_dim", "2147483646", "2147483646"},
      {"head_dim", "3", "heads of 3 dimensions"},
      {"num_attention_heads", "0", "'num_attention_heads' is 0"},
      {"num_attention_heads", "2147483647", "2147483647"},
      {"num_key_value_heads", "\"1\"", "num_key_value_heads"},
      {"hidden_size", "16", "16"},
      {"vocab_size", "11", "11"},
      {"rms_norm_eps", "\"small\"", "rms_norm_eps"},
      {"tie_word_embeddings", "1", "tie_word_embeddings"},
  };
  for (const auto& field : fields) {
    CAPTURE(std::string(field.key));
    CAPTURE(std::string(field.value));
    CHECK_SAYS(refusal_with(llama(), {{field.key, field.value}}), field.says);
  }
  // Turned off they are welcome.
  CHECK(refusal_with(llama(), {{"num_experts", "0"},
                               {"alibi", "false"},
                               {"attn_logit_softcapping", "null"},
                               {"residual_multiplier", "1.0"}}) == "");
  const Config neo = {{"architectures", R"(["Gemma3ForCausalLM"])"},
                      {"sliding_window", "8"},
                      {"layer_types", R"(["full_attention","linear_attention"])"}};
  CHECK(refusal_with(llama(), neo) != "");
}

TEST_CASE("families: missing tensors, and names that are like them") {
  Made made = llama();
  made["model.layers.1.self_attn.k_proj.weight"].name = "model.layers.1.self_attn.key_proj.weight";
  CHECK_SAYS(refusal(made), "'model.layers.1.self_attn.k_proj.weight'", "is missing",
             "\"model.layers.1.self_attn.key_proj.weight\"");
  for (const FileTensor& tensor : llama().tensors) {
    CAPTURE(tensor.name);
    Made without = llama();
    without.remove(tensor.name);
    // Without the embedding nobody knows what stands before the names.
    const bool is_first = tensor.name == "model.embed_tokens.weight";
    CHECK_SAYS(refusal(without), "is missing",
               is_first ? "embed_tokens.weight" : tensor.name.c_str());
  }
  Made untied = llama();
  untied.config["tie_word_embeddings"] = "false";
  CHECK_SAYS(refusal(untied), "'lm_head.weight'", "is missing");
  Made biased = llama();
  biased.config["attention_bias"] = "true";
  CHECK_SAYS(refusal(biased), "q_proj.bias", "is missing");
}

TEST_CASE("families: wrong shapes, both shown") {
  for (const FileTensor& tensor : llama().tensors) {
    if (tensor.name == "model.embed_tokens.weight") continue;
    CAPTURE(tensor.name);
    Made made = llama();
    FileTensor& wrong = made[tensor.name];
    wrong.shape.back() += 1;
    uint64_t n = 1;
    for (const uint64_t size : wrong.shape) n *= size;
    wrong.values.resize(static_cast<size_t>(n));
    CHECK_SAYS(refusal(made), tensor.name.c_str(), "has the shape", "expected");
  }
  Made empty = llama();
  empty["model.embed_tokens.weight"].shape = {10, 0};
  empty["model.embed_tokens.weight"].values.clear();
  CHECK_SAYS(refusal(empty), "DIR/model.safetensors: the tensor 'model.embed_tokens.weight'",
             "has 0 columns, expected 1 to 65536");
  Made flat = llama();
  flat["model.embed_tokens.weight"].shape = {80};
  CHECK_SAYS(refusal(flat), "model.embed_tokens.weight", "(80)", "matrix");
}

TEST_CASE("families: what is left over, but for buffers that nobody needs") {
  Made made = llama();
  made.add("model.layers.0.self_attn.rotary_emb.inv_freq", {2});
  CHECK(refusal(made) == "");
  made.add("model.layers.0.self_attn.sinks", {2});
  CHECK_SAYS(refusal(made), "model.layers.0.self_attn.sinks", "uses the tensor", "(2)");
  Made third = llama();
  third.config["num_hidden_layers"] = "1";
  CHECK_SAYS(refusal(third), "number of layers", "1", "2");
  Made biased = llama();  // the configuration says that there is none
  biased.config["attention_bias"] = "false";
  for (const std::string n : {"0", "1"}) {
    biased.add("model.layers." + n + ".self_attn.q_proj.bias", {8});
  }
  CHECK_SAYS(refusal(biased), "q_proj.bias", "uses the tensor");
}

TEST_CASE("families: types that are not read") {
  Made made = llama();
  made["model.layers.1.mlp.up_proj.weight"].type = "I32";
  CHECK_SAYS(refusal(made), "model.layers.1.mlp.up_proj.weight", "I32");
}

TEST_CASE("families: lists of attention that have no end") {
  Made made;
  made.config = {{"architectures", R"(["GPTNeoForCausalLM"])"},
                 {"num_heads", "2"},
                 {"window_size", "8"},
                 {"attention_types", "[[[],9007199254740991]]"}};
  made.add("wte.weight", {10, 8});
  made.add("wpe.weight", {16, 8});
  made.add("h.0.ln_1.weight", {8});
  made.add("h.0.mlp.c_fc.weight", {32, 8});
  made.add("h.0.attn.attention.q_proj.weight", {8, 8});
  made.add("h.0.attn.attention.k_proj.weight", {8, 8});
  CHECK_SAYS(refusal(made), "attention_types");
  made.config["attention_types"] = R"([[["global"],9007199254740991]])";
  CHECK_SAYS(refusal(made), "is missing");  // the next thing that is wrong
}
