// SPDX-License-Identifier: MIT
// Top-k keeps the first so many tokens in the order of logits, equal ones by token id; what is not
// kept has no odds from then on. Top-p and min-p keep the first so many in the order of odds, equal
// ones by token id. All are a `Cut` by keys, logits' orders or odds, found without sorting: by
// histograms over ever narrower ranges, at most six of them. Keys of whole blocks that do not
// matter are passed over, and no odds are computed for what top-k has dropped.
#include "sampler.h"

#include <string.h>

#include "kernels/key_blocks.h"

namespace thimble {
namespace {

constexpr float kOddsOfLikeliest = 1073741824.0f;  // 2^30, as the kernels' odds()
constexpr float kProbabilityUnit = 16777216.0f;    // 2^24: top_p is a whole number of 1 / 2^24

// Colder than this is greedy: 1 / temperature must stay finite.
constexpr float kMinTemperature = 1e-30f;

constexpr uint32_t kBinBits = 6;
constexpr uint32_t kBins = 1u << kBinBits;

constexpr uint32_t kBlock = kKeyBlock;
// Tokens whose odds are computed, and summed while the cache still has them.
constexpr uint32_t kChunk = 512;

// Where code is to be small, what only makes very many tokens fast stays out.
#if defined(__OPTIMIZE_SIZE__)
constexpr bool kIsSmall = true;
#else
constexpr bool kIsSmall = false;
#endif
// Of so many tokens, a sample of about kSample tells first where to look.
constexpr uint32_t kMany = 8192, kSample = 2048;

// Odds, or the orders of logits; of each `step` blocks the first one.
struct Keys {
  const uint32_t* at;  // (n); odds are 0 to 2^30, their sum is below 2^51, as n <= kMaxVocab
  uint32_t n;
  uint32_t step;
};

// What a search adds up: odds, or one for each logit.
enum class Measure { kMass, kCount };

// Keys from low to low + span, at most. `reached` is the measure of all above.
struct Range {
  uint32_t low, span;
  uint64_t reached;
};

// Where a search starts. Of odds, first those within 1/64 of the likeliest; while that is not
// enough, a 64th of that, and so on.
Range widest(Measure measure) {
  return measure == Measure::kMass ? Range{1u << 24, (1u << 30) - (1u << 24), 0}
                                   : Range{1, UINT32_MAX - 1, 0};
}

// The tokens that stay: all with keys above `threshold`, and of those with just this key the
// first `ties` by id. `reached` is the sum of their measure.
struct Cut {
  uint32_t threshold;
  uint32_t ties;
  uint64_t reached;
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
         s.temperature_last <= 1 &&
         (order_of(s.repetition_penalty) == 0 || within(s.repetition_penalty, 0.01f, 100.0f));
}

[[gnu::noinline]] uint64_t mass_at_least(const Kernels& kernels, const uint32_t* odds, uint32_t n,
                                         uint32_t low) {
  if (!kIsSmall && kernels.wide) return kernels.wide->mass_at_least(odds, n, low);
  return sum_at_least(odds, n, low);
}

// Calls f(start, length) for chunks of n tokens, until it returns false.
template <class F>
void each_chunk(uint32_t n, F f) {
  if (kIsSmall) {
    f(0, n);
    return;
  }
  for (uint32_t start = 0; start < n; start += kChunk) {
    if (!f(start, n - start < kChunk ? n - start : kChunk)) return;
  }
}

// Calls f(key) for all keys within the range.
template <class F>
void each_within(const Keys& keys, const Range& range, F f) {
  for (uint32_t start = 0; start < keys.n; start += kBlock * keys.step) {
    const uint32_t* block = keys.at + start;
    const uint32_t length = keys.n - start < kBlock ? keys.n - start : kBlock;
    if (!kIsSmall && length == kBlock && !any_within(block, range.low, range.span)) continue;
    for (uint32_t i = 0; i < length; ++i) {
      if (block[i] - range.low <= range.span) f(block[i]);
    }
  }
}

// The smallest number of likeliest tokens whose measure is at least `need` >= 1; all tokens with
// odds if that is not enough. The last one's key is not above `range`, at best within it.
Cut likeliest(const Keys& keys, Range range, Measure measure, uint64_t need) {
  union {
    uint64_t bins[kBins];
    uint32_t sorted[2 * kBins];
  } of;
  // Once a bin is known to hold the threshold, it becomes the range.
  for (;;) {
    uint32_t shift = 0;
    while (range.span >> shift >= kBins) ++shift;
    for (uint64_t& bin : of.bins) bin = 0;
    each_within(keys, range, [&](uint32_t key) {
      of.bins[(key - range.low) >> shift] += measure == Measure::kMass ? key : 1;
    });
    uint32_t bin = kBins;
    while (bin > 0 && range.reached + of.bins[bin - 1] < need) range.reached += of.bins[--bin];
    if (bin == 0) {
      if (range.low == 1) return {0, 0, range.reached};
      const uint32_t low = range.low >> kBinBits ? range.low >> kBinBits : 1;
      range = {low, range.low - 1 - low, range.reached};
      continue;
    }
    const uint64_t share = of.bins[--bin];
    const uint32_t above = range.span - (bin << shift), width = (1u << shift) - 1;
    range = {range.low + (bin << shift), width < above ? width : above, range.reached};
    if (shift == 0) {  // one value a bin
      const uint64_t missing = need - range.reached;
      if (measure == Measure::kCount) return {range.low, static_cast<uint32_t>(missing), need};
      const uint64_t ties = (missing + range.low - 1) / range.low;
      return {range.low, static_cast<uint32_t>(ties), range.reached + ties * range.low};
    }
    // At most so many as can be sorted.
    const uint64_t least = measure == Measure::kMass ? range.low : 1;
    if (share <= 2 * kBins * least) break;
  }

  // So few that sorting them (by insertion, the largest first) is less work than another pass or
  // two; the bins are no longer needed.
  uint32_t n = 0;
  each_within(keys, range, [&](uint32_t key) {
    uint32_t i = n++;
    for (; i > 0 && of.sorted[i - 1] < key; --i) of.sorted[i] = of.sorted[i - 1];
    of.sorted[i] = key;
  });
  Cut cut = {0, 0, range.reached};
  for (uint32_t i = 0; i < n && cut.reached < need; ++i) {
    cut.ties = of.sorted[i] == cut.threshold ? cut.ties + 1 : 1;
    cut.threshold = of.sorted[i];
    cut.reached += measure == Measure::kMass ? of.sorted[i] : 1;
  }
  return cut;
}

// The same of all keys, of which few lie within a range that is already narrow: these are copied,
// and only they are looked at again and again. If the threshold may lie below, all are.
Cut likeliest(const Kernels& kernels, const Keys& keys, const Range& range, Measure measure,
              uint64_t need) {
  constexpr uint32_t kFew = 2048;
  if (!kIsSmall && kernels.wide && keys.step == 1 && keys.n >= kMany) {
    uint32_t found[kFew];
    const uint32_t n = kernels.wide->collect(found, kFew, keys.at, keys.n, range.low, range.span);
    if (n <= kFew) {
      const uint64_t here = measure == Measure::kMass ? mass_at_least(kernels, found, n, 0) : n;
      if (range.reached + here >= need) return likeliest({found, n, 1}, range, measure, need);
    }
  }
  return likeliest(keys, range, measure, need);
}

// The least whole number >= mass * p, p in units of 2^-24; exact, since mass < 2^51.
uint64_t share_of_mass(uint64_t mass, uint32_t p) {
  const uint64_t upper = mass >> 24, lower = mass & 0xffffff;
  return upper * p + ((lower * p + 0xffffff) >> 24);
}

// Where the threshold of `need` of all mass will be. A sample that has its share of the mass, as it
// has where odds are even, brackets it, and the secant method (with the bracket's slope) makes that
// so narrow that few tokens of very many are looked at one by one.
Range near_threshold(const Kernels& kernels, const Keys& all, uint64_t mass, uint32_t p,
                     uint64_t need) {
  constexpr uint32_t kNarrower = 32, kScale = 20;
  const Range range = widest(Measure::kMass);
  const uint32_t step = all.n / kSample;
  const Keys sample = {all.at, all.n, step};
  uint64_t sampled = 0;
  for (uint32_t start = 0; start + kBlock <= all.n; start += kBlock * step) {
    sampled += mass_at_least(kernels, all.at + start, kBlock, 1);
  }
  const uint64_t slack = sampled / 32;
  if (sampled * step < mass / 2 || slack * step >> kScale == 0) return range;
  const uint64_t there = share_of_mass(sampled, p);
  const Cut above = likeliest(sample, range, Measure::kMass, there > slack ? there - slack : 1);
  const Cut below = likeliest(sample, range, Measure::kMass, there + slack);
  if (below.threshold == 0) return range;
  const int64_t width = above.threshold - below.threshold, margin = width / kNarrower + 1;
  const int64_t between = static_cast<int64_t>(2 * slack * step >> kScale);
  int64_t guess = below.threshold + width / 2;
  const auto reached_at = [&] {
    return mass_at_least(kernels, all.at, all.n, static_cast<uint32_t>(guess));
  };
  const auto miss = [&](uint64_t reached) {
    const int64_t error = (static_cast<int64_t>(reached) - static_cast<int64_t>(need)) >> kScale;
    return error * width / between;
  };
  // The second guess lies a little above, so that what it reaches is what the range starts from.
  guess += miss(reached_at()) + margin;
  if (guess <= 2 * margin || guess > 1 << 30) return range;
  const uint64_t reached = reached_at();
  if (reached >= need) return range;
  const int64_t low = guess + miss(reached) - margin;
  if (low < 1 || low >= guess) return range;
  return {static_cast<uint32_t>(low), static_cast<uint32_t>(guess - 1 - low), reached};
}

// The tokens with the `p` (in units of 2^-24) of all mass.
Cut top_p(const Kernels& kernels, const Keys& odds, uint64_t mass, uint32_t p) {
  uint64_t need = share_of_mass(mass, p);
  if (need == 0) need = 1;
  const Range range = !kIsSmall && odds.n >= kMany ? near_threshold(kernels, odds, mass, p, need)
                                                   : widest(Measure::kMass);
  return likeliest(kernels, odds, range, Measure::kMass, need);
}

// The k likeliest by their orders; a sample bounds the last one's.
Cut top_k(const Kernels& kernels, const Keys& orders, uint32_t k) {
  Range range = widest(Measure::kCount);
  if (!kIsSmall && orders.n >= kMany && k < orders.n / 4) {
    const uint32_t step = orders.n / kSample, enough = k / step + k / step / 2 + 4;
    const uint32_t low =
        likeliest({orders.at, orders.n, step}, range, Measure::kCount, enough).threshold;
    range = {low, UINT32_MAX - low, 0};
  }
  return likeliest(kernels, orders, range, Measure::kCount, k);
}

// What a draw does with its logits.
struct Odds {
  const Kernels& kernels;
  const SampleInput& in;
  float max;

