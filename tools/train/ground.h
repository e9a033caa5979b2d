// SPDX-License-Identifier: MIT
// What a run stands on: shape, vocabulary, and weights to start from.
#ifndef THIMBLE_TOOLS_TRAIN_GROUND_H
#define THIMBLE_TOOLS_TRAIN_GROUND_H

#include <memory>
#include <string>

#include "device_shape.h"
#include "engine.h"
#include "options.h"
#include "text_records.h"

namespace thimble::tools::train {

struct Ground {
  ModelShape shape;
  Vocabulary vocabulary;
  std::unique_ptr<LoadedModel> from;     // null: weights start at random
  std::unique_ptr<LoadedModel> teacher;  // null: the text alone teaches
  uint32_t n_ctx = 0;  // of windows: --from may know more than memory has room for
  std::string told;    // lines on how vocabulary and shape were found, or ""
};

// As the options have it: a vocabulary is learnt of the records to train on, a shape is found for a
// device. Decided by options and texts alone; a teacher's vocabulary is what is learnt with, and
// its positions are enough. Throws Refused and WrongUsage.
Ground find_ground(const Options& options, const TextRecords& texts);

// The session that a shape is found for, and that --plan shows.
ShapeOptions shape_options(const Options& options, const ModelShape& shape);

}  // namespace thimble::tools::train

#endif
