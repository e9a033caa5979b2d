// SPDX-License-Identifier: MIT
#include "intents/phrase_reader.h"

#include <cstdlib>

#include "error.h"

namespace thimble::tools {
namespace {

constexpr uint32_t kMaxNesting = 32, kMaxNumber = 1000000, kMaxWeight = 1000;

class Reader {
 public:
  Reader(const std::string& text, const std::string& where) : text_(text), where_(where) {}

  Phrase whole() {
    Phrase phrase = choice(0);
    if (at_ < text_.size()) refuse(std::string("'") + text_[at_] + "'", "the phrase's end");
    return phrase;
  }

 private:
  [[noreturn]] void refuse(const std::string& found, const std::string& expected) const {
    throw Refused(format("%s: found %s at column %zu of '%s', expected %s", where_.c_str(),
                         found.c_str(), at_ + 1, text_.c_str(), expected.c_str()));
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  static bool is_of_word(char c) {
    return std::string(" \t()[]{}<>|=").find(c) == std::string::npos;
  }

  std::string word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_of_word(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  void close(char c) {
    skip_spaces();
    if (at_ == text_.size()) refuse("the line's end", std::string("'") + c + "'");
    if (text_[at_] != c) refuse(std::string("'") + text_[at_] + "'", std::string("'") + c + "'");
    ++at_;
  }

  // "3*" in front of an alternative.
  uint32_t weight() {
    skip_spaces();
    size_t end = at_;
    while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
    if (end == at_ || end == text_.size() || text_[end] != '*') return 1;
    const unsigned long w = end - at_ > 4 ? 0 : std::strtoul(text_.c_str() + at_, nullptr, 10);
    if (w < 1 || w > kMaxWeight) refuse("a weight out of range", "1* to 1000*");
    at_ = end + 1;
    return static_cast<uint32_t>(w);
  }

  Phrase choice(uint32_t depth) {
    if (depth > kMaxNesting) refuse("more brackets in brackets", "at most 32");
    Phrase all;
    all.kind = Phrase::Kind::kChoice;
    while (true) {
      all.weights.push_back(weight());
      all.parts.push_back(sequence(depth));
      skip_spaces();
      if (at_ < text_.size() && text_[at_] == '=') {
        if (depth > 0) refuse("a value", "it behind an alternative of a list only");
        ++at_;
        skip_spaces();
        all.parts.back().value = word();
        if (all.parts.back().value.empty()) refuse("nothing", "a value behind '='");
        skip_spaces();
      }
      if (at_ == text_.size() || text_[at_] != '|') return all;
      ++at_;
    }
  }

  Phrase sequence(uint32_t depth) {
    Phrase all;
    while (true) {
      skip_spaces();
      if (at_ == text_.size()) return all;
      switch (text_[at_]) {
        case '|':
        case '=':
        case ')':
        case ']':
        case '}':
        case '>':
          return all;
        case '(':
          ++at_;
          all.parts.push_back(choice(depth + 1));
          close(')');
          break;
        case '[':
          ++at_;
          all.parts.push_back(optional(depth + 1));
          close(']');
          break;
        case '<':
          ++at_;
          all.parts.push_back(reference());
          close('>');
          break;
        case '{':
          ++at_;
          all.parts.push_back(slot());
          close('}');
          break;
        case '@':
          refuse("'@'", "ways in a sentence, or in others, only");
        default: {
          Phrase said;
          said.kind = Phrase::Kind::kWord;
          said.is_glued = at_ > 0 && std::string(">})]").find(text_[at_ - 1]) != std::string::npos;
          said.text = word();
          all.parts.push_back(said);
        }
      }
    }
  }

  Phrase optional(uint32_t depth) {
    Phrase inner = choice(depth);
    Phrase all;
    all.kind = Phrase::Kind::kChoice;
    all.weights = {1, 1};
    all.parts.resize(2);
    all.parts[1] = std::move(inner);
    return all;
  }

  Phrase reference() {
    Phrase r;
    r.text = word();
    r.kind = r.text == "made-up" ? Phrase::Kind::kMadeUp : Phrase::Kind::kReference;
    if (r.text.empty()) refuse("nothing", "a list's name");
    return r;
  }

  uint32_t number() {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    const unsigned long n =
        at_ == begin || at_ - begin > 7 ? kMaxNumber + 1 : std::strtoul(&text_[begin], nullptr, 10);
    if (n > kMaxNumber) refuse("no such number", "one from 0 to 1000000");
    return static_cast<uint32_t>(n);
  }

  Phrase slot() {
    Phrase s;
    s.slot = word();
    if (s.slot.empty()) refuse("nothing", "a slot's name");
    s.kind = Phrase::Kind::kReference;
    s.text = s.slot;
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != '=') return s;
    ++at_;
    skip_spaces();
    if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      s.kind = Phrase::Kind::kNumber;
      s.low = number();
      if (text_.compare(at_, 2, "..") != 0) refuse("a number", "a range, as 0..100");
      at_ += 2;
      s.high = number();
      if (at_ < text_.size() && text_[at_] == '/') {
        ++at_;
        s.step = number();
      }
      if (s.high < s.low || s.step == 0) refuse("an empty range", "0..100 or 0..100/5, say");
      return s;
    }
    s.text = word();
    if (s.text.empty()) refuse("nothing", "a list's name or a range behind '='");
    return s;
  }

  const std::string& text_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace

Phrase read_phrase(const std::string& text, const std::string& where) {
  return Reader(text, where).whole();
}

}  // namespace thimble::tools
