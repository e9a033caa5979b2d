// SPDX-License-Identifier: MIT
// Model families: what their configurations mean and what their tensors are called. A family is one
// row of the table in families.cpp.
#ifndef THIMBLE_TOOLS_FAMILIES_H
#define THIMBLE_TOOLS_FAMILIES_H

#include <string>
#include <vector>

#include "image.h"
#include "readers/tensors.h"
#include "rope_pairs.h"

namespace thimble::tools {

// What a tensor is for. A weight's bias follows it.
enum class Part {
  kEmbedding,
  kPositions,
  kAttentionNorm,
  kAttentionNormBias,
  kQ,
  kQBias,
  kK,
  kKBias,
  kV,
  kVBias,
  kQkv,
  kQkvBias,
  kQNorm,
  kKNorm,
  kOutput,
  kOutputBias,
  kAttentionPostNorm,
  kFeedForwardNorm,
  kFeedForwardNormBias,
  kGate,
  kGateBias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
  kFeedForwardPostNorm,
  kFinalNorm,
  kFinalNormBias,
  kHead,
  kRopeDivisors,  // of a GGUF file
  kCount
};

// Which kinds of checkpoints have a family's names.
enum class Naming { kHuggingFace, kGguf, kPyTorch };

// How q, k and v lie in a joined matrix: q's rows, k's, v's; or for each head its q, k and v.
enum class QkvOrder { kBlocks, kHeads };

// What a configuration says of windows.
enum class WindowRule { kNone, kAll, kQwen, kLayerTypes, kAttentionLayers };

struct PartName {
  Part part;
  const char*
      name;  // without ".weight" and ".bias"; {} is the layer; "!" ahead: the name is whole,
             // "^": beside the model, not within it
};

struct Family {
  const char* name;  // "Llama"
  Naming naming;
  const char* architectures;  // as configurations spell them, separated by spaces; "": by its names
  NormType norm;
  ActivationType activation;  // where the configuration says none
  bool gated;
  bool tied;  // where the configuration does not say
  RopePairs rope_pairs;
  bool transposed;  // matrices lie (in, out): GPT-2's Conv1D
  QkvOrder qkv_order;
  WindowRule windows;
  bool has_positions;  // learned ones, and no rotation
  bool is_gemma;       // norms are 1 + w (not in GGUF), embeddings times sqrt(dim), local rope base
  float score_scale;   // 0: 1 / sqrt(head_dim)
  std::vector<PartName> names;
};

const std::vector<Family>& families();

// The family of that name in a configuration; null if there is none.
const Family* find_family(Naming naming, const std::string& architecture);

// All architectures known, separated by commas.
std::string known_architectures(Naming naming);

// A part's name in a checkpoint, without a prefix; empty if the family has none. Some families have
// more than one: `nth` counts them.
std::string part_name(const Family& family, Part part, uint32_t layer, size_t nth = 0);

}  // namespace thimble::tools

#endif
