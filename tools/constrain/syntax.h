// SPDX-License-Identifier: MIT
// The one form that all kinds of rules are read to: a tree of what a text may be.
#ifndef THIMBLE_TOOLS_CONSTRAIN_SYNTAX_H
#define THIMBLE_TOOLS_CONSTRAIN_SYNTAX_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace thimble::tools {

// Code points first to last; surrogates among them are none.
struct CharacterRange {
  uint32_t first, last;
};
// Ascending, with gaps between.
using CharacterSet = std::vector<CharacterRange>;

constexpr uint32_t kLastCodePoint = 0x10ffff;
constexpr uint32_t kUnbounded = UINT32_MAX;

CharacterSet normalized(CharacterSet set);
CharacterSet complement(const CharacterSet& set);
CharacterSet intersection(const CharacterSet& a, const CharacterSet& b);

struct Node;
using NodePtr = std::shared_ptr<const Node>;

// Of a list with commas between: it may be left out, or come any number of times.
struct Member {
  NodePtr node;
  bool is_optional = false, repeats = false;
};

struct Node {
  enum Kind {
    kText,      // these bytes, UTF-8
    kSet,       // one character
    kSequence,  // all parts; without any: the empty text
    kChoice,    // one of them; without any: nothing matches
    kRepeat,    // the only part, least to most times
    kMembers,   // the members that are there, in order
    kCall       // the definition of that number
  };
  Kind kind = kSequence;
  std::string text;
  CharacterSet set;
  std::vector<NodePtr> parts;
  std::vector<Member> members;
  uint32_t least = 0, most = 0;  // most may be kUnbounded
  uint32_t definition = 0;
};

NodePtr text_node(std::string text);
NodePtr set_node(CharacterSet set);
NodePtr sequence_node(std::vector<NodePtr> parts);
NodePtr choice_node(std::vector<NodePtr> parts);
NodePtr repeat_node(NodePtr part, uint32_t least, uint32_t most);
NodePtr optional_node(NodePtr part);
NodePtr members_node(std::vector<Member> members);
NodePtr call_node(uint32_t definition);
NodePtr nothing_node();

// A whole rule.
struct Syntax {
  NodePtr root;
  std::vector<NodePtr> definitions;  // what calls lead to
  uint32_t depth = 3;                // how often a definition may stand within itself
};

}  // namespace thimble::tools

#endif
