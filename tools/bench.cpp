// SPDX-License-Identifier: MIT
// thimble bench: tokens a second beside this machine's own limits, and where the time goes.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "args.h"
#include "bench_measure.h"
#include "bench_report.h"
#include "bench_shape.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "output.h"
#include "progress.h"
#include "rule_file.h"
#include "sampling.h"
#include "verbs.h"
#include "weight_types.h"

namespace thimble::tools {

const char kBenchHelp[] =
    R"(usage: thimble bench MODEL [options]
       thimble bench --shape SHAPE [options]

Measures prefill and decoding on one thread, sampling included, and what this machine can do at best:
bytes read a second and operations a second. Each run starts from the same cache; rates are those of
the fastest one, with the median of all beside them.

What is measured
  --prefill N          tokens that are fed at once; default 128, or half the context
  --decode N           tokens that are then generated, up to the context; default 64
  --depth N            tokens that are in the cache before, untimed; default 0
  --runs R             1 to 1000; no new run starts after 10 seconds; default 5
  --isa NAME|all       kernels; default: the best ones (or THIMBLE_ISA=NAME, as in the other verbs)
  --batch B            tokens in one pass over the weights, 1 to 1024; default 64
  --draft N            tokens that are computed ahead at most, 1 to 16; default: none
  --constrain RULE     a rule of `thimble constrain` for the model file: decode under it, too, and
                       show what that costs
  --ctx C              positions of the key/value cache; default: the model's
  --kv f32|q8          how keys and values are cached; default f32
  --limits yes|no      measure the machine too; default yes
  --parts yes|no       measure where the time goes too, in runs of their own; default yes
  -t T                 draw tokens as `thimble run` does, with its options --top-p, --top-k, --min-p,
                       --temperature-last, --repeat-penalty, --repeat-window, --seed and their
                       defaults; without it: greedy

Random weights instead of a model file
  --shape SHAPE        stories260K, 15M, 42M, 110M, or dim,hidden,layers,heads,kv_heads,vocab,ctx
  --weights f32|q8|q4  float32, int8 or 4 bits in groups that share a scale; default q8
  --group N            q8: weights that share a scale, 32, 64, 128 or row; default 32
  --tile N             rows of a weight tile, 1, 2, 4, 8 or 16; default 16

How it is shown
  --json               as JSON

What the columns mean
  GOP/s                operations on weights (2 a weight and token), and the share of the peak of
                       int8 (q8 weights) or float32 (f32 weights)
  GB/s                 weights read a second, and the share of what the machine reads from a block
                       as large as the weights of a token: from a cache if they fit there
  logits-hash          of all logits that a token was drawn from, as `thimble run --hash` has it;
                       it is the same for all kernels, or the exit code is 1
  us/token             where a token's microseconds go: products with the layers' matrices, attention
                       (with rotation and the cache), norms (with activations, sums and rounding to
                       int8), the output head, sampling (of a prefill: none). Reading a clock takes
                       time itself, so these are shares of other runs, with a clock between all
                       steps, each part at its fastest; of the time that the fastest run above took

Examples
  thimble bench story.thimble
  thimble bench story.thimble --isa all --limits no
  thimble bench --shape 15M --weights f32 --prefill 1 --decode 255
  thimble bench --shape 110M --depth 960 --prefill 32 --decode 32
  thimble bench --shape 288,768,6,6,6,32000,256 --group row --json
)";

namespace {

size_t peak_rss_bytes() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return static_cast<size_t>(usage.ru_maxrss);
#else
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
#endif
}

// The value of an option that has a few; WrongUsage otherwise.
std::string one_of(const Args& args, const char* option, const char* fallback,
                   const std::vector<std::string>& values) {
  std::string found = args.text(option, fallback);
  if (std::find(values.begin(), values.end(), found) != values.end()) return found;
  std::string all;
  for (size_t i = 0; i < values.size(); ++i) {
    all += (i == 0 ? "" : i + 1 < values.size() ? ", " : " or ") + values[i];
  }
  throw WrongUsage(std::string("option '") + option + "' is '" + found + "', expected " + all);
}

WeightLayout parse_layout(const Args& args) {
  WeightLayout layout;
  const WeightTypeName& type =
      *find_weight_type(one_of(args, "--weights", "q8", {"f32", "q8", "q4"}));
  layout.type = type.type;
  if (!type.has_scales && args.has("--group")) {
    throw WrongUsage("option '--group' needs '--weights q8' or q4: f32 weights have no scales");
  }
  const std::string group =
      one_of(args, "--group", type.has_scales ? "32" : "row", {"32", "64", "128", "row"});
  layout.group = group == "row" ? 0 : static_cast<uint32_t>(std::stoul(group));
  const std::string tile = one_of(args, "--tile", "16", {"1", "2", "4", "8", "16"});
  layout.row_tile = static_cast<uint32_t>(std::stoul(tile));
  return layout;
}

// A model file, or random weights: whichever there is holds the model.
struct Subject {
  std::string name;
  std::unique_ptr<LoadedModel> file;
  std::unique_ptr<LoadedRule> rule;
  ImageInMemory random;
  thimble_model model{};
};

