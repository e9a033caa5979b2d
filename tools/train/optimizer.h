// SPDX-License-Identifier: MIT
// AdamW (Loshchilov, Hutter 2019), and Muon (Jordan et al. 2024) for the matrices of the layers.
#ifndef THIMBLE_TOOLS_TRAIN_OPTIMIZER_H
#define THIMBLE_TOOLS_TRAIN_OPTIMIZER_H

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "parameters.h"
#include "workers.h"

namespace thimble::tools::train {

struct OptimizerOptions {
  bool muon = true;  // otherwise AdamW for all
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f;
  float momentum = 0.95f;     // Muon's
  float weight_decay = 0.1f;  // of matrices
  float clip = 1.0f;          // of the gradient's norm; 0: none
};

class Optimizer {
 public:
  Optimizer(const Parameters& parameters, const Kernels& kernels, const OptimizerOptions& options);

  // Step `number` (1, 2, ...) with that rate. Returns the gradient's norm before it was clipped.
  // The gradient's contents are lost.
  double step(const Workers& workers, uint64_t number, float rate, float* gradient, float* weights);

  // What a later step needs of those before.
  const Floats& first() const { return first_; }
  const Floats& second() const { return second_; }

  // What one thread needs for matrices of up to n floats, whose sides are at most so long.
  struct MuonRoom {
    MuonRoom(const Kernels& kernels, size_t n, uint32_t shorter, uint32_t longer);
    Floats update, turned, gram, mixed, packed, next, product;
  };

 private:
  // A matrix that Muon moves as one: q, k, v, gate and up apart.
  struct Block {
    size_t offset;
    uint32_t rows, cols;
  };
  struct Piece {  // of a tensor that AdamW moves
    size_t offset, n;
    bool is_decayed;
  };
  void adam(const Workers& workers, uint64_t number, float rate, float scale, const float* gradient,
            float* weights) const;
  void make_room(uint32_t threads);
  void muon(const Block& block, float rate, float scale, const float* gradient, float* weights,
            const MuonRoom& room) const;

  const Parameters& parameters_;
  const Kernels& kernels_;
  OptimizerOptions options_;
  std::vector<Block> blocks_;
  std::vector<Piece> pieces_;
  Floats first_, second_;
  std::vector<MuonRoom> rooms_;  // by thread
};

}  // namespace thimble::tools::train

#endif
