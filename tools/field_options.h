// SPDX-License-Identifier: MIT
// The options of `thimble convert` for fields of a model file that a checkpoint or its tokenizer
// leaves out or gets wrong. An option is one row of a table in field_options.cpp.
#ifndef THIMBLE_TOOLS_FIELD_OPTIONS_H
#define THIMBLE_TOOLS_FIELD_OPTIONS_H

#include <optional>
#include <vector>

#include "args.h"
#include "readers/reader.h"

namespace thimble::tools {

// What is said of a tokenizer; what is not stays as its file has it.
struct VocabularyOptions {
  std::optional<int32_t> bos_id, eos_id;  // -1: none
  std::optional<bool> add_space_prefix, add_bos, ignore_merges;
  std::optional<bool> has_fillers;  // for open_vocabulary
  std::optional<PreTokenizer> pre_tokenizer;
  bool any() const {
    return bos_id || eos_id || add_space_prefix || add_bos || ignore_merges || pre_tokenizer ||
           has_fillers;
  }
};

// The options, all with a value, behind a verb's own.
std::vector<Option> with_field_options(std::vector<Option> own);

// What they say. Throws WrongUsage, naming the option, what was found and what was expected.
ReadOptions read_options_of(const Args& args);
VocabularyOptions vocabulary_options_of(const Args& args);

// Puts it into a vocabulary. Throws WrongUsage for ids that it has not and for fields that only
// tokenizers of another kind have.
void amend(const VocabularyOptions& options, Vocabulary* vocabulary);

}  // namespace thimble::tools

#endif
