// SPDX-License-Identifier: MIT
// A model's weights as products of matrices read them.
#ifndef THIMBLE_TOOLS_TRAIN_PACKED_WEIGHTS_H
#define THIMBLE_TOOLS_TRAIN_PACKED_WEIGHTS_H

#include <vector>

#include "kernels.h"
#include "parameters.h"

namespace thimble::tools::train {

// Weights as a pass wants them: as they are, and matrices packed for both directions.
class PackedWeights {
 public:
  PackedWeights(const Parameters& parameters, const Kernels& kernels);

  // Packs matrix `i` of n_matrices() of `weights`, which must stay.
  size_t n_matrices() const { return matrices_.size(); }
  void pack(size_t i, const float* weights);
  // After each of them was packed.
  void finish(const float* weights) { weights_ = weights; }

  const float* at(const Tensor& tensor) const { return weights_ + tensor.offset; }
  PackedMatrix forward(const Tensor& tensor) const;   // x W'
  PackedMatrix backward(const Tensor& tensor) const;  // dy W
  size_t bytes() const { return packed_.size() * sizeof(float); }

 private:
  struct Place {
    const Tensor* tensor;
    size_t forward, backward;
  };
  const Place& place(const Tensor& tensor) const;

  const Kernels& kernels_;
  std::vector<Place> matrices_;
  std::vector<size_t> of_tensor_;  // index into matrices_ by tensor
  const Parameters& parameters_;
  Floats packed_;
  const float* weights_ = nullptr;
};

}  // namespace thimble::tools::train

#endif
