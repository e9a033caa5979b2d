// SPDX-License-Identifier: MIT
// thimble trace: what a model attends to, as a page and as numbers.
#include "trace.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>

#include "args.h"
#include "demo.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "odd_text.h"
#include "output.h"
#include "progress.h"
#include "size_text.h"
#include "verbs.h"

namespace thimble::tools {

const char kTraceHelp[] =
    R"(usage: thimble trace MODEL -p TEXT [-o OUT.html] [--csv FILE] [--json FILE] [options]
       thimble trace --demo

Shows what a model attends to while it reads a text, and what it expects next at each position. The
weights are those of the engine's own pass, after the softmax.

What to read
  -p TEXT            the prompt; `-p -` reads it from stdin
  -n N               tokens to append, always the likeliest one; default 0
  --ctx C            positions of the key/value cache; default: the model's
  --kv f32|q8        how keys and values are cached; default f32

What to write, at least one; `-` is stdout
  -o OUT.html        a page for the browser, whole in one file: heat maps of every layer and head
  --csv FILE         layer,head,query,key,query_token,key_token,weight; counted from 0
  --json FILE        model, tokens, weights and candidates
  --top N            candidates for the next token at each position, 1 to 100; default 10

  --demo             walks from the first dot product to multi-head attention on a sentence of six
                     words, every matrix printed with its meaning; needs no model
  THIMBLE_ISA=NAME   an environment variable that forces kernels: reference, avx2, ...

Examples
  thimble trace story.thimble -p "Once upon a time" -o trace.html
  thimble trace story.thimble -p "Once upon a time" -n 20 -o trace.html --csv weights.csv
  thimble trace story.thimble -p "The little dog" --json - | jq .next[-1]
  thimble trace --demo
)";

namespace {

// ---- Collecting ----------------------------------------------------------------------------

// Sets the hook for as long as it lives. The triangles are laid out for the longest text.
class Collector {
 public:
  Collector(thimble_session* session, const thimble_model& model, size_t capacity)
      : session_(session), n_heads_(model.n_heads), triangle_(capacity * (capacity + 1) / 2) {
    weights.resize(size_t{model.n_layers} * n_heads_ * triangle_);
    checked(thimble_on_attention(session, on_attention, this), "trace");
  }
  ~Collector() { thimble_on_attention(session_, nullptr, nullptr); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  std::vector<float> weights;

 private:
  static void on_attention(void* user, uint32_t layer, uint32_t position, uint32_t first,
                           uint32_t first_head, uint32_t n_heads, const float* weights,
                           size_t stride) {
    Collector& c = *static_cast<Collector*>(user);
    for (uint32_t i = 0; i < n_heads; ++i) {
      float* to = c.weights.data() + (size_t{layer} * c.n_heads_ + first_head + i) * c.triangle_ +
                  size_t{position} * (position + 1) / 2;
      std::copy_n(weights + i * stride, size_t{position} + 1 - first, to + first);
    }
  }
  thimble_session* session_;
  size_t n_heads_, triangle_;
};

// The likeliest tokens, best first; of equal ones the lowest id, as thimble_sample has it.
std::vector<Candidate> likeliest(const float* logits, uint32_t vocab_size, size_t n_top) {
  if (!std::all_of(logits, logits + vocab_size, [](float x) { return std::isfinite(x); })) {
    throw NotFinite("found logits that are no finite numbers");
  }
  std::vector<int32_t> order(vocab_size);
  std::iota(order.begin(), order.end(), 0);
  const size_t n = std::min<size_t>(n_top, vocab_size);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [logits](int32_t a, int32_t b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
                    });
  const double max = static_cast<double>(logits[order[0]]);
  double sum = 0;
  for (uint32_t i = 0; i < vocab_size; ++i) sum += std::exp(static_cast<double>(logits[i]) - max);
  std::vector<Candidate> top(n);
  for (size_t i = 0; i < n; ++i) {
    top[i] = {order[i], std::exp(static_cast<double>(logits[order[i]]) - max) / sum};
  }
  return top;
}

}  // namespace

