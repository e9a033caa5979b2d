// SPDX-License-Identifier: MIT
// thimble export: what is read back is what the model file holds.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gguf_writer.h"
#include "image.h"
#include "json.h"
#include "llama2c_files.h"
#include "model.h"
#include "random.h"
#include "readers/gguf.h"
#include "readers/gguf_types.h"
#include "readers/tokenizers.h"
#include "rope_pairs.h"
#include "verbs.h"

using namespace thimble;
using namespace thimble::test;
using tools::GgufFile;
using tools::ModelShape;
using tools::Tensor;
using tools::Vocabulary;

namespace {

struct Values {
  std::vector<uint64_t> shape;
  std::string type;
  std::vector<float> data;
};

std::map<std::string, Values> tensors_of(const GgufFile& file) {
  std::map<std::string, Values> out;
  const std::vector<Tensor>& all = file.tensors->all();
  for (size_t i = 0; i < all.size(); ++i) {
    Values v{all[i].shape, all[i].type, {}};
    v.data.resize(static_cast<size_t>(element_count(all[i])));
    file.tensors->read(i, 0, v.data.size(), v.data.data());
    out[all[i].name] = v;
  }
  return out;
}

std::vector<uint64_t> rope_table(float theta, uint32_t width, uint32_t head_dim,
                                 const std::vector<float>& factors = {}) {
  std::vector<uint64_t> table(head_dim / 2);
  for (uint32_t i = 0; i < width / 2; ++i) {
    const long double frequency = std::pow(static_cast<long double>(theta), -2.0L * i / width) /
                                  (factors.empty() ? 1.0L : static_cast<long double>(factors[i]));
    table[i] =
        static_cast<uint64_t>(std::ldexp(frequency / 6.283185307179586476925286766559005768L, 64)) &
        ~uint64_t{0xfffff};
  }
  return table;
}

// ---- A model of any of the families, from the tensors that a GGUF file has

class Family {
 public:
  Family(const std::string& name, const ModelShape& shape, std::map<std::string, Values> tensors)
      : name_(name), s_(shape), tensors_(std::move(tensors)) {}

  void row(SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) const {
    const std::string block = "blk." + std::to_string(layer) + ".";
    const uint32_t q = s_.n_heads * s_.head_dim, kv = s_.n_kv_heads * s_.head_dim;
    const auto norm = [&](const std::string& name) {
      take(name + (row == 0 ? ".weight" : ".bias"), 0, cols, out);
    };
    switch (kind) {
      case kTokenEmbedding:
        return take("token_embd.weight", row, cols, out);
      case kPositionEmbedding:
        return take("position_embd.weight", row, cols, out);
      case kAttentionNorm:
        return norm(block + "attn_norm");
      case kAttentionPostNorm:
        return norm(block + "post_attention_norm");
      case kFeedForwardNorm:
        return norm(block + "ffn_norm");
      case kFeedForwardPostNorm:
        return norm(block + "post_ffw_norm");
      case kFinalNorm:
        return norm("output_norm");
      case kAttentionQkv: {
        if (tensors_.count(block + "attn_qkv.weight")) {
          return take(block + "attn_qkv.weight", row < 2 * q ? head_row(row) : row, cols, out);
        }
        if (row < q) return take(block + "attn_q.weight", head_row(row), cols, out);
        if (row < q + kv) return take(block + "attn_k.weight", head_row(row - q), cols, out);
        return take(block + "attn_v.weight", row - q - kv, cols, out);
      }
      case kAttentionQkvBias:
        for (uint32_t i = 0; i < cols; ++i) {
          if (tensors_.count(block + "attn_qkv.bias")) {
            out[i] = at(block + "attn_qkv.bias", i < 2 * q ? head_row(i) : i);
          } else {
            out[i] = i < q        ? at(block + "attn_q.bias", head_row(i))
                     : i < q + kv ? at(block + "attn_k.bias", head_row(i - q))
                                  : at(block + "attn_v.bias", i - q - kv);
          }
        }
        return;
      case kQkNorm:
        for (uint32_t i = 0; i < cols; ++i) {
          out[i] =
              at(block + (row == 0 ? "attn_q_norm.weight" : "attn_k_norm.weight"), head_row(i));
        }
        return;
      case kAttentionOutput:
        return take(block + "attn_output.weight", row, cols, out);
      case kAttentionOutputBias:
        return take(block + "attn_output.bias", 0, cols, out);
      case kFeedForwardGateUp:
        if (!s_.gated) return take(block + "ffn_up.weight", row, cols, out);
        return row < s_.hidden_dim ? take(block + "ffn_gate.weight", row, cols, out)
                                   : take(block + "ffn_up.weight", row - s_.hidden_dim, cols, out);
      case kFeedForwardGateUpBias:
        return take(block + "ffn_up.bias", 0, cols, out);
      case kFeedForwardDown:
        return take(block + "ffn_down.weight", row, cols, out);
      case kFeedForwardDownBias:
        return take(block + "ffn_down.bias", 0, cols, out);
      default:
        return take("output.weight", row, cols, out);
    }
  }

