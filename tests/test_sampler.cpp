// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "random.h"
#include "sampler.h"

using namespace thimble;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
__extension__ using Wide = unsigned __int128;

thimble_sampling warm(float temperature) {
  thimble_sampling s{};
  s.temperature = temperature;
  return s;
}

// Every table that this machine can run; the tests below hold for each.
std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> tables;
  for (size_t i = 0; const Kernels* k = kernels_at(i); ++i) tables.push_back(k);
  return tables;
}

// Blocks of just the size, so that a sanitizer sees a step outside.
int32_t sample(const Kernels& kernels, const std::vector<float>& logits, const thimble_sampling& s,
               uint32_t position = 0, const std::vector<int32_t>& history = {}) {
  std::vector<float> copy(logits);
  std::vector<uint32_t> odds(logits.size(), 0xdeadbeef);
  std::vector<int32_t> tokens(history);
  tokens.resize(position);
  const SampleInput input{copy.data(),   nullptr, odds.data(), static_cast<uint32_t>(logits.size()),
                          tokens.data(), position};
  const int32_t token = sample_token(kernels, input, s);
  CHECK(std::memcmp(copy.data(), logits.data(), logits.size() * sizeof(float)) == 0);
  return token;
}

// ---- The same draw with a sort and 128-bit products ------------------------------------------

struct Reference {
  std::vector<uint32_t> odds;
  std::vector<uint32_t> kept;  // ids that can be drawn, ascending
  uint64_t mass = 0;

  // all_odds decide what is kept; it is drawn by `drawn_by`, if that is not null.
  Reference(const std::vector<float>& logits, const std::vector<uint32_t>& all_odds,
            const thimble_sampling& s, const std::vector<uint32_t>* drawn_by = nullptr)
      : odds(all_odds) {
    std::vector<uint32_t> order(odds.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto logit = [&](uint32_t id) {
      return logits[id] == logits[id] ? logits[id] : -kInfinity;
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return logit(a) > logit(b); });
    if (s.top_k > 0 && s.top_k < order.size()) order.resize(s.top_k);
    std::sort(order.begin(), order.end());
    std::stable_sort(order.begin(), order.end(),
                     [this](uint32_t a, uint32_t b) { return odds[a] > odds[b]; });
    if (s.top_p > 0.0f && s.top_p < 1.0f) {
      const uint64_t p = static_cast<uint64_t>(std::floor(double(s.top_p) * 0x1p24));
      Wide total = 0, sum = 0;
      for (uint32_t id : order) total += odds[id];
      size_t n_kept = 0;
      do {
        sum += odds[order[n_kept++]];
      } while ((sum << 24) < total * p);
      order.resize(n_kept);
    }
    for (uint32_t id : order) {
      if (odds[id] > 0 && double(odds[id]) >= double(s.min_p) * 0x1p30) kept.push_back(id);
    }
    std::sort(kept.begin(), kept.end());
    if (drawn_by) odds = *drawn_by;
    for (uint32_t id : kept) mass += odds[id];
  }

  int32_t draw(uint64_t seed, uint32_t position) const {
    uint64_t r = static_cast<uint64_t>((Wide(random_bits(seed, position)) * mass) >> 64);
    for (uint32_t id : kept) {
      if (r < odds[id]) return static_cast<int32_t>(id);
      r -= odds[id];
    }
    return -1000;
  }
};

std::vector<uint32_t> reference_odds(const std::vector<float>& logits, float temperature) {
  float max = -kInfinity;
  for (float x : logits) max = x > max ? x : max;
  std::vector<uint32_t> odds(logits.size());
  kKernelsReference.odds(odds.data(), logits.data(), static_cast<uint32_t>(logits.size()), max,
                         1.0f / temperature);
  return odds;
}

