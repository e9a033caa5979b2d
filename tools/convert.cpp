// SPDX-License-Identifier: MIT
// thimble convert: a checkpoint of any supported format to one flat file.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "args.h"
#include "error.h"
#include "files.h"
#include "image.h"
#include "progress.h"
#include "readers/reader.h"
#include "size_text.h"
#include "targets.h"
#include "verbs.h"

namespace thimble::tools {

const char kConvertHelp[] =
    R"(usage: thimble convert INPUT -o OUT [options]

Converts a trained checkpoint to one flat model file, ready to be linked into firmware. The input is
read in pieces; OUT appears when it is complete. INPUT is a llama2.c checkpoint (.bin, version 0, 1
or 2). The finished model is run once on a few tokens, and the file carries what it gave: the
self-test, by which a chip proves that it computes the same.

What goes in
  -o OUT               the model file to write
  --tokenizer FILE     the vocabulary: llama2.c's tokenizer.bin; default: none, token ids only
  --ctx N              longest context, 1 to the checkpoint's; default: the checkpoint's
  --rope-pairs WHICH   dimensions that the checkpoint rotates together: neighbours (2i, 2i+1) or
                       halves (i, i + half a head; Hugging Face); default: what its format says

How weights are stored
  --weights f32|q8     float32, or int8 in groups that share a scale; default q8
  --group N            q8: weights that share a scale, 32, 64, 128 or row; default 32

What it is made for; neither changes one bit of a result
  --for TARGET         rows of a weight tile that suit a target; default host. TARGET is one of
                       host, x86, x86-64, avx2, avx512, aarch64, neon, arm, arm-linux, cortex-m0,
                       cortex-m3, cortex-m4, cortex-m7, cortex-m33, cortex-m55, riscv, riscv32,
                       riscv64
  --tile N             the rows themselves: 1, 2, 4, 8 or 16

Examples
  thimble convert stories15M.bin --tokenizer tokenizer.bin -o stories15M.thimble
  thimble convert story.bin --tokenizer tokenizer.bin --for cortex-m4 --ctx 128 -o story-m4.thimble
  thimble convert model.bin --weights f32 -o model-f32.thimble
)";

