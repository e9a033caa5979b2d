// SPDX-License-Identifier: MIT
// Where the time of a run goes. The engine has no clock: here it is read between its stages.
#ifndef THIMBLE_TOOLS_BENCH_PARTS_H
#define THIMBLE_TOOLS_BENCH_PARTS_H

#include <array>
#include <cstdint>
#include <vector>

#include "thimble/thimble.h"

namespace thimble::tools {

enum Part : uint32_t {
  kProjections,  // the matrices of the layers
  kAttentionPart,
  kElementwise,  // norms, activations, sums, what turns them to int8, rows of the embedding
  kHeadPart,
  kSampling,  // the next token, from logits to feeding it
  kParts
};
// As columns and as fields of JSON.
extern const std::array<const char*, kParts> kPartNames;

// Seconds of each part, or what they are in another unit.
struct PartTimes {
  std::array<double, kParts> of{};

  double total() const;
  // Of each part the smaller time: what else runs on a machine interrupts now this part, now that.
  PartTimes least_with(const PartTimes& other) const;
  // The same shares of another total.
  PartTimes scaled_to(double total) const;
};

// Feeds and computes `prompt`, then draws and computes n_decode tokens, one by one: a run of bench
// with a clock between all stages, whose own time is taken off. Throws Refused.
struct RunParts {
  PartTimes prefill, decode;
};
RunParts run_by_parts(thimble_session* session, const std::vector<int32_t>& prompt,
                      uint32_t n_decode, const thimble_sampling& sampling);

}  // namespace thimble::tools

#endif
