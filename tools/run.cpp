// SPDX-License-Identifier: MIT
// thimble run: a prompt and its continuation, as they are computed.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "adapter_file.h"
#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "interrupt.h"
#include "odd_text.h"
#include "output.h"
#include "rule_file.h"
#include "sampling.h"
#include "saved.h"
#include "session.h"
#include "size_option.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {

const char kRunHelp[] =
    R"(usage: thimble run MODEL [options]

Continues a text with a model file. Text goes to stdout, everything else to stderr. Control
characters are spelled out where stdout is a terminal. Ctrl-C ends the text, and what it took is
still told.

The text
  -p TEXT              the prompt; `-p -` reads it from stdin; an option's name as `-p=--stats`;
                       default: none
  --prompt-file FILE   reads the prompt from a file; a line break at its end does not count
  -n N                 tokens to generate at most; default 256
  --save FILE          writes the session at the end: text, cache and what the next token is drawn from;
                       with -n 0 that of the prompt
  --load FILE          goes on from a saved session, the prompt behind its text; the same model, --kv
                       and --sinks
  --lora FILE          with an adapter of the model, as thimble train --lora writes it
  --constrain FILE     what is written behind the prompt meets a rule of thimble constrain, or the exit
                       code is 1
  --heal               the prompt's last token is drawn again, as the beginning of what meets the rule:
                       for a prompt that ends within what would be one token
  --ignore-end         goes on behind the end of a text: the model begins another one

How the next token is drawn
  -t T                 temperature, 0 to 100; 0 always takes the likeliest; default 0.8
  --top-p P            from the likeliest tokens that make up this share, 0 (one token) to 1 (all);
                       default 0.9
  --top-k K|all        from the K likeliest tokens, 1 or more; default all
  --min-p M            from tokens at least M times as likely as the likeliest, 0 (all) to 1 (one);
                       default 0
  --temperature-last   top-p and min-p judge the model's own odds, the temperature comes behind
                       them; for temperatures from 1.5 on
  --repeat-penalty R   above 1 makes recent tokens less likely; default 1: off
  --repeat-window W    how many tokens are recent, 1 to 256; default 64
  --seed S|random      the same seed gives the same text, on every machine; a random one is told on
                       stderr; default 0

What it shows
  --stats              speed, memory and kernels, on stderr
  --hash               the hash of all logits that tokens were drawn from, on stdout after the text:
                       stdout has what is the same on every machine and can be compared, stderr
                       what is not

How keys and values are cached
  --kv f32|q8          float32, or int8 in about a quarter of the memory; default f32
  --ctx C              positions of the cache; default: the model's
  --sinks N            a text without end, 1 to 64: each token sees the first N positions and the last
                       C - N, in the same memory; 4 are enough for most models

How it is computed; none of these changes the text or the hash
  --candidates K       keep the K likeliest tokens instead of all logits, 1 to 256; enough for -t 0,
                       and for --top-k up to K; default: all logits
  --draft N            compute up to N tokens ahead, looked up in the text so far, 1 to 16: fewer
                       passes where a text repeats; default: none
  --batch B            prompt tokens in one pass over the weights, 1 to 1024; default 32
  --feed N|all         prompt tokens fed at once; default all
  --budget N           multiply-accumulates in one slice of a pass, 1 or more; default: no slices
  --open mmap|memory|stream
                       the model's file is mapped, or read to memory, from a pipe, too, or each pass
                       reads its matrices through a buffer, as firmware does from an SD card;
                       default mmap
  --buffer SIZE        of --open stream, such as 8K; default: the least that will do
  --arena BYTES        memory for the session; default: just what it needs
  THIMBLE_ISA=NAME     an environment variable that forces kernels: reference, avx2, ...

Examples
  thimble run story.thimble -p "Once upon a time" -t 0.7 --seed 7
  thimble run story.thimble -t 0 -n 100 --hash --stats
  thimble run story.thimble -p "Tim had a red ball." -n 0 --save tim.session
  thimble run story.thimble --load tim.session -p "One day"
  echo "The little dog" | thimble run story.thimble -p -
)";

