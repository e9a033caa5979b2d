// SPDX-License-Identifier: MIT
// How fast a model runs, beside what the machine can do at best.
#ifndef THIMBLE_TOOLS_BENCH_H
#define THIMBLE_TOOLS_BENCH_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "image.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// A shape by its name (15M), or by its numbers: dim,hidden,layers,heads,kv_heads,vocab,ctx. The
// head is tied. Throws WrongUsage.
ModelShape parse_shape(const std::string& text);

// A model of that shape without a tokenizer, with random weights as small as trained ones. The same
// ones every time, whatever their layout. Throws Refused.
ImageInMemory random_image(const ModelShape& shape, const WeightLayout& layout);

struct BenchWork {
  uint32_t n_ctx = 0;      // positions of the key/value cache
  uint32_t n_batch = 0;    // tokens of one pass over the weights
  uint32_t n_draft = 0;    // tokens that are computed ahead at most
  uint32_t n_prefill = 0;  // tokens that are fed at once
  uint32_t n_decode = 0;   // tokens that are then drawn and fed, one by one
  uint32_t n_runs = 0;     // each from a rewound session
  uint32_t kv_type = THIMBLE_KV_F32;
};

struct BenchResult {
  std::string isa;
  double prefill_seconds = 0, decode_seconds = 0;  // of the fastest run
  uint64_t logits_hash = 0;                        // of all logits that tokens were drawn from
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

struct BenchReport {
  std::string name;  // of the model
  thimble_model model{};
  BenchWork work;
  std::vector<BenchResult> results;
  size_t peak_rss_bytes = 0;
  bool has_limits = false;
  MachineLimits limits;
};
std::string to_text(const BenchReport& report);
std::string to_json(const BenchReport& report);

}  // namespace thimble::tools

#endif
