// SPDX-License-Identifier: MIT
// What a rule's syntax tree says, without any automaton: a matcher that backtracks, and texts drawn
// from it.
#ifndef THIMBLE_TESTS_SYNTAX_MATCHER_H
#define THIMBLE_TESTS_SYNTAX_MATCHER_H

#include <functional>
#include <string>
#include <vector>

#include "characters.h"
#include "constrain/syntax.h"
#include "random.h"
#include "utf8_text.h"

namespace thimble::test {

using Rest = std::function<bool(size_t at)>;

// Whether `node` matches from `at` to somewhere from where `rest` does.
inline bool match_node(const tools::Node& node, const std::string& text, size_t at,
                       const Rest& rest);

inline bool match_parts(const tools::Node& node, size_t part, const std::string& text, size_t at,
                        const Rest& rest) {
  if (part == node.parts.size()) return rest(at);
  return match_node(*node.parts[part], text, at, [&, part](size_t next) {
    return match_parts(node, part + 1, text, next, rest);
  });
}

inline bool match_times(const tools::Node& node, uint32_t times, const std::string& text, size_t at,
                        const Rest& rest) {
  if (times >= node.least && rest(at)) return true;
  if (times == node.most) return false;
  return match_node(*node.parts[0], text, at, [&, times, at](size_t next) {
    if (next == at && times >= node.least) return false;  // it would not end
    return match_times(node, times + 1, text, next, rest);
  });
}

inline bool match_node(const tools::Node& node, const std::string& text, size_t at,
                       const Rest& rest) {
  using tools::Node;
  switch (node.kind) {
    case Node::kText:
      return text.compare(at, node.text.size(), node.text) == 0 && rest(at + node.text.size());
    case Node::kSet: {
      const size_t n = at < text.size() ? tools::utf8_character_bytes(text, at) : 0;
      if (n == 0) return false;
      const uint32_t c = utf8_code_point(reinterpret_cast<const uint8_t*>(text.data()) + at,
                                         static_cast<uint32_t>(n));
      for (const tools::CharacterRange& range : node.set) {
        if (c >= range.first && c <= range.last) return rest(at + n);
      }
      return false;
    }
    case Node::kSequence:
      return match_parts(node, 0, text, at, rest);
    case Node::kChoice:
      for (const tools::NodePtr& part : node.parts) {
        if (match_node(*part, text, at, rest)) return true;
      }
      return false;
    case Node::kRepeat:
      return match_times(node, 0, text, at, rest);
    default:
      return false;  // not drawn here
  }
}

inline bool matches(const tools::Node& node, const std::string& text) {
  return match_node(node, text, 0, [&](size_t at) { return at == text.size(); });
}

// A text that the node matches.
inline std::string drawn_text(const tools::Node& node, Random* random) {
  using tools::Node;
  std::string out;
  switch (node.kind) {
    case Node::kText:
      return node.text;
    case Node::kSet: {
      const tools::CharacterRange& range =
          node.set[random->below(static_cast<uint32_t>(node.set.size()))];
      uint32_t c = range.first + random->below(range.last - range.first + 1);
      if (c >= 0xd800 && c <= 0xdfff) c = 0xe000;
      tools::append_utf8(c, &out);
      return out;
    }
    case Node::kSequence:
      for (const tools::NodePtr& part : node.parts) out += drawn_text(*part, random);
      return out;
    case Node::kChoice:
      return drawn_text(*node.parts[random->below(static_cast<uint32_t>(node.parts.size()))],
                        random);
    case Node::kRepeat: {
      const uint32_t most = node.most == tools::kUnbounded ? node.least + 4 : node.most;
      const uint32_t times = node.least + random->below(most - node.least + 1);
      for (uint32_t i = 0; i < times; ++i) out += drawn_text(*node.parts[0], random);
      return out;
    }
    default:
      return out;
  }
}

// A random tree over few letters, so that what it matches is not told apart early, and some
// characters beyond them.
inline tools::NodePtr random_tree(Random* random, uint32_t depth) {
  const uint32_t kind = depth == 0 ? random->below(2) : random->below(6);
  const auto parts = [&](uint32_t most) {
    std::vector<tools::NodePtr> out;
    const uint32_t n = 1 + random->below(most);
    for (uint32_t i = 0; i < n; ++i) out.push_back(random_tree(random, depth - 1));
    return out;
  };
  switch (kind) {
    case 0: {
      std::string text;
      const uint32_t n = random->below(4);
      const char* const kLetters[] = {"a", "b", "n", " ", "\xc3\xa9", "t"};
      for (uint32_t i = 0; i < n; ++i) text += kLetters[random->below(6)];
      return tools::text_node(text);
    }
    case 1: {
      const tools::CharacterSet sets[] = {{{'a', 'c'}},
                                          {{'a', 'z'}},
                                          {{'n', 'n'}, {0xe0, 0x17f}},
                                          {{' ', ' '}, {'a', 'a'}, {0x1f600, 0x1f64f}},
                                          {{0, tools::kLastCodePoint}}};
      return tools::set_node(sets[random->below(5)]);
    }
    case 2:
    case 3:
      return tools::sequence_node(parts(4));
    case 4:
      return tools::choice_node(parts(3));
    default: {
      const uint32_t least = random->below(3);
      const uint32_t most = random->below(3) == 0 ? tools::kUnbounded : least + random->below(3);
      return tools::repeat_node(random_tree(random, depth - 1), least, most);
    }
  }
}

}  // namespace thimble::test

#endif
