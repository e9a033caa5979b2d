// SPDX-License-Identifier: MIT
#include "rounding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "exact_math.h"
#include "quantize.h"
#include "quantize_q4.h"

namespace thimble::tools::train {
namespace {

constexpr uint32_t kRows = 16;  // of a task

uint32_t group_of(const WeightLayout& layout, const Tensor& t) {
  return layout.group ? layout.group : t.cols;
}
uint32_t groups_of(uint32_t cols, uint32_t group) {
  return (cols + group - 1) / group;
}

// A group's scale, or where it is 0 the one that is found for it.
class ScalesOfRow {
 public:
  ScalesOfRow(uint32_t cols, uint32_t group) : rounder_(nullptr, cols, group) {}
  void begin(const float* row, const float* scales, uint32_t n) {
    scales_ = scales;
    if (std::find(scales, scales + n, 0.0f) != scales + n) found_ = &rounder_.round(row);
  }
  float at(uint32_t g) const {
    const bool is_known = scales_[g] > 0 || scales_[g] < 0;
    return is_known ? scales_[g] : from_bf16(found_->scales[g]);
  }

 private:
  Q4Rounder rounder_;
  const Q4Row* found_ = nullptr;
  const float* scales_ = nullptr;
};

// As Q4Rounder finds it.
float level_of(float w, double inverse_scale) {
  return static_cast<float>(nearest_q4_level(static_cast<double>(w) * inverse_scale));
}

// sum of w * level / sum of level^2
float followed(const float* w, uint32_t n, float scale) {
  const double inverse = 1 / static_cast<double>(scale);
  float along = 0, squares = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const float level = level_of(w[i], inverse);
    along += w[i] * level;
    squares += level * level;
  }
  const float best = squares > 0 ? along / squares : 0;
  return best > 0 || best < 0 ? best : scale;
}

// A group's numbers as the file holds them.
struct Stored {
  explicit Stored(float exact_scale)
      : scale(from_bf16(to_bf16(exact_scale))),
        inverse(scale > 0 || scale < 0 ? 1 / static_cast<double>(scale) : 0) {}
  float number(float w) const { return scale * level_of(w, inverse); }
  float scale;
  double inverse;
};

void round_group(const float* w, uint32_t n, float scale, float* out) {
  const Stored stored(scale);
  for (uint32_t i = 0; i < n; ++i) out[i] = stored.number(w[i]);
}

}  // namespace

void round_q8(const float* row, uint32_t cols, uint32_t group, float* out) {
  std::vector<int8_t> values(group);
  for (uint32_t begin = 0; begin < cols; begin += group) {
    const uint32_t n = std::min(group, cols - begin);
    const float scale = from_bf16(quantize_group(row + begin, n, values.data()));
    for (uint32_t i = 0; i < n; ++i) out[begin + i] = static_cast<float>(values[i]) * scale;
  }
}

size_t Rounding::n_scales(const Parameters& parameters, const WeightLayout& layout) {
  size_t n = 0;
  if (layout.type != kWeightQ4) return n;
  for (const Tensor& t : parameters.tensors()) {
    if (t.is_matrix) n += size_t{t.rows} * groups_of(t.cols, group_of(layout, t));
  }
  return n;
}

Rounding::Rounding(const Parameters& parameters, const WeightLayout& layout)
    : parameters_(parameters), layout_(layout) {
  const size_t n = n_scales(parameters, layout);
  if (n > 0) scales_ = Floats(n);
}

void Rounding::each_rows(const Workers& workers, const std::function<void(const Rows&)>& f) const {
  std::vector<Rows> tasks;
  float* scales = scales_.size() > 0 ? scales_.data() : nullptr;
  for (const Tensor& t : parameters_.tensors()) {
    if (!t.is_matrix) continue;
    const uint32_t group = group_of(layout_, t);
    for (uint32_t r = 0; r < t.rows; r += kRows) {
      const uint32_t n = std::min(kRows, t.rows - r);
      tasks.push_back({&t, r, n, group, scales});
      if (scales) scales += size_t{n} * groups_of(t.cols, group);
    }
  }
  workers.run(tasks.size(), [&](size_t i, uint32_t) { f(tasks[i]); });
}

void Rounding::follow(const Workers& workers, const float* weights) {
  if (scales_.size() == 0) return;
  each_rows(workers, [&](const Rows& rows) {
    const Tensor& t = *rows.tensor;
    const uint32_t groups = groups_of(t.cols, rows.group);
    ScalesOfRow before(t.cols, rows.group);
    for (uint32_t r = 0; r < rows.n; ++r) {
      const float* w = weights + t.offset + size_t{rows.first + r} * t.cols;
      float* scales = rows.scales + size_t{r} * groups;
      before.begin(w, scales, groups);
      for (uint32_t g = 0; g < groups; ++g) {
        const uint32_t begin = g * rows.group, n = std::min(rows.group, t.cols - begin);
        const float scale = before.at(g);
        if (scale > 0 || scale < 0) scales[g] = followed(w + begin, n, scale);
      }
    }
  });
}

void Rounding::settle(const Workers& workers, float step, float* weights) const {
  if (scales_.size() == 0) return;
  // Half of what two levels are apart as a rule, in scales: near 0 it is 4, of the largest ones 9.
  constexpr float kHalfGap = 5;
  each_rows(workers, [&](const Rows& rows) {
    const uint32_t cols = rows.tensor->cols, groups = groups_of(cols, rows.group);
    float* w = weights + rows.tensor->offset + size_t{rows.first} * cols;
    for (uint32_t r = 0; r < rows.n; ++r, w += cols) {
      for (uint32_t g = 0; g < groups; ++g) {
        const Stored stored(rows.scales[size_t{r} * groups + g]);
        const float gap = kHalfGap * std::fabs(stored.scale);
        if (!(gap > 0)) continue;
        const float share = std::min(1.0f, step / gap);
        const uint32_t end = std::min((g + 1) * rows.group, cols);
        for (uint32_t i = g * rows.group; i < end; ++i)
          w[i] += share * (stored.number(w[i]) - w[i]);
      }
    }
  });
}

void Rounding::round(const Workers& workers, const float* weights, float* out) const {
  std::memcpy(out, weights, parameters_.size() * sizeof(float));
  if (layout_.type == kWeightF32) return;
  each_rows(workers, [&](const Rows& rows) {
    const Tensor& t = *rows.tensor;
    const uint32_t groups = groups_of(t.cols, rows.group);
    std::optional<ScalesOfRow> scales;
    if (layout_.type == kWeightQ4) scales.emplace(t.cols, rows.group);
    for (uint32_t r = 0; r < rows.n; ++r) {
      const size_t at = t.offset + size_t{rows.first + r} * t.cols;
      if (!scales) {
        round_q8(weights + at, t.cols, rows.group, out + at);
        continue;
      }
      scales->begin(weights + at, rows.scales + size_t{r} * groups, groups);
      for (uint32_t g = 0; g < groups; ++g) {
        const uint32_t begin = g * rows.group, n = std::min(rows.group, t.cols - begin);
        round_group(weights + at + begin, n, scales->at(g), out + at + begin);
      }
    }
  });
}

}  // namespace thimble::tools::train
