// SPDX-License-Identifier: MIT
#include "quantize_q4.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "exact_math.h"
#include "format.h"
#include "quantize.h"

namespace thimble::tools {
namespace {

constexpr double kTiny = 1e-30;
constexpr double kDamping = 0.1;  // of the mean of the diagonal
constexpr int kSweeps = 4;

// The level nearest to a number, by half units, since borders between levels lie there.
class NearestLevel {
 public:
  NearestLevel() {
    std::vector<int> levels;
    for (uint32_t bits = 0; bits < 16; ++bits) levels.push_back(q4_level(bits));
    std::sort(levels.begin(), levels.end());
    lowest = levels.front();
    for (int i = 0; i < kSize; ++i) {
      const double x = (i + 0.5) / 2 - kOffset;
      table_[i] =
          static_cast<int8_t>(*std::min_element(levels.begin(), levels.end(), [x](int a, int b) {
            return std::fabs(a - x) < std::fabs(b - x);
          }));
    }
  }
  int8_t operator()(double x) const {
    const double at = (x + kOffset) * 2;  // to int it goes down where it is positive
    return table_[at < 0 ? 0 : at >= kSize ? kSize - 1 : static_cast<int>(at)];
  }

  int lowest;

 private:
  static constexpr int kOffset = 100, kSize = 400;
  int8_t table_[kSize];
};
const NearestLevel kNearest;

double value_of(uint16_t scale) {
  return static_cast<double>(from_bf16(scale));
}

void subtract(double* y, const double* x, double factor, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] -= factor * x[i];
}

// Upper U with U'U = the inverse of m, (n, n) and positive definite; empty if it is not. In the
// reversed order m is L L', so that the inverse of L, reversed again, is U.
std::vector<double> inverse_factor(const std::vector<float>& m, size_t n) {
  std::vector<double> lower(n * n, 0.0), inverse(n * n, 0.0), upper(n * n, 0.0);
  for (size_t i = 0; i < n; ++i) {
    double* row = &lower[i * n];
    for (size_t j = 0; j <= i; ++j) row[j] = static_cast<double>(m[(n - 1 - i) * n + n - 1 - j]);
  }
  // Column by column, each subtracted from all rows below at once.
  std::vector<double> column(n);
  for (size_t j = 0; j < n; ++j) {
    if (!(lower[j * n + j] > 0)) return {};
    const double root = std::sqrt(lower[j * n + j]);
    for (size_t i = j; i < n; ++i) column[i] = lower[i * n + j] = lower[i * n + j] / root;
    for (size_t i = j + 1; i < n; ++i) {
      subtract(&lower[i * n + j + 1], &column[j + 1], column[i], i - j);
    }
  }
  for (size_t i = 0; i < n; ++i) {
    double* row = &inverse[i * n];
    row[i] = 1.0;
    for (size_t k = 0; k < i; ++k) subtract(row, &inverse[k * n], lower[i * n + k], k + 1);
    for (size_t j = 0; j <= i; ++j) row[j] /= lower[i * n + i];
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) upper[i * n + j] = inverse[(n - 1 - i) * n + n - 1 - j];
  }
  return upper;
}

// The scale by which levels are these numbers, as far as float tells; 0 if there is none.
uint16_t exact_scale(const double* w, uint32_t n, double largest) {
  constexpr double kEqual = 1e-6;  // of the largest
  const double* end = w + n;
  const double top = *std::find_if(w, end, [&](double x) { return std::fabs(x) >= largest; });
  for (uint32_t bits = 0; bits < 16; ++bits) {
    const uint16_t scale = to_bf16(static_cast<float>(top / q4_level(bits)));
    const double value = value_of(scale), inverse = 1 / value;
    if (std::all_of(w, end, [&](double x) {
          return std::fabs(x - value * kNearest(x * inverse)) <= kEqual * largest;
        })) {
      return scale;
    }
  }
  return 0;
}

}  // namespace

int8_t nearest_q4_level(double x) {
  return kNearest(x);
}

Q4Rounder::Q4Rounder(const Moments* moments, uint32_t cols, uint32_t group)
    : cols_(cols),
      group_(group),
      importance_(cols, 1.0),
      rest_(cols),
      scales_((cols + group - 1) / group),
      error_(cols),
      slope_(cols) {
  row_.levels.resize(cols);
  row_.scales.resize(scales_.size());
  if (!moments || moments->n != cols) return;
  const size_t n = cols;
  moments_ = moments->means;
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += static_cast<double>(moments_[i * n + i]);
  mean /= static_cast<double>(n);
  if (mean > 0) {
    for (size_t i = 0; i < n; ++i) moments_[i * n + i] += static_cast<float>(mean * kDamping);
    factor_ = inverse_factor(moments_, n);
  }
  if (factor_.empty()) {
    moments_.clear();
    return;
  }
  for (size_t i = 0; i < n; ++i) importance_[i] = 1.0 / (factor_[i * n + i] * factor_[i * n + i]);
}

