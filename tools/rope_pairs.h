// SPDX-License-Identifier: MIT
// Which dimensions of a head a rotary position turns together (Su et al. 2021), and the way from a
// checkpoint's convention to the engine's.
#ifndef THIMBLE_TOOLS_ROPE_PAIRS_H
#define THIMBLE_TOOLS_ROPE_PAIRS_H

#include <cstdint>

namespace thimble::tools {

enum class RopePairs {
  kNeighbours,  // (2i, 2i + 1): the engine's own, Llama's and llama2.c's
  kHalves       // (i, i + half of what is rotated): Hugging Face's
};

// The row of a checkpoint's q or k matrix that has to be the engine's row `row`. Scores do not
// change when q and k are permuted alike, so moving the rows is all there is to do. Dimensions from
// rotary_dim on are not rotated and stay.
inline uint32_t rope_source_row(RopePairs pairs, uint32_t row, uint32_t head_dim,
                                uint32_t rotary_dim) {
  const uint32_t in_head = row % head_dim;
  if (pairs == RopePairs::kNeighbours || in_head >= rotary_dim) return row;
  return row - in_head + in_head / 2 + (in_head % 2) * (rotary_dim / 2);
}

}  // namespace thimble::tools

#endif
