// SPDX-License-Identifier: MIT
// A model's tokenizer as GGUF has it.
#ifndef THIMBLE_TOOLS_EXPORT_TOKENIZER_H
#define THIMBLE_TOOLS_EXPORT_TOKENIZER_H

#include "gguf_writer.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// Adds the keys of tokenizer.ggml; without a tokenizer that there is none. Throws RefusedExport for
// a tokenizer that GGUF's readers would not work as this one does.
void export_tokenizer(const thimble_model& model, GgufWriter* out);

}  // namespace thimble::tools

#endif
