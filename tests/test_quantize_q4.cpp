// SPDX-License-Identifier: MIT
// Rounding to 4 bits, and what it learns of the inputs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibration.h"
#include "draft.h"
#include "exact_math.h"
#include "model.h"
#include "quantize.h"
#include "quantize_q4.h"
#include "random.h"
#include "test_folder.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;
using tools::Moments;
using tools::Q4Rounder;
using tools::Q4Row;

namespace {

std::vector<float> random_row(Random* random, size_t n) {
  std::vector<float> row(n);
  for (float& x : row) {
    x = random->uniform(-1.0f, 1.0f) + random->uniform(-1.0f, 1.0f) + random->uniform(-1.0f, 1.0f);
  }
  return row;
}

double stored(const Q4Row& row, uint32_t group, size_t i) {
  return static_cast<double>(row.levels[i]) * static_cast<double>(from_bf16(row.scales[i / group]));
}

// (w - q)' M (w - q)
double loss(const Moments& m, const std::vector<float>& w, const Q4Row& row, uint32_t group) {
  const size_t n = w.size();
  std::vector<double> error(n);
  for (size_t i = 0; i < n; ++i) error[i] = static_cast<double>(w[i]) - stored(row, group, i);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j)
      sum += error[i] * static_cast<double>(m.means[i * n + j]) * error[j];
  }
  return sum;
}

// Of inputs that are mixtures of a third as many independent numbers, and some noise.
Moments correlated(Random* random, uint32_t n) {
  const size_t sources = n / 3, samples = size_t{8} * n;
  std::vector<float> mix = random_row(random, n * sources);
  Moments m = {n, std::vector<float>(size_t{n} * n)};
  std::vector<float> x(n);
  for (size_t sample = 0; sample < samples; ++sample) {
    const std::vector<float> source = random_row(random, sources);
    for (size_t i = 0; i < n; ++i) {
      x[i] = random->uniform(-0.1f, 0.1f);
      for (size_t k = 0; k < sources; ++k) x[i] += mix[i * sources + k] * source[k];
    }
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j)
        m.means[i * n + j] += x[i] * x[j] / static_cast<float>(samples);
    }
  }
  return m;
}

}  // namespace

TEST_CASE("q4: levels and scales of a row, at most half of the widest step away") {
  Random random(5);
  for (const uint32_t group : {8u, 32u, 64u}) {
    Q4Rounder rounder(nullptr, 100, group);
    for (int round = 0; round < 50; ++round) {
      const std::vector<float> w = random_row(&random, 100);
      const Q4Row& row = rounder.round(w.data());
      REQUIRE(row.levels.size() == 100);
      REQUIRE(row.scales.size() == (100 + group - 1) / group);
      for (size_t i = 0; i < w.size(); ++i) {
        const double scale = std::fabs(static_cast<double>(from_bf16(row.scales[i / group])));
        const double error = std::fabs(static_cast<double>(w[i]) - stored(row, group, i));
        const bool is_last = row.levels[i] == -96 || row.levels[i] == 77;
        REQUIRE((is_last || error <= 9 * scale));
      }
    }
  }
}

TEST_CASE("q4: nothing is lost of what levels can say, and zeros stay") {
  for (const float scale : {0.25f, -0.25f, 0x1p-20f}) {
    std::vector<float> w(32);
    for (uint32_t i = 0; i < 32; ++i) w[i] = static_cast<float>(q4_level(i % 16)) * scale;
    Q4Rounder rounder(nullptr, 32, 32);
    const Q4Row& row = rounder.round(w.data());
    // The scale is a bf16 near 1 / 50 of what is looked at, so close, not equal.
    for (size_t i = 0; i < 32; ++i) {
      CHECK(std::fabs(stored(row, 32, i) - static_cast<double>(w[i])) <=
            0.02 * 96 * std::fabs(static_cast<double>(scale)));
    }
  }
  const std::vector<float> zeros(40, 0.0f), tiny(40, 1e-31f);
  for (const std::vector<float>& w : {zeros, tiny}) {
    Q4Rounder rounder(nullptr, 40, 32);
    const Q4Row& row = rounder.round(w.data());
    for (const int8_t level : row.levels) CHECK(level == 0);
    for (const uint16_t scale : row.scales) CHECK(scale == 0);
  }
}

TEST_CASE("q4: rounded again, a row is what it was") {
  Random random(7);
  for (const uint32_t group : {8u, 32u, 100u}) {
    Q4Rounder rounder(nullptr, 100, group);
    for (int round = 0; round < 50; ++round) {
      std::vector<float> w = random_row(&random, 100);
      if (round % 5 == 0) std::fill(w.begin(), w.begin() + 8, 0.0f);
      const Q4Row once = rounder.round(w.data());
      for (uint32_t i = 0; i < 100; ++i) w[i] = static_cast<float>(stored(once, group, i));
      const Q4Row again = rounder.round(w.data());
      for (uint32_t i = 0; i < 100; ++i) {
        REQUIRE(stored(again, group, i) == static_cast<double>(w[i]));
      }
    }
  }
}

TEST_CASE("q4: products with the inputs come out closer when their moments are known") {
  Random random(6);
  const Moments moments = correlated(&random, 96);
  double blind = 0, seeing = 0;
  Q4Rounder alone(nullptr, 96, 32), knowing(&moments, 96, 32);
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> w = random_row(&random, 96);
    blind += loss(moments, w, alone.round(w.data()), 32);
    seeing += loss(moments, w, knowing.round(w.data()), 32);
  }
  CHECK(seeing < 0.5 * blind);
}

