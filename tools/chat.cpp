// SPDX-License-Identifier: MIT
// thimble chat: turns of a person, turns of a model. What was said stays in the cache.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "adapter_file.h"
#include "args.h"
#include "engine.h"
#include "error.h"
#include "interrupt.h"
#include "model.h"
#include "odd_text.h"
#include "output.h"
#include "rule_file.h"
#include "sampling.h"
#include "thimble/thimble.h"
#include "verbs.h"

namespace thimble::tools {

const char kChatHelp[] =
    R"(usage: thimble chat MODEL [options]

Talks in turns with an instruction model. Each line of stdin is a turn of yours; answers go to
stdout as they are computed, everything else to stderr. Earlier turns stay in the cache and are not
computed again. It ends with the input, or when the context is full. Control characters are spelled
out where stdout is a terminal.

The model file has the texts around turns, which `thimble convert` takes from the model's own chat
template, or from --turns.

The chat
  --lora FILE          with an adapter of the model, as thimble train --lora writes it
  --constrain FILE     each answer meets a rule of thimble constrain
  --system TEXT        what holds for the whole chat; default: none
  -n N                 tokens of an answer at most, 1 or more; default: until it ends

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

How keys and values are cached
  --kv f32|q8          float32, or int8 in about a quarter of the memory; default f32
  --ctx C              positions of the cache; default: the model's
  --sinks N            a chat without end, 1 to 64: each token sees the first N positions and the last
                       C - N, in the same memory; what was said in between is forgotten

How it is computed; it does not change the text
  --draft N            compute up to N tokens ahead, looked up in the text so far, 1 to 16: fewer
                       passes where an answer repeats what was said; default: none

What it shows
  --stats              what each turn took and what the cache kept, on stderr

Examples
  thimble chat smollm2.thimble
  thimble chat smollm2.thimble --system "Answer in one sentence." -t 0
  printf 'Hello!\nWhat did I say?\n' | thimble chat smollm2.thimble --seed 7 --stats
)";

namespace {

constexpr size_t kMaxLineBytes = 1 << 20;

struct ChatOptions {
  std::string model, system, lora, rule;
  thimble_sampling sampling{};
  thimble_config config{};
  uint64_t n = 0;
  bool stats = false;
};

ChatOptions parse(const Words& words) {
  const Args args(words, with_sampling_options({{"--system", true},
                                                {"-n", true},
                                                {"--kv", true},
                                                {"--ctx", true},
                                                {"--draft", true},
                                                {"--sinks", true},
                                                {"--lora", true},
                                                {"--constrain", true},
                                                {"--stats", false}}));
  ChatOptions o;
  o.model = args.one_positional("a model file");
  o.system = args.text("--system", "");
  o.lora = args.text("--lora", "");
  o.rule = args.text("--constrain", "");
  o.sampling = sampling_of(args);
  o.n = args.count("-n", 0, 1, UINT32_MAX);
  o.config.n_ctx = static_cast<uint32_t>(args.count("--ctx", 0, 1, UINT32_MAX));
  o.config.n_batch = 32;
  o.config.n_sinks = sinks_of(args);
  o.config.kv_type = kv_type_of(args);
  o.config.n_draft = static_cast<uint32_t>(args.count("--draft", 0, 1, 16));
  o.stats = args.has("--stats");
  return o;
}

std::string trimmed(const std::string& text) {
  const char* const kSpaces = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpaces);
  return begin == std::string::npos
             ? ""
             : text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

// A line without white space around it; false at the end of the input.
bool read_line(bool shows_prompt, std::string* line) {
  if (shows_prompt) {
    std::fprintf(stderr, "> ");
    std::fflush(stderr);
  }
  line->clear();
  int c;
  while ((c = std::getc(stdin)) != EOF && c != '\n') {
    if (line->size() == kMaxLineBytes) {
      throw Refused(format("stdin: a line of more than %zu bytes", kMaxLineBytes));
    }
    line->push_back(static_cast<char>(c));
  }
  const bool is_there = c != EOF || !line->empty();
  *line = trimmed(*line);
  return is_there;
}

class Chat {
 public:
  Chat(const LoadedModel& loaded, const ChatOptions& options, const thimble_config& config,
       const LoadedAdapter* adapter, const LoadedRule* rule)
      : options_(options),
        model_(loaded.model()),
        session_(loaded, config),
        rule_(rule),
        text_(model_),
        turn_bytes_(header_of(model_).turn_bytes) {
    if (adapter) use_adapter(session_, *adapter);
  }

  // False if the context has no room for it.
  bool say(thimble_role role, const std::string& text, uint32_t flags) {
    std::vector<int32_t> tokens(3 * (text.size() + turn_bytes_) + 3);
    const int32_t n = thimble_encode_turn(session_, role, text.data(), text.size(), flags | after_,
                                          tokens.data(), tokens.size());
    if (n == THIMBLE_ERROR_TEXT_TOO_LONG) {
      throw Refused(
          format("this turn has a word of more than %zu bytes, the longest one that can be "
                 "merged; white space in it makes two of it",
                 thimble_encode_word_bytes(session_)));
    }
    const size_t count = pending_.size() + static_cast<size_t>(checked(n, "turn"));
    const uint32_t kept = thimble_position(session_);
    if (count > thimble_room(session_)) {
      std::fprintf(stderr, "this turn of %zu tokens does not fit\n", count);
      return false;
    }
    tokens.resize(static_cast<size_t>(n));
    tokens.insert(tokens.begin(), pending_.begin(), pending_.end());
    pending_.clear();
    const Stopwatch watch;
    if (!tokens.empty()) compute(session_, tokens.data(), tokens.size());
    fed_ = tokens.size();
    prefill_seconds_ = watch.seconds();
    kept_ = kept;
    after_ = role == THIMBLE_ROLE_SYSTEM ? THIMBLE_TURN_AFTER_SYSTEM : 0;
    return true;
  }

