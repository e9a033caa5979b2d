// SPDX-License-Identifier: MIT
// Instructions of the board's own int8 product, in thousandths a multiply-accumulate.
#include "board.h"
#include "kernels/kernels.h"
#include "measure.h"

using namespace thimble;

namespace {

constexpr uint32_t kSize = 256, kRounds = 8;
int8_t g_weights[kSize * kSize], g_values[kSize];
uint16_t g_scales[kSize * kSize / 32];
float g_x[kSize], g_out[kSize], g_x_scales[kSize / 32];
int32_t g_sums[kSize / 32];

void fill() {
  uint32_t state = 1;
  for (int8_t& weight : g_weights) {
    state = state * 1664525u + 1013904223u;
    weight = static_cast<int8_t>(static_cast<int32_t>((state >> 24) % 255) - 127);
  }
  for (uint16_t& scale : g_scales) scale = 0x3c00;  // bf16: 2^-7
  for (uint32_t i = 0; i < kSize; ++i) g_x[i] = static_cast<float>(g_weights[i]);
}

void measure_matmul(const char* key, uint32_t group, uint32_t row_tile) {
  const Kernels& kernels = *kernels_at(0);
  const Matrix w = {g_weights, g_scales, kSize,         kSize,    kSize,
                    row_tile,  group,    kSize / group, kWeightQ8};
  const QuantizedRows x = {g_values, g_x_scales, g_sums, kSize, group, kSize / group};
  kernels.quantize_q8(x, g_x, kSize, kSize, 1);
  const uint64_t start = board_instructions();
  for (uint32_t round = 0; round < kRounds; ++round) {
    kernels.matmul_q8(g_out, kSize, w, 0, tile_count(w), x, 1);
  }
  const uint64_t all = board_instructions() - start;
  report_of(key, row_tile, all * 1000 / (uint64_t{kRounds} * kSize * kSize));
}

}  // namespace

extern "C" void measure_kernels(void) {
  fill();
  for (uint32_t row_tile = 1; row_tile <= 16; row_tile *= 2) {
    measure_matmul("mac_row_tile", kSize, row_tile);
    measure_matmul("mac_group32_tile", 32, row_tile);
  }
}
