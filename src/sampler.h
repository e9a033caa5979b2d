// SPDX-License-Identifier: MIT
// Logits -> token: greedy, temperature, top-k, top-p, min-p, repetition penalty. All odds are
// integers, so that the same seed draws the same token on every chip.
#ifndef THIMBLE_SRC_SAMPLER_H
#define THIMBLE_SRC_SAMPLER_H

#include "candidates.h"
#include "kernels/kernels.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint32_t kMaxRepetitionWindow = 256;
constexpr uint32_t kDefaultRepetitionWindow = 64;

// What a draw works on.
struct SampleInput {
  float* logits;       // (n); the penalty changes some for a moment, then restores them
  const int32_t* ids;  // (n) the tokens of these logits, ascending: the n likeliest; null: all
  uint32_t* odds;      // (n) scratch
  uint32_t n;
  const int32_t* history;  // tokens so far, each within the vocabulary
  uint32_t position;
#if THIMBLE_SINKS
  uint32_t ring = UINT32_MAX;  // that of position p is at p % ring,
  uint32_t kept = UINT32_MAX;  // and the last so many are sure to be there
#endif
};

// As thimble_sample. A sampling outside its ranges (a NaN included), or one that asks for more than
// the likeliest that were kept, is THIMBLE_ERROR_ARGUMENT.
// If the largest logit is infinite, or all are NaN, there are no odds: THIMBLE_ERROR_NOT_FINITE.
// Stack: about 1 KiB, 2 KiB with a repetition penalty.
int32_t sample_token(const Kernels& kernels, const SampleInput& input,
                     const thimble_sampling& sampling);

// Output `position` of the generator SplitMix64 started at `seed` (Steele, Lea, Flood 2014, with
// the finalizer Mix13 by Stafford): 64 random bits without any state to keep.
uint64_t random_bits(uint64_t seed, uint64_t position);

}  // namespace thimble

#endif
