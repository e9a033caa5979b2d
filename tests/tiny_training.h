// SPDX-License-Identifier: MIT
// What tests of the trainer's gradients share.
#ifndef THIMBLE_TESTS_TINY_TRAINING_H
#define THIMBLE_TESTS_TINY_TRAINING_H

#include <string>
#include <vector>

#include "random.h"
#include "tiny_model.h"
#include "train/kernels.h"
#include "train/network.h"
#include "train_reference.h"

namespace thimble::test {

inline void random_weights(const tools::train::Parameters& parameters, float* weights,
                           uint64_t seed = 3) {
  read_rows(
      parameters,
      [seed](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
        random_row(seed, kind, layer, row, cols, out);
      },
      weights);
}

// Every table of kernels that this machine has.
inline std::vector<const tools::train::Kernels*> all_kernels() {
  std::vector<const tools::train::Kernels*> tables;
  for (const char* name : {"plain", "avx2", "avx512", "avx512amx"}) {
    for (const char* precision : {"f32", "int16"}) {
      const tools::train::Kernels* table = tools::train::find_kernels(name, precision);
      if (table) tables.push_back(table);
    }
  }
  return tables;
}
inline bool is_f32(const tools::train::Kernels& kernels) {
  return std::string(kernels.precision) == "f32";
}
inline std::string name_of(const tools::train::Kernels& kernels) {
  return std::string(kernels.name) + " " + kernels.precision;
}
// How far a gradient may be from that in double, as a part of its tensor's largest, and the loss.
inline double gradient_bound(const tools::train::Kernels& kernels) {
  return is_f32(kernels) ? 1e-5 : 1e-3;
}
inline double loss_bound(const tools::train::Kernels& kernels) {
  return is_f32(kernels) ? 1e-6 : 1e-4;
}

inline tools::train::PackedWeights packed_weights(const tools::train::Parameters& parameters,
                                                  const tools::train::Kernels& kernels,
                                                  const float* weights) {
  tools::train::PackedWeights packed(parameters, kernels);
  for (size_t i = 0; i < packed.n_matrices(); ++i) packed.pack(i, weights);
  packed.finish(weights);
  return packed;
}

struct TrainerResult {
  double loss;
  std::vector<float> gradient;
};
inline TrainerResult trainer_result(const tools::train::Parameters& parameters,
                                    const tools::train::Kernels& kernels, const float* weights,
                                    const tools::train::Pack& pack, float dropout = 0,
                                    uint64_t seed = 0,
                                    const tools::train::Network::Teacher* teacher = nullptr) {
  using tools::train::Network;
  const Network network(parameters, kernels);
  const tools::train::PackedWeights packed = packed_weights(parameters, kernels, weights);
  Network::Workspace workspace(network, static_cast<uint32_t>(pack.tokens.size()));
  const tools::train::Floats gradient(parameters.size());
  const Network::Training training = {dropout, seed, 1.0f, gradient.data(), teacher};
  const double loss = network.run(packed, pack, &workspace, &training);
  const double again = network.run(packed, pack, &workspace);
  if (!(dropout > 0) && !teacher) CHECK(loss == again);
  return {loss, {gradient.begin(), gradient.end()}};
}

// How `loss` of x changes along a direction, which has n elements from x[begin] on: by central
// differences, which err by h^2 and by 1e-16 / h.
template <class Loss>
double slope(const Doubles& x, size_t begin, const Doubles& direction, Loss loss) {
  constexpr double kStep = 1e-5;
  Doubles up = x, down = x;
  for (size_t i = 0; i < direction.size(); ++i) {
    up[begin + i] += kStep * direction[i];
    down[begin + i] -= kStep * direction[i];
  }
  return (loss(up) - loss(down)) / (2 * kStep);
}

inline Doubles random_direction(Random* random, size_t n) {
  Doubles direction(n);
  for (double& d : direction) d = static_cast<double>(random->uniform(-1, 1));
  return direction;
}

}  // namespace thimble::test

#endif
