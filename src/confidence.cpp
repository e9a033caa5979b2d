// SPDX-License-Identifier: MIT
#include "confidence.h"

#include "exact_math.h"

#if THIMBLE_RULES
namespace thimble {
namespace {

constexpr uint32_t kAtOnce = 32;
constexpr uint32_t kForbiddenBits = 0xff800000u;  // minus infinity, as rule_mask writes it

// a / b of a <= b, b > 0. The odds are whole numbers, whose sum does not depend on its order; what
// follows has one order. Dividing by 2^shift is exact.
float share(uint32_t a, uint64_t b) {
  uint32_t shift = 0;
  while (b >> shift > UINT32_MAX) ++shift;
  return static_cast<float>(a) / static_cast<float>(static_cast<uint32_t>(b >> shift)) *
         float_of((127 - shift) << 23);
}

}  // namespace

float odds_of_token(thimble_session* s, int32_t token) {
  const Candidates& kept = *candidates_at(s, logits_row(s));
  const bool is_cut = kept.capacity > 0;
  const float* logits = is_cut ? kept.logits : logits_at(s, logits_row(s));
  const uint32_t n = is_cut ? kept.n : s->model.n_tokens;
  uint32_t place = is_cut ? 0 : static_cast<uint32_t>(token);
  while (is_cut && place < n && kept.ids[place] != token) ++place;
  if (place >= n || has_overflowed(s)) return 0.0f;
  const float max = logits[s->kernels->argmax(logits, n)];
  if (bits_of(max) << 1 >= 0xff000000u) return 0.0f;

  // Only what is allowed is worth an exp.
  float allowed[kAtOnce];
  uint32_t odds[kAtOnce], n_allowed = 0;
  uint64_t sum = 0;
  for (uint32_t i = 0; i < n;) {
    if (bits_of(logits[i]) != kForbiddenBits) allowed[n_allowed++] = logits[i];
    if (++i < n && n_allowed < kAtOnce) continue;
    if (n_allowed == 0) break;
    s->kernels->odds(odds, allowed, n_allowed, max, 1.0f);
    do sum += odds[--n_allowed];
    while (n_allowed > 0);
  }
  s->kernels->odds(odds, logits + place, 1, max, 1.0f);
  return share(odds[0], sum);
}

}  // namespace thimble
#endif
