// SPDX-License-Identifier: MIT
// Tokenizer files of every kind: small ones made here, and the golden ones of ../shared.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "error.h"
#include "json.h"
#include "readers/reader.h"
#include "readers/tokenizers.h"
#include "test_folder.h"
#include "tokenizer_case.h"
#include "tokenizer_files.h"

using namespace thimble;
using test::Json;
using test::kByteLevelStep;
using test::kHelloMerges;
using test::kHelloVocab;
using test::parse_json;
using test::tokenizer_json;
using test::TokenizerCase;
using tools::open_vocabulary;
using tools::Refused;
using tools::Vocabulary;
using Ids = std::vector<int32_t>;

namespace {

std::string whole_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), path);
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::string kShared = "../shared/tokenizers/";

bool shared_is_absent() {
  struct stat info {};
  if (stat(kShared.c_str(), &info) == 0) return false;
  MESSAGE("skipped: ../shared is absent");
  return true;
}

std::string from_base64(const std::string& text) {
  std::string out;
  uint32_t bits = 0, n = 0;
  for (const char c : text) {
    const char* const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char* at = std::strchr(digits, c);
    if (!at || c == '\0') break;
    bits = bits << 6 | static_cast<uint32_t>(at - digits);
    if ((n += 6) >= 8) out += static_cast<char>(bits >> (n -= 8) & 255);
  }
  return out;
}

bool is_valid_utf8(const TokenizerCase& t, const std::string& text) {
  return t.decode(t.encode(text)) == text;
}

std::string why(const std::string& path, uint32_t vocab_size = 0) {
  try {
    open_vocabulary(path, vocab_size);
  } catch (const Refused& refused) {
    const std::string text = refused.what();
    CHECK(text.find(path.substr(0, path.rfind('/'))) == 0);
    return text;
  }
  return "accepted";
}

void check_why(const std::string& json, const std::string& part) {
  test::TestFolder folder;
  const std::string text = why(folder.write("tokenizer.json", json));
  CHECK_MESSAGE(text.find(part) != std::string::npos, text);
}

}  // namespace

// ---- tokenizer.json -----------------------------------------------------------------------------

TEST_CASE("tokenizer files: tokenizer.json, byte-level") {
  test::TestFolder folder;
  const std::string path = folder.write("tokenizer.json", tokenizer_json(kByteLevelStep));
  const Vocabulary v = open_vocabulary(path, 16).vocabulary;
  CHECK(v.kind == kTokenizerByteBpe);
  CHECK(v.pre_tokenizer == kPreTokenizerGpt2);
  CHECK(v.n_tokens == 11);
  CHECK(v.texts.size() == 16);
  CHECK(v.bos_id == -1);
  const TokenizerCase t(v);
  CHECK(t.encode("hello hello<|end|>", THIMBLE_ENCODE_SPECIAL) == Ids{8, 9, 10});
  CHECK(t.encode("hell he") == Ids{7, 4, 5});
  CHECK(t.encode("x") == Ids{});
  CHECK(open_vocabulary(folder.path, 0).vocabulary.texts.size() == 11);
  CHECK(why(path, 10).find("found 11 tokens, the model has 10") != std::string::npos);
}

TEST_CASE("tokenizer files: tokenizer.json, BOS from the template and the files beside it") {
  test::TestFolder folder;
  const std::string path = folder.write("tokenizer.json", test::tokenizer_json_with_bos());
  CHECK(open_vocabulary(path, 0).vocabulary.bos_id == 10);
  CHECK(open_vocabulary(path, 0).vocabulary.add_bos);
  folder.write("tokenizer_config.json",
               R"({"add_bos_token":false,"eos_token":{"content":"<|end|>"},"bos_token":null,)"
               R"("model_max_length":1000000000000000019884624838656})");
  const Vocabulary v = open_vocabulary(path, 0).vocabulary;
  CHECK_FALSE(v.add_bos);
  CHECK(v.eos_id == 10);
}

