// SPDX-License-Identifier: MIT
// Every kernel table against the reference, bit for bit: sizes up to a few tiles with odd tails,
// misaligned, in blocks of exactly the needed size, so that a sanitizer sees every over-read.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "exact_math.h"
#include "kernels/kernels.h"
#include "random.h"

using namespace thimble;

namespace {

// `n` elements that end exactly where the heap block ends and start `shift` elements off alignment.
template <class T>
class Block {
 public:
  explicit Block(size_t n, size_t shift = 0) : n_(n), shift_(shift), memory_(new T[n + shift]()) {}
  T* data() { return memory_.get() + shift_; }
  T& operator[](size_t i) { return data()[i]; }
  size_t size() const { return n_; }

 private:
  size_t n_, shift_;
  std::unique_ptr<T[]> memory_;
};

Block<float> random_floats(Random& random, size_t n, size_t shift = 0, float scale = 1.0f) {
  Block<float> block(n, shift);
  for (size_t i = 0; i < n; ++i) block[i] = random.normal() * scale;
  return block;
}

Block<float> copy_of(Block<float>& from, size_t shift) {
  Block<float> to(from.size(), shift);
  std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
  return to;
}

bool same_bits(const float* a, const float* b, size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(float)) == 0;
}

// Chips differ in the bits of the NaN they make.
bool same_bits_or_nan(float a, float b) {
  return bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b));
}

std::vector<const Kernels*> fast_tables() {
  std::vector<const Kernels*> tables;
  for (size_t i = 0; kernels_at(i); ++i) {
    if (kernels_at(i) != &kKernelsReference) tables.push_back(kernels_at(i));
  }
  return tables;
}

constexpr uint32_t kTileHeights[] = {1, 2, 4, 8, 16};

}  // namespace

TEST_CASE("the reference table is always there, last and by name") {
  size_t n = 0;
  while (kernels_at(n)) ++n;
  REQUIRE(n >= 1);
  CHECK(kernels_at(n - 1) == &kKernelsReference);
  CHECK(kernels_by_name("reference") == &kKernelsReference);
  CHECK(kernels_by_name(nullptr) == kernels_at(0));
  CHECK(kernels_by_name("") == kernels_at(0));
  CHECK(kernels_by_name("reference2") == nullptr);
  CHECK(kernels_by_name("refer") == nullptr);
  for (size_t i = 0; i < n; ++i) MESSAGE("kernels here: ", std::string(kernels_at(i)->name));
}

TEST_CASE("matmul_f32: every table equals the reference") {
  Random random(10);
  for (uint32_t height : kTileHeights) {
    for (uint32_t rows : {1u, 7u, 16u, 17u, 48u, 64u, 65u, 130u, 200u}) {
      for (uint32_t cols : {1u, 2u, 8u, 31u, 64u, 300u}) {
        if (cols == 300 && rows != 65) continue;  // more than one run of columns
        const uint32_t tiles = (rows + height - 1) / height;
        Block<float> w = random_floats(random, size_t{tiles} * cols * height, 1);
        const Matrix m = {w.data(), nullptr, rows, cols, cols, height, 0, 0, kWeightF32};
        for (uint32_t n : {1u, 2u, 3u, 6u, 7u, 13u}) {
          const size_t stride = cols + n % 2;
          Block<float> x = random_floats(random, stride * (n - 1) + cols, n % 3);
          const uint32_t begin = random.below(tiles), end = tiles - random.below(tiles - begin);
          const size_t out_stride = size_t{tiles} * height;
          Block<float> expected(out_stride * n);
          kKernelsReference.matmul_f32(expected.data(), out_stride, m, begin, end, x.data(), stride,
                                       n);
          for (const Kernels* k : fast_tables()) {
            Block<float> found(out_stride * n, 1);
            k->matmul_f32(found.data(), out_stride, m, begin, end, x.data(), stride, n);
            REQUIRE_MESSAGE(same_bits(found.data(), expected.data(), expected.size()),
                            std::string(k->name), " ", height, " ", rows, " ", cols, " ", n);
          }
        }
      }
    }
  }
}