  const ModelShape& shape() const { return s_; }

 private:
  // The file's row of a head that is the engine's row `row`.
  uint32_t head_row(uint32_t row) const {
    if (name_ == "llama" || name_ == "gpt2") return row;
    uint32_t width = 0;
    while (width / 2 < s_.ropes[0].size() && s_.ropes[0][width / 2] != 0) width += 2;
    return rope_source_row(tools::RopePairs::kHalves, row, s_.head_dim, width);
  }
  float at(const std::string& name, uint32_t i) const { return tensors_.at(name).data.at(i); }
  void take(const std::string& name, uint32_t row, uint32_t cols, float* out) const {
    const Values& v = tensors_.at(name);
    REQUIRE(v.data.size() >= (size_t{row} + 1) * cols);
    std::memcpy(out, &v.data[size_t{row} * cols], cols * sizeof(float));
  }

  std::string name_;
  ModelShape s_;
  std::map<std::string, Values> tensors_;
};

std::string image_of(const Family& family, const tools::WeightLayout& layout,
                     const Vocabulary* vocabulary = nullptr) {
  const tools::ImageInMemory image =
      build_image_in_memory(family.shape(), layout, vocabulary,
                            [&](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                                float* out) { family.row(kind, layer, row, cols, out); });
  return std::string(reinterpret_cast<const char*>(image.data()), image.bytes);
}

GgufFile exported(const TestFolder& folder, const std::string& image) {
  const std::string from = folder.write("m.thimble", image), to = folder / "m.gguf";
  REQUIRE(tools::export_verb({from, "-o", to}) == 0);
  return tools::open_gguf(to);
}

std::string refusal(const TestFolder& folder, const std::string& image) {
  const std::string from = folder.write("m.thimble", image);
  try {
    tools::export_verb({from, "-o", folder / "m.gguf"});
  } catch (const tools::Refused& e) {
    return e.what();
  }
  return "";
}

// The shape that a GGUF file of one of the families says.
ModelShape shape_of(const GgufFile& file) {
  const auto* name = file.metadata.find("general.architecture")->string();
  const auto number = [&](const char* key, double fallback) {
    const tools::Value* v = file.metadata.find(*name + "." + key);
    if (!v) return fallback;
    return v->integer() ? static_cast<double>(*v->integer()) : *v->real();
  };
  const auto count = [&](const char* key, uint32_t fallback) {
    return static_cast<uint32_t>(number(key, fallback));
  };
  ModelShape s;
  s.dim = count("embedding_length", 0);
  s.hidden_dim = count("feed_forward_length", 0);
  s.n_layers = count("block_count", 0);
  s.n_heads = count("attention.head_count", 0);
  s.n_kv_heads = count("attention.head_count_kv", s.n_heads);
  s.head_dim = count("attention.key_length", s.dim / s.n_heads);
  s.vocab_size = count("vocab_size", 0);
  s.n_ctx = count("context_length", 0);
  s.rope_theta = static_cast<float>(number("rope.freq_base", 10000));
  s.norm_eps = static_cast<float>(
      number("attention.layer_norm_rms_epsilon", number("attention.layer_norm_epsilon", 0)));
  const auto tensors = tensors_of(file);
  s.tied_head = tensors.count("output.weight") == 0;
  const uint32_t width = count("rope.dimension_count", s.head_dim);
  std::vector<float> factors;
  if (tensors.count("rope_freqs.weight")) factors = tensors.at("rope_freqs.weight").data;
  if (number("rope.scaling.factor", 1) != 1) {
    factors.assign(width / 2, static_cast<float>(number("rope.scaling.factor", 1)));
  }
  s.ropes = {rope_table(s.rope_theta, width, s.head_dim, factors)};
  if (*name == "qwen2") s.biases = kBiasQkv;
  s.qk_norm = *name == "qwen3" || *name == "gemma3";
  if (*name == "gpt2" || *name == "gptneox") {
    s.norm = kNormLayer;
    s.biases = kKnownBiases;
    s.gated = false;
    s.activation = *name == "gpt2" ? kActivationGeluTanh : kActivationGelu;
    s.learned_positions = *name == "gpt2";
    if (s.learned_positions) s.ropes[0].assign(s.head_dim / 2, 0);
    const tools::Value* parallel = file.metadata.find("gptneox.use_parallel_residual");
    s.parallel = parallel && *parallel->boolean();
  }
  if (*name == "gemma3") {
    s.norm_after = true;
    s.activation = kActivationGeluTanh;
    s.embedding_scale = std::sqrt(static_cast<float>(s.dim));
    s.ropes.push_back(rope_table(10000, s.head_dim, s.head_dim));
    for (uint32_t i = 0; i < s.n_layers; ++i) {
      if (i % 6 == 5) {
        s.layers.push_back({0, 0});
      } else {
        s.layers.push_back({count("attention.sliding_window", 0), 1});
      }
    }
  }
  return s;
}

Family family_of(const GgufFile& file) {
  return Family(*file.metadata.find("general.architecture")->string(), shape_of(file),
                tensors_of(file));
}

void check_same(const GgufFile& found, const GgufFile& expected) {
  const auto a = tensors_of(found), b = tensors_of(expected);
  CHECK(a.size() == b.size());
  for (const auto& tensor : b) {
    CAPTURE(tensor.first);
    REQUIRE(a.count(tensor.first) == 1);
    const Values &x = a.at(tensor.first), &y = tensor.second;
    CHECK(x.shape == y.shape);
    CHECK(std::memcmp(x.data.data(), y.data.data(), y.data.size() * sizeof(float)) == 0);
  }
  for (const auto& entry : *expected.metadata.dict()) {
    CAPTURE(entry.first);
    if (entry.first.compare(0, 10, "tokenizer.") == 0) continue;
    const tools::Value *x = found.metadata.find(entry.first), &y = entry.second;
    REQUIRE(x != nullptr);
    if (y.integer()) CHECK(*x->integer() == *y.integer());
    if (y.real()) CHECK(*x->real() == *y.real());
    if (y.string()) CHECK(*x->string() == *y.string());
    if (y.boolean()) CHECK(*x->boolean() == *y.boolean());
  }
}

// Random tensors under the names that the architecture has, and the image of them.
Family random_family(const std::string& name, ModelShape s) {
  std::map<std::string, Values> tensors;
  Random random(s.dim + s.n_ctx);
  const auto add = [&](const std::string& tensor, std::vector<uint64_t> shape) {
    uint64_t n = 1;
    for (const uint64_t size : shape) n *= size;
    Values v{std::move(shape), "F32", {}};
    for (uint64_t i = 0; i < n; ++i) v.data.push_back(random.normal());
    tensors[tensor] = v;
  };
  add("token_embd.weight", {s.vocab_size, s.dim});
  const uint64_t q = s.n_heads * s.head_dim, kv = s.n_kv_heads * s.head_dim;
  for (uint32_t layer = 0; layer < s.n_layers; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    add(block + "attn_norm.weight", {s.dim});
    add(block + "ffn_norm.weight", {s.dim});
    add(block + "attn_q.weight", {q, s.dim});
    add(block + "attn_k.weight", {kv, s.dim});
    add(block + "attn_v.weight", {kv, s.dim});
    add(block + "attn_output.weight", {s.dim, q});
    if (s.biases & kBiasQkv) {
      add(block + "attn_q.bias", {q});
      add(block + "attn_k.bias", {kv});
      add(block + "attn_v.bias", {kv});
    }
    if (s.biases & kBiasAttentionOutput) add(block + "attn_output.bias", {s.dim});
    add(block + "ffn_gate.weight", {s.hidden_dim, s.dim});
    add(block + "ffn_up.weight", {s.hidden_dim, s.dim});
    add(block + "ffn_down.weight", {s.dim, s.hidden_dim});
  }
  add("output_norm.weight", {s.dim});
  if (!s.tied_head) add("output.weight", {s.vocab_size, s.dim});
  return Family(name, s, tensors);
}

ModelShape llama_shape() {
  ModelShape s;
  s.dim = 64;
  s.hidden_dim = 48;
  s.n_layers = 2;
  s.n_heads = 4;
  s.n_kv_heads = 2;
  s.head_dim = 16;
  s.vocab_size = 50;
  s.n_ctx = 32;
  s.rope_theta = 500000.0f;
  s.ropes = {rope_table(s.rope_theta, 16, 16)};
  return s;
}

}  // namespace

