// SPDX-License-Identifier: MIT
// thimble convert: a checkpoint of any supported format to one flat file.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "args.h"
#include "chat_template.h"
#include "draft.h"
#include "error.h"
#include "field_options.h"
#include "files.h"
#include "image.h"
#include "model_writer.h"
#include "readers/reader.h"
#include "size_option.h"
#include "size_text.h"
#include "targets.h"
#include "verbs.h"
#include "vocabulary.h"
#include "weight_types.h"

namespace thimble::tools {

const char kConvertHelp[] =
    R"(usage: thimble convert INPUT -o OUT [options]

Converts a trained checkpoint to one flat model file, ready to be linked into firmware. The input is
read in pieces; OUT appears when it is complete. The finished model is run once on a few tokens, and
the file carries what it gave: the self-test, by which a chip proves that it computes the same. A
model that then gives numbers of 2^50 or more, or none at all, is refused with the layer that does.

INPUT is recognised by its content:
  a Hugging Face folder (config.json with safetensors, shards, or pytorch_model.bin) or one of its
    safetensors: Llama, Mistral, Qwen 2 and 3, GPT-2, GPT-Neo, GPT-NeoX, Gemma 3 (text)
  a PyTorch checkpoint (.pth, .pt): a state dict, alone or in a training checkpoint, of the book's
    GPTModel, nanoGPT, minGPT, llama2.c or Meta's Llama
  a GGUF file: llama, qwen2, qwen3, gpt2, gptneox, gemma3, in any of 15 types
  a llama2.c checkpoint (.bin, version 0, 1 or 2)

What goes in
  -o OUT               the model file to write
  --tokenizer FILE     the vocabulary, or a folder with it: tokenizer.json, tokenizer.model, vocab.json
                       with merges.txt, .tiktoken, tokenizer.bin, meta.pkl, a GGUF file, a list of
                       characters; 'none' for a model of token ids only; default: the input's own
  --ctx N              longest context, 1 to the checkpoint's; default: the checkpoint's

What a checkpoint leaves out or gets wrong; default: as its file says, or its kind of model
  --heads N            query heads
  --kv-heads N         key/value heads
  --activation NAME    silu, gelu (by erf), gelu_new (by tanh) or relu
  --norm-eps E         what is added to the mean of squares in each norm
  --parallel WHICH     yes or no: whether both blocks of a layer start from the same numbers
  --window N|none      positions that a query sees, in the layers that have a window, or in all
  --score-scale S      what q . k is multiplied by; otherwise 1 / sqrt(size of a head)
  --embedding-scale S  what embeddings are multiplied by
  --logit-scale S      what logits are multiplied by
  --logit-cap C|none   logits become C tanh(logits / C)
  --rope-theta T       base of the rotary frequencies; otherwise 10000
  --rotary-dim N       dimensions of a head that are rotated
  --rope-scaling JSON  as in config.json: {"rope_type":"llama3","factor":32,"low_freq_factor":1,
                       "high_freq_factor":4,"original_max_position_embeddings":8192}
  --rope-pairs WHICH   dimensions that the checkpoint rotates together: neighbours (2i, 2i+1) or
                       halves (i, i + half of what is rotated)
  --bos ID, --eos ID   beginning and end of a text; -1: none
  --add-bos WHICH      yes or no: whether prompts start with the beginning of a text
  --space-prefix WHICH yes or no: whether a text is encoded with a space before it
  --pre-tokenizer NAME how byte-level texts are cut into words: gpt2, llama3, qwen2 or smollm
  --ignore-merges WHICH
                       yes or no: whether a word that is a token is taken as it is
  --fillers WHICH      yes or no: whether a tokenizer.bin of fewer tokens than the model's is whole

What a chat is made of; default: as the model's own chat template, if that is one of these
  --turns NAME         chatml, llama3, gemma, zephyr, mistral, llama2, or none
  --user-open TEXT, --user-close TEXT, --assistant-open TEXT, --assistant-close TEXT,
  --system-open TEXT, --system-close TEXT
                       what stands around a turn, instead of the template's; \n is a line break.
                       Tokens such as <|im_start|> are meant where they are spelled out
  --end-of-turn TOKEN  the text of the token that ends an answer; default: the end of a text

How weights are stored
  --weights TYPE       f32; q8: int8 in groups that share a scale (the default); q4: 4 bits, rounded
                       so that their products with what the model computes stay close; mixed: q4,
                       and q8 where 8 bits buy most within --fit
  --group N            q8, q4: weights that share a scale, 32, 64, 128 or row; rows are padded to
                       whole groups; default 32
  --calibrate TEXT     q4, mixed: a text as the model will meet, such as a part of what it was trained
                       on, some 100 KB, records between <|endoftext|>; default: what it writes itself
  --fit SIZE           mixed: the largest model file: 700000, 512K, 1M. Whole kinds of matrices get 8
                       bits: the embedding and head first, then q, k, v, down, output, gate and up

What it is made for; neither changes one bit of a result
  --for TARGET         rows of a weight tile that suit a target; default host. TARGET is one of
                       host, x86, x86-64, avx2, avx512, aarch64, neon, arm, arm-linux, cortex-m0,
                       cortex-m3, cortex-m4, cortex-m7, cortex-m33, cortex-m55, riscv, riscv32,
                       riscv64
  --tile N             the rows themselves: 1, 2, 4, 8 or 16

Examples
  thimble convert SmolLM2-135M-Instruct/ -o smollm2.thimble
  thimble convert model.pth --heads 12 --tokenizer gpt2/ -o model.thimble
  thimble convert stories15M.bin --tokenizer tokenizer.bin -o stories15M.thimble
  thimble convert story.bin --tokenizer tokenizer.bin --for cortex-m4 --ctx 128 -o story-m4.thimble
  thimble convert story.bin --tokenizer tokenizer.bin --weights q4 --calibrate stories.txt -o s.thimble
  thimble convert model.bin --weights f32 -o model-f32.thimble
)";

