// SPDX-License-Identifier: MIT
// thimble bench: tokens a second beside this machine's own limits.
#include "bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>

#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "json_string.h"
#include "machine.h"
#include "model.h"
#include "output.h"
#include "progress.h"
#include "verbs.h"
#include "weight_types.h"

namespace thimble::tools {

const char kBenchHelp[] =
    R"(usage: thimble bench MODEL [options]
       thimble bench --shape SHAPE [options]

Measures prefill and greedy decoding on one thread, sampling included, and what this machine can do
at best: bytes read a second and operations a second. Each run starts from an empty session; the
fastest one counts.

What is measured
  --prefill N          tokens that are fed at once; default 128, or half the context
  --decode N           tokens that are then generated, up to the context; default 64
  --runs R             1 to 1000; no new run starts after 10 seconds; default 5
  --isa NAME|all       kernels; default: the best ones (or THIMBLE_ISA=NAME, as in the other verbs)
  --batch B            tokens in one pass over the weights, 1 to 1024; default 64
  --draft N            tokens that are computed ahead at most, 1 to 16; default: none
  --ctx C              positions of the key/value cache; default: the model's
  --kv f32|q8          how keys and values are cached; default f32
  --limits yes|no      measure the machine too; default yes

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

Examples
  thimble bench story.thimble
  thimble bench story.thimble --isa all --limits no
  thimble bench --shape 15M --weights f32 --prefill 1 --decode 255
  thimble bench --shape 288,768,6,6,6,32000,256 --group row --json
)";

// ---- A model -------------------------------------------------------------------------------

namespace {

struct NamedShape {
  const char* name;
  uint32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, n_ctx;
};
constexpr NamedShape kShapes[] = {
    {"stories260K", 64, 172, 5, 8, 4, 512, 512},
    {"15M", 288, 768, 6, 6, 6, 32000, 256},
    {"42M", 512, 1376, 8, 8, 8, 32000, 1024},
    {"110M", 768, 2048, 12, 12, 12, 32000, 1024},
};

// "a,b,c,d,e,f,g" as numbers; false if that is not what it is.
bool parse_numbers(const std::string& text, NamedShape* shape) {
  uint32_t* const fields[] = {&shape->dim,     &shape->hidden_dim, &shape->n_layers,
                              &shape->n_heads, &shape->n_kv_heads, &shape->vocab_size,
                              &shape->n_ctx};
  size_t at = 0;
  for (uint32_t* field : fields) {
    if (field != fields[0] && (at == text.size() || text[at++] != ',')) return false;
    const size_t first = at;
    uint64_t value = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && value <= UINT32_MAX) {
      value = value * 10 + static_cast<uint64_t>(text[at++] - '0');
    }
    if (at == first || value == 0 || value > UINT32_MAX) return false;
    *field = static_cast<uint32_t>(value);
  }
  return at == text.size();
}

// Uniform numbers in [-kLargest, kLargest): a standard deviation of 0.04.
void fill_random(uint64_t state, uint32_t n, float* out) {
  constexpr float kLargest = 0.04f * 1.7320508f;
  constexpr float kScale = kLargest / 2147483648.0f;
  for (uint32_t i = 0; i < n; ++i) {
    state ^= state << 13;  // xorshift64 (Marsaglia 2003)
    state ^= state >> 7;
    state ^= state << 17;
    out[i] = static_cast<float>(static_cast<int32_t>(state >> 32)) * kScale;
  }
}

// A start of its own for each row: what a row holds must not depend on which came before. (The
// finalizer of splitmix64, a bijection, so that it is 0 for one argument only.)
uint64_t row_seed(SectionKind kind, uint32_t layer, uint32_t row) {
  uint64_t z = (uint64_t{kind} << 56) ^ (uint64_t{layer} << 32) ^ row;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

ModelShape parse_shape(const std::string& text) {
  NamedShape found{};
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) {
    if (text == shape.name) found = shape;
    names.push_back(shape.name);
  }
  if (!found.name && !parse_numbers(text, &found)) {
    const std::string guess = nearest(text, names);
    throw WrongUsage("option '--shape' is '" + text +
                     "', expected stories260K, 15M, 42M, 110M, or seven numbers "
                     "dim,hidden,layers,heads,kv_heads,vocab,ctx" +
                     (guess.empty() ? "" : "; did you mean '" + guess + "'?"));
  }
  if (found.dim % found.n_heads != 0) {
    throw WrongUsage(format("option '--shape': dim %u is not a multiple of its %u heads", found.dim,
                            found.n_heads));
  }
  ModelShape shape;
  shape.dim = found.dim;
  shape.hidden_dim = found.hidden_dim;
  shape.n_layers = found.n_layers;
  shape.n_heads = found.n_heads;
  shape.n_kv_heads = found.n_kv_heads;
  shape.head_dim = found.dim / found.n_heads;
  shape.vocab_size = found.vocab_size;
  shape.n_ctx = found.n_ctx;
  return shape;
}

