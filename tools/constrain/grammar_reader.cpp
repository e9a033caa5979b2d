// SPDX-License-Identifier: MIT
#include "constrain/grammar_reader.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "constrain/regex_reader.h"
#include "error.h"
#include "json_string.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

constexpr uint32_t kMaxNesting = 200;
constexpr uint32_t kMaxCount = 100000;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class GrammarReader {
 public:
  GrammarReader(std::string_view text, const std::string& path, Syntax* syntax)
      : text_(text), path_(path), syntax_(syntax) {}

  void read() {
    skip();
    while (at_ < text_.size()) read_definition();
    for (const auto& entry : names_) {
      if (syntax_->definitions[entry.second]) continue;
      at_ = first_use_[entry.second];
      throw Refused(place() + "rule " + shown(entry.first) + " is used, but not defined");
    }
    const auto root = names_.find("root");
    if (root == names_.end()) {
      throw Refused(path_ + ": has no rule \"root\", which grammars begin with");
    }
    syntax_->root = call_node(root->second);
  }

 private:
  std::string place() const {
    const std::string_view before = text_.substr(0, at_);
    const auto lines = std::count(before.begin(), before.end(), '\n');
    return format("%s:%zu: ", path_.c_str(), static_cast<size_t>(lines) + 1);
  }
  [[noreturn]] void refuse(const std::string& expected) const {
    std::string found = "the end";
    if (at_ < text_.size()) {
      const size_t n = std::max<size_t>(utf8_character_bytes(text_, at_), 1);
      found = shown(std::string(text_.substr(at_, n)));
    }
    throw Refused(place() + "found " + found + ", expected " + expected);
  }

  void skip() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        ++at_;
      } else {
        return;
      }
    }
  }
  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool take(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }

  std::string read_name() {
    const size_t start = at_;
    while (at_ < text_.size() && is_name_character(text_[at_])) ++at_;
    if (at_ == start) refuse("the name of a rule");
    return std::string(text_.substr(start, at_ - start));
  }

  uint32_t number_of(const std::string& name, size_t use) {
    const auto known = names_.find(name);
    if (known != names_.end()) return known->second;
    const uint32_t number = static_cast<uint32_t>(syntax_->definitions.size());
    names_[name] = number;
    first_use_.push_back(use);
    syntax_->definitions.push_back(nullptr);
    return number;
  }

  // Whether a definition begins here.
  bool is_definition() {
    const size_t start = at_;
    while (at_ < text_.size() && is_name_character(text_[at_])) ++at_;
    const bool has_name = at_ > start;
    skip();
    const bool is_it = has_name && text_.substr(at_, 3) == "::=";
    at_ = start;
    return is_it;
  }

  void read_definition() {
    const size_t start = at_;
    const std::string name = read_name();
    skip();
    if (text_.substr(at_, 3) != "::=") refuse("'::='");
    at_ += 3;
    const uint32_t number = number_of(name, start);
    if (syntax_->definitions[number]) {
      at_ = start;
      throw Refused(place() + "rule " + shown(name) + " is defined a second time");
    }
    NodePtr node = read_choice(0);
    if (at_ < text_.size() && !is_definition()) refuse("a rule, as name ::= ...");
    syntax_->definitions[number] = std::move(node);
  }

  NodePtr read_choice(uint32_t nesting) {
    if (nesting > kMaxNesting) {
      refuse(format("groups that nest no deeper than %u", kMaxNesting));
    }
    std::vector<NodePtr> parts;
    do {
      skip();
      parts.push_back(read_sequence(nesting));
    } while (take('|'));
    return choice_node(std::move(parts));
  }

  NodePtr read_sequence(uint32_t nesting) {
    std::vector<NodePtr> parts;
    while (at_ < text_.size() && !next_is('|') && !next_is(')') && !is_definition()) {
      NodePtr node = read_atom(nesting);
      skip();
      for (;;) {
        uint32_t least = 0, most = kUnbounded;
        if (take('*')) {
        } else if (take('+')) {
          least = 1;
        } else if (take('?')) {
          most = 1;
        } else if (take('{')) {
          least = most = read_count();
          if (take(',')) {
            skip();
            most = next_is('}') ? kUnbounded : read_count();
          }
          if (!take('}')) refuse("'}'");
          if (most < least) refuse("counts that do not fall");
        } else {
          break;
        }
        node = repeat_node(std::move(node), least, most);
        skip();
      }
      parts.push_back(std::move(node));
    }
    return sequence_node(std::move(parts));
  }

  uint32_t read_count() {
    skip();
    uint32_t count = 0;
    const size_t start = at_;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      count = count * 10 + static_cast<uint32_t>(text_[at_] - '0');
      if (count > kMaxCount) refuse(format("a count of at most %u", kMaxCount));
    }
    if (at_ == start) refuse("a count");
    skip();
    return count;
  }

  NodePtr read_atom(uint32_t nesting) {
    if (take('"')) return read_text();
    if (take('[')) return set_node(read_class(text_, &at_, place() + "a class"));
    if (take('.')) return any_character();
    if (take('(')) {
      NodePtr node = read_choice(nesting + 1);
      if (!take(')')) refuse("')', which ends the group");
      return node;
    }
    if (at_ < text_.size() && is_name_character(text_[at_])) {
      const size_t use = at_;
      return call_node(number_of(read_name(), use));
    }
    refuse("a text in quotes, a class, a group or the name of a rule");
  }

  NodePtr read_text() {
    std::string out;
    while (!next_is('"')) {
      if (at_ == text_.size() || next_is('\n')) refuse("'\"', which ends the text");
      if (next_is('\\')) {
        // Escapes are those of a class.
        const size_t end = escape_end();
        const std::string escape = std::string(text_.substr(at_, end - at_)) + "]";
        size_t from = 0;
        const CharacterSet set = read_class(escape, &from, place() + "a text");
        if (set.size() != 1 || set[0].first != set[0].last) refuse("an escaped character");
        append_utf8(set[0].first, &out);
        at_ = end;
        continue;
      }
      const size_t n = utf8_character_bytes(text_, at_);
      if (n == 0) refuse("UTF-8");
      out += text_.substr(at_, n);
      at_ += n;
    }
    ++at_;
    return text_node(std::move(out));
  }

  size_t escape_end() const {
    const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    const size_t hex = kind == 'x' ? 2 : kind == 'u' ? 4 : 0;
    return std::min(at_ + 2 + hex, text_.size());
  }

  std::string_view text_;
  const std::string& path_;
  Syntax* syntax_;
  size_t at_ = 0;
  std::map<std::string, uint32_t> names_;
  std::vector<size_t> first_use_;
};

}  // namespace

Syntax read_grammar(std::string_view text, const std::string& path, uint32_t depth) {
  Syntax syntax;
  syntax.depth = depth;
  GrammarReader(text, path, &syntax).read();
  return syntax;
}

}  // namespace thimble::tools
