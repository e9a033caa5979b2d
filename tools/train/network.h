// SPDX-License-Identifier: MIT
// The decoder of src/forward.cpp on whole sequences, and its gradient.
#ifndef THIMBLE_TOOLS_TRAIN_NETWORK_H
#define THIMBLE_TOOLS_TRAIN_NETWORK_H

#include <cstdint>
#include <string>
#include <vector>

#include "kernels.h"
#include "packed_weights.h"
#include "parameters.h"

namespace thimble::tools::train {

// Tokens [begin, begin + n) of a pack, at positions 0 to n - 1. None sees another sequence's.
struct Sequence {
  uint32_t begin, n;
};

// Sequences side by side, which are computed together.
struct Pack {
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;  // what follows each token; -1: not asked for
  std::vector<Sequence> sequences;
  uint32_t n_targets() const;
};

// What the engine's int8 does to numbers, done in float: the gradient passes as if it had not
// been (Bengio et al. 2013).
struct Int8Steps {
  bool activations = false;  // what matrices meet
  uint32_t group = 32;       // 0: whole rows
  bool cache = false;        // keys, values and queries
};

class Network {
 public:
  // Throws Refused for a shape that cannot be trained.
  Network(const Parameters& parameters, const Kernels& kernels);

  // Memory of one thread for packs of up to `tokens` tokens.
  class Workspace {
   public:
    Workspace(const Network& network, uint32_t tokens);
    static size_t floats(const ModelShape& shape, uint32_t tokens);

   private:
    friend class Network;
    float* take(size_t n);
    Floats block_;
    size_t used_ = 0;
    std::vector<float*> x_, mid_, qkv_, context_, log_sums_, up_;  // by layer; x_ one more
    float *normed_, *block_out_, *active_, *dqkv_, *dx_, *dcontext_, *logits_, *product_,
        *attention_;
  };

  // A model of the same vocabulary, as one thread has it.
  struct Teacher {
    const Network& network;
    const PackedWeights& weights;
    Workspace* workspace;
  };

  struct Training {
    float dropout = 0;
    uint64_t seed = 0;  // of the dropout, the pack's own
    float scale = 1;    // of the gradient: of the sum of all targets' losses
    float* gradient;    // parameters.size(); is added to
    // What it expects at each target is to be learnt, in place of the target.
    const Teacher* teacher = nullptr;
  };

  // The sum of -ln softmax(target) over all targets, or of the cross entropies with what a teacher
  // expects, in nats. With `training` the gradient, too.
  double run(const PackedWeights& weights, const Pack& pack, Workspace* workspace,
             const Training* training = nullptr, const Int8Steps& steps = {}) const;

  const Parameters& parameters() const { return parameters_; }

 private:
  struct Layer {
    const Tensor *norm, *qkv, *qkv_bias, *output, *output_bias, *feed_forward_norm, *up, *up_bias,
        *down, *down_bias;
    uint32_t window, rope;
  };
  struct Pass;                        // what the functions below share
  void forward(const Pass& p) const;  // up to what the head meets, in normed_
  void logits(const Pass& p, uint32_t first, uint32_t rows) const;
  void embed(const Pass& p) const;
  void attention_block(const Pass& p, uint32_t layer) const;
  void feed_forward_block(const Pass& p, uint32_t layer) const;
  double head(const Pass& p) const;
  double loss(const Pass& p, const Pass* taught, uint32_t first, uint32_t rows) const;
  void feed_forward_backward(const Pass& p, uint32_t layer) const;
  void attention_block_backward(const Pass& p, uint32_t layer) const;
  void embed_backward(const Pass& p) const;

  void normed_input(const Pass& p, const Tensor& norm, const float* x) const;
  void norm_backward(const Pass& p, const Tensor& norm, const float* x) const;
  void multiply(const Pass& p, float* out, const float* x, const Tensor& matrix,
                const Tensor* bias) const;
  void input_backward(const Pass& p, float* dx, const float* dy, const Tensor& matrix) const;
  void weights_backward(const Pass& p, const float* dy, const float* x, const Tensor& matrix,
                        const Tensor* bias) const;
  void rotate(const Pass& p, float* qkv, uint32_t rope, bool inverse) const;
  void round_input(const Pass& p, float* x, uint32_t n) const;
  void round_cache(const Pass& p, float* qkv) const;
  const float* branch_gradient(const Pass& p, uint32_t layer, uint32_t which) const;
  AttentionCall attention_call(const Pass& p, uint32_t layer, const Sequence& sequence) const;

  const Parameters& parameters_;
  const ModelShape& shape_;
  const Kernels& kernels_;
  std::vector<Layer> layers_;
  const Tensor *embedding_, *positions_, *final_norm_, *head_;
  std::vector<float> rope_;  // (n_ropes, n_ctx, 2 * head_dim)
  uint32_t q_width_, kv_width_, up_width_, head_rows_;
  float score_scale_;
};

}  // namespace thimble::tools::train

#endif