// Logits of many kinds: smooth, with ties, with few levels, with extremes, with long tails.
std::vector<float> random_logits(Random& random, uint32_t n) {
  std::vector<float> x(n);
  const unsigned kind = random.below(6);
  const float width = std::exp(random.normal() * 1.5f);
  for (float& v : x) {
    v = random.normal() * width;
    if (kind == 1) v = std::round(v * 2.0f) / 2.0f;          // ties
    if (kind == 2) v = static_cast<float>(random.below(3));  // three levels
    if (kind == 3) v = 1.25f;                                // all equal
    if (kind == 4 && random.below(4) == 0) v = (random.below(2)) ? -kInfinity : kNan;
    if (kind == 5) v = std::min(std::max(v * 1e37f, -3e38f), 3e38f);  // one gets it all
  }
  if (kind == 4) x[random.below(n)] = 3.0f;
  return x;
}

}  // namespace

TEST_CASE("the generator is SplitMix64") {
  // Published outputs for the seed 1234567.
  CHECK(random_bits(1234567, 0) == UINT64_C(6457827717110365317));
  CHECK(random_bits(1234567, 1) == UINT64_C(3203168211198807973));
  CHECK(random_bits(1234567, 2) == UINT64_C(9817491932198370423));
  CHECK(random_bits(1234567, 3) == UINT64_C(4593380528125082431));
  CHECK(random_bits(1234567, 4) == UINT64_C(16408922859458223821));
  CHECK(random_bits(0, 0) == UINT64_C(0xe220a8397b1dcdaf));
}

TEST_CASE("every draw equals a sort's") {
  Random random(20240701);
  const auto one_of = [&random](std::initializer_list<float> values) {
    return values.begin()[random.below(static_cast<uint32_t>(values.size()))];
  };
  const std::vector<const Kernels*> tables = all_kernels();
  for (int round = 0; round < 4000; ++round) {
    const uint32_t n = round % 50 == 0 ? 5000 + random.below(3000) : 1 + random.below(300);
    const std::vector<float> logits = random_logits(random, n);
    thimble_sampling s{};
    s.temperature = one_of({0.01f, 0.3f, 0.8f, 1.0f, 2.0f, 10.0f, 100.0f});
    s.top_k = random.below(3) == 0 ? 0 : 2 + random.below(random.below(2) ? 10 : n + 5);
    s.top_p = one_of({0.0f, 1.0f, 0.9f, 0.5f, 0.95f, 0.999999f, 1e-3f, 1e-9f, 1e-40f,
                      static_cast<float>(random.below(1000)) / 1000.0f});
    s.min_p = one_of(
        {0.0f, 0.0f, 0.05f, 1e-4f, 1.0f, 1e-12f, static_cast<float>(random.below(1000)) / 1000.0f});
    s.seed = random.below(4) ? random.next() : 0;
    const std::vector<uint32_t> odds = reference_odds(logits, s.temperature);
    const Reference expected(logits, odds, s);
    const bool judges = (s.top_p > 0.0f && s.top_p < 1.0f) || s.min_p > 0.0f;
    const Reference last(logits, reference_odds(logits, judges ? 1.0f : s.temperature), s, &odds);
    CAPTURE(round);
    CAPTURE(n);
    for (uint32_t position : {0u, 1u, 77u}) {
      for (const Kernels* kernels : tables) {
        s.temperature_last = 0;
        REQUIRE(sample(*kernels, logits, s, position) == expected.draw(s.seed, position));
        s.temperature_last = 1;
        REQUIRE(sample(*kernels, logits, s, position) == last.draw(s.seed, position));
      }
    }
  }
}

