// SPDX-License-Identifier: MIT
// Safetensors: every type and shape, shards and indexes, and whatever the specification forbids.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "error.h"
#include "llama2c_files.h"
#include "random.h"
#include "readers/safetensors.h"
#include "test_folder.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

// Without the path.
std::string refusal_of_file(const TestFolder& folder, const std::string& bytes) {
  const std::string path = folder.write("x.safetensors", bytes);
  const std::string text = refusal_when([&] { open_safetensors({path}); });
  return text.substr(0, path.size()) == path ? text.substr(path.size()) : text;
}

std::string refusal_of_header(const TestFolder& folder, const std::string& header,
                              size_t data_bytes) {
  return refusal_of_file(folder, safetensors_with(header, std::string(data_bytes, '\1')));
}

// Says which values are not the tensor's, "" if all are.
std::string difference(const Tensors& found, size_t index, const FileTensor& expected) {
  const Tensor& t = found.all()[index];
  if (t.name != expected.name || t.type != expected.type || t.shape != expected.shape) {
    return t.name + ": name, type or shape";
  }
  const size_t n = expected.values.size();
  for (size_t begin = 0; begin < n; ++begin) {
    std::vector<float> out(n - begin + 1, -7.0f);  // one more, which must stay
    found.read(index, begin, n - begin, out.data());
    if (std::memcmp(out.data(), &expected.values[begin], (n - begin) * sizeof(float)) != 0 ||
        out.back() != -7.0f) {
      return t.name + ": values from " + std::to_string(begin);
    }
  }
  return "";
}

void read_everything(const Tensors& tensors) {
  for (size_t i = 0; i < tensors.all().size(); ++i) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(element_count(tensors.all()[i]), 4096));
    std::vector<float> out(n);
    try {
      tensors.read(i, 0, n, out.data());
    } catch (const Refused&) {  // an integer type
    }
  }
}

}  // namespace

TEST_CASE("safetensors: all types, in the header's order, integers listed and not read") {
  const TestFolder folder;
  const std::string path = folder.write("x.safetensors", safetensors_file(some_tensors()));
  const auto tensors = open_safetensors({path});
  REQUIRE(tensors->all().size() == some_tensors().size());
  CHECK(is_safetensors(InputFile(path)));
  for (size_t i = 0; i < some_tensors().size(); ++i) {
    CHECK(tensors->path(i) == path);
    if (i < 5) {
      CHECK(difference(*tensors, i, some_tensors()[i]) == "");
      continue;
    }
    CHECK(tensors->all()[i].type == some_tensors()[i].type);
    CHECK(refusal_when([&] {
            float out[3];
            tensors->read(i, 0, 1, out);
          }) == path + ": tensor \"" + some_tensors()[i].name + "\" is of type " +
                    some_tensors()[i].type +
                    ", expected one that is read as weights: F32, F16, BF16, F64");
  }
}

TEST_CASE("safetensors: a tensor of several pieces") {
  const TestFolder folder;
  FileTensor large{"large", "BF16", {300, 1001}, {}};
  for (int i = 0; i < 300 * 1001; ++i) large.values.push_back(static_cast<float>(i % 251));
  const auto tensors = open_safetensors({folder.write("x", safetensors_file({large}))});
  std::vector<float> out(large.values.size() - 5);
  tensors->read(0, 5, out.size(), out.data());
  CHECK(std::equal(out.begin(), out.end(), large.values.begin() + 5));
}

