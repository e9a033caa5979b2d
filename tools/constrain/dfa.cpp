// SPDX-License-Identifier: MIT
#include "constrain/dfa.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "error.h"

namespace thimble::tools {
namespace {

[[noreturn]] void refuse_size(uint64_t found) {
  throw Refused(
      format("the rule is too large: its automaton has more than %llu states or transitions; "
             "shorter counts, and alternatives that can be told apart early, make it smaller",
             static_cast<unsigned long long>(found)));
}

// Bytes that no edge tells apart.
uint32_t find_classes(const Nfa& nfa, std::array<uint8_t, 256>* class_of) {
  std::array<bool, 257> begins{};
  for (const Nfa::State& state : nfa.states) {
    if (state.kind != Nfa::State::kBytes) continue;
    begins[state.first] = true;
    begins[size_t{state.last} + 1] = true;
  }
  uint32_t n = 0;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (byte > 0 && begins[byte]) ++n;
    (*class_of)[byte] = static_cast<uint8_t>(n);
  }
  return n + 1;
}

// Sets of states that have bytes or accept.
class Subsets {
 public:
  explicit Subsets(const Nfa& nfa) : nfa_(nfa), seen_(nfa.states.size(), 0) {}

  Dfa build() {
    Dfa dfa;
    dfa.n_classes = find_classes(nfa_, &dfa.class_of);
    open_.push_back(nfa_.start);
    number_of_open();
    std::vector<std::vector<uint32_t>> targets(dfa.n_classes);
    for (uint32_t state = 0; state < sets_.size(); ++state) {
      const std::vector<uint32_t>& set = *sets_[state];
      uint8_t accepts = 0;
      for (const uint32_t at : set) {
        const Nfa::State& s = nfa_.states[at];
        if (s.kind == Nfa::State::kAccept) {
          accepts = 1;
          continue;
        }
        for (uint32_t c = dfa.class_of[s.first]; c <= dfa.class_of[s.last]; ++c) {
          targets[c].push_back(s.to);
        }
      }
      dfa.accepts.push_back(accepts);
      for (uint32_t c = 0; c < dfa.n_classes; ++c) {
        uint32_t to = Dfa::kNowhere;
        if (!targets[c].empty()) {
          open_ = targets[c];
          to = c > 0 && targets[c] == targets[c - 1] ? dfa.to.back() : number_of_open();
        }
        dfa.to.push_back(to);
      }
      for (std::vector<uint32_t>& each : targets) each.clear();
      if (dfa.to.size() > kMaxDfaTransitions) refuse_size(kMaxDfaTransitions);
    }
    dfa.n_states = static_cast<uint32_t>(sets_.size());
    return dfa;
  }

 private:
  struct Hash {
    size_t operator()(const std::vector<uint32_t>& set) const {
      uint64_t h = 0xcbf29ce484222325;
      for (const uint32_t x : set) h = (h ^ x) * 0x100000001b3;
      return static_cast<size_t>(h ^ (h >> 29));
    }
  };

  // The number of the set that the open states lead to without a byte.
  uint32_t number_of_open() {
    ++stamp_;
    std::vector<uint32_t> set;
    while (!open_.empty()) {
      const uint32_t at = open_.back();
      open_.pop_back();
      if (at == Nfa::kNowhere || seen_[at] == stamp_) continue;
      seen_[at] = stamp_;
      const Nfa::State& s = nfa_.states[at];
      if (s.kind != Nfa::State::kSplit) {
        set.push_back(at);
        continue;
      }
      open_.push_back(s.to);
      open_.push_back(s.other);
    }
    std::sort(set.begin(), set.end());
    n_members_ += set.size();
    const auto [entry, is_new] =
        numbers_.emplace(std::move(set), static_cast<uint32_t>(sets_.size()));
    if (!is_new) return entry->second;
    if (sets_.size() == kMaxDfaStates) refuse_size(kMaxDfaStates);
    if (n_members_ > kMaxMembers) refuse_size(kMaxDfaStates);
    sets_.push_back(&entry->first);
    return entry->second;
  }