uint16_t Q4Rounder::best_scale(const double* w, const double* weight, uint32_t n) const {
  constexpr int kSteps = 40;
  constexpr double kFirst = 0.62, kStep = 0.02;
  double largest = 0;
  for (uint32_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(w[i]));
  if (largest < kTiny) return 0;
  uint16_t best = exact_scale(w, n, largest);
  if (best != 0) return best;
  double smallest = -1;
  for (int trial = 0; trial < 2 * kSteps; ++trial) {
    const double sign = trial % 2 == 0 ? 1 : -1;
    const int step = trial / 2;
    const double wanted = largest / -kNearest.lowest * (kFirst + kStep * step);
    const uint16_t scale = to_bf16(static_cast<float>(sign * wanted));
    const double value = value_of(scale), inverse = 1 / value;
    double sum = 0;
    for (uint32_t i = 0; i < n && (smallest < 0 || sum < smallest); ++i) {
      const double error = w[i] - value * kNearest(w[i] * inverse);
      sum += weight[i] * error * error;
    }
    if (smallest >= 0 && sum >= smallest) continue;
    smallest = sum;
    best = scale;
  }
  return best;
}

void Q4Rounder::set_scale(uint32_t g, double scale) {
  row_.scales[g] = to_bf16(static_cast<float>(scale));
  scales_[g] = value_of(row_.scales[g]);
}

void Q4Rounder::compensate(const float* w) {
  for (uint32_t i = 0; i < cols_; ++i) rest_[i] = static_cast<double>(w[i]);
  for (uint32_t g = 0; g < scales_.size(); ++g) {
    const uint32_t begin = g * group_, end = std::min(begin + group_, cols_);
    set_scale(g, value_of(best_scale(&rest_[begin], &importance_[begin], end - begin)));
    const double scale = scales_[g], inverse = scale < 0 || scale > 0 ? 1 / scale : 0;
    for (uint32_t i = begin; i < end; ++i) {
      row_.levels[i] = kNearest(rest_[i] * inverse);
      if (factor_.empty()) continue;
      const double* u = &factor_[size_t{i} * cols_];
      const double error = (rest_[i] - scale * row_.levels[i]) / u[i];
      subtract(&rest_[i + 1], u + i + 1, error, cols_ - i - 1);
    }
  }
}

void Q4Rounder::descend(const float* w) {
  const size_t n = cols_;
  for (size_t i = 0; i < n; ++i) {
    error_[i] = static_cast<double>(w[i]) - scales_[i / group_] * row_.levels[i];
  }
  // slope = moments * error, kept up to date.
  std::fill(slope_.begin(), slope_.end(), 0.0);
  const auto add_to_slope = [&](size_t i, double change) {
    const float* m = &moments_[i * n];
    for (size_t j = 0; j < n; ++j) slope_[j] += change * static_cast<double>(m[j]);
  };
  for (size_t i = 0; i < n; ++i) add_to_slope(i, error_[i]);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (size_t i = 0; i < n; ++i) {
      const double scale = scales_[i / group_];
      if (!(scale < 0) && !(scale > 0)) continue;
      const double best =
          scale * row_.levels[i] + slope_[i] / static_cast<double>(moments_[i * n + i]);
      const int8_t level = kNearest(best / scale);
      if (level == row_.levels[i]) continue;
      add_to_slope(i, -scale * (level - row_.levels[i]));
      row_.levels[i] = level;
    }
    for (uint32_t g = 0; g < scales_.size(); ++g) {
      const size_t begin = size_t{g} * group_, end = std::min(begin + group_, n);
      double along = 0, curvature = 0;
      for (size_t i = begin; i < end; ++i) {
        along += row_.levels[i] * slope_[i];
        double sum = 0;
        for (size_t j = begin; j < end; ++j) {
          sum += row_.levels[j] * static_cast<double>(moments_[i * n + j]);
        }
        curvature += row_.levels[i] * sum;
      }
      if (!(curvature > 0)) continue;
      const double before = scales_[g];
      set_scale(g, before + along / curvature);
      const double change = scales_[g] - before;
      if (change * (change * curvature - 2 * along) >= 0) {  // rounded, it is no better
        set_scale(g, before);
        continue;
      }
      for (size_t i = begin; i < end; ++i) {
        if (row_.levels[i] != 0) add_to_slope(i, -change * row_.levels[i]);
      }
    }
  }
}

const Q4Row& Q4Rounder::round(const float* w) {
  compensate(w);
  if (!moments_.empty()) descend(w);
  return row_;
}

}  // namespace thimble::tools
