// SPDX-License-Identifier: MIT
#include "constrain/masks.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "constrain/token_tree.h"
#include "error.h"
#include "rule.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxSteps = uint64_t{1} << 30;
constexpr uint64_t kMaxMaskBytes = uint64_t{1} << 30;

using Bitmap = std::vector<uint32_t>;

// The automaton's states beside the vocabulary's prefix tree.
class Walker {
 public:
  Walker(const Dfa& dfa, const TokenTree& tree) : dfa_(dfa), tree_(tree), loops_(dfa.n_states) {
    for (uint32_t s = 0; s < dfa.n_states; ++s) {
      loops_[s] = {};
      for (uint32_t byte = 0; byte < 256; ++byte) {
        const uint8_t b = static_cast<uint8_t>(byte);
        if (dfa.next(s, b) == s) add_byte(&loops_[s], b);
      }
    }
  }

  // Calls run(first, last, state) for runs of the tree's tokens that lead from `from` to a state.
  // What is below a node at which only such bytes follow that the state loops on is one run.
  template <class Run>
  void walk(uint32_t from, Run run) {
    walk(0, from, run);
    if (n_steps > kMaxSteps) {
      throw Refused(
          "the rule is too large for this vocabulary: walking its tokens from every state would "
          "take too long");
    }
  }

  uint64_t n_steps = 0;

 private:
  template <class Run>
  void walk(uint32_t node, uint32_t state, Run run) {
    const uint32_t* next = &dfa_.to[size_t{state} * dfa_.n_classes];
    const uint32_t end = tree_.nodes[node].end;
    for (uint32_t at = node + 1; at < end; at = tree_.nodes[at].end) {
      ++n_steps;
      const TokenTree::Node& child = tree_.nodes[at];
      const uint32_t to = next[dfa_.class_of[child.byte]];
      if (to == Dfa::kNowhere) continue;
      if (is_within(child.below, loops_[to])) {
        run(child.first_token, child.last_token, to);
        continue;
      }
      if (child.own_end > child.first_token) run(child.first_token, child.own_end, to);
      walk(at, to, run);
    }
  }

  const Dfa& dfa_;
  const TokenTree& tree_;
  std::vector<ByteSet> loops_;  // bytes that leave a state as it is
};

// States from which tokens lead to an end. Where each byte that the automaton knows is a token,
// all.
std::vector<uint8_t> live_states(const Dfa& dfa, const TokenTree& tree, Walker* walker) {
  ByteSet alone = {}, used = {};
  for (uint32_t at = 1; at < tree.nodes[0].end; at = tree.nodes[at].end) {
    if (tree.nodes[at].own_end > tree.nodes[at].first_token) add_byte(&alone, tree.nodes[at].byte);
  }
  for (uint32_t s = 0; s < dfa.n_states; ++s) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint8_t b = static_cast<uint8_t>(byte);
      if (dfa.next(s, b) != Dfa::kNowhere) add_byte(&used, b);
    }
  }
  if (is_within(used, alone)) return std::vector<uint8_t>(dfa.n_states, 1);

  std::vector<std::vector<uint32_t>> before(dfa.n_states);
  std::vector<uint32_t> seen(dfa.n_states, Dfa::kNowhere);
  for (uint32_t s = 0; s < dfa.n_states; ++s) {
    walker->walk(s, [&](uint32_t, uint32_t, uint32_t to) {
      if (seen[to] == s) return;
      seen[to] = s;
      before[to].push_back(s);
    });
  }
  std::vector<uint8_t> is_live(dfa.accepts);
  std::vector<uint32_t> open;
  for (uint32_t s = 0; s < dfa.n_states; ++s) {
    if (is_live[s]) open.push_back(s);
  }
  while (!open.empty()) {
    const uint32_t s = open.back();
    open.pop_back();
    for (const uint32_t from : before[s]) {
      if (!is_live[from]) is_live[from] = 1, open.push_back(from);
    }
  }
  return is_live;
}

void set_bits(Bitmap* bits, uint32_t first, uint32_t last) {
  for (uint32_t at = first; at < last;) {
    const uint32_t count = std::min(last - at, 32 - at % 32);
    (*bits)[at / 32] |= (count == 32 ? ~0u : (1u << count) - 1) << at % 32;
    at += count;
  }
}

uint32_t distance(const Bitmap& a, const Bitmap& b) {
  uint32_t n = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    n += static_cast<uint32_t>(__builtin_popcount(a[i] ^ b[i]));
  }
  return n;
}

std::vector<uint32_t> flipped(const Bitmap& set, const Bitmap& base) {
  std::vector<uint32_t> ids;
  for (uint32_t word = 0; word < set.size(); ++word) {
    for (uint32_t bits = set[word] ^ base[word]; bits; bits &= bits - 1) {
      ids.push_back(word * 32 + static_cast<uint32_t>(__builtin_ctz(bits)));
    }
  }
  return ids;
}

