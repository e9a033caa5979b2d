// SPDX-License-Identifier: MIT
// Reading llama2.c's checkpoints and tokenizers: all versions give the weights that were written,
// and whatever contradicts itself is refused.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "error.h"
#include "image.h"
#include "json.h"
#include "llama2c_files.h"
#include "readers/reader.h"
#include "test_folder.h"

using namespace thimble;
using namespace thimble::test;
using namespace thimble::tools;

namespace {

bool bits_equal(float a, float b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

std::string refusal_of_checkpoint(const std::string& path) {
  return refusal_when([&] { open_checkpoint(path, {}); });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Says what is not as in the model, "" if all is.
std::string difference(const Checkpoint& found, const Llama2c& expected) {
  const ModelShape& s = found.shape;
  const auto n = [](int32_t value) { return static_cast<uint32_t>(value); };
  if (s.dim != n(expected.dim) || s.hidden_dim != n(expected.hidden_dim) ||
      s.n_layers != n(expected.n_layers) || s.n_heads != n(expected.n_heads) ||
      s.n_kv_heads != n(expected.n_kv_heads) || s.head_dim != n(expected.head_dim()) ||
      s.vocab_size != n(expected.vocab_size) || s.n_ctx != n(expected.n_ctx) ||
      s.tied_head != expected.tied_head || !bits_equal(s.norm_eps, 1e-5f) ||
      !bits_equal(s.rope_theta, 10000.0f)) {
    return "shape";
  }
  std::string what;
  const auto compare = [&](SectionKind kind, uint32_t layer, uint32_t rows) {
    for (uint32_t row = 0; row < rows; ++row) {
      const std::vector<float> w = expected.row(kind, layer, row);
      std::vector<float> out(w.size() + 1, -7.0f);  // one more, which must stay
      found.rows(kind, layer, row, static_cast<uint32_t>(w.size()), out.data());
      if (std::memcmp(out.data(), w.data(), w.size() * sizeof(float)) != 0 ||
          !bits_equal(out.back(), -7.0f)) {
        what += std::string(section_name(kind)) + " row " + std::to_string(row) + "; ";
      }
    }
  };
  compare(kTokenEmbedding, 0, s.vocab_size);
  for (uint32_t layer = 0; layer < s.n_layers; ++layer) {
    compare(kAttentionNorm, layer, 1);
    compare(kAttentionQkv, layer, (s.n_heads + 2 * s.n_kv_heads) * s.head_dim);
    compare(kAttentionOutput, layer, s.dim);
    compare(kFeedForwardNorm, layer, 1);
    compare(kFeedForwardGateUp, layer, 2 * s.hidden_dim);
    compare(kFeedForwardDown, layer, s.dim);
  }
  compare(kFinalNorm, 0, 1);
  if (!s.tied_head) compare(kOutputHead, 0, s.vocab_size);
  return what;
}

}  // namespace

TEST_CASE("checkpoints of every version give the weights that were written") {
  const TestFolder folder;
  for (bool tied : {true, false}) {
    for (const Llama2c& model : {small_llama2c(tied), smallest_llama2c(tied)}) {
      CAPTURE(tied);
      CAPTURE(model.dim);
      const Checkpoint v0 = open_checkpoint(folder.write("v0.bin", model.version0()), {});
      CHECK(difference(v0, model) == "");
      CHECK(v0.description == "llama2.c version 0, f32");
      CHECK(!v0.vocabulary);
      const Checkpoint v1 = open_checkpoint(folder.write("v1.bin", model.version1()), {});
      CHECK(difference(v1, model) == "");
      CHECK(v1.description == "llama2.c version 1, f32");
      // Groups of a row, of many rows, and such that lie across the ends of rows.
      for (int32_t group : {1, 2, 4, model.dim, 2 * model.dim, 2 * model.dim / 3}) {
        if (model.dim * model.vocab_size % group != 0 || model.kv_rows() * model.dim % group != 0 ||
            model.hidden_dim * model.dim % group != 0) {
          continue;
        }
        CAPTURE(group);
        Llama2c stored = model;
        const std::string path = folder.write("v2.bin", model.version2(group, &stored));
        const Checkpoint v2 = open_checkpoint(path, {});
        CHECK(difference(v2, stored) == "");
        CHECK(v2.description == "llama2.c version 2, int8 in groups of " + std::to_string(group));
      }
    }
  }
}

TEST_CASE("half-split rotary pairs become neighbours") {
  CHECK(rope_source_row(RopePairs::kNeighbours, 13, 8, 8) == 13);
  // Engine's pair (2i, 2i + 1) of a head is the checkpoint's (i, i + half).
  const uint32_t expected[] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
  for (uint32_t row = 0; row < 12; ++row) {
    CHECK(rope_source_row(RopePairs::kHalves, row, 6, 6) == expected[row]);
  }
  const TestFolder folder;
  const Llama2c model = small_llama2c();
  const std::string path = folder.write("halves.bin", model.with_halves().version0());
  ReadOptions options;
  CHECK(difference(open_checkpoint(path, options), model) != "");
  options.rope_pairs = RopePairs::kHalves;
  CHECK(difference(open_checkpoint(path, options), model) == "");
}

TEST_CASE("every truncation of a checkpoint and one byte more are refused") {
  const TestFolder folder;
  for (bool tied : {true, false}) {
    const Llama2c model = smallest_llama2c(tied);
    for (const std::string& bytes : {model.version0(), model.version1(), model.version2(2)}) {
      for (size_t n = 0; n <= bytes.size() + 1; ++n) {
        if (n == bytes.size()) continue;
        const std::string path = folder.write("short.bin", (bytes + '\0').substr(0, n));
        const std::string refusal = refusal_of_checkpoint(path);
        CAPTURE(n);
        CHECK(refusal.compare(0, path.size() + 2, path + ": ") == 0);
        if (n > 0) CHECK(contains(refusal, " " + std::to_string(n) + " bytes"));
      }
    }
  }
  // It must not be the length alone that refuses: the sign of the vocabulary is part of it.
  std::string bytes = smallest_llama2c(true).version0();
  bytes.replace(20, 4, "\xfb\xff\xff\xff");
  const std::string path = folder.write("sign.bin", bytes);
  CHECK(refusal_of_checkpoint(path) ==
        path + ": llama2.c version 0: found a file of " + std::to_string(bytes.size()) +
            " bytes, expected " + std::to_string(bytes.size() + 5 * 4 * 4) +
            " for dim 4, hidden_dim 2, 1 layers, 2 heads, 1 key/value heads, vocab_size 5, "
            "seq_len 2, separate head");
}

TEST_CASE("every wrong value of a checkpoint's header is refused by name") {
  const TestFolder folder;
  const Llama2c model = smallest_llama2c();
  const int32_t lowest = std::numeric_limits<int32_t>::min();
  const int32_t highest = std::numeric_limits<int32_t>::max();
  struct Wrong {
    size_t field;
    int32_t value;
    const char* message;
  };
  const std::vector<Wrong> wrongs = {
      {0, 0, "dim: found 0, expected 1 to 65536"},
      {0, -4, "dim: found -4"},
      {0, 65537, "dim: found 65537"},
      {0, lowest, "dim: found -2147483648"},
      {0, 5, "dim 5 is no multiple of n_heads 2"},
      {0, 6, "head size (dim 6 / n_heads 2): found 3, expected an even number up to 1024"},
      {0, 4096, "found 2048, expected an even number up to 1024"},
      {1, 0, "hidden_dim: found 0, expected 1 to 131072"},
      {1, highest, "hidden_dim: found 2147483647"},
      {2, 0, "n_layers: found 0, expected 1 to 4096"},
      {2, 4097, "n_layers: found 4097"},
      {3, 0, "n_heads: found 0, expected 1 to 1024"},
      {3, 3, "dim 4 is no multiple of n_heads 3"},
      {3, 4, "found 1, expected an even number"},
      {3, highest, "n_heads: found 2147483647"},
      {4, 0, "n_kv_heads: found 0, expected 1 to 1024"},
      {4, 3, "n_kv_heads: found 3, expected a divisor of n_heads 2"},
      {4, 4, "n_kv_heads: found 4, expected a divisor of n_heads 2"},
      {5, 0, "found 0, expected 1 to 1048576"},
      {5, lowest, "found -2147483648"},
      {5, 1048577, "found 1048577"},
      {6, 0, "seq_len: found 0, expected 1 to 1048576"},
      {6, -1, "seq_len: found -1"},
      {6, highest, "seq_len: found 2147483647"},
  };
  for (const std::string& bytes : {model.version0(), model.version1(), model.version2(2)}) {
    const size_t start = bytes[0] == '2' ? 8 : 0;
    for (const Wrong& wrong : wrongs) {
      std::string changed;
      append(&changed, wrong.value);
      const std::string path = folder.write(
          "wrong.bin", std::string(bytes).replace(start + wrong.field * 4, 4, changed));
      const std::string refusal = refusal_of_checkpoint(path);
      CAPTURE(refusal);
      CHECK(contains(refusal, path + ": llama2.c version "));
      CHECK(contains(refusal, wrong.message));
    }
  }
}

TEST_CASE("what only versions 1 and 2 have") {
  const TestFolder folder;
  const Llama2c model = smallest_llama2c();
  const auto refusal_of_byte = [&](std::string bytes, size_t at, char value) {
    bytes[at] = value;
    return refusal_of_checkpoint(folder.write("wrong.bin", bytes));
  };
  const std::string v1 = model.version1(), v2 = model.version2(2);
  CHECK(contains(refusal_of_byte(v1, 4, 0), "llama2.c version: found 0, expected 1 or 2"));
  CHECK(contains(refusal_of_byte(v1, 4, 3), "llama2.c version: found 3, expected 1 or 2"));
  CHECK(contains(refusal_of_byte(v1, 7, '\xff'), "llama2.c version: found -16777215"));
  CHECK(contains(refusal_of_byte(v1, 36, 2), "tied-head byte: found 2, expected 0 or 1"));
  CHECK(contains(refusal_of_byte(v1, 36, 0), "separate head"));
  CHECK(contains(refusal_of_byte(v1, 37, 1), "byte 37 of the header: found 0x01, expected 0"));
  CHECK(contains(refusal_of_byte(v1, 255, 9), "byte 255 of the header: found 0x09, expected 0"));
  CHECK(contains(refusal_of_byte(v2, 41, 9), "byte 41 of the header: found 0x09, expected 0"));
  CHECK(contains(refusal_of_byte(v2, 37, 0), "group_size: found 0, expected at least 1"));
  CHECK(contains(refusal_of_byte(v2, 40, '\x80'), "group_size: found -2147483646"));
  CHECK(contains(refusal_of_byte(v2, 37, 3),
                 "group_size: found 3, which does not divide a matrix of 5 x 4"));
  CHECK(contains(refusal_of_byte(v2, 37, 4), "found a file of"));  // divides, but is another size
}

TEST_CASE("files of other kinds are refused as what they are") {
  const TestFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    return refusal_of_checkpoint(folder.write("other", bytes + std::string(100, '\1')));
  };
  CHECK(contains(refusal("GGUF"), "GGUF"));
  CHECK(contains(refusal("PK\3\4"), "zip"));
  CHECK(contains(refusal(std::string("\x40\0\0\0\0\0\0\0{\"", 10)), "other: "));
  CHECK(contains(refusal("\x80\x02\x8a\x0a"), "other: "));
  CHECK(contains(refusal("\x89THIMBL\n"), "is a Thimble model already"));
  CHECK(contains(refusal("#!/bin/sh\n"), "is no checkpoint that is known: found 110 bytes"));
  CHECK(refusal_of_checkpoint(folder / "none") == folder / "none: No such file or directory");
  CHECK(contains(refusal_of_checkpoint(folder.path), folder.path + ": is a folder without"));
  CHECK(contains(refusal_of_checkpoint("/dev/null"), "/dev/null: is no ordinary file"));
  CHECK(contains(refusal_of_checkpoint(folder.write("empty", "")), "empty: is empty (0 bytes)"));
}

// ---- tokenizer.bin -------------------------------------------------------------------------

TEST_CASE("a tokenizer") {
  const TestFolder folder;
  const std::string path = folder.write("tokenizer.bin", tokenizer_bytes(small_tokens(97)));
  const VocabularyFile file = open_vocabulary(path, 97);
  const Vocabulary& v = file.vocabulary;
  CHECK(file.description == "llama2.c tokenizer, 97 tokens of up to 6 bytes");
  REQUIRE(v.texts.size() == 97);
  CHECK(v.bos_id == 1);
  CHECK(v.eos_id == 2);
  CHECK(v.add_space_prefix);
  CHECK(v.texts[1] == "<s>");
  CHECK(v.texts[2] == "</s>");
  CHECK(v.texts[3] == std::string(1, '\0'));
  CHECK(v.texts[4] == "\n");
  CHECK(v.texts[5] == "\xff");
  CHECK(v.texts[6] == " ");
  for (size_t i = 0; i < 97; ++i) {
    CHECK(v.types[i] == (i < 3 ? kTokenControl : i < 6 ? kTokenByte : kTokenNormal));
    CHECK(bits_equal(v.scores[i], small_tokens(97)[i].score));
  }
}

TEST_CASE("SentencePiece's meta symbol is a space where there is no other") {
  const TestFolder folder;
  std::vector<Token> tokens = {{"<unk>", 0},
                               {"<s>", 0},
                               {"</s>", 0},
                               {"\xe2\x96\x81", -1},
                               {"\xe2\x96\x81\xe2\x96\x81"
                                "a",
                                -2},
                               {"a", -3}};
  const VocabularyFile file = open_vocabulary(folder.write("meta.bin", tokenizer_bytes(tokens)), 6);
  CHECK(file.vocabulary.texts[3] == " ");
  CHECK(file.vocabulary.texts[4] == "  a");
  CHECK(contains(file.description, "U+2581 taken as space"));
  tokens[5].text = " ";
  const std::string path = folder.write("both.bin", tokenizer_bytes(tokens));
  CHECK(open_vocabulary(path, 6).vocabulary.texts[3] == "\xe2\x96\x81");
}

TEST_CASE("every truncation of a tokenizer and one byte more are refused") {
  const TestFolder folder;
  const std::string bytes = tokenizer_bytes(small_tokens(9));
  const auto refusal = [&](const std::string& changed) {
    const std::string path = folder.write("t.bin", changed);
    return refusal_when([&] { open_vocabulary(path, 9); });
  };
  REQUIRE(refusal(bytes) == "accepted");
  for (size_t n = 0; n < bytes.size(); ++n) {
    const std::string message = refusal(bytes.substr(0, n));
    CAPTURE(n);
    CHECK(contains(message, folder / "t.bin: "));
  }
  // 8 zeros are a filler.
  for (size_t more = 1; more < 20; ++more)
    CHECK((refusal(bytes + std::string(more, '\0')) == "accepted") == (more % 8 == 0));
  CHECK(contains(refusal(tokenizer_bytes(small_tokens(8))),
                 "a tokenizer of another size: found 8 tokens, the model has 9; if the other ids "
                 "are fillers, say --fillers yes"));
  CHECK(contains(refusal(tokenizer_bytes(small_tokens(20))),
                 "a tokenizer of another size: found 20 tokens, the model has 9"));
  CHECK(contains(refusal(bytes.substr(0, 33)), "ends within token 2, at byte 33; the model has 9"));
  CHECK(contains(refusal(bytes + '\0'), "ends within token 9"));
}

TEST_CASE("fillers of a tokenizer are ids without a text") {
  const TestFolder folder;
  std::vector<Token> tokens = small_tokens(20);
  const auto opened = [&](const std::vector<Token>& written, uint32_t vocab_size, bool fillers) {
    return open_vocabulary(folder.write("t.bin", tokenizer_bytes(written)), vocab_size, fillers);
  };
  const auto check = [](const VocabularyFile& file, size_t n, uint32_t n_tokens) {
    const Vocabulary& v = file.vocabulary;
    CHECK(v.texts.size() == n);
    CHECK(v.scores.size() == n);
    CHECK(v.types.size() == n);
    CHECK(v.n_tokens == n_tokens);
    CHECK(contains(file.description, std::to_string(n_tokens) + " tokens"));
  };
  check(opened(tokens, 20, false), 20, 20);
  // The file is short of them: only where it is said.
  CHECK_THROWS_AS(opened(tokens, 24, false), Refused);
  check(opened(tokens, 24, true), 24, 20);
  // It has them, with a length of 0; more of them than the model has are none of its ids.
  tokens.resize(24);
  check(opened(tokens, 24, false), 24, 20);
  check(opened(tokens, 22, false), 22, 20);
  check(opened(tokens, 30, true), 30, 20);
  CHECK_THROWS_AS(opened(tokens, 30, false), Refused);
  CHECK_THROWS_AS(opened(tokens, 19, true), Refused);
  // Among others.
  tokens = small_tokens(20);
  tokens[12].text.clear();
  const VocabularyFile hole = opened(tokens, 20, false);
  check(hole, 20, 20);
  CHECK(hole.vocabulary.texts[12].empty());
  CHECK(hole.vocabulary.scores[12] == -std::numeric_limits<float>::max());
}

TEST_CASE("wrong values in a tokenizer are refused by name") {
  const TestFolder folder;
  const auto refusal = [&](size_t at, uint32_t value) {
    std::string changed, bytes = tokenizer_bytes(small_tokens(9));
    append(&changed, value);
    const std::string path = folder.write("t.bin", bytes.replace(at, 4, changed));
    return refusal_when([&] { open_vocabulary(path, 9); });
  };
  CHECK(contains(refusal(0, 0), "length of the longest token: found 0, expected 1 to 4096"));
  CHECK(contains(refusal(0, 4097), "length of the longest token: found 4097"));
  CHECK(contains(refusal(0, 0x80000000), "found -2147483648"));
  CHECK(contains(refusal(0, 5), "length of token 2: found 6, expected 1 to 5"));
  CHECK(contains(refusal(4, 0x7fc00000), "score of token 0: found nan, expected a finite number"));
  CHECK(contains(refusal(4, 0xff800000), "score of token 0: found -inf"));
  CHECK(contains(refusal(8, 0), "length of token 0: found 0, expected 1 to 6"));
  CHECK(contains(refusal(8, 0xffffffff), "length of token 0: found -1"));
  CHECK(contains(refusal(8, 7), "length of token 0: found 7"));
  const std::string two = folder.write("two.bin", tokenizer_bytes(small_tokens(2)));
  CHECK(contains(refusal_when([&] { open_vocabulary(two, 2); }), "at least the 3 control tokens"));
}

TEST_CASE("the real files") {
  std::string unused;
  const std::string stories = "../shared/models/stories260K/";
  if (!read_whole_file(stories + "tok512.bin", &unused)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  CHECK(open_checkpoint(stories + "stories260K.bin", {}).shape.hidden_dim == 172);
  CHECK(open_vocabulary(stories + "tok512.bin", 512).vocabulary.texts[259] == " t");
  CHECK(open_vocabulary("../shared/models/story/tokenizer.bin", 1024).vocabulary.texts[259] == " ");
  CHECK(open_vocabulary("../shared/tokenizers/spm-tok512/tok512.bin", 512).vocabulary.texts[260] ==
        " s");
  for (const char* name : {"tied", "untied"}) {
    const std::string path =
        "../shared/golden/llama_tiny/llama_tiny_" + std::string(name) + ".llama2c.bin";
    CHECK(open_checkpoint(path, {}).shape.tied_head == (std::string(name) == "tied"));
  }
}
