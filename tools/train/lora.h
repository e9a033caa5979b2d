// SPDX-License-Identifier: MIT
// Training a low-rank adapter (Hu et al. 2021): what is learned are A and B of W + (alpha / rank)
// B A, while the model's own weights stay. The network sees whole matrices, made anew for each
// step; the gradient of a matrix gives those of its A and B.
#ifndef THIMBLE_TOOLS_TRAIN_LORA_H
#define THIMBLE_TOOLS_TRAIN_LORA_H

#include <cstdint>
#include <string>
#include <vector>

#include "adapter.h"
#include "args.h"
#include "parameters.h"
#include "workers.h"

namespace thimble::tools::train {

struct LoraOptions {
  uint32_t rank = 0;                  // 0: no adapter, all weights are learned
  uint32_t matrices = kLoraMatrices;  // bits
  float alpha = 0;
};

// The options' names, for Args, and what they say. Throws WrongUsage.
std::vector<Option> lora_option_names();
LoraOptions parse_lora(const Args& args);

// Lines that say what decides the result, the model among them; none without an adapter.
std::string lora_settings(const LoraOptions& options, const thimble_model* model);

class Lora {
 public:
  // layout: the model's; its adapter will be stored by the same type.
  Lora(const Parameters& parameters, const LoraOptions& options, const WeightLayout& layout);

  // A and B of all layers, by kinds of kLoraA and kLoraB.
  const Parameters& factors() const { return factors_; }
  // A normal with 1 / sqrt(cols), so that A x is as large as x mostly; B 0.
  void initialize(uint64_t seed, float* factors) const;

  // parameters.size() floats: the model's own weights, which stay.
  float* base() { return base_.data(); }

  // weights = base + (alpha / rank) B A. `is_rounded`: with the numbers that the file will hold.
  void compose(const Workers& workers, const float* factors, bool is_rounded, float* weights);
  // The gradient of the factors, of that of the weights that were composed last. As if nothing had
  // been rounded (Bengio et al. 2013).
  void project(const Workers& workers, const float* gradient, float* out) const;

  // The adapter's rows for build_adapter: A, and (alpha / rank) B. The factors must stay.
  RowSource rows(const float* factors) const;

 private:
  struct Pair {
    const Tensor *whole, *a, *b;
  };
  void use(const Pair& pair, const float* factors, bool is_rounded) const;
  LoraOptions options_;
  WeightLayout layout_;
  float scale_;
  Parameters factors_;
  std::vector<Pair> pairs_;
  Floats base_, used_;  // used_: A and (alpha / rank) B of the last composition
};

}  // namespace thimble::tools::train

#endif
