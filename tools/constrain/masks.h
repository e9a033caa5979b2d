// SPDX-License-Identifier: MIT
// Which tokens each state of an automaton allows, and the smallest way to write that down.
#ifndef THIMBLE_TOOLS_CONSTRAIN_MASKS_H
#define THIMBLE_TOOLS_CONSTRAIN_MASKS_H

#include <cstdint>
#include <vector>

#include "constrain/dfa.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// As a rule's file has them: a base but for a list of exceptions.
struct Masks {
  struct Mask {
    uint32_t base;                  // kRuleNone, kRuleAll, kRuleBitmap + the number of a bitmap
    std::vector<uint32_t> flipped;  // ascending
  };
  std::vector<uint32_t> of_state;              // (n_states)
  std::vector<Mask> masks;                     // different ones
  std::vector<std::vector<uint32_t>> bitmaps;  // (vocab_size + 31) / 32 words each
  uint64_t n_steps = 0;                        // of the walks: what it took
};

// A token is allowed where its text leads to a state from which tokens lead to an end; tokens that
// end a text are where the automaton accepts. Throws Refused where tokens spell no text of the
// rule, or where it would take very long.
Masks masks_of(const Dfa& dfa, const thimble_model& model);

}  // namespace thimble::tools

#endif
