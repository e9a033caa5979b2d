// SPDX-License-Identifier: MIT
// The trainer's inner loops, forward and backward. A table of them for each instruction set; unlike
// the engine's they do not give the same bits on all of them.
//
// Matrices are rows of floats; `ld` is the distance of two rows. `add` results are added to what is
// there. Nothing allocates.
#ifndef THIMBLE_TOOLS_TRAIN_KERNELS_H
#define THIMBLE_TOOLS_TRAIN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

namespace thimble::tools::train {

// A matrix on the right of a product, (k, n): panels of `panel` columns, each (k, panel), the last
// one padded with zeros.
struct PackedMatrix {
  const float* data;
  uint32_t k, n;
};

// Attention of one sequence: tokens [0, n) of a layer, causal, from their own beginning on.
struct AttentionCall {
  const float* qkv;  // (n, ld): heads of q (rotated and scaled), k (rotated), v
  size_t ld;
  const float* context;  // (n, ld_context): heads of the result; of the backward pass input
  size_t ld_context;
  float*
      log_sums;  // (n_heads, n): of the softmax; the forward pass writes, the backward reads them
  uint32_t n, n_heads, n_kv_heads, head_dim;
  uint32_t window;        // positions that a query sees, its own included; 0: all
  float dropout;          // share of the weights that becomes 0
  uint64_t dropout_seed;  // the same for both passes
  float* scratch;         // attention_scratch() floats
};

struct AdamStep {
  float rate, beta1, beta2, correction1, correction2, epsilon, decay, gradient_scale;
};

struct Kernels {
  const char* name;
  const char* same_bits_as;  // with one precision, tables that have this in common give the same
  const char* precision;  // of what matrices' products multiply: "f32", or "int16" (lanes_whole.h)
  uint32_t panel;

  // Packs (k, n): element (i, j) lies at b[i * k_stride + j * n_stride].
  // out: packed_floats(k, n).
  size_t (*packed_floats)(uint32_t k, uint32_t n);
  void (*pack)(float* out, const float* b, size_t k_stride, size_t n_stride, uint32_t k,
               uint32_t n);
  // c (m, b.n) = a (m, b.k) * b. scratch: kProductScratch floats.
  void (*multiply)(float* c, size_t ldc, const float* a, size_t lda, const PackedMatrix& b,
                   uint32_t m, bool add, float* scratch);
  // c (n, k) += a (m, n)' * b (m, k). scratch: kProductScratch floats.
  void (*add_outer)(float* c, size_t ldc, const float* a, size_t lda, const float* b, size_t ldb,
                    uint32_t m, uint32_t n, uint32_t k, float* scratch);

  // out = x / sqrt(mean(x^2) + eps) * weight for each row.
  void (*rms_norm)(float* out, const float* x, const float* weight, uint32_t rows, uint32_t n,
                   float eps);
  // dx += , dweight +=
  void (*rms_norm_backward)(float* dx, float* dweight, const float* dy, const float* x,
                            const float* weight, uint32_t rows, uint32_t n, float eps);
  // weight: (2, n), weight and bias; so is dweight.
  void (*layer_norm)(float* out, const float* x, const float* weight, uint32_t rows, uint32_t n,
                     float eps);
  void (*layer_norm_backward)(float* dx, float* dweight, const float* dy, const float* x,
                              const float* weight, uint32_t rows, uint32_t n, float eps);

  // Rotates heads in place as the engine does: table (2 * head_dim) of the position. `inverse` is
  // the backward pass.
  void (*rotate)(float* x, const float* table, uint32_t n_heads, uint32_t head_dim, float scale,
                 bool inverse);

  // type: ActivationType. x: (rows, 2 n) gate and up if gated, (rows, n) otherwise; out: (rows, n).
  void (*activate)(float* out, const float* x, uint32_t rows, uint32_t n, uint32_t type,
                   bool gated);
  // x becomes its own gradient, and dy what activate gives.
  void (*activate_backward)(float* x, float* dy, uint32_t rows, uint32_t n, uint32_t type,
                            bool gated);

  // out = x + y with dropout: what is kept of y counts 1 / (1 - dropout). n floats.
  void (*add_dropout)(float* out, const float* x, const float* y, size_t n, float dropout,
                      uint64_t seed);
  // out = dy where y was kept, times 1 / (1 - dropout).
  void (*dropout_backward)(float* out, const float* dy, size_t n, float dropout, uint64_t seed);

  void (*attention)(const AttentionCall& call, float* context);
  // dqkv (n, ld) = gradient of qkv, of dcontext (n, ld_context).
  void (*attention_backward)(const AttentionCall& call, const float* dcontext, float* dqkv);

  // Rows of logits (rows, ld) become gradients, (softmax - one at target) * scale; those with
  // target < 0 zeros. Returns the sum of -ln softmax(target).
  double (*cross_entropy)(float* logits, size_t ld, const int32_t* targets, uint32_t rows,
                          uint32_t n, float scale);
  // The same with what another model's logits (rows, ld) expect in place of the one target, which
  // counts for nothing else: (softmax - softmax(expected)) * scale, and the sum of the cross
  // entropies. `expected` is written over.
  double (*cross_entropy_with)(float* logits, float* expected, size_t ld, const int32_t* targets,
                               uint32_t rows, uint32_t n, float scale);

  void (*add_rows)(float* x, size_t ld, const float* bias, uint32_t rows, uint32_t n);  // x += bias
  void (*sum_rows)(float* sum, const float* x, size_t ld, uint32_t rows, uint32_t n);   // sum +=
  void (*add)(float* x, const float* y, size_t n);
  void (*adam)(float* w, float* m, float* v, const float* g, size_t n, const AdamStep& step);

  // Each row in groups to the numbers that the engine's int8 values stand for, in place: as it
  // quantizes what matrices meet, or, with a bf16 scale that is rounded up, what it caches.
  void (*round_int8)(float* x, size_t ld, uint32_t rows, uint32_t n, uint32_t group,
                     bool bf16_scale);
};

constexpr size_t kProductScratch = 256 * (384 + 16);

// Floats that AttentionCall::scratch needs for sequences of up to n tokens.
size_t attention_scratch(uint32_t n, uint32_t head_dim);

// The best ones of this machine, or those of that name ("avx512amx", "avx512", "avx2", "plain") and
// precision ("f32", "int16"); null if it has none such.
const Kernels* find_kernels(const char* name = nullptr, const char* precision = nullptr);

}  // namespace thimble::tools::train

#endif