Trace trace_tokens(thimble_session* session, const thimble_model& model,
                   const std::vector<int32_t>& prompt, size_t n_generate, size_t n_top,
                   const std::function<void(double)>& progress) {
  const size_t room = thimble_context_size(session) - thimble_position(session);
  if (prompt.empty()) throw Refused("the prompt has no token");
  const size_t n = prompt.size() + std::min(n_generate, room - std::min(room, prompt.size()));
  const size_t maps = size_t{model.n_layers} * model.n_heads;
  constexpr size_t kMostBytes = size_t{4} << 30;
  if (n * (n + 1) / 2 > kMostBytes / sizeof(float) / maps) {
    throw Refused(format("%zu positions have more than 4 GiB of attention weights", n));
  }
  Trace trace;
  trace.model = model;
  trace.n_prompt = prompt.size();
  trace.tokens = prompt;
  Collector collector(session, model, n);
  for (size_t i = 0; i < trace.tokens.size(); ++i) {
    compute(session, &trace.tokens[i], 1);
    require_finite(session);
    trace.next.push_back(likeliest(thimble_logits(session), model.vocab_size, n_top));
    const int32_t best = trace.next.back()[0].token;
    if (i + 1 == trace.tokens.size() && i + 1 < n && !thimble_is_end(&model, best)) {
      trace.tokens.push_back(best);
    }
    if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(n));
  }
  // Triangles for the text as long as it became: an early end leaves the tail of each unused.
  const size_t reserved = n * (n + 1) / 2, used = trace.triangle();
  trace.attention = std::move(collector.weights);
  for (size_t map = 0; map < maps && used < reserved; ++map) {
    std::copy_n(trace.attention.data() + map * reserved, used, trace.attention.data() + map * used);
  }
  trace.attention.resize(maps * used);
  return trace;
}

// ---- The verb ------------------------------------------------------------------------------

namespace {

struct TraceOptions {
  std::string model, prompt;
  std::string page, csv, json;  // empty: not wanted
  uint32_t n_ctx = 0, kv_type = THIMBLE_KV_F32;
  size_t n_generate = 0, n_top = 0;
};

TraceOptions parse(const Args& args) {
  TraceOptions o;
  o.model = args.one_positional("a model file");
  if (!args.has("-p")) throw WrongUsage("expected -p TEXT, the prompt");
  o.page = args.text("-o", "");
  o.csv = args.text("--csv", "");
  o.json = args.text("--json", "");
  const std::string* const outputs[] = {&o.page, &o.csv, &o.json};
  size_t n_outputs = 0;
  for (const std::string* a : outputs) {
    if (a->empty()) continue;
    ++n_outputs;
    if (same_file(*a, o.model)) {
      throw WrongUsage("the model file '" + *a + "' would be overwritten");
    }
    for (const std::string* b : outputs) {
      if (a != b && same_file(*a, *b)) throw WrongUsage("two outputs go to '" + *a + "'");
    }
  }
  if (n_outputs == 0) {
    throw WrongUsage("expected -o OUT.html, --csv FILE or --json FILE, what to write");
  }
  o.kv_type = kv_type_of(args);
  o.n_ctx = static_cast<uint32_t>(args.count("--ctx", 0, 1, UINT32_MAX));
  o.n_generate = static_cast<size_t>(args.count("-n", 0, 0, UINT32_MAX));
  o.n_top = static_cast<size_t>(args.count("--top", 10, 1, 100));
  o.prompt = args.text("-p", "");
  if (o.prompt == "-") o.prompt = read_prompt_file("-");
  return o;
}

void write_to(const std::string& path, const Trace& trace,
              void (*write)(const Trace&, const TextSink&)) {
  if (path.empty()) return;
  if (path == "-") {
    write(trace, [](const std::string& piece) { print_text(piece); });
    return;
  }
  OutputFile file(path);
  uint64_t bytes = 0;
  write(trace, [&](const std::string& piece) {
    file.write(piece.data(), piece.size());
    bytes += piece.size();
  });
  file.commit();
  std::fprintf(stderr, "wrote %s: %zu tokens, %s\n", path.c_str(), trace.tokens.size(),
               size_text(bytes).c_str());
}

}  // namespace

int trace_verb(const Words& words) {
  const Args args(words, {{"-p", true},
                          {"-n", true},
                          {"--ctx", true},
                          {"--kv", true},
                          {"-o", true},
                          {"--csv", true},
                          {"--json", true},
                          {"--top", true},
                          {"--demo", false}});
  if (args.has("--demo")) {
    if (words.size() > 1) throw WrongUsage("option '--demo' stands alone");
    return attention_demo();
  }
  const TraceOptions o = parse(args);
  const std::string isa = chosen_isa();
  const LoadedModel loaded(o.model);
  thimble_config config{};
  config.n_ctx = o.n_ctx;
  config.kv_type = o.kv_type;
  config.isa = isa.c_str();
  const Session session(loaded, config);
  const std::vector<int32_t> prompt = encode_prompt(session, loaded, o.prompt, true);
  Trace trace;
  {
    Progress bar("trace");
    trace = naming(o.model, [&] {
      return trace_tokens(session, loaded.model(), prompt, o.n_generate, o.n_top,
                          [&bar](double share) { bar.show(share); });
    });
  }
  trace.model_name = std::filesystem::path(o.model).filename().string();
  trace.prompt = o.prompt;
  write_to(o.page, trace, write_page);
  write_to(o.csv, trace, write_csv);
  write_to(o.json, trace, write_json);
  return 0;
}

}  // namespace thimble::tools
