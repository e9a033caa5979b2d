// SPDX-License-Identifier: MIT
#include "prompt_lookup.h"

#include "forward.h"
#include "session.h"

#if THIMBLE_DRAFT

namespace thimble {
namespace {

// Drafts behind the n tokens of the text, as many as the credit allows; their number. What is
// copied may be part of the draft itself: a text that repeats a few tokens is all drafted at once.
uint32_t draft(thimble_session* s, uint32_t n) {
  Drafts& d = *s->drafts;
  uint32_t count = d.credit / d.price;  // not above capacity
  const uint32_t room = room_of(s) - 1;  // behind the token that was fed
  if (count > room) count = room;
  const uint32_t from = count > 0 ? prompt_lookup(s, n) : 0;
  if (from == 0) return 0;
  for (uint32_t i = 0; i < count; ++i) token_at(s, n + i) = token_at(s, from + i);
  d.drafted += count;
  d.credit -= count * d.price;
  return count;
}

}  // namespace

uint32_t prompt_lookup(const thimble_session* s, uint32_t n) {
  if (n < 3) return 0;
  const int32_t last = token_at(s, n - 1), before = token_at(s, n - 2);
  // Of an endless text the last n_ctx tokens are kept for sure.
  const uint32_t first = is_endless(s) && n > s->n_ctx ? n - s->n_ctx : 0;
  uint32_t found = 0;
  for (uint32_t at = n - 2; at > first; --at) {
    if (token_at(s, at) != last || token_at(s, at - 1) != before) continue;
    if (found == 0) found = at + 1;
    if (at - 1 > first && token_at(s, at - 2) == token_at(s, n - 3)) return at + 1;
  }
  return found;
}

void feed_with_drafts(thimble_session* s, const int32_t* tokens, uint32_t n) {
  Drafts& d = *s->drafts;
  // A hook is to be called for all that is fed, and for nothing else.
  const bool may_draft = !s->on_attention;
  uint32_t known = 0;  // of these tokens, computed ahead
  while (may_draft && known < n && s->position + known < s->cached &&
         tokens[known] == token_at(s, s->position + known)) {
    ++known;
  }
  d.accepted += known;
  if (n == 1) {
    d.credit += kEarned + known * kDecodeStep;
    if (d.credit > d.capacity * d.price) d.credit = d.capacity * d.price;
  }
  if (known == n) {
    d.row += n;
    forward_skip(s);
    return;
  }
  if (s->cached > s->position) rewind_to(s, s->position + known);
  const uint32_t left = n - known, end = s->position + left;
  append_tokens(s, tokens + known, left);
  // What a window has moved beyond takes batches of its own.
  const bool is_step = left == 1 && s->cached == s->position;
  const uint32_t drafted = may_draft && is_step ? draft(s, end) : 0;
  forward_begin(s, end + drafted, drafted + 1);
}

}  // namespace thimble

#endif