// The sets that become bitmaps which others are told from: as long as one saves most, and more than
// it takes (the greedy way to place facilities). Few sets are large, and only those are looked at.
std::vector<uint32_t> chosen_bitmaps(const std::vector<Bitmap>& sets, std::vector<uint32_t> cost,
                                     uint32_t id_bytes) {
  constexpr size_t kMost = 600;
  std::vector<uint32_t> large;
  for (uint32_t i = 0; i < sets.size(); ++i) {
    if (cost[i] * id_bytes > 64) large.push_back(i);
  }
  std::stable_sort(large.begin(), large.end(),
                   [&](uint32_t a, uint32_t b) { return cost[a] > cost[b]; });
  if (large.size() > kMost) large.resize(kMost);
  const size_t n = large.size();
  std::vector<uint32_t> distances(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) {
      distances[i * n + j] = distances[j * n + i] = distance(sets[large[i]], sets[large[j]]);
    }
  }
  std::vector<uint32_t> chosen;
  for (;;) {
    size_t best = n;
    uint64_t most = n > 0 ? sets[large[0]].size() * sizeof(uint32_t) : 0;
    for (size_t i = 0; i < n; ++i) {
      uint64_t saved = 0;
      for (size_t j = 0; j < n; ++j) {
        const uint32_t now = cost[large[j]], then = distances[i * n + j];
        if (then < now) saved += uint64_t{now - then} * id_bytes;
      }
      if (saved > most) most = saved, best = i;
    }
    if (best == n) return chosen;
    chosen.push_back(large[best]);
    for (size_t j = 0; j < n; ++j) {
      cost[large[j]] = std::min(cost[large[j]], distances[best * n + j]);
    }
  }
}

}  // namespace

Masks masks_of(const Dfa& dfa, const thimble_model& model) {
  const uint32_t vocab_size = header_of(model).vocab_size, words = (vocab_size + 31) / 32;
  const TokenTree tree = token_tree(model);
  Walker walker(dfa, tree);
  const std::vector<uint8_t> is_live = live_states(dfa, tree, &walker);
  if (!is_live[0]) {
    throw Refused("tokens of the model's vocabulary spell no text that meets the rule");
  }

  Masks out;
  out.of_state.resize(dfa.n_states);
  std::vector<Bitmap> sets;
  std::unordered_map<std::string, uint32_t> numbers;
  const uint64_t set_bytes = uint64_t{words} * sizeof(uint32_t);
  // Sets are told apart in the tree's order, where runs are long; most states share one.
  const uint32_t n_tokens = static_cast<uint32_t>(tree.tokens.size());
  Bitmap runs((n_tokens + 31) / 32 + 1);
  for (uint32_t s = 0; s < dfa.n_states; ++s) {
    std::fill(runs.begin(), runs.end(), 0);
    walker.walk(s, [&](uint32_t first, uint32_t last, uint32_t to) {
      if (is_live[to]) set_bits(&runs, first, last);
    });
    runs.back() = dfa.accepts[s];
    const std::string key(reinterpret_cast<const char*>(runs.data()),
                          runs.size() * sizeof(uint32_t));
    const auto [entry, is_new] = numbers.emplace(key, static_cast<uint32_t>(sets.size()));
    out.of_state[s] = entry->second;
    if (!is_new) continue;
    Bitmap set(words, 0);
    const auto allow = [&](int32_t id) {
      set[static_cast<uint32_t>(id) / 32] |= 1u << static_cast<uint32_t>(id) % 32;
    };
    for (uint32_t i = 0; i < n_tokens; ++i) {
      if (runs[i / 32] >> i % 32 & 1) allow(tree.tokens[i]);
    }
    if (dfa.accepts[s]) {
      for (const int32_t id : {model.eos_id, model.bos_id, model.end_of_turn_id}) {
        if (id >= 0) allow(id);
      }
    }
    sets.push_back(std::move(set));
    if (sets.size() * set_bytes * 2 > kMaxMaskBytes) {
      throw Refused(
          format("the rule is too large: more than %zu sets of tokens are different", sets.size()));
    }
  }
  out.n_steps = walker.n_steps;

  const uint32_t id_bytes = vocab_size <= 65536 ? 2 : 4;
  const Bitmap none(words, 0);
  Bitmap all(words, UINT32_MAX);
  if (vocab_size % 32) all.back() = ~(~0u << vocab_size % 32);
  std::vector<uint32_t> cost;
  cost.reserve(sets.size());
  for (const Bitmap& set : sets) cost.push_back(std::min(distance(set, none), distance(set, all)));
  const std::vector<uint32_t> chosen = chosen_bitmaps(sets, cost, id_bytes);
  out.bitmaps.reserve(chosen.size());
  for (const uint32_t i : chosen) out.bitmaps.push_back(sets[i]);
  out.masks.reserve(sets.size());
  for (const Bitmap& set : sets) {
    uint32_t base = kRuleNone, least = distance(set, none);
    const auto offer = [&](uint32_t candidate, const Bitmap& bits) {
      const uint32_t n = distance(set, bits);
      if (n < least) least = n, base = candidate;
    };
    offer(kRuleAll, all);
    for (uint32_t b = 0; b < out.bitmaps.size(); ++b) offer(kRuleBitmap + b, out.bitmaps[b]);
    const Bitmap& bits = base == kRuleNone  ? none
                         : base == kRuleAll ? all
                                            : out.bitmaps[base - kRuleBitmap];
    out.masks.push_back({base, flipped(set, bits)});
  }
  return out;
}

}  // namespace thimble::tools
