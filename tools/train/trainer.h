// SPDX-License-Identifier: MIT
// Step by step from a corpus to weights.
//
// The packs of a batch are dealt to lanes. A lane has a gradient of its own, to which its packs add
// one after the other, and the lanes' gradients are summed in their order. So it does not matter
// which thread took which lane, nor how many threads there are: there are 8 lanes, or as many as
// threads, if those are more or 8 gradients would take too much memory. Kernels differ from
// processor to processor, and with them the bits.
#ifndef THIMBLE_TOOLS_TRAIN_TRAINER_H
#define THIMBLE_TOOLS_TRAIN_TRAINER_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "corpus.h"
#include "lora.h"
#include "network.h"
#include "optimizer.h"
#include "rounding.h"
#include "teacher.h"
#include "workers.h"

namespace thimble::tools::train {

struct TrainerOptions {
  uint64_t seed = 1;
  uint32_t threads = 1;
  uint32_t n_ctx = 0;  // of windows, at most the model's
  uint32_t batch_tokens = 16384;
  float rate = 0.003f;
  uint64_t warm_up = 100;    // steps
  double warm_up_share = 0;  // of the steps, at most; 0: any
  double decay_share = 1.0;  // of the steps in which the rate falls to zero, the last ones
  float dropout = 0.0f;
  float average = 0.0f;        // of the weights' running average; 0: none
  double quantized_share = 0;  // of the steps, the last ones
  // With which weights settle on 4 bits' levels (Rounding), of the highest rate with rounded ones:
  // they do so as the rate falls towards it. With 0.5 it is before they have found their levels.
  float settling = 0;
  WeightLayout layout;  // of the model that is to be written
  OptimizerOptions optimizer;
  LoraOptions lora;
  const thimble_model* teacher = nullptr;  // of the same vocabulary; must stay
};

struct StepReport {
  double loss = 0;  // nats a target; with a teacher the cross entropy with what it expects
  double norm = 0;  // of the gradient
  float rate = 0;
  uint32_t tokens = 0;
};

// Memory that a run takes, in bytes.
struct TrainerMemory {
  uint64_t weights, gradients, optimizer, activations, teacher;
  uint64_t rest;  // at most: the program, a model that writes a sample
  uint64_t total() const { return weights + gradients + optimizer + activations + teacher + rest; }
};

class Trainer {
 public:
  Trainer(const Parameters& parameters, const Kernels& kernels, const Corpus& corpus,
          const TrainerOptions& options);

  static TrainerMemory memory(const Parameters& parameters, const Kernels& kernels,
                              const TrainerOptions& options);

  // The model's weights: what to start from, and under an adapter stays.
  float* weights() { return lora_ ? lora_->base() : weights_.data(); }
  RunState& state() { return state_; }
  bool is_quantized() const;

  StepReport step();
  // The sum over all held-out targets, in nats, with the weights that would ship now.
  double evaluate();

  // The weights in float32, the running average if there is one.
  RowSource rows();
  // The same as a model file of options.layout has to say them.
  RowSource rows_to_ship();
  RowSource adapter_rows() const { return lora_->rows(result()); }

  void save(const std::string& path, const std::string& settings) const;
  void load(const std::string& path, const std::string& settings);

 private:
  static uint32_t lanes_for(const Parameters& parameters, uint32_t threads);
  uint32_t pack_tokens() const;
  // What is learned: the model's parameters, or the adapter's.
  const Parameters& learned() const { return lora_ ? lora_->factors() : parameters_; }
  const float* result() const { return average_.size() > 0 ? average_.data() : weights_.data(); }
  std::vector<const Floats*> blocks() const;
  Int8Steps int8_steps() const;
  uint64_t first_quantized_step() const;
  double warm_up_steps() const;
  float rate_at(uint64_t step) const;
  void prepare(const float* weights);
  std::vector<std::vector<size_t>> deal(const std::vector<Pack>& packs) const;

  const Parameters& parameters_;
  const Kernels& kernels_;
  const Corpus& corpus_;
  TrainerOptions options_;
  Workers workers_;
  Network network_;
  std::unique_ptr<Teacher> teacher_;  // null: the text's own tokens are learnt
  std::unique_ptr<Lora> lora_;        // null: the weights themselves are learned
  Optimizer optimizer_;
  Batches batches_;
  RunState state_;
  PackedWeights packed_;
  Rounding rounding_;
  Floats weights_, average_;   // of what is learned
  Floats rounded_;             // the model's weights as they are computed with
  Floats projected_;           // the gradient of an adapter
  std::vector<Floats> lanes_;  // gradients
  std::vector<Network::Workspace> workspaces_;
};

}  // namespace thimble::tools::train

#endif
