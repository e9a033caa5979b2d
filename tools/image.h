// SPDX-License-Identifier: MIT
// Builds a model file, section by section, from anything that can give rows of weights.
#ifndef THIMBLE_TOOLS_IMAGE_H
#define THIMBLE_TOOLS_IMAGE_H

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "aligned_block.h"
#include "error.h"
#include "format.h"
#include "quantize_q4.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// What one layer does differently from others.
struct LayerShape {
  uint32_t window = 0;  // positions that a query sees, its own included; 0: all
  uint32_t rope = 0;    // which of the tables of rotary frequencies it uses
};

// The hyper-parameters of a decoder. The defaults are Llama's.
struct ModelShape {
  uint32_t dim = 0, hidden_dim = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
  uint32_t vocab_size = 0, n_ctx = 0;
  NormType norm = kNormRms;
  float norm_eps = 1e-5f;
  bool norm_after = false;  // a second norm on what each block gives, before it is added
  bool parallel = false;    // both blocks of a layer start from the same residual stream
  uint32_t biases = 0;      // bits of Biases
  bool qk_norm = false;     // rms_norm over each head of q and k, before the rotation
  bool learned_positions = false;
  ActivationType activation = kActivationSilu;
  bool gated = true;         // act(gate) * up instead of act(up)
  float score_scale = 0.0f;  // of q . k; 0: 1 / sqrt(head_dim)
  float embedding_scale = 1.0f;
  float logit_scale = 1.0f;
  float logit_cap = 0.0f;  // logits = cap * tanh(logits / cap); 0: as they are
  float rope_theta = 10000.0f;
  // Tables of rotary frequencies, each (head_dim / 2) turns a position as fractions of 2^64; 0
  // where a pair is not rotated. Empty: one table of rope_theta over the whole head.
  std::vector<std::vector<uint64_t>> ropes;
  std::vector<LayerShape> layers;  // empty: all see everything and use the first table
  bool tied_head = true;
};

// Parameters that were trained: a tied head counts once, tables do not count.
uint64_t count_parameters(const ModelShape& shape);

// How weights are stored.
struct WeightLayout {
  WeightType type = kWeightF32;
  uint32_t group = 0;  // q8, q4: 32, 64, 128, or 0 for the whole row
  uint32_t row_tile = 16;
  uint32_t q8_matrices = 0;  // q4: MatrixBit of those that are stored as q8
  Q4Guide* guide = nullptr;  // q4; none: inputs are not known
};

// A source of weights by the engine's own names: fills `out` (cols floats) with row `row` of a
// section as FORMAT.md defines it (so the caller joins q, k and v, and gate and up, and brings
// rotary pairs to the engine's convention). Vectors are row 0.
using RowSource =
    std::function<void(SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out)>;

// Tokens of a vocabulary, ready to become the file's tables.
struct Vocabulary {
  TokenizerType kind = kTokenizerScoredBpe;
  PreTokenizer pre_tokenizer = kPreTokenizerNone;
  std::vector<std::string> texts;  // by token id; of padding empty
  // The higher, the earlier a pair merges into it; -FLT_MAX: none does. Byte-level BPE: whole
  // numbers, negative where none does.
  std::vector<float> scores;
  std::vector<uint8_t> types;    // TokenType
  std::vector<uint16_t> splits;  // byte-level BPE: kTokenSplits
  int32_t bos_id = -1, eos_id = -1, end_of_turn_id = -1;
  uint32_t n_tokens = 0;  // those behind are padding; 0: all are tokens
  bool add_space_prefix = false;
  bool ignore_merges = false;      // a word that is a token is taken as it is
  bool add_bos = true;             // prompts start with bos_id
  bool marks_whole = true;         // the file's types say kTokenWhole where that is so
  std::vector<std::string> turns;  // none, or kTurnTextCount texts around turns
  std::string chat_template;       // the tokenizer's own, in Jinja; where turns come from
  std::string note;                // what differs from what the tokenizer's own program does
};

struct SectionReport {  // what became of one section of q8 or q4 weights
  SectionKind kind;
  uint32_t layer;
  double worst_error;  // max |w - stored| / max |w| of the tensor
  double mean_error;   // mean |w - stored| / mean |w|
};

// What a section holds, in words, for messages.
const char* section_name(uint32_t kind);

// What was handed in cannot become a model file. Names no file: the caller knows which one it was.
struct RefusedModel : Refused {
  using Refused::Refused;
};

// Where bytes go; calls come in ascending offset order, but for the header (offset 0), which comes
// last. With a self-test its hashes follow once more, and the header again.
using Sink = std::function<void(uint64_t offset, const void* data, size_t bytes)>;

// The self-test that a file carries: its prompt, and what computes (2, n_layers + 1) hashes once
// all else has been written. Without a prompt there is none.
struct SelfTestPlan {
  std::vector<int32_t> tokens;
  std::function<std::vector<uint64_t>()> hashes;
};

// A prompt of up to 8 tokens for any model: the beginning-of-text token, then ids all over the
// vocabulary.
std::vector<int32_t> self_test_prompt(const ModelShape& shape, const Vocabulary* vocabulary);

// What a complete image gives, by running it on the reference kernels, of a large one on this
// machine's own, which give the same bits. `between` as in run_finite. Throws RefusedModel, saying
// where, if some result within it is no finite number.
std::vector<uint64_t> self_test_hashes(const thimble_model& model,
                                       const std::function<void()>& between = {});

// Bytes of a section that pad rows to whole groups, and the rows themselves to whole tiles.
uint64_t padding_within(const SectionEntry& section);

// The length of such an image, and how much of it is padding within weights. Throws RefusedModel.
struct ImageSize {
  uint64_t bytes = 0, padding = 0;
};
ImageSize image_size(const ModelShape& shape, const WeightLayout& layout,
                     const Vocabulary* vocabulary);

// Such an image's header and section table, opened as a model: all that plan_flash and plan_ram
// read of a model whose layers are alike. Nothing lies behind them, whatever image_bytes says.
struct ImageOutline {
  AlignedBlock block;
  thimble_model model;
};
// With a self-test. Throws RefusedModel; also for windows and several ropes, whose table is
// missing.
ImageOutline outline_image(const ModelShape& shape, const WeightLayout& layout,
                           const Vocabulary* vocabulary);

// Writes the whole image to `sink`, holding one row tile of weights at a time. `vocabulary` may be
// null. `progress` (may be empty) gets the share that is done, 0 to 1. Throws RefusedModel when
// shape, layout and vocabulary do not fit together, or a weight or what the self-test gives is not
// finite.
std::vector<SectionReport> build_image(const ModelShape& shape, const WeightLayout& layout,
                                       const Vocabulary* vocabulary, const RowSource& rows,
                                       const Sink& sink,
                                       const std::function<void(double)>& progress,
                                       const SelfTestPlan& self_test = {});

// The same, in memory, with or without a self-test.
struct ImageInMemory {
  AlignedBlock block;
  size_t bytes = 0;
  const uint8_t* data() const { return block.data(); }
};
ImageInMemory build_image_in_memory(const ModelShape& shape, const WeightLayout& layout,
                                    const Vocabulary* vocabulary, const RowSource& rows,
                                    bool with_self_test = false);

}  // namespace thimble::tools

#endif
