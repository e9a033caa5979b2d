// SPDX-License-Identifier: MIT
// thimble eval: how well a model predicts a text.
#include "eval.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>

#include "adapter_file.h"
#include "answers.h"
#include "args.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "interrupt.h"
#include "odd_text.h"
#include "output.h"
#include "progress.h"
#include "records.h"
#include "session.h"
#include "verbs.h"
#include "vocabulary.h"

namespace thimble::tools {

const char kEvalHelp[] =
    R"(usage: thimble eval MODEL TEXTFILE [options]

Measures how well a model predicts a text. Records between <|endoftext|> marks, without the white
space before them, are scored each on its own: every token given those before it, the first one
given the beginning-of-text token. A record longer than the context is cut there, unless an option
says otherwise.

  --limit BYTES      reads only the file's first BYTES; a record cut there counts as it stands
  --ctx N            positions of the context; default: the model's
  --kv f32|q8        how keys and values are cached; default f32
  --sinks N          records are not cut: behind the context each token is given the record's first
                     N tokens and its last ones, as `thimble run --sinks` has it
  --lora FILE        with an adapter of the model
  --recompute        records are not cut: behind the context each token is given the last ones, all
                     computed anew; slow, and as good as a window of that size can be
  --json             prints the result as JSON
  THIMBLE_ISA=NAME   an environment variable that forces kernels: reference, avx2, ...

It prints nll_per_token (negative log-likelihood in nats), perplexity (its exponential),
bits_per_byte, the tokens and records scored, and tokens/s; after Ctrl-C those so far.

  --answers          TEXTFILE has SENTENCE, a tab, ANSWER a line. The model is given the sentence and
                     the tab, and answers greedily until its end or that of the context. Prints how
                     many answers are exact, how many have ended, and where answers are JSON objects
                     with an "intent", or lists of such, the same by intent and how many intents are
                     right. With --ctx, --kv, --lora, --json and
  --constrain RULE   answers keep to a rule of `thimble constrain`, and have a confidence. Prints what
                     a threshold of it lets pass, for some, and for the highest one that 97 % of the
                     commands that are answered right pass. An answer passes if its confidence is
                     at or above the threshold and its intent isn't none; where none was expected,
                     the others are refused
  --threshold T      and for that one, 0 to 1
  --wrong            and each answer that isn't exact, with what was expected

Examples
  thimble eval story.thimble heldout.txt
  thimble eval story.thimble heldout.txt --limit 40000 --json
  thimble eval command.thimble commands.txt --answers --constrain command.rule --kv q8
)";

double negative_log_likelihood(const float* logits, uint32_t n, int32_t token) {
  const double max = static_cast<double>(*std::max_element(logits, logits + n));
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - max);
  return std::log(sum) + max - static_cast<double>(logits[token]);
}

Score score_records(thimble_session* session, const thimble_model& model,
                    const std::vector<std::string_view>& records, BehindContext behind,
                    const std::function<bool(double)>& progress) {
  if (model.max_token_bytes == 0) {
    throw Refused("the model has no tokenizer; convert it with --tokenizer FILE");
  }
  if (model.bos_id < 0) throw Refused("the model has no beginning-of-text token to start from");
  size_t all_bytes = 0, done_bytes = 0;
  for (std::string_view record : records) all_bytes += record.size();
  std::vector<char> text(3 * model.max_token_bytes + 3);
  const uint32_t room = thimble_context_size(session);
  if (room < 2) throw Refused("a context of 1 position leaves no token to score");
  Score score;
  const Stopwatch watch;
  for (std::string_view record : records) {
    checked(thimble_rewind(session, 0), "rewind");
    const std::vector<int32_t> tokens = encode_all(model, std::string(record), THIMBLE_ENCODE_BOS);
    // Every token but the last is fed, every one but the first is scored.
    const bool is_cut = behind == BehindContext::kCut && !is_endless(session);
    const size_t seen = is_cut ? std::min<size_t>(tokens.size(), room) : tokens.size();
    const uint32_t n = static_cast<uint32_t>(seen) - 1;
    thimble_decoder decoder{};
    for (uint32_t i = 0; i < n && score.share >= 1; ++i) {
      if (thimble_room(session) == 0) {
        checked(thimble_rewind(session, 0), "rewind");
        compute(session, &tokens[i + 1 - room], room);
      } else {
        compute(session, &tokens[i], 1);
      }
      require_finite(session);
      score.nll +=
          negative_log_likelihood(thimble_logits(session), model.vocab_size, tokens[i + 1]);
      score.bytes += static_cast<uint64_t>(
          checked(thimble_decode(&model, &decoder, tokens[i + 1], text.data(), text.size()),
                  "text of a token"));
      ++score.tokens;
      if (!progress) continue;
      const double part = static_cast<double>(i + 1) / n;
      const double done =
          (static_cast<double>(done_bytes) + part * static_cast<double>(record.size())) /
          static_cast<double>(all_bytes);
      if (!progress(done)) score.share = done;
    }
    score.records += 1;
    score.cut_records += n + 1 < tokens.size();
    done_bytes += record.size();
    if (score.share < 1) break;
  }
  score.seconds = watch.seconds();
  return score;
}

