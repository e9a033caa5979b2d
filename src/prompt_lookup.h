// SPDX-License-Identifier: MIT
// Speculative decoding (Leviathan et al. 2023) whose draft is looked up in the text so far (prompt
// lookup: Saxena 2023; Yang et al. 2023): what followed the last tokens where they stood before may
// follow them again. The pass that computes a token computes those behind it, too; what is then fed
// says which of them were right. Since a batch gives the bits of single steps, no text depends on
// it.
#ifndef THIMBLE_SRC_PROMPT_LOOKUP_H
#define THIMBLE_SRC_PROMPT_LOOKUP_H

#include <stdint.h>

#include "candidates.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint32_t kMaxDraft = 16;

// What drafts take of the arena besides their rows, the same on every chip (as kSessionBytes).
constexpr uint32_t kDraftsBytes = 576;

// Credit and prices, in percent of what a decode step takes. A row that a pass computes beside
// another one has its price; so what drafts take in vain never exceeds kEarned percent.
constexpr uint32_t kDecodeStep = 100;
constexpr uint32_t kEarned = 5;  // a token that is fed
constexpr uint32_t kDraftPrice = 25;

struct Drafts {
  uint32_t capacity;           // tokens drafted at once, 1 to kMaxDraft
  uint32_t price;              // of a drafted token
  uint32_t credit;             // to draft with, at most capacity * price
  uint32_t drafted, accepted;  // tokens, since the session began
  uint32_t n_rows;             // of logits: behind the token that was fed, and each drafted one
  uint32_t row;                // the one behind the last token that was fed
  Candidates candidates[kMaxDraft];  // of rows 1, 2, ...
};

static_assert(sizeof(Drafts) <= kDraftsBytes, "the structure has a fixed place");

// Feeds a session that has drafts: tokens that were drafted need no computing any more, others make
// what was computed ahead forgotten. Arguments as thimble_feed, checked.
void feed_with_drafts(thimble_session* s, const int32_t* tokens, uint32_t n);

// Where to copy a draft from: the position behind the latest place, before the last one, where the
// last three of n tokens stand, or else the last two; 0: there is none.
uint32_t prompt_lookup(const thimble_session* s, uint32_t n);

}  // namespace thimble

#endif
