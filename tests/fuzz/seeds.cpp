// SPDX-License-Identifier: MIT
// Writes what the fuzz targets start from: seeds FOLDER makes FOLDER/json/... and so on, a folder
// for each target.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "family_checkpoints.h"
#include "gguf_files.h"
#include "llama2c_files.h"
#include "memory_store.h"
#include "tiny_adapter.h"
#include "tiny_model.h"
#include "tiny_rule.h"
#include "tokenizer_files.h"
#include "verbs.h"

using namespace thimble;
using namespace thimble::test;

namespace {

class SeedFolder {
 public:
  SeedFolder(const std::string& folder, const std::string& target)
      : folder_(std::filesystem::path(folder) / target) {
    std::filesystem::create_directories(folder_);
  }
  void add(const std::string& bytes) { std::ofstream(next(), std::ios::binary) << bytes; }
  // For what writes its file itself.
  std::filesystem::path next() { return folder_ / std::to_string(count_++); }

 private:
  std::filesystem::path folder_;
  size_t count_ = 0;
};

std::vector<FileTensor> some_tensors() {
  return {{"a.weight", "F32", {2, 3}, {1, 2, 3, 4, 5, 6}},
          {"b", "F16", {4}, {1, 2, 3, 4}},
          {"c", "BF16", {1, 2}, {1, 2}},
          {"d", "F64", {}, {1}},
          {"empty", "F32", {0, 7}, {}},
          {"mask", "BOOL", {2}, {0, 1}}};
}

void write_adapters(SeedFolder seeds) {
  const TinyModel model(tiny_shape(24, 20, 2, 3, 1, 8, 32, 16, true), {kWeightQ8, 32, 4});
  for (const uint32_t rank : {1u, 5u}) {
    const TinyAdapter adapter(model.view, rank, rank == 1 ? uint32_t{kMatrixQkv} : kLoraMatrices);
    seeds.add(
        std::string(reinterpret_cast<const char*>(adapter.image.data()), adapter.image.size()));
  }
}

// The first byte is how fuzz_pack.cpp takes the rest.
void write_packed(SeedFolder seeds) {
  for (const char how : {'\0', '\1', '\2', '\6', '\10'}) {
    seeds.add(how + std::string("an to in<|endoftext|>\n\xc3\xa9t\xff end"));
    seeds.add(how + std::string("P\0\0\x12\1\2\3\4packed", 14));
    seeds.add(how + std::string("R\0\0\x12\x0c\2\1\2\3\4packed", 16));
  }
}

void write_rules(SeedFolder seeds) {
  const TinyModel model(tiny_shape(24, 20, 1, 3, 1, 8, 64, 16, true), {kWeightQ8, 32, 4}, true);
  for (const char* regex : {"a", "(a|be)*[^b-d]{2,3}", "[a-z ]*"}) {
    const TinyRule rule(model.view, regex);
    seeds.add(std::string(reinterpret_cast<const char*>(rule.image.data()), rule.image.size()));
  }
}

// The first byte is how fuzz_stream.cpp takes the rest: a model's file; tables, with what is behind
// them for a store.
void write_stores(SeedFolder seeds) {
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 32, 4},
        tools::WeightLayout{kWeightQ4, 0, 1}}) {
    const TinyModel model(tiny_shape(16, 20, 2, 2, 1, 8, 40, 8, true), layout, true, 1, true);
    const StreamedModel streamed(model.view);
    std::string file(reinterpret_cast<const char*>(model.image.data()), model.image.size());
    for (const char how : {'\0', '\1', '&'}) seeds.add(how + file);
    file.replace(0, streamed.tables.size(), reinterpret_cast<const char*>(streamed.tables.data()),
                 streamed.tables.size());
    seeds.add('\0' + file);
  }
}

void write_json(SeedFolder seeds) {
  seeds.add(R"({"a":[1,-2.5e-3,"x\u00e9\ud83d\ude00é",null,true,false],"b":{"c":{}}})");
  seeds.add(R"({"model":{"vocab":{"<s>":0,"a":1},"merges":["a b",["c","d"]]},"eps":1e-05})");
  seeds.add("[9007199254740992,9007199254740993,1000000000000000019884624838656,0.0,-0]");
  seeds.add(std::string(64, '[') + std::string(64, ']'));
}

void write_safetensors(SeedFolder seeds) {
  seeds.add(safetensors_file(some_tensors()));
  seeds.add(safetensors_file({}));
  for (const FileTensor& tensor : some_tensors()) seeds.add(safetensors_file({tensor}));
  for (const Made& made : {book(), book(true), nano_gpt(true)}) {
    seeds.add(safetensors_file(made.tensors));
  }
}

