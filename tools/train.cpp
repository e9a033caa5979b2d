// SPDX-License-Identifier: MIT
// thimble train: from texts to a model file.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "model.h"
#include "odd_text.h"
#include "opened_model.h"
#include "output.h"
#include "progress.h"
#include "readers/reader.h"
#include "train/corpus.h"
#include "train/kernels.h"
#include "train/network.h"
#include "train/options.h"
#include "train/run.h"
#include "train/trainer.h"
#include "verbs.h"
#include "vocabulary.h"

namespace thimble::tools {

const char kTrainHelp[] =
    R"(usage: thimble train TEXT... -o OUT --tokenizer FILE [options]
       thimble train TEXT... -o OUT --from MODEL [--lora RANK] [options]

Trains a model on texts, on this machine's processors, and writes it as convert would: a flat model
file with its self-test. A part of the texts is held out to measure with. Ctrl-C finishes the step,
saves, and says how to go on.

What it learns from
  --records RULE       what a record is: 'marks' between <|endoftext|> (default), 'lines' or 'files'.
                       Every record begins with the beginning-of-text token and ends with the end's;
                       of one that is longer than the context no part begins like a text
  --held-out SHARE     of the records, 0 to 0.5; default 0.01
  --tokenizer FILE     the vocabulary: any that convert reads, or a model file's own
  --from MODEL         goes on with a model file: its shape, vocabulary and weights; --ctx N, default
                       1024, is then how much of a record is seen at once

The model's shape; default: 128 wide, 5 layers, 8 heads
  --family NAME        llama (default) or gpt2
  --dim N, --layers N, --heads N, --kv-heads N (default: half the heads), --hidden N, --ctx N (512)
  --rope-theta T       base of the rotary frequencies; default 10000

What of it is learned, with --from; all, without --lora
  --lora RANK          an adapter, 1 to 256: low-rank matrices beside the model's, which stay. OUT is
                       a small file for this very model (run --lora), or to merge with it
  --lora-matrices LIST which have one, with commas between: qkv, output, gate-up, down; default: all
  --lora-alpha A       what is learned counts A / RANK; default twice the rank

How long, and how
  --steps N, --minutes M or --epochs E
                       default: 10 epochs. What comes of minutes depends on the clock, all else
                       only on texts, options and the kind of processor
  --batch N            tokens a step, at least; default 16384
  --rate R             of learning, at its highest; default 0.02 with muon, 0.004 with adamw, a tenth
                       of that with --from, 0.004 with --lora
  --warm-up N          steps until it is there; default 100
  --decay SHARE        of the steps in which it falls to zero, the last ones; default 1
  --optimizer NAME     muon (default; AdamW for embeddings and norms) or adamw
  --weight-decay D     of matrices; default 0.1
  --clip N             limit of the gradient's norm; default 1, 0: none
  --beta2 B            AdamW's; default 0.95
  --dropout P          of embeddings, attention weights and what blocks give; default 0
  --average A          of the weights: ships their running average, w += (1 - A) (new - w)
  --seed S             default 1
  --threads N          default: all processors. Up to 8 give the same result (of models so large
                       that 8 gradients take more than 512 MiB, the same number does)

What it writes
  -o OUT               the model file, or the adapter
  --weights TYPE       f32, q8 (default) or q4, with --group N and --for TARGET as convert has them
  --quantized SHARE    of the steps, the last ones, that see weights, activations and cache rounded
                       as the engine rounds them; default 0.2, of f32 0
  --f32 FILE           the same weights in float32, too
  --log FILE.csv       a row for each time that it measures
  --evaluate N         measures on the held-out text every N steps; default: 20 times
  --checkpoint FILE    where the run is saved; default OUT.train
  --every M            minutes between two saves; default 5
  --resume             goes on with that file, to the same bits as without a break
  --plan               prints the memory that it takes, and ends

Examples
  thimble train stories.txt --tokenizer story.thimble --epochs 20 --dropout 0.1 -o mine.thimble
  thimble train notes.txt --from story-f32.thimble --minutes 10 -o tuned.thimble
  thimble train notes.txt --from story.thimble --lora 8 --epochs 3 -o notes.lora
)";