namespace {

struct RunOptions {
  std::string model, prompt, save, load, lora, rule;
  LoadedModel::Place place = LoadedModel::kMapped;
  thimble_sampling sampling{};
  thimble_config config{};
  uint64_t n = 0, budget = 0;
  size_t feed = 0, arena_bytes = 0, buffer = 0;
  bool stats = false, hash = false, ignores_end = false, heals = false;
};

std::string read_prompt(const Args& args) {
  if (args.has("-p") && args.has("--prompt-file")) {
    throw WrongUsage("options '-p' and '--prompt-file' exclude each other");
  }
  std::string given = args.text("-p", "");
  if (!args.has("--prompt-file") && given != "-") return given;
  return read_prompt_file(args.text("--prompt-file", "-"));
}

// Candidates are enough for greedy text and for top-k; what the engine would refuse at the first
// token is said before anything is loaded.
void check_candidates(const Args& args, const RunOptions& o) {
  if (!args.has("--candidates")) return;
  const bool is_greedy = o.sampling.temperature < 1e-30f;
  const uint64_t wanted = is_greedy ? 1 : o.sampling.top_k;
  if (wanted == 0) {
    throw WrongUsage("option '--candidates' needs '-t 0' or '--top-k': all tokens may be drawn");
  }
  const bool penalizes = o.sampling.repetition_penalty != 1.0f;
  if (penalizes && o.sampling.repetition_penalty < 1.0f) {
    throw WrongUsage("option '--candidates' needs a '--repeat-penalty' of at least 1");
  }
  const uint64_t needed = wanted + (penalizes ? o.sampling.repetition_window : 0);
  if (needed > o.config.n_candidates) {
    throw WrongUsage(format("option '--candidates' is '%u', these settings need %llu",
                            o.config.n_candidates, static_cast<unsigned long long>(needed)));
  }
}

RunOptions parse(const Words& words) {
  const Args args(words, with_sampling_options({{"-p", true},          {"--prompt-file", true},
                                                {"-n", true},          {"--ignore-end", false},
                                                {"--stats", false},    {"--hash", false},
                                                {"--kv", true},        {"--candidates", true},
                                                {"--ctx", true},       {"--draft", true},
                                                {"--sinks", true},     {"--batch", true},
                                                {"--feed", true},      {"--budget", true},
                                                {"--open", true},      {"--save", true},
                                                {"--load", true},      {"--lora", true},
                                                {"--constrain", true}, {"--heal", false},
                                                {"--arena", true},     {"--buffer", true}}));
  RunOptions o;
  o.model = args.one_positional("a model file");
  o.n = args.count("-n", 256, 0, UINT32_MAX);
  o.sampling = sampling_of(args);
  o.stats = args.has("--stats");
  o.hash = args.has("--hash");
  o.save = args.text("--save", "");
  o.load = args.text("--load", "");
  o.lora = args.text("--lora", "");
  o.rule = args.text("--constrain", "");
  if (args.has("--constrain"))
    exclude(args, "--constrain", {"--ignore-end"}, "what has ended meets the rule");
  o.heals = args.has("--heal");
  if (o.heals && o.rule.empty()) throw WrongUsage("option '--heal' needs '--constrain'");
  if (o.heals) {
    exclude(args, "--heal", {"--save", "--load"}, "the rule is then one of this prompt's own");
  }
  for (const char* option : {"--save", "--load", "--lora", "--constrain"}) {
    if (args.has(option) && args.text(option, "").empty()) {
      throw WrongUsage(std::string("option '") + option + "' is '', expected the name of a file");
    }
  }
  if (!o.save.empty() && same_file(o.save, o.model)) {
    throw WrongUsage("'" + o.save + "' would overwrite the model, expected another name");
  }
  o.ignores_end = args.has("--ignore-end");
  o.config.n_ctx = static_cast<uint32_t>(args.count("--ctx", 0, 1, UINT32_MAX));
  o.config.n_sinks = sinks_of(args);
  o.config.kv_type = kv_type_of(args);
  o.config.n_candidates = static_cast<uint32_t>(args.count("--candidates", 0, 1, 256));
  o.config.n_draft = static_cast<uint32_t>(args.count("--draft", 0, 1, 16));
  o.config.n_batch = static_cast<uint32_t>(args.count("--batch", 32, 1, 1024));
  if (args.text("--feed", "all") != "all") {
    o.feed = static_cast<size_t>(args.count("--feed", 0, 1, UINT32_MAX));
  }
  o.budget = args.count("--budget", 0, 1, UINT64_MAX);
  const std::string place = args.text("--open", "mmap");
  if (place != "mmap" && place != "memory" && place != "stream") {
    throw WrongUsage("option '--open' is '" + place + "', expected mmap, memory or stream");
  }
  o.place = place == "stream"   ? LoadedModel::kStored
            : place == "memory" ? LoadedModel::kMemory
                                : LoadedModel::kMapped;
  if (args.has("--buffer")) {
    if (place != "stream") throw WrongUsage("option '--buffer' needs '--open stream'");
    o.buffer = static_cast<size_t>(size_option(args, "--buffer"));
  }
  o.arena_bytes = static_cast<size_t>(args.count("--arena", 0, 1, SIZE_MAX / 2));
  o.prompt = read_prompt(args);
  check_candidates(args, o);
  return o;
}

double rate(double amount, double seconds) {
  return seconds > 0 ? amount / seconds : 0;
}

}  // namespace

