// SPDX-License-Identifier: MIT
#include "prompt_lookup.h"

#include "forward.h"
#include "session.h"

#if THIMBLE_DRAFT

namespace thimble {
namespace {

// Where the text begins that is kept for sure: of an endless one the last n_ctx of n tokens.
uint32_t first_of(const thimble_session* s, uint32_t n) {
  return is_endless(s) && n > s->n_ctx ? n - s->n_ctx : 0;
}

uint32_t least(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

#if THIMBLE_RULES
// Follows the rule behind the n tokens of the text for `count` tokens at most: those that it
// forces, which are written down, or else those that are drafted already. How many there are, or
// are allowed.
[[gnu::noinline]] uint32_t follow_rule(const thimble_session* s, uint32_t n, uint32_t count,
                                       bool is_forced) {
  const RuleInUse& rule = rule_of(s);
  uint32_t state = rule.state;
  for (uint32_t i = 0; i < count; ++i) {
    int32_t& slot = token_at(s, n + i);
    const int32_t token = is_forced ? rule_only(rule.tables, state) : slot;
    if (token < 0 || !rule_token(rule.tables, s->model, &state, token)) return i;
    if (state == rule.tables.n_states) return i;  // the text ends
    slot = token;
  }
  return count;
}
#endif

// Drafts behind the n tokens of the text; how many. After one that was wrong early the next one is
// short, after one that was right twice as long. What is copied may be part of the draft itself: a
// text that repeats a few tokens is drafted at full length.
uint32_t draft(thimble_session* s, uint32_t n) {
  Drafts& d = *s->drafts;
#if THIMBLE_RULES
  // Where a rule allows a single token it is the one that comes: no credit is at stake.
  if (!kRuleIsSmall && has_rule(s)) {
    const uint32_t forced = follow_rule(s, n, least(d.capacity, room_of(s) - 1), true);
    d.drafted += forced;
    d.credit -= least(d.credit, forced * d.price);
    if (forced > 0) return forced;
  }
#endif
  const uint32_t lookup = (n - first_of(s, n)) / d.tokens_a_credit;
  if (d.credit < lookup + d.price) return 0;
  d.credit -= lookup;
  const uint32_t room = room_of(s) - 1;  // behind the token that was fed
  const uint32_t longest = least(least(d.capacity, room), 2 * d.run + 1);
  uint32_t count = least(longest, d.credit / d.price);
  const uint32_t from = count > 0 ? prompt_lookup(s, n) : 0;
  if (from == 0) return 0;
  for (uint32_t i = 0; i < count; ++i) token_at(s, n + i) = token_at(s, from + i);
#if THIMBLE_RULES
  if (!kRuleIsSmall && has_rule(s)) count = follow_rule(s, n, count, false);
#endif
  d.drafted += count;
  d.credit -= count * d.price;
  d.run = 0;
  return count;
}

}  // namespace

uint32_t prompt_lookup(const thimble_session* s, uint32_t n) {
  const uint32_t first = first_of(s, n);
  if (n < first + 3) return 0;
  const int32_t last = token_at(s, n - 1), before = token_at(s, n - 2);
  const int32_t* slot = &token_at(s, n - 2);
  uint32_t found = 0;
  for (uint32_t at = n - 2; at > first; --at) {
    const int32_t here = *slot;
    slot = slot == s->tokens ? &token_at(s, at - 1) : slot - 1;
    if (here != last || *slot != before) continue;
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
  d.run += known;
  // Several tokens at once take less than a step each.
  if (n == 1) d.credit = least(d.credit + kEarned + known * kDecodeStep, most_credit(d));
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
