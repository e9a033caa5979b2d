// SPDX-License-Identifier: MIT
// thimble merge: a model and an adapter become one model file.
#include <cstdio>
#include <string>

#include "adapter_file.h"
#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "model.h"
#include "model_writer.h"
#include "opened_model.h"
#include "size_text.h"
#include "targets.h"
#include "verbs.h"
#include "weight_types.h"

namespace thimble::tools {

const char kMergeHelp[] =
    R"(usage: thimble merge MODEL ADAPTER -o OUT [options]

Adds an adapter to its model's matrices, W + B A, and writes the sum as convert writes a model, with
its self-test. Weights of 8 or 4 bits are rounded once more for it, so the merged model is close to
the model with its adapter (thimble run --lora), not the same to the bit.

  -o OUT               the model file to write
  --weights TYPE       f32, q8 or q4; default: the model's own
  --group N            q8, q4: weights that share a scale, 32, 64, 128 or row; default: the model's
                       own, or 32
  --for TARGET         rows of a weight tile that suit a target, as convert has it; default: the
                       model's own

Examples
  thimble merge story.thimble knights.lora -o knights.thimble
  thimble merge story.thimble knights.lora --weights f32 -o knights-f32.thimble
)";

namespace {

WeightLayout layout_of(const Args& args, const FileHeader& base) {
  WeightLayout layout;
  layout.type = static_cast<WeightType>(base.weight_type);
  layout.group = base.group;
  layout.row_tile = base.row_tile;
  layout.q8_matrices = base.q8_matrices;
  if (args.has("--weights")) {
    const std::string name = args.text("--weights", "");
    const WeightTypeName* type = find_weight_type(name);
    if (!type) throw WrongUsage("option '--weights' is '" + name + "', expected f32, q8 or q4");
    if (type->type != layout.type) {
      layout.q8_matrices = 0;
      layout.group = !type->has_scales ? 0 : layout.type == kWeightF32 ? 32 : layout.group;
    }
    layout.type = type->type;
  }
  if (args.has("--group")) {
    if (layout.type == kWeightF32) {
      throw WrongUsage("option '--group' needs weights of q8 or q4: f32 weights have no scales");
    }
    const std::string group = args.text("--group", "");
    if (group != "32" && group != "64" && group != "128" && group != "row") {
      throw WrongUsage("option '--group' is '" + group + "', expected 32, 64, 128 or row");
    }
    layout.group = group == "row" ? 0 : static_cast<uint32_t>(std::stoul(group));
  }
  if (args.has("--for")) {
    const std::string name = args.text("--for", "");
    const Target* target = find_target(name);
    if (!target) {
      throw WrongUsage("option '--for' is '" + name + "', expected one of " + target_names());
    }
    layout.row_tile = target->row_tile;
  }
  return layout;
}

}  // namespace

int merge_verb(const Words& words) {
  const Args args(words, {{"-o", true}, {"--weights", true}, {"--group", true}, {"--for", true}});
  if (args.positional().size() != 2) {
    throw WrongUsage(format("expected a model file and an adapter, found %zu arguments",
                            args.positional().size()));
  }
  const std::string output = args.text("-o", "");
  if (output.empty()) throw WrongUsage("expected -o OUT, the model file to write");
  for (const std::string& input : args.positional()) {
    if (same_file(output, input)) {
      throw WrongUsage(format("'-o %s' would overwrite '%s', expected another name", output.c_str(),
                              input.c_str()));
    }
  }
  const LoadedModel loaded(args.positional()[0]);
  const LoadedAdapter adapter(args.positional()[1], loaded);
  const WeightLayout layout = layout_of(args, header_of(loaded.model()));
  const Vocabulary vocabulary = vocabulary_of_model(loaded.model());
  const WrittenModel written =
      write_model(output, adapter.path(), "merging", shape_of_model(loaded.model()), layout,
                  vocabulary.texts.empty() ? nullptr : &vocabulary,
                  merged_rows(loaded.model(), adapter.adapter()));
  std::fprintf(stderr, "wrote  %s: %s, %s\n", output.c_str(), weight_type(layout.type).name,
               size_text(written.bytes).c_str());
  return 0;
}

}  // namespace thimble::tools