// So many tokens that a sample says where to look: even odds, a few that have it all, levels with
// ties, both mixed, odd numbers of them; each cut from narrow to nearly all.
TEST_CASE("draws from very many tokens equal a sort's") {
  Random random(20261126);
  const Kernels& kernels = *kernels_at(0);
  for (int round = 0; round < 100; ++round) {
    const uint32_t n = 8192 + random.below(round % 3 == 0 ? 3 : 40000);
    const uint32_t kind = random.below(5);
    const float width = 0.2f + static_cast<float>(random.below(30)) / 10.0f;
    std::vector<float> logits(n);
    for (float& x : logits) {
      x = random.normal() * width;
      if (kind == 1) x = std::round(x * 4.0f) / 4.0f;
      if (kind == 2) x = 0.5f;
    }
    if (kind >= 3) {
      for (uint32_t i = 0; i < 20; ++i) logits[random.below(n)] = 12.0f + random.normal();
    }
    if (kind == 4) std::fill(logits.begin() + 64, logits.begin() + 900, 11.0f);  // in the sample
    thimble_sampling s = warm(random.below(2) ? 0.8f : 1.7f);
    s.temperature_last = random.below(2);
    s.seed = random.next();
    const float shares[] = {0.0f, 0.01f, 0.5f, 0.9f, 0.95f, 0.999f, 0.9999999f};
    s.top_p = shares[random.below(7)];
    const uint32_t counts[] = {0, 0, 2, 40, 1000, n / 4, n - 1};
    s.top_k = counts[random.below(7)];
    if (random.below(3) == 0) s.min_p = 0.05f;
    const std::vector<uint32_t> odds = reference_odds(logits, s.temperature);
    const bool first = !s.temperature_last || (s.top_p == 0.0f && s.min_p == 0.0f);
    const Reference expected(logits, first ? odds : reference_odds(logits, 1.0f), s, &odds);
    CAPTURE(round);
    CAPTURE(kind);
    for (uint32_t position : {0u, 1u, 2u, 3u}) {
      REQUIRE(sample(kernels, logits, s, position) == expected.draw(s.seed, position));
    }
  }
}

// The definition in plain doubles: the model's own probabilities decide who stays, and those who
// stay are drawn by the softmax at the temperature.
TEST_CASE("temperature last follows its definition") {
  Random random(12);
  std::vector<float> logits(24);
  for (float& x : logits) x = random.normal() * 2.0f;
  const auto softmax = [&](double temperature, const std::vector<bool>& kept) {
    std::vector<double> p(logits.size());
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i)
      sum += p[i] = kept[i] ? std::exp(double(logits[i]) / temperature) : 0.0;
    for (double& x : p) x /= sum;
    return p;
  };
  for (double temperature : {0.5, 2.0, 10.0}) {
    for (const auto& [top_k, top_p, min_p] : {std::tuple<uint32_t, double, double>{0, 0, 0.1},
                                              {0, 0.8, 0},
                                              {6, 0.9, 0},
                                              {8, 0.95, 0.08}}) {
      // Who stays.
      std::vector<size_t> order(logits.size());
      std::iota(order.begin(), order.end(), size_t{0});
      std::sort(order.begin(), order.end(),
                [&](size_t a, size_t b) { return logits[a] > logits[b]; });
      if (top_k > 0) order.resize(top_k);
      std::vector<bool> kept(logits.size());
      for (size_t id : order) kept[id] = true;
      const std::vector<double> own = softmax(1.0, kept);
      double sum = 0;
      for (size_t id : order) {
        kept[id] = (top_p == 0 || sum < top_p) && own[id] >= min_p * own[order[0]];
        sum += own[id];
      }
      const std::vector<double> p = softmax(temperature, kept);

      thimble_sampling s = warm(static_cast<float>(temperature));
      s.top_k = top_k;
      s.top_p = static_cast<float>(top_p);
      s.min_p = static_cast<float>(min_p);
      s.temperature_last = 1;
      s.seed = 5;
      const uint32_t draws = 20000;
      std::vector<uint32_t> seen(logits.size()), odds(logits.size());
      const std::vector<int32_t> history(draws);
      for (uint32_t i = 0; i < draws; ++i) {
        const SampleInput input{logits.data(), nullptr, odds.data(), 24, history.data(), i};
        ++seen[static_cast<size_t>(sample_token(kKernelsReference, input, s))];
      }
      double chi2 = 0;
      for (size_t i = 0; i < p.size(); ++i) {
        if (!kept[i]) CHECK(seen[i] == 0);
        if (!kept[i]) continue;
        const double expected = draws * p[i];
        chi2 += (seen[i] - expected) * (seen[i] - expected) / expected;
      }
      // At most 23 degrees of freedom: mean 23, variance 46. 57 is five standard deviations above
      // the mean; seed and draws are fixed, so the outcome is too.
      CHECK(chi2 < 57.0);
    }
  }
}

