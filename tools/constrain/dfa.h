// SPDX-License-Identifier: MIT
// The smallest deterministic automaton over bytes for what a nondeterministic one accepts.
#ifndef THIMBLE_TOOLS_CONSTRAIN_DFA_H
#define THIMBLE_TOOLS_CONSTRAIN_DFA_H

#include <array>
#include <cstdint>
#include <vector>

#include "constrain/nfa.h"

namespace thimble::tools {

constexpr uint32_t kMaxDfaStates = 300000;          // before it is minimised
constexpr uint64_t kMaxDfaTransitions = 16u << 20;  // of classes of bytes, before it is minimised

// From every state an end can be reached.
struct Dfa {
  static constexpr uint32_t kNowhere = UINT32_MAX;
  uint32_t n_states = 0, n_classes = 0;
  std::array<uint8_t, 256> class_of{};
  std::vector<uint32_t> to;      // (n_states, n_classes)
  std::vector<uint8_t> accepts;  // (n_states); the text begins in state 0

  uint32_t next(uint32_t state, uint8_t byte) const {
    return to[size_t{state} * n_classes + class_of[byte]];
  }
};

// Subsets (Rabin, Scott 1959), then partition refinement (Hopcroft 1971). Throws Refused where
// there would be too many states, or where no text at all is accepted.
Dfa dfa_of(const Nfa& nfa);

}  // namespace thimble::tools

#endif