TEST_CASE("export: what llama.cpp's converter writes comes out again (../shared)") {
  const std::string root = "../shared/golden/families/";
  std::string text;
  if (!read_whole_file(root + "README.md", &text)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  TestFolder folder;
  for (const char* name :
       {"llama3_scaled", "qwen2", "qwen3", "gemma3", "gpt2", "gpt_neox", "gpt_neox_sequential"}) {
    CAPTURE(std::string(name));
    const GgufFile golden = tools::open_gguf(root + name + "/model.gguf");
    for (uint32_t tile : {1u, 16u}) {
      check_same(exported(folder, image_of(family_of(golden), {kWeightF32, 0, tile})), golden);
    }
  }
}

TEST_CASE("export: float32 comes back to the bit, whatever the shape") {
  TestFolder folder;
  std::vector<ModelShape> shapes(5, llama_shape());
  shapes[1].tied_head = false;
  shapes[1].biases = kBiasQkv | kBiasAttentionOutput;
  shapes[2].ropes = {rope_table(500000, 8, 16)};  // half of the head
  shapes[3].ropes = {rope_table(500000, 16, 16, std::vector<float>(8, 2.5f))};
  shapes[4].ropes = {rope_table(500000, 16, 16, {1, 1, 1.5f, 2, 3.25f, 4, 8, 8})};
  for (const ModelShape& shape : shapes) {
    const Family family = random_family("llama", shape);
    const std::string image = image_of(family, {kWeightF32, 0, 4});
    const GgufFile file = exported(folder, image);
    CHECK(*file.metadata.find("general.architecture")->string() == "llama");
    // The model that the file describes has the same image, to the bit.
    ModelShape read = shape_of(file);
    read.biases = shape.biases;
    CHECK(image_of(Family("llama", read, tensors_of(file)), {kWeightF32, 0, 4}) == image);
  }
}

TEST_CASE("export: int8 comes back to the bit in blocks of Q8_0") {
  TestFolder folder;
  for (uint32_t group : {32u, 64u, 0u}) {
    CAPTURE(group);
    ModelShape shape = llama_shape();
    const std::string image = image_of(random_family("llama", shape), {kWeightQ8, group, 4});
    const GgufFile file = exported(folder, image);
    const auto tensors = tensors_of(file);
    CHECK(tensors.at("blk.1.attn_q.weight").type == "Q8_0");
    CHECK(tensors.at("blk.1.ffn_down.weight").type == "F32");  // rows of 48
    CHECK(tensors.at("blk.0.ffn_norm.weight").type == "F32");
    // A q8 image holds what float32 holds that was rounded to it: rounded once more, it stays.
    const tools::ImageInMemory f32 = tools::build_image_in_memory(
        shape, {kWeightF32, 0, 1}, nullptr,
        [&](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
          Family("llama", shape, tensors).row(kind, layer, row, cols, out);
        });
    folder.write("f32.thimble", std::string(reinterpret_cast<const char*>(f32.data()), f32.bytes));
    thimble_model a{}, b{};
    std::vector<uint64_t> aligned(image.size() / 8 + 16);
    uint8_t* at =
        reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(aligned.data()) + 63) / 64 * 64);
    std::memcpy(at, image.data(), image.size());
    REQUIRE(thimble_model_open(&a, at, image.size()) == THIMBLE_OK);
    REQUIRE(thimble_model_open(&b, f32.data(), f32.bytes) == THIMBLE_OK);
    std::vector<float> x(shape.dim), y(shape.dim);
    for (uint32_t row = 0; row < 32; ++row) {
      read_row(x.data(), matrix_of(a, kAttentionQkv, 1), row);
      read_row(y.data(), matrix_of(b, kAttentionQkv, 1), row);
      REQUIRE(x == y);
    }
  }
}

