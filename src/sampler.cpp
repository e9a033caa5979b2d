// SPDX-License-Identifier: MIT
// Top-k keeps the first so many tokens in the order of logits, equal ones by token id; what is not
// kept has no odds from then on. Top-p and min-p keep the first so many in the order of odds, equal
// ones by token id. Both are a `Cut`, found without sorting: by histograms over ever narrower
// ranges, at most six of them.
#include "sampler.h"

namespace thimble {
namespace {

constexpr float kOddsOfLikeliest = 1073741824.0f;  // 2^30, as the kernels' odds()
constexpr float kProbabilityUnit = 16777216.0f;    // 2^24: top_p is a whole number of 1 / 2^24

// Colder than this is greedy: 1 / temperature must stay finite.
constexpr float kMinTemperature = 1e-30f;

constexpr uint32_t kBinBits = 6;
constexpr uint32_t kBins = 1u << kBinBits;

// Odds, or at first the order of logits.
struct Odds {
  const uint32_t* at;  // (n); odds are 0 to 2^30, their sum is below 2^51, as n <= kMaxVocab
  uint32_t n;
};

// A range of odds [low, high) in 64 bins of 2^shift.
struct Range {
  uint32_t low;
  uint64_t high;
  uint32_t shift;
};
// Of odds, first those within 1/64 of the likeliest; while that is not enough, a 64th of that, and
// so on.
constexpr Range kLargestOdds = {1u << 24, 1u << 31, 24};
constexpr Range kAllOrders = {0, uint64_t{1} << 32, 26};

// The tokens that stay: all with odds above `threshold`, and of those with just these odds the
// first `ties` by id. `mass` is the sum of their odds.
struct Cut {
  uint32_t threshold;
  uint32_t ties;
  uint64_t mass;
};

// Settings that are valid are not negative, so that they order as their bits do: a comparison of
// floats is a call where there is no FPU. Minus zero is zero; a NaN lies above all.
uint32_t order_of(float setting) {
  const uint32_t bits = bits_of(setting);
  return bits << 1 == 0 ? 0 : bits;
}

bool within(float setting, float low, float high) {
  const uint32_t order = order_of(setting);
  return order >= bits_of(low) && order <= bits_of(high);
}

// Off: 0 or 1, or beyond them.
bool is_between(float setting, float low, float high) {
  const uint32_t order = order_of(setting);
  return order > bits_of(low) && order < bits_of(high);
}

// Colder than odds can tell.
bool is_greedy(const thimble_sampling& s) {
  return order_of(s.temperature) < bits_of(kMinTemperature);
}

bool is_valid(const thimble_sampling& s) {
  return within(s.temperature, 0.0f, 100.0f) && within(s.top_p, 0.0f, 1.0f) &&
         within(s.min_p, 0.0f, 1.0f) && s.repetition_window <= kMaxRepetitionWindow &&
         (order_of(s.repetition_penalty) == 0 || within(s.repetition_penalty, 0.01f, 100.0f));
}

// Calls f(id, odds) for all tokens with odds >= low, by id, until f returns false. Few of many
// tokens matter, so whole blocks are passed over; compilers turn that test into vector code.
template <class F>
void each_at_least(const Odds& odds, uint32_t low, F f) {
  constexpr uint32_t kBlock = 16;
  for (uint32_t start = 0; start < odds.n; start += kBlock) {
    const uint32_t* block = odds.at + start;
    uint32_t length = odds.n - start;
    if (length >= kBlock) {
      length = kBlock;
      uint32_t any = 0;
      for (uint32_t i = 0; i < kBlock; ++i) any |= block[i] >= low;
      if (!any) continue;
    }
    for (uint32_t i = 0; i < length; ++i) {
      if (block[i] >= low && !f(start + i, block[i])) return;
    }
  }
}

uint64_t mass_at_least(const Odds& odds, uint32_t low) {
  uint64_t mass = 0;
  for (uint32_t i = 0; i < odds.n; ++i) mass += odds.at[i] >= low ? odds.at[i] : 0;
  return mass;
}

enum class Measure { kCount, kMass };

// The smallest number of likeliest tokens whose count or mass is at least `need` >= 1; all tokens
// with odds if that is not enough.
Cut likeliest(const Odds& odds, Range range, Measure measure, uint64_t need) {
  uint32_t counts[kBins];
  uint64_t masses[kBins];
  uint64_t reached = 0;  // the measure of what is above the range
  uint64_t mass = 0;     // and its mass
  // Once a bin is known to hold the threshold, it becomes the range.
  uint32_t low = range.low, shift = range.shift;
  uint64_t high = range.high;
  for (;;) {
    for (uint32_t b = 0; b < kBins; ++b) counts[b] = 0, masses[b] = 0;
    each_at_least(odds, low, [&](uint32_t, uint32_t o) {
      if (o < high) {
        counts[(o - low) >> shift] += 1;
        masses[(o - low) >> shift] += o;
      }
      return true;
    });
    uint32_t bin = kBins;
    uint64_t share = 0;
    while (bin > 0) {
      --bin;
      share = measure == Measure::kMass ? masses[bin] : counts[bin];
      if (reached + share >= need) break;
      reached += share;
      mass += masses[bin];
      share = 0;
    }
    if (share == 0) {
      if (low == 1) return {0, 0, mass};
      high = low;
      low >>= kBinBits;
      shift -= kBinBits;
      continue;
    }
    low += bin << shift;
    if (shift == 0) {  // one value a bin
      const uint64_t missing = need - reached;
      const uint64_t ties = measure == Measure::kMass ? (missing + low - 1) / low : missing;
      return {low, static_cast<uint32_t>(ties), mass + ties * low};
    }
    high = low + (uint64_t{1} << shift);
    shift = shift > kBinBits ? shift - kBinBits : 0;
    if (counts[bin] <= kBins) break;
  }

  // So few that sorting them (by insertion, the largest first) is less work than another pass or
  // two; the counts are no longer needed.
  uint32_t* sorted = counts;
  uint32_t n = 0;
  each_at_least(odds, low, [&](uint32_t, uint32_t o) {
    if (o >= high) return true;
    uint32_t at = n++;
    for (; at > 0 && sorted[at - 1] < o; --at) sorted[at] = sorted[at - 1];
    sorted[at] = o;
    return true;
  });
  Cut cut = {0, 0, mass};
  for (uint32_t i = 0; i < n && reached < need; ++i) {
    reached += measure == Measure::kMass ? sorted[i] : 1;
    cut.ties = sorted[i] == cut.threshold ? cut.ties + 1 : 1;
    cut.threshold = sorted[i];
    cut.mass += sorted[i];
  }
  return cut;
}

// The least whole number >= mass * p, p in units of 2^-24; exact, since mass < 2^51.
uint64_t share_of_mass(uint64_t mass, uint32_t p) {
  const uint64_t upper = mass >> 24, lower = mass & 0xffffff;
  return upper * p + ((lower * p + 0xffffff) >> 24);
}

// Top-k where many tokens are at its border: the k-th logit is found among all.
void keep_top_k_of_all(const Kernels& kernels, const SampleInput& in, float max,
                       const thimble_sampling& s) {
  for (uint32_t i = 0; i < in.n; ++i) in.odds[i] = logit_order(in.logits[i]);
  Cut cut = likeliest({in.odds, in.n}, kAllOrders, Measure::kCount, s.top_k);
  kernels.odds(in.odds, in.logits, in.n, max, 1.0f / s.temperature);
  for (uint32_t i = 0; i < in.n; ++i) {
    const uint32_t order = logit_order(in.logits[i]);
    if (order > cut.threshold) continue;
    if (order == cut.threshold && cut.ties > 0) {
      --cut.ties;
    } else {
      in.odds[i] = 0;
    }
  }
}

// Takes the odds of all but the top_k largest logits away. Odds nearly say which these are: they
// come from an exp within 1 ulp, which may swap logits whose odds differ by less than `margin`. It
// swaps none of those with few odds: their exponents lie further apart than its error, so that
// none with odds 0 belongs before one that has some.
void keep_top_k(const Kernels& kernels, const SampleInput& in, float max,
                const thimble_sampling& s) {
  const Odds odds = {in.odds, in.n};
  const uint32_t threshold = likeliest(odds, kLargestOdds, Measure::kCount, s.top_k).threshold;
  if (threshold == 0) return;  // fewer tokens than that have odds
  const uint32_t margin = (threshold >> 20) + 2;
  const uint32_t low = threshold > margin ? threshold - margin : 1, high = threshold + margin;
  uint32_t border[kBins], n = 0, above = 0;
  each_at_least(odds, low, [&](uint32_t at, uint32_t o) {
    if (o > high) {
      ++above;
    } else if (n++ < kBins) {  // by insertion, the largest logit first
      const uint32_t order = logit_order(in.logits[at]);
      uint32_t to = n - 1;
      for (; to > 0 && logit_order(in.logits[border[to - 1]]) < order; --to) {
        border[to] = border[to - 1];
      }
      border[to] = at;
    }
    return true;
  });
  if (n > kBins) return keep_top_k_of_all(kernels, in, max, s);
  for (uint32_t i = 0; i < in.n; ++i) in.odds[i] = in.odds[i] < low ? 0 : in.odds[i];
  for (uint32_t i = s.top_k - above; i < n; ++i) in.odds[border[i]] = 0;
}

Cut cut_for(const Odds& odds, const thimble_sampling& s) {
  Cut cut = {0, 0, mass_at_least(odds, 1)};
  if (is_between(s.top_p, 0.0f, 1.0f)) {
    const uint32_t p = static_cast<uint32_t>(s.top_p * kProbabilityUnit);
    const uint64_t need = share_of_mass(cut.mass, p);
    cut = likeliest(odds, kLargestOdds, Measure::kMass, need > 0 ? need : 1);
  }
  const float least = s.min_p * kOddsOfLikeliest;
  uint32_t floor = static_cast<uint32_t>(least);
  if (static_cast<float>(floor) < least) ++floor;
  if (floor > cut.threshold) cut = {floor - 1, 0, mass_at_least(odds, floor)};
  return cut;
}

// The upper half of a 128-bit product, for compilers that have none.
uint64_t multiply_high(uint64_t a, uint64_t b) {
  const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
  const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  const uint64_t carry = a0 * b1 + (middle & 0xffffffff);
  return a1 * b1 + (middle >> 32) + (carry >> 32);
}

int32_t id_of(const SampleInput& in, uint32_t at) {
  return in.ids ? in.ids[at] : static_cast<int32_t>(at);
}

// Where a token's logit is; in.n if it is not among the likeliest.
uint32_t place_of(const SampleInput& in, int32_t id) {
  if (!in.ids) return static_cast<uint32_t>(id);
  uint32_t low = 0, high = in.n;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (in.ids[middle] < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < in.n && in.ids[low] == id ? low : in.n;
}

// Of the likeliest tokens only these many are sure to be the same as among all: a penalty above 1
// can only take tokens out of the first `top_k`, at most a window of them.
bool is_within_kept(const SampleInput& in, const thimble_sampling& s, uint32_t window) {
  if (!in.ids) return true;
  const uint64_t wanted = is_greedy(s) ? 1 : s.top_k;
  return wanted > 0 && wanted + window <= in.n &&
         !(window > 0 && order_of(s.repetition_penalty) < bits_of(1.0f));
}

int32_t draw(const Kernels& kernels, const SampleInput& in, const thimble_sampling& s) {
  const uint32_t best = kernels.argmax(in.logits, in.n);
  const float max = in.logits[best];
  if (bits_of(max) << 1 >= 0xff000000u) return THIMBLE_ERROR_NOT_FINITE;
  if (is_greedy(s) || s.top_k == 1) return id_of(in, best);
  const Odds odds = {in.odds, in.n};
  kernels.odds(in.odds, in.logits, in.n, max, 1.0f / s.temperature);
  if (s.top_k > 0 && s.top_k < in.n) keep_top_k(kernels, in, max, s);
  Cut cut = cut_for(odds, s);
  // The bias of this mapping is at most mass / 2^64 < 2^-13 of one unit of odds.
  uint64_t rest = multiply_high(random_bits(s.seed, in.position), cut.mass);
  uint32_t drawn = best;
  each_at_least(odds, cut.threshold > 0 ? cut.threshold : 1, [&](uint32_t at, uint32_t o) {
    if (o == cut.threshold && cut.ties-- == 0) {
      cut.ties = 0;
      return true;
    }
    if (rest < o) {
      drawn = at;
      return false;
    }
    rest -= o;
    return true;
  });
  return id_of(in, drawn);
}

// Not inlined: its kilobyte of stack is only for those who use the penalty.
[[gnu::noinline]] int32_t draw_penalized(const Kernels& kernels, const SampleInput& in,
                                         const thimble_sampling& s, uint32_t window) {
  float before[kMaxRepetitionWindow];
#if THIMBLE_SINKS
  const auto recent = [&](uint32_t i) { return in.history[(in.position - window + i) % in.ring]; };
#else
  const int32_t* last = in.history + (in.position - window);
  const auto recent = [last](uint32_t i) { return last[i]; };
#endif
  // A token that occurs often is penalized once. Marks lie where its odds will.
  for (uint32_t i = 0; i < window; ++i) {
    const uint32_t at = place_of(in, recent(i));
    if (at < in.n) in.odds[at] = 0;
  }
  for (uint32_t i = 0; i < window; ++i) {
    const uint32_t at = place_of(in, recent(i));
    before[i] = at < in.n ? in.logits[at] : 0.0f;
    if (at == in.n) continue;
    float& logit = in.logits[at];
    if (in.odds[at]++ > 0) continue;
    logit = logit > 0.0f ? logit / s.repetition_penalty : logit * s.repetition_penalty;
  }
  const int32_t token = draw(kernels, in, s);
  // Backwards, so that a token's first value is written last.
  for (uint32_t i = window; i > 0; --i) {
    const uint32_t at = place_of(in, recent(i - 1));
    if (at < in.n) in.logits[at] = before[i - 1];
  }
  return token;
}

}  // namespace

uint64_t random_bits(uint64_t seed, uint64_t position) {
  uint64_t z = seed + (position + 1) * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

int32_t sample_token(const Kernels& kernels, const SampleInput& input,
                     const thimble_sampling& sampling) {
  if (!is_valid(sampling)) return THIMBLE_ERROR_ARGUMENT;
  uint32_t window = 0;  // tokens that the penalty is for
  const uint32_t penalty = order_of(sampling.repetition_penalty);
  if (penalty != 0 && penalty != bits_of(1.0f)) {
    window = sampling.repetition_window ? sampling.repetition_window : kDefaultRepetitionWindow;
  }
  // By the whole window, so that what is refused is refused at the first token.
  if (!is_within_kept(input, sampling, window)) return THIMBLE_ERROR_ARGUMENT;
  if (window > input.position) window = input.position;
#if THIMBLE_SINKS
  if (window > input.kept) window = input.kept;
#endif
  return window > 0 ? draw_penalized(kernels, input, sampling, window)
                    : draw(kernels, input, sampling);
}

}  // namespace thimble
