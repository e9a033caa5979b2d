// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

#include "exact_math.h"
#include "random.h"

using namespace thimble;

namespace {

// Distance of `value` from `truth` in units in the last place of the float nearest to the truth.
double ulps(float value, double truth) {
  int exponent;
  std::frexp(truth, &exponent);
  return std::fabs(static_cast<double>(value) - truth) / std::ldexp(1.0, exponent - 24);
}

float exp_of(float x) {
  return exact_exp(Scalar{x}).v;
}

}  // namespace

TEST_CASE("exp is within 1 ulp over its whole domain") {
  double worst = 0;
  for (uint32_t bits = 0; bits < 0x42b00000u; bits += 97) {  // 0 to 88
    for (uint32_t sign : {0u, 0x80000000u}) {
      const float x = float_of(bits | sign);
      if (x < -87.0f) continue;
      worst = std::fmax(worst, ulps(exp_of(x), std::exp(static_cast<double>(x))));
    }
  }
  MESSAGE("worst error of exp: ", worst, " ulp");
  CHECK(worst <= 1.0);
}

TEST_CASE("exp at the edges") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(exp_of(0.0f) == 1.0f);
  CHECK(exp_of(-0.0f) == 1.0f);
  CHECK(exp_of(-87.0f) > std::numeric_limits<float>::min());  // no denormal
  CHECK(exp_of(std::nextafter(-87.0f, -88.0f)) == 0.0f);
  CHECK(exp_of(-infinity) == 0.0f);
  CHECK(exp_of(-1e30f) == 0.0f);
  CHECK(std::isfinite(exp_of(88.0f)));
}

TEST_CASE("silu") {
  for (float x : {-100.0f, -20.0f, -1.0f, -1e-3f, 0.0f, 1e-3f, 1.0f, 20.0f, 100.0f, 1e30f}) {
    const double truth = static_cast<double>(x) / (1.0 + std::exp(-static_cast<double>(x)));
    const double found = static_cast<double>(exact_silu(Scalar{x}).v);
    // 1 ulp from exp, half from the sum, half from the quotient; below -88 exp is bounded.
    CHECK(std::fabs(found - truth) <= 4 * 6e-8 * std::fabs(truth) + 1e-35);
  }
}

TEST_CASE("sine and cosine are within 1.2e-7 everywhere") {
  double worst = 0;
  for (uint64_t turn = 0; turn < (uint64_t{1} << 32); turn += 10007) {
    const SinCos found = exact_sin_cos(static_cast<uint32_t>(turn));
    const double angle = static_cast<double>(turn) * (6.283185307179586476925 / 4294967296.0);
    worst = std::fmax(worst, std::fabs(static_cast<double>(found.sin) - std::sin(angle)));
    worst = std::fmax(worst, std::fabs(static_cast<double>(found.cos) - std::cos(angle)));
  }
  MESSAGE("worst error of sine and cosine: ", worst);
  CHECK(worst <= 1.2e-7);
  CHECK(exact_sin_cos(0).sin == 0.0f);
  CHECK(exact_sin_cos(0).cos == 1.0f);
  CHECK(exact_sin_cos(0x40000000u).sin == 1.0f);
}

TEST_CASE("fma without hardware has one rounding") {
  Random random(1);
  const auto any_float = [&] {  // every exponent, denormals, zeros, infinities and NaNs included
    const uint32_t bits = static_cast<uint32_t>(random.next() >> 32);
    switch (random.below(8)) {
      case 0:
        return float_of(bits & 0x807fffffu);
      case 1:
        return float_of((bits & 0x80000000u) | 0x3f800000u | (bits & 3u));
      case 2:
        return float_of((bits & 0x80ffffffu) | 0x3f000000u);
      default:
        return float_of(bits);
    }
  };
  for (int i = 0; i < 2000000; ++i) {
    const float a = any_float(), b = any_float();
    float c = any_float();
    if (i % 4 == 0) c = -(a * b) * (1.0f + random.uniform(-1e-6f, 1e-6f));  // cancellation
    const float found = exact_fma(a, b, c), expected = std::fma(a, b, c);
    if (std::isnan(expected)) {
      REQUIRE(std::isnan(found));
    } else {
      REQUIRE(bits_of(found) == bits_of(expected));
    }
  }
}

TEST_CASE("rounding to whole numbers: ties to even") {
  for (float x : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.49999997f, 126.5f, 1e9f, -1e9f}) {
    CHECK(static_cast<float>(round_to_even(x)) == std::nearbyint(x));
  }
  Random random(2);
  for (int i = 0; i < 100000; ++i) {
    const float x = random.uniform(-130.0f, 130.0f);
    REQUIRE(static_cast<float>(round_to_even(x)) == std::nearbyint(x));
  }
}