TEST_CASE("export: a block of Q8_0 keeps int8 values where the scale allows it") {
  Random random(3);
  for (int i = 0; i < 2000; ++i) {
    int8_t values[32];
    for (int8_t& v : values) v = static_cast<int8_t>(random.below(255) - 127);
    // A bf16 from 2^-17 to 2^15.
    const float mantissa = 1.0f + static_cast<float>(random.below(128)) / 128.0f;
    const float scale = std::ldexp(mantissa, static_cast<int>(random.below(32)) - 17);
    const tools::Q8Block block = tools::q8_block(values, scale);
    CHECK(tools::half_to_float(block.scale) == scale);
    CHECK(std::memcmp(block.values, values, 32) == 0);
  }
  // Below, the error is at most what the nearest half float leaves: half of 2^-24 a unit.
  for (int i = 0; i < 2000; ++i) {
    int8_t values[32];
    for (int8_t& v : values) v = static_cast<int8_t>(random.below(61) - 30);
    const float scale =
        random.uniform(1, 2) * std::ldexp(1.0f, -18 - static_cast<int>(random.below(5)));
    const tools::Q8Block block = tools::q8_block(values, scale);
    const float d = tools::half_to_float(block.scale);
    double error = 0, bound = 0;
    for (int j = 0; j < 32; ++j) {
      error += std::pow(
          static_cast<double>(values[j] * scale) - static_cast<double>(block.values[j] * d), 2);
      bound += std::pow(static_cast<double>(values[j]) * 0x1p-25, 2);
    }
    CHECK(error <= bound * 1.0001);
  }
}