namespace {

struct ConvertOptions {
  std::string input, output, tokenizer;
  WeightLayout layout;
  uint32_t n_ctx = 0;  // 0: the checkpoint's
  ReadOptions read;
};

[[noreturn]] void wrong_value(const char* option, const std::string& found, const char* expected) {
  throw WrongUsage(std::string("option '") + option + "' is '" + found + "', expected " + expected);
}

WeightLayout parse_layout(const Args& args) {
  WeightLayout layout;
  const std::string weights = args.text("--weights", "q8");
  if (weights != "q8" && weights != "f32") wrong_value("--weights", weights, "f32 or q8");
  layout.type = weights == "q8" ? kWeightQ8 : kWeightF32;
  if (layout.type == kWeightF32 && args.has("--group")) {
    throw WrongUsage("option '--group' needs '--weights q8': f32 weights have no scales");
  }
  const std::string group = args.text("--group", layout.type == kWeightQ8 ? "32" : "row");
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

ConvertOptions parse(const Words& words) {
  const Args args(words, {{"-o", true},
                          {"--tokenizer", true},
                          {"--weights", true},
                          {"--group", true},
                          {"--for", true},
                          {"--tile", true},
                          {"--ctx", true},
                          {"--rope-pairs", true}});
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
  options.n_ctx =
      static_cast<uint32_t>(args.count("--ctx", 0, args.has("--ctx") ? 1 : 0, kMaxContext));
  if (args.has("--rope-pairs")) {
    const std::string pairs = args.text("--rope-pairs", "");
    if (pairs != "neighbours" && pairs != "halves") {
      wrong_value("--rope-pairs", pairs, "neighbours or halves");
    }
    options.read.rope_pairs = pairs == "halves" ? RopePairs::kHalves : RopePairs::kNeighbours;
  }
  return options;
}

// ---- What it says about its work -----------------------------------------------------------

void print_read(const ConvertOptions& options, const Checkpoint& checkpoint,
                const VocabularyFile& vocabulary) {
  const ModelShape& s = checkpoint.shape;
  std::fprintf(stderr, "read   %s: %s, %s\n", options.input.c_str(), checkpoint.description.c_str(),
               size_text(std::filesystem::file_size(options.input)).c_str());
  std::fprintf(stderr,
               "       dim %u, hidden %u, %u layers, %u heads of %u (%u key/value), vocabulary %u, "
               "context %u, %s head\n",
               s.dim, s.hidden_dim, s.n_layers, s.n_heads, s.head_dim, s.n_kv_heads, s.vocab_size,
               s.n_ctx, s.tied_head ? "tied" : "separate");
  std::fprintf(stderr, "       %llu parameters, rotary pairs: %s\n",
               static_cast<unsigned long long>(count_parameters(s)),
               checkpoint.rope_pairs == RopePairs::kHalves ? "halves" : "neighbours");
  if (!options.tokenizer.empty()) {
    std::fprintf(stderr, "       %s: %s\n", options.tokenizer.c_str(),
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

void print_written(const ConvertOptions& options, const ModelShape& shape, uint64_t bytes) {
  std::string weights = "f32";
  if (options.layout.type == kWeightQ8) {
    weights = "q8, a scale for each ";
    weights += options.layout.group ? format("%u weights", options.layout.group) : "row";
  }
  std::fprintf(stderr, "wrote  %s: %s, tiles of %u rows, context %u, %s\n", options.output.c_str(),
               weights.c_str(), options.layout.row_tile, shape.n_ctx, size_text(bytes).c_str());
}

}  // namespace

int convert_verb(const Words& words) {
  const ConvertOptions options = parse(words);
  Checkpoint checkpoint = open_checkpoint(options.input, options.read);
  VocabularyFile vocabulary;
  const Vocabulary* tokens = checkpoint.vocabulary ? &*checkpoint.vocabulary : nullptr;
  if (!options.tokenizer.empty()) {
    vocabulary = open_vocabulary(options.tokenizer, checkpoint.shape.vocab_size);
    tokens = &vocabulary.vocabulary;
  }
  print_read(options, checkpoint, vocabulary);
  if (!tokens) warn_without_tokenizer(options.input);
  if (options.n_ctx > checkpoint.shape.n_ctx) {
    throw Refused(format(
        "%s: --ctx %u is more than the %u positions that the model was trained "
        "on, and it knows nothing beyond them; expected 1 to %u",
        options.input.c_str(), options.n_ctx, checkpoint.shape.n_ctx, checkpoint.shape.n_ctx));
  }
  if (options.n_ctx) checkpoint.shape.n_ctx = options.n_ctx;

  OutputFile output(options.output);
  uint64_t at = 0, end = 0;
  const Sink sink = [&](uint64_t offset, const void* data, size_t bytes) {
    if (offset != at) output.seek(offset);
    output.write(data, bytes);
    at = offset + bytes;
    end = std::max(end, at);
  };
  SelfTestPlan self_test;
  self_test.tokens = self_test_prompt(checkpoint.shape, tokens);
  self_test.hashes = [&] {
    const MappedFile written(output.flush());
    return self_test_hashes(open_model(written));
  };
  std::vector<SectionReport> reports;
  try {
    Progress progress("converting");
    reports = build_image(
        checkpoint.shape, options.layout, tokens, checkpoint.rows, sink,
        [&](double share) { progress.show(share); }, self_test);
  } catch (const RefusedModel& refused) {
    throw Refused(options.input + ": " + refused.what());
  }
  output.commit();
  print_written(options, checkpoint.shape, end);
  print_errors(reports);
  return 0;
}

}  // namespace thimble::tools