// A checkpoint as people write them, of storages "0" (12 elements F32) and "1" (4 elements F16).
std::string training_pickle(int protocol) {
  PickleWriter p(protocol);
  p.step("}(").text("model").global("collections", "OrderedDict").step(")R(");
  p.text("x")
      .tensor("F32", "0", 12, 3, {2, 3}, {1, 2})
      .text("y")
      .tensor("F16", "1", 4, 0, {4}, {1});
  p.step("u}").text("_metadata").none().step("sb");
  p.text("config").global("__main__", "Config").step(")\x81}").text("n_head").integer(4).step("sb");
  p.text("parameter").global("torch._utils", "_rebuild_parameter").step("(");
  p.tensor("F32", "0", 12, 0, {}, {}).boolean(true).none().step("tR");
  p.text("size").global("torch", "Size").integers({2, 3}).step("\x85R");
  p.text("list").step("](").integer(-5).real(0.5).text("z").step("e");
  return p.step("u").end();
}

std::string module_pickle() {
  PickleWriter p(4);
  p.step("\x8c\1m\x8c\1M\x93)\x81}(\x8c\x0b_parameters}\x8c\1w\x94");
  p.tensor("F32", "0", 12, 0, {3, 4}, {4, 1})
      .step("s\x8c\x08_buffers}h")
      .bytes(std::string(1, '\0'));
  p.tensor("F16", "1", 4, 0, {2, 2}, {1, 2}).step("s\x8c\x08_modules}ub");
  return p.end();
}

void write_pytorch(SeedFolder seeds) {
  ZipOptions zip64, behind;
  zip64.zip64 = true;
  behind.sizes_behind = true;
  seeds.add(pytorch_zip(some_tensors()));
  seeds.add(pytorch_zip({some_tensors()[0]}, zip64));
  seeds.add(pytorch_zip({some_tensors()[1]}, behind));
  seeds.add(pytorch_old(some_tensors()));
  seeds.add(pytorch_old({some_tensors()[0]}));
  seeds.add(training_pickle(2));
  seeds.add(training_pickle(4));
  seeds.add(module_pickle());
  seeds.add("\x80\x05]\x94(h\0h\0K\1\x90\x8f\x91." + std::string());
  seeds.add(pytorch_zip(book().tensors));
  seeds.add(pytorch_old(nano_gpt(false).tensors));
}

// A model of a few numbers, with a tokenizer, as `thimble export` writes it.
void export_model(const tools::ModelShape& shape, bool is_byte_level, WeightType type,
                  SeedFolder* seeds) {
  const tools::Vocabulary vocabulary =
      is_byte_level ? tiny_byte_vocabulary(shape.vocab_size) : tiny_vocabulary(shape.vocab_size);
  const tools::ImageInMemory image =
      tools::build_image_in_memory(shape, {type, type == kWeightQ8 ? 32u : 0u, 4}, &vocabulary,
                                   [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                                      float* out) { random_row(1, kind, layer, row, cols, out); });
  const TestFolder folder;
  const std::string model = folder.write(
      "model.thimble", std::string(reinterpret_cast<const char*>(image.data()), image.bytes));
  tools::export_verb({model, "-o", seeds->next().string()});
}

void write_gguf(SeedFolder seeds) {
  for (const uint32_t version : {2u, 3u}) {
    seeds.add(rich_gguf_file(version).bytes());
    seeds.add(llama_gguf_file(version).bytes());
  }
  GgufTestFile aligned = rich_gguf_file();
  aligned.alignment = 8;
  seeds.add(aligned.key("general.alignment", 4, gguf_raw<uint32_t>(8)).bytes());
  seeds.add(all_types_gguf_file().bytes());
  GgufTestFile yarn = llama_gguf_file();
  yarn.key("llama.rope.scaling.type", 8, gguf_string("yarn"))
      .key("llama.rope.scaling.factor", 6, gguf_raw(4.0f))
      .key("llama.rope.scaling.original_context_length", 4, gguf_raw<uint32_t>(8))
      .key("llama.rope.scaling.attn_factor", 6, gguf_raw(1.0f));
  seeds.add(yarn.bytes());
  seeds.add(llama_gguf_file().tensor({"rope_freqs.weight", {2}, 0, gguf_floats({1, 8})}).bytes());
  for (const GgufTestTensor& tensor : all_types_gguf_file().tensors) {
    seeds.add(GgufTestFile().tensor(tensor).bytes());
  }
  seeds.add(big_arrays_gguf_file().bytes());
  tools::ModelShape llama = tiny_shape(32, 8, 1, 2, 1, 4, 12, 16, true);
  export_model(llama, false, kWeightQ8, &seeds);
  llama.qk_norm = true;  // which Qwen 3 has
  export_model(llama, false, kWeightQ8, &seeds);
  tools::ModelShape gpt2 = tiny_shape(8, 32, 1, 2, 2, 4, 32, 8, true);
  gpt2.norm = kNormLayer;
  gpt2.biases = kKnownBiases;
  gpt2.learned_positions = true;
  gpt2.activation = kActivationGeluTanh;
  gpt2.gated = false;
  gpt2.ropes = {tiny_rope(4, 0)};
  export_model(gpt2, true, kWeightF32, &seeds);
}

