// SPDX-License-Identifier: MIT
#include "bench_measure.h"

#include <algorithm>
#include <ctime>
#include <vector>

#include "aligned_block.h"
#include "engine.h"
#include "error.h"
#include "machine.h"
#include "session.h"

namespace thimble::tools {
namespace {

// No new run starts after so long.
constexpr double kEnoughSeconds = 10, kEnoughForParts = 3;

// Any tokens will do: how long they take does not depend on which they are.
std::vector<int32_t> any_tokens(const thimble_model& model, uint32_t n) {
  std::vector<int32_t> tokens(n);
  uint64_t at = 1;
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(at % model.vocab_size);
    at += 7919;
  }
  if (n > 0 && model.bos_id >= 0) tokens[0] = model.bos_id;
  return tokens;
}

// Fills the cache with `tokens`, or goes back to them. A layer with a window may have dropped what
// the next token sees: then they are computed again, before the time that is measured.
void go_to_depth(thimble_session* session, const std::vector<int32_t>& tokens) {
  const uint32_t depth = static_cast<uint32_t>(tokens.size());
  const bool was_there = thimble_position(session) >= depth;
  checked(thimble_rewind(session, was_there ? depth : 0), "rewind");
  if (was_there && session->cached == depth) return;
  checked(thimble_rewind(session, 0), "rewind");
  compute(session, tokens.data(), tokens.size());
}

struct Run {
  double prefill, decode;  // seconds
};

// Draws as many tokens as the decoding before, behind the same ones, but by the rule. Where an
// answer ends the next one begins; drawing an end is nothing that is computed, and does not count.
double run_ruled(const thimble_model& model, thimble_session* session,
                 const std::vector<int32_t>& prompt, const BenchWork& work) {
  checked(thimble_rewind(session, work.depth + work.n_prefill - 1), "rewind");
  compute(session, &prompt.back(), 1);
  use_rule(session, work.rule);
  double seconds = 0;
  uint32_t computed = 0;
  for (uint32_t i = 0; i < work.n_decode; ++i) {
    const Stopwatch step;
    const int32_t token = draw_token(session, work.sampling);
    if (thimble_is_end(&model, token)) {
      use_rule(session, work.rule);
      continue;
    }
    compute(session, &token, 1);
    seconds += step.seconds();
    ++computed;
  }
  use_rule(session, nullptr);
  return computed > 0 ? seconds / computed * work.n_decode : 0;
}

// `hash` (may be null) is continued over the logits, outside of the time.
Run run_once(thimble_session* session, const std::vector<int32_t>& prompt, const BenchWork& work,
             uint64_t* hash) {
  Run run{};
  const Stopwatch prefill;
  compute(session, prompt.data(), prompt.size());
  run.prefill = prefill.seconds();

  double hashing_seconds = 0;
  const Stopwatch decode;
  for (uint32_t i = 0; i < work.n_decode; ++i) {
    if (hash) {
      const Stopwatch hashing;
      *hash = thimble_logits_hash(session, *hash);
      hashing_seconds += hashing.seconds();
    }
    const int32_t token = draw_token(session, work.sampling);
    compute(session, &token, 1);
  }
  run.decode = decode.seconds() - hashing_seconds;
  return run;
}

RunSeconds seconds_of(std::vector<double> runs) {
  std::sort(runs.begin(), runs.end());
  const size_t half = runs.size() / 2;
  const double median = runs.size() % 2 ? runs[half] : (runs[half - 1] + runs[half]) / 2;
  return {runs[0], median};
}

}  // namespace

BenchResult measure(const thimble_model& model, const BenchWork& work, const std::string& isa) {
  thimble_config config{};
  config.n_ctx = work.n_ctx;
  config.n_batch = work.n_batch;
  config.kv_type = work.kv_type;
  config.n_draft = work.n_draft;
  config.rules = work.rule ? THIMBLE_RULES_TEXT : 0;
  config.isa = isa.c_str();
  const AlignedBlock arena(thimble_session_bytes(&model, &config));
  thimble_session* session = nullptr;
  checked(thimble_session_init(&session, &model, &config, arena.data(), arena.size()), "session");

  BenchResult result;
  result.isa = thimble_isa(session);
  result.arena_bytes = arena.size();
  result.logits_hash = THIMBLE_HASH_START;
  const std::vector<int32_t> before = any_tokens(model, work.depth);
  const std::vector<int32_t> prompt = any_tokens(model, work.n_prefill);
  std::vector<double> prefills, decodes, ruled;
  uint64_t last_logits = 0;
  const Stopwatch all;
  const std::clock_t cpu_start = std::clock();
  for (uint32_t run = 0; run < work.n_runs; ++run) {
    if (run > 0 && all.seconds() > kEnoughSeconds) break;
    go_to_depth(session, before);
    const Run seconds = run_once(session, prompt, work, run == 0 ? &result.logits_hash : nullptr);
    const uint64_t now = thimble_logits_hash(session, THIMBLE_HASH_START);
    if (run == 0) last_logits = now;
    if (now != last_logits) {
      throw Refused(format("%s: run %u gave other logits than run 1", result.isa.c_str(), run + 1));
    }
    prefills.push_back(seconds.prefill);
    decodes.push_back(seconds.decode);
    if (work.rule) ruled.push_back(run_ruled(model, session, prompt, work));
  }
  result.prefill = seconds_of(prefills);
  result.decode = seconds_of(decodes);
  if (work.rule) result.ruled = seconds_of(ruled);
  const double cpu_seconds = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  result.cpu_share = std::min(1.0, cpu_seconds / std::max(all.seconds(), 1e-9));
  if (!work.has_parts) return result;

  RunParts least;
  const Stopwatch by_parts;
  for (uint32_t run = 0; run < work.n_runs; ++run) {
    if (run > 0 && by_parts.seconds() > kEnoughForParts) break;
    go_to_depth(session, before);
    const RunParts parts = run_by_parts(session, prompt, work.n_decode, work.sampling);
    if (thimble_logits_hash(session, THIMBLE_HASH_START) != last_logits) {
      throw Refused(format("%s: a run in parts gave other logits", result.isa.c_str()));
    }
    least.prefill = run == 0 ? parts.prefill : least.prefill.least_with(parts.prefill);
    least.decode = run == 0 ? parts.decode : least.decode.least_with(parts.decode);
  }
  result.prefill_parts = least.prefill.scaled_to(result.prefill.fastest);
  result.decode_parts = least.decode.scaled_to(result.decode.fastest);
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

}  // namespace thimble::tools