TEST_CASE("tokenizer files: tokenizer.json with byte fallback") {
  test::TestFolder folder;
  const std::string path = folder.write("tokenizer.json", test::fallback_tokenizer_json());
  const Vocabulary v = open_vocabulary(path, 0).vocabulary;
  CHECK(v.kind == kTokenizerScoredBpe);
  CHECK(v.add_space_prefix);
  const TokenizerCase t(v);
  CHECK(t.encode("hi!  hi") == Ids{7, 2, 3, 7});
  CHECK(t.encode("\xe2\x96\x81hi") == Ids{3, 7});
  // No merge makes xhi.
  CHECK(t.encode("xhi") == Ids{3, 10, 6});
}

TEST_CASE("tokenizer files: what tokenizer.json is refused for") {
  check_why(tokenizer_json(kByteLevelStep, "", kHelloVocab, kHelloMerges, R"("type":"Unigram")"),
            R"(model.type: found "Unigram", expected BPE)");
  check_why(tokenizer_json(kByteLevelStep, "", kHelloVocab, kHelloMerges, R"("type":"WordPiece")"),
            "WordPiece");
  check_why(tokenizer_json(kByteLevelStep, "", kHelloVocab, kHelloMerges, R"("type":"WordLevel")"),
            "WordLevel");
  check_why(tokenizer_json(R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":)"
                           R"({"Regex":"\\w+|x"},"behavior":"Isolated"},)" +
                           std::string(kByteLevelStep) + "]}"),
            R"(with the pattern \w+|x)");
  check_why(tokenizer_json(R"({"type":"ByteLevel","add_prefix_space":true})"), "add_prefix_space");
  check_why(tokenizer_json(kByteLevelStep, R"(,"normalizer":{"type":"Lowercase"})"), "Lowercase");
  check_why(tokenizer_json("null"), "neither byte-level BPE nor");
  check_why(tokenizer_json(kByteLevelStep, "", R"("a":0,"b":0)", ""), "two tokens have the id 0");
  check_why(tokenizer_json(kByteLevelStep, "", R"("a":0,"b":9999999)", ""), "expected an id");
  check_why(tokenizer_json(kByteLevelStep, "", kHelloVocab, R"("h x")"), "merge 1 ('h' and 'x')");
  check_why(tokenizer_json(kByteLevelStep, "", kHelloVocab, R"("hx")"), "entry 0");
  check_why(R"({"a":0})", "merges.txt");
}

// ---- The other files ----------------------------------------------------------------------------

TEST_CASE("tokenizer files: vocab.json and merges.txt, encoder.json and vocab.bpe") {
  for (const auto& names : {std::pair("vocab.json", "merges.txt"), {"encoder.json", "vocab.bpe"}}) {
    test::TestFolder folder;
    const std::string vocab = folder.write(names.first, "{" + std::string(kHelloVocab) + "}");
    CHECK(why(vocab).find("merges.txt or vocab.bpe") != std::string::npos);
    const std::string merges = folder.write(names.second, test::kHelloMergeLines);
    for (const std::string& path : {vocab, merges, folder.path}) {
      const TokenizerCase t(open_vocabulary(path, 0).vocabulary);
      CHECK(t.encode("hello hello<|end|>", THIMBLE_ENCODE_SPECIAL) == Ids{8, 9, 10});
    }
    folder.write(names.second, "h e l\n");
    CHECK(why(vocab).find("merge 1") != std::string::npos);
  }
}

TEST_CASE("tokenizer files: tiktoken") {
  test::TestFolder folder;
  const std::string path = folder.write("x.tiktoken", test::kTiktokenRanks);
  const TokenizerCase t(open_vocabulary(folder.path, 0).vocabulary);
  CHECK(t.encode("abab a") == Ids{2, 2, 0});
  CHECK(t.encode("aba") == Ids{3});
  folder.write("x.tiktoken", "YQ== 0\nYg== 2\n");
  CHECK(why(path).find("line 2") != std::string::npos);
  folder.write("x.tiktoken", "YQ== 0\nY*== 1\n");
  CHECK(why(path).find("line 2") != std::string::npos);
}

