// SPDX-License-Identifier: MIT
#include "options.h"

#include <algorithm>
#include <thread>

#include "device_shape.h"
#include "error.h"
#include "files.h"
#include "targets.h"
#include "weight_types.h"

namespace thimble::tools::train {
namespace {

[[noreturn]] void wrong_value(const char* option, const std::string& found, const char* expected) {
  throw WrongUsage(std::string("option '") + option + "' is '" + found + "', expected " + expected);
}

uint32_t number(const Args& args, const char* option, uint32_t fallback, uint32_t low,
                uint32_t high) {
  return static_cast<uint32_t>(args.count(option, fallback, low, high));
}

VocabularyOptions parse_vocabulary(const Args& args) {
  VocabularyOptions v;
  v.vocab_size = number(args, "--vocab", v.vocab_size, 1, kMaxVocab);
  v.may_be_smaller = !args.has("--vocab");
  const std::string kind = args.text("--vocab-kind", "scored");
  if (kind != "scored" && kind != "bytes" && kind != "words") {
    wrong_value("--vocab-kind", kind, "scored, bytes or words");
  }
  if (kind != "scored") v.kind = kTokenizerByteBpe;
  v.has_whole_words = kind == "words";
  return v;
}

ModelShape parse_shape(const Args& args, bool is_gpt2, uint32_t usual_ctx) {
  ModelShape s;
  s.dim = number(args, "--dim", 128, 1, 65536);
  s.n_layers = number(args, "--layers", 5, 1, 4096);
  s.n_heads = number(args, "--heads", 8, 1, 1024);
  s.n_kv_heads =
      number(args, "--kv-heads", is_gpt2 ? s.n_heads : std::max(1u, s.n_heads / 2), 1, 1024);
  if (s.n_heads % s.n_kv_heads != 0) {
    throw WrongUsage(format("option '--kv-heads' is %u, expected a divisor of the %u heads",
                            s.n_kv_heads, s.n_heads));
  }
  if (s.dim % s.n_heads != 0 || s.dim / s.n_heads % 2 != 0) {
    throw WrongUsage(format("option '--dim' is %u, expected an even multiple of the %u heads",
                            s.dim, s.n_heads));
  }
  s.head_dim = s.dim / s.n_heads;
  // SwiGLU's two thirds of four times the width, in whole groups.
  const uint32_t hidden = is_gpt2 ? 4 * s.dim : (s.dim * 8 / 3 + 31) / 32 * 32;
  s.hidden_dim = number(args, "--hidden", hidden, 1, 131072);
  s.n_ctx = number(args, "--ctx", usual_ctx, 2, 1u << 20);
  s.rope_theta = static_cast<float>(args.real("--rope-theta", 10000, 1, 1e12));
  set_family(is_gpt2 ? ShapeFamily::kGpt2 : ShapeFamily::kLlama, &s);
  return s;
}

WeightLayout parse_layout(const Args& args, const char* usual_target) {
  WeightLayout layout;
  const std::string weights = args.text("--weights", "q8");
  const WeightTypeName* type = find_weight_type(weights);
  if (!type) wrong_value("--weights", weights, "f32, q8 or q4");
  layout.type = type->type;
  const std::string group = args.text("--group", type->has_scales ? "32" : "row");
  if (group != "32" && group != "64" && group != "128" && group != "row") {
    wrong_value("--group", group, "32, 64, 128 or row");
  }
  if (!type->has_scales && args.has("--group")) {
    throw WrongUsage("option '--group' needs '--weights q8' or q4: f32 weights have no scales");
  }
  layout.group = group == "row" ? 0 : static_cast<uint32_t>(std::stoul(group));
  const std::string name = args.text("--for", usual_target);
  const Target* target = find_target(name);
  if (!target) wrong_value("--for", name, ("one of " + target_names()).c_str());
  layout.row_tile = target->row_tile;
  return layout;
}

TrainerOptions parse_trainer(const Args& args, bool is_fine_tuning, const char* usual_target) {
  TrainerOptions t;
  t.seed = args.count("--seed", 1, 0, UINT64_MAX);
  const uint32_t processors = std::max(1u, std::thread::hardware_concurrency());
  t.threads = number(args, "--threads", std::min(processors, 64u), 1, 256);
  t.batch_tokens = number(args, "--batch", 0, 1, 1u << 28);
  t.warm_up = args.count("--warm-up", 100, 0, UINT32_MAX);
  t.warm_up_share = args.has("--warm-up") ? 0 : 0.1;  // a short run has to get there, too
  t.decay_share = args.real("--decay", 1.0, 1e-6, 1.0);
  t.dropout = static_cast<float>(args.real("--dropout", 0, 0, 0.9));
  t.average = static_cast<float>(args.real("--average", 0, 0, 0.999999));
  t.layout = parse_layout(args, usual_target);
  t.quantized_share = args.real("--quantized", t.layout.type == kWeightF32 ? 0 : 0.2, 0, 1);
  if (t.layout.type == kWeightF32 && t.quantized_share > 0) {
    throw WrongUsage("option '--quantized' needs '--weights q8' or q4");
  }
  if (args.has("--settle") && t.layout.type != kWeightQ4) {
    throw WrongUsage("option '--settle' needs '--weights q4': its levels are far apart");
  }
  const bool is_about_rounding =
      is_fine_tuning && t.layout.type == kWeightQ4 && t.quantized_share >= 1;
  t.settling = static_cast<float>(args.real("--settle", is_about_rounding ? 0.2 : 0, 0, 10));
  t.lora = parse_lora(args);
  const std::string optimizer = args.text("--optimizer", t.lora.rank > 0 ? "adamw" : "muon");
  if (optimizer != "muon" && optimizer != "adamw") {
    wrong_value("--optimizer", optimizer, "muon or adamw");
  }
  t.optimizer.muon = optimizer == "muon";
  const double whole = (t.optimizer.muon ? 0.02 : 0.004) / (is_fine_tuning ? 10 : 1);
  const double usual = t.lora.rank > 0 ? 0.004 : whole;
  t.rate = static_cast<float>(args.real("--rate", usual, 0, 10));
  t.optimizer.weight_decay = static_cast<float>(args.real("--weight-decay", 0.1, 0, 10));
  t.optimizer.clip = static_cast<float>(args.real("--clip", 1.0, 0, 1e9));
  t.optimizer.beta2 = static_cast<float>(args.real("--beta2", 0.95, 0, 0.999999));
  return t;
}

}  // namespace

std::vector<Option> option_names() {
  std::vector<Option> names = {
      {"-o", true},           {"--tokenizer", true},    {"--vocab", true},
      {"--vocab-kind", true}, {"--board", true},        {"--flash", true},
      {"--ram", true},        {"--page", true},         {"--from", true},
      {"--family", true},     {"--dim", true},          {"--layers", true},
      {"--heads", true},      {"--kv-heads", true},     {"--hidden", true},
      {"--ctx", true},        {"--rope-theta", true},   {"--steps", true},
      {"--minutes", true},    {"--epochs", true},       {"--batch", true},
      {"--rate", true},       {"--warm-up", true},      {"--decay", true},
      {"--optimizer", true},  {"--weight-decay", true}, {"--clip", true},
      {"--beta2", true},      {"--dropout", true},      {"--average", true},
      {"--weights", true},    {"--group", true},        {"--for", true},
      {"--quantized", true},  {"--f32", true},          {"--held-out", true},
      {"--records", true},    {"--seed", true},         {"--threads", true},
      {"--isa", true},        {"--precision", true},    {"--log", true},
      {"--checkpoint", true}, {"--every", true},        {"--evaluate", true},
      {"--resume", false},    {"--plan", false},        {"--teacher", true},
      {"--settle", true}};
  for (const Option& option : lora_option_names()) names.push_back(option);
  return names;
}

Options parse_options(const Args& args) {
  Options o;
  o.texts = args.positional();
  if (o.texts.empty()) throw WrongUsage("expected a text to train on, found no argument");
  o.output = args.text("-o", "");
  if (o.output.empty()) throw WrongUsage("expected -o OUT, the model file to write");
  o.tokenizer = args.text("--tokenizer", "");
  o.from = args.text("--from", "");
  if (!o.from.empty()) {
    exclude(args, "--from",
            {"--tokenizer", "--vocab", "--vocab-kind", "--family", "--dim", "--layers", "--heads",
             "--kv-heads", "--hidden", "--rope-theta", "--board", "--flash", "--ram"},
            "the model says that");
  }
  o.teacher = args.text("--teacher", "");
  if (!o.teacher.empty() && o.from.empty() && o.tokenizer.empty()) {
    exclude(args, "--teacher", {"--vocab", "--vocab-kind"}, "its vocabulary is learnt with");
    o.tokenizer = o.teacher;
  }
  if (!o.tokenizer.empty()) {
    exclude(args, "--tokenizer", {"--vocab", "--vocab-kind"}, "no vocabulary is learnt then");
  }
  o.vocabulary = parse_vocabulary(args);
  o.device = device_of(args);
  for (const char* option : {"--board", "--flash", "--ram"}) {
    if (!args.has(option)) continue;
    o.has_device = true;
    exclude(args, option, {"--dim", "--layers", "--heads", "--kv-heads", "--hidden"},
            "the shape is found for the device");
  }
  const std::string family = args.text("--family", "llama");
  if (family != "llama" && family != "gpt2") wrong_value("--family", family, "llama or gpt2");
  o.is_gpt2 = family == "gpt2";
  o.shape = parse_shape(args, o.is_gpt2, o.has_device ? ShapeOptions().n_ctx : 512);
  o.n_ctx = args.has("--ctx") ? o.shape.n_ctx : 0;
  if (args.has("--steps") + args.has("--minutes") + args.has("--epochs") > 1) {
    throw WrongUsage("options '--steps', '--minutes' and '--epochs' exclude each other");
  }
  o.steps = args.count("--steps", 0, 1, uint64_t{1} << 40);
  o.minutes = args.real("--minutes", 0, 1e-3, 1e7);
  o.epochs = args.real("--epochs", 0, 1e-6, 1e9);
  if (o.steps == 0 && !(o.minutes > 0) && !(o.epochs > 0)) o.epochs = 10;
  // Rows in tiles of four suit all microcontrollers.
  const char* usual_target = o.device.board ? o.device.board->target
                             : o.has_device ? "arm"
                                            : "host";
  o.trainer = parse_trainer(args, !o.from.empty(), usual_target);
  o.records.held_out = args.real("--held-out", 0.01, 0, 0.5);
  o.records.by = records_by(args.text("--records", "marks"), "--records");
  o.records.seed = o.trainer.seed;
  o.log = args.text("--log", "");
  o.page = args.text("--page", "");
  o.checkpoint = args.text("--checkpoint", o.output + ".train");
  o.f32_output = args.text("--f32", "");
  o.checkpoint_minutes = args.real("--every", 5, 0, 1e6);
  o.evaluate_every = args.count("--evaluate", 0, 1, UINT32_MAX);
  o.resume = args.has("--resume");
  o.plan_only = args.has("--plan");
  o.isa = args.text("--isa", "");
  o.precision = args.text("--precision", "");
  if (!o.precision.empty() && o.precision != "f32" && o.precision != "int16") {
    wrong_value("--precision", o.precision, "f32 or int16");
  }
  const std::vector<std::string> outputs = {o.output, o.checkpoint, o.log, o.page, o.f32_output};
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::vector<std::string> others = o.texts;
    others.push_back(o.from);
    others.push_back(o.tokenizer);
    others.push_back(o.teacher);
    others.insert(others.end(), outputs.begin(), outputs.begin() + static_cast<ptrdiff_t>(i));
    for (const std::string& other : others) {
      if (same_file(outputs[i], other)) {
        throw WrongUsage("'" + outputs[i] + "' would be written over '" + other +
                         "', expected another name");
      }
    }
  }
  return o;
}