TEST_CASE("temperature last: the same bits at temperature 1, without top-p and min-p, and greedy") {
  Random random(13);
  for (int round = 0; round < 300; ++round) {
    const std::vector<float> logits = random_logits(random, 1 + random.below(200));
    thimble_sampling s = warm(random.below(3) ? 1.0f : random.below(2) ? 0.0f : 3.0f);
    s.top_k = random.below(40);
    s.seed = random.next();
    if (s.temperature < 2.0f) {
      s.top_p = static_cast<float>(random.below(1000)) / 1000.0f;
      s.min_p = static_cast<float>(random.below(100)) / 1000.0f;
    }
    const int32_t first = sample(*kernels_at(0), logits, s, 3);
    s.temperature_last = 1;
    CHECK(sample(*kernels_at(0), logits, s, 3) == first);
  }
}

TEST_CASE("odds at every border of the search") {
  // Odds as given, not from logits, so that every bin, narrowing step and number of ties is met.
  static std::vector<uint32_t> sorted;  // a logit is a place in it
  std::vector<uint32_t> given;
  Kernels kernels = kKernelsReference;
  kernels.odds = [](uint32_t* out, const float* x, uint32_t n, float, float) {
    for (uint32_t i = 0; i < n; ++i) out[i] = sorted[static_cast<size_t>(x[i])];
  };
  Random random(5);
  std::vector<float> logits(200);
  for (int round = 0; round < 4000; ++round) {
    given.assign(200, 0);
    const uint32_t center = (1u << random.below(30)) + (random.below(2) ? random.below(64) : 0);
    const uint32_t spread = 1u << random.below(24);
    for (uint32_t& o : given) {
      if (random.below(8)) o = std::min(center - 1 + random.below(3) * spread, 1u << 30);
    }
    given[random.below(200)] = 1u << 30;
    sorted = given;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < logits.size(); ++i) {  // in the order of the odds
      logits[i] = static_cast<float>(
          std::count_if(given.begin(), given.end(), [&](uint32_t o) { return o < given[i]; }));
    }
    thimble_sampling s = warm(1.0f);
    s.top_k = 2 + random.below(199);
    if (round % 2) {  // just the share of the first few, so that the border lies behind a token
      std::vector<uint32_t> order(given);
      std::sort(order.rbegin(), order.rend());
      const uint32_t few = 1 + random.below(s.top_k);
      const double part = std::accumulate(order.begin(), order.begin() + few, 0.0);
      s.top_p =
          static_cast<float>(part / std::accumulate(order.begin(), order.begin() + s.top_k, 0.0));
    }
    const Reference expected(logits, given, s);
    CAPTURE(round);
    for (uint32_t position = 0; position < 8; ++position) {
      REQUIRE(sample(kernels, logits, s, position) == expected.draw(0, position));
    }
  }
}