namespace {

struct ConvertOptions {
  std::string input, output, tokenizer;
  WeightLayout layout;
  ReadOptions read;
  VocabularyOptions vocabulary;
  TurnOptions turns;
  std::string calibration;  // a text file; empty: the model's own texts
  uint64_t fit = 0;         // mixed: bytes of the file

  // An option that speaks of tokens; null if none is given.
  const char* token_option() const {
    return vocabulary.bos_id             ? "option '--bos'"
           : vocabulary.eos_id           ? "option '--eos'"
           : vocabulary.add_space_prefix ? "option '--space-prefix'"
           : vocabulary.any()            ? "an option of tokenizers"
           : turns.any()                 ? "a chat"
                                         : nullptr;
  }
};

[[noreturn]] void wrong_value(const char* option, const std::string& found, const char* expected) {
  throw WrongUsage(std::string("option '") + option + "' is '" + found + "', expected " + expected);
}

WeightLayout parse_layout(const Args& args) {
  WeightLayout layout;
  const std::string weights = args.text("--weights", "q8");
  const bool is_mixed = weights == "mixed";
  const WeightTypeName* type = is_mixed ? &weight_type(kWeightQ4) : find_weight_type(weights);
  if (!type) wrong_value("--weights", weights, "f32, q8, q4 or mixed");
  layout.type = type->type;
  if (!type->has_scales && args.has("--group")) {
    throw WrongUsage("option '--group' needs '--weights q8' or q4: f32 weights have no scales");
  }
  if (layout.type != kWeightQ4 && args.has("--calibrate")) {
    throw WrongUsage("option '--calibrate' needs '--weights q4' or mixed");
  }
  if (is_mixed != args.has("--fit")) {
    throw WrongUsage("options '--weights mixed' and '--fit SIZE' belong together");
  }
  const std::string group = args.text("--group", type->has_scales ? "32" : "row");
  if (group != "32" && group != "64" && group != "128" && group != "row") {
    wrong_value("--group", group, "32, 64, 128 or row");
  }
  layout.group = group == "row" ? 0 : static_cast<uint32_t>(std::stoul(group));

  if (args.has("--for") && args.has("--tile")) {
    throw WrongUsage("options '--for' and '--tile' exclude each other");
  }
  const std::string name = args.text("--for", "host");
  const Target* target = find_target(name);
  if (!target) wrong_value("--for", name, ("one of " + target_names()).c_str());
  const std::string tile = args.text("--tile", std::to_string(target->row_tile));
  if (tile != "1" && tile != "2" && tile != "4" && tile != "8" && tile != "16") {
    wrong_value("--tile", tile, "1, 2, 4, 8 or 16");
  }
  layout.row_tile = static_cast<uint32_t>(std::stoul(tile));
  return layout;
}

constexpr const char* kTurnOptions[kTurnTextCount] = {"--system-open",    "--system-close",
                                                      "--user-open",      "--user-close",
                                                      "--assistant-open", "--assistant-close"};

TurnOptions parse_turns(const Args& args) {
  TurnOptions turns;
  turns.name = args.text("--turns", "");
  if (args.has("--turns") && turns.name != "none" &&
      (", " + template_names() + ",").find(", " + turns.name + ",") == std::string::npos) {
    wrong_value("--turns", turns.name, (template_names() + " or none").c_str());
  }
  for (size_t i = 0; i < kTurnTextCount; ++i) {
    if (args.has(kTurnOptions[i])) turns.texts[i] = unescaped(args.text(kTurnOptions[i], ""));
  }
  if (args.has("--end-of-turn")) turns.end_of_turn = args.text("--end-of-turn", "");
  return turns;
}

ConvertOptions parse(const Words& words) {
  const Args args(words, with_field_options({{"-o", true},
                                             {"--tokenizer", true},
                                             {"--weights", true},
                                             {"--group", true},
                                             {"--calibrate", true},
                                             {"--fit", true},
                                             {"--for", true},
                                             {"--tile", true},
                                             {"--turns", true},
                                             {"--system-open", true},
                                             {"--system-close", true},
                                             {"--user-open", true},
                                             {"--user-close", true},
                                             {"--assistant-open", true},
                                             {"--assistant-close", true},
                                             {"--end-of-turn", true}}));
  ConvertOptions options;
  options.input = args.one_positional("a checkpoint to convert");
  options.output = args.text("-o", "");
  if (options.output.empty()) throw WrongUsage("expected -o OUT, the model file to write");
  options.tokenizer = args.text("--tokenizer", "");
  if (args.has("--tokenizer") && options.tokenizer.empty()) {
    wrong_value("--tokenizer", "", "the name of a file");
  }
  for (const std::string& input : {options.input, options.tokenizer}) {
    if (same_file(options.output, input)) {
      throw WrongUsage("'-o " + options.output + "' would overwrite the input '" + input +
                       "', expected another name");
    }
  }
  options.layout = parse_layout(args);
  options.read = read_options_of(args);
  options.vocabulary = vocabulary_options_of(args);
  options.calibration = args.text("--calibrate", "");
  if (args.has("--fit")) options.fit = size_option(args, "--fit");
  options.turns = parse_turns(args);
  const char* of_tokens = options.token_option();
  if (of_tokens && options.tokenizer == "none") {
    throw WrongUsage(std::string(of_tokens) + " needs a tokenizer, and '--tokenizer' is 'none'");
  }
  return options;
}

// ---- What it says about its work -----------------------------------------------------------

std::string vocabulary_path(const ConvertOptions& options, const Checkpoint& checkpoint) {
  if (options.tokenizer == "none") return "";
  return options.tokenizer.empty() ? checkpoint.vocabulary_path : options.tokenizer;
}

void print_read(const ConvertOptions& options, const Checkpoint& checkpoint,
                const VocabularyFile& vocabulary) {
  const ModelShape& s = checkpoint.shape;
  std::error_code error;  // a folder has no size
  const uint64_t bytes = std::filesystem::file_size(options.input, error);
  std::fprintf(stderr, "read   %s: %s%s%s\n", options.input.c_str(), checkpoint.description.c_str(),
               error ? "" : ", ", error ? "" : size_text(bytes).c_str());
  std::fprintf(stderr,
               "       dim %u, hidden %u, %u layers, %u heads of %u (%u key/value), vocabulary %u, "
               "context %u, %s head\n",
               s.dim, s.hidden_dim, s.n_layers, s.n_heads, s.head_dim, s.n_kv_heads, s.vocab_size,
               s.n_ctx, s.tied_head ? "tied" : "separate");
  std::fprintf(stderr, "       %llu parameters, rotary pairs: %s\n",
               static_cast<unsigned long long>(count_parameters(s)),
               checkpoint.rope_pairs == RopePairs::kHalves ? "halves" : "neighbours");
  if (!vocabulary.description.empty()) {
    std::fprintf(stderr, "       %s: %s\n", vocabulary_path(options, checkpoint).c_str(),
                 vocabulary.description.c_str());
  }
}

void warn_without_tokenizer(const std::string& input) {
  const std::string beside =
      std::filesystem::path(input).replace_filename("tokenizer.bin").string();
  std::error_code error;
  const bool exists = std::filesystem::is_regular_file(beside, error);
  std::fprintf(stderr,
               "warning: without --tokenizer the model will have no tokenizer, so it cannot read "
               "or write text%s\n",
               exists ? ("; " + beside + " lies beside the input").c_str() : "");
}

void warn_of_vocabulary(const Vocabulary& v) {
  std::string why;
  if (!spells_plainly(v, &why)) {
    std::fprintf(stderr, "warning: the tokenizer cannot spell a plain English sentence: %s\n",
                 why.c_str());
  }
  if (!v.note.empty()) std::fprintf(stderr, "note: %s\n", v.note.c_str());
  if (v.n_tokens > 0 && v.n_tokens < v.texts.size()) {
    std::fprintf(stderr,
                 "note: the tokenizer has %u tokens, the model %zu; ids from %u on are fillers "
                 "without a text, which are never drawn\n",
                 v.n_tokens, v.texts.size(), v.n_tokens);
  }
}

// One line a layer; the tensors of a layer side by side.
void print_errors(const std::vector<SectionReport>& reports) {
  if (reports.empty()) return;
  std::fprintf(stderr,
               "error of the weights in percent: worst of the largest weight / mean of the mean "
               "weight\n%-17s%-15s%-15s%-15s%s\n",
               "", "q, k, v", "output", "gate, up", "down");
  const auto cell = [](const SectionReport& r) {
    return format("%.3f / %.3f", r.worst_error * 100, r.mean_error * 100);
  };
  std::string line;
  for (const SectionReport& r : reports) {
    if (r.kind == kTokenEmbedding || r.kind == kOutputHead) {
      std::fprintf(stderr, "%-17s%s\n", section_name(r.kind), cell(r).c_str());
      continue;
    }
    if (r.kind == kAttentionQkv) line = format("%-17s", format("layer %u", r.layer).c_str());
    line += r.kind == kFeedForwardDown ? cell(r) : format("%-15s", cell(r).c_str());
    if (r.kind == kFeedForwardDown) std::fprintf(stderr, "%s\n", line.c_str());
  }
}

void print_written(const ConvertOptions& options, const WeightLayout& layout,
                   const ModelShape& shape, uint64_t bytes) {
  std::string weights = "f32";
  if (options.layout.type != kWeightF32) {
    weights = weight_type(options.layout.type).name + std::string(", a scale for each ");
    weights += options.layout.group ? format("%u weights", options.layout.group) : "row";
  }
  if (layout.q8_matrices) weights += ", q8 in " + matrix_names(layout.q8_matrices);
  std::fprintf(stderr, "wrote  %s: %s, tiles of %u rows, context %u, %s\n", options.output.c_str(),
               weights.c_str(), options.layout.row_tile, shape.n_ctx, size_text(bytes).c_str());
}

// Rows are padded to whole groups and tiles, which in a small model may be much of the file.
void note_padding(const ConvertOptions& options, const ModelShape& shape,
                  const Vocabulary* vocabulary) {
  constexpr uint64_t kNoted = 16;  // from this part of the file on
  const ImageSize size = image_size(shape, options.layout, vocabulary);
  if (size.padding * kNoted < size.bytes) return;
  std::string smaller;
  const auto look_at = [&](const WeightLayout& layout, const std::string& option) {
    const uint64_t bytes = image_size(shape, layout, vocabulary).bytes;
    if (bytes >= size.bytes) return;
    smaller += format("%s%s (%llu bytes)", smaller.empty() ? "; smaller: " : ", ", option.c_str(),
                      static_cast<unsigned long long>(bytes));
  };
  for (uint32_t group : {32u, 64u, 128u, 0u}) {
    WeightLayout other = options.layout;
    other.group = group;
    if (other.type != kWeightF32 && group != options.layout.group) {
      look_at(other, "--group " + (group ? std::to_string(group) : "row"));
    }
  }
  for (uint32_t tile = options.layout.row_tile / 2; smaller.empty() && tile > 0; tile /= 2) {
    WeightLayout other = options.layout;
    other.row_tile = tile;
    look_at(other, "--tile " + std::to_string(tile));
  }
  std::fprintf(
      stderr,
      "note: %llu of these bytes (%.0f %%) pad rows of weights to whole groups and tiles%s\n",
      static_cast<unsigned long long>(size.padding),
      100.0 * static_cast<double>(size.padding) / static_cast<double>(size.bytes), smaller.c_str());
}

// Which matrices get 8 bits if the file may have so many bytes: those where a byte buys most, as
// measured on stories260K and the story model (nats a token by kind of matrix).
uint32_t widest_that_fits(const ConvertOptions& options, const Checkpoint& checkpoint,
                          const Vocabulary* tokens) {
  constexpr uint32_t kOrder[] = {kMatrixEmbedding | kMatrixPositions | kMatrixHead, kMatrixQkv,
                                 kMatrixDown, kMatrixOutput, kMatrixGateUp};
  WeightLayout layout = options.layout;
  layout.row_tile = 16;  // the most padding, so that no choice of tiles changes a bit
  const auto bytes = [&] { return image_size(checkpoint.shape, layout, tokens).bytes; };
  if (bytes() > options.fit) {
    throw Refused(format("%s: needs %llu bytes with 4 bits everywhere, --fit is %llu",
                         options.input.c_str(), static_cast<unsigned long long>(bytes()),
                         static_cast<unsigned long long>(options.fit)));
  }
  const uint32_t absent = (checkpoint.shape.learned_positions ? 0u : kMatrixPositions) |
                          (checkpoint.shape.tied_head ? kMatrixHead : 0u);
  uint32_t chosen = 0;
  for (const uint32_t order : kOrder) {
    const uint32_t kind = order & ~absent;
    layout.q8_matrices = chosen | kind;
    if (bytes() <= options.fit) chosen |= kind;
  }
  return chosen;
}

}  // namespace

