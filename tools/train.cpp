// SPDX-License-Identifier: MIT
// thimble train: from texts to a model file.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "args.h"
#include "error.h"
#include "files.h"
#include "model.h"
#include "opened_model.h"
#include "output.h"
#include "progress.h"
#include "train/corpus.h"
#include "train/ground.h"
#include "train/kernels.h"
#include "train/options.h"
#include "train/run.h"
#include "train/text_records.h"
#include "train/trainer.h"
#include "verbs.h"
#include "vocabulary.h"

namespace thimble::tools {

const char kTrainHelp[] =
    R"(usage: thimble train TEXT... -o OUT [options]
       thimble train TEXT... -o OUT --from MODEL [--lora RANK] [options]

Trains a model on texts, on this machine's processors, and writes it as convert would: a flat model
file with its self-test. A part of the texts is held out to measure with. Ctrl-C finishes the step,
saves, and says how to go on.

What it learns from
  --records RULE       what a record is: 'marks' between <|endoftext|> (default), 'lines', 'files', or
                       'answers': a prompt, a tab and an answer a line, of which only the answer is
                       learnt, and its end (thimble intents writes such). Every record begins with
                       the beginning-of-text token and ends with the end's; of one that is longer
                       than the context no part begins like a text, nor does one between marks that
                       a lower-case letter begins, if few are such. What comes again counts once
  --held-out SHARE     of the records, 0 to 0.5; default 0.01
  --vocab N            tokens of the vocabulary that is learnt of the texts; default 1024, or as
                       many as a short text has
  --vocab-kind KIND    scored (default): as SentencePiece's; bytes: as GPT-2's; words: those with
                       tokens for whole words, some percent fewer, which takes longer to learn
  --tokenizer FILE     a vocabulary that is there: any that convert reads, or a model file's own
  --from MODEL         goes on with a model file: its shape, vocabulary and weights; --ctx N, default
                       1024, is then how much of a record is seen at once
  --teacher MODEL      learns what that model expects of every next token, all of it, in place of the
                       text's one (Hinton et al. 2015): of a larger one, or of itself in float32
                       to lose little in 4 bits. Its vocabulary is taken, --from must have the same;
                       the loss that is told is the cross entropy with it, on held-out text the nats

The model's shape; default: 128 wide, 5 layers, 8 heads
  --family NAME        llama (default) or gpt2
  --dim N, --layers N, --heads N, --kv-heads N (default: half the heads), --hidden N, --ctx N (512)
  --rope-theta T       base of the rotary frequencies; default 10000
  --board NAME         or the largest that `thimble plan` says fits a chip, with an int8 cache for
                       --ctx N (256) and 40 candidates; plan --board list shows the names
  --flash SIZE, --ram SIZE
                       of another one, or of --board's what is left for this: 700000, 512K, 1M

What of it is learned, with --from; all, without --lora
  --lora RANK          an adapter, 1 to 256: low-rank matrices beside the model's, which stay. OUT is
                       a small file for this very model (run --lora), or to merge with it
  --lora-matrices LIST which have one, with commas between: qkv, output, gate-up, down; default: all
  --lora-alpha A       what is learned counts A / RANK; default twice the rank

How long, and how
  --steps N, --minutes M or --epochs E
                       default: 10 epochs. What comes of minutes depends on the clock, all else
                       only on texts, options and the kind of processor
  --batch N            tokens a step, at least; default 16384, of short texts down to 2048
  --rate R             of learning, at its highest; default 0.02 with muon, 0.004 with adamw, a tenth
                       of that with --from, 0.004 with --lora
  --warm-up N          steps until it is there; default 100, a tenth of them all at most
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
  --precision P        of what products of matrices multiply: int16 (default where the processor has
                       AVX-512 VNNI; by AMX where it has that, too, with the same result), rounded
                       to 16 bits with a step for each row and column, which is half again as fast;
                       or f32

What it writes
  -o OUT               the model file, or the adapter
  --weights TYPE       f32, q8 (default) or q4, with --group N and --for TARGET as convert has them;
                       TARGET is the board's where one is given
  --quantized SHARE    of the steps, the last ones, that see weights, activations and cache rounded
                       as the engine rounds them; default 0.2, of f32 0
  --settle SHARE       of the highest rate, with which weights go to their level in q4: as the rate
                       falls towards it they stay there. Default 0.2 where --from goes on with
                       --quantized 1; otherwise 0, since a model that still learns a lot has to move
  --f32 FILE           the same weights in float32, too
  --log FILE.csv       losses, rate and speed as they were, a thousand rows
  --page FILE.html     the same as curves, with samples, in a page that needs no network: anew each
                       time that it measures. What was before --resume it has from --log
  --evaluate N         measures on the held-out text every N steps; default: 20 times
  --checkpoint FILE    where the run is saved; default OUT.train
  --every M            minutes between two saves; default 5
  --resume             goes on with that file, to the same bits as without a break
  --plan               prints the shape and the memory that it takes, and ends

Examples
  thimble train stories.txt -o mine.thimble
  thimble train notes.txt --board nrf52840 --minutes 60 --page notes.html -o notes.thimble
  thimble train stories.txt --tokenizer story.thimble --epochs 20 --dropout 0.1 -o mine.thimble
  thimble train notes.txt --from story-f32.thimble --minutes 10 -o tuned.thimble
  thimble train stories.txt --from f32.thimble --teacher f32.thimble --weights q4 --quantized 1 \
    --optimizer adamw --rate 0.001 --epochs 4 -o small.thimble
  thimble train notes.txt --from story.thimble --lora 8 --epochs 3 -o notes.lora
)";

