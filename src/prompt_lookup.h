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

// Credit, in thousandths of a decode step. Tokens that are fed earn some, drafts and looking them
// up cost some, and a draft that turns out right saves a step. As nothing is drafted on credit that
// is not there, what it takes in vain is at most kEarned of what the text would take without.
constexpr uint32_t kDecodeStep = 1000;
constexpr uint32_t kEarned = 40;  // of the 50 that may be lost: the rest is for what is not counted

// What a row takes that a pass computes beside another one, at most: arithmetic, where a pass has
// to read the weights once for all. Measured on x86 between AVX2 and AVX-512: 0.6 to 0.85 of a step
// with weights of 1 MB, 0.1 to 0.6 with 15 MB, 0.1 to 0.28 with 110 MB and more.
inline uint32_t draft_price(uint64_t model_bytes) {
  constexpr uint64_t kMiB = 1024 * 1024;
  return model_bytes < 8 * kMiB ? 850 : model_bytes < 64 * kMiB ? 600 : 300;
}

// A lookup passes so many tokens while a step reads 12 times as many bytes of weights.
inline uint32_t lookup_tokens(uint64_t model_bytes) {
  return static_cast<uint32_t>(model_bytes / (12 * kDecodeStep)) + 1;
}

struct Drafts {
  uint32_t capacity;           // tokens drafted at once, 1 to kMaxDraft
  uint32_t price;              // of a drafted token, in credit
  uint32_t tokens_a_credit;    // that a lookup passes
  uint32_t credit;             // at most most_credit
  uint32_t run;                // tokens of the last draft that were right
  uint32_t drafted, accepted;  // tokens, since the session began
  uint32_t n_rows;             // of logits: behind the token that was fed, and each drafted one
  uint32_t row;                // the one behind the last token that was fed
  Candidates candidates[kMaxDraft];  // of rows 1, 2, ...
};

// A draft of full length and its lookup.
inline uint32_t most_credit(const Drafts& drafts) {
  return (drafts.capacity + 1) * drafts.price;
}

static_assert(sizeof(Drafts) <= kDraftsBytes, "the structure has a fixed place");

// Feeds a session that has drafts: tokens that were drafted need no computing any more, others make
// what was computed ahead forgotten. Arguments as thimble_feed, checked.
void feed_with_drafts(thimble_session* s, const int32_t* tokens, uint32_t n);

// Where to copy a draft from: the position behind the latest place, before the last one, where the
// last three of n tokens stand, or else the last two; 0: there is none.
uint32_t prompt_lookup(const thimble_session* s, uint32_t n);

}  // namespace thimble

#endif
