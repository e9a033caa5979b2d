// SPDX-License-Identifier: MIT
#include "constrain/regex_reader.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "characters.h"
#include "error.h"
#include "json_string.h"
#include "unicode_classes.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

constexpr uint32_t kMaxNesting = 200;
constexpr uint32_t kMaxCount = 100000;

const CharacterSet& digits() {
  static const CharacterSet set = {{'0', '9'}};
  return set;
}
const CharacterSet& word_characters() {
  static const CharacterSet set = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return set;
}
const CharacterSet& spaces() {
  static const CharacterSet set = {{'\t', '\r'}, {' ', ' '}};
  return set;
}

CharacterSet ranges_of(CharacterClass wanted) {
  CharacterSet set;
  for (uint32_t c = 0; c <= kLastCodePoint; ++c) {
    if (class_of(c) != wanted) continue;
    if (!set.empty() && set.back().last + 1 == c) {
      set.back().last = c;
    } else {
      set.push_back({c, c});
    }
  }
  return set;
}

const CharacterSet& letters() {
  static const CharacterSet set = ranges_of(kLetter);
  return set;
}
const CharacterSet& numbers() {
  static const CharacterSet set = ranges_of(kNumber);
  return set;
}

class RegexReader {
 public:
  RegexReader(std::string_view pattern, const std::string& place, bool is_search)
      : pattern_(pattern), place_(place), is_search_(is_search) {}

  NodePtr read() {
    NodePtr node = read_choice(0);
    if (at_ < pattern_.size()) refuse("the end, as no group is open");
    return node;
  }

  size_t at() const { return at_; }
  void start_at(size_t at) { at_ = at; }

  CharacterSet read_class_set() {
    const bool is_negated = take('^');
    CharacterSet set;
    for (bool is_first = true; is_first || !next_is(']'); is_first = false) {
      if (at_ == pattern_.size()) refuse("']', which ends the class");
      if (next_is(']')) break;  // an empty class
      if (next_is('[') && pattern_.substr(at_, 2) == "[:") {
        refuse("no POSIX class; \\d, \\w and \\s are there");
      }
      CharacterSet one;
      uint32_t first = 0;
      const bool is_single = class_item(&first, &one);
      if (!is_single) {
        set.insert(set.end(), one.begin(), one.end());
        continue;
      }
      uint32_t last = first;
      if (next_is('-') && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']') {
        const size_t dash = at_++;
        if (!class_item(&last, &one)) {
          at_ = dash + 1;
          refuse("the character that ends the range");
        }
        if (last < first) {
          at_ = dash + 1;
          refuse("a character that is not before the range's first one");
        }
      }
      set.push_back({first, last});
    }
    ++at_;
    set = normalized(std::move(set));
    return is_negated ? complement(set) : set;
  }

 private:
  [[noreturn]] void refuse(const std::string& expected) const {
    const std::string found = at_ < pattern_.size()
                                  ? shown(std::string(pattern_.substr(at_, character_bytes())))
                                  : std::string("the end");
    throw Refused(format("%s: character %zu of the pattern: found %s, expected %s", place_.c_str(),
                         at_ + 1, found.c_str(), expected.c_str()));
  }
  [[noreturn]] void refuse_kind(const char* what, const char* why) const {
    throw Refused(format("%s: character %zu of the pattern: %s cannot be compiled: %s",
                         place_.c_str(), at_ + 1, what, why));
  }

