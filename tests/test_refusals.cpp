// SPDX-License-Identifier: MIT
// What `thimble convert INPUT -o OUT` refuses, as a user sees it: the message names the file, what
// was found and what was expected, the exit code is 1, and neither OUT nor a part of it stays. The
// readers' own tests go through every field; here is each kind once.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "capture.h"
#include "family_checkpoints.h"
#include "gguf_files.h"
#include "llama2c_files.h"
#include "tokenizer_files.h"

using namespace thimble;
using namespace thimble::test;

namespace {

using Says = std::vector<std::string>;

class RefusedFolder : public TestFolder {
 public:
  RefusedFolder() = default;
  // A Hugging Face model to break.
  explicit RefusedFolder(const Made& made) {
    write("config.json", json_of(made.config));
    write("model.safetensors", safetensors_file(made.tensors));
  }

  // convert refuses `input` ("" is the folder), naming `file` and saying all of `says`.
  void check(const std::string& input, const std::string& file, const Says& says,
             const tools::Words& options = {}) const {
    CAPTURE(file);
    const std::set<std::string> before = names();
    tools::Words words = {input.empty() ? path : *this / input, "-o", *this / "OUT"};
    words.insert(words.end(), options.begin(), options.end());
    const Ended ended = run(tools::convert_verb, words);
    CHECK(ended.code == 1);
    CHECK(ended.out.empty());
    // The last line, behind what it told about files that were good.
    const std::string line = ended.err.substr(ended.err.rfind('\n') + 1);
    const std::string start = (file.empty() ? path : *this / file) + ": ";
    CHECK_MESSAGE(line.compare(0, start.size(), start) == 0, line, " begins not with ", start);
    for (const std::string& part : says) {
      CHECK_MESSAGE(line.find(part) != std::string::npos, line, " lacks ", part);
    }
    CHECK(names() == before);
  }

 private:
  std::set<std::string> names() const {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      all.insert(entry.path().filename().string());
    }
    return all;
  }
};

// A Hugging Face model with fields of its configuration changed, or tensors.
void check_config(const Config& fields, const Says& says) {
  Made made = llama();
  for (const auto& [key, value] : fields) made.config[key] = value;
  RefusedFolder(made).check("", "config.json", says);
}
template <class Change>
void check_tensors(const Change& change, const Says& says) {
  Made made = llama();
  change(&made);
  RefusedFolder(made).check("", "model.safetensors", says);
}

// One file by itself.
void check_file(const std::string& name, const std::string& bytes, const Says& says,
                const tools::Words& options = {}) {
  RefusedFolder folder;
  folder.write(name, bytes);
  folder.check(name, name, says, options);
}

// A good model with a tokenizer that is refused.
void check_tokenizer(const std::string& name, const std::string& bytes, const Says& says) {
  RefusedFolder folder(llama());
  folder.write(name, bytes);
  folder.check("", name, says);
}

const std::string kLfsPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 538090408\n";

std::string nested(size_t n) {
  return std::string(n, '[') + std::string(n, ']');
}

}  // namespace

// ---- What a model is ---------------------------------------------------------------------------

TEST_CASE("refusals: an unknown architecture, with those that are known") {
  check_config({{"architectures", R"(["MambaForCausalLM"])"}},
               {"the architecture is 'MambaForCausalLM', expected one of LlamaForCausalLM",
                "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "GPT2LMHeadModel",
                "GPTNeoForCausalLM", "GPTNeoXForCausalLM", "Gemma3ForCausalLM"});
  GgufTestFile gguf = llama_gguf_file();
  gguf.keys[0].replace(gguf.keys[0].size() - 5, 5, "mamba");
  check_file("m.gguf", gguf.bytes(),
             {"the architecture is 'mamba', expected one of llama, qwen2, qwen3, gpt2, gptneox, "
              "gemma3"});
  const Says strange = {"no family has its tensors' names (the first: 'encoder.weight')",
                        "expected a state dict of the book's GPTModel, nanoGPT, minGPT, llama2.c "
                        "or Meta's Llama"};
  const std::vector<FileTensor> tensors = {{"encoder.weight", "F32", {2}, {1, 2}}};
  check_file("m.pth", pytorch_zip(tensors), strange);
  check_file("old.pt", pytorch_old(tensors), strange);
  check_file("m.safetensors", safetensors_file(tensors), strange);
}