Subject find_subject(const Args& args) {
  Subject subject;
  if (!args.has("--shape")) {
    for (const char* option : {"--weights", "--group", "--tile"}) {
      if (args.has(option)) {
        throw WrongUsage(std::string("option '") + option +
                         "' needs '--shape': a model file has its own");
      }
    }
    subject.name = args.one_positional("a model file, or --shape");
    subject.file = std::make_unique<LoadedModel>(subject.name);
    subject.model = subject.file->model();
    if (args.has("--constrain")) {
      subject.rule = std::make_unique<LoadedRule>(args.text("--constrain", ""), *subject.file);
    }
    return subject;
  }
  if (args.has("--constrain")) {
    throw WrongUsage("option '--constrain' needs a model file: random weights have no vocabulary");
  }
  if (!args.positional().empty()) {
    throw WrongUsage("a model file ('" + args.positional()[0] +
                     "') and '--shape' exclude each other");
  }
  const std::string shape = args.text("--shape", "");
  subject.name = "random " + shape;
  subject.random = random_image(parse_shape(shape), parse_layout(args));
  subject.model = open_model(subject.name, subject.random.data(), subject.random.bytes);
  return subject;
}

// Greedy without -t.
thimble_sampling parse_sampling(const Args& args) {
  if (args.has("-t")) return sampling_of(args);
  for (const Option& option : with_sampling_options({})) {
    if (args.has(option.name)) {
      throw WrongUsage(std::string("option '") + option.name +
                       "' needs '-t': without it draws are greedy");
    }
  }
  return {};
}

BenchWork parse_work(const Args& args, const thimble_model& model) {
  BenchWork work;
  work.n_ctx = static_cast<uint32_t>(args.count("--ctx", model.n_ctx, 2, model.n_ctx));
  work.kv_type = kv_type_of(args);
  if (work.n_ctx < 2) throw Refused("the model's context is 1 position, a benchmark needs 2");
  work.depth = static_cast<uint32_t>(args.count("--depth", 0, 0, work.n_ctx - 2));
  const uint32_t n = work.n_ctx - work.depth;
  work.n_batch = static_cast<uint32_t>(args.count("--batch", 64, 1, 1024));
  work.n_draft = static_cast<uint32_t>(args.count("--draft", 0, 1, 16));
  // What is given comes first; a default takes what is left.
  const uint32_t most = n - static_cast<uint32_t>(args.count("--decode", 1, 1, n - 1));
  const uint32_t usual = std::min({128u, n / 2, most});
  work.n_prefill = static_cast<uint32_t>(args.count("--prefill", usual, 1, most));
  const uint32_t left = n - work.n_prefill;
  work.n_decode = static_cast<uint32_t>(args.count("--decode", std::min(64u, left), 1, left));
  work.n_runs = static_cast<uint32_t>(args.count("--runs", 5, 1, 1000));
  work.has_parts = one_of(args, "--parts", "yes", {"yes", "no"}) == "yes";
  work.sampling = parse_sampling(args);
  return work;
}

std::vector<std::string> parse_isas(const Args& args) {
  const std::string wanted = args.text("--isa", "");
  if (wanted != "all") return {chosen_isa(wanted)};
  std::vector<std::string> all;
  for (size_t i = 0; const char* name = thimble_isa_at(i); ++i) all.push_back(name);
  return all;
}

}  // namespace

int bench_verb(const Words& words) {
  const Args args(words, with_sampling_options({{"--prefill", true},
                                                {"--depth", true},
                                                {"--parts", true},
                                                {"--decode", true},
                                                {"--runs", true},
                                                {"--isa", true},
                                                {"--batch", true},
                                                {"--draft", true},
                                                {"--constrain", true},
                                                {"--ctx", true},
                                                {"--kv", true},
                                                {"--limits", true},
                                                {"--shape", true},
                                                {"--weights", true},
                                                {"--group", true},
                                                {"--tile", true},
                                                {"--json", false}}));
  const std::vector<std::string> isas = parse_isas(args);
  BenchReport report;
  report.has_limits = one_of(args, "--limits", "yes", {"yes", "no"}) == "yes";
  const Subject subject = find_subject(args);
  report.name = subject.name;
  report.model = subject.model;
  report.work = parse_work(args, subject.model);
  report.work.rule = subject.rule.get();

  bool same = true;
  {
    Progress progress("measuring");
    for (const std::string& isa : isas) {
      progress.show(static_cast<double>(report.results.size()) / static_cast<double>(isas.size()));
      report.results.push_back(
          naming(report.name, [&] { return measure(report.model, report.work, isa); }));
      same = same && report.results.back().logits_hash == report.results[0].logits_hash;
    }
  }
  report.peak_rss_bytes = peak_rss_bytes();  // before the limits' blocks
  if (report.has_limits) report.limits = measure_limits(weight_bytes_per_token(report.model));
  print_text(args.has("--json") ? to_json(report) : to_text(report));
  flush_stdout();
  double cpu_share = 1;
  for (const BenchResult& result : report.results)
    cpu_share = std::min(cpu_share, result.cpu_share);
  if (cpu_share < 0.9) {
    std::fprintf(stderr, "note: the machine was busy, this program ran %.0f %% of the time\n",
                 cpu_share * 100);
  }
  if (same) return 0;
  std::fprintf(stderr, "thimble: the kernels gave different logits\n");
  return 1;
}

}  // namespace thimble::tools
