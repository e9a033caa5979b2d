// SPDX-License-Identifier: MIT
// How a training run went, as one self-contained page: curves of the loss, of the held-out text, of
// learning rate and speed, all numbers as a table, and what the model wrote on the way.
#ifndef THIMBLE_TOOLS_TRAIN_LOSS_PAGE_H
#define THIMBLE_TOOLS_TRAIN_LOSS_PAGE_H

#include <cstdint>
#include <string>
#include <vector>

#include "page.h"
#include "training_log.h"

namespace thimble::tools::train {

struct TrainingSample {
  uint64_t step = 0;
  std::string text;  // may hold anything
};

struct TrainingRun {
  std::string name;                     // of the model
  std::string what;                     // a line: its shape, say
  std::vector<TrainingRow> rows;        // may be empty
  std::vector<TrainingSample> samples;  // in the order of their steps
};

// Curves of at most so many rows, and a table of at most so many: those with a held-out value are
// kept before others, which are taken evenly.
constexpr size_t kMostCurveRows = 2000, kMostTableRows = 200;

// Losses averaged over the rows up to each, those 1 % of the run back weighing 1 / e as much; in
// the first tenth, where the loss falls fast, over fewer. What is NaN counts for nothing.
std::vector<double> smoothed_losses(const std::vector<TrainingRow>& rows);

void write_loss_page(const TrainingRun& run, const TextSink& sink);

// The fixed parts of the page.
extern const char kLossStyle[];   // CSS
extern const char kLossBody[];    // HTML, behind the table of facts
extern const char kLossScript[];  // JavaScript; finds the numbers in the element #data

}  // namespace thimble::tools::train

#endif
