// SPDX-License-Identifier: MIT
// Top-k, top-p and min-p all keep the first so many tokens of one order: likeliest first, equal
// odds by token id. So what they leave is one `Cut`, found without sorting: by histograms over
// ever narrower ranges of odds, at most five of them.
#include "sampler.h"

namespace thimble {
namespace {

constexpr float kOddsOfLikeliest = 1073741824.0f;  // 2^30, as the kernels' odds()
constexpr float kProbabilityUnit = 16777216.0f;    // 2^24: top_p is a whole number of 1 / 2^24

// Colder than this is greedy: 1 / temperature must stay finite.
constexpr float kMinTemperature = 1e-30f;

constexpr uint32_t kBinBits = 6;
constexpr uint32_t kBins = 1u << kBinBits;

struct Odds {
  const uint32_t* at;  // (n), each 0 to 2^30; their sum is below 2^51, as n <= kMaxVocab
  uint32_t n;
};

// The tokens that stay: all with odds above `threshold`, and of those with just these odds the
// first `ties` by id. `mass` is the sum of their odds.
struct Cut {
  uint32_t threshold;
  uint32_t ties;
  uint64_t mass;
};

bool within(float value, float low, float high) {
  return value >= low && value <= high;  // not for a NaN
}

bool is_valid(const thimble_sampling& s) {
  return within(s.temperature, 0.0f, 100.0f) && within(s.top_p, 0.0f, 1.0f) &&
         within(s.min_p, 0.0f, 1.0f) && s.repetition_window <= kMaxRepetitionWindow &&
         (s.repetition_penalty == 0.0f || within(s.repetition_penalty, 0.01f, 100.0f));
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
Cut likeliest(const Odds& odds, Measure measure, uint64_t need) {
  uint32_t counts[kBins];
  uint64_t masses[kBins];
  uint64_t reached = 0;  // the measure of what is above the range
  uint64_t mass = 0;     // and its mass
  // Odds in [low, high) lie in 64 bins of 2^shift. First those within 1/64 of the likeliest; while
  // that is not enough, a 64th of that, and so on. Once a bin is known to hold the threshold, it
  // becomes the range.
  uint32_t low = 1u << 24, high = 1u << 31, shift = 24;
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
    high = low + (1u << shift);
    shift -= kBinBits;
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

Cut cut_for(const Odds& odds, const thimble_sampling& s) {
  Cut cut = {0, 0, 0};
  if (s.top_k > 0 && s.top_k < odds.n) {
    cut = likeliest(odds, Measure::kCount, s.top_k);
  } else {
    cut.mass = mass_at_least(odds, 1);
  }
  if (s.top_p > 0.0f && s.top_p < 1.0f) {
    // A part of what top-k left is a shorter piece of the same order, so all odds can be searched.
    const uint32_t p = static_cast<uint32_t>(s.top_p * kProbabilityUnit);
    const uint64_t need = share_of_mass(cut.mass, p);
    cut = likeliest(odds, Measure::kMass, need > 0 ? need : 1);
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

int32_t draw(const Kernels& kernels, const SampleInput& in, const thimble_sampling& s) {
  const uint32_t best = kernels.argmax(in.logits, in.vocab_size);
  const float max = in.logits[best];
  const bool is_finite = max - max == 0.0f;
  if (s.temperature < kMinTemperature || s.top_k == 1 || !is_finite) {
    return static_cast<int32_t>(best);
  }
  kernels.odds(in.odds, in.logits, in.vocab_size, max, 1.0f / s.temperature);
  const Odds odds = {in.odds, in.vocab_size};
  Cut cut = cut_for(odds, s);
  // The bias of this mapping is at most mass / 2^64 < 2^-13 of one unit of odds.
  uint64_t rest = multiply_high(random_bits(s.seed, in.position), cut.mass);
  uint32_t drawn = best;
  each_at_least(odds, cut.threshold > 0 ? cut.threshold : 1, [&](uint32_t id, uint32_t o) {
    if (o == cut.threshold && cut.ties-- == 0) {
      cut.ties = 0;
      return true;
    }
    if (rest < o) {
      drawn = id;
      return false;
    }
    rest -= o;
    return true;
  });
  return static_cast<int32_t>(drawn);
}

// Not inlined: its kilobyte of stack is only for those who use the penalty.
[[gnu::noinline]] int32_t draw_penalized(const Kernels& kernels, const SampleInput& in,
                                         const thimble_sampling& s) {
  float before[kMaxRepetitionWindow];
  uint32_t window = s.repetition_window ? s.repetition_window : kDefaultRepetitionWindow;
  if (window > in.position) window = in.position;
  const int32_t* recent = in.history + (in.position - window);
  // A token that occurs often is penalized once. Marks lie where its odds will.
  for (uint32_t i = 0; i < window; ++i) in.odds[recent[i]] = 0;
  for (uint32_t i = 0; i < window; ++i) {
    float& logit = in.logits[recent[i]];
    before[i] = logit;
    if (in.odds[recent[i]]++ > 0) continue;
    logit = logit > 0.0f ? logit / s.repetition_penalty : logit * s.repetition_penalty;
  }
  const int32_t token = draw(kernels, in, s);
  // Backwards, so that a token's first value is written last.
  for (uint32_t i = window; i > 0; --i) in.logits[recent[i - 1]] = before[i - 1];
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
  const bool penalizes = sampling.repetition_penalty != 0.0f && sampling.repetition_penalty != 1.0f;
  return penalizes ? draw_penalized(kernels, input, sampling) : draw(kernels, input, sampling);
}

}  // namespace thimble
