// SPDX-License-Identifier: MIT
#include "constrain/nfa.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "error.h"

namespace thimble::tools {
namespace {

// Calls each(first, last, n) for sequences of n ranges of bytes that are the UTF-8 of [low, high]
// (Pike, Cox: RE2's way).
template <class Each>
void utf8_ranges(uint32_t low, uint32_t high, Each each) {
  if (low > high) return;
  if (low < 0xd800 && high > 0xdfff) {
    utf8_ranges(low, 0xd7ff, each);
    utf8_ranges(0xe000, high, each);
    return;
  }
  if (low >= 0xd800 && low <= 0xdfff) low = 0xe000;
  if (high >= 0xd800 && high <= 0xdfff) high = 0xd7ff;
  if (low > high) return;
  for (const uint32_t limit : {0x7fu, 0x7ffu, 0xffffu}) {
    if (low <= limit && high > limit) {
      utf8_ranges(low, limit, each);
      utf8_ranges(limit + 1, high, each);
      return;
    }
  }
  const uint32_t n = high <= 0x7f ? 1 : high <= 0x7ff ? 2 : high <= 0xffff ? 3 : 4;
  for (uint32_t i = 1; i < n; ++i) {
    const uint32_t mask = (1u << (6 * i)) - 1;
    if ((low & ~mask) == (high & ~mask)) continue;
    if ((low & mask) != 0) {
      utf8_ranges(low, low | mask, each);
      utf8_ranges((low | mask) + 1, high, each);
      return;
    }
    if ((high & mask) != mask) {
      utf8_ranges(low, (high & ~mask) - 1, each);
      utf8_ranges(high & ~mask, high, each);
      return;
    }
  }
  uint8_t first[4], last[4];
  const uint8_t kLeads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (uint32_t i = n; i-- > 0;) {
    const uint32_t shift = 6 * (n - 1 - i);
    const uint8_t lead = i > 0 ? uint8_t{0x80} : kLeads[n];
    const uint32_t mask = i > 0 ? 0x3f : 0xff;
    first[i] = static_cast<uint8_t>(lead | ((low >> shift) & mask));
    last[i] = static_cast<uint8_t>(lead | ((high >> shift) & mask));
  }
  each(first, last, n);
}

class Builder {
 public:
  explicit Builder(const Syntax& syntax) : syntax_(syntax) {}

  Nfa build() {
    nfa_.start = add(Nfa::State::kSplit);
    const uint32_t end = add(Nfa::State::kAccept);
    connect(*syntax_.root, nfa_.start, end);
    return std::move(nfa_);
  }

 private:
  uint32_t add(Nfa::State::Kind kind) {
    if (nfa_.states.size() == kMaxNfaStates) {
      throw Refused(
          format("the rule is too large: more than %u states; counts, nested definitions and "
                 "large classes that are repeated are what makes it so",
                 kMaxNfaStates));
    }
    nfa_.states.push_back({kind, 0, 0, Nfa::kNowhere, Nfa::kNowhere});
    return static_cast<uint32_t>(nfa_.states.size() - 1);
  }
  uint32_t bytes(uint8_t first, uint8_t last, uint32_t to) {
    const uint32_t state = add(Nfa::State::kBytes);
    nfa_.states[state].first = first;
    nfa_.states[state].last = last;
    nfa_.states[state].to = to;
    return state;
  }

  // Without a byte; a state that has two such ways already gets a third by a state between.
  void join(uint32_t from, uint32_t to) {
    Nfa::State& state = nfa_.states[from];
    if (state.to == Nfa::kNowhere) {
      state.to = to;
    } else if (state.other == Nfa::kNowhere) {
      state.other = to;
    } else {
      const uint32_t between = add(Nfa::State::kSplit);
      nfa_.states[between].to = nfa_.states[from].other;
      nfa_.states[between].other = to;
      nfa_.states[from].other = between;
    }
  }

  void connect_text(const std::string& text, uint32_t from, uint32_t to) {
    uint32_t next = to;
    for (size_t i = text.size(); i-- > 0;) {
      const uint8_t byte = static_cast<uint8_t>(text[i]);
      next = bytes(byte, byte, next);
    }
    join(from, next);
  }