ImageInMemory random_image(const ModelShape& shape, const WeightLayout& layout) {
  const RowSource rows = [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                            float* out) {
    if (kind == kAttentionNorm || kind == kFeedForwardNorm || kind == kFinalNorm) {
      std::fill(out, out + cols, 1.0f);
    } else {
      fill_random(row_seed(kind, layer, row), cols, out);
    }
  };
  return build_image_in_memory(shape, layout, nullptr, rows);
}

// ---- Measuring -----------------------------------------------------------------------------

namespace {

// Any tokens will do: how long they take does not depend on which they are.
std::vector<int32_t> prompt_tokens(const thimble_model& model, uint32_t n) {
  std::vector<int32_t> tokens(n);
  uint64_t at = 1;
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(at % model.vocab_size);
    at += 7919;
  }
  if (model.bos_id >= 0) tokens[0] = model.bos_id;
  return tokens;
}

struct RunSeconds {
  double prefill, decode;
};

// One run; `hash` (may be null) is continued over the logits, outside of the time.
RunSeconds run_once(thimble_session* session, const std::vector<int32_t>& prompt, uint32_t n_decode,
                    uint64_t* hash) {
  const thimble_sampling greedy{};
  checked(thimble_rewind(session, 0), "rewind");
  RunSeconds seconds{};
  const Stopwatch prefill;
  compute(session, prompt.data(), prompt.size());
  seconds.prefill = prefill.seconds();

  double hashing_seconds = 0;
  const Stopwatch decode;
  for (uint32_t i = 0; i < n_decode; ++i) {
    if (hash) {
      const Stopwatch hashing;
      *hash = thimble_logits_hash(session, *hash);
      hashing_seconds += hashing.seconds();
    }
    const int32_t token = draw_token(session, greedy);
    compute(session, &token, 1);
  }
  seconds.decode = decode.seconds() - hashing_seconds;
  return seconds;
}

size_t peak_rss_bytes() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return static_cast<size_t>(usage.ru_maxrss);
#else
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace

BenchResult measure(const thimble_model& model, const BenchWork& work, const std::string& isa) {
  constexpr double kEnoughSeconds = 10;
  thimble_config config{};
  config.n_ctx = work.n_ctx;
  config.n_batch = work.n_batch;
  config.kv_type = work.kv_type;
  config.n_draft = work.n_draft;
  config.isa = isa.c_str();
  const AlignedBlock arena(thimble_session_bytes(&model, &config));
  thimble_session* session = nullptr;
  checked(thimble_session_init(&session, &model, &config, arena.data(), arena.size()), "session");

  BenchResult result;
  result.isa = thimble_isa(session);
  result.arena_bytes = arena.size();
  result.logits_hash = THIMBLE_HASH_START;
  const std::vector<int32_t> prompt = prompt_tokens(model, work.n_prefill);
  uint64_t last_logits = 0;
  const Stopwatch all;
  const std::clock_t cpu_start = std::clock();
  for (uint32_t run = 0; run < work.n_runs; ++run) {
    if (run > 0 && all.seconds() > kEnoughSeconds) break;
    uint64_t* hash = run == 0 ? &result.logits_hash : nullptr;
    const RunSeconds seconds = run_once(session, prompt, work.n_decode, hash);
    const uint64_t now = thimble_logits_hash(session, THIMBLE_HASH_START);
    if (run == 0) {
      result.prefill_seconds = seconds.prefill;
      result.decode_seconds = seconds.decode;
      last_logits = now;
    } else if (now != last_logits) {
      throw Refused(format("%s: run %u gave other logits than run 1", result.isa.c_str(), run + 1));
    }
    result.prefill_seconds = std::min(result.prefill_seconds, seconds.prefill);
    result.decode_seconds = std::min(result.decode_seconds, seconds.decode);
  }
  const double cpu_seconds = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  result.cpu_share = std::min(1.0, cpu_seconds / std::max(all.seconds(), 1e-9));
  return result;
}