int eval_verb(const Words& words) {
  const Args args(words, {{"--limit", true},
                          {"--ctx", true},
                          {"--kv", true},
                          {"--sinks", true},
                          {"--lora", true},
                          {"--recompute", false},
                          {"--answers", false},
                          {"--constrain", true},
                          {"--threshold", true},
                          {"--wrong", false},
                          {"--json", false}});
  if (args.positional().size() != 2) {
    throw WrongUsage(format("expected a model file and a text file, found %zu arguments",
                            args.positional().size()));
  }
  if (args.has("--answers")) return eval_answers(args);
  for (const char* option : {"--constrain", "--threshold", "--wrong"}) {
    if (args.has(option)) {
      throw WrongUsage(std::string("option '") + option + "' needs '--answers'");
    }
  }
  thimble_config config{};
  config.n_ctx = static_cast<uint32_t>(args.count("--ctx", 0, 2, UINT32_MAX));
  config.kv_type = kv_type_of(args);
  config.n_sinks = sinks_of(args);
  if (config.n_sinks > 0 && args.has("--recompute")) {
    throw WrongUsage("options '--sinks' and '--recompute' exclude each other");
  }
  const BehindContext behind =
      args.has("--recompute") ? BehindContext::kRecompute : BehindContext::kCut;
  if (behind == BehindContext::kRecompute) config.n_batch = 64;
  const uint64_t limit = args.count("--limit", UINT64_MAX, 1, UINT64_MAX);
  const std::string isa = chosen_isa();
  config.isa = isa.c_str();

  const LoadedModel loaded(args.positional()[0]);
  const MappedFile file(args.positional()[1]);
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              static_cast<size_t>(std::min<uint64_t>(file.size(), limit)));
  note_oddities(text, file.path());
  const std::vector<std::string_view> records = split_records(text);
  if (records.empty()) throw Refused(file.path() + ": holds no text, only white space and marks");
  const std::unique_ptr<LoadedAdapter> adapter =
      load_adapter(args.text("--lora", ""), loaded, &config);
  const Session session(loaded, config);
  if (adapter) use_adapter(session, *adapter);
  const Interrupt interrupt;
  Score score;
  {
    Progress bar("eval");
    score = naming(loaded.path(), [&] {
      return score_records(session, loaded.model(), records, behind, [&](double share) {
        bar.show(share);
        return interrupt.signal() == 0;
      });
    });
  }

  const double nll = score.nll / static_cast<double>(score.tokens);
  if (!std::isfinite(nll)) throw Refused(loaded.path() + ": its logits are not finite numbers");
  const double bits = score.nll / std::log(2.0) / static_cast<double>(score.bytes);
  const double speed = static_cast<double>(score.tokens) / score.seconds;
  const auto count = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  print_text(format(args.has("--json") ? "{\"nll_per_token\": %.8f, \"perplexity\": %.8f, "
                                         "\"bits_per_byte\": %.8f, \"tokens\": %llu, "
                                         "\"records\": %llu, \"cut_records\": %llu, "
                                         "\"tokens_per_second\": %.1f}\n"
                                       : "nll_per_token  %.5f\nperplexity     %.5f\n"
                                         "bits_per_byte  %.5f\ntokens         %llu\n"
                                         "records        %llu (%llu cut at the context)\n"
                                         "tokens/s       %.0f\n",
                    nll, std::exp(nll), bits, count(score.tokens), count(score.records),
                    count(score.cut_records), speed));
  if (score.share < 1) {
    std::fprintf(stderr, "interrupted: that is the score of the first %.1f %% of the text\n",
                 100 * score.share);
  }
  return exit_code(interrupt);
}

}  // namespace thimble::tools
