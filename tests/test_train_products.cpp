// SPDX-License-Identifier: MIT
// Products of matrices by each table of kernels, beside double.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "doctest/doctest.h"
#include "random.h"
#include "tiny_training.h"
#include "train/parameters.h"

using namespace thimble;
using namespace thimble::test;
using tools::train::Floats;
using tools::train::Kernels;
using tools::train::kProductScratch;

namespace {

// Rows of floats, `ld` apart; what lies between them must not matter, nor change.
struct Matrix {
  Matrix(uint32_t n_rows, uint32_t n_cols, size_t stride)
      : rows(n_rows), cols(n_cols), ld(stride), values((n_rows - 1) * stride + n_cols, 1e30f) {}
  float& at(size_t r, size_t c) { return values[r * ld + c]; }
  double get(size_t r, size_t c) const { return static_cast<double>(values[r * ld + c]); }
  uint32_t rows, cols;
  size_t ld;
  std::vector<float> values;
};

enum class Kind { kNormal, kUneven, kEqual, kZeroRows };

Matrix matrix_of(Random* random, uint32_t rows, uint32_t cols, size_t ld, Kind kind) {
  Matrix m(rows, cols, ld);
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < cols; ++c) {
      float x = random->normal();
      if (kind == Kind::kUneven) x = std::ldexp(x, static_cast<int>(random->below(40)) - 30);
      if (kind == Kind::kEqual) x = 0.7f;  // sums as large as norms allow
      if (kind == Kind::kZeroRows && (r % 3 == 1 || c % 5 == 2)) x = 0.0f;
      m.at(r, c) = x;
    }
  }
  return m;
}

// Of one element, a sum of n products whose factors' norms are these: what rounding to 24 bits may
// do in any order, or that to 16 bits with the steps of lanes_whole.h.
double bound_of(const Kernels& kernels, uint32_t n, double norms) {
  const double float_sums = 1.2e-7 * (n + 2);
  if (is_f32(kernels)) return float_sums * norms;
  // A step is at most norm / 32767 of its block, which has 128 elements at most; the blocks'
  // products of norms come to no more than that of the whole.
  const double of_one = 0.5 / 32767 * std::sqrt(std::min(n, 128u));
  return (2.05 * of_one + 1.2e-7 * (n / 128.0 + 4)) * norms;
}

struct Error {
  size_t wrong = 0;
  void compare(const Kernels& kernels, uint32_t n, double found, double expected, double norms) {
    const double limit = bound_of(kernels, n, norms) + 1.2e-7 * std::fabs(expected) + 1e-35;
    wrong += !(std::fabs(found - expected) <= limit);
  }
};

void check_multiply(const Kernels& kernels, uint32_t m, uint32_t k, uint32_t n, Kind kind) {
  Random random(m * 7919 + k * 31 + n);
  Matrix a = matrix_of(&random, m, k, k + 3, kind);
  const Floats scratch(kProductScratch);
  const Floats packed(kernels.packed_floats(k, n));
  for (const bool is_transposed : {false, true}) {
    const Matrix b = is_transposed ? matrix_of(&random, n, k, k + 1, kind)
                                   : matrix_of(&random, k, n, n + 5, kind);
    const auto at = [&](uint32_t i, uint32_t j) {
      return is_transposed ? b.get(j, i) : b.get(i, j);
    };
    kernels.pack(packed.data(), b.values.data(), is_transposed ? 1 : b.ld, is_transposed ? b.ld : 1,
                 k, n);
    for (const bool adds : {false, true}) {
      Matrix c = matrix_of(&random, m, n, n + 2, Kind::kNormal);
      const Matrix before = c;
      kernels.multiply(c.values.data(), c.ld, a.values.data(), a.ld, {packed.data(), k, n}, m, adds,
                       scratch.data());
      Error error;
      for (uint32_t i = 0; i < m; ++i) {
        for (uint32_t j = 0; j < n; ++j) {
          double sum = adds ? before.get(i, j) : 0, x = 0, y = 0;
          for (uint32_t l = 0; l < k; ++l) {
            sum += a.get(i, l) * at(l, j);
            x += a.get(i, l) * a.get(i, l);
            y += at(l, j) * at(l, j);
          }
          const double own = adds ? std::fabs(before.get(i, j)) : 0;
          error.compare(kernels, k, c.get(i, j), sum, std::sqrt(x * y) + 1e-6 * own);
        }
        for (size_t j = n; j < c.ld && i + 1 < m; ++j)
          error.wrong += c.get(i, j) != before.get(i, j);
      }
      INFO(name_of(kernels), ": ", m, " x ", k, " x ", n, is_transposed ? ", transposed" : "");
      CHECK(error.wrong == 0);
    }
  }
}