TEST_CASE("draws follow the softmax") {
  Random random(11);
  for (float temperature : {0.5f, 1.0f, 1.7f}) {
    std::vector<float> logits(20);
    for (float& x : logits) x = random.normal();
    std::vector<double> p(logits.size());
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i)
      sum += p[i] = std::exp(double(logits[i]) / double(temperature));
    std::vector<uint32_t> seen(logits.size());
    const uint32_t draws = 40000;
    std::vector<uint32_t> odds(logits.size());
    const std::vector<int32_t> history(draws);
    thimble_sampling s = warm(temperature);
    s.seed = 3;
    for (uint32_t i = 0; i < draws; ++i) {
      const SampleInput input{logits.data(), nullptr, odds.data(), 20, history.data(), i};
      ++seen[static_cast<size_t>(sample_token(kKernelsReference, input, s))];
    }
    double chi2 = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      const double expected = draws * p[i] / sum;
      chi2 += (seen[i] - expected) * (seen[i] - expected) / expected;
    }
    // 19 degrees of freedom: mean 19, variance 38. 50 is five standard deviations above the mean
    // (probability 1e-4); seed and draws are fixed, so the outcome is too.
    CHECK(chi2 < 50.0);
    CHECK(chi2 > 4.0);  // probability 1e-4 too: numbers that are too even are not random
  }
}

TEST_CASE("greedy") {
  for (const Kernels* kernels : all_kernels()) {
    CHECK(sample(*kernels, {1, 3, 2, 3}, {}) == 1);
    thimble_sampling s = warm(1e-31f);  // colder than odds can tell: greedy too
    CHECK(sample(*kernels, {1, 3, 2, 3}, s) == 1);
    s = warm(100.0f);
    s.top_k = 1;
    CHECK(sample(*kernels, {1.0f, 1.0f + 1e-6f}, s) == 1);  // though their odds are equal
    CHECK(sample(*kernels, {7}, warm(1.0f)) == 0);
  }
}

TEST_CASE("logits without odds are no numbers to draw from") {
  for (const Kernels* kernels : all_kernels()) {
    for (float t : {0.0f, 1.0f, 1e-29f, 100.0f}) {
      for (float penalty : {0.0f, 1.5f}) {
        thimble_sampling s = warm(t);
        s.repetition_penalty = penalty;
        const auto drawn = [&](const std::vector<float>& logits) {
          return sample(*kernels, logits, s, 1, {1});  // compares the logits afterwards, too
        };
        CHECK(drawn({kNan, kNan, kNan}) == THIMBLE_ERROR_NOT_FINITE);
        CHECK(drawn({-kInfinity, -kInfinity}) == THIMBLE_ERROR_NOT_FINITE);
        CHECK(drawn({0, kInfinity, kInfinity, kNan}) == THIMBLE_ERROR_NOT_FINITE);
        CHECK(drawn({kNan, -1, -kInfinity}) == 1);
      }
    }
    const float huge = std::numeric_limits<float>::max();
    CHECK(sample(*kernels, {-huge, huge, -huge}, warm(1e-29f)) == 1);
    CHECK(sample(*kernels, {-huge, huge, -huge}, warm(100.0f)) == 1);
  }
}

TEST_CASE("each option") {
  // Probabilities 1/2, 1/4, 1/8, 1/8 at temperature 1, twice the odds a step.
  const std::vector<float> logits = {std::log(2.0f), std::log(8.0f), std::log(4.0f),
                                     std::log(2.0f)};
  const auto drawn = [&logits](const thimble_sampling& s) {
    std::vector<bool> seen(logits.size());
    for (uint32_t position = 0; position < 200; ++position) {
      seen[static_cast<size_t>(sample(kKernelsReference, logits, s, position))] = true;
    }
    return seen;
  };
  using Seen = std::vector<bool>;
  thimble_sampling s = warm(1.0f);
  CHECK(drawn(s) == Seen{true, true, true, true});
  s.top_k = 3;  // of the equal ones the first
  CHECK(drawn(s) == Seen{true, true, true, false});
  s.top_k = 2;
  CHECK(drawn(s) == Seen{false, true, true, false});
  s.top_k = 4;
  CHECK(drawn(s) == Seen{true, true, true, true});
  s.top_k = 0;
  s.top_p = 0.4f;
  CHECK(drawn(s) == Seen{false, true, false, false});
  s.top_p = 0.7f;
  CHECK(drawn(s) == Seen{false, true, true, false});
  s.top_p = 0.8f;
  CHECK(drawn(s) == Seen{true, true, true, false});
  s.top_p = 0.6f;  // of what top-k left: 2/3 and 1/3
  s.top_k = 2;
  CHECK(drawn(s) == Seen{false, true, false, false});
  s.top_k = 0;
  s.top_p = std::numeric_limits<float>::min();  // the narrowest; 0 is none
  CHECK(drawn(s) == Seen{false, true, false, false});
  s.top_p = std::numeric_limits<float>::denorm_min();
  CHECK(drawn(s) == Seen{false, true, false, false});
  s.top_p = 0.0f;
  CHECK(drawn(s) == Seen{true, true, true, true});
  s.min_p = 0.4f;
  CHECK(drawn(s) == Seen{false, true, true, false});
  s.min_p = 0.2f;
  CHECK(drawn(s) == Seen{true, true, true, true});
  s.min_p = 1.0f;
  CHECK(drawn(s) == Seen{false, true, false, false});
}