namespace {

using train::Corpus;
using train::Options;
using train::Parameters;
using train::Trainer;

// What a model is to be made of: shape, vocabulary, and weights to start from.
struct Ground {
  ModelShape shape;
  Vocabulary vocabulary;
  std::unique_ptr<LoadedModel> from;
};

Vocabulary vocabulary_of(const std::string& path) {
  if (!is_model_file(path)) return open_vocabulary(path, 0).vocabulary;
  const LoadedModel loaded(path);
  return vocabulary_of_model(loaded.model());
}

Ground find_ground(const Options& options) {
  Ground ground;
  if (!options.from.empty()) {
    ground.from = std::make_unique<LoadedModel>(options.from);
    ground.shape = shape_of_model(ground.from->model());
    ground.vocabulary = vocabulary_of_model(ground.from->model());
    if (ground.vocabulary.texts.empty()) {
      throw Refused(options.from + ": has no tokenizer, and a text has to become tokens");
    }
    return ground;
  }
  if (options.tokenizer.empty()) {
    throw WrongUsage("expected --tokenizer FILE, a vocabulary or a model file with one");
  }
  ground.vocabulary = vocabulary_of(options.tokenizer);
  if (ground.vocabulary.texts.empty()) throw Refused(options.tokenizer + ": has no tokenizer");
  ground.shape = options.shape;
  ground.shape.vocab_size = static_cast<uint32_t>(ground.vocabulary.texts.size());
  return ground;
}

// Positions of a window: a model that was there may know more than memory has room for.
uint32_t context_of(const Options& options, const ModelShape& shape) {
  constexpr uint32_t kUsual = 1024;
  if (options.from.empty()) return shape.n_ctx;
  if (options.n_ctx > shape.n_ctx) {
    throw Refused(format("%s: --ctx %u is more than the %u positions that the model knows",
                         options.from.c_str(), options.n_ctx, shape.n_ctx));
  }
  return options.n_ctx > 0 ? options.n_ctx : std::min(kUsual, shape.n_ctx);
}

// An adapter is stored, and rounded in training, as its model is.
void follow_base(Options* options, const FileHeader& base, bool has_quantized) {
  WeightLayout& layout = options->trainer.layout;
  layout.type = base.weight_type == kWeightF32 ? kWeightF32 : kWeightQ8;
  layout.group = base.group;
  if (layout.type != kWeightF32) return;
  if (has_quantized && options->trainer.quantized_share > 0) {
    throw WrongUsage("option '--quantized' needs a model of q8 or q4 weights, and '" +
                     options->from + "' has f32");
  }
  options->trainer.quantized_share = 0;
}

void print_plan(const train::TrainerMemory& m, const ModelShape& shape) {
  const auto line = [](const char* what, uint64_t bytes) {
    print_text(format("  %-28s%13llu\n", what, static_cast<unsigned long long>(bytes)));
  };
  print_text(format("%llu parameters\n\nmemory\n",
                    static_cast<unsigned long long>(count_parameters(shape))));
  line("weights, packed ones too", m.weights);
  line("gradients", m.gradients);
  line("optimizer", m.optimizer);
  line("activations", m.activations);
  line("program, samples, at most", m.rest);
  line("= RAM", m.total());
  print_text("\nThe texts' tokens lie in a file beside the model to be, which has no name.\n");
}

void read_texts(const Options& options, Corpus* corpus) {
  Progress bar("tokens");
  uint64_t bytes = 0, done = 0;
  std::error_code error;
  for (const std::string& path : options.texts) bytes += std::filesystem::file_size(path, error);
  for (const std::string& path : options.texts) {
    const MappedFile file(path);
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    note_oddities(text, path);
    corpus->add(text, options.records);
    file.forget();
    done += file.size();
    bar.show(static_cast<double>(done) / static_cast<double>(bytes));
  }
  corpus->finish();
}

void print_ground(const ModelShape& s, const Corpus& corpus) {
  const auto count = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::fprintf(stderr,
               "model  dim %u, hidden %u, %u layers, %u heads of %u (%u key/value), vocabulary %u, "
               "context %u, %llu parameters\n",
               s.dim, s.hidden_dim, s.n_layers, s.n_heads, s.head_dim, s.n_kv_heads, s.vocab_size,
               s.n_ctx, count(count_parameters(s)));
  std::fprintf(stderr,
               "texts  %llu records, %llu bytes, %llu tokens; held out: %llu records, %llu bytes\n",
               count(corpus.n_records()), count(corpus.n_bytes()), count(corpus.n_tokens()),
               count(corpus.n_held_out_records()), count(corpus.held_out_bytes()));
}

}  // namespace

int train_verb(const Words& words) {
  const Args args(words, train::option_names());
  Options options = train::parse_options(args);
  const train::Kernels* kernels =
      train::find_kernels(options.isa.empty() ? nullptr : options.isa.c_str());
  if (!kernels) {
    throw WrongUsage("option '--isa' is '" + options.isa +
                     "', expected plain, avx2 or avx512, and a processor that has it");
  }
  options.isa = kernels->name;
  const Ground ground = find_ground(options);
  options.trainer.n_ctx = context_of(options, ground.shape);
  const thimble_model* base = ground.from ? &ground.from->model() : nullptr;
  if (options.trainer.lora.rank > 0) {
    follow_base(&options, header_of(*base), args.has("--quantized"));
  }
  const Parameters parameters(ground.shape);
  if (options.plan_only) {
    print_plan(Trainer::memory(parameters, *kernels, options.trainer), ground.shape);
    return 0;
  }
  const ImageInMemory tokenizer = image_of_vocabulary(ground.vocabulary);
  const thimble_model model = open_model("the tokenizer", tokenizer.data(), tokenizer.bytes, false);
  const std::string folder = std::filesystem::absolute(options.output).parent_path().string();
  Corpus corpus(model, options.trainer.n_ctx, options.held_out, options.trainer.seed, folder);
  read_texts(options, &corpus);
  print_ground(ground.shape, corpus);
  Trainer trainer(parameters, *kernels, corpus, options.trainer);
  if (ground.from) {
    read_rows(parameters, rows_of_model(ground.from->model()), trainer.weights());
  }
  return train::run(options, ground.shape, ground.vocabulary, corpus, &trainer, base);
}

}  // namespace thimble::tools
