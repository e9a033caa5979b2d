// SPDX-License-Identifier: MIT
#include "candidates.h"

namespace thimble {

Candidates candidates_take(Arena* arena, uint32_t capacity) {
  Candidates kept = {};
  kept.capacity = capacity;
  kept.logits = arena->take<float>(capacity);
  kept.ids = arena->take<int32_t>(capacity);
  return kept;
}

// Sorted while offers come, the likeliest first. Few tokens get past the first comparison.
void candidates_offer(Candidates* kept, const float* logits, uint32_t n, int32_t first_id) {
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t order = logit_order(logits[i]);
    if (kept->n == kept->capacity) {
      if (order <= logit_order(kept->logits[kept->n - 1])) continue;
      --kept->n;
    }
    uint32_t at = kept->n++;
    for (; at > 0 && logit_order(kept->logits[at - 1]) < order; --at) {
      kept->logits[at] = kept->logits[at - 1];
      kept->ids[at] = kept->ids[at - 1];
    }
    kept->logits[at] = logits[i];
    kept->ids[at] = first_id + static_cast<int32_t>(i);
  }
}

void candidates_sort_by_id(Candidates* kept) {
  for (uint32_t i = 1; i < kept->n; ++i) {
    const float logit = kept->logits[i];
    const int32_t id = kept->ids[i];
    uint32_t at = i;
    for (; at > 0 && kept->ids[at - 1] > id; --at) {
      kept->logits[at] = kept->logits[at - 1];
      kept->ids[at] = kept->ids[at - 1];
    }
    kept->logits[at] = logit;
    kept->ids[at] = id;
  }
}

}  // namespace thimble
