// SPDX-License-Identifier: MIT
// A model before its weights become 4 bits, to learn from it what its matrices meet.
#ifndef THIMBLE_TOOLS_DRAFT_H
#define THIMBLE_TOOLS_DRAFT_H

#include <memory>
#include <string>

#include "calibration.h"
#include "files.h"
#include "readers/reader.h"

namespace thimble::tools {

// A temporary file beside the output, in int8, whose activations are nearly the checkpoint's. It is
// gone at the end.
class Draft {
 public:
  // text: a file to calibrate with; empty: texts that the model writes itself.
  Draft(const std::string& output, const Checkpoint& checkpoint, const Vocabulary* vocabulary,
        const std::string& text);

  Calibration& calibration() { return *calibration_; }

 private:
  OutputFile output_;
  std::unique_ptr<MappedFile> file_;
  thimble_model model_;
  std::unique_ptr<Calibration> calibration_;
};

}  // namespace thimble::tools

#endif
