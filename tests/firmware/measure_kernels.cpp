// SPDX-License-Identifier: MIT
// Instructions of the board's own products of int8 and of 4-bit weights, in thousandths a
// multiply-accumulate.
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
  for (uint32_t i = 0; i < kSize; ++i) g_x[i] = static_cast<float>(g_weights[i]);
}

void measure_matmul(const char* key, WeightType type, uint32_t group, uint32_t row_tile) {
  const Kernels& kernels = *kernels_at(0);
  const Matrix w = {g_weights, g_scales, kSize, kSize, kSize, row_tile, group, kSize / group, type};
  const QuantizedRows x = {g_values, g_x_scales, g_sums, kSize, group, kSize / group};
  const bool q4 = type == kWeightQ4;
  const auto matmul = q4 ? kernels.matmul_q4 : kernels.matmul_q8;
  uint16_t sign = 0;
  for (uint16_t& scale : g_scales) {
    scale = 0x3c00 | sign;  // bf16: 2^-7
    if (q4) sign ^= 0x8000;
  }
  kernels.quantize_q8(x, g_x, kSize, kSize, 1);
  const uint64_t start = board_instructions();
  for (uint32_t round = 0; round < kRounds; ++round) {
    matmul(g_out, kSize, w, 0, tile_count(w), x, 1);
  }
  const uint64_t all = board_instructions() - start;
  report_of(key, row_tile, all * 1000 / (uint64_t{kRounds} * kSize * kSize));
}

}  // namespace

extern "C" void measure_kernels(void) {
  fill();
  for (uint32_t row_tile = 1; row_tile <= 16; row_tile *= 2) {
    measure_matmul("mac_row_tile", kWeightQ8, kSize, row_tile);
    measure_matmul("mac_group32_tile", kWeightQ8, 32, row_tile);
    measure_matmul("mac4_row_tile", kWeightQ4, kSize, row_tile);
    measure_matmul("mac4_group32_tile", kWeightQ4, 32, row_tile);
  }
}
