// SPDX-License-Identifier: MIT
// From a configuration and its tensors to a model's shape. Configurations of all formats are
// brought to the names of Hugging Face's config.json before.
#ifndef THIMBLE_TOOLS_CHECKPOINT_SHAPE_H
#define THIMBLE_TOOLS_CHECKPOINT_SHAPE_H

#include "checkpoint_parts.h"
#include "readers/reader.h"
#include "value.h"

namespace thimble::tools {

struct CheckpointShape {
  ModelShape shape;
  uint32_t rotary_dim;  // dimensions of a head that are rotated
  RopePairs rope_pairs;
};

// Throws Refused, naming the file, for what is missing, contradicts itself or is not supported.
// A value that no file has is asked for by the name of its option.
// Throws Refused, naming `config_path` for what the configuration says.
CheckpointShape checkpoint_shape(CheckpointParts* parts, const Value& config,
                                 const std::string& config_path, const ReadOptions& options);

}  // namespace thimble::tools

#endif
