// SPDX-License-Identifier: MIT
// JSON as the tests' golden files have it, as a tree. Throws std::runtime_error, with the offset.
#ifndef THIMBLE_TESTS_JSON_H
#define THIMBLE_TESTS_JSON_H

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace thimble::test {

struct Json {
  enum Kind { kNull, kBool, kNumber, kString, kArray, kObject };

  Kind kind = kNull;
  bool boolean = false;
  double number = 0;
  std::string text;               // of a string, decoded; of a number, as it stands in the file
  std::vector<Json> items;        // of an array; of an object, the values
  std::vector<std::string> keys;  // of an object

  size_t size() const { return items.size(); }
  const Json& operator[](size_t index) const { return items.at(index); }

  // The first member of that name, or null.
  const Json* find(const std::string& key) const {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == key) return &items[i];
    }
    return nullptr;
  }
  const Json& operator[](const std::string& key) const {
    const Json* member = find(key);
    if (!member) throw std::runtime_error("JSON object without \"" + key + '"');
    return *member;
  }

  // The decimals rounded once; through a double they would be rounded twice.
  float as_float() const { return std::strtof(text.c_str(), nullptr); }
  int32_t as_int() const { return static_cast<int32_t>(number); }

  std::vector<int32_t> as_ints() const {
    std::vector<int32_t> out;
    for (const Json& item : items) out.push_back(item.as_int());
    return out;
  }
  // All numbers of arrays in arrays, in order.
  std::vector<float> as_floats() const {
    std::vector<float> out;
    append_floats(&out);
    return out;
  }

 private:
  void append_floats(std::vector<float>* out) const {
    if (kind == kNumber) out->push_back(as_float());
    for (const Json& item : items) item.append_floats(out);
  }
};

class JsonParser {
 public:
  explicit JsonParser(const std::string& text) : text_(text) {}

  Json parse() {
    Json value = parse_value();
    peek();
    if (at_ < text_.size()) fail("end of the text");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw std::runtime_error("JSON: " + expected + " expected at offset " + std::to_string(at_));
  }

  // The next character that is no white space; 0 at the end.
  char peek() {
    while (at_ < text_.size() && std::string(" \t\r\n").find(text_[at_]) != std::string::npos)
      ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool take(const std::string& word) {
    peek();
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }

  void want(const std::string& word) {
    if (!take(word)) fail(word);
  }

  Json parse_value() {
    Json value;
    switch (peek()) {
      case '{':
        value.kind = Json::kObject;
        parse_list("{", "}", [&] {
          value.keys.push_back(parse_string());
          want(":");
          value.items.push_back(parse_value());
        });
        return value;
      case '[':
        value.kind = Json::kArray;
        parse_list("[", "]", [&] { value.items.push_back(parse_value()); });
        return value;
      case '"':
        value.kind = Json::kString;
        value.text = parse_string();
        return value;
      default:
        break;
    }
    if (take("null")) return value;
    value.kind = Json::kBool;
    if (take("false")) return value;
    value.boolean = true;
    if (take("true")) return value;
    value = Json();
    value.kind = Json::kNumber;
    const size_t end = std::min(text_.find_first_not_of("+-.0123456789eE", at_), text_.size());
    value.text = text_.substr(at_, end - at_);
    char* parsed = nullptr;
    value.number = std::strtod(value.text.c_str(), &parsed);
    if (value.text.empty() || *parsed != '\0') fail("a value");
    at_ = end;
    return value;
  }

  template <class ParseItem>
  void parse_list(const std::string& open, const std::string& close, ParseItem parse_item) {
    want(open);
    if (take(close)) return;
    do parse_item();
    while (take(","));
    want(close);
  }

  std::string parse_string() {
    want("\"");
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("\"");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escape = at_ < text_.size() ? text_[at_++] : '\0';
      const std::string from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
      if (escape == 'u') {
        append_utf8(parse_escaped_character(), &out);
      } else if (escape != '\0' && from.find(escape) != std::string::npos) {
        out += to[from.find(escape)];
      } else {
        fail("an escape");
      }
    }
  }

  uint32_t parse_hex4() {
    const std::string digits = text_.substr(std::min(at_, text_.size()), 4);
    if (digits.size() != 4 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      fail("4 hex digits");
    }
    at_ += 4;
    return static_cast<uint32_t>(std::stoul(digits, nullptr, 16));
  }

  uint32_t parse_escaped_character() {
    const uint32_t high = parse_hex4();
    if (high < 0xd800 || high > 0xdfff) return high;
    if (high > 0xdbff || text_.compare(at_, 2, "\\u") != 0) fail("a surrogate pair");
    at_ += 2;
    const uint32_t low = parse_hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("a low surrogate");
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }

  static void append_utf8(uint32_t character, std::string* out) {
    const auto put = [&](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
    if (character < 0x80) return put(character);
    if (character < 0x800) {
      put(0xc0 | character >> 6);
    } else if (character < 0x10000) {
      put(0xe0 | character >> 12);
      put(0x80 | (character >> 6 & 0x3f));
    } else {
      put(0xf0 | character >> 18);
      put(0x80 | (character >> 12 & 0x3f));
      put(0x80 | (character >> 6 & 0x3f));
    }
    put(0x80 | (character & 0x3f));
  }

  const std::string& text_;
  size_t at_ = 0;
};

inline Json parse_json(const std::string& text) {
  return JsonParser(text).parse();
}

// A whole file, as bytes; false if it cannot be opened.
inline bool read_whole_file(const std::string& path, std::string* out) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  out->assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  return true;
}

}  // namespace thimble::test

#endif
