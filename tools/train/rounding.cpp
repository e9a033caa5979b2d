// SPDX-License-Identifier: MIT
#include "rounding.h"

#include <algorithm>
#include <cstring>

#include "exact_math.h"
#include "quantize.h"
#include "quantize_q4.h"

namespace thimble::tools::train {
namespace {

constexpr uint32_t kRows = 16;  // of a task

struct Rows {
  const Tensor* tensor;
  uint32_t first, n;
};

void round_q4(Q4Rounder* rounder, const float* row, uint32_t cols, uint32_t group, float* out) {
  const Q4Row& rounded = rounder->round(row);
  for (uint32_t i = 0; i < cols; ++i) {
    out[i] = static_cast<float>(rounded.levels[i]) * from_bf16(rounded.scales[i / group]);
  }
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

void round_weights(const Parameters& parameters, const WeightLayout& layout, const Workers& workers,
                   const float* weights, float* out) {
  std::memcpy(out, weights, parameters.size() * sizeof(float));
  if (layout.type == kWeightF32) return;
  std::vector<Rows> tasks;
  for (const Tensor& t : parameters.tensors()) {
    if (!t.is_matrix) continue;
    for (uint32_t r = 0; r < t.rows; r += kRows) {
      tasks.push_back({&t, r, std::min(kRows, t.rows - r)});
    }
  }
  workers.run(tasks.size(), [&](size_t i, uint32_t) {
    const Tensor& t = *tasks[i].tensor;
    const uint32_t group = layout.group ? layout.group : t.cols;
    Q4Rounder rounder(nullptr, t.cols, group);
    for (uint32_t r = tasks[i].first; r < tasks[i].first + tasks[i].n; ++r) {
      const size_t at = t.offset + size_t{r} * t.cols;
      if (layout.type == kWeightQ4) {
        round_q4(&rounder, weights + at, t.cols, group, out + at);
      } else {
        round_q8(weights + at, t.cols, group, out + at);
      }
    }
  });
}

}  // namespace thimble::tools::train