MachineLimits measure_limits(uint64_t weight_bytes) {
  MachineLimits limits;
  limits.dram = read_bandwidth(uncached_bytes());
  limits.cache = read_bandwidth(kCachedBytes);
  limits.weights = weight_bytes >= uncached_bytes()
                       ? limits.dram
                       : read_bandwidth(static_cast<size_t>(weight_bytes));
  const Peak f32 = f32_peak(), int8 = int8_peak();
  limits.f32 = f32.operations;
  limits.f32_with = f32.with;
  limits.int8 = int8.operations;
  limits.int8_with = int8.with;
  return limits;
}

// ---- Showing -------------------------------------------------------------------------------

namespace {

// What follows from a result.
struct Rates {
  double prefill_tokens, prefill_operations;  // a second
  double decode_tokens, decode_bytes;         // a second
  double peak_share, read_share;              // of the machine's limits, if they are known
};

// Multiplications by weights in a prefill of n tokens; the head sees the last one only.
double prefill_multiplications(const thimble_model& model, uint32_t n) {
  const FileHeader& header = header_of(model);
  const auto weights = [&](SectionKind kind) {
    const Matrix m = matrix_of(model, kind);
    return static_cast<double>(m.rows) * static_cast<double>(m.cols);
  };
  const double layer = weights(kAttentionQkv) + weights(kAttentionOutput) +
                       weights(kFeedForwardGateUp) + weights(kFeedForwardDown);
  return layer * header.n_layers * n + weights(header.tied_head ? kTokenEmbedding : kOutputHead);
}

Rates rates_of(const BenchReport& report, const BenchResult& result) {
  const auto rate = [](double amount, double limit) { return limit > 0 ? amount / limit : 0; };
  const bool int8 = weight_type(report.model.weight_type).has_scales;
  Rates r{};
  r.prefill_tokens = rate(report.work.n_prefill, result.prefill_seconds);
  r.prefill_operations = rate(2 * prefill_multiplications(report.model, report.work.n_prefill),
                              result.prefill_seconds);
  r.decode_tokens = rate(report.work.n_decode, result.decode_seconds);
  r.decode_bytes = r.decode_tokens * static_cast<double>(weight_bytes_per_token(report.model));
  r.peak_share = rate(r.prefill_operations, int8 ? report.limits.int8 : report.limits.f32);
  r.read_share = rate(r.decode_bytes, report.limits.weights);
  return r;
}

std::string weights_text(const thimble_model& m) {
  const WeightTypeName& type = weight_type(m.weight_type);
  if (!type.has_scales) return format("%s, tile %u", type.name, m.row_tile);
  const std::string group = m.group ? std::to_string(m.group) : "row";
  return format("%s, group %s, tile %u", type.name, group.c_str(), m.row_tile);
}

const char* plural(uint32_t n) {
  return n == 1 ? "" : "s";
}

unsigned long long wide(uint64_t value) {
  return value;
}

}  // namespace

static const char* kv_text(const BenchWork& work) {
  return work.kv_type == THIMBLE_KV_Q8 ? "q8" : "f32";
}

