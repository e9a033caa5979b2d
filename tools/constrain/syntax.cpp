// SPDX-License-Identifier: MIT
#include "constrain/syntax.h"

#include <algorithm>
#include <utility>

namespace thimble::tools {

CharacterSet normalized(CharacterSet set) {
  std::sort(set.begin(), set.end(),
            [](const CharacterRange& a, const CharacterRange& b) { return a.first < b.first; });
  CharacterSet out;
  out.reserve(set.size());
  for (const CharacterRange& range : set) {
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CharacterSet complement(const CharacterSet& set) {
  CharacterSet out;
  out.reserve(set.size() + 1);
  uint32_t next = 0;
  for (const CharacterRange& range : set) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) out.push_back({next, kLastCodePoint});
  return out;
}

CharacterSet intersection(const CharacterSet& a, const CharacterSet& b) {
  CharacterSet out;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const uint32_t first = std::max(a[i].first, b[j].first);
    const uint32_t last = std::min(a[i].last, b[j].last);
    if (first <= last) out.push_back({first, last});
    if (a[i].last < b[j].last) {
      ++i;
    } else {
      ++j;
    }
  }
  return out;
}

namespace {

std::shared_ptr<Node> make(Node::Kind kind) {
  auto node = std::make_shared<Node>();
  node->kind = kind;
  return node;
}

}  // namespace

NodePtr text_node(std::string text) {
  auto node = make(Node::kText);
  node->text = std::move(text);
  return node;
}

NodePtr set_node(CharacterSet set) {
  auto node = make(Node::kSet);
  node->set = std::move(set);
  return node;
}

NodePtr sequence_node(std::vector<NodePtr> parts) {
  if (parts.size() == 1) return parts[0];
  auto node = make(Node::kSequence);
  node->parts = std::move(parts);
  return node;
}

NodePtr choice_node(std::vector<NodePtr> parts) {
  if (parts.size() == 1) return parts[0];
  auto node = make(Node::kChoice);
  node->parts = std::move(parts);
  return node;
}

NodePtr repeat_node(NodePtr part, uint32_t least, uint32_t most) {
  auto node = make(Node::kRepeat);
  node->parts.push_back(std::move(part));
  node->least = least;
  node->most = most;
  return node;
}

NodePtr optional_node(NodePtr part) {
  return repeat_node(std::move(part), 0, 1);
}

NodePtr members_node(std::vector<Member> members) {
  auto node = make(Node::kMembers);
  node->members = std::move(members);
  return node;
}

NodePtr call_node(uint32_t definition) {
  auto node = make(Node::kCall);
  node->definition = definition;
  return node;
}

NodePtr nothing_node() {
  return choice_node({});
}

}  // namespace thimble::tools
