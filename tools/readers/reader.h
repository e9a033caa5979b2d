// SPDX-License-Identifier: MIT
// Checkpoints and vocabularies of every supported format, under one interface. A format is one file
// here and one line in reader.cpp.
#ifndef THIMBLE_TOOLS_READERS_READER_H
#define THIMBLE_TOOLS_READERS_READER_H

#include <optional>
#include <string>

#include "image.h"
#include "rope_pairs.h"
#include "value.h"

namespace thimble::tools {

struct Checkpoint {
  std::string description;  // format, version and types, in words
  ModelShape shape;
  RowSource rows;                        // reads from the file, which it keeps open
  RopePairs rope_pairs;                  // how the file has them; `rows` gives neighbours
  std::optional<Vocabulary> vocabulary;  // of formats that carry one
  std::string vocabulary_path;           // or where it lies beside the weights; may be empty
  std::string note;                      // what is odd about it; may be empty
};

// What a file leaves out or gets wrong.
struct ReadOptions {
  std::optional<RopePairs> rope_pairs;  // instead of what the format implies
  std::optional<uint32_t> n_heads, n_kv_heads, n_ctx;
  std::optional<ActivationType> activation;
  std::optional<float> rope_theta, norm_eps, score_scale, embedding_scale, logit_scale, logit_cap;
  std::optional<uint32_t> rotary_dim, window;  // window 0: all positions
  std::optional<bool> parallel;
  std::optional<Value> rope_scaling;  // a dictionary as in config.json
};

// Finds out the format and reads all but the weights. Throws Refused, naming the file, what was
// found and what was expected.
Checkpoint open_checkpoint(const std::string& path, const ReadOptions& options);

struct VocabularyFile {
  std::string description;
  Vocabulary vocabulary;
};

// A tokenizer file for a model of that many tokens (0: of any number). Ids behind its last token
// are fillers; where the file does not tell whether it is whole, only if has_fillers says so.
// Throws Refused as above.
VocabularyFile open_vocabulary(const std::string& path, uint32_t vocab_size,
                               bool has_fillers = false);

}  // namespace thimble::tools

#endif