TEST_CASE("refusals: fields of a configuration that ask for something else") {
  check_config({{"rope_scaling", R"({"rope_type":"dynamic","factor":2.0})"}},
               {"'rope_scaling' has the type 'dynamic', expected default, linear, llama3 or yarn"});
  check_config({{"num_local_experts", "8"}},
               {"'num_local_experts' is 8, which asks for a mixture of experts"});
  check_config({{"alibi", "true"}}, {"'alibi' is true, which asks for ALiBi positions"});
  check_config({{"hidden_act", "\"quick_gelu\""}},
               {"the activation is 'quick_gelu', expected silu"});
  check_config({{"num_attention_heads", "\"2\""}},
               {"'num_attention_heads' is \"2\", expected a whole number"});
  const auto with_key = [](const std::string& name, uint32_t type, const std::string& value) {
    return llama_gguf_file().key("llama." + name, type, value).bytes();
  };
  check_file("m.gguf", with_key("expert_count", 4, gguf_raw<uint32_t>(8)),
             {"'llama.expert_count' is 8, which asks for a mixture of experts"});
  check_file("m.gguf", with_key("attention.max_alibi_bias", 6, gguf_raw(8.0f)),
             {"'llama.attention.max_alibi_bias' is 8, which asks for ALiBi positions"});
  check_file(
      "m.gguf", with_key("rope.scaling.type", 8, gguf_string("longrope")),
      {"'llama.rope.scaling' has the type 'longrope', expected default, linear, llama3 or yarn"});
  PickleWriter p;
  p.step("}(").text("model_args").step("}(").text("n_head").integer(-3).step("u");
  p.text("model");
  write_state_dict(&p, nano_gpt(true).tensors, false);
  check_file("ckpt.pt", pytorch_zip_with(p.step("u").end(), storages_of(nano_gpt(true).tensors)),
             {"'n_head' is -3, expected 1 to"});
}

TEST_CASE("refusals: a missing tensor, with names like it") {
  check_tensors(
      [](Made* made) {
        (*made)["model.layers.1.self_attn.k_proj.weight"].name =
            "model.layers.1.self_attn.key_proj.weight";
      },
      {"the tensor 'model.layers.1.self_attn.k_proj.weight' of a Llama model is missing; the "
       "names most like it: \"model.layers.1.self_attn.key_proj.weight\""});
  GgufTestFile gguf = llama_gguf_file();
  gguf.tensors[3].name = "blk.0.attn_key.weight";
  check_file("m.gguf", gguf.bytes(),
             {"the tensor 'blk.0.attn_k.weight' of a Llama model is missing",
              "\"blk.0.attn_key.weight\""});
  Made torch = book();
  torch.remove("trf_blocks.1.ff.layers.2.weight");
  check_file("m.pth", pytorch_zip(torch.tensors),
             {"the tensor 'trf_blocks.1.ff.layers.2.weight' of a GPTModel model is missing"},
             {"--heads", "2"});
}

TEST_CASE("refusals: a tensor that nothing uses") {
  const Says says = {"nothing in a Llama model uses the tensor \"model.layers.0.extra\" (3, 4)"};
  check_tensors([](Made* made) { made->add("model.layers.0.extra", {3, 4}); }, says);
  check_file("m.gguf",
             llama_gguf_file().tensor({"blk.0.extra", {4, 3}, 0, std::string(48, '\0')}).bytes(),
             {"nothing in a Llama model uses the tensor \"blk.0.extra\" (3, 4)"});
  Made torch = book();
  torch.add("trf_blocks.0.extra", {3});
  check_file("m.pth", pytorch_zip(torch.tensors), {"uses the tensor \"trf_blocks.0.extra\" (3)"},
             {"--heads", "2"});
}