  // All tokens' odds; returns the mass of those of at least `low`.
  uint64_t of_all(float inv_temperature, uint32_t low) const {
    uint64_t mass = 0;
    each_chunk(in.n, [&](uint32_t start, uint32_t length) {
      kernels.odds(in.odds + start, in.logits + start, length, max, inv_temperature);
      mass += mass_at_least(kernels, in.odds + start, length, low);
      return true;
    });
    return mass;
  }

  // The odds of those tokens that a cut of their keys, which lie where odds are to be, keeps;
  // the others have none. Returns the mass.
  uint64_t of_kept(Cut cut, float inv_temperature) const {
    uint64_t mass = 0;
    uint32_t dropped = 0;  // from here on, none is kept so far
    for (uint32_t start = 0; start < in.n; start += kBlock) {
      uint32_t* keys = in.odds + start;
      const uint32_t length = in.n - start < kBlock ? in.n - start : kBlock;
      uint32_t kept = 0;
      const Range above = {cut.threshold, UINT32_MAX - cut.threshold, 0};
      if (kIsSmall || length < kBlock || any_within(keys, above.low, above.span)) {
        for (uint32_t i = 0; i < length; ++i) {
          const bool is_tie = keys[i] == cut.threshold && cut.ties > 0;
          cut.ties -= is_tie;
          kept |= uint32_t{is_tie || keys[i] > cut.threshold} << i;
        }
      }
      if (kept == 0) continue;
      memset(in.odds + dropped, 0, (start - dropped) * sizeof *keys);
      dropped = start + length;
      kernels.odds(keys, in.logits + start, length, max, inv_temperature);
      for (uint32_t i = 0; i < length; ++i) {
        if (!(kept >> i & 1)) keys[i] = 0;
        mass += keys[i];
      }
    }
    memset(in.odds + dropped, 0, (in.n - dropped) * sizeof *in.odds);
    return mass;
  }
};

// The tokens that can be drawn, as a cut of their odds.
Cut drawable(const Odds& odds, const thimble_sampling& s) {
  const SampleInput& in = odds.in;
  const float inv_temperature = 1.0f / s.temperature;
  const bool has_top_p = is_between(s.top_p, 0.0f, 1.0f);
  const float least = s.min_p * kOddsOfLikeliest;
  uint32_t floor = static_cast<uint32_t>(least);
  if (static_cast<float>(floor) < least) ++floor;
  // What neither top-p nor min-p judges has the same odds in either order.
  const bool is_last = s.temperature_last && (has_top_p || floor > 0);
  const float first = is_last ? 1.0f : inv_temperature;
  Cut cut = {0, 0, 0};
  if (s.top_k > 0 && s.top_k < in.n) {
    for (uint32_t i = 0; i < in.n; ++i) in.odds[i] = logit_order(in.logits[i]);
    cut.reached = odds.of_kept(top_k(odds.kernels, {in.odds, in.n, 1}, s.top_k), first);
    if (!has_top_p && floor > 0) cut.reached = mass_at_least(odds.kernels, in.odds, in.n, floor);
  } else {
    cut.reached = odds.of_all(first, has_top_p ? 0 : floor);
  }
  if (has_top_p) {
    cut = top_p(odds.kernels, {in.odds, in.n, 1}, cut.reached,
                static_cast<uint32_t>(s.top_p * kProbabilityUnit));
  }
  if (floor > cut.threshold) {
    cut = {floor - 1, 0,
           has_top_p ? mass_at_least(odds.kernels, in.odds, in.n, floor) : cut.reached};
  }
  if (is_last) cut = {0, 0, odds.of_kept(cut, inv_temperature)};
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
  const Cut cut = drawable({kernels, in, max}, s);
  // The bias of this mapping is at most mass / 2^64 < 2^-13 of one unit of odds.
  uint64_t rest = multiply_high(random_bits(s.seed, in.position), cut.reached);
  uint64_t ties = uint64_t{cut.ties} * cut.threshold;  // their mass
  uint32_t drawn = best;
  each_chunk(in.n, [&](uint32_t start, uint32_t length) {
    const uint32_t* chunk = in.odds + start;
    if (!kIsSmall) {  // the whole chunk is passed over
      const uint64_t above = mass_at_least(kernels, chunk, length, cut.threshold + 1);
      uint64_t tied = ties > 0 ? mass_at_least(kernels, chunk, length, cut.threshold) - above : 0;
      if (tied > ties) tied = ties;
      if (rest >= above + tied) {
        rest -= above + tied;
        ties -= tied;
        return true;
      }
    }
    for (uint32_t i = 0; i < length; ++i) {
      const uint32_t o = chunk[i];
      if (o < cut.threshold || (o == cut.threshold && ties == 0)) continue;
      if (o == cut.threshold) ties -= o;
      if (rest < o) {
        drawn = start + i;
        return false;
      }
      rest -= o;
    }
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
