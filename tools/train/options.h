// SPDX-License-Identifier: MIT
// What `thimble train` was told.
#ifndef THIMBLE_TOOLS_TRAIN_OPTIONS_H
#define THIMBLE_TOOLS_TRAIN_OPTIONS_H

#include <string>
#include <vector>

#include "args.h"
#include "corpus.h"
#include "device.h"
#include "image.h"
#include "learn_vocabulary.h"
#include "text_records.h"
#include "trainer.h"

namespace thimble::tools::train {

struct Options {
  std::vector<std::string> texts;
  std::string output, tokenizer, from, teacher, log, page, checkpoint, f32_output;
  bool is_gpt2 = false, resume = false, plan_only = false;
  TextRecordsOptions records;
  VocabularyOptions vocabulary;  // to learn, where neither `tokenizer` nor `from` is given
  ModelShape shape;              // with a vocab_size of 0
  // What the shape has to fit; where it is given, of `shape` count n_ctx and rope_theta only.
  bool has_device = false;
  Device device;
  uint32_t n_ctx = 0;  // as it was given; 0: it was not
  uint64_t steps = 0;
  double minutes = 0, epochs = 0;  // one of the three is not 0
  double checkpoint_minutes = 5;
  uint64_t evaluate_every = 0;  // 0: some twenty times a run
  TrainerOptions trainer;       // batch_tokens 0: as usual_batch says
  std::string isa, precision;   // of the kernels; empty: the best of this machine
};

// The options' names, for Args.
std::vector<Option> option_names();

// Throws WrongUsage.
Options parse_options(const Args& args);

// Tokens a step, where nobody says: fewer for a short text, whose epoch would be few steps.
uint32_t usual_batch(uint64_t epoch_tokens);

// Lines that say what decides the result, beside the texts.
std::string settings_of(const Options& options, const ModelShape& shape);

}  // namespace thimble::tools::train

#endif
