// SPDX-License-Identifier: MIT
// The largest shape of a new model that fits a device, by what `thimble plan` says of it.
#ifndef THIMBLE_TOOLS_TRAIN_DEVICE_SHAPE_H
#define THIMBLE_TOOLS_TRAIN_DEVICE_SHAPE_H

#include <cstdint>
#include <string>

#include "device.h"
#include "image.h"
#include "plan.h"

namespace thimble::tools::train {

enum class ShapeFamily {
  kLlama,  // rms_norm, rotary positions, SwiGLU, grouped queries
  kGpt2    // layer_norm, learned positions, GELU, biases, a key/value head for each head
};

struct ShapeOptions {
  ShapeFamily family = ShapeFamily::kLlama;
  WeightLayout layout = {kWeightQ8, 32, 4};
  // Of the session. n_ctx is the model's own context, too.
  uint32_t n_ctx = 256, n_batch = 1, n_candidates = 40;
  uint32_t kv_type = THIMBLE_KV_Q8;
  uint64_t most_parameters = 0;  // 0: as many as fit
};

// "dim 128, hidden 352, 5 layers, 8 heads of 16 (4 key/value), context 512"
std::string shape_text(const ModelShape& shape);

// Makes a shape, whose sizes are set and all else as it was, one of that family.
void set_family(ShapeFamily family, ModelShape* shape);

// What a model of that shape, with a self-test, and a session on it take.
struct ShapeNeeds {
  FlashPlan flash;
  RamPlan ram;
};
ShapeNeeds needs_of(const ModelShape& shape, const Vocabulary* vocabulary,
                    const ShapeOptions& options);

// The shapes that are tried:
// - dim: a multiple of 32, of the group where that is longer, or of 16 where rows need not be
//   padded to groups; heads of 64 if there are six or more, else of 32, else of 16
// - n_layers: 2 to 24, with dim / n_layers from 16 to 40
// - hidden_dim: 8/3 to 10/3 of dim (GPT-2: 4 to 5), as much as fits
// - n_kv_heads: a divisor of n_heads up to half of them, as many as the RAM holds (GPT-2:
//   n_heads)
// Of those within 3 % of the most parameters, the one with dim / n_layers nearest to 24 is chosen.
// Below 1 B parameters deep and thin models learn more than wide ones of the same size (MobileLLM:
// Liu et al. 2024), but each layer costs norms, cache and time.
constexpr uint32_t kFewestLayers = 2, kMostLayers = 24;
constexpr uint32_t kLeastAspect = 16, kBestAspect = 24, kMostAspect = 40;

struct DeviceShape {
  ModelShape shape;
  ShapeNeeds needs;
  uint64_t n_params = 0;
  uint64_t flash_left = 0, ram_left = 0;  // bytes; 0 where the device's are not given
  std::string text;                       // two lines: what was chosen, and why
};

// Flash or RAM that is 0 limits nothing. `vocabulary` may be null. Throws Refused, saying what is
// too small and by how much, and WrongUsage if nothing limits the number of parameters.
DeviceShape shape_for(const Device& device, const Vocabulary* vocabulary, uint32_t vocab_size,
                      const ShapeOptions& options);

// Stands for a vocabulary that is still to be learnt, whose texts have so many bytes together, 1 to
// 4096 each.
Vocabulary vocabulary_of_size(TokenizerType kind, uint32_t n_tokens, uint64_t text_bytes);

}  // namespace thimble::tools::train

#endif
