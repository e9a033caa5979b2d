// SPDX-License-Identifier: MIT
#include "json_reader.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <system_error>
#include <utility>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/input_file.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

constexpr int64_t kLargestExactInteger = int64_t{1} << 53;

class JsonReader {
 public:
  JsonReader(std::string_view text, const std::string& path, const JsonOptions& options)
      : text_(text), path_(path), options_(options) {}

  Value read() {
    skip_space();
    Value value = read_value(0);
    skip_space();
    if (at_ < text_.size()) refuse("the end of the text");
    return value;
  }

 private:
  // ---- Refusing ------------------------------------------------------------------------------

  std::string place() const {
    const std::string_view before = text_.substr(0, at_);
    const size_t line = static_cast<size_t>(std::count(before.begin(), before.end(), '\n')) + 1;
    const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    return format("%s: JSON: line %zu, byte %zu: ", path_.c_str(), line, at_ - line_start + 1);
  }

  [[noreturn]] void refuse(const std::string& expected) const {
    std::string found = "the end of the text";
    if (at_ < text_.size()) {
      const uint8_t c = static_cast<uint8_t>(text_[at_]);
      found = c >= 0x20 && c < 0x7f ? format("'%c'", c) : format("byte 0x%02x", c);
    }
    throw Refused(place() + "found " + found + ", expected " + expected);
  }

  [[noreturn]] void refuse_at(size_t at, const std::string& why) {
    at_ = at;
    throw Refused(place() + why);
  }