TEST_CASE("the same seed draws the same, another one does not") {
  const std::vector<float> logits(64, 1.0f);
  thimble_sampling s = warm(1.0f);
  std::vector<std::vector<int32_t>> texts;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, UINT64_MAX, uint64_t{1} << 40, uint64_t{0}}) {
    s.seed = seed;
    texts.emplace_back();
    for (uint32_t position = 0; position < 32; ++position) {
      texts.back().push_back(sample(kKernelsReference, logits, s, position));
    }
  }
  CHECK(texts[0] == texts[4]);
  texts.pop_back();
  std::sort(texts.begin(), texts.end());
  CHECK(std::adjacent_find(texts.begin(), texts.end()) == texts.end());
  // Golden: the upper six bits of the published generator's outputs for the seed 1234567.
  s.seed = 1234567;
  CHECK(sample(kKernelsReference, logits, s, 0) == 22);
  CHECK(sample(kKernelsReference, logits, s, 1) == 11);
  CHECK(sample(kKernelsReference, logits, s, 2) == 34);
}

TEST_CASE("repetition penalty") {
  thimble_sampling s{};
  s.repetition_penalty = 2.0f;
  // Token 1 is halved once, though it occurs three times; a negative logit is doubled.
  CHECK(sample(kKernelsReference, {0, 8, 5, 3}, s, 3, {1, 1, 1}) == 2);
  CHECK(sample(kKernelsReference, {0, 8, 3.9f, 3}, s, 3, {1, 1, 1}) == 1);
  CHECK(sample(kKernelsReference, {-1, -1.5f, -9}, s, 1, {0}) == 1);
  CHECK(sample(kKernelsReference, {-1, -2.5f, -9}, s, 1, {0}) == 0);
  s.repetition_penalty = 0.5f;  // below 1 it rewards
  CHECK(sample(kKernelsReference, {4, 5, 1}, s, 1, {0}) == 0);

  // The window: the default reaches 64 back, the largest 256.
  s.repetition_penalty = 2.0f;
  for (uint32_t window : {0u, 1u, 63u, 64u, 255u, 256u}) {
    const uint32_t reach = window ? window : 64;
    s.repetition_window = window;
    std::vector<int32_t> history(300, 2);
    history[300 - reach] = 1;
    CHECK(sample(kKernelsReference, {4, 5, 0}, s, 300, history) == 0);
    history[300 - reach] = 2;
    history[300 - reach - 1] = 1;
    CHECK(sample(kKernelsReference, {4, 5, 0}, s, 300, history) == 1);
  }

  // sample() compares all logits bit for bit afterwards; here with repeats and odd values.
  Random random(9);
  s.temperature = 0.9f;
  for (int round = 0; round < 500; ++round) {
    std::vector<float> logits = random_logits(random, 40);
    logits[3] = -0.0f;
    logits[4] = kNan;
    logits[5] = 1e-45f;
    std::vector<int32_t> history(random.below(400));
    for (int32_t& token : history) token = static_cast<int32_t>(random.below(40));
    s.repetition_window = random.below(257);
    s.repetition_penalty = 0.01f + static_cast<float>(random.below(1000)) / 100.0f;
    const uint32_t position = static_cast<uint32_t>(history.size());
    const int32_t token = sample(kKernelsReference, logits, s, position, history);
    CHECK(token < 40);
    // A hundredfold of the largest may be infinite.
    const auto is_huge = [](float x) { return std::fabs(x) > 3e36f && std::fabs(x) < kInfinity; };
    if (std::none_of(logits.begin(), logits.end(), is_huge)) CHECK(token >= 0);
  }
}