  static constexpr uint64_t kMaxMembers = 200u << 20;
  const Nfa& nfa_;
  std::vector<uint32_t> seen_, open_;
  uint32_t stamp_ = 0;
  uint64_t n_members_ = 0;  // looked at in sets: what it takes in time
  std::unordered_map<std::vector<uint32_t>, uint32_t, Hash> numbers_;
  std::vector<const std::vector<uint32_t>*> sets_;
};

// Transitions by where they lead.
struct Inverse {
  struct Entry {
    uint32_t klass, from;
  };
  std::vector<uint32_t> begin;  // (n_states + 1)
  std::vector<Entry> entries;
};

Inverse inverse_of(const Dfa& dfa) {
  Inverse inverse;
  inverse.begin.assign(size_t{dfa.n_states} + 1, 0);
  for (const uint32_t to : dfa.to) {
    if (to != Dfa::kNowhere) ++inverse.begin[to + 1];
  }
  for (uint32_t i = 0; i < dfa.n_states; ++i) inverse.begin[i + 1] += inverse.begin[i];
  inverse.entries.resize(inverse.begin[dfa.n_states]);
  std::vector<uint32_t> at(inverse.begin.begin(), inverse.begin.end() - 1);
  for (uint32_t from = 0; from < dfa.n_states; ++from) {
    for (uint32_t c = 0; c < dfa.n_classes; ++c) {
      const uint32_t to = dfa.to[size_t{from} * dfa.n_classes + c];
      if (to != Dfa::kNowhere) inverse.entries[at[to]++] = {c, from};
    }
  }
  return inverse;
}

// Forgets states from which no end can be reached.
void trim(Dfa* dfa) {
  const Inverse inverse = inverse_of(*dfa);
  std::vector<uint8_t> is_live(dfa->n_states, 0);
  std::vector<uint32_t> open;
  for (uint32_t s = 0; s < dfa->n_states; ++s) {
    if (dfa->accepts[s]) open.push_back(s), is_live[s] = 1;
  }
  while (!open.empty()) {
    const uint32_t s = open.back();
    open.pop_back();
    for (uint32_t i = inverse.begin[s]; i < inverse.begin[s + 1]; ++i) {
      const uint32_t from = inverse.entries[i].from;
      if (!is_live[from]) is_live[from] = 1, open.push_back(from);
    }
  }
  if (!is_live[0]) {
    throw Refused(
        "no text at all meets the rule: something in it excludes everything, or never ends within "
        "the depth that definitions nest");
  }
  for (uint32_t& to : dfa->to) {
    if (to != Dfa::kNowhere && !is_live[to]) to = Dfa::kNowhere;
  }
}

// Blocks of states that nothing has told apart so far; a block's states lie together.
class Partition {
 public:
  explicit Partition(uint32_t n) : order_(n), place_(n), block_(n, 0) {
    for (uint32_t i = 0; i < n; ++i) order_[i] = place_[i] = i;
    blocks_.push_back({0, n, 0});
  }

  void mark(uint32_t state) {
    Block& b = blocks_[block_[state]];
    const uint32_t at = place_[state], to = b.begin + b.marked;
    if (at < to) return;
    if (b.marked++ == 0) touched_.push_back(block_[state]);
    std::swap(order_[at], order_[to]);
    place_[order_[at]] = at;
    place_[order_[to]] = to;
  }