TEST_CASE("matmul_f32: one rounding each step, half-way cases and denormals included") {
  Random random(19);
  constexpr uint32_t kRows = 16;
  const float tiny = 1.1920929e-7f;  // 2^-23
  for (int round = 0; round < 4000; ++round) {
    Block<float> w(2 * kRows);  // columns c, a; x is (1, b): the second step is fma(a, b, c)
    Block<float> x(2);
    const int kind = round % 4;
    x[0] = 1.0f;
    x[1] = random.below(2) ? 1.0f - tiny : 1.0f + tiny;
    for (uint32_t r = 0; r < kRows; ++r) {
      const uint32_t bits = static_cast<uint32_t>(random.next() >> 32);
      const uint32_t other = static_cast<uint32_t>(random.next() >> 32);
      float& c = w[r];
      float& a = w[kRows + r];
      if (kind < 2) {  // half a step of c, more or less by 2^-46 of it
        a = (random.below(2) ? 1.0f - tiny : 1.0f + tiny) * (bits >> 31 ? 1.0f : -1.0f);
        c = float_of(bits & (kind == 0 ? 0x807fffffu : 0x00ffffffu));
        if (kind == 0) {
          c = float_of(bits_of(c) | 0x3f800000u);
          a *= 5.9604645e-8f;  // 2^-24
        } else {
          a *= 2.64697796e-23f;  // 2^-75, and as much of b: 2^-150
        }
      } else {  // any floats; the second time so that the product and c meet
        a = float_of(kind == 2 ? bits : (bits & 0x8fffffffu) | 0x38000000u);
        c = float_of(kind == 2 ? other : (other & 0x8fffffffu) | 0x38000000u);
      }
    }
    if (kind == 1) x[1] *= 2.64697796e-23f;
    const Matrix m = {w.data(), nullptr, kRows, 2, 2, kRows, 0, 0, kWeightF32};
    Block<float> expected(kRows), found(kRows);
    kKernelsReference.matmul_f32(expected.data(), kRows, m, 0, 1, x.data(), 2, 1);
    for (const Kernels* k : fast_tables()) {
      k->matmul_f32(found.data(), kRows, m, 0, 1, x.data(), 2, 1);
      for (uint32_t r = 0; r < kRows; ++r) {
        const bool both_nan = std::isnan(found[r]) && std::isnan(expected[r]);
        REQUIRE_MESSAGE((both_nan || bits_of(found[r]) == bits_of(expected[r])),
                        std::string(k->name), " kind ", kind, ": ", w[r], " + ", w[kRows + r],
                        " * ", x[1]);
      }
    }
  }
}

TEST_CASE("q4: levels as format.h lists them") {
  const int expected[] = {0, 8, 16, 25, 36, 47, 61, 77, -96, -78, -62, -48, -36, -26, -17, -9};
  for (uint32_t bits = 0; bits < 16; ++bits) CHECK(q4_level(bits) == expected[bits]);
}