int run_verb(const Words& words) {
  const RunOptions o = parse(words);
  const std::string isa = chosen_isa();

  const Stopwatch opening;
  const LoadedModel loaded(o.model, o.place);
  const double open_seconds = opening.seconds();
  const thimble_model& model = loaded.model();
  if (loaded.stored()) loaded.stored()->set_buffer(o.buffer);
  thimble_config config = o.config;
  config.isa = isa.c_str();
  const std::unique_ptr<LoadedAdapter> adapter = load_adapter(o.lora, loaded, &config);
  const std::unique_ptr<LoadedRule> rule =
      load_rule(o.rule, loaded, o.stats ? THIMBLE_RULES_CONFIDENCE : THIMBLE_RULES_TEXT, &config);
  const Session session(loaded, config, o.arena_bytes);
  if (adapter) use_adapter(session, *adapter);
  // A session that was saved within an answer goes on with it, unless there is another prompt.
  if (rule && !o.load.empty()) use_rule(session, rule.get());
  const std::vector<int32_t> before =
      o.load.empty() ? std::vector<int32_t>() : load_session(session, loaded, o.load);
  if (rule && !o.prompt.empty()) use_rule(session, nullptr);
  std::vector<int32_t> prompt = encode_prompt(session, loaded, o.prompt);
  // One token has to stay to begin from.
  const std::string taken_back =
      o.heals && prompt.size() > 1 ? rule_text(model, prompt.back()) : "";
  if (!taken_back.empty()) {
    rule->begin_with(taken_back, loaded);
    prompt.pop_back();
  }
  TextStream text(model);

  const Interrupt interrupt;

  // From here until the text ends nothing is allocated.
  for (int32_t token : before) text.put(token);
  for (int32_t token : prompt) text.put(token);
  flush_stdout();
  const uint32_t n_loaded = thimble_position(session);
  uint64_t hash = THIMBLE_HASH_START;
  double prefill_seconds = 0, decode_seconds = 0;
  uint64_t n_generated = 0, n_decoded = 0;
  uint64_t decode_reads = 0, decode_bytes = 0;  // of a store
  const char* why = "-n reached";
  int32_t not_fed = -1;  // the last token, if the text stops with it
  bool goes_on = true;
  if (o.n > 0 || !o.save.empty()) {
    const Stopwatch prefill;
    const size_t room = thimble_room(session);
    const size_t piece = o.feed && o.feed < room ? o.feed : room;
    for (size_t done = 0; goes_on && done < prompt.size(); done += piece) {
      const size_t left = prompt.size() - done;
      goes_on = compute_unless(interrupt, session, prompt.data() + done,
                               left < piece ? left : piece, o.budget);
    }
    prefill_seconds = prefill.seconds();
  }
  if (rule && goes_on && !has_rule(session)) use_rule(session, rule.get());
  const uint32_t n_prefilled = thimble_position(session) - n_loaded;
  while (goes_on && n_generated < o.n) {
    if (o.hash) hash = thimble_logits_hash(session, hash);
    const Stopwatch drawing;
    const int32_t token = thimble_sample(session, &o.sampling);
    decode_seconds += drawing.seconds();
    if (token < 0) {  // on a line of its own
      text.end();
      print_text("\n");
      flush_stdout();
      naming(o.model, [&] { return draw_token(session, o.sampling); });
    }
    if (thimble_is_end(&model, token) && !o.ignores_end) {
      why = "end of text";
      break;
    }
    if (thimble_is_end(&model, token)) {
      text.end();
      print_text("\n\n");
    } else {
      text.put(token);
    }
    flush_stdout();
    ++n_generated;
    not_fed = token;
    if (n_generated == o.n && o.save.empty()) break;
    if (thimble_room(session) == 0) {
      why = "context full";
      break;
    }
    not_fed = -1;
    const Stopwatch decoding;
    const uint64_t reads_before = loaded.stored() ? loaded.stored()->reads() : 0;
    const uint64_t bytes_before = loaded.stored() ? loaded.stored()->bytes() : 0;
    goes_on = compute_unless(interrupt, session, &token, 1, o.budget) && !interrupt.signal();
    decode_seconds += decoding.seconds();
    n_decoded += goes_on ? 1 : 0;
    if (loaded.stored()) {
      decode_reads += loaded.stored()->reads() - reads_before;
      decode_bytes += loaded.stored()->bytes() - bytes_before;
    }
  }
  if (!goes_on) why = "interrupted";
  text.end();
  print_text("\n");
  if (o.hash) print_text(format("logits-hash 0x%016llx\n", static_cast<unsigned long long>(hash)));
  flush_stdout();

  const std::string of_context =
      config.n_sinks ? "" : format(" of %u", thimble_context_size(session));
  std::fprintf(stderr, "stopped: %s (%llu of %llu tokens generated, %u%s positions used)\n", why,
               static_cast<unsigned long long>(n_generated), static_cast<unsigned long long>(o.n),
               thimble_position(session), of_context.c_str());
  if (o.stats) {
    const double decoded_per_second = rate(static_cast<double>(n_decoded), decode_seconds);
    std::fprintf(stderr, "prefill: %u tokens, %.0f tokens/s\n", n_prefilled,
                 rate(n_prefilled, prefill_seconds));
    std::fprintf(stderr, "decode: %llu tokens, %.0f tokens/s, %.2f GB/s of weights\n",
                 static_cast<unsigned long long>(n_decoded), decoded_per_second,
                 decoded_per_second * static_cast<double>(weight_bytes_per_token(model)) * 1e-9);
    if (rule) {
      std::fprintf(stderr, "confidence: %.6f, without its end\n",
                   static_cast<double>(thimble_session_confidence(session)));
    }
    if (o.config.n_draft > 0) print_drafts(session);
    const std::string where =
        loaded.stored() ? format("streamed, %zu of them tables", loaded.stored()->tables().size())
        : o.place == LoadedModel::kMapped ? "mapped"
                                          : "in memory";
    std::fprintf(stderr, "memory: %zu bytes of arena for %u positions; %zu bytes of model, %s\n",
                 session.arena_bytes(), thimble_context_size(session), model.image_bytes,
                 where.c_str());
    if (loaded.stored() && n_decoded > 0) {
      std::fprintf(stderr, "store: %.1f reads and %.0f bytes a token\n",
                   static_cast<double>(decode_reads) / static_cast<double>(n_decoded),
                   static_cast<double>(decode_bytes) / static_cast<double>(n_decoded));
    }
    std::fprintf(stderr, "start: opened and verified in %.2f ms; kernels: %s\n", open_seconds * 1e3,
                 thimble_isa(session));
  }
  if (!o.save.empty()) {
    save_session(session, o.save);
    std::fprintf(stderr, "saved: %s, %u positions\n", o.save.c_str(), thimble_position(session));
  }
  const int code = exit_code(interrupt);
  if (code == 0 && rule && o.n > 0 && !meets_rule(session, not_fed)) {
    throw Refused(
        o.rule + ": the text was cut off before it met the rule; " +
        (thimble_room(session) == 0 ? "the context is full" : "with a larger -n it goes on"));
  }
  return code;
}

}  // namespace thimble::tools
