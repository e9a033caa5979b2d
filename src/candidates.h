// SPDX-License-Identifier: MIT
// The likeliest tokens of a pass, kept while its logits are computed in chunks, so that no array of
// all logits is needed.
#ifndef THIMBLE_SRC_CANDIDATES_H
#define THIMBLE_SRC_CANDIDATES_H

#include <stdint.h>

#include "arena.h"
#include "exact_math.h"
#include "kernels/kernels.h"

namespace thimble {

constexpr uint32_t kMaxCandidates = 256;

// The order of logits as integers: the larger, the likelier. The zeros are equal, and a NaN counts
// as minus infinity.
__attribute__((always_inline)) static inline uint32_t logit_order(float logit) {
  // In signed numbers and without branches, for vectors.
  const int32_t bits = static_cast<int32_t>(bits_of(logit)), size = bits & 0x7fffffff;
  const int32_t order = bits < 0 ? -size : size;
  return static_cast<uint32_t>(size > 0x7f800000 ? -0x7f800000 : order) + 0x80000000u;
}

// In the order of ids, as the sampler wants them.
struct Candidates {
  float* logits;      // (capacity)
  int32_t* ids;       // (capacity)
  uint32_t capacity;  // 0: none are kept, there is an array of all logits
  uint32_t n;
  // Once there are as many as fit: the one that goes first when another comes, the smallest logit,
  // of equal ones the last.
  uint32_t least, least_order;
};

// 8 bytes a candidate.
Candidates candidates_take(Arena* arena, uint32_t capacity);

// Keeps those of the n >= 1 tokens first_id, first_id + 1, ... that are among the likeliest so far;
// equal logits by id. Calls come in ascending order of ids; capacity is not 0.
void candidates_offer(Candidates* kept, const Kernels& kernels, const float* logits, uint32_t n,
                      int32_t first_id);

}  // namespace thimble

#endif
