// SPDX-License-Identifier: MIT
// Which architecture of GGUF expresses a model, and what that leaves to say in numbers.
#ifndef THIMBLE_TOOLS_EXPORT_FAMILY_H
#define THIMBLE_TOOLS_EXPORT_FAMILY_H

#include <string>
#include <vector>

#include "thimble/thimble.h"

namespace thimble::tools {

struct ExportFamily {
  const char* name;             // general.architecture
  bool layer_norm, norm_after;  // of them the other is RMS, before blocks only
  bool gated;
  uint32_t activation;  // ActivationType
  bool qk_norm;
  bool learned_positions;  // otherwise rotary ones
  bool halves;             // rotary pairs are (i, i + width / 2), not neighbours
  bool joined_qkv;         // one matrix, as many key and value heads as heads
  uint32_t needs_biases;   // bits of Biases; of what the model lacks zeros are written
  uint32_t may_biases;     // that it can have all the same
  bool may_be_parallel;
  bool local_layers;    // five with a window and base 10 000 to one without, all scaled by dim
  bool rope_factors;    // scaled rotary positions pair by pair (rope_freqs.weight)
  bool needs_head;      // a tied head is written as a tensor of its own
  bool key_length;      // the head size need not be dim / heads
  bool partial_rotary;  // a part of the head may be rotated
};

// What a table of rotary frequencies was made from.
struct RopeFacts {
  uint32_t width = 0;          // dimensions of a head that are rotated: the first ones
  float theta = 0.0f;          // base; theta^(-2i / width) of ...
  float linear = 1.0f;         // ... positions that were divided by this, or
  std::vector<float> factors;  // ... frequencies that were, pair by pair; empty: by nothing
};

struct ExportShape {
  const ExportFamily* family;
  RopeFacts rope;             // of layers that see all positions
  uint32_t local_window = 0;  // of the other ones
};

// Throws RefusedExport, saying of each architecture what it has not.
ExportShape export_shape(const thimble_model& model);

}  // namespace thimble::tools

#endif
