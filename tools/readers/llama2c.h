// SPDX-License-Identifier: MIT
// The files of llama2.c (https://github.com/karpathy/llama2.c): checkpoints of version 0, 1 (f32)
// and 2 (int8), and tokenizer.bin.
#ifndef THIMBLE_TOOLS_READERS_LLAMA2C_H
#define THIMBLE_TOOLS_READERS_LLAMA2C_H

#include <memory>

#include "readers/input_file.h"
#include "readers/reader.h"

namespace thimble::tools {

// By the mark of versions 1 and 2. Version 0 has none: a file whose first numbers could all be its
// sizes, but for one of them.
bool is_llama2c(const InputFile& file);

Checkpoint open_llama2c(std::shared_ptr<const InputFile> file, const ReadOptions& options);

// The file does not say how many tokens it has, so it is read to its end and compared; has_fillers:
// ids behind its last token are fillers.
VocabularyFile open_llama2c_tokenizer(const InputFile& file, uint32_t vocab_size,
                                      bool has_fillers = false);

}  // namespace thimble::tools

#endif