TEST_CASE("export: scored BPE with its spaces, bytes and control tokens") {
  TestFolder folder;
  ModelShape shape = llama_shape();
  Vocabulary v;
  const auto add = [&](const std::string& text, uint8_t type, float score) {
    v.texts.push_back(text);
    v.types.push_back(type);
    v.scores.push_back(score);
  };
  add("<unk>", kTokenControl, 0);
  add("", kTokenControl, 0);
  add("</s>", kTokenControl, 0);
  add("\n", kTokenByte, 0);
  add(" a", kTokenNormal, -1.5f);
  add("b c", kTokenNormal, -7);
  add("tool", kTokenUser, -1.5f);
  add("", kTokenNormal, -9);
  shape.vocab_size = 8;
  v.n_tokens = 7;
  v.bos_id = 1;
  v.eos_id = 2;
  v.add_space_prefix = true;
  const GgufFile file =
      exported(folder, image_of(random_family("llama", shape), {kWeightF32, 0, 1}, &v));
  CHECK(file.tokens == std::vector<std::string>{"<unk>", "<s>", "</s>", "<0x0A>",
                                                "\xe2\x96\x81"
                                                "a",
                                                "b\xe2\x96\x81"
                                                "c",
                                                "tool", "[PAD7]"});
  CHECK(file.token_types == std::vector<int32_t>{2, 3, 3, 6, 1, 1, 4, 5});
  CHECK(file.scores == std::vector<float>{0, 0, 0, 0, -1, -2, -1, -3});
  CHECK(*file.metadata.find("tokenizer.ggml.model")->string() == "llama");
  CHECK(*file.metadata.find("tokenizer.ggml.bos_token_id")->integer() == 1);
  CHECK(*file.metadata.find("tokenizer.ggml.add_bos_token")->boolean());
  CHECK(*file.metadata.find("tokenizer.ggml.add_space_prefix")->boolean());
}

