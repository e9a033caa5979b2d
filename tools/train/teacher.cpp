// SPDX-License-Identifier: MIT
#include "teacher.h"

#include "opened_model.h"

namespace thimble::tools::train {

Teacher::Teacher(const thimble_model& model, const Kernels& kernels, const Workers& workers,
                 uint32_t threads, uint32_t tokens)
    : parameters_(shape_of_model(model)),
      network_(parameters_, kernels),
      weights_(parameters_.size()),
      packed_(parameters_, kernels) {
  read_rows(parameters_, rows_of_model(model), weights_.data());
  workers.run(packed_.n_matrices(), [&](size_t i, uint32_t) { packed_.pack(i, weights_.data()); });
  packed_.finish(weights_.data());
  for (uint32_t i = 0; i < threads; ++i) workspaces_.emplace_back(network_, tokens);
}

uint64_t Teacher::bytes(const thimble_model& model, const Kernels& kernels, uint32_t threads,
                        uint32_t tokens) {
  const Parameters parameters(shape_of_model(model));
  return PackedWeights(parameters, kernels).bytes() +
         sizeof(float) *
             (parameters.size() + threads * Network::Workspace::floats(parameters.shape(), tokens));
}

}  // namespace thimble::tools::train