uint32_t usual_batch(uint64_t epoch_tokens) {
  constexpr uint64_t kLeast = 2048, kMost = 16384, kStepsAnEpoch = 64;
  return static_cast<uint32_t>(std::clamp(epoch_tokens / kStepsAnEpoch, kLeast, kMost));
}

std::string settings_of(const Options& o, const ModelShape& s) {
  const TrainerOptions& t = o.trainer;
  std::string text;
  const auto count = [&](const char* name, uint64_t value) {
    text += format("%s %llu\n", name, static_cast<unsigned long long>(value));
  };
  const auto real = [&](const char* name, double value) {
    text += format("%s %.9g\n", name, value);
  };
  count("dim", s.dim);
  count("hidden", s.hidden_dim);
  count("layers", s.n_layers);
  count("heads", s.n_heads);
  count("kv-heads", s.n_kv_heads);
  count("vocabulary", s.vocab_size);
  count("ctx", s.n_ctx);
  count("window", t.n_ctx);
  count("norm", s.norm);
  count("activation", s.activation);
  real("rope-theta", static_cast<double>(s.rope_theta));
  count("steps", o.steps);
  real("minutes", o.minutes);
  real("epochs", o.epochs);
  count("seed", t.seed);
  count("batch", t.batch_tokens);
  real("rate", static_cast<double>(t.rate));
  count("warm-up", t.warm_up);
  real("warm-up-share", t.warm_up_share);
  real("decay", t.decay_share);
  count("muon", t.optimizer.muon);
  real("weight-decay", static_cast<double>(t.optimizer.weight_decay));
  real("clip", static_cast<double>(t.optimizer.clip));
  real("beta2", static_cast<double>(t.optimizer.beta2));
  real("dropout", static_cast<double>(t.dropout));
  real("average", static_cast<double>(t.average));
  count("weights", t.layout.type);
  count("group", t.layout.group);
  real("quantized", t.quantized_share);
  if (t.settling > 0) real("settle", static_cast<double>(t.settling));
  real("held-out", o.records.held_out);
  if (o.records.by == RecordsBy::kAnswers) count("answers", 1);
  return text;
}

}  // namespace thimble::tools::train