  // The answer, to stdout. False if the context was full before it ended, or it was interrupted.
  bool answer() {
    const Interrupt interrupt;
    const Stopwatch watch;
    uint64_t n = 0;
    bool is_whole = true;
    if (rule_) use_rule(session_, rule_);
    for (;;) {
      const int32_t token =
          naming(options_.model, [&] { return draw_token(session_, options_.sampling); });
      if (thimble_is_end(&model_, token)) break;
      text_.put(token);
      flush_stdout();
      if (++n == options_.n) {
        pending_.push_back(token);
        if (rule_ && !meets_rule(session_, token)) {
          std::fprintf(stderr, "this answer was cut off before it met %s\n", rule_->path().c_str());
        }
        break;
      }
      if (thimble_room(session_) == 0) {
        is_whole = false;
        break;
      }
      if (!compute_unless(interrupt, session_, &token, 1) || interrupt.signal()) {
        code_ = exit_code(interrupt);
        break;
      }
    }
    text_.end();
    print_text("\n");
    flush_stdout();
    if (rule_ && code_ == 0) use_rule(session_, nullptr);
    after_ = THIMBLE_TURN_AFTER_ANSWER;
    ++n_turns_;
    if (options_.stats) print_stats(n, watch.seconds());
    return is_whole && code_ == 0;
  }

  // Why it did not go on; the exit code.
  int end() const {
    if (code_ == 0) print_full();
    return code_;
  }

 private:
  void print_full() const {
    std::fprintf(stderr, "stopped: context full (%u of %u positions used); begin a new chat%s\n",
                 thimble_position(session_), thimble_context_size(session_),
                 thimble_context_size(session_) < model_.n_ctx ? ", or give a larger --ctx" : "");
  }

  void print_stats(uint64_t n, double decode_seconds) const {
    const auto rate = [](double amount, double seconds) {
      return seconds > 0 ? amount / seconds : 0;
    };
    std::fprintf(stderr,
                 "turn %u: %u tokens kept in the cache, not computed again; %zu new ones, %.0f "
                 "tokens/s; %llu generated, %.0f tokens/s\n",
                 n_turns_, kept_, fed_, rate(static_cast<double>(fed_), prefill_seconds_),
                 static_cast<unsigned long long>(n), rate(static_cast<double>(n), decode_seconds));
    if (options_.config.n_draft > 0) print_drafts(session_);
  }

  const ChatOptions& options_;
  const thimble_model& model_;
  const Session session_;
  const LoadedRule* rule_;  // that answers meet; null: any
  TextStream text_;
  const uint32_t turn_bytes_;
  std::vector<int32_t> pending_;  // shown, not fed yet
  uint32_t after_ = 0;            // THIMBLE_TURN_AFTER_...: what came last
  uint32_t kept_ = 0, n_turns_ = 0;
  size_t fed_ = 0;
  double prefill_seconds_ = 0;
  int code_ = 0;
};

}  // namespace

int chat_verb(const Words& words) {
  const ChatOptions o = parse(words);
  const std::string isa = chosen_isa();
  const LoadedModel loaded(o.model);
  const FileHeader& h = header_of(loaded.model());
  if (h.tokenizer == kTokenizerNone) {
    throw Refused(o.model + ": has no tokenizer; convert it with --tokenizer FILE");
  }
  if (h.turn_bytes == 0) {
    throw Refused(o.model +
                  ": has no texts around turns, so it cannot chat; if it is an instruction model, "
                  "convert it again with --turns NAME or --user-open TEXT ... (thimble convert "
                  "--help), otherwise use thimble run");
  }
  thimble_config config = o.config;
  config.isa = isa.c_str();
  const std::unique_ptr<LoadedAdapter> adapter = load_adapter(o.lora, loaded, &config);
  const std::unique_ptr<LoadedRule> rule = load_rule(o.rule, loaded, THIMBLE_RULES_TEXT, &config);
  Chat chat(loaded, o, config, adapter.get(), rule.get());

  const bool is_terminal = isatty(STDIN_FILENO) == 1;
  const std::string system = trimmed(o.system);
  if (!system.empty() && !chat.say(THIMBLE_ROLE_SYSTEM, system, 0)) return chat.end();
  for (std::string line; read_line(is_terminal, &line);) {
    if (line.empty()) continue;
    note_oddities(line, "stdin");
    if (!chat.say(THIMBLE_ROLE_USER, line, THIMBLE_TURN_ANSWER) || !chat.answer()) {
      return chat.end();
    }
  }
  if (is_terminal) std::fprintf(stderr, "\n");
  return 0;
}

}  // namespace thimble::tools
