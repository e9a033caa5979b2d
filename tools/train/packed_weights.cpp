// SPDX-License-Identifier: MIT
#include "packed_weights.h"

namespace thimble::tools::train {

PackedWeights::PackedWeights(const Parameters& parameters, const Kernels& kernels)
    : kernels_(kernels), of_tensor_(parameters.tensors().size()), parameters_(parameters) {
  size_t floats = 0;
  for (size_t i = 0; i < parameters.tensors().size(); ++i) {
    const Tensor& t = parameters.tensors()[i];
    if (!t.is_matrix || t.kind == kPositionEmbedding) continue;
    if (t.kind == kTokenEmbedding && !parameters.shape().tied_head) continue;
    of_tensor_[i] = matrices_.size();
    const size_t forward = floats, backward = forward + kernels.packed_floats(t.cols, t.rows);
    floats = backward + kernels.packed_floats(t.rows, t.cols);
    matrices_.push_back({&t, forward, backward});
  }
  packed_ = Floats(floats);
}

void PackedWeights::pack(size_t i, const float* weights) {
  const Place& at = matrices_[i];
  const Tensor& t = *at.tensor;
  const float* w = weights + t.offset;
  kernels_.pack(packed_.data() + at.forward, w, 1, t.cols, t.cols, t.rows);
  kernels_.pack(packed_.data() + at.backward, w, t.cols, 1, t.rows, t.cols);
}

const PackedWeights::Place& PackedWeights::place(const Tensor& tensor) const {
  return matrices_[of_tensor_[static_cast<size_t>(&tensor - parameters_.tensors().data())]];
}
PackedMatrix PackedWeights::forward(const Tensor& t) const {
  return {packed_.data() + place(t).forward, t.cols, t.rows};
}
PackedMatrix PackedWeights::backward(const Tensor& t) const {
  return {packed_.data() + place(t).backward, t.rows, t.cols};
}

}  // namespace thimble::tools::train