std::string to_text(const BenchReport& report) {
  const thimble_model& m = report.model;
  const BenchWork& w = report.work;
  const MachineLimits& l = report.limits;
  const size_t arena_bytes = report.results.empty() ? 0 : report.results[0].arena_bytes;
  std::string out;
  out += format("model    %s: %llu parameters; dim %u, hidden %u, layers %u, heads %u (KV %u), ",
                report.name.c_str(), wide(m.n_params), m.dim, m.hidden_dim, m.n_layers, m.n_heads,
                m.n_kv_heads);
  out += format("vocabulary %u, context %u\n", m.vocab_size, m.n_ctx);
  out += format("weights  %s: %zu bytes of model, %llu bytes of weights read a token\n",
                weights_text(m).c_str(), m.image_bytes, wide(weight_bytes_per_token(m)));
  const std::string drafts = w.n_draft ? format(", drafts of %u", w.n_draft) : std::string();
  out += format("session  %u positions in %s, batch %u%s: %zu bytes of arena; peak RSS %.1f MB\n",
                w.n_ctx, kv_text(w), w.n_batch, drafts.c_str(), arena_bytes,
                static_cast<double>(report.peak_rss_bytes) * 1e-6);
  out += format("work     prefill of %u token%s, then %u decoded; fastest of %u run%s\n",
                w.n_prefill, plural(w.n_prefill), w.n_decode, w.n_runs, plural(w.n_runs));
  if (report.has_limits) {
    out += format("limits   read %.1f GB/s from DRAM, %.1f GB/s from a block of %zu MiB, ",
                  l.dram * 1e-9, l.cache * 1e-9, kCachedBytes >> 20);
    out += format("%.1f GB/s from one as large as the weights\n", l.weights * 1e-9);
    out += format("         float32 %.1f GFLOP/s (%s), int8 %.1f GOP/s (%s)\n", l.f32 * 1e-9,
                  l.f32_with, l.int8 * 1e-9, l.int8_with);
  }

  const bool int8 = weight_type(m.weight_type).has_scales;
  const char* const share_names[] = {report.has_limits ? "  of peak" : "",
                                     report.has_limits ? "  of read" : ""};
  out += format("\n%-12s%12s%10s%s   %12s%10s%9s%s   %s\n", "kernels", "prefill t/s",
                int8 ? "GOP/s" : "GFLOP/s", share_names[0], "decode t/s", "ms/token", "GB/s",
                share_names[1], "logits-hash");
  for (const BenchResult& result : report.results) {
    const Rates r = rates_of(report, result);
    const auto share = [&](double value) {
      return report.has_limits ? format("%7.1f %%", value * 100) : std::string();
    };
    out += format("%-12s%12.1f%10.1f%s   %12.1f%10.4f%9.2f%s   0x%016llx\n", result.isa.c_str(),
                  r.prefill_tokens, r.prefill_operations * 1e-9, share(r.peak_share).c_str(),
                  r.decode_tokens, r.decode_tokens > 0 ? 1e3 / r.decode_tokens : 0,
                  r.decode_bytes * 1e-9, share(r.read_share).c_str(), wide(result.logits_hash));
  }
  return out;
}