  void connect_set(const CharacterSet& set, uint32_t from, uint32_t to) {
    // Ends of characters are shared: so many ranges have few continuations.
    std::map<std::tuple<uint8_t, uint8_t, uint32_t>, uint32_t> known;
    for (const CharacterRange& range : set) {
      utf8_ranges(range.first, range.last,
                  [&](const uint8_t* first, const uint8_t* last, uint32_t n) {
                    uint32_t next = to;
                    for (uint32_t i = n; i-- > 0;) {
                      const auto key = std::make_tuple(first[i], last[i], next);
                      const auto found = known.find(key);
                      const bool is_new = found == known.end();
                      next = is_new ? bytes(first[i], last[i], next) : found->second;
                      if (is_new) known[key] = next;
                      if (i == 0 && is_new) join(from, next);
                    }
                  });
    }
  }

  void connect_sequence(const std::vector<NodePtr>& parts, uint32_t from, uint32_t to) {
    if (parts.empty()) join(from, to);
    for (size_t i = 0; i < parts.size(); ++i) {
      const uint32_t next = i + 1 < parts.size() ? add(Nfa::State::kSplit) : to;
      connect(*parts[i], from, next);
      from = next;
    }
  }

  void connect_repeat(const Node& node, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < node.least; ++i) {
      const bool is_last = i + 1 == node.least && node.most == node.least;
      const uint32_t next = is_last ? to : add(Nfa::State::kSplit);
      connect(*node.parts[0], from, next);
      from = next;
    }
    if (node.most == kUnbounded) {
      const uint32_t loop = add(Nfa::State::kSplit);
      join(from, loop);
      const uint32_t body = add(Nfa::State::kSplit);
      join(loop, body);
      connect(*node.parts[0], body, loop);
      join(loop, to);
      return;
    }
    if (node.most == 0) join(from, to);
    for (uint32_t i = node.least; i < node.most; ++i) {
      join(from, to);
      const uint32_t entry = add(Nfa::State::kSplit);
      join(from, entry);
      const uint32_t next = i + 1 == node.most ? to : add(Nfa::State::kSplit);
      connect(*node.parts[0], entry, next);
      from = next;
    }
  }

  // Two rows of states, before and behind the first member that is there.
  void connect_members(const std::vector<Member>& members, uint32_t from, uint32_t to) {
    uint32_t none = from, some = add(Nfa::State::kSplit);
    bool may_be_none = true;
    for (const Member& member : members) {
      const uint32_t entry = add(Nfa::State::kSplit), next = add(Nfa::State::kSplit);
      if (may_be_none) join(none, entry);
      join(some, bytes(',', ',', entry));
      connect(*member.node, entry, member.repeats ? some : next);
      if (member.is_optional) {
        join(some, next);
        if (may_be_none) {
          const uint32_t still = add(Nfa::State::kSplit);
          join(none, still);
          none = still;
        }
      } else {
        may_be_none = false;
      }
      some = next;
    }
    join(some, to);
    if (may_be_none) join(none, to);
  }

  void connect_call(uint32_t definition, uint32_t from, uint32_t to) {
    uint32_t within = 0;
    for (const Frame& frame : frames_) {
      if (frame.definition != definition) continue;
      if (frame.to == to) {  // at its own end: from its beginning again
        join(from, frame.from);
        return;
      }
      ++within;
    }
    if (within > syntax_.depth) return;
    const uint32_t entry = add(Nfa::State::kSplit);
    join(from, entry);
    frames_.push_back({definition, entry, to});
    connect(*syntax_.definitions[definition], entry, to);
    frames_.pop_back();
  }

  // Whatever the node matches leads from one state to the other.
  void connect(const Node& node, uint32_t from, uint32_t to) {
    switch (node.kind) {
      case Node::kText:
        return connect_text(node.text, from, to);
      case Node::kSet:
        return connect_set(node.set, from, to);
      case Node::kSequence:
        return connect_sequence(node.parts, from, to);
      case Node::kChoice:
        for (const NodePtr& part : node.parts) {
          const uint32_t entry = add(Nfa::State::kSplit);
          join(from, entry);
          connect(*part, entry, to);
        }
        return;
      case Node::kRepeat:
        return connect_repeat(node, from, to);
      case Node::kMembers:
        return connect_members(node.members, from, to);
      case Node::kCall:
        return connect_call(node.definition, from, to);
    }
  }

  struct Frame {
    uint32_t definition, from, to;
  };

  const Syntax& syntax_;
  Nfa nfa_;
  std::vector<Frame> frames_;
};

}  // namespace

Nfa nfa_of(const Syntax& syntax) {
  return Builder(syntax).build();
}

}  // namespace thimble::tools