int convert_verb(const Words& words) {
  const ConvertOptions options = parse(words);
  Checkpoint checkpoint = open_checkpoint(options.input, options.read);
  VocabularyFile vocabulary;
  Vocabulary* tokens = nullptr;
  if (checkpoint.vocabulary && options.tokenizer.empty()) tokens = &*checkpoint.vocabulary;
  const std::string path = vocabulary_path(options, checkpoint);
  if (!path.empty()) {
    vocabulary = open_vocabulary(path, checkpoint.shape.vocab_size,
                                 options.vocabulary.has_fillers.value_or(false));
    tokens = &vocabulary.vocabulary;
  }
  if (const char* of_tokens = tokens ? nullptr : options.token_option()) {
    throw WrongUsage(std::string(of_tokens) + " needs a tokenizer, and " + options.input +
                     " has none; expected --tokenizer FILE");
  }
  print_read(options, checkpoint, vocabulary);
  if (!checkpoint.note.empty()) std::fprintf(stderr, "note: %s\n", checkpoint.note.c_str());
  if (tokens) {
    amend(options.vocabulary, tokens);
    const std::string note = choose_turns(options.turns, tokens);
    if (!note.empty()) std::fprintf(stderr, "note: %s\n", note.c_str());
    warn_of_vocabulary(*tokens);
  } else if (options.tokenizer != "none") {
    warn_without_tokenizer(options.input);
  }
  const uint32_t n_ctx = options.read.n_ctx.value_or(checkpoint.shape.n_ctx);
  if (n_ctx > checkpoint.shape.n_ctx) {
    throw Refused(
        format("%s: --ctx %u is more than the %u positions that the model was trained "
               "on, and it knows nothing beyond them; expected 1 to %u",
               options.input.c_str(), n_ctx, checkpoint.shape.n_ctx, checkpoint.shape.n_ctx));
  }
  checkpoint.shape.n_ctx = n_ctx;

  WeightLayout layout = options.layout;
  std::unique_ptr<Draft> draft;
  if (layout.type == kWeightQ4) {
    draft = std::make_unique<Draft>(options.output, checkpoint, tokens, options.calibration);
    layout.guide = draft.get();
    if (options.fit > 0) layout.q8_matrices = widest_that_fits(options, checkpoint, tokens);
  }
  const WrittenModel written = write_model(options.output, options.input, "converting",
                                           checkpoint.shape, layout, tokens, checkpoint.rows);
  print_written(options, layout, checkpoint.shape, written.bytes);
  if (options.fit == 0) note_padding(options, checkpoint.shape, tokens);
  print_errors(written.reports);
  return 0;
}

}  // namespace thimble::tools