TEST_CASE("safetensors: shards and their index") {
  const TestFolder folder;
  std::vector<std::string> paths;
  for (const NamedBytes& file : safetensors_shards(some_tensors())) {
    paths.push_back(folder.write(file.name, file.bytes));
  }
  const std::string index = paths.back();
  paths.pop_back();
  for (const auto& tensors : {open_safetensors_index(index), open_safetensors(paths)}) {
    REQUIRE(tensors->all().size() == some_tensors().size());
    for (size_t i = 0; i < 5; ++i) {
      CHECK(tensors->path(i) == paths[i]);
      CHECK(difference(*tensors, i, some_tensors()[i]) == "");
    }
  }
  CHECK(refusal_when([&] {
          open_safetensors({paths[0], folder.write("y", safetensors_file({some_tensors()[0]}))});
        }) == folder / "y: safetensors: tensor \"a.weight\" is in " + paths[0] +
                  " too, expected each in one file");

  const auto refusal_of_index = [&](const std::string& text) {
    return refusal_when([&] { open_safetensors_index(folder.write("i.json", text)); });
  };
  const std::string prefix = folder / "i.json: ";
  CHECK(refusal_of_index("{}") ==
        prefix + "expected \"weight_map\", a dictionary of tensors and files");
  for (const char* name : {"../model-1.safetensors", "a/b", "..", ""}) {
    CHECK(refusal_of_index("{\"weight_map\":{\"a\":\"" + std::string(name) + "\"}}") ==
          prefix + "weight_map: tensor \"a\": found \"" + name +
              "\", expected the name of a file beside the index");
  }
  CHECK(refusal_of_index("{\"weight_map\":{\"a\":1}}").find("found no string") !=
        std::string::npos);
  CHECK(refusal_of_index("{\"weight_map\":{\"a\":\"missing\"}}") ==
        folder / "missing: No such file or directory");
  CHECK(refusal_of_index("{\"weight_map\":{\"q\":\"model-1.safetensors\"}}") ==
        prefix + "weight_map: tensor \"q\": found it in none of the files, expected it in " +
            paths[0]);
  CHECK(refusal_of_index("{\"weight_map\":{\"a.weight\":\"model-1.safetensors\",\"b\":\"model-1."
                         "safetensors\",\"c\":\"model-2.safetensors\"}}") ==
        prefix + "weight_map: tensor \"b\": found it in " + paths[1] + ", expected it in " +
            paths[0]);
}

TEST_CASE("safetensors: headers that the specification forbids") {
  const TestFolder folder;
  const auto one = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  const std::string good = one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])");
  CHECK(refusal_of_header(folder, good, 8) == "accepted");
  CHECK(refusal_of_header(folder, good + "     ", 8) == "accepted");
  CHECK(refusal_of_header(folder, "{}", 0) == "accepted");

  CHECK(refusal_of_file(folder, "abc") ==
        ": safetensors: found 3 bytes, expected at least the 10 of an empty header");
  CHECK(refusal_of_file(folder, little_bytes(100'000'001, 8) + good) ==
        ": safetensors: header: found a length of 100000001 bytes, expected at most 100000000");
  CHECK(refusal_of_file(folder, little_bytes(60, 8) + good) ==
        ": safetensors: header: found a length of 60 bytes, expected at most the 54 that the file "
        "has; is it truncated?");
  CHECK(refusal_of_file(folder, little_bytes(UINT64_MAX, 8) + good).find("18446744073709551615") !=
        std::string::npos);
  CHECK(refusal_of_header(folder, " " + good, 8) ==
        ": safetensors: header: found \" {\\\"a\\\":{\\\"\" at its start, expected '{'");
  CHECK(refusal_of_header(folder, good + "{}", 8).find("expected the end of the text") !=
        std::string::npos);
  CHECK(refusal_of_header(folder, R"({"a":1,"a":2})", 0).find("the key \"a\" twice") !=
        std::string::npos);
  CHECK(refusal_of_header(folder, R"({"__metadata__":{"x":1}})", 0) ==
        ": safetensors: __metadata__: key \"x\": expected a string");
  CHECK(refusal_of_header(folder, R"({"__metadata__":[]})", 0) ==
        ": safetensors: __metadata__: expected a dictionary of strings");

  const std::string tensor = ": safetensors: tensor \"a\": ";
  for (const char* fields :
       {"", R"("dtype":"F32","shape":[2])", R"("dtype":4,"shape":[2],"data_offsets":[0,8])",
        R"("dtype":"F32","shape":2,"data_offsets":[0,8])",
        R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])",
        R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1)"}) {
    CHECK(refusal_of_header(folder, one(fields), 8) ==
          tensor +
              "expected a dictionary of dtype (a string), shape (a list) and data_offsets (two "
              "numbers), nothing else");
  }
  CHECK(refusal_of_header(folder, one(R"("dtype":"Q9","shape":[2],"data_offsets":[0,8])"), 8)
            .find(tensor + "found type \"Q9\", expected one of F32, F16,") == 0);
  for (const char* shape : {"[-2]", "[2.0]", "[\"2\"]", "[null]"}) {
    CHECK(refusal_of_header(
              folder,
              one(R"("dtype":"F32","shape":)" + std::string(shape) + R"(,"data_offsets":[0,8])"),
              8) == tensor + "shape: expected integers of 0 or more");
  }
  for (const char* offsets : {"[0,9]", "[8,0]", "[9,9]", "[0,9007199254740992]"}) {
    CHECK(refusal_of_header(
              folder, one(R"("dtype":"F32","shape":[2],"data_offsets":)" + std::string(offsets)), 8)
              .find("expected a range within the 8 bytes behind the header") != std::string::npos);
  }
  CHECK(refusal_of_header(folder, one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8) ==
        tensor + "shape [3] of type F32 takes 12 bytes, but data_offsets 0 to 8 have 8");
  CHECK(refusal_of_header(
            folder, one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"),
            0) == tensor +
                      "shape [4294967296, 4294967296] of type F32 takes more than 2^64 bytes, but "
                      "data_offsets 0 to 0 have 0");
}

