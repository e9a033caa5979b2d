// SPDX-License-Identifier: MIT
// A syntax tree as a nondeterministic automaton over bytes (Thompson 1968).
#ifndef THIMBLE_TOOLS_CONSTRAIN_NFA_H
#define THIMBLE_TOOLS_CONSTRAIN_NFA_H

#include <cstdint>
#include <vector>

#include "constrain/syntax.h"

namespace thimble::tools {

constexpr uint32_t kMaxNfaStates = 2000000;

struct Nfa {
  struct State {
    enum Kind : uint8_t {
      kBytes,  // bytes first to last lead to `to`
      kSplit,  // to `to`, and to `other` if that is not kNowhere, without a byte
      kAccept
    };
    Kind kind = kSplit;
    uint8_t first = 0, last = 0;
    uint32_t to = kNowhere, other = kNowhere;
  };
  static constexpr uint32_t kNowhere = UINT32_MAX;
  std::vector<State> states;
  uint32_t start = 0;
};

// Throws Refused where it would have more than kMaxNfaStates.
Nfa nfa_of(const Syntax& syntax);

}  // namespace thimble::tools

#endif