  bool next_is(char c) const { return at_ < pattern_.size() && pattern_[at_] == c; }
  bool take(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  size_t character_bytes() const {
    return std::max<size_t>(utf8_character_bytes(pattern_, at_), 1);
  }

  uint32_t read_character() {
    const size_t n = utf8_character_bytes(pattern_, at_);
    if (n == 0) refuse("UTF-8");
    const uint32_t code = utf8_code_point(reinterpret_cast<const uint8_t*>(pattern_.data()) + at_,
                                          static_cast<uint32_t>(n));
    at_ += n;
    return code;
  }

  uint32_t read_hex(size_t least, size_t most) {
    uint32_t code = 0;
    size_t n = 0;
    for (; n < most && at_ < pattern_.size(); ++n, ++at_) {
      const char c = pattern_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    if (n < least) refuse("a hexadecimal digit");
    return code;
  }

  uint32_t checked_code(uint32_t code) {
    if (code > kLastCodePoint || (code >= 0xd800 && code <= 0xdfff)) {
      refuse(format("a code point, not U+%04X", code));
    }
    return code;
  }

  // Behind a backslash. True: a single character, to *code; otherwise a class, to *set.
  bool read_escape(uint32_t* code, CharacterSet* set) {
    if (at_ == pattern_.size()) refuse("what the backslash escapes");
    const char c = pattern_[at_];
    const auto is_class = [&](const CharacterSet& members, bool negated) {
      ++at_;
      *set = negated ? complement(members) : members;
      return false;
    };
    switch (c) {
      case 'd':
        return is_class(digits(), false);
      case 'D':
        return is_class(digits(), true);
      case 'w':
        return is_class(word_characters(), false);
      case 'W':
        return is_class(word_characters(), true);
      case 's':
        return is_class(spaces(), false);
      case 'S':
        return is_class(spaces(), true);
      case 'p':
      case 'P':
        return read_property(set);
      case 'n':
        return ++at_, *code = '\n', true;
      case 'r':
        return ++at_, *code = '\r', true;
      case 't':
        return ++at_, *code = '\t', true;
      case 'f':
        return ++at_, *code = '\f', true;
      case 'v':
        return ++at_, *code = '\v', true;
      case '0':
        return ++at_, *code = 0, true;
      case 'x':
        ++at_;
        *code = read_hex(2, 2);
        return true;
      case 'u':
        ++at_;
        if (take('{')) {
          *code = checked_code(read_hex(1, 6));
          if (!take('}')) refuse("'}'");
        } else {
          *code = read_hex(4, 4);
          if (*code >= 0xd800 && *code <= 0xdbff && pattern_.substr(at_, 2) == "\\u") {
            at_ += 2;
            const uint32_t low = read_hex(4, 4);
            if (low < 0xdc00 || low > 0xdfff) refuse("the second half of a surrogate pair");
            *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
          }
          checked_code(*code);
        }
        return true;
      case 'b':
      case 'B':
        refuse_kind("\\b", "where words begin is not looked at");
      default:
        break;
    }
    if (c >= '1' && c <= '9') {
      refuse_kind("a reference to a group", "no automaton remembers what a group matched");
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      refuse("an escape that is known: n r t f v 0 x u d w s p, or punctuation");
    }
    *code = read_character();
    return true;
  }

  bool read_property(CharacterSet* set) {
    const bool is_negated = pattern_[at_] == 'P';
    ++at_;
    if (!take('{')) refuse("'{' and a property");
    const size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos) refuse("a property and '}'");
    const std::string_view name = pattern_.substr(at_, end - at_);
    const CharacterSet* members = nullptr;
    if (name == "L" || name == "Letter") members = &letters();
    if (name == "N" || name == "Number") members = &numbers();
    if (!members) refuse("one of the properties L, Letter, N and Number");
    at_ = end + 1;
    *set = is_negated ? complement(*members) : *members;
    return false;
  }

  // Of a class. True: a single character.
  bool class_item(uint32_t* code, CharacterSet* set) {
    if (take('\\')) {
      if (next_is('b')) return ++at_, *code = '\b', true;
      if (next_is('-')) return ++at_, *code = '-', true;
      return read_escape(code, set);
    }
    *code = read_character();
    return true;
  }

  // ---- What the pattern is made of -----------------------------------------------------------

  NodePtr read_choice(uint32_t nesting) {
    if (nesting > kMaxNesting) {
      refuse(format("groups that nest no deeper than %u", kMaxNesting));
    }
    std::vector<NodePtr> parts;
    do parts.push_back(read_sequence(nesting));
    while (take('|'));
    return choice_node(std::move(parts));
  }

  NodePtr read_sequence(uint32_t nesting) {
    std::vector<NodePtr> parts;
    bool is_open_start = is_search_ && nesting == 0, is_open_end = is_open_start;
    if (nesting == 0 && take('^')) is_open_start = false;
    while (at_ < pattern_.size() && !next_is('|') && !next_is(')')) {
      if (next_is('$') && nesting == 0 &&
          (at_ + 1 == pattern_.size() || pattern_[at_ + 1] == '|')) {
        ++at_;
        is_open_end = false;
        break;
      }
      parts.push_back(read_repeated(nesting));
    }
    const NodePtr anything = repeat_node(any_character(), 0, kUnbounded);
    if (is_open_start) parts.insert(parts.begin(), anything);
    if (is_open_end) parts.push_back(anything);
    return sequence_node(std::move(parts));
  }

  NodePtr read_repeated(uint32_t nesting) {
    NodePtr node = read_atom(nesting);
    for (uint32_t levels = 0;; ++levels) {
      uint32_t least = 0, most = kUnbounded;
      if (take('*')) {
      } else if (take('+')) {
        least = 1;
      } else if (take('?')) {
        most = 1;
      } else if (!read_counts(&least, &most)) {
        return node;
      }
      if (levels > 0) {
        --at_;
        refuse("no second count of the same thing; a group can have one");
      }
      if (next_is('+')) refuse_kind("a possessive count", "an automaton does not backtrack");
      take('?');
      node = repeat_node(std::move(node), least, most);
    }
  }

  bool read_counts(uint32_t* least, uint32_t* most) {
    if (!next_is('{')) return false;
    ++at_;
    *least = read_count();
    *most = *least;
    if (take(',')) *most = next_is('}') ? kUnbounded : read_count();
    if (!take('}')) refuse("'}'; a brace that is meant is \\{");
    if (*most < *least) {
      --at_;
      refuse(format("a largest count of at least %u", *least));
    }
    return true;
  }

  uint32_t read_count() {
    uint32_t count = 0;
    const size_t start = at_;
    for (; at_ < pattern_.size() && pattern_[at_] >= '0' && pattern_[at_] <= '9'; ++at_) {
      count = count * 10 + static_cast<uint32_t>(pattern_[at_] - '0');
      if (count > kMaxCount) {
        at_ = start;
        refuse(format("a count of at most %u", kMaxCount));
      }
    }
    if (at_ == start) refuse("a count; a brace that is meant is \\{");
    return count;
  }

  NodePtr read_atom(uint32_t nesting) {
    const char c = pattern_[at_];
    switch (c) {
      case '(':
        ++at_;
        return read_group(nesting);
      case '[':
        ++at_;
        return set_node(read_class_set());
      case '.':
        ++at_;
        return set_node({{0, '\n' - 1}, {'\n' + 1, kLastCodePoint}});
      case '*':
      case '+':
      case '?':
      case '{':
        refuse("something before it that is repeated");
      case '^':
        refuse_kind("'^'", "an anchor stands at the very beginning only");
      case '$':
        refuse_kind("'$'", "an anchor stands at the very end only");
      case '\\': {
        ++at_;
        uint32_t code = 0;
        CharacterSet set;
        if (!read_escape(&code, &set)) return set_node(std::move(set));
        std::string text;
        append_utf8(code, &text);
        return text_node(std::move(text));
      }
      default:
        break;
    }
    const size_t start = at_;
    read_character();
    return text_node(std::string(pattern_.substr(start, at_ - start)));
  }

  NodePtr read_group(uint32_t nesting) {
    if (next_is('?')) {
      const std::string_view kind = pattern_.substr(at_, 3);
      if (kind.substr(0, 2) == "?:") {
        at_ += 2;
      } else if (kind == "?=" || kind.substr(0, 2) == "?=" || kind.substr(0, 2) == "?!" ||
                 kind == "?<=" || kind == "?<!") {
        refuse_kind("a look around", "only what is written is looked at");
      } else if (kind.substr(0, 2) == "?<" || kind == "?P<") {
        const size_t end = pattern_.find('>', at_);
        if (end == std::string_view::npos) refuse("a name and '>'");
        at_ = end + 1;
      } else {
        refuse_kind("'(?'", "of these groups only (?:...) and (?<name>...) are known");
      }
    }
    NodePtr node = read_choice(nesting + 1);
    if (!take(')')) refuse("')', which ends the group");
    return node;
  }

  std::string_view pattern_;
  const std::string& place_;
  bool is_search_;
  size_t at_ = 0;
};

}  // namespace

NodePtr read_regex(std::string_view pattern, const std::string& place, bool is_search) {
  return RegexReader(pattern, place, is_search).read();
}

CharacterSet read_class(std::string_view pattern, size_t* at, const std::string& place) {
  RegexReader reader(pattern, place, false);
  reader.start_at(*at);
  CharacterSet set = reader.read_class_set();
  *at = reader.at();
  return set;
}

NodePtr any_character() {
  return set_node({{0, kLastCodePoint}});
}

}  // namespace thimble::tools