TEST_CASE("refusals: a tensor of another shape, both shown") {
  check_tensors(
      [](Made* made) {
        FileTensor& tensor = (*made)["model.layers.1.mlp.down_proj.weight"];
        tensor.shape = {12, 8};
      },
      {"the tensor 'model.layers.1.mlp.down_proj.weight' has the shape (12, 8), expected (8, "
       "12)"});
  GgufTestFile gguf = llama_gguf_file();
  gguf.tensors[5].dims = {32, 8};
  check_file("m.gguf", gguf.bytes(),
             {"'blk.0.attn_output.weight' has the shape (8, 32), expected (32, 8)"});
  Made torch = book();
  torch["final_norm.scale"].shape = {2, 4};
  check_file("m.pth", pytorch_zip(torch.tensors),
             {"'final_norm.scale' has the shape (2, 4), expected (8)"}, {"--heads", "2"});
}

TEST_CASE("refusals: a type that is not read") {
  check_tensors([](Made* made) { (*made)["model.layers.1.mlp.up_proj.weight"].type = "I32"; },
                {"tensor \"model.layers.1.mlp.up_proj.weight\"", "I32", "F32", "F16", "BF16"});
  GgufTestFile gguf = llama_gguf_file();
  gguf.tensors[0] = {"token_embd.weight", {32, 8}, 39, gguf_blocks(39, 256)};
  check_file("m.gguf", gguf.bytes(),
             {"tensor \"token_embd.weight\" is of type MXFP4, which is not read, expected one of "
              "F32, F16, Q4_0"});
  Made torch = book();
  torch["trf_blocks.0.att.W_key.weight"].type = "I64";
  check_file("m.pth", pytorch_zip(torch.tensors),
             {"tensor \"trf_blocks.0.att.W_key.weight\"", "I64"}, {"--heads", "2"});
}

// ---- Safetensors -------------------------------------------------------------------------------