  // ---- Values --------------------------------------------------------------------------------

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
      ++at_;
    }
  }

  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }

  Value read_value(uint32_t nesting) {
    if (at_ == text_.size()) refuse("a value");
    if (++n_values_ > options_.max_values) {
      refuse_at(at_, format("found more than %zu values, which is not read", options_.max_values));
    }
    switch (text_[at_]) {
      case '{':
        return read_dict(nesting);
      case '[':
        return read_list(nesting);
      case '"':
        return Value(read_string());
      case 't':
        return read_word("true", Value(true));
      case 'f':
        return read_word("false", Value(false));
      case 'n':
        return read_word("null", Value());
      case 'N':
        refuse_not_a_number("NaN");
      case 'I':
        refuse_not_a_number("Infinity");
      default:
        return read_number();
    }
  }

  Value read_word(std::string_view word, Value value) {
    if (text_.substr(at_, word.size()) != word) refuse("a value");
    at_ += word.size();
    return value;
  }

  [[noreturn]] void refuse_not_a_number(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) refuse("a value");
    refuse_at(at_, "found " + std::string(word) + ", which is no JSON, expected a value");
  }

  void enter(uint32_t nesting) {
    if (nesting < options_.max_nesting) return;
    refuse_at(at_, format("nests deeper than %u, expected at most that", options_.max_nesting));
  }

  Value read_list(uint32_t nesting) {
    enter(nesting);
    ++at_;
    Value::List list;
    skip_space();
    if (next_is(']')) return ++at_, Value(std::move(list));
    for (;;) {
      skip_space();
      list.push_back(read_value(nesting + 1));
      skip_space();
      if (next_is(']')) break;
      if (!next_is(',')) refuse("',' or ']'");
      ++at_;
    }
    ++at_;
    return Value(std::move(list));
  }

  Value read_dict(uint32_t nesting) {
    enter(nesting);
    const size_t start = at_++;
    Value::Dict dict;
    skip_space();
    if (next_is('}')) return ++at_, Value(std::move(dict));
    for (;;) {
      skip_space();
      if (!next_is('"')) refuse("a key in quotes");
      std::string key = read_string();
      skip_space();
      if (!next_is(':')) refuse("':'");
      ++at_;
      skip_space();
      Value value = read_value(nesting + 1);
      dict.emplace_back(std::move(key), std::move(value));
      skip_space();
      if (next_is('}')) break;
      if (!next_is(',')) refuse("',' or '}'");
      ++at_;
    }
    ++at_;
    refuse_duplicate_keys(dict, start);
    return Value(std::move(dict));
  }

  // By sorting, so that no keys, however chosen, take time that grows with their square.
  void refuse_duplicate_keys(const Value::Dict& dict, size_t start) {
    using Entry = std::pair<size_t, const std::string*>;
    std::vector<Entry> keys;
    keys.reserve(dict.size());
    for (const auto& entry : dict) {
      keys.emplace_back(std::hash<std::string>()(entry.first), &entry.first);
    }
    std::sort(keys.begin(), keys.end(), [](const Entry& a, const Entry& b) {
      return a.first != b.first ? a.first < b.first : *a.second < *b.second;
    });
    const auto twice =
        std::adjacent_find(keys.begin(), keys.end(), [](const Entry& a, const Entry& b) {
          return a.first == b.first && *a.second == *b.second;
        });
    if (twice == keys.end()) return;
    refuse_at(start, "the dictionary that begins here has the key " + shown(*twice->second) +
                         " twice, expected once");
  }

  // ---- Numbers -------------------------------------------------------------------------------

  bool skip_digits() {
    const size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ > start;
  }

  Value read_number() {
    const size_t start = at_;
    if (next_is('-')) ++at_;
    if (next_is('I')) refuse_not_a_number("Infinity");
    if (next_is('0')) {
      ++at_;
      if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
        refuse("no digit behind a leading 0");
      }
    } else if (!skip_digits()) {
      refuse(at_ > start ? "a digit" : "a value");
    }
    bool is_integer = true;
    if (next_is('.')) {
      is_integer = false;
      ++at_;
      if (!skip_digits()) refuse("a digit");
    }
    if (next_is('e') || next_is('E')) {
      is_integer = false;
      ++at_;
      if (next_is('+') || next_is('-')) ++at_;
      if (!skip_digits()) refuse("a digit");
    }
    return is_integer ? integer_at(start) : real_at(start);
  }

  Value integer_at(size_t start) {
    int64_t value = 0;
    const auto result = std::from_chars(&text_[start], text_.data() + at_, value);
    if (result.ec == std::errc() && value >= -kLargestExactInteger &&
        value <= kLargestExactInteger) {
      return Value(value);
    }
    if (options_.large_integers_as_reals) return real_at(start);
    refuse_at(start, "found the integer " + cut(text_.substr(start, at_ - start)) +
                         ", an integer past 2^53, expected one up to that");
  }

  Value real_at(size_t start) {
    double value = 0;
    const auto result = std::from_chars(&text_[start], text_.data() + at_, value);
    if (result.ec == std::errc()) return Value(value);
    refuse_at(start, "found the number " + cut(text_.substr(start, at_ - start)) +
                         ", expected one within the range of a double");
  }

  static std::string cut(std::string_view text) {
    return text.size() <= 40 ? std::string(text) : std::string(text.substr(0, 40)) + "...";
  }

  // ---- Strings -------------------------------------------------------------------------------

  std::string read_string() {
    const size_t start = at_++;
    std::string out;
    for (;;) {
      const size_t plain = at_;
      while (at_ < text_.size()) {
        const uint8_t c = static_cast<uint8_t>(text_[at_]);
        if (c == '"' || c == '\\' || c < 0x20) break;
        if (c < 0x80) {
          ++at_;
        } else {
          const size_t length = utf8_character_bytes(text_, at_);
          if (length == 0) refuse("UTF-8");
          at_ += length;
        }
      }
      out.append(text_, plain, at_ - plain);
      if (at_ == text_.size()) refuse_at(start, "found a string without an end, expected '\"'");
      if (next_is('"')) break;
      if (!next_is('\\')) refuse("no control character in a string (but \\u and its number)");
      read_escape(&out);
    }
    ++at_;
    return out;
  }

  void read_escape(std::string* out) {
    const size_t start = at_++;
    static constexpr char kLetters[] = "\"\\/bfnrt", kMeanings[] = "\"\\/\b\f\n\r\t";
    const char letter = at_ < text_.size() ? text_[at_] : '\0';
    if (letter == 'u') {
      ++at_;
      append_utf8(read_escaped_character(start), out);
      return;
    }
    const size_t found = std::string_view(kLetters).find(letter);
    if (found == std::string_view::npos) refuse("one of \" \\ / b f n r t u behind '\\'");
    out->push_back(kMeanings[found]);
    ++at_;
  }

  uint32_t read_hex4() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = static_cast<uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        digit = static_cast<uint32_t>(c - 'a') + 10;
      } else if (c >= 'A' && c <= 'F') {
        digit = static_cast<uint32_t>(c - 'A') + 10;
      } else {
        refuse("4 hexadecimal digits behind \\u");
      }
      value = value << 4 | digit;
    }
    return value;
  }

  uint32_t read_escaped_character(size_t start) {
    const uint32_t high = read_hex4();
    if (high < 0xd800 || high > 0xdfff) return high;
    if (high < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const uint32_t low = read_hex4();
      if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    refuse_at(start, format("found \\u%04x, half a surrogate pair, expected both halves", high));
  }

  std::string_view text_;
  const std::string& path_;
  const JsonOptions& options_;
  size_t at_ = 0;
  size_t n_values_ = 0;
};

}  // namespace

Value read_json(std::string_view text, const std::string& path, const JsonOptions& options) {
  return JsonReader(text, path, options).read();
}

Value read_json_file(const std::string& path, const JsonOptions& options, uint64_t max_bytes) {
  return read_json(read_whole_file(path, max_bytes), path, options);
}

}  // namespace thimble::tools