void check_outer(const Kernels& kernels, uint32_t m, uint32_t n, uint32_t k, Kind kind) {
  Random random(m * 7919 + k * 31 + n);
  const Matrix a = matrix_of(&random, m, n, n + 3, kind);
  const Matrix b = matrix_of(&random, m, k, k + 1, kind);
  Matrix c = matrix_of(&random, n, k, k + 2, Kind::kNormal);
  const Matrix before = c;
  const Floats scratch(kProductScratch);
  kernels.add_outer(c.values.data(), c.ld, a.values.data(), a.ld, b.values.data(), b.ld, m, n, k,
                    scratch.data());
  Error error;
  for (uint32_t i = 0; i < n; ++i) {
    for (uint32_t j = 0; j < k; ++j) {
      double sum = before.get(i, j), x = 0, y = 0;
      for (uint32_t l = 0; l < m; ++l) {
        sum += a.get(l, i) * b.get(l, j);
        x += a.get(l, i) * a.get(l, i);
        y += b.get(l, j) * b.get(l, j);
      }
      error.compare(kernels, m, c.get(i, j), sum,
                    std::sqrt(x * y) + 1e-6 * std::fabs(before.get(i, j)));
    }
  }
  INFO(name_of(kernels), ": ", m, " x ", n, " x ", k);
  CHECK(error.wrong == 0);
}

}  // namespace

TEST_CASE("train: products of matrices are those in double within what their rounding may do") {
  for (const Kernels* kernels : all_kernels()) {
    for (const Kind kind : {Kind::kNormal, Kind::kUneven, Kind::kEqual, Kind::kZeroRows}) {
      for (const uint32_t m : {1u, 2u, 15u, 33u}) {
        for (const uint32_t k : {1u, 2u, 7u, 64u, 127u, 128u, 129u, 255u, 515u}) {
          for (const uint32_t n : {1u, 16u, 17u, 50u}) {
            check_multiply(*kernels, m, k, n, kind);
            check_outer(*kernels, k, m, n, kind);
          }
        }
      }
      check_multiply(*kernels, 300, 40, 35, kind);
      check_outer(*kernels, 30, 20, 400, kind);
    }
  }
}

TEST_CASE("train: a number that is not finite is not lost in a product") {
  constexpr uint32_t kSize = 40;
  for (const Kernels* kernels : all_kernels()) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
      for (const uint32_t at : {0u, 17u, 39u}) {
        const Floats a(kSize * kSize), b(kSize * kSize), c(kSize * kSize), scratch(kProductScratch);
        const Floats packed(kernels->packed_floats(kSize, kSize));
        a[3 * kSize + at] = bad;
        std::fill(b.begin(), b.end(), std::isnan(bad) ? 0.0f : 1e10f);
        kernels->pack(packed.data(), b.data(), kSize, 1, kSize, kSize);
        kernels->multiply(c.data(), kSize, a.data(), kSize, {packed.data(), kSize, kSize}, kSize,
                          false, scratch.data());
        INFO(name_of(*kernels), ", ", bad, " at ", at);
        CHECK(!std::isfinite(c[3 * kSize + 5]));
        std::fill(c.begin(), c.end(), 0.0f);
        kernels->add_outer(c.data(), kSize, a.data(), kSize, b.data(), kSize, kSize, kSize, kSize,
                           scratch.data());
        CHECK(!std::isfinite(c[at * kSize + 5]));
      }
    }
  }
}

TEST_CASE("train: tables that say so have the same bits in products") {
  const Kernels* one = tools::train::find_kernels("avx512amx");
  if (!one) {
    MESSAGE("skipped: this machine has no AMX");
    return;
  }
  const Kernels* other = tools::train::find_kernels(one->same_bits_as, one->precision);
  REQUIRE(other);
  Random random(11);
  const Floats scratch(kProductScratch);
  const auto size = [&](uint32_t most) { return 1 + random.below(most); };
  const auto same = [](const Matrix& x, const Matrix& y) {
    return std::memcmp(x.values.data(), y.values.data(), x.values.size() * sizeof(float)) == 0;
  };
  for (uint32_t round = 0; round < 200; ++round) {
    const Kind kind = static_cast<Kind>(round % 4);
    const uint32_t m = size(150), k = size(round % 2 ? 600 : 140), n = size(round % 5 ? 100 : 500);
    INFO(m, " x ", k, " x ", n);
    const Matrix a = matrix_of(&random, m, k, k + random.below(20), kind);
    const Matrix b = matrix_of(&random, k, n, n + random.below(20), kind);
    const Matrix turned = matrix_of(&random, n, k, k + random.below(20), kind);
    const Matrix before = matrix_of(&random, m, n, n + random.below(20), Kind::kNormal);
    for (const bool is_turned : {false, true}) {
      for (const bool adds : {false, true}) {
        const Matrix& right = is_turned ? turned : b;
        const auto product_by = [&](const Kernels& kernels) {
          const Floats packed(kernels.packed_floats(k, n));
          kernels.pack(packed.data(), right.values.data(), is_turned ? 1 : b.ld,
                       is_turned ? turned.ld : 1, k, n);
          Matrix c = before;
          kernels.multiply(c.values.data(), c.ld, a.values.data(), a.ld, {packed.data(), k, n}, m,
                           adds, scratch.data());
          return c;
        };
        CHECK(same(product_by(*one), product_by(*other)));
      }
    }
    const Matrix y = matrix_of(&random, m, n, n + random.below(20), kind);
    const Matrix sums = matrix_of(&random, k, n, n + random.below(20), Kind::kNormal);
    const auto outer_by = [&](const Kernels& kernels) {
      Matrix c = sums;
      kernels.add_outer(c.values.data(), c.ld, a.values.data(), a.ld, y.values.data(), y.ld, m, k,
                        n, scratch.data());
      return c;
    };
    CHECK(same(outer_by(*one), outer_by(*other)));
  }
}
