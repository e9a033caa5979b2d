// SPDX-License-Identifier: MIT
// The adapter in use of a session, and the memory that its products need. (Hu et al. 2021)
//
// What a stage that multiplies gives with it, of the input x, in the order of the sums:
//   h = A x             as the kernels define products; of int8 weights, x as it is quantized for W
//   d = B h             of int8 weights, h quantized like any input, the whole row as one group
//   y[r] = (W x)[r] + d[r]
// Biases come behind. So tables of kernels, batches and slices give the same bits, and a core
// without an FPU has one fma and one addition more a row: with B in float32 it would be rank of
// them. What rounding B A to int8 costs is a share of B A, and the model's own is one of W.
#ifndef THIMBLE_SRC_LORA_H
#define THIMBLE_SRC_LORA_H

#include "adapter.h"
#include "arena.h"
#include "kernels/kernels.h"

namespace thimble {

// Rows of d that are computed at once.
constexpr uint32_t kLoraChunk = 64;

// What the structure takes of the arena, the same on every chip (as kSessionBytes).
constexpr uint32_t kLoraBytes = 512;

struct Lora {
  LoraPair pairs[kLoraKinds];  // of layer 0
  size_t layer_bytes;          // to the pairs of the next layer
  float* hidden;               // (n_batch, hidden_stride): h
  float* delta;                // (n_batch, kLoraChunk): a part of d
  QuantizedRows input;         // of int8 weights: h, (n_batch, rank rounded up to 4)
  uint32_t hidden_stride;
  uint32_t max_rank;
  uint32_t matrices;              // those that the adapter in use has; 0: there is none
  uint32_t header_crc, data_crc;  // its own
};
static_assert(sizeof(Lora) <= kLoraBytes, "the structure has a fixed place");

// With memory for adapters up to `max_rank`; null while the arena only counts.
Lora* lora_take(Arena* arena, const thimble_model& model, uint32_t n_batch, uint32_t max_rank);

// From now on that adapter, of a rank up to max_rank, of the session's model; null: none.
void lora_use(Lora* lora, const thimble_adapter* adapter, uint32_t n_layers);

// The pair for kLoraSections[which] of a layer.
inline LoraPair lora_pair(const Lora& lora, uint32_t which, uint32_t layer) {
  LoraPair pair = lora.pairs[which];
  const size_t bytes = layer * lora.layer_bytes;
  Matrix* both[] = {&pair.a, &pair.b};
  for (Matrix* m : both) {
    m->data = static_cast<const uint8_t*>(m->data) + bytes;
    if (m->scales) m->scales += bytes / sizeof(uint16_t);
  }
  return pair;
}

}  // namespace thimble

#endif
