// SPDX-License-Identifier: MIT
// Weights to 4 bits with one bf16 scale a group.
#ifndef THIMBLE_TOOLS_QUANTIZE_Q4_H
#define THIMBLE_TOOLS_QUANTIZE_Q4_H

#include <cstdint>
#include <vector>

#include "format.h"

namespace thimble::tools {

// What a matrix meets as input: (n, n) means of x[i] * x[j], symmetric. Without it all inputs count
// alike.
struct Moments {
  uint32_t n = 0;
  std::vector<float> means;
};

// A row in 4 bits: levels[c] is a q4_level, scales[g] bf16 of either sign, so that w[c] is about
// levels[c] * scale of its group.
struct Q4Row {
  std::vector<int8_t> levels;
  std::vector<uint16_t> scales;
};

// The q4_level nearest to a number.
int8_t nearest_q4_level(double x);

// Goes along while a model's matrices become 4 bits, one after another.
class Q4Guide {
 public:
  virtual ~Q4Guide() = default;
  // What that matrix meets as input, until the next call; null where it is not known.
  virtual const Moments* moments(SectionKind kind, uint32_t layer) = 0;
  // What has become of a row: levels, zeros behind its columns, and the scale of each group.
  virtual void rounded(const SectionEntry& section, uint32_t row, const int8_t* levels,
                       const uint16_t* scales) = 0;
};

// Rounds the rows of a matrix one after another.
//
// Of a row w what counts is the error of its products with the inputs x that it will meet:
// mean((w - q) . x)^2 = (w - q)' M (w - q), M = moments. Columns are rounded from the first to the
// last, and the error of each is made good by those behind it as far as inputs are correlated
// (GPTQ, Frantar et al. 2022; the damping of M too). Then every level, and every group's scale,
// moves to where the error is smallest with all others as they are, a few times over (coordinate
// descent). Scales are looked for around the one whose lowest level is the largest weight, with
// both signs, since levels reach further down than up. What a group's levels and a scale can say
// exactly stays so: rounded again, without moments, a row is what it was.
//
// Time: about n^3 for a matrix and 2 n^2 for a row of n columns. Memory: 20 n^2 bytes.
class Q4Rounder {
 public:
  // moments may be null or of no columns.
  Q4Rounder(const Moments* moments, uint32_t cols, uint32_t group);

  // Weights must be finite. A group whose largest weight is below 1e-30 becomes zeros with scale 0.
  const Q4Row& round(const float* w);

 private:
  void compensate(const float* w);
  void descend(const float* w);
  void set_scale(uint32_t g, double scale);
  uint16_t best_scale(const double* w, const double* weight, uint32_t n) const;

  uint32_t cols_, group_;
  std::vector<float> moments_;      // (cols, cols), damped; empty: a diagonal of ones
  std::vector<double> factor_;      // (cols, cols): upper U, U'U = the inverse of the moments
  std::vector<double> importance_;  // (cols): of a column's error, others making it good
  std::vector<double> rest_;        // what is left to be rounded
  std::vector<double> scales_, error_, slope_;
  Q4Row row_;
};

}  // namespace thimble::tools

#endif