// The first byte is whose tensors fuzz_config.cpp takes.
void write_configs(SeedFolder seeds) {
  const std::vector<Made> models = hugging_face_models();
  const auto add = [&](size_t model, const Config& more) {
    Config config = models[model].config;
    for (const auto& [key, value] : more) config[key] = value;
    seeds.add(static_cast<char>(model) + json_of(config));
  };
  for (size_t i = 0; i < models.size(); ++i) add(i, {});
  for (const char* name : {"Mistral", "Qwen2", "Qwen3"}) {
    add(0, {{"architectures", "[\"" + std::string(name) + "ForCausalLM\"]"},
            {"sliding_window", "8"},
            {"use_sliding_window", "true"},
            {"max_window_layers", "1"}});
  }
  for (const char* scaling :
       {R"({"type":"linear","factor":2.0})",
        R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
        R"("original_max_position_embeddings":8})",
        R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":8,"mscale":1.0,)"
        R"("mscale_all_dim":0.5,"beta_fast":32,"beta_slow":1,"truncate":false})"}) {
    add(0, {{"rope_scaling", scaling}, {"rope_theta", "400.0"}});
  }
  add(0, {{"partial_rotary_factor", "0.5"},
          {"no_rope_layers", "[1,0]"},
          {"attention_bias", "false"},
          {"head_dim", "4"},
          {"hidden_act", "\"silu\""}});
  add(0, {{"rope_parameters", R"({"rope_type":"default","rope_theta":400.0})"}});
  add(1, {{"rope_parameters", R"({"full_attention":{"rope_type":"linear","factor":8.0},)"
                              R"("sliding_attention":{"rope_theta":10000.0}})"},
          {"query_pre_attn_scalar", "16"},
          {"final_logit_softcapping", "30.0"},
          {"hidden_activation", "\"gelu_pytorch_tanh\""}});
  add(1, {{"sliding_window_pattern", "2"}, {"rope_local_base_freq", "10000.0"}});
  add(3, {{"attention_layers", R"(["global","local"])"}});
}

// The first byte is the kind of file that fuzz_tokenizer.cpp reads.
void write_tokenizers(SeedFolder seeds) {
  const auto add = [&](char kind, const std::string& bytes) { seeds.add(kind + bytes); };
  const std::string split =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)"
      R"("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| )"
      R"(?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated"},)"
      R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  const std::string json[] = {tokenizer_json(kByteLevelStep), tokenizer_json_with_bos(),
                              fallback_tokenizer_json(),
                              tokenizer_json(split, R"(,"normalizer":{"type":"NFC"})", kHelloVocab,
                                             kHelloMerges, R"("type":"BPE","ignore_merges":true)")};
  for (const std::string& text : json) add(0, text);
  add(1, "#version: 0.2\na b\nab c\nb c\n\xc4\xa0 a\n");
  add(2, kTiktokenRanks);
  add(3, sentencepiece_file());
  add(4, tokenizer_bytes(small_tokens(60)));
  add(5, meta_pickle({"\n", " ", "a", "b", "\xc3\xa9"}));
  add(6, "\n abc\xc3\xa9");
  add(6, "a\nb\n\n\nc\n");
  add(7,
      R"({"bos_token":"<|end|>","eos_token":{"content":"<|end|>"},"add_bos_token":true,)"
      R"("tokenizer_class":"GPT2Tokenizer","added_tokens_decoder":{"10":{"content":"<|end|>",)"
      R"("special":true}},"chat_template":"{% for m in messages %}{{'<|im_start|>' + m.role }}"})");
  add(7, R"({"chat_template":[{"name":"default","template":"[INST] {{ content }} [/INST]"}]})");
  add(8, "{" + std::string(kHelloVocab) + "}");
  for (const std::string& bytes : {json[0], sentencepiece_file(), tokenizer_bytes(small_tokens(9)),
                                   std::string(kTiktokenRanks), meta_pickle({"a", "b"}),
                                   rich_gguf_file().bytes(), big_arrays_gguf_file().bytes()}) {
    add(6, bytes);  // recognised by what it holds
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: seeds FOLDER\n");
    return 2;
  }
  write_adapters({argv[1], "adapter"});
  write_packed({argv[1], "pack"});
  write_rules({argv[1], "rule"});
  write_stores({argv[1], "stream"});
  write_json({argv[1], "json"});
  write_safetensors({argv[1], "safetensors"});
  write_pytorch({argv[1], "pytorch"});
  write_gguf({argv[1], "gguf"});
  write_configs({argv[1], "config"});
  write_tokenizers({argv[1], "tokenizer"});
  return 0;
}