TEST_CASE("a huge vocabulary") {
  const uint32_t n = kMaxVocab;
  std::vector<float> logits(n, -2.0f);
  thimble_sampling s = warm(1.0f);
  // All equal: the sum of odds is 2^50, and the draw is the upper 20 bits of the random number.
  for (uint32_t position : {0u, 1u, 2u}) {
    CHECK(sample(kKernelsReference, logits, s, position) ==
          static_cast<int32_t>(random_bits(0, position) >> 44));
  }
  // Half of all, which are ties: the lower half of the ids.
  s.top_p = 0.5f;
  for (uint32_t position : {0u, 1u, 2u}) {
    CHECK(sample(kKernelsReference, logits, s, position) ==
          static_cast<int32_t>(random_bits(0, position) >> 45));
  }
  s.top_k = 1000;
  CHECK(sample(kKernelsReference, logits, s) < 500);
  logits[n - 1] = 30.0f;
  CHECK(sample(kKernelsReference, logits, s) == static_cast<int32_t>(n - 1));
}

TEST_CASE("ranges") {
  const auto status = [](void (*change)(thimble_sampling*)) {
    thimble_sampling s = warm(1.0f);
    change(&s);
    return sample(kKernelsReference, {1, 2}, s, 1, {0});
  };
  using S = thimble_sampling;
  void (*const refused[])(S*) = {
      [](S* s) { s->temperature = -0.1f; },
      [](S* s) { s->temperature = 100.5f; },
      [](S* s) { s->temperature = kInfinity; },
      [](S* s) { s->temperature = kNan; },
      [](S* s) { s->top_p = -0.1f; },
      [](S* s) { s->top_p = 1.1f; },
      [](S* s) { s->top_p = kNan; },
      [](S* s) { s->min_p = -0.1f; },
      [](S* s) { s->min_p = 1.1f; },
      [](S* s) { s->min_p = kNan; },
      [](S* s) { s->repetition_penalty = 0.001f; },
      [](S* s) { s->repetition_penalty = -1.0f; },
      [](S* s) { s->repetition_penalty = 101.0f; },
      [](S* s) { s->repetition_penalty = kNan; },
      [](S* s) { s->repetition_window = 257; },
      [](S* s) { s->temperature_last = 2; },
  };
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; ++i) {
    CAPTURE(i);
    CHECK(status(refused[i]) == THIMBLE_ERROR_ARGUMENT);
  }
  void (*const accepted[])(S*) = {
      [](S* s) { s->temperature = -0.0f; },
      [](S* s) { s->temperature = 100.0f; },
      [](S* s) { s->top_p = 1.0f; },
      [](S* s) { s->top_p = -0.0f; },
      [](S* s) { s->min_p = 1.0f; },
      [](S* s) { s->repetition_penalty = 0.01f; },
      [](S* s) { s->repetition_penalty = 100.0f; },
      [](S* s) { s->repetition_window = 256; },
      [](S* s) { s->top_k = UINT32_MAX; },
      [](S* s) { s->temperature_last = 1; },
  };
  for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; ++i) {
    CAPTURE(i);
    CHECK(status(accepted[i]) >= 0);
  }
}
