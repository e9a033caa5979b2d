// SPDX-License-Identifier: MIT
// Tables of rotary frequencies, held beside the published formulas written another way, in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "rope.h"
#include "rope_pairs.h"

using namespace thimble::tools;

namespace {

constexpr double kPi = 3.14159265358979323846;

// Radians a position.
double frequency(uint64_t turns) {
  return std::ldexp(static_cast<double>(turns), -64) * 2 * kPi;
}

// The table's low 20 bits are gone, and a double has 53.
void check_near(uint64_t turns, double expected) {
  const double bound = std::ldexp(2 * kPi, 20 - 64) + expected * 1e-14;
  CHECK(std::fabs(frequency(turns) - expected) <= bound);
}

RopeSettings settings(double theta, uint32_t rotary_dim) {
  RopeSettings s;
  s.theta = theta;
  s.rotary_dim = rotary_dim;
  return s;
}

}  // namespace

TEST_CASE("rope: theta^(-2i / d), and zeros behind what is rotated") {
  for (const double theta : {10000.0, 500000.0, 1e6}) {
    for (const uint32_t rotary : {0u, 2u, 4u, 16u, 64u}) {
      const std::vector<uint64_t> table = rope_turns(settings(theta, rotary), 64);
      REQUIRE(table.size() == 32);
      for (uint32_t i = 0; i < 32; ++i) {
        CHECK((table[i] & 0xfffff) == 0);
        if (i < rotary / 2) {
          check_near(table[i], std::exp(-2.0 * i / rotary * std::log(theta)));
        } else {
          CHECK(table[i] == 0);
        }
      }
    }
  }
}

TEST_CASE("rope: linear scaling divides every frequency") {
  RopeSettings s = settings(10000, 16);
  const std::vector<uint64_t> plain = rope_turns(s, 16);
  s.scaling = RopeScaling::kLinear;
  s.factor = 4;
  const std::vector<uint64_t> table = rope_turns(s, 16);
  for (size_t i = 0; i < table.size(); ++i) check_near(table[i], frequency(plain[i]) / 4);
  CHECK(rope_attention_factor(s) == 1.0);
}

TEST_CASE("rope: llama3 keeps short waves, divides long ones and blends between them") {
  RopeSettings s = settings(500000, 128);
  s.scaling = RopeScaling::kLlama3;
  s.factor = 8;
  s.low_freq_factor = 1;
  s.high_freq_factor = 4;
  s.original_context = 8192;
  const std::vector<uint64_t> table = rope_turns(s, 128);
  uint32_t kept = 0, divided = 0, blended = 0;
  std::vector<float> divisors;
  for (uint32_t i = 0; i < 64; ++i) {
    const double plain = std::pow(500000.0, -2.0 * i / 128);
    const double rotations = 8192 * plain / (2 * kPi);  // in the original context
    double expected = plain;
    if (rotations > 4) {
      ++kept;
    } else if (rotations < 1) {
      expected = plain / 8;
      ++divided;
    } else {
      const double smooth = (rotations - 1) / 3;
      expected = (1 - smooth) * plain / 8 + smooth * plain;
      ++blended;
    }
    // The divisor is a float, as files have it.
    CHECK(std::fabs(frequency(table[i]) - expected) <=
          expected * std::ldexp(1.0, -24) + std::ldexp(2 * kPi, 20 - 64));
    divisors.push_back(static_cast<float>(plain / expected));
  }
  CHECK(kept > 0);
  CHECK(divided > 0);
  CHECK(blended > 0);
  // What a GGUF file stores of it gives the same table.
  RopeSettings stored = settings(500000, 128);
  stored.divisors = divisors;
  CHECK(rope_turns(stored, 128) == table);
}

TEST_CASE("rope: YaRN, a ramp over the dimensions") {
  RopeSettings s = settings(1e6, 128);
  s.scaling = RopeScaling::kYarn;
  s.factor = 4;
  s.original_context = 32768;
  for (const bool truncate : {true, false}) {
    s.truncate = truncate;
    const std::vector<uint64_t> table = rope_turns(s, 128);
    const auto dimension = [](double rotations) {
      return 128 * std::log(32768 / (rotations * 2 * kPi)) / (2 * std::log(1e6));
    };
    const double low = truncate ? std::floor(dimension(32)) : dimension(32);
    const double high = truncate ? std::ceil(dimension(1)) : dimension(1);
    CHECK(low > 0);
    CHECK(high < 64);
    for (uint32_t i = 0; i < 64; ++i) {
      const double plain = std::pow(1e6, -2.0 * i / 128);
      const double keep = 1 - std::clamp((i - low) / (high - low), 0.0, 1.0);
      check_near(table[i], plain / 4 * (1 - keep) + plain * keep);
    }
  }
  CHECK(rope_attention_factor(s) == doctest::Approx(1.1386294361119891));
  s.attention_factor = 0.5;
  CHECK(rope_attention_factor(s) == 0.5);
  s.attention_factor = 0;
  s.factor = 1;
  CHECK(rope_attention_factor(s) == 1.0);
}

TEST_CASE("rope: halves become neighbours, dimensions that are not rotated stay") {
  const auto rows = [](uint32_t head_dim, uint32_t rotary_dim) {
    std::vector<uint32_t> out;
    for (uint32_t i = 0; i < 2 * head_dim; ++i) {
      out.push_back(rope_source_row(RopePairs::kHalves, i, head_dim, rotary_dim));
    }
    return out;
  };
  using Rows = std::vector<uint32_t>;
  CHECK(rows(4, 4) == Rows{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(rows(6, 4) == Rows{0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11});
  CHECK(rows(4, 0) == Rows{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(rope_source_row(RopePairs::kNeighbours, 5, 4, 4) == 5);
}
