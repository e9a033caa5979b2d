// SPDX-License-Identifier: MIT
// A model before its weights become 4 bits, to learn from it what its matrices meet.
#ifndef THIMBLE_TOOLS_DRAFT_H
#define THIMBLE_TOOLS_DRAFT_H

#include <memory>
#include <string>
#include <vector>

#include "calibration.h"
#include "files.h"
#include "quantize_q4.h"
#include "readers/reader.h"

namespace thimble::tools {

// A temporary file beside the output, in int8, whose activations are nearly the checkpoint's. What
// becomes 4 bits does so here too, which int8 shows exactly, so that a layer is rounded for the
// inputs that the layers before it will really give (as GPTQ's authors do, Frantar et al. 2022). It
// is gone at the end.
class Draft : public Q4Guide {
 public:
  // text: a file to calibrate with; empty: texts that the model writes itself.
  Draft(const std::string& output, const Checkpoint& checkpoint, const Vocabulary* vocabulary,
        const std::string& text);

  const Moments* moments(SectionKind kind, uint32_t layer) override;
  void rounded(const SectionEntry& section, uint32_t row, const int8_t* levels,
               const uint16_t* scales) override;

 private:
  void write(uint64_t offset, const void* data, size_t bytes);

  OutputFile output_;
  std::unique_ptr<MappedFile> file_;
  thimble_model model_;
  std::vector<int8_t> tile_;  // rows of the draft's tile so far, and their scales
  std::vector<uint16_t> scales_;
  std::unique_ptr<Calibration> calibration_;
};

}  // namespace thimble::tools

#endif
