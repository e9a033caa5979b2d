// SPDX-License-Identifier: MIT
// A model file on the disk, complete or not at all, with its self-test.
#ifndef THIMBLE_TOOLS_MODEL_WRITER_H
#define THIMBLE_TOOLS_MODEL_WRITER_H

#include <string>
#include <vector>

#include "image.h"

namespace thimble::tools {

struct WrittenModel {
  uint64_t bytes = 0;
  std::vector<SectionReport> reports;
};

// Writes build_image's file to `path`, shows its progress as `label`, and runs the model once for
// its self-test. `vocabulary` may be null. Throws Refused; what cannot become a model file is told
// of `source`, where it came from.
WrittenModel write_model(const std::string& path, const std::string& source,
                         const std::string& label, const ModelShape& shape,
                         const WeightLayout& layout, const Vocabulary* vocabulary,
                         const RowSource& rows);

}  // namespace thimble::tools

#endif