TEST_CASE("export: byte-level BPE with its merges") {
  TestFolder folder;
  ModelShape shape = llama_shape();
  Vocabulary v;
  v.kind = kTokenizerByteBpe;
  v.pre_tokenizer = kPreTokenizerQwen2;
  for (const char* text : {"a", "b", " ", "ab", " a", "abab", " ab", "\xff", "<|end|>", "<tool>"}) {
    v.texts.push_back(text);
    v.types.push_back(kTokenNormal);
  }
  v.types[8] = kTokenControl;
  v.types[9] = kTokenUser;
  v.texts.push_back("");  // the model's padding
  v.types.push_back(kTokenNormal);
  v.n_tokens = 10;
  v.eos_id = 8;
  v.add_bos = false;
  const std::vector<tools::Merge> merges = {
      {"a", "b"}, {" ", "a"}, {"ab", "ab"}, {" ", "ab"}, {" a", "b"}};
  set_merges(&v, merges, "test");
  shape.vocab_size = 11;
  const std::string image = image_of(random_family("llama", shape), {kWeightF32, 0, 1}, &v);
  const GgufFile file = exported(folder, image);
  const std::string space = "\xc4\xa0";
  CHECK(file.tokens == std::vector<std::string>{"a", "b", space, "ab", space + "a", "abab",
                                                space + "ab", "\xc3\xbf", "<|end|>", "<tool>",
                                                "[PAD10]"});
  CHECK(file.token_types == std::vector<int32_t>{1, 1, 1, 1, 1, 1, 1, 1, 3, 4, 5});
  CHECK(file.merges ==
        std::vector<std::string>{"a b", space + " a", "ab ab", space + " ab", space + "a b"});
  CHECK(*file.metadata.find("tokenizer.ggml.model")->string() == "gpt2");
  CHECK(*file.metadata.find("tokenizer.ggml.pre")->string() == "qwen2");
  CHECK(file.metadata.find("tokenizer.ggml.bos_token_id") == nullptr);
  // The tables that are made from it are the same.
  Vocabulary again = vocabulary_from_gguf(file, "m.gguf");
  CHECK(image_of(random_family("llama", shape), {kWeightF32, 0, 1}, &again) == image);
}

TEST_CASE("export: published vocabularies come out again (../shared)") {
  std::string text;
  if (!read_whole_file("../shared/tokenizers/made/README.md", &text)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  TestFolder folder;
  for (const char* name :
       {"made/gpt-2/vocabulary", "made/llama-bpe/vocabulary", "made/qwen2/vocabulary",
        "made/smollm/vocabulary", "gpt-2/ggml-vocab-gpt-2", "llama-spm/ggml-vocab-llama-spm"}) {
    CAPTURE(std::string(name));
    const std::string path = std::string("../shared/tokenizers/") + name + ".gguf";
    const GgufFile golden = tools::open_gguf(path);
    const Vocabulary v = vocabulary_from_gguf(golden, path);
    ModelShape shape = llama_shape();
    shape.vocab_size = static_cast<uint32_t>(v.texts.size());
    const GgufFile file =
        exported(folder, image_of(random_family("llama", shape), {kWeightF32, 0, 1}, &v));
    CHECK(file.tokens == golden.tokens);
    CHECK(file.token_types == golden.token_types);
    CHECK(file.merges == golden.merges);
    for (const char* key : {"model", "pre", "bos_token_id", "eos_token_id", "add_bos_token"}) {
      CAPTURE(std::string(key));
      const tools::Value* a = file.metadata.find(std::string("tokenizer.ggml.") + key);
      const tools::Value* b = golden.metadata.find(std::string("tokenizer.ggml.") + key);
      if (!b) continue;
      REQUIRE(a != nullptr);
      if (b->string()) CHECK(*a->string() == *b->string());
      if (b->integer()) CHECK(*a->integer() == *b->integer());
      if (b->boolean()) CHECK(*a->boolean() == *b->boolean());
    }
    // The order of the scores is all that counts.
    const Vocabulary again = vocabulary_from_gguf(file, path);
    REQUIRE(again.scores.size() == v.scores.size());
    for (size_t i = 1; i < v.scores.size(); ++i) {
      REQUIRE((v.scores[i] < v.scores[i - 1]) == (again.scores[i] < again.scores[i - 1]));
    }
    CHECK(again.texts == v.texts);
    CHECK(again.types == v.types);
    CHECK(again.splits == v.splits);
  }
}

TEST_CASE("export: what no architecture expresses is refused, with what each has not") {
  TestFolder folder;
  ModelShape shape = llama_shape();
  shape.layers = {{8, 0}, {0, 0}};
  CHECK(refusal(folder, image_of(random_family("llama", shape), {kWeightF32, 0, 1})) ==
        folder / "m.thimble" +
            ": no architecture of GGUF that is known here expresses this model: gemma3 (there is "
            "no norm after blocks), qwen3 (q and k have no norm), qwen2 (q, k and v have no bias), "
            "llama (layer 0 has a window), gpt2 (the norm is not LayerNorm), gptneox (the norm is "
            "not LayerNorm)");
  shape = llama_shape();
  shape.score_scale = 1;
  CHECK(refusal(folder, image_of(random_family("llama", shape), {kWeightF32, 0, 1}))
            .find("llama (scores are scaled otherwise)") != std::string::npos);
}
