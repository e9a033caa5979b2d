// SPDX-License-Identifier: MIT
#include "lora.h"

#include <string.h>

#include "parts.h"

#if THIMBLE_LORA
namespace thimble {

Lora* lora_take(Arena* arena, const thimble_model& model, uint32_t n_batch, uint32_t max_rank) {
  Lora* lora = reinterpret_cast<Lora*>(arena->take<uint8_t>(kLoraBytes));
  Lora taken = {};
  taken.max_rank = max_rank;
  taken.hidden_stride = static_cast<uint32_t>(round_up(max_rank, kLanes));
  taken.hidden = arena->take<float>(uint64_t{n_batch} * taken.hidden_stride);
  taken.delta = arena->take<float>(uint64_t{n_batch} * kLoraChunk);
  if (model.weight_type != kWeightF32) {
    taken.input.values = arena->take<int8_t>(uint64_t{n_batch} * round_up(max_rank, 4));
    taken.input.scales = arena->take<float>(n_batch);
    taken.input.sums = arena->take<int32_t>(n_batch);
  }
  if (lora) *lora = taken;
  return lora;
}

void lora_use(Lora* lora, const thimble_adapter* adapter, uint32_t n_layers) {
  lora->matrices = lora->header_crc = lora->data_crc = 0;
  if (!adapter) return;
  const AdapterHeader& h = header_of(*adapter);
  for (uint32_t which = 0; which < kLoraKinds; ++which) {
    if (h.matrices & lora_bit(which)) lora->pairs[which] = adapter_pair(*adapter, which, 0);
  }
  lora->layer_bytes = adapter_layer_bytes(*adapter, n_layers);
  lora->input.padded_cols = lora->input.group = static_cast<uint32_t>(round_up(h.rank, 4));
  lora->input.n_groups = 1;
  lora->matrices = h.matrices;
  lora->header_crc = h.header_crc;
  lora->data_crc = h.data_crc;
}

}  // namespace thimble
#endif
