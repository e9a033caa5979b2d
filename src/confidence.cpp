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

  // Only what is allowed is worth an exp. It lies where the sampler's odds do.
  float* allowed = reinterpret_cast<float*>(s->odds);
  uint32_t n_allowed = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (bits_of(logits[i]) != kForbiddenBits) allowed[n_allowed++] = logits[i];
  }
  if (n_allowed == 0) return 0.0f;
  const float max = allowed[s->kernels->argmax(allowed, n_allowed)];
  if (bits_of(max) << 1 >= 0xff000000u) return 0.0f;
  uint32_t odds[kAtOnce];
  uint64_t sum = 0;
  for (uint32_t start = 0; start < n_allowed; start += kAtOnce) {
    const uint32_t length = n_allowed - start < kAtOnce ? n_allowed - start : kAtOnce;
    s->kernels->odds(odds, allowed + start, length, max, 1.0f);
    for (uint32_t i = 0; i < length; ++i) sum += odds[i];
  }
  s->kernels->odds(odds, logits + place, 1, max, 1.0f);
  return share(odds[0], sum);
}

}  // namespace thimble
#endif