namespace {

using train::Corpus;
using train::Ground;
using train::Options;
using train::Parameters;
using train::TextRecords;
using train::Trainer;

void print_line(const char* what, uint64_t bytes) {
  print_text(format("  %-28s%13llu\n", what, static_cast<unsigned long long>(bytes)));
}

std::string model_line(const ModelShape& shape) {
  return format("model  %s, vocabulary %u, %llu parameters\n", train::shape_text(shape).c_str(),
                shape.vocab_size, static_cast<unsigned long long>(count_parameters(shape)));
}

// Of a record, and of the windows that it may come to with a byte a token.
uint64_t most_bytes_of_places(const TextRecords& texts, uint32_t n_ctx) {
  const uint64_t n = texts.training().size() + texts.held_out().size();
  const uint64_t bytes = texts.training_bytes() + texts.held_out_bytes();
  const uint64_t windows = n + bytes / std::max(1u, n_ctx / 2);
  return n * sizeof(train::TextRecord) + windows * (sizeof(train::Window) + sizeof(uint32_t));
}

void print_plan(const Options& options, const TextRecords& texts, const Ground& ground,
                const train::TrainerMemory& m) {
  const uint64_t places = most_bytes_of_places(texts, ground.n_ctx);
  print_text(ground.told + model_line(ground.shape) + "\nmemory for training\n");
  print_line("weights, packed ones too", m.weights);
  print_line("gradients", m.gradients);
  print_line("optimizer", m.optimizer);
  print_line("activations", m.activations);
  if (m.teacher > 0) print_line("teacher", m.teacher);
  print_line("places of the text, at most", places);
  print_line("program, samples, at most", m.rest);
  print_line("= RAM", m.total() + places);
  print_text("The texts' tokens lie in a file beside the model to be, which has no name.\n");
  const train::ShapeOptions session = shape_options(options, ground.shape);
  const train::ShapeNeeds needs = needs_of(ground.shape, &ground.vocabulary, session);
  print_text(format("\nthe model on a device: context %u, int8 cache, %u candidates\n",
                    session.n_ctx, session.n_candidates));
  print_line("model file", needs.flash.model());
  print_line("= flash, at most", needs.flash.total());
  print_line("arena", needs.ram.arena);
  print_line("= RAM, at most", needs.ram.total());
}

// Before anything takes long.
void look_for_checkpoint(const Options& options) {
  std::error_code none;
  const bool exists = std::filesystem::exists(options.checkpoint, none);
  if (options.resume && !exists) {
    throw Refused(options.checkpoint +
                  ": is not there, expected a run that was saved; without --resume it begins anew");
  }
  if (!options.resume && !options.plan_only && exists) {
    std::fprintf(stderr, "note: %s is there; --resume goes on with it, this run replaces it\n",
                 options.checkpoint.c_str());
  }
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

void add_texts(const TextRecords& texts, const Options& options, Corpus* corpus) {
  Progress bar("tokens");
  corpus->add(texts, [&](double share) { bar.show(share); });
  corpus->finish(train::names_of(options.texts));
}

const train::Kernels& kernels_for(const Options& options) {
  const char* name = options.isa.empty() ? nullptr : options.isa.c_str();
  const char* precision = options.precision.empty() ? nullptr : options.precision.c_str();
  if (const train::Kernels* kernels = train::find_kernels(name, precision)) return *kernels;
  if (!train::find_kernels(name)) {
    throw WrongUsage("option '--isa' is '" + options.isa +
                     "', expected plain, avx2, avx512 or avx512amx, and a processor that has it");
  }
  throw WrongUsage("option '--precision' is '" + options.precision +
                   "', expected f32 with this processor or --isa: int16 needs AVX-512 with VNNI");
}

}  // namespace

int train_verb(const Words& words) {
  const Args args(words, train::option_names());
  Options options = train::parse_options(args);
  const train::Kernels& kernels = kernels_for(options);
  options.isa = kernels.same_bits_as;  // a run may go on with any of these
  options.precision = kernels.precision;
  look_for_checkpoint(options);
  auto texts = std::make_unique<TextRecords>(options.texts, options.records);
  for (const std::string& oddity : texts->oddities()) {
    std::fprintf(stderr, "note: %s\n", oddity.c_str());
  }
  const Ground ground = find_ground(options, *texts);
  options.trainer.n_ctx = ground.n_ctx;
  const thimble_model* base = ground.from ? &ground.from->model() : nullptr;
  if (options.trainer.lora.rank > 0) {
    follow_base(&options, header_of(*base), args.has("--quantized"));
  }
  if (ground.teacher) options.trainer.teacher = &ground.teacher->model();
  const Parameters parameters(ground.shape);
  if (options.plan_only) {
    print_plan(options, *texts, ground, Trainer::memory(parameters, kernels, options.trainer));
    return 0;
  }
  std::fprintf(stderr, "texts  %s\n%s%s", texts->summary().c_str(), ground.told.c_str(),
               model_line(ground.shape).c_str());
  const ImageInMemory tokenizer = image_of_vocabulary(ground.vocabulary);
  const thimble_model model = open_model("the tokenizer", tokenizer.data(), tokenizer.bytes, false);
  const std::string folder = std::filesystem::absolute(options.output).parent_path().string();
  Corpus corpus(model, options.trainer.n_ctx, folder);
  add_texts(*texts, options, &corpus);
  texts.reset();  // its memory is the run's
  if (options.trainer.batch_tokens == 0) {
    options.trainer.batch_tokens = train::usual_batch(corpus.epoch_tokens());
  }
  Trainer trainer(parameters, kernels, corpus, options.trainer);
  if (ground.from) {
    read_rows(parameters, rows_of_model(ground.from->model()), trainer.weights());
  }
  return train::run(options, ground.shape, ground.vocabulary, corpus, &trainer, base);
}

}  // namespace thimble::tools
