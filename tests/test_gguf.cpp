// SPDX-License-Identifier: MIT
// GGUF: every type of block against golden hashes, every kind of value, every refusal.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "error.h"
#include "gguf_files.h"
#include "json.h"
#include "llama2c_files.h"
#include "random.h"
#include "readers/gguf.h"
#include "readers/gguf_types.h"
#include "sha256.h"

using namespace thimble;
using namespace thimble::test;
using tools::GgufFile;
using tools::open_gguf;
using tools::Refused;
using tools::Tensor;

namespace {

std::vector<float> values_of(const GgufFile& file, const std::string& name) {
  const std::vector<Tensor>& all = file.tensors->all();
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].name != name) continue;
    std::vector<float> out(static_cast<size_t>(element_count(all[i])));
    file.tensors->read(i, 0, out.size(), out.data());
    return out;
  }
  FAIL("no tensor ", name);
  return {};
}

GgufFile open_bytes(const TestFolder& folder, const std::string& bytes) {
  return open_gguf(folder.write("model.gguf", bytes));
}

// What the refusal says, without the path before it; "" if it is none.
std::string refusal(const TestFolder& folder, const std::string& bytes,
                    const std::string& name = "model.gguf") {
  const std::string path = folder.write(name, bytes);
  try {
    open_gguf(path);
  } catch (const Refused& e) {
    const std::string text = e.what();
    REQUIRE(text.compare(0, path.size() + 2, path + ": ") == 0);
    return text.substr(path.size() + 2);
  }
  return "";
}

// All that a reader can do with a file, within bounds.
void read_all(const GgufFile& file) {
  std::vector<float> out(1000);
  for (size_t i = 0; i < file.tensors->all().size(); ++i) {
    const uint64_t n = element_count(file.tensors->all()[i]);
    file.tensors->read(i, 0, static_cast<size_t>(std::min<uint64_t>(n, out.size())), out.data());
  }
}

GgufTestTensor f32_tensor(const std::string& name, size_t n = 8) {
  std::vector<float> values;
  for (size_t i = 0; i < n; ++i) values.push_back(static_cast<float>(i) - 3.5f);
  return {name, {n}, 0, gguf_floats(values)};
}

}  // namespace

TEST_CASE("sha256: as the standard has it") {
  CHECK(sha256("", 0) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc", 3) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("gguf: half floats are exact, and come back") {
  CHECK(tools::half_to_float(0x0001) == 0x1p-24f);
  CHECK(tools::half_to_float(0x83ff) == -1023 * 0x1p-24f);
  CHECK(tools::half_to_float(0x3555) == 1365 * 0x1p-12f);
  CHECK(tools::half_to_float(0x7bff) == 65504);
  CHECK(std::isinf(tools::half_to_float(0xfc00)));
  CHECK(std::signbit(tools::half_to_float(0x8000)));
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const uint16_t half = static_cast<uint16_t>(h);
    const float x = tools::half_to_float(half);
    if ((h & 0x7fff) > 0x7c00) {
      REQUIRE(std::isnan(x));
      REQUIRE((tools::float_to_half(x) & 0x7fff) > 0x7c00);
      continue;
    }
    REQUIRE(tools::float_to_half(x) == half);
    // Halfway to the next one goes to the even one, less to the near one.
    if ((h & 0x7fff) >= 0x7bff) continue;
    const float next = tools::half_to_float(static_cast<uint16_t>(h + 1)), mid = (x + next) / 2;
    REQUIRE(tools::float_to_half(mid) == (h % 2 == 0 ? h : h + 1));
    REQUIRE(tools::float_to_half(std::nextafter(mid, x)) == h);
    REQUIRE(tools::float_to_half(std::nextafter(mid, next)) == h + 1);
  }
  CHECK(tools::float_to_half(65519.9f) == 0x7bff);
  CHECK(tools::float_to_half(-65520) == 0xfc00);
  CHECK(tools::float_to_half(1e30f) == 0x7c00);
  CHECK(tools::float_to_half(1e-30f) == 0);
}