TEST_CASE("refusals: safetensors that are cut, overlap, have holes or names twice") {
  const std::string whole = safetensors_file(llama().tensors);
  const auto entry = [](const std::string& name, int begin, int end) {
    return "\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[)" +
           std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  const auto two = [&](const std::string& a, const std::string& b, size_t bytes) {
    return safetensors_with("{" + a + "," + b + "}", std::string(bytes, '\0'));
  };
  const struct {
    std::string bytes;
    Says says;
  } cases[] = {
      {whole.substr(0, 5), {"found 5 bytes, expected at least the 10"}},
      {whole.substr(0, 200), {"header: found a length of", "at most the 192 that the file has"}},
      {whole.substr(0, whole.size() - 1), {"data_offsets: found", "is the file truncated?"}},
      {whole + "x", {"the tensors end at byte", "expected the end of the file"}},
      {two(entry("a", 0, 8), entry("b", 4, 12), 12),
       {"tensor \"b\": begins at byte 4 of the data, expected 8: tensors overlap"}},
      {two(entry("a", 0, 8), entry("b", 12, 20), 20),
       {"tensor \"b\": begins at byte 12 of the data, expected 8: there is a hole before it"}},
      {two(entry("a", 0, 8), entry("a", 8, 16), 16), {"has the key \"a\" twice, expected once"}},
      {two(entry("a", 0, 8), entry("b", 8, 12), 12), {"takes 8 bytes, but data_offsets 8 to 12"}},
  };
  for (const auto& each : cases) {
    // By itself, and in the folder of a model.
    check_file("m.safetensors", each.bytes, each.says);
    RefusedFolder folder(llama());
    folder.write("model.safetensors", each.bytes);
    folder.check("", "model.safetensors", each.says);
  }
  // In two shards of one model.
  RefusedFolder shards;
  shards.write("config.json", json_of(llama().config));
  shards.write("a.safetensors", safetensors_file({llama().tensors[0]}));
  shards.write("b.safetensors", safetensors_file({llama().tensors[0]}));
  shards.check("", "b.safetensors",
               {"tensor \"model.embed_tokens.weight\" is in", "expected each in one file"});
}

TEST_CASE("refusals: a header of 100 MB") {
  RefusedFolder folder;
  // Sparse: the disk has only their ends.
  const auto write = [&](const std::string& name, uint64_t header, const std::string& start) {
    const std::string file = folder.write(name, little_bytes(header, 8) + start);
    std::filesystem::resize_file(file, header + 100);
  };
  for (const std::string name : {"m.safetensors", "m.bin"}) {
    write(name, 100'000'001, "{");
    folder.check(name, name,
                 {"header: found a length of 100000001 bytes, expected at most 100000000"});
  }
  write("m.safetensors", 100'000'000, "{\"a\":");
  folder.check("m.safetensors", "m.safetensors",
               {"header: JSON: line 1, byte 6: found byte 0x00, expected a value"});
}

// ---- PyTorch -----------------------------------------------------------------------------------

TEST_CASE("refusals: a compressed member of an archive") {
  ZipOptions deflated;
  deflated.method = 8;
  for (const std::string name : {"m.pth", "pytorch_model.bin"}) {
    check_file(name, pytorch_zip(book().tensors, deflated),
               {"\"archive/data.pkl\"", "compress", "method 8"}, {"--heads", "2"});
  }
}

TEST_CASE("refusals: a pickle that asks for a function") {
  const auto pickle_of = [](const std::string& module, const std::string& name) {
    return PickleWriter().global(module, name).step("(").text("true").step("tR").end();
  };
  RefusedFolder folder;
  folder.write("m.pth", pytorch_zip_with(pickle_of("os", "system"), {}));
  folder.check("m.pth", "m.pth", {"archive/data.pkl", "os.system"});
  // As GLOBAL of names with dots within, and in the old format.
  folder.write("m.pth", pytorch_zip_with(pickle_of("builtins", "eval"), {}));
  folder.check("m.pth", "m.pth", {"builtins.eval"});
  std::string old = pytorch_old(nano_gpt(true).tensors);
  const std::string from = "collections\nOrderedDict\n", to = "os\nsystem\n";
  old.replace(old.find(from), from.size(), to);
  folder.write("m.pth", old);
  folder.check("m.pth", "m.pth", {"os.system"});
  // meta.pkl, as a tokenizer.
  folder.write("model.bin", smallest_llama2c().version0());
  folder.write("meta.pkl", pickle_of("posix", "system"));
  folder.check("model.bin", "meta.pkl", {"posix.system"}, {"--tokenizer", folder / "meta.pkl"});
}

// ---- GGUF --------------------------------------------------------------------------------------

// Each is a case of llama.cpp's own test-gguf.cpp; test_gguf.cpp has all of their kinds.
TEST_CASE("refusals: hostile headers of GGUF") {
  const auto file = [](const std::function<void(GgufTestFile*)>& change) {
    GgufTestFile f = llama_gguf_file();
    change(&f);
    return f.bytes();
  };
  const auto key = [&](const std::string& name, uint32_t type, const std::string& value) {
    return file([&](GgufTestFile* f) { f->key(name, type, value); });
  };
  const auto tensor = [&](const std::function<void(GgufTestTensor*)>& change) {
    return file([&](GgufTestFile* f) { change(&f->tensors[1]); });
  };
  const std::string whole = llama_gguf_file().bytes();
  const struct {
    std::string bytes;
    Says says;
  } cases[] = {
      {file([](GgufTestFile* f) { f->magic = "FUGG"; }), {"is no checkpoint that is known"}},
      {file([](GgufTestFile* f) { f->version = 1; }), {"has GGUF version 1, expected 2 or 3"}},
      {file([](GgufTestFile* f) { f->version = 4; }), {"has GGUF version 4, expected 2 or 3"}},
      {file([](GgufTestFile* f) { f->version = 0x03000000; }), {"is big-endian"}},
      {file([](GgufTestFile* f) { f->n_keys = INT64_MAX; }),
       {"9223372036854775807 keys cannot be in the"}},
      {file([](GgufTestFile* f) { f->n_tensors = INT64_MAX; }),
       {"9223372036854775807 tensors cannot be in the"}},
      {file([](GgufTestFile* f) { f->keys.push_back(gguf_raw<uint64_t>(1ull << 60) + "k"); }),
       {"is 1152921504606846976 bytes long, expected at most 65535"}},
      {key("", 0, "\1"), {"is empty"}},
      {key("general.architecture", 8, gguf_string("llama")), {"is there twice"}},
      {key("k", 13, "\1"), {"has the unknown type 13, expected 0 to 12"}},
      {key("k", 8, gguf_raw<uint64_t>(1ull << 60) + "x"), {"is 1152921504606846976 bytes long"}},
      {key("k", 9, gguf_array(4, 1ull << 60, "")),
       {"1152921504606846976 elements of key \"k\" cannot be in the"}},
      {key("general.alignment", 4, gguf_raw<uint32_t>(13)), {"is 13, expected a power of two"}},
      {tensor([](GgufTestTensor* t) { t->name = std::string(65, 'n'); }),
       {"is 65 bytes long, expected at most 64"}},
      {tensor([](GgufTestTensor* t) { t->name = "token_embd.weight"; }), {"is there twice"}},
      {tensor([](GgufTestTensor* t) {
         t->dims = {32, 1, 1, 1, 1};
       }),
       {"has 5 dimensions, expected at most 4"}},
      {tensor([](GgufTestTensor* t) { t->dims = {~0ull}; }), {"expected less than 2^63"}},
      {tensor([](GgufTestTensor* t) {
         t->dims = {1ull << 32, 1ull << 32};
       }),
       {"has more than 2^63 elements"}},
      {tensor([](GgufTestTensor* t) { t->type = 4; }), {"has the unknown type 4"}},
      {tensor([](GgufTestTensor* t) { t->type = 1000; }), {"has the unknown type 1000"}},
      {tensor([](GgufTestTensor* t) { t->type = 8, t->dims = {33}; }),
       {"has rows of 33 elements, expected a multiple of 32"}},
      {tensor([](GgufTestTensor* t) { t->offset = 1; }), {"has offset 1, expected a multiple of"}},
      {tensor([](GgufTestTensor* t) { t->offset = 0; }), {"they overlap"}},
      {tensor([](GgufTestTensor* t) { t->offset = 1 << 20; }), {"there is a gap"}},
      {whole.substr(0, whole.size() - 100), {"beyond the file's"}},
      {whole.substr(0, 300), {"needs", "the file has"}},
  };
  for (const auto& each : cases) check_file("m.gguf", each.bytes, each.says);
}

// ---- JSON --------------------------------------------------------------------------------------

TEST_CASE("refusals: JSON that nests 10 000 deep, keys twice, integers past 2^53") {
  const std::string deep = "{\"a\":" + nested(10000) + "}", twice = R"({"a":1,"b":2,"a":3})";
  const Says too_deep = {"nests deeper than 64, expected at most that"};
  const Says is_twice = {"has the key \"a\" twice, expected once"};
  for (const auto& [text, says] : {std::pair(deep, too_deep), {twice, is_twice}}) {
    for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"}) {
      RefusedFolder folder(llama());
      folder.write("tokenizer.json", tokenizer_json(kByteLevelStep));
      folder.write(name, text);
      folder.check("", name, says);
    }
  }
  RefusedFolder index;
  index.write("config.json", json_of(llama().config));
  index.write("model.safetensors.index.json", deep);
  index.check("", "model.safetensors.index.json", too_deep);
  check_file("m.safetensors", safetensors_with(deep, ""), {"nests deeper than 3"});

  check_config({{"hidden_size", "9007199254740993"}},
               {"'hidden_size' is 9007199254740992, expected a whole number"});
  check_file(
      "m.safetensors",
      safetensors_with(R"({"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}})",
                       "1234"),
      {"found the integer 9007199254740993, an integer past 2^53"});
}

