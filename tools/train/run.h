// SPDX-License-Identifier: MIT
// A run from its first step, or from its checkpoint, to the model file.
#ifndef THIMBLE_TOOLS_TRAIN_RUN_H
#define THIMBLE_TOOLS_TRAIN_RUN_H

#include "corpus.h"
#include "options.h"
#include "trainer.h"

namespace thimble::tools::train {

// Trains as the options say, tells on stderr how it goes, saves now and then, and writes the model.
// With options.trainer.lora the file is an adapter of `base`, which may be null otherwise. Returns
// the exit code: after an interruption that of the signal. Throws Refused.
int run(const Options& options, const ModelShape& shape, const Vocabulary& vocabulary,
        const Corpus& corpus, Trainer* trainer, const thimble_model* base);

}  // namespace thimble::tools::train

#endif
