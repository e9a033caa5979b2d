// SPDX-License-Identifier: MIT
// JSON: what is read, what is refused and with which words, and that hostile texts take no time.
#include <doctest/doctest.h>

#include <chrono>
#include <limits>
#include <string>

#include "error.h"
#include "json_reader.h"
#include "llama2c_files.h"
#include "random.h"
#include "readers/input_file.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

std::string refusal_of(const std::string& text, const JsonOptions& options = {}) {
  try {
    read_json(text, "x.json", options);
  } catch (const Refused& refused) {
    return refused.what();
  }
  return "accepted";
}

double seconds_to_refuse(const std::string& text) {
  const auto start = std::chrono::steady_clock::now();
  CHECK(refusal_of(text) != "accepted");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("json_reader: all kinds of values") {
  const Value v = read_json(
      " {\"a\" : [1, -0, 2.5, -1e-3, 1E+2, true, false, null, {}, []],\n\t\"b\":\"\"}\r\n ", "x");
  REQUIRE(v.dict() != nullptr);
  REQUIRE(v.dict()->size() == 2);
  CHECK(v.dict()->at(0).first == "a");  // in the file's order
  const Value::List& a = *v.find("a")->list();
  REQUIRE(a.size() == 10);
  CHECK(*a[0].integer() == 1);
  CHECK(*a[1].integer() == 0);
  CHECK(*a[2].real() == 2.5);
  CHECK(*a[3].real() == -1e-3);
  CHECK(*a[4].real() == 100.0);
  CHECK(*a[5].boolean());
  CHECK(!*a[6].boolean());
  CHECK(a[7].is_null());
  CHECK(a[8].dict()->empty());
  CHECK(a[9].list()->empty());
  CHECK(v.find("b")->string()->empty());
  CHECK(v.find("c") == nullptr);
  CHECK(*read_json("7", "x").integer() == 7);
  CHECK(*read_json("9007199254740992", "x").integer() == int64_t{1} << 53);
  CHECK(*read_json("-9007199254740992", "x").integer() == -(int64_t{1} << 53));
}

TEST_CASE("json_reader: strings and their escapes") {
  const Value v = read_json(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00\u0000é€😀")", "x");
  CHECK(*v.string() == std::string("\"\\/\b\f\n\r\tAé€😀\0é€😀", 28));
  CHECK(*read_json("\"\x7f\"", "x").string() == "\x7f");  // no control character of JSON
}

TEST_CASE("json_reader: refusals name file, line, byte, what was found and expected") {
  CHECK(refusal_of("") ==
        "x.json: JSON: line 1, byte 1: found the end of the text, expected a value");
  CHECK(refusal_of("{\"a\":1,\n \"b\" 2}") ==
        "x.json: JSON: line 2, byte 6: found '2', expected ':'");
  CHECK(refusal_of("[1,]") == "x.json: JSON: line 1, byte 4: found ']', expected a value");
  CHECK(refusal_of("{\"a\":1,}") ==
        "x.json: JSON: line 1, byte 8: found '}', expected a key in quotes");
  CHECK(refusal_of("[1 2]") == "x.json: JSON: line 1, byte 4: found '2', expected ',' or ']'");
  CHECK(refusal_of("{\"a\":1 2}") ==
        "x.json: JSON: line 1, byte 8: found '2', expected ',' or '}'");
  CHECK(refusal_of("1 2") ==
        "x.json: JSON: line 1, byte 3: found '2', expected the end of the text");
  CHECK(refusal_of(std::string("1\0", 2)) ==
        "x.json: JSON: line 1, byte 2: found byte 0x00, expected the end of the text");
  CHECK(refusal_of("01") ==
        "x.json: JSON: line 1, byte 2: found '1', expected no digit behind a leading 0");
  CHECK(refusal_of("-") ==
        "x.json: JSON: line 1, byte 2: found the end of the text, expected a digit");
  CHECK(refusal_of("1.") ==
        "x.json: JSON: line 1, byte 3: found the end of the text, expected a digit");
  CHECK(refusal_of("1e+") ==
        "x.json: JSON: line 1, byte 4: found the end of the text, expected a digit");
  CHECK(refusal_of("tru") == "x.json: JSON: line 1, byte 1: found 't', expected a value");
  CHECK(refusal_of("\xef\xbb\xbf{}") ==
        "x.json: JSON: line 1, byte 1: found byte 0xef, expected a value");
  for (const char* word : {"NaN", "Infinity", "-Infinity"}) {
    CHECK(refusal_of("[" + std::string(word) + "]").find("which is no JSON") != std::string::npos);
  }
  CHECK(refusal_of("1e999") ==
        "x.json: JSON: line 1, byte 1: found the number 1e999, expected one within the range of a "
        "double");
}

TEST_CASE("json_reader: strings that are refused") {
  CHECK(refusal_of("\"abc") ==
        "x.json: JSON: line 1, byte 1: found a string without an end, expected '\"'");
  CHECK(refusal_of("\"a\nb\"") ==
        "x.json: JSON: line 1, byte 3: found byte 0x0a, expected no control character in a string "
        "(but \\u and its number)");
  CHECK(refusal_of("\"\\x\"") ==
        "x.json: JSON: line 1, byte 3: found 'x', expected one of \" \\ / b f n r t u behind '\\'");
  CHECK(refusal_of("\"\\u12g4\"") ==
        "x.json: JSON: line 1, byte 6: found 'g', expected 4 hexadecimal digits behind \\u");
  for (const char* half : {"\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud800x", "\\ud800\\n"}) {
    CHECK(refusal_of("\"" + std::string(half) + "\"").find("half a surrogate pair") !=
          std::string::npos);
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf5\x80\x80\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    CHECK(refusal_of("\"" + std::string(bad) + "\"").find("expected UTF-8") != std::string::npos);
  }
}

TEST_CASE("json_reader: integers past 2^53") {
  for (const char* text : {"9007199254740993", "-9007199254740993", "9223372036854775808",
                           "1000000000000000019884624838656"}) {
    CHECK(refusal_of(text) == "x.json: JSON: line 1, byte 1: found the integer " +
                                  std::string(text) +
                                  ", an integer past 2^53, expected one up to that");
  }
  JsonOptions options;
  options.large_integers_as_reals = true;
  CHECK(*read_json("1000000000000000019884624838656", "x", options).real() == 1e30);
  CHECK(*read_json("12", "x", options).integer() == 12);
}

TEST_CASE("json_reader: keys that come twice") {
  CHECK(refusal_of("{\"n\":{\n\"a\":1,\"b\":2,\"\\u0061\":3}}") ==
        "x.json: JSON: line 1, byte 6: the dictionary that begins here has the key \"a\" twice, "
        "expected once");
  CHECK(refusal_of("{\"a\":{\"a\":1},\"b\":{\"a\":1}}") == "accepted");
}

TEST_CASE("json_reader: nesting up to 64") {
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(refusal_of(nested(64)) == "accepted");
  CHECK(refusal_of(nested(65)) ==
        "x.json: JSON: line 1, byte 65: nests deeper than 64, expected at most that");
  CHECK(refusal_of(nested(10'000)) == refusal_of(nested(65)));
  CHECK(refusal_of(std::string(5'000'000, '[')) == refusal_of(nested(65)));
  std::string dicts;
  for (int i = 0; i < 10'000; ++i) dicts += "{\"a\":";
  CHECK(refusal_of(dicts).find("nests deeper than 64") != std::string::npos);
}

TEST_CASE("json_reader: no more values than the options allow") {
  JsonOptions options;
  options.max_values = 4;
  CHECK(refusal_of("[1,2,3]", options) == "accepted");
  CHECK(refusal_of("[1,2,3,4]", options) ==
        "x.json: JSON: line 1, byte 8: found more than 4 values, which is not read");
}

TEST_CASE("json_reader: a dictionary of 250 000 keys takes linear time, also to find one twice") {
  std::string text = "{";
  for (int i = 0; i < 250'000; ++i) text += "\"token " + std::to_string(i) + "\":1,";
  const std::string last = text + "\"token 0\":2}";
  // Comparing each with each would take minutes.
  CHECK(seconds_to_refuse(last) < 10);
  text.back() = '}';
  CHECK(read_json(text, "x").dict()->size() == 250'000);
}

TEST_CASE("json_reader: every beginning of a text is refused, mutations never do harm") {
  const std::string text = R"({"a":[1,2.5,"x\u00e9\ud83d\ude00é",null,true],"b":{"c":-1e3}})";
  REQUIRE(refusal_of(text) == "accepted");
  for (size_t n = 0; n < text.size(); ++n) {
    CAPTURE(n);
    CHECK(refusal_of(text.substr(0, n)) != "accepted");
  }
  Random random(1);
  size_t refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string changed = text;
    for (uint32_t k = 1 + random.below(3); k > 0; --k) {
      changed[random.below(static_cast<uint32_t>(changed.size()))] =
          static_cast<char>(random.below(256));
    }
    refused += refusal_of(changed) != "accepted";
  }
  CHECK(refused > 1000);
}

TEST_CASE("json_reader: files, and the pointers that Git LFS leaves in their place") {
  const TestFolder folder;
  CHECK(*read_json_file(folder.write("a.json", "[1]")).list()->at(0).integer() == 1);
  const auto refusal = [](const std::string& path, uint64_t max_bytes) {
    try {
      read_json_file(path, {}, max_bytes);
    } catch (const Refused& refused) {
      return std::string(refused.what());
    }
    return std::string("accepted");
  };
  CHECK(refusal(folder / "a.json", 2) == folder / "a.json: found 3 bytes, expected at most 2");
  const std::string pointer =
      folder.write("model.safetensors",
                   "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 551291856\n");
  CHECK(refusal(pointer, 1000) ==
        pointer +
            ": is a Git LFS pointer (the file itself has 551291856 bytes), expected the file: "
            "run git lfs pull");
  CHECK(refusal(folder.write("b.json", "version https://git-lfs.github.com/spec/v1\noid"), 1000)
            .find("an unknown number of bytes") != std::string::npos);
}