  // Cuts marked states off their blocks; calls cut(old block, new block), the new one the smaller.
  template <class Cut>
  void split(Cut cut) {
    for (const uint32_t old : touched_) {
      Block& b = blocks_[old];
      const uint32_t middle = b.begin + b.marked;
      b.marked = 0;
      if (middle == b.end) continue;
      const uint32_t fresh = static_cast<uint32_t>(blocks_.size());
      const bool first_is_smaller = middle - b.begin <= b.end - middle;
      const Block smaller = first_is_smaller ? Block{b.begin, middle, 0} : Block{middle, b.end, 0};
      if (first_is_smaller) {
        b.begin = middle;
      } else {
        b.end = middle;
      }
      blocks_.push_back(smaller);
      for (uint32_t i = smaller.begin; i < smaller.end; ++i) block_[order_[i]] = fresh;
      cut(old, fresh);
    }
    touched_.clear();
  }

  uint32_t size() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t block_of(uint32_t state) const { return block_[state]; }
  uint32_t first_of(uint32_t block) const { return order_[blocks_[block].begin]; }
  template <class Each>
  void each_of(uint32_t block, Each each) const {
    for (uint32_t i = blocks_[block].begin; i < blocks_[block].end; ++i) each(order_[i]);
  }

 private:
  struct Block {
    uint32_t begin, end, marked;
  };
  std::vector<uint32_t> order_, place_, block_;
  std::vector<Block> blocks_;
  std::vector<uint32_t> touched_;
};

Partition refined(const Dfa& dfa) {
  const Inverse inverse = inverse_of(dfa);
  Partition partition(dfa.n_states);
  // A missing transition leads to no block, so that both of the first ones have to be looked at.
  std::vector<uint32_t> open = {0};
  std::vector<uint8_t> is_open = {1};
  const auto cut = [&](uint32_t, uint32_t fresh) {
    is_open.push_back(1);
    open.push_back(fresh);
  };
  for (uint32_t s = 0; s < dfa.n_states; ++s) {
    if (dfa.accepts[s]) partition.mark(s);
  }
  partition.split(cut);
  std::vector<Inverse::Entry> into;
  while (!open.empty()) {
    const uint32_t block = open.back();
    open.pop_back();
    is_open[block] = 0;
    into.clear();
    partition.each_of(block, [&](uint32_t state) {
      into.insert(into.end(), inverse.entries.begin() + inverse.begin[state],
                  inverse.entries.begin() + inverse.begin[state + 1]);
    });
    std::sort(into.begin(), into.end(),
              [](const Inverse::Entry& a, const Inverse::Entry& b) { return a.klass < b.klass; });
    for (size_t i = 0; i < into.size();) {
      const uint32_t klass = into[i].klass;
      for (; i < into.size() && into[i].klass == klass; ++i) partition.mark(into[i].from);
      partition.split(cut);
    }
  }
  return partition;
}

// One state a block, in the order in which a walk from the start meets them.
Dfa quotient(const Dfa& dfa, const Partition& partition) {
  Dfa out;
  out.n_classes = dfa.n_classes;
  out.class_of = dfa.class_of;
  std::vector<uint32_t> number(partition.size(), Dfa::kNowhere);
  std::vector<uint32_t> blocks = {partition.block_of(0)};
  number[blocks[0]] = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const uint32_t state = partition.first_of(blocks[i]);
    out.accepts.push_back(dfa.accepts[state]);
    for (uint32_t c = 0; c < dfa.n_classes; ++c) {
      const uint32_t to = dfa.to[size_t{state} * dfa.n_classes + c];
      if (to == Dfa::kNowhere) {
        out.to.push_back(Dfa::kNowhere);
        continue;
      }
      const uint32_t block = partition.block_of(to);
      if (number[block] == Dfa::kNowhere) {
        number[block] = static_cast<uint32_t>(blocks.size());
        blocks.push_back(block);
      }
      out.to.push_back(number[block]);
    }
  }
  out.n_states = static_cast<uint32_t>(blocks.size());
  return out;
}

}  // namespace

Dfa dfa_of(const Nfa& nfa) {
  Dfa dfa = Subsets(nfa).build();
  trim(&dfa);
  return quotient(dfa, refined(dfa));
}

}  // namespace thimble::tools