// ---- What is no file at all --------------------------------------------------------------------

TEST_CASE("refusals: the pointer that Git LFS leaves in the place of a file") {
  const Says says = {
      "is a Git LFS pointer (the file itself has 538090408 bytes), expected the "
      "file: run git lfs pull"};
  for (const char* name :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    RefusedFolder folder(llama());
    folder.write("tokenizer.json", tokenizer_json(kByteLevelStep));
    folder.write(name, kLfsPointer);
    folder.check("", name, says);
  }
  RefusedFolder torch;
  torch.write("config.json", json_of(llama().config));
  torch.write("pytorch_model.bin", kLfsPointer);
  torch.check("", "pytorch_model.bin", says);
  for (const char* name : {"m.bin", "m.gguf", "m.pth", "m.pt", "m.safetensors",
                           "model.safetensors.index.json", "pytorch_model.bin.index.json"}) {
    RefusedFolder folder;
    folder.write("config.json", json_of(llama().config));
    folder.write(name, kLfsPointer);
    folder.check(name, name, says);
  }
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer.bin", "merges.txt"}) {
    RefusedFolder folder;
    folder.write("m.bin", smallest_llama2c().version0());
    folder.write(name, kLfsPointer);
    folder.check("m.bin", name, says, {"--tokenizer", folder / name});
  }
}