TEST_CASE("q4: moments that say nothing are no moments") {
  Random random(8);
  const std::vector<float> w = random_row(&random, 64);
  Q4Rounder plain(nullptr, 64, 32);
  const Q4Row expected = plain.round(w.data());
  const Moments silent = {64, std::vector<float>(64 * 64, 0.0f)},
                other = {32, std::vector<float>(32 * 32)};
  for (const Moments* m : {&silent, &other}) {
    Q4Rounder rounder(m, 64, 32);
    const Q4Row& found = rounder.round(w.data());
    CHECK(found.levels == expected.levels);
    CHECK(found.scales == expected.scales);
  }
}

TEST_CASE("calibration: moments of each matrix's input, whatever is gathered at a time") {
  for (const NamedShape& named : tiny_shapes()) {
    CAPTURE(std::string(named.name));
    const TinyModel m(named.shape, {kWeightF32, 0, 16});
    std::vector<std::vector<int32_t>> texts;
    for (uint32_t i = 0; i < 3; ++i) texts.push_back(random_tokens(i, 9, named.shape.vocab_size));
    tools::Calibration calibration(m.view, texts, 1);
    for (uint32_t layer = 0; layer < named.shape.n_layers; ++layer) {
      for (const SectionKind kind :
           {kAttentionQkv, kAttentionOutput, kFeedForwardGateUp, kFeedForwardDown}) {
        const Moments* moments = calibration.of(kind, layer);
        REQUIRE(moments);
        const uint32_t n = matrix_of(m.view, kind, layer).cols;
        REQUIRE(moments->n == n);
        double trace = 0;
        for (size_t i = 0; i < n; ++i) {
          trace += static_cast<double>(moments->means[i * n + i]);
          for (size_t j = 0; j < i; ++j) {
            REQUIRE(bits_of(moments->means[i * n + j]) == bits_of(moments->means[j * n + i]));
          }
        }
        CHECK(trace > 0);
      }
    }
    const Moments* head = calibration.of(kOutputHead, 0);
    REQUIRE(head);
    CHECK(head->n == named.shape.dim);
    CHECK((calibration.of(kTokenEmbedding, 0) != nullptr) == named.shape.tied_head);
    CHECK(calibration.of(kPositionEmbedding, 0) == nullptr);
  }
}

TEST_CASE("calibration: a model's own texts are the same each time, and as long as was asked for") {
  const TinyModel m(tiny_shapes()[0].shape, {kWeightQ8, 32, 16});
  const auto texts = tools::own_texts(m.view, 100);
  size_t tokens = 0;
  for (const std::vector<int32_t>& text : texts) {
    REQUIRE(!text.empty());
    tokens += text.size();
    for (const int32_t token : text)
      CHECK((token >= 0 && token < static_cast<int32_t>(m.view.vocab_size)));
  }
  CHECK(tokens == 100);
  CHECK(tools::own_texts(m.view, 100) == texts);
}

TEST_CASE("draft: a layer is rounded for what the layers before it give once they are rounded") {
  const TestFolder folder;
  tools::Checkpoint checkpoint;
  checkpoint.shape = tiny_shape(40, 70, 2, 4, 2, 10, 61, 32, true);
  checkpoint.rows = [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
    Random random(kind * 7919u + layer * 104729u + row);
    for (uint32_t c = 0; c < cols; ++c) out[c] = random.uniform(-1.0f, 1.0f);
  };
  // The moments of the second layer, after each row of the first one became what `round` says.
  const auto moments_after = [&](uint32_t group, const auto& round) {
    tools::Draft draft(folder / "out.thimble", checkpoint, nullptr, "");
    for (const SectionKind kind :
         {kAttentionQkv, kAttentionOutput, kFeedForwardGateUp, kFeedForwardDown}) {
      REQUIRE(draft.moments(kind, 0));
      SectionEntry section = {};
      section.kind = kind;
      section.cols = kind == kFeedForwardDown ? 70 : 40;
      section.rows = kind == kAttentionQkv ? 80 : kind == kFeedForwardGateUp ? 140 : 40;
      section.group = group;
      section.n_groups = (section.cols + group - 1) / group;
      std::vector<float> row(section.cols);
      for (uint32_t r = 0; r < section.rows; ++r) {
        std::vector<int8_t> values(size_t{section.n_groups} * group);
        std::vector<uint16_t> scales(section.n_groups);
        checkpoint.rows(kind, 0, r, section.cols, row.data());
        for (uint32_t g = 0; g < section.n_groups; ++g) {
          const uint32_t begin = g * group, n = std::min(group, section.cols - begin);
          scales[g] = round(&row[begin], n, &values[begin]);
        }
        draft.rounded(section, r, values.data(), scales.data());
      }
    }
    return draft.moments(kAttentionQkv, 1)->means;
  };
  const auto as_it_was = moments_after(
      32, [](const float* w, uint32_t n, int8_t* out) { return tools::quantize_group(w, n, out); });
  tools::Draft untouched(folder / "out.thimble", checkpoint, nullptr, "");
  CHECK(as_it_was == untouched.moments(kAttentionQkv, 1)->means);
  // A scale for more weights than the draft's groups have.
  const auto halves = [](const float* w, uint32_t n, int8_t* out) {
    for (uint32_t i = 0; i < n; ++i) out[i] = w[i] < 0 ? -1 : 1;
    return tools::to_bf16(0.5f);
  };
  const auto coarse = moments_after(32, halves);
  CHECK(coarse != as_it_was);
  CHECK(coarse == moments_after(64, halves));
}
