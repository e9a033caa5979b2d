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

namespace {

// Sorted while offers come, the likeliest first; the last one makes room.
void insert(Candidates* kept, uint32_t order, float logit, int32_t id) {
  if (kept->n == kept->capacity) --kept->n;
  uint32_t at = kept->n++;
  for (; at > 0 && logit_order(kept->logits[at - 1]) < order; --at) {
    kept->logits[at] = kept->logits[at - 1];
    kept->ids[at] = kept->ids[at - 1];
  }
  kept->logits[at] = logit;
  kept->ids[at] = id;
}

}  // namespace

void candidates_offer(Candidates* kept, const float* logits, uint32_t n, int32_t first_id) {
  // Once there is no room few logits get past the order of the last one kept.
  const auto least = [kept] {
    return kept->n == kept->capacity ? logit_order(kept->logits[kept->n - 1]) : 0;
  };
  uint32_t last = least();
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t order = logit_order(logits[i]);
    if (order <= last) continue;
    insert(kept, order, logits[i], first_id + static_cast<int32_t>(i));
    last = least();
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