TEST_CASE("tokenizer files: a list of characters") {
  test::TestFolder folder;
  const std::string path = folder.write("characters.txt", "\n ab\xc3\xa9\n");
  const TokenizerCase t(open_vocabulary(path, 0).vocabulary);
  CHECK(t.encode("b \xc3\xa9"
                 "a\nz") == Ids{3, 1, 4, 2, 0});
  const TokenizerCase lines(
      open_vocabulary(folder.write("lines.txt", "a\nb\n\n\nc\n"), 0).vocabulary);
  CHECK(lines.encode("cab\n") == Ids{3, 0, 1, 2});
  CHECK(why(folder.write("text.txt", "no list of characters")).find("no tokenizer that is known") !=
        std::string::npos);
}

TEST_CASE("tokenizer files: nanoGPT's meta.pkl") {
  test::TestFolder folder;
  const std::string path =
      folder.write("meta.pkl", test::meta_pickle({"\n", " ", "a", "\xc3\xa9"}));
  for (const std::string& given : {path, folder.path}) {
    const TokenizerCase t(open_vocabulary(given, 0).vocabulary);
    CHECK(t.encode("a \xc3\xa9\n") == Ids{2, 1, 3, 0});
  }
  CHECK(why(path, 3).find("found 4 tokens, the model has 3") != std::string::npos);
  folder.write("meta.pkl", test::meta_pickle({}));
  CHECK(why(path).find("found no stoi") != std::string::npos);
  folder.write("meta.pkl", test::meta_pickle({"a", ""}));
  CHECK(why(path).find("stoi[\"\"]: expected an id of its own, 0 to 1") != std::string::npos);
}

TEST_CASE("tokenizer files: SentencePiece") {
  const std::string bytes = test::sentencepiece_pieces();
  test::TestFolder folder;
  const std::string path = folder.write("tokenizer.model", test::sentencepiece_file());
  const Vocabulary v = open_vocabulary(folder.path, 0).vocabulary;
  CHECK(v.bos_id == 1);
  CHECK(v.eos_id == 2);
  CHECK(v.note.empty());
  CHECK(TokenizerCase(v).encode("h!user") == Ids{6, 3, 7});
  folder.write("tokenizer.model", test::sentencepiece_file(1));
  CHECK(why(path).find("found Unigram (1), expected BPE") != std::string::npos);
  for (size_t n = 3; n < bytes.size(); ++n) {
    folder.write("tokenizer.model", bytes.substr(0, n));
    CHECK(why(path) != "accepted");
  }
}

TEST_CASE("tokenizer files: what cannot spell a plain sentence") {
  std::string missing;
  CHECK(tools::spells_plainly(test::byte_level_vocabulary({{"a", "b"}}), &missing));
  test::TestFolder folder;
  const std::string path = folder.write("characters.txt", "abcdefghijklmnopqrstuvwxy ");
  CHECK_FALSE(tools::spells_plainly(open_vocabulary(path, 0).vocabulary, &missing));
  CHECK(missing.find("'Tz.'") != std::string::npos);
}

// ---- ../shared ----------------------------------------------------------------------------------