TEST_CASE("gguf: every type of block has the golden values (../shared)") {
  std::string text;
  if (!read_whole_file("../shared/golden/quants/golden.json", &text)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  const Json golden = parse_json(text);
  CHECK(golden.size() == 14);
  for (size_t f = 0; f < golden.size(); ++f) {
    CAPTURE(golden.keys[f]);
    const GgufFile file = open_gguf("../shared/golden/quants/" + golden.keys[f] + ".gguf");
    const Json& tensors = golden[f];
    REQUIRE(file.tensors->all().size() == tensors.size());
    Random random(f);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& t = file.tensors->all()[i];
      CAPTURE(t.name);
      const Json& expected = tensors[t.name];
      CHECK(t.type == expected["type"].text);
      REQUIRE(t.shape.size() == expected["shape"].size());
      for (size_t d = 0; d < t.shape.size(); ++d) {
        CHECK(t.shape[d] == static_cast<uint64_t>(expected["shape"][d].as_int()));
      }
      const std::vector<float> values = values_of(file, t.name);
      CHECK(sha256(values.data(), values.size() * sizeof(float)) ==
            expected["sha256_of_float32"].text);
      // Any piece is the piece of the whole.
      for (int piece = 0; piece < 20; ++piece) {
        const uint32_t n = static_cast<uint32_t>(values.size());
        const uint32_t begin = random.below(n), count = 1 + random.below(n - begin);
        std::vector<float> part(count);
        file.tensors->read(i, begin, count, part.data());
        REQUIRE(std::memcmp(part.data(), &values[begin], count * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("gguf: the families' files hold what the safetensors beside them hold (../shared)") {
  const std::string root = "../shared/golden/families/";
  std::string text;
  if (!read_whole_file(root + "README.md", &text)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  struct Same {
    const char *family, *gguf, *safetensors;
  };
  const Same same[] = {
      {"llama3_scaled", "token_embd.weight", "model.embed_tokens.weight"},
      {"llama3_scaled", "blk.2.ffn_down.weight", "model.layers.2.mlp.down_proj.weight"},
      {"qwen2", "token_embd.weight", "model.embed_tokens.weight"},
      {"qwen2", "blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight"},
      {"qwen2", "blk.1.attn_k.bias", "model.layers.1.self_attn.k_proj.bias"},
      {"qwen3", "token_embd.weight", "model.embed_tokens.weight"},
      {"qwen3", "blk.0.attn_q_norm.weight", "model.layers.0.self_attn.q_norm.weight"},
      {"gemma3", "token_embd.weight", "model.embed_tokens.weight"},
      {"gemma3", "blk.5.ffn_up.weight", "model.layers.5.mlp.up_proj.weight"},
      {"gpt2", "position_embd.weight", "transformer.wpe.weight"},
      {"gpt2", "token_embd.weight", "transformer.wte.weight"},
      {"gpt_neox", "token_embd.weight", "gpt_neox.embed_in.weight"},
      {"gpt_neox", "output.weight", "embed_out.weight"},
      {"gpt_neox_sequential", "blk.1.ffn_up.bias", "gpt_neox.layers.1.mlp.dense_h_to_4h.bias"},
  };
  for (const Same& s : same) {
    CAPTURE(std::string(s.family));
    CAPTURE(std::string(s.gguf));
    const std::vector<float> found = values_of(open_gguf(root + s.family + "/model.gguf"), s.gguf);
    REQUIRE(read_whole_file(root + s.family + "/model.safetensors", &text));
    uint64_t header;
    std::memcpy(&header, text.data(), 8);
    const Json tensors = parse_json(text.substr(8, static_cast<size_t>(header)));
    const Json& expected = tensors[s.safetensors];
    REQUIRE(expected["dtype"].text == "F32");
    const size_t begin = static_cast<size_t>(expected["data_offsets"][0].number);
    const size_t end = static_cast<size_t>(expected["data_offsets"][1].number);
    REQUIRE(found.size() * sizeof(float) == end - begin);
    CHECK(std::memcmp(found.data(), text.data() + 8 + header + begin, end - begin) == 0);
  }
}

TEST_CASE("gguf: values of every type, tokenizer and tensors, in both versions") {
  TestFolder folder;
  for (uint32_t version : {2u, 3u}) {
    const GgufFile file = open_bytes(folder, rich_gguf_file(version).bytes());
    CHECK(file.description ==
          "GGUF v" + std::to_string(version) + ", llama, 3 tensors (F32, F16, Q8_0)");
    const auto integer = [&](const char* key) {
      REQUIRE(file.metadata.find(key) != nullptr);
      REQUIRE(file.metadata.find(key)->integer() != nullptr);
      return *file.metadata.find(key)->integer();
    };
    CHECK(integer("a.u8") == 200);
    CHECK(integer("a.i8") == -100);
    CHECK(integer("a.u16") == 60000);
    CHECK(integer("a.i16") == -30000);
    CHECK(integer("a.u32") == 4000000000);
    CHECK(integer("a.i32") == -2000000000);
    CHECK(integer("a.u64") == 1ll << 60);
    CHECK(integer("a.i64") == -(1ll << 60));
    CHECK(*file.metadata.find("a.huge")->real() == 0x1p63);
    CHECK(*file.metadata.find("a.f32")->real() == static_cast<double>(0.1f));
    CHECK(*file.metadata.find("a.f64")->real() == 0.1);
    CHECK(*file.metadata.find("a.bool")->boolean());
    CHECK(*(*file.metadata.find("a.array")->list())[0].integer() == -1);
    const tools::Value::List& nested = *file.metadata.find("a.nested")->list();
    CHECK(*(*nested[0].list())[0].string() == "x");
    CHECK(nested[1].list()->empty());
    CHECK(file.metadata.find("tokenizer.ggml.tokens") == nullptr);
    CHECK(file.tokens == std::vector<std::string>{"<unk>", "a", "b", "ab"});
    CHECK(file.scores == std::vector<float>{0, -1, -2, -3});
    CHECK(file.token_types == std::vector<int32_t>{2, 1, 1, 1});
    CHECK(file.merges == std::vector<std::string>{"a b"});

    CHECK(values_of(file, "norm") == std::vector<float>{1.5f, -2, 0.25f});
    CHECK(file.tensors->all()[1].shape == std::vector<uint64_t>{2, 3});
    CHECK(values_of(file, "halves")[5] == 1 + 5 * 0x1p-10f);
    CHECK(file.tensors->all()[2].shape == std::vector<uint64_t>{4, 2, 64});
    CHECK(values_of(file, "blocks")[32 + 5] == (0.5f + 0x1p-11f) * 36);
    CHECK(file.tensors->path(2) == folder / "model.gguf");
  }
}

TEST_CASE("gguf: pieces beyond a tensor, and types that are not read, are refused by name") {
  TestFolder folder;
  GgufTestFile f = rich_gguf_file();
  f.tensor({"ternary", {256}, 35, std::string(66, '\0')});
  const GgufFile file = open_bytes(folder, f.bytes());
  float out[4];
  CHECK_THROWS_WITH_AS(
      file.tensors->read(0, 2, 2, out),
      (folder / "model.gguf: tensor \"norm\" has 3 elements, asked for 2 from 2 on").c_str(),
      Refused);
  CHECK_THROWS_AS(file.tensors->read(0, std::numeric_limits<uint64_t>::max(), 2, out), Refused);
  CHECK(file.tensors->all()[3].type == "TQ2_0");
  CHECK_THROWS_WITH_AS(
      file.tensors->read(3, 0, 1, out),
      (folder /
       "model.gguf: tensor \"ternary\" is of type TQ2_0, which is not read, expected one of "
       "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, "
       "IQ4_XS, BF16")
          .c_str(),
      Refused);
}

TEST_CASE("gguf: headers of llama.cpp's own tests, right and wrong") {
  TestFolder folder;
  const auto says = [&](const GgufTestFile& f) { return refusal(folder, f.bytes()); };
  const std::string u64_max = gguf_raw<uint64_t>(~0ull);
  GgufTestFile f;
  CHECK(says(f) == "");  // neither keys nor tensors: a file all the same
  f.magic = "FUGG";
  CHECK(says(f) == "starts with \"FUGG\", expected \"GGUF\"");
  for (uint32_t version : {0u, 1u, 4u}) {
    f = GgufTestFile();
    f.version = version;
    CHECK(says(f) == "has GGUF version " + std::to_string(version) + ", expected 2 or 3");
  }
  f.version = 0x03000000;
  CHECK(says(f) == "is big-endian, expected a little-endian GGUF file");
  f = GgufTestFile();
  f.n_keys = std::numeric_limits<int64_t>::max();
  CHECK(says(f) == "9223372036854775807 keys cannot be in the 8 bytes that follow");
  f = GgufTestFile();
  f.n_tensors = std::numeric_limits<int64_t>::max();
  CHECK(says(f) == "9223372036854775807 tensors cannot be in the 8 bytes that follow");

  const auto with_key = [](const std::string& raw) {
    GgufTestFile g;
    g.keys.push_back(raw);
    return g;
  };
  CHECK(says(with_key(u64_max + "key     ")) ==
        "key 0 is 18446744073709551615 bytes long, expected at most 65535");
  CHECK(says(with_key(gguf_raw<uint64_t>(1000) + "key     ")) ==
        "key 0 needs 1000 bytes at offset 32, the file has 32 left");
  CHECK(says(GgufTestFile().key("", 0, "\1")) == "key 0 is empty");
  CHECK(says(GgufTestFile().key("k", 13, "\1")) ==
        "key \"k\" has the unknown type 13, expected 0 to 12");
  CHECK(says(GgufTestFile().key("k", 9, gguf_array(13, 1, "\1"))) ==
        "an element of key \"k\" has the unknown type 13, expected 0 to 12");
  CHECK(says(GgufTestFile().key("k\n", 0, "\1").key("k\n", 0, "\2")) ==
        "key \"k?\" is there twice");
  CHECK(says(GgufTestFile().key("general.alignment", 4, gguf_raw<uint32_t>(13))) ==
        "key \"general.alignment\" is 13, expected a power of two");
  CHECK(says(GgufTestFile().key("general.alignment", 4, gguf_raw<uint32_t>(0))) ==
        "key \"general.alignment\" is 0, expected a power of two");
  CHECK(says(GgufTestFile().key("general.alignment", 5, gguf_raw<int32_t>(32))) ==
        "key \"general.alignment\" is of type int32, expected uint32");
  CHECK(says(rich_gguf_file()) == "");

  const auto with_tensor = [](const GgufTestTensor& t) { return GgufTestFile().tensor(t); };
  CHECK(says(with_tensor(f32_tensor(std::string(65, 'n')))) ==
        "the name of tensor 0 is 65 bytes long, expected at most 64");
  CHECK(says(with_tensor(f32_tensor(""))) == "the name of tensor 0 is empty");
  CHECK(says(with_tensor({"t", {1, 1, 1, 1, 1}, 0, gguf_floats({1})})) ==
        "tensor \"t\" has 5 dimensions, expected at most 4");
  CHECK(says(with_tensor({"t", {~0ull}, 0, ""})) ==
        "tensor \"t\" has dimension 0 of size 18446744073709551615, expected less than 2^63");
  CHECK(says(with_tensor({"t", {4ull * INT32_MAX, 4ull * INT32_MAX}, 0, ""})) ==
        "tensor \"t\" has more than 2^63 elements");
  CHECK(says(with_tensor({"t", {1ull << 31, 1ull << 31}, 27, ""})) ==
        "tensor \"t\" has 4611686018427387904 elements of type I64 at offset 96, beyond the file's "
        "96 bytes");
  CHECK(says(with_tensor({"t", {8, 0}, 0, ""})) == "");  // a tensor of nothing
  CHECK(says(with_tensor({"t", {8}, 41, ""})) == "tensor \"t\" has the unknown type 41");
  CHECK(says(with_tensor({"t", {8}, 4, ""})) == "tensor \"t\" has the unknown type 4");
  CHECK(says(with_tensor({"t", {33}, 8, std::string(68, '\0')})) ==
        "tensor \"t\" has rows of 33 elements, expected a multiple of 32 for type Q8_0");
  GgufTestTensor t = f32_tensor("t");
  t.offset = std::numeric_limits<int64_t>::max();
  CHECK(says(with_tensor(t)) ==
        "tensor \"t\" has offset 9223372036854775807, expected a multiple of 32");
  t.offset = 32;
  CHECK(says(with_tensor(t)) ==
        "tensor \"t\" has offset 32, expected 0, where the one before it ends: there is a gap");
  t.offset = 0;
  t.name = "u";
  CHECK(says(with_tensor(f32_tensor("t")).tensor(t)) ==
        "tensor \"u\" has offset 0, expected 32, where the one before it ends: they overlap");
  CHECK(says(with_tensor(f32_tensor("t")).tensor(f32_tensor("t"))) ==
        "tensor \"t\" is there twice");
  f = with_tensor(f32_tensor("t", 9)).tensor(f32_tensor("u"));
  f.alignment = 4;  // of what is written: 36 is no multiple of 32
  CHECK(says(f) == "tensor \"u\" has offset 36, expected a multiple of 32");
  f.key("general.alignment", 4, gguf_raw<uint32_t>(4));
  CHECK(says(f) == "");
  CHECK(values_of(open_bytes(folder, f.bytes()), "u")[7] == 3.5f);
  f = with_tensor({"t", {0x7FFFFFFFFFFFFFC0}, 24, ""});
  f.tensor({"u", {0x7FFFFFFFFFFFFFC0}, 24, "", 0x7FFFFFFFFFFFFFC0});
  CHECK(says(f) ==
        "tensor \"t\" has 9223372036854775744 elements of type I8 at offset 96, beyond the file's "
        "96 bytes");
}

TEST_CASE("gguf: other wrong headers, each by name") {
  TestFolder folder;
  const auto says = [&](const GgufTestFile& f) { return refusal(folder, f.bytes()); };
  CHECK(refusal(folder, "GG") == "starts with \"GG\", expected \"GGUF\"");
  std::string nested = gguf_array(0, 1, "\1");
  for (int i = 0; i < 3; ++i) nested = gguf_array(9, 1, nested);
  CHECK(says(GgufTestFile().key("k", 9, nested)) == "");
  CHECK(says(GgufTestFile().key("k", 9, gguf_array(9, 1, nested))) ==
        "key \"k\" has arrays nested deeper than 4");
  CHECK(says(GgufTestFile().key("k", 9, gguf_array(8, 1ull << 40, ""))) ==
        "1099511627776 elements of key \"k\" cannot be in the 15 bytes that follow");
  const uint64_t many = (1 << 20) + 1;
  CHECK(says(GgufTestFile().key("k", 9, gguf_array(0, many, std::string(many, 'x')))) ==
        "has 1048577 elements of key \"k\", expected at most 1048576");
  CHECK(says(GgufTestFile().key("k", 7, "\2")) == "key \"k\" is the bool 2, expected 0 or 1");
  CHECK(says(GgufTestFile().key("tokenizer.ggml.tokens", 8, gguf_string("x"))) ==
        "key \"tokenizer.ggml.tokens\" is of type string, expected array");
  CHECK(says(GgufTestFile().key("tokenizer.ggml.tokens", 9, gguf_array(0, 1, "x"))) ==
        "an element of key \"tokenizer.ggml.tokens\" is of type uint8, expected string");
  CHECK(says(GgufTestFile().key("tokenizer.ggml.scores", 9, gguf_array(6, 1, gguf_raw(1.0f)))) ==
        "key \"tokenizer.ggml.scores\" has 1 elements, expected 0, one for each token");
  CHECK(says(GgufTestFile().key("tokenizer.ggml.scores", 9,
                                gguf_array(6, 1, gguf_raw(std::nanf(""))))) ==
        "key \"tokenizer.ggml.scores\": element 0 is not finite");
  CHECK(says(GgufTestFile().key("split.count", 4, gguf_raw<uint32_t>(100000))) ==
        "is split into 100000 parts, expected at most 512");
  CHECK(says(GgufTestFile().key("split.tensors.count", 4, gguf_raw<uint32_t>(3))) ==
        "key \"split.tensors.count\" is 3, but the parts have 0 tensors");
}

TEST_CASE("gguf: split files open by their first part") {
  TestFolder folder;
  const auto part = [](uint16_t no, uint16_t count, const std::string& tensor) {
    GgufTestFile f;
    f.key("split.no", 2, gguf_raw(no))
        .key("split.count", 2, gguf_raw(count))
        .key("split.tensors.count", 5, gguf_raw<int32_t>(3));
    if (no == 0) f.key("general.architecture", 8, gguf_string("qwen2"));
    return f.tensor(f32_tensor(tensor, 8u + no));
  };
  const auto write = [&](const char* name, const GgufTestFile& f) {
    return folder.write(name, f.bytes());
  };
  const std::string first = write("m-00001-of-00003.gguf", part(0, 3, "a"));
  CHECK_THROWS_AS(open_gguf(first), Refused);  // the second is missing
  const std::string second = write("m-00002-of-00003.gguf", part(1, 3, "b"));
  write("m-00003-of-00003.gguf", part(2, 3, "c"));
  const GgufFile file = open_gguf(first);
  CHECK(file.description == "GGUF v3, qwen2, 3 tensors (F32) in 3 files");
  CHECK(values_of(file, "c").size() == 10);
  CHECK(values_of(file, "b")[8] == 4.5f);
  CHECK(file.tensors->path(1) == second);

  CHECK(refusal(folder, part(1, 3, "b").bytes(), "m-00002-of-00003.gguf") ==
        "is part 2 of 3; give the first: " + first);
  CHECK(refusal(folder, part(0, 3, "a").bytes(), "m.gguf") ==
        "is part 1 of 3, so its name has to end in -00001-of-00003.gguf, for the other parts to be "
        "found beside it");
  CHECK(refusal(folder, part(3, 3, "a").bytes(), "m.gguf") == "says that it is part 4 of 3");
  const auto says = [&] {
    try {
      open_gguf(first);
    } catch (const Refused& e) {
      return std::string(e.what()).substr(folder.path.size() + 1);
    }
    return std::string();
  };
  write("m-00002-of-00003.gguf", part(2, 3, "b"));
  CHECK(says() == "m-00002-of-00003.gguf: says that it is part 3 of 3, expected part 2 of 3");
  write("m-00002-of-00003.gguf", part(1, 3, "a"));
  CHECK(says() == "m-00002-of-00003.gguf: tensor \"a\" is in an earlier part, too");
  write("m-00002-of-00003.gguf", part(1, 3, "b").tensor(f32_tensor("d")));
  CHECK(says() ==
        "m-00001-of-00003.gguf: key \"split.tensors.count\" is 3, but the parts have 4 tensors");
}

TEST_CASE("gguf: every truncation is refused") {
  TestFolder folder;
  const std::string whole = rich_gguf_file().bytes();
  REQUIRE(refusal(folder, whole) == "");
  for (size_t n = 1; n < whole.size(); ++n) {
    CAPTURE(n);
    REQUIRE(refusal(folder, whole.substr(0, n)) != "");
  }
}

TEST_CASE("gguf: mutations are read or refused") {
  TestFolder folder;
  const std::string whole = rich_gguf_file().bytes();
  Random random(5);
  int read = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bytes = whole;
    for (uint32_t n = 1 + random.below(4); n > 0; --n) {
      const size_t at = random.below(static_cast<uint32_t>(bytes.size()));
      switch (random.below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.below(8));
          break;
        case 2:
          bytes.erase(at, 1 + random.below(9));
          break;
        default:
          bytes.insert(at, random.below(9), static_cast<char>(random.below(2) * 255));
      }
    }
    try {
      read_all(open_bytes(folder, bytes));
      ++read;
    } catch (const Refused&) {
      ++refused;
    }
  }
  CHECK(read > 100);
  CHECK(refused > 1000);
}