void check_matmul_int8(WeightType type) {
  const bool q4 = type == kWeightQ4;
  const auto matmul_of = [q4](const Kernels& k) { return q4 ? k.matmul_q4 : k.matmul_q8; };
  Random random(11);
  for (uint32_t height : kTileHeights) {
    for (uint32_t group : {32u, 64u, 128u, 0u}) {
      for (uint32_t rows : {1u, 16u, 33u, 70u}) {
        for (uint32_t cols : {4u, 20u, 64u, 172u, 256u, 604u}) {
          if (cols == 604 && rows != 70) continue;  // more than one panel of columns, and of rows
          const uint32_t multiple = group ? group : q4 ? 16 : 4;
          const uint32_t padded = (cols + multiple - 1) / multiple * multiple;
          const uint32_t per_scale = group ? group : padded, groups = padded / per_scale;
          const uint32_t tiles = (rows + height - 1) / height;
          Block<int8_t> w(weight_bytes(type, size_t{tiles} * padded * height));
          for (size_t i = 0; i < w.size(); ++i) {
            w[i] = static_cast<int8_t>(static_cast<int>(random.below(q4 ? 256 : 255)) - 127);
          }
          if (rows == 70)
            w[random.below(static_cast<uint32_t>(w.size()))] = -128;  // a crafted file
          Block<uint16_t> scales(size_t{tiles} * groups * height);
          for (size_t i = 0; i < scales.size(); ++i) {
            scales[i] = static_cast<uint16_t>(bits_of(random.uniform(0.001f, 0.1f)) >> 16);
            if (q4 && random.below(2)) scales[i] |= 0x8000;
          }
          const Matrix m = {w.data(), scales.data(), rows,   cols, padded,
                            height,   per_scale,     groups, type};
          for (uint32_t n : {1u, 2u, 5u, 7u, cols == 604 ? 67u : 12u}) {
            Block<int8_t> values(size_t{n} * padded);
            Block<float> x_scales = random_floats(random, size_t{n} * groups);
            Block<int32_t> sums(size_t{n} * groups);
            const bool extreme = rows == 33;  // the largest sums that can arise
            for (size_t i = 0; i < values.size(); ++i) {
              const int v = extreme ? (random.below(8) ? 127 : -127)
                                    : static_cast<int>(random.below(255)) - 127;
              values[i] = static_cast<int8_t>(v);
              sums[i / padded * groups + i % padded / per_scale] += v;
            }
            const QuantizedRows x = {values.data(), x_scales.data(), sums.data(),
                                     padded,        per_scale,       groups};
            const uint32_t begin = random.below(tiles), end = tiles - random.below(tiles - begin);
            const size_t out_stride = size_t{tiles} * height;
            Block<float> expected(out_stride * n);
            matmul_of(kKernelsReference)(expected.data(), out_stride, m, begin, end, x, n);
            for (const Kernels* k : fast_tables()) {
              Block<float> found(out_stride * n, 1);
              matmul_of (*k)(found.data(), out_stride, m, begin, end, x, n);
              REQUIRE_MESSAGE(same_bits(found.data(), expected.data(), expected.size()),
                              std::string(k->name), " height ", height, " group ", group, " rows ",
                              rows, " cols ", cols, " n ", n);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("matmul_q8: every table equals the reference") {
  check_matmul_int8(kWeightQ8);
}

TEST_CASE("matmul_q4: every table equals the reference") {
  check_matmul_int8(kWeightQ4);
}

TEST_CASE("matmul_q8: every table equals the reference on odd scales and on large sums") {
  Random random(19);
  const float infinity = std::numeric_limits<float>::infinity();
  const float odd[] = {0.0f,   -0.0f,  1.0f,  -0.5f, 1e-45f,   1e-38f,
                       1e-25f, 1e-19f, 1e19f, 3e38f, infinity, -3e-3f};
  for (uint32_t cols : {4u, 64u, 1200u}) {
    Block<int8_t> w(size_t{cols} * 4), values(cols);
    for (uint32_t kind = 0; kind < 3; ++kind) {  // kind 2: sums that are zero
      for (uint32_t c = 0; c < cols; ++c) {
        values[c] =
            static_cast<int8_t>(kind == 1 ? 127 : static_cast<int>(random.below(255)) - 127);
      }
      for (size_t i = 0; i < w.size(); ++i) {
        w[i] = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
        if (kind == 1) w[i] = i % 16 < 8 ? 127 : -127;
        if (kind == 2) w[i] = 0;
      }
      int32_t sum = 0;
      for (uint32_t c = 0; c < cols; ++c) sum += values[c];
      for (float x_scale : odd) {
        for (float w_scale : odd) {
          Block<uint16_t> scales(4);
          for (size_t i = 0; i < 4; ++i) {
            scales[i] = static_cast<uint16_t>((bits_of(w_scale) >> 16) + (i == 3 ? 1 : 0));
          }
          const Matrix m = {w.data(), scales.data(), 4, cols, cols, 4, cols, 1, kWeightQ8};
          const QuantizedRows x = {values.data(), &x_scale, &sum, cols, cols, 1};
          Block<float> expected(4);
          kKernelsReference.matmul_q8(expected.data(), 4, m, 0, 1, x, 1);
          for (const Kernels* k : fast_tables()) {
            Block<float> found(4);
            k->matmul_q8(found.data(), 4, m, 0, 1, x, 1);
            for (size_t i = 0; i < 4; ++i) {
              REQUIRE_MESSAGE(same_bits_or_nan(found[i], expected[i]), std::string(k->name), " ",
                              cols, " ", kind, " ", x_scale, " ", w_scale);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("quantize_q8: every table equals the reference, odd values included") {
  Random random(12);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (uint32_t group : {32u, 64u, 128u, 0u}) {
    for (uint32_t cols = 1; cols <= 200; cols += 1 + cols / 20) {
      for (int kind = 0; kind < 6; ++kind) {
        const uint32_t multiple = group ? group : 4;
        const uint32_t padded = (cols + multiple - 1) / multiple * multiple;
        const uint32_t per_scale = group ? group : padded, groups = padded / per_scale, n = 2;
        const size_t stride = cols + 1;
        Block<float> x =
            random_floats(random, stride * (n - 1) + cols, static_cast<size_t>(kind % 2));
        const size_t at = random.below(static_cast<uint32_t>(x.size()));
        if (kind == 1) x[at] = nan;
        if (kind == 2) x[at] = -infinity;
        if (kind == 3) {
          for (size_t i = 0; i < x.size(); ++i) x[i] *= 1e-31f;
        }
        if (kind == 4) {
          for (size_t i = 0; i < x.size(); ++i) x[i] = 0.5f * static_cast<float>(i % 255) - 63.5f;
        }
        if (kind == 5) x[at] = 3e38f;
        std::vector<std::vector<int8_t>> values;
        std::vector<std::vector<float>> scales;
        std::vector<std::vector<int32_t>> sums;
        std::vector<const Kernels*> tables = fast_tables();
        tables.insert(tables.begin(), &kKernelsReference);
        for (const Kernels* k : tables) {
          Block<int8_t> v(size_t{n} * padded);
          Block<float> s(size_t{n} * groups);
          Block<int32_t> t(size_t{n} * groups);
          std::memset(v.data(), 77, v.size());
          k->quantize_q8({v.data(), s.data(), t.data(), padded, per_scale, groups}, x.data(),
                         stride, cols, n);
          values.emplace_back(v.data(), v.data() + v.size());
          scales.emplace_back(s.data(), s.data() + s.size());
          sums.emplace_back(t.data(), t.data() + t.size());
          REQUIRE(values.back() == values.front());
          REQUIRE(sums.back() == sums.front());
          REQUIRE(same_bits(scales.back().data(), scales.front().data(), scales.front().size()));
        }
        if (kind != 0 && kind != 4) continue;
        for (uint32_t c = 0; c < cols; ++c) {  // half a step away at most, and one rounding each
          const float scale = scales[0][c / per_scale];
          const float back = static_cast<float>(values[0][c]) * scale;
          REQUIRE(std::fabs(back - x[c]) <= 0.5f * scale * 1.0001f);
        }
      }
    }
  }
}

TEST_CASE("vector kernels: every table equals the reference at every length") {
  Random random(13);
  for (uint32_t n = 1; n <= 70; ++n) {
    for (const Kernels* k : fast_tables()) {
      const size_t shift = n % 4;
      Block<float> x = random_floats(random, n, shift, 3.0f), y = random_floats(random, n, 1);
      Block<float> expected(n), found(n, shift);

      kKernelsReference.rms_norm(expected.data(), x.data(), y.data(), n, 1e-5f);
      k->rms_norm(found.data(), x.data(), y.data(), n, 1e-5f);
      REQUIRE(same_bits(found.data(), expected.data(), n));

      kKernelsReference.swiglu(expected.data(), x.data(), y.data(), n);
      k->swiglu(found.data(), x.data(), y.data(), n);
      REQUIRE(same_bits(found.data(), expected.data(), n));

      Block<float> a = copy_of(x, 0), b = copy_of(x, shift);
      kKernelsReference.add(a.data(), y.data(), n);
      k->add(b.data(), y.data(), n);
      REQUIRE(same_bits(a.data(), b.data(), n));

      a = copy_of(x, 0), b = copy_of(x, shift);  // in place
      kKernelsReference.swiglu(a.data(), a.data(), y.data(), n);
      k->swiglu(b.data(), b.data(), y.data(), n);
      REQUIRE(same_bits(a.data(), b.data(), n));

      const float max = x[k->argmax(x.data(), n)];
      for (float inv_temperature : {1.0f, 0.01f, 50.0f}) {
        Block<uint32_t> odds_a(n), odds_b(n);
        kKernelsReference.odds(odds_a.data(), x.data(), n, max, inv_temperature);
        k->odds(odds_b.data(), x.data(), n, max, inv_temperature);
        REQUIRE(std::memcmp(odds_a.data(), odds_b.data(), n * sizeof(uint32_t)) == 0);
      }
    }
  }
}

TEST_CASE("swiglu and odds: every table equals the reference on odd values, too") {
  Random random(20);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const uint32_t n = 37;
  for (int round = 0; round < 2000; ++round) {
    Block<float> x(n), y(n);
    const float scale = round % 4 == 0 ? 100.0f : round % 4 == 1 ? 1e-3f : 10.0f;
    for (uint32_t i = 0; i < n; ++i) {
      x[i] = random.normal() * scale;
      y[i] = random.normal();
    }
    if (round % 4 == 3) {
      const float odd[] = {nan, infinity, -infinity, 0.0f, -0.0f, 3e38f, -3e38f, 1e-45f};
      for (uint32_t i = 0; i < n; i += 3) x[i] = odd[random.below(8)];
    }
    Block<float> expected(n);
    Block<uint32_t> odds(n);
    kKernelsReference.swiglu(expected.data(), x.data(), y.data(), n);
    const float max = x[kKernelsReference.argmax(x.data(), n)];
    kKernelsReference.odds(odds.data(), x.data(), n, max, 0.7f);
    for (const Kernels* k : fast_tables()) {
      Block<float> found(n);
      Block<uint32_t> found_odds(n);
      k->swiglu(found.data(), x.data(), y.data(), n);
      k->odds(found_odds.data(), x.data(), n, max, 0.7f);
      for (uint32_t i = 0; i < n; ++i) {
        REQUIRE_MESSAGE(same_bits_or_nan(found[i], expected[i]), std::string(k->name), " ", x[i]);
        REQUIRE_MESSAGE(found_odds[i] == odds[i], std::string(k->name), " ", x[i], " ", max);
      }
    }
  }
}

TEST_CASE("rotate: every table equals the reference, and turns") {
  Random random(14);
  for (uint32_t head_dim = 2; head_dim <= 72; head_dim += 2) {
    for (uint32_t n_heads : {1u, 3u}) {
      Block<float> x = random_floats(random, size_t{n_heads} * head_dim, 1);
      Block<float> table(2 * head_dim);
      for (uint32_t i = 0; i < head_dim; i += 2) {
        const SinCos value = exact_sin_cos(static_cast<uint32_t>(random.next()));
        table[i] = table[i + 1] = value.cos;
        table[head_dim + i] = -value.sin;
        table[head_dim + i + 1] = value.sin;
      }
      Block<float> expected = copy_of(x, 0);
      kKernelsReference.rotate(expected.data(), table.data(), n_heads, head_dim, 0.25f);
      for (uint32_t i = 0; i < n_heads * head_dim; i += 2) {  // lengths stay, times the scale
        const double before = static_cast<double>(x[i] * x[i] + x[i + 1] * x[i + 1]);
        const double after =
            static_cast<double>(expected[i] * expected[i] + expected[i + 1] * expected[i + 1]);
        REQUIRE(after == doctest::Approx(before * 0.0625).epsilon(1e-5));
      }
      for (const Kernels* k : fast_tables()) {
        Block<float> found = copy_of(x, 1);
        k->rotate(found.data(), table.data(), n_heads, head_dim, 0.25f);
        REQUIRE(same_bits(found.data(), expected.data(), expected.size()));
      }
    }
  }
}

TEST_CASE("softmax: every table equals the reference; rows sum to 1; nothing behind is touched") {
  Random random(15);
  for (uint32_t n = 1; n <= 70; ++n) {
    for (float scale : {1.0f, 1e4f, 0.0f}) {
      const uint32_t rows = 3;
      const size_t stride = n + 2;
      Block<float> x = random_floats(random, stride * (rows - 1) + n, 1, scale);
      Block<float> expected = copy_of(x, 0);
      kKernelsReference.softmax(expected.data(), stride, rows, n);
      for (uint32_t row = 0; row < rows; ++row) {
        double sum = 0;
        for (uint32_t i = 0; i < n; ++i) {
          const float weight = expected[row * stride + i];
          REQUIRE(weight >= 0.0f);
          sum += static_cast<double>(weight);
        }
        REQUIRE(std::fabs(sum - 1.0) <= 2 * 1.2e-7 * n);
        if (row + 1 < rows) REQUIRE(expected[row * stride + n] == x[row * stride + n]);
      }
      for (const Kernels* k : fast_tables()) {
        Block<float> found = copy_of(x, 1);
        k->softmax(found.data(), stride, rows, n);
        REQUIRE(same_bits(found.data(), expected.data(), expected.size()));
      }
    }
  }
}

TEST_CASE("softmax: every table equals the reference on rows of NaN and infinity, too") {
  Random random(18);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (uint32_t n = 1; n <= 40; ++n) {
    for (int kind = 0; kind < 6; ++kind) {
      Block<float> x = random_floats(random, n, 1);
      const float odd[] = {nan, infinity, -infinity};
      for (uint32_t i = 0; i < n; ++i) {
        if (kind < 3 ? i == 0 : true) x[i] = odd[kind % 3];
      }
      Block<float> expected = copy_of(x, 0);
      kKernelsReference.softmax(expected.data(), n, 1, n);
      for (const Kernels* k : fast_tables()) {
        Block<float> found = copy_of(x, 1);
        k->softmax(found.data(), n, 1, n);
        for (uint32_t i = 0; i < n; ++i) {
          // Chips differ in the bits of the NaN they make.
          const bool both_nan = std::isnan(found[i]) && std::isnan(expected[i]);
          REQUIRE_MESSAGE((both_nan || bits_of(found[i]) == bits_of(expected[i])),
                          std::string(k->name), " n ", n, " kind ", kind, ": ", found[i], " ",
                          expected[i]);
        }
      }
    }
  }
}

TEST_CASE("mix_values: every table equals the reference") {
  Random random(16);
  for (uint32_t head_dim : {1u, 2u, 8u, 15u, 16u, 17u, 32u, 40u, 48u, 64u, 65u, 80u, 128u, 130u}) {
    for (uint32_t q : {1u, 2u, 3u}) {
      for (uint32_t kv_heads : {1u, 4u, 5u}) {
        for (uint32_t n : {1u, 2u, 19u}) {
          const uint32_t n_heads = q * kv_heads;
          const size_t stride = n + 1, kv_stride = size_t{n} * head_dim + 3;
          Block<float> weights = random_floats(random, stride * (n_heads - 1) + n, 1);
          Block<float> values =
              random_floats(random, kv_stride * (kv_heads - 1) + size_t{n} * head_dim, 1);
          Block<float> expected(size_t{n_heads} * head_dim);
          kKernelsReference.mix_values(expected.data(), weights.data(), stride, values.data(),
                                       kv_stride, n, head_dim, n_heads, q);
          for (const Kernels* k : fast_tables()) {
            Block<float> found(expected.size(), 1);
            k->mix_values(found.data(), weights.data(), stride, values.data(), kv_stride, n,
                          head_dim, n_heads, q);
            REQUIRE_MESSAGE(same_bits(found.data(), expected.data(), expected.size()),
                            std::string(k->name), " ", head_dim, " ", q, " ", kv_heads, " ", n);
          }
        }
      }
    }
  }
}

TEST_CASE("mix_values_q8: every table equals the reference") {
  Random random(18);
  for (uint32_t head_dim : {2u, 4u, 6u, 8u, 16u, 24u, 32u, 40u, 48u, 64u, 66u, 80u, 128u, 130u}) {
    for (uint32_t n_heads : {1u, 2u, 3u, 8u}) {
      for (uint32_t n : {1u, 2u, 3u, 19u, 255u, 256u, 257u, 530u}) {
        const size_t stride = n + n % 3;
        Block<float> weights = random_floats(random, stride * (n_heads - 1) + n, 1);
        Block<int8_t> values(size_t{n} * head_dim);
        Block<uint16_t> scales(n);
        for (size_t i = 0; i < weights.size(); ++i) {  // weights of a softmax are not negative
          weights[i] = n_heads == 3 && i < 300 ? 0.0f : std::fabs(weights[i]);
        }
        for (size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
          if (n_heads == 2) values[i] = 127;  // the largest sums that can arise
        }
        for (uint32_t t = 0; t < n; ++t) {
          scales[t] = static_cast<uint16_t>(bits_of(random.uniform(0.001f, 0.1f)) >> 16);
          if (n_heads == 2) scales[t] = 0x3f80, weights[t] = 1.0f;
        }
        if (n_heads == 8) weights[random.below(n)] = std::numeric_limits<float>::quiet_NaN();
        Block<float> expected(size_t{n_heads} * head_dim);
        kKernelsReference.mix_values_q8(expected.data(), weights.data(), stride, values.data(),
                                        scales.data(), n, head_dim, n_heads);
        for (const Kernels* k : fast_tables()) {
          Block<float> found(expected.size(), 1);
          k->mix_values_q8(found.data(), weights.data(), stride, values.data(), scales.data(), n,
                           head_dim, n_heads);
          REQUIRE_MESSAGE(same_bits(found.data(), expected.data(), expected.size()),
                          std::string(k->name), " ", head_dim, " ", n_heads, " ", n);
        }
      }
    }
  }
}

TEST_CASE("mix_rows: the rows of mix_values, each of one position more") {
  Random random(20);
  for (uint32_t head_dim : {1u, 2u, 8u, 15u, 16u, 17u, 32u, 40u, 48u, 64u, 65u, 80u, 128u, 130u}) {
    for (uint32_t n_rows = 1; n_rows <= 17; n_rows += 1 + n_rows / 9) {
      for (uint32_t n : {1u, 2u, 19u}) {
        const uint32_t most = n + n_rows - 1;
        const size_t stride = most + 1, out_stride = head_dim + 3;
        Block<float> weights = random_floats(random, stride * (n_rows - 1) + most, 1);
        Block<float> values = random_floats(random, size_t{most} * head_dim, 1);
        Block<float> expected(out_stride * (n_rows - 1) + head_dim);
        for (uint32_t i = 0; i < n_rows; ++i) {
          kKernelsReference.mix_values(expected.data() + i * out_stride,
                                       weights.data() + i * stride, stride, values.data(), 0, n + i,
                                       head_dim, 1, 1);
        }
        for (const Kernels* k : fast_tables()) {
          if (!k->wide) continue;
          Block<float> found(expected.size());
          k->wide->mix_rows(found.data(), out_stride, weights.data(), stride, values.data(), n,
                            head_dim, n_rows);
          REQUIRE_MESSAGE(same_bits(found.data(), expected.data(), expected.size()),
                          std::string(k->name), " ", head_dim, " ", n_rows, " ", n);
        }
      }
    }
  }
}

TEST_CASE("mix_rows_q8: the rows of mix_values_q8, each of one position more") {
  Random random(21);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (uint32_t head_dim : {2u, 4u, 8u, 16u, 24u, 32u, 48u, 64u, 66u, 130u}) {
    for (uint32_t n_rows : {1u, 2u, 3u, 8u, 9u, 15u}) {
      for (uint32_t n : {1u, 3u, 16u, 250u, 256u, 257u, 509u}) {
        const uint32_t most = n + n_rows - 1;
        const size_t stride = most + 1, out_stride = head_dim + 3;
        Block<float> weights = random_floats(random, stride * (n_rows - 1) + most, 1);
        Block<int8_t> values(size_t{most} * head_dim);
        Block<uint16_t> scales(most);
        for (size_t i = 0; i < weights.size(); ++i) weights[i] = std::fabs(weights[i]);
        for (size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<int8_t>(static_cast<int>(random.below(255)) - 127);
        }
        for (uint32_t t = 0; t < most; ++t) {
          scales[t] = static_cast<uint16_t>(bits_of(random.uniform(0.001f, 0.1f)) >> 16);
        }
        // What lies behind a row's positions is never looked at.
        for (uint32_t i = 0; i + 1 < n_rows; ++i) weights[i * stride + n + i] = nan;
        Block<float> expected(out_stride * (n_rows - 1) + head_dim);
        for (uint32_t i = 0; i < n_rows; ++i) {
          kKernelsReference.mix_values_q8(expected.data() + i * out_stride,
                                          weights.data() + i * stride, stride, values.data(),
                                          scales.data(), n + i, head_dim, 1);
        }
        for (const Kernels* k : fast_tables()) {
          if (!k->wide) continue;
          Block<float> found(expected.size());
          k->wide->mix_rows_q8(found.data(), out_stride, weights.data(), stride, values.data(),
                               scales.data(), n, head_dim, n_rows);
          REQUIRE_MESSAGE(same_bits(found.data(), expected.data(), expected.size()),
                          std::string(k->name), " ", head_dim, " ", n_rows, " ", n);
        }
      }
    }
  }
}

TEST_CASE("argmax: the lowest index of the largest, whatever the values") {
  Random random(17);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<const Kernels*> tables = fast_tables();
  tables.push_back(&kKernelsReference);
  for (const Kernels* k : tables) {
    for (uint32_t n = 1; n <= 70; ++n) {
      for (int kind = 0; kind < 6; ++kind) {
        Block<float> x(n, 1);
        for (uint32_t i = 0; i < n; ++i) {
          const float few = static_cast<float>(random.below(4)) - 2.0f;  // many ties
          x[i] = kind == 0 ? random.normal() : few;
        }
        if (kind == 2) x[random.below(n)] = nan;
        if (kind == 3) x[random.below(n)] = infinity;
        if (kind == 4) {
          for (uint32_t i = 0; i < n; ++i) x[i] = -infinity;
        }
        if (kind == 5) {
          for (uint32_t i = 0; i < n; ++i) x[i] = nan;
        }
        uint32_t expected = 0;
        float max = -infinity;
        for (uint32_t i = 0; i < n; ++i) {
          if (x[i] > max) max = x[i], expected = i;
        }
        REQUIRE(k->argmax(x.data(), n) == expected);
      }
    }
  }
}

TEST_CASE("mass_at_least and collect: what one by one gives, of any length") {
  Random random(77);
  for (uint32_t n : {0u, 1u, 7u, 31u, 32u, 33u, 64u, 95u, 512u, 1000u}) {
    for (uint32_t bits : {2u, 20u, 30u, 32u}) {
      Block<uint32_t> keys(n);
      for (uint32_t i = 0; i < n; ++i)
        keys[i] = static_cast<uint32_t>(random.next()) >> (32 - bits);
      for (uint32_t low : {0u, 1u, 1u << (bits - 1), UINT32_MAX - 3}) {
        for (uint32_t span : {0u, 1u << (bits - 2), UINT32_MAX - low}) {
          if (span > UINT32_MAX - low) continue;
          std::vector<uint32_t> within;
          uint64_t mass = 0;
          for (uint32_t i = 0; i < n; ++i) {
            if (keys[i] >= low) mass += keys[i];
            if (keys[i] >= low && keys[i] - low <= span) within.push_back(keys[i]);
          }
          const uint32_t there = static_cast<uint32_t>(within.size());
          for (const Kernels* k : fast_tables()) {
            if (!k->wide) continue;
            REQUIRE(k->wide->mass_at_least(keys.data(), n, low) == mass);
            for (uint32_t most : {there, there / 2}) {
              Block<uint32_t> found(most);  // behind which nothing may be written
              const uint32_t count =
                  k->wide->collect(found.data(), most, keys.data(), n, low, span);
              REQUIRE(count <= there);
              REQUIRE((count > most || count == there));
              for (uint32_t i = 0; i < most; ++i) REQUIRE(found[i] == within[i]);
            }
          }
        }
      }
    }
  }
}
