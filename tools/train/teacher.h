// SPDX-License-Identifier: MIT
// A model whose expectations another one learns (Hinton et al. 2015).
#ifndef THIMBLE_TOOLS_TRAIN_TEACHER_H
#define THIMBLE_TOOLS_TRAIN_TEACHER_H

#include <cstdint>
#include <vector>

#include "network.h"
#include "thimble/thimble.h"
#include "workers.h"

namespace thimble::tools::train {

class Teacher {
 public:
  // For packs of up to `tokens` tokens. Throws Refused for a shape that cannot be trained.
  Teacher(const thimble_model& model, const Kernels& kernels, const Workers& workers,
          uint32_t threads, uint32_t tokens);

  static uint64_t bytes(const thimble_model& model, const Kernels& kernels, uint32_t threads,
                        uint32_t tokens);

  Network::Teacher of(uint32_t thread) { return {network_, packed_, &workspaces_[thread]}; }

 private:
  Parameters parameters_;
  Network network_;
  Floats weights_;
  PackedWeights packed_;
  std::vector<Network::Workspace> workspaces_;  // of each thread
};

}  // namespace thimble::tools::train

#endif
