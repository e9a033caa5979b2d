// SPDX-License-Identifier: MIT
// The rows of a model file's sections, from the tensors of a checkpoint.
#ifndef THIMBLE_TOOLS_CHECKPOINT_ROWS_H
#define THIMBLE_TOOLS_CHECKPOINT_ROWS_H

#include <memory>

#include "checkpoint_parts.h"
#include "checkpoint_shape.h"

namespace thimble::tools {

// Finds every tensor and checks its shape, and that none is left over; then reads nothing until
// rows are asked for. Throws Refused.
RowSource checkpoint_rows(CheckpointParts parts, const CheckpointShape& shape);

}  // namespace thimble::tools

#endif
