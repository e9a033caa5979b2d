// SPDX-License-Identifier: MIT
// Weights as a model file will hold them, for training with what ships.
#ifndef THIMBLE_TOOLS_TRAIN_ROUNDING_H
#define THIMBLE_TOOLS_TRAIN_ROUNDING_H

#include "parameters.h"
#include "workers.h"

namespace thimble::tools::train {

// The numbers that int8 in groups stands for, of a row; out may be row.
void round_q8(const float* row, uint32_t cols, uint32_t group, float* out);

// out = the numbers that build_image's int8 or 4 bits of `weights` stand for, without moments;
// norms and biases as they are. Both of parameters.size() floats.
void round_weights(const Parameters& parameters, const WeightLayout& layout, const Workers& workers,
                   const float* weights, float* out);

}  // namespace thimble::tools::train

#endif
