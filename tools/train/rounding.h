// SPDX-License-Identifier: MIT
// Weights as a model file will hold them, for training with what ships.
#ifndef THIMBLE_TOOLS_TRAIN_ROUNDING_H
#define THIMBLE_TOOLS_TRAIN_ROUNDING_H

#include <functional>
#include <vector>

#include "parameters.h"
#include "workers.h"

namespace thimble::tools::train {

// The numbers that int8 in groups stands for, of a row; out may be row.
void round_q8(const float* row, uint32_t cols, uint32_t group, float* out);

// Int8 is what build_image makes of weights. 4 bits have scales that are looked for once, as
// build_image does without moments, and then follow the weights from step to step, each to the
// least squares of its group's levels: looked for in every step, they would jump, and levels with
// them. What they give, build_image leaves as it is.
class Rounding {
 public:
  Rounding(const Parameters& parameters, const WeightLayout& layout);

  // Of 4 bits: a scale for each group of each matrix, 0 where none was looked for yet. What a run
  // that goes on has to know.
  const Floats& scales() const { return scales_; }
  static size_t n_scales(const Parameters& parameters, const WeightLayout& layout);

  // Lets scales follow. No more than looked for are those that are 0.
  void follow(const Workers& workers, const float* weights);
  // Of 4 bits: moves each weight towards its level, by `step` where two levels are as near, and by
  // less as it comes near. Weights between two levels would go from one to the other for ever, of
  // which the last step keeps either (Nagel et al. 2022): with this they stay with one once the
  // optimizer's steps are smaller, and the others make up for it.
  void settle(const Workers& workers, float step, float* weights) const;
  // out = the numbers that the file will hold for `weights`; norms and biases as they are. Both of
  // parameters.size() floats.
  void round(const Workers& workers, const float* weights, float* out) const;

 private:
  struct Rows {
    const Tensor* tensor;
    uint32_t first, n, group;
    float* scales;  // of its first row's groups
  };
  void each_rows(const Workers& workers, const std::function<void(const Rows&)>& f) const;

  const Parameters& parameters_;
  WeightLayout layout_;
  Floats scales_;
};

}  // namespace thimble::tools::train

#endif