TEST_CASE("refusals: files that nobody knows, with all that are read") {
  const Says known = {"is no checkpoint that is known: found",
                      "expected safetensors, PyTorch (.pth, .pt, .bin), GGUF, llama2.c's .bin, or "
                      "the folder of a Hugging Face model"};
  const auto check = [&](const std::string& name, const std::string& bytes,
                         const std::string& found) {
    Says says = known;
    says.push_back(found);
    check_file(name, bytes, says);
  };
  check("x.pth", "junk junk junk junk junk junk junk junk",
        "39 bytes, a text that begins with \"junk junk junk j\"");
  check("x.pth", "PK", "2 bytes, a text that begins with \"PK\"");
  check("x.bin", std::string(1000, '\xc7'), "1000 bytes, the first of them c7 c7 c7");
  check("x.bin", std::string(1000, '\0'), "1000 bytes, the first of them 00 00 00");
  check("x.gguf", "<!DOCTYPE html><html><head><title>Sign in</title>", "bytes, a web page");
  check("x.bin", "lmgg" + std::string(100, '\1'), "bytes, ggml's file from before GGUF");
  check("meta.pkl", meta_pickle({"a", "b"}), "bytes, a pickle, but none of torch.save");
  check("config.json", json_of(llama().config), "bytes, JSON");
  RefusedFolder folder;
  folder.write("x.safetensors", "junk junk junk");
  folder.check("x.safetensors", "x.safetensors", {"safetensors: header: found a length of"});
}

TEST_CASE("refusals: names that files put into messages do not reach a terminal raw") {
  CHECK(tools::printable("a\x1b[31mb\x7f\tc\n\xc3\xa9") == "a\\x1b[31mb\\x7f\\x09c\n\xc3\xa9");
  const std::string cut = tools::printable(std::string(1999, 'a') + "\xc3\xa9" + "bcd");
  CHECK(cut == std::string(1999, 'a') + "\xc3\xa9...");
  CHECK(tools::printable(std::string(2000, 'a')).size() == 2000);
}

// ---- Tokenizers --------------------------------------------------------------------------------

TEST_CASE("refusals: kinds of tokenizers that are not read, by name") {
  const auto of_type = [](const char* type) {
    return tokenizer_json(kByteLevelStep, "", kHelloVocab, kHelloMerges,
                          std::string("\"type\":\"") + type + "\"");
  };
  for (const std::string type : {"Unigram", "WordPiece", "WordLevel"}) {
    check_tokenizer("tokenizer.json", of_type(type.c_str()),
                    {"model.type: found \"" + type + "\", expected BPE"});
  }
  // Unigram has a list of pieces and scores, and no merges.
  check_tokenizer("tokenizer.json",
                  R"({"model":{"type":"Unigram","unk_id":0,"vocab":[["a",-1.5]]}})",
                  {"model.type: found \"Unigram\", expected BPE"});
  check_tokenizer("tokenizer.model", sentencepiece_file(1),
                  {"type of model: found Unigram (1), expected BPE"});
  check_tokenizer("tokenizer.model", sentencepiece_file(3), {"found Word (3), expected BPE"});
  for (const auto& [model, kind] :
       {std::pair<std::string, std::string>("bert", "WordPiece"), {"t5", "Unigram"}}) {
    GgufTestFile gguf = llama_gguf_file();
    for (std::string& key : gguf.keys) {
      const std::string name = "tokenizer.ggml.model";
      if (key.find(name) == 8) key = gguf_string(name) + gguf_raw<uint32_t>(8) + gguf_string(model);
    }
    check_file("m.gguf", gguf.bytes(),
               {"tokenizer.ggml.model: found '" + model + "' (" + kind + "), expected llama or"});
  }
}
