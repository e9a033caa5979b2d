// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

#include "exact_math.h"
#include "exact_math_soft.h"
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

TEST_CASE("fma has one rounding, with hardware and by integers") {
  Random random(1);
  const auto any_float = [&] {  // every exponent, denormals, zeros, infinities and NaNs included
    const uint32_t bits = static_cast<uint32_t>(random.next() >> 32);
    switch (random.below(10)) {
      case 0:
        return float_of(bits & 0x807fffffu);
      case 1:
        return float_of((bits & 0x80000000u) | 0x3f800000u | (bits & 3u));
      case 2:
        return float_of((bits & 0x80ffffffu) | 0x3f000000u);
      case 3:  // few digits, so that ties arise
        return float_of(bits & 0x8ff00000u);
      case 4:  // the smallest and the largest
        return float_of(bits & 0x80000000u ? bits & 0x80000003u : bits | 0x7f7ffffcu);
      default:
        return float_of(bits);
    }
  };
  for (int i = 0; i < 2000000; ++i) {
    const float a = any_float(), b = any_float();
    float c = any_float();
    if (i % 4 == 0) c = -(a * b) * (1.0f + random.uniform(-1e-6f, 1e-6f));  // cancellation
    if (i % 4 == 1) {  // every distance, up to where one of the two only decides the rounding
      const uint32_t exponents = bits_of(a * b) & 0xff800000u;
      c = float_of(exponents + (random.below(100) << 23) - (50u << 23) + random.below(3));
    }
    const float expected = std::fma(a, b, c);
    for (float found : {exact_fma(a, b, c), fma_by_integers(a, b, c)}) {
      if (std::isnan(expected)) {
        REQUIRE(std::isnan(found));
      } else {
        REQUIRE_MESSAGE(bits_of(found) == bits_of(expected), a, " ", b, " ", c);
      }
    }
  }
}

TEST_CASE("exp and silu by integers are exp and silu") {
  const auto same = [](float a, float b) {
    return bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b));
  };
  for (uint64_t bits = 0; bits < 0x100000000u; bits += 10007) {  // NaNs, infinities and all
    const float x = float_of(static_cast<uint32_t>(bits));
    if (!(x > 88.0f)) {
      REQUIRE_MESSAGE(same(exp_by_integers(x), exact_exp(Scalar{x}).v), x);
    }
    REQUIRE_MESSAGE(same(silu_by_integers(x), exact_silu(Scalar{x}).v), x);
  }
  for (uint32_t bits = 0x3b000000u; bits < 0x42b10000u; bits += 509) {  // 2^-9 to 88.5
    for (uint32_t sign : {0u, 0x80000000u}) {
      const float x = float_of(bits | sign);
      if (x > 88.0f) continue;
      REQUIRE_MESSAGE(same(exp_by_integers(x), exact_exp(Scalar{x}).v), x);
      REQUIRE_MESSAGE(same(silu_by_integers(x), exact_silu(Scalar{x}).v), x);
    }
  }
}

TEST_CASE("a rounded product by integers is the rounded product") {
  Random random(3);
  for (int i = 0; i < 1000000; ++i) {
    const float y = float_of((7u << 23) + random.below(239u << 23));  // 2^-120 to 2^119
    float x = random.uniform(0.0f, 65535.0f) / y;
    if (i % 3 == 0) x = (static_cast<float>(random.below(40000)) + 0.5f) / y;  // near a tie
    if (i % 5 == 0) x = float_of(bits_of(x) + random.below(3));
    if (i % 7 == 0) x = random.uniform(0.0f, 1.0f) * x;
    if (!(x * y < 65535.0f)) continue;
    REQUIRE_MESSAGE(rounded_product(bits_of(x), bits_of(y)) == round_to_even(x * y), x, " ", y);
  }
  CHECK(rounded_product(0, bits_of(1e30f)) == 0);
  CHECK(rounded_product(1, bits_of(1e36f)) == 0);
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