TEST_CASE("tokenizer files: the golden byte-level tokenizers in every form") {
  if (shared_is_absent()) return;
  const struct {
    const char *folder, *file;
    bool knows_added;  // that <|tool|> is no control token
  } forms[] = {
      {"gpt-2", "vocabulary.gguf", true},    {"gpt-2", "tokenizer.json", true},
      {"gpt-2", "vocab.json", false},        {"gpt-2", "merges.txt", false},
      {"gpt-2", "ranks.tiktoken", false},    {"llama-bpe", "vocabulary.gguf", true},
      {"llama-bpe", "tokenizer.json", true}, {"qwen2", "vocabulary.gguf", true},
      {"qwen2", "tokenizer.json", true},     {"smollm", "vocabulary.gguf", true},
      {"smollm", "tokenizer.json", true},
  };
  for (const auto& form : forms) {
    const std::string folder = kShared + "made/" + form.folder + "/";
    CAPTURE(form.folder);
    CAPTURE(form.file);
    const Vocabulary v = open_vocabulary(folder + form.file, 1000).vocabulary;
    const TokenizerCase t(v);
    const bool has_special = v.n_tokens > 960;
    const Json golden = parse_json(whole_file(folder + "cases.json"));
    size_t n = 0;
    for (const Json& item : golden["cases"].items) {
      const std::string text = from_base64(item["text_base64"].text);
      if (!form.knows_added && text.find("<|tool|>") != std::string::npos) continue;
      CAPTURE(text);
      CHECK(t.encode(text) == item["ids"].as_ints());
      if (has_special) {
        CHECK(t.encode(text, THIMBLE_ENCODE_SPECIAL) == item["ids_with_special"].as_ints());
      }
      if (is_valid_utf8(t, text)) ++n;
    }
    CHECK(n >= golden["cases"].size() - 4);  // all but those with invalid bytes
  }
}

TEST_CASE("tokenizer files: llama.cpp's golden vocabularies") {
  if (shared_is_absent()) return;
  for (const std::string name : {"gpt-2", "llama-spm"}) {
    const std::string path = kShared + name + "/ggml-vocab-" + name + ".gguf";
    const TokenizerCase t(open_vocabulary(path, 0).vocabulary);
    const std::string texts = whole_file(path + ".inp"), mark = "\n__ggml_vocab_test__\n";
    std::istringstream lines(whole_file(path + ".out"));
    size_t n = 0;
    for (size_t at = 0; at <= texts.size(); ++n) {
      const size_t end = std::min(texts.find(mark, at), texts.size());
      const std::string text = texts.substr(at, end - at);
      std::string line;
      std::getline(lines, line);
      std::istringstream numbers(line);
      const Ids expected{std::istream_iterator<int32_t>(numbers), {}};
      CAPTURE(text);
      CHECK(t.encode(text) == expected);
      CHECK(t.decode(t.encode(text)) == text);
      at = end + mark.size();
    }
    CHECK(n == 47);
  }
}

TEST_CASE("tokenizer files: golden cases of published tokenizers") {
  if (shared_is_absent()) return;
  const struct {
    const char *cases, *name, *folder;
  } tables[] = {{"gpt2", "Xenova/gpt2", "gpt-2"},
                {"gpt2", "openai-community/gpt2", "gpt-2"},
                {"llama", "Xenova/llama-tokenizer", "llama-spm"}};
  for (const auto& table : tables) {
    const Json all = parse_json(whole_file(kShared + table.cases + ".cases.json"));
    const TokenizerCase t(
        open_vocabulary(kShared + table.folder + "/ggml-vocab-" + table.folder + ".gguf", 0)
            .vocabulary);
    for (const Json& item : all[table.name].items) {
      CAPTURE(item["text"].text);
      const bool adds_bos = table.cases[0] == 'l';
      CHECK(t.encode(item["text"].text,
                     THIMBLE_ENCODE_SPECIAL | (adds_bos ? THIMBLE_ENCODE_BOS : 0u)) ==
            item["ids"].as_ints());
    }
  }
}

TEST_CASE("tokenizer files: SentencePiece's own and what llama2.c exports from it") {
  if (shared_is_absent()) return;
  CHECK(why(kShared + "sentencepiece/test_model.model").find("found Unigram") != std::string::npos);
  const TokenizerCase model(open_vocabulary(kShared + "spm-tok512/tok512.model", 512).vocabulary);
  const TokenizerCase bin(open_vocabulary(kShared + "spm-tok512/tok512.bin", 512).vocabulary);
  const std::string text = whole_file("../shared/text/story-fresh.txt").substr(0, 100000);
  const Ids ids = model.encode(text);
  CHECK(ids == bin.encode(text));
  CHECK(model.decode(ids) == text);
}
