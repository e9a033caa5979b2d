// SPDX-License-Identifier: MIT
// How fast a model runs, and what the machine can do at best.
#ifndef THIMBLE_TOOLS_BENCH_MEASURE_H
#define THIMBLE_TOOLS_BENCH_MEASURE_H

#include <cstddef>
#include <cstdint>
#include <string>

#include "bench_parts.h"
#include "rule_file.h"
#include "thimble/thimble.h"

namespace thimble::tools {

struct BenchWork {
  uint32_t n_ctx = 0;      // positions of the key/value cache
  uint32_t n_batch = 0;    // tokens of one pass over the weights
  uint32_t n_prefill = 0;  // tokens that are fed at once
  uint32_t n_decode = 0;   // tokens that are then drawn and fed, one by one
  uint32_t n_runs = 0;     // each from a session rewound to `depth`
  uint32_t kv_type = THIMBLE_KV_F32;
  uint32_t depth = 0;                // tokens that are in the cache before
  thimble_sampling sampling{};       // greedy
  uint32_t n_draft = 0;              // tokens that are computed ahead at most
  bool has_parts = false;            // runs for the time by part, too
  const LoadedRule* rule = nullptr;  // what is decoded under, too
};

// Of all runs.
struct RunSeconds {
  double fastest = 0, median = 0;
};

struct BenchResult {
  std::string isa;
  RunSeconds prefill, decode;
  RunSeconds ruled;  // the same decoding under the rule
  // Each part's share in the sum of the parts' fastest times, as seconds of the fastest run; 0
  // where they were not asked for.
  PartTimes prefill_parts, decode_parts;
  uint64_t logits_hash = 0;  // of all logits that tokens were drawn from
  size_t arena_bytes = 0;
  double cpu_share = 1;  // of the time, how much this thread ran: less than 1 on a busy machine
};

// Runs the work on the kernels `isa`. Throws Refused, also when two runs give different logits.
BenchResult measure(const thimble_model& model, const BenchWork& work, const std::string& isa);

// What the machine can do, in bytes and operations a second.
struct MachineLimits {
  double dram = 0, cache = 0;  // reading a block that no cache holds, and one of kCachedBytes
  double weights = 0;          // reading a block as large as the weights of a token
  double f32 = 0, int8 = 0;    // operations
  const char* f32_with = "";
  const char* int8_with = "";
};
MachineLimits measure_limits(uint64_t weight_bytes);

}  // namespace thimble::tools

#endif
