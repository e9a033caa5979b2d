// SPDX-License-Identifier: MIT
// The reference's functions by name, for the tables of other kernels: they start from
// reference_table() and put in what their instructions do better, and the linker drops what no
// table names.
#ifndef THIMBLE_SRC_KERNELS_REFERENCE_H
#define THIMBLE_SRC_KERNELS_REFERENCE_H

#include "kernels.h"

namespace thimble {

void matmul_f32_reference(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                          uint32_t tile_end, const float* x, size_t x_stride, uint32_t n);
void matmul_q8_reference(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                         uint32_t tile_end, const QuantizedRows& x, uint32_t n);
void matmul_q4_reference(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                         uint32_t tile_end, const QuantizedRows& x, uint32_t n);
void quantize_q8_reference(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                           uint32_t n);
void rms_norm_reference(float* out, const float* x, const float* weight, uint32_t n, float eps);
void layer_norm_reference(float* out, const float* x, const float* weight, const float* bias,
                          uint32_t n, float eps);
void rope_table_reference(float* table, const uint64_t* frequencies, uint32_t head_dim,
                          uint32_t position);
void rotate_reference(float* x, const float* table, uint32_t n_heads, uint32_t head_dim,
                      float scale);
void softmax_reference(float* x, size_t stride, uint32_t n_rows, uint32_t n);
void mix_values_reference(float* out, const float* weights, size_t weights_stride,
                          const float* values, size_t kv_stride, uint32_t n, uint32_t head_dim,
                          uint32_t n_heads, uint32_t q);
void mix_values_q8_reference(float* out, const float* weights, size_t weights_stride,
                             const int8_t* values, const uint16_t* scales, uint32_t n,
                             uint32_t head_dim, uint32_t n_heads);
void swiglu_reference(float* out, const float* gate, const float* up, uint32_t n);
void activate_reference(float* out, const float* x, const float* up, uint32_t n, uint32_t type);
void add_reference(float* x, const float* y, uint32_t n);
uint32_t argmax_reference(const float* x, uint32_t n);
void odds_reference(uint32_t* weights, const float* x, uint32_t n, float max,
                    float inv_temperature);

// A sum in lanes to one number, as rms_norm and softmax do; the lanes are written over.
float fold_lanes(float (&lanes)[kLanes]);

static constexpr Kernels reference_table() {
  return {"reference",
          4,
          matmul_f32_reference,
          matmul_q8_reference,
          kHasQ4 ? matmul_q4_reference : nullptr,
          quantize_q8_reference,
          kHasRmsNorm ? rms_norm_reference : nullptr,
          kHasLayerNorm ? layer_norm_reference : nullptr,
          rope_table_reference,
          rotate_reference,
          softmax_reference,
          mix_values_reference,
          mix_values_q8_reference,
          kHasSwiglu ? swiglu_reference : nullptr,
          kHasActivations ? activate_reference : nullptr,
          add_reference,
          argmax_reference,
          odds_reference,
          nullptr};
}

}  // namespace thimble

#endif
