// SPDX-License-Identifier: MIT
#include "candidates.h"

namespace thimble {

Candidates candidates_take(Arena* arena, uint32_t capacity, uint32_t rows) {
  Candidates kept = {};
  kept.capacity = capacity;
  kept.logits = arena->take<float>(uint64_t{rows} * capacity);
  kept.ids = arena->take<int32_t>(uint64_t{rows} * capacity);
  return kept;
}

static void find_least(Candidates* kept) {
  kept->least_order = UINT32_MAX;
  for (uint32_t i = 0; i < kept->n; ++i) {
    const uint32_t order = logit_order(kept->logits[i]);
    if (order > kept->least_order) continue;
    kept->least = i;
    kept->least_order = order;
  }
}

void candidates_offer(Candidates* kept, const Kernels& kernels, const float* logits, uint32_t n,
                      int32_t first_id) {
  // Most chunks have nothing for the few that are kept.
  const bool was_full = kept->n == kept->capacity;
  if (was_full && logit_order(logits[kernels.argmax(logits, n)]) <= kept->least_order) return;
  for (uint32_t i = 0; i < n; ++i) {
    if (kept->n == kept->capacity) {
      if (logit_order(logits[i]) <= kept->least_order) continue;
      --kept->n;
      for (uint32_t at = kept->least; at < kept->n; ++at) {
        kept->logits[at] = kept->logits[at + 1];
        kept->ids[at] = kept->ids[at + 1];
      }
    }
    kept->logits[kept->n] = logits[i];
    kept->ids[kept->n++] = first_id + static_cast<int32_t>(i);
    if (kept->n == kept->capacity) find_least(kept);
  }
}

}  // namespace thimble