TEST_CASE("safetensors: holes, overlaps, and bytes of no tensor") {
  const TestFolder folder;
  const auto two = [](uint64_t a, uint64_t b) {
    const auto entry = [](uint64_t begin) {
      return R"({"dtype":"U8","shape":[4],"data_offsets":)" + numbers_text({begin, begin + 4}) +
             "}";
    };
    return "{\"a\":" + entry(a) + ",\"b\":" + entry(b) + "}";
  };
  CHECK(refusal_of_header(folder, two(0, 4), 8) == "accepted");
  CHECK(refusal_of_header(folder, two(4, 0), 8) == "accepted");
  CHECK(refusal_of_header(folder, two(0, 5), 9) ==
        ": safetensors: tensor \"b\": begins at byte 5 of the data, expected 4: there is a hole "
        "before it");
  CHECK(refusal_of_header(folder, two(0, 3), 7) ==
        ": safetensors: tensor \"b\": begins at byte 3 of the data, expected 4: tensors overlap");
  CHECK(refusal_of_header(folder, two(0, 0), 4).find("tensors overlap") != std::string::npos);
  CHECK(refusal_of_header(folder, two(1, 5), 9).find("there is a hole before it") !=
        std::string::npos);
  CHECK(refusal_of_header(folder, two(0, 4), 9).find("expected the end of the file") !=
        std::string::npos);
}

TEST_CASE("safetensors: every truncation is refused, mutations never do harm") {
  const TestFolder folder;
  const std::string file = safetensors_file(some_tensors());
  REQUIRE(refusal_of_file(folder, file) == "accepted");
  for (size_t n = 0; n < file.size(); ++n) {
    CAPTURE(n);
    CHECK(refusal_of_file(folder, file.substr(0, n)) != "accepted");
  }
  Random random(2);
  size_t accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string changed = file;
    for (uint32_t k = 1 + random.below(4); k > 0; --k) {
      changed[random.below(static_cast<uint32_t>(changed.size()))] =
          static_cast<char>(random.below(4) == 0 ? random.below(256) : '0' + random.below(10));
    }
    try {
      read_everything(*open_safetensors({folder.write("x", changed)}));
      ++accepted;
    } catch (const Refused&) {
    }
  }
  CHECK(accepted > 10);  // of names and numbers that matter to nobody
  CHECK(accepted < 3000);
}

TEST_CASE("safetensors: the golden models") {
  const std::string folder = "../shared/golden/families/";
  if (!std::filesystem::exists(folder)) {
    MESSAGE("skipped: no ../shared/golden/families");
    return;
  }
  const auto whole = open_safetensors({folder + "qwen3/model.safetensors"});
  const auto shards = open_safetensors_index(folder + "qwen3_shards/model.safetensors.index.json");
  REQUIRE(whole->all().size() == shards->all().size());
  for (size_t i = 0; i < whole->all().size(); ++i) {
    const Tensor& t = whole->all()[i];
    const auto same = std::find_if(shards->all().begin(), shards->all().end(),
                                   [&](const Tensor& other) { return other.name == t.name; });
    REQUIRE(same != shards->all().end());
    CHECK(same->shape == t.shape);
    std::vector<float> a(element_count(t)), b(a.size());
    whole->read(i, 0, a.size(), a.data());
    shards->read(static_cast<size_t>(same - shards->all().begin()), 0, b.size(), b.data());
    CHECK(a == b);
  }
  const auto bf16 = open_safetensors({folder + "mistral_window_bf16/model.safetensors"});
  CHECK(bf16->all()[0].type == "BF16");
  read_everything(*bf16);
}