std::string to_json(const BenchReport& report) {
  const thimble_model& m = report.model;
  const BenchWork& w = report.work;
  const MachineLimits& l = report.limits;
  std::string out = "{\n";
  out += "  \"model\": " + json_string(report.name) + ",\n";
  out += format("  \"shape\": {\"dim\": %u, \"hidden_dim\": %u, \"n_layers\": %u, ", m.dim,
                m.hidden_dim, m.n_layers);
  out += format("\"n_heads\": %u, \"n_kv_heads\": %u, \"head_dim\": %u, ", m.n_heads, m.n_kv_heads,
                m.head_dim);
  out += format("\"vocab_size\": %u, \"n_ctx\": %u, \"n_params\": %llu},\n", m.vocab_size, m.n_ctx,
                wide(m.n_params));
  const WeightTypeName& type = weight_type(m.weight_type);
  out += format("  \"weights\": {\"type\": \"%s\", \"group\": %s, \"row_tile\": %u, ", type.name,
                !type.has_scales ? "null"
                : m.group        ? std::to_string(m.group).c_str()
                                 : "\"row\"",
                m.row_tile);
  out += format("\"model_bytes\": %zu, \"bytes_per_token\": %llu},\n", m.image_bytes,
                wide(weight_bytes_per_token(m)));
  out += format("  \"work\": {\"n_ctx\": %u, \"kv\": \"%s\", \"n_batch\": %u, \"n_draft\": %u, ",
                w.n_ctx, kv_text(w), w.n_batch, w.n_draft);
  out += format("\"prefill\": %u, ", w.n_prefill);
  out += format("\"decode\": %u, \"runs\": %u},\n", w.n_decode, w.n_runs);
  out += format("  \"peak_rss_bytes\": %zu,\n", report.peak_rss_bytes);
  if (report.has_limits) {
    out += format("  \"limits\": {\"dram_gb_per_s\": %.3f, \"cache_gb_per_s\": %.3f, ",
                  l.dram * 1e-9, l.cache * 1e-9);
    out += format("\"cache_bytes\": %zu, \"weights_gb_per_s\": %.3f, ", kCachedBytes,
                  l.weights * 1e-9);
    out += format("\"f32_gflop_per_s\": %.3f, \"f32_with\": \"%s\", ", l.f32 * 1e-9, l.f32_with);
    out +=
        format("\"int8_gop_per_s\": %.3f, \"int8_with\": \"%s\"},\n", l.int8 * 1e-9, l.int8_with);
  } else {
    out += "  \"limits\": null,\n";
  }
  out += "  \"results\": [";
  const char* separator = "\n";
  for (const BenchResult& result : report.results) {
    const Rates r = rates_of(report, result);
    const auto share = [&](double value) {
      return report.has_limits ? format("%.5f", value) : std::string("null");
    };
    out += separator;
    separator = ",\n";
    out += format("    {\"isa\": \"%s\", \"prefill_tokens_per_s\": %.3f, ", result.isa.c_str(),
                  r.prefill_tokens);
    out += format("\"prefill_gop_per_s\": %.4f, \"prefill_share_of_peak\": %s, ",
                  r.prefill_operations * 1e-9, share(r.peak_share).c_str());
    out += format("\"decode_tokens_per_s\": %.3f, \"decode_ms_per_token\": %.6f, ", r.decode_tokens,
                  r.decode_tokens > 0 ? 1e3 / r.decode_tokens : 0);
    out += format("\"decode_gb_per_s\": %.4f, \"decode_share_of_read\": %s, ",
                  r.decode_bytes * 1e-9, share(r.read_share).c_str());
    out += format("\"arena_bytes\": %zu, \"cpu_share\": %.4f, \"logits_hash\": \"0x%016llx\"}",
                  result.arena_bytes, result.cpu_share, wide(result.logits_hash));
  }
  return out + "\n  ]\n}\n";
}

// ---- The verb ------------------------------------------------------------------------------

namespace {

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
    return subject;
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

BenchWork parse_work(const Args& args, const thimble_model& model) {
  BenchWork work;
  work.n_ctx = static_cast<uint32_t>(args.count("--ctx", model.n_ctx, 2, model.n_ctx));
  work.kv_type = kv_type_of(args);
  const uint32_t n = work.n_ctx;
  if (n < 2) throw Refused("the model's context is 1 position, a benchmark needs 2");
  work.n_batch = static_cast<uint32_t>(args.count("--batch", 64, 1, 1024));
  work.n_draft = static_cast<uint32_t>(args.count("--draft", 0, 1, 16));
  // What is given comes first; a default takes what is left.
  const uint32_t most = n - static_cast<uint32_t>(args.count("--decode", 1, 1, n - 1));
  const uint32_t usual = std::min({128u, n / 2, most});
  work.n_prefill = static_cast<uint32_t>(args.count("--prefill", usual, 1, most));
  const uint32_t left = n - work.n_prefill;
  work.n_decode = static_cast<uint32_t>(args.count("--decode", std::min(64u, left), 1, left));
  work.n_runs = static_cast<uint32_t>(args.count("--runs", 5, 1, 1000));
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
  const Args args(words, {{"--prefill", true},
                          {"--decode", true},
                          {"--runs", true},
                          {"--isa", true},
                          {"--batch", true},
                          {"--draft", true},
                          {"--ctx", true},
                          {"--kv", true},
                          {"--limits", true},
                          {"--shape", true},
                          {"--weights", true},
                          {"--group", true},
                          {"--tile", true},
                          {"--json", false}});
  const std::vector<std::string> isas = parse_isas(args);
  BenchReport report;
  report.has_limits = one_of(args, "--limits", "yes", {"yes", "no"}) == "yes";
  const Subject subject = find_subject(args);
  report.name = subject.name;
  report.model = subject.model;
  report.work = parse_work(args, subject.model);

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
