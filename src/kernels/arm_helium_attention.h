// SPDX-License-Identifier: MIT
// For arm_helium.cpp: softmax and context vectors.
#ifndef THIMBLE_SRC_KERNELS_ARM_HELIUM_ATTENTION_H
#define THIMBLE_SRC_KERNELS_ARM_HELIUM_ATTENTION_H

#include <arm_mve.h>

#include "arm_helium_lanes.h"

namespace thimble {
namespace {

// ---- Attention -----------------------------------------------------------------------------

// x = exp(x - max)
THIMBLE_FLATTEN __attribute__((noinline)) void exp_below(float* x, uint32_t vectors, float max) {
  for (; vectors > 0; --vectors, x += 4) {
    vstrwq_f32(x, exact_exp(sub(Floats(vldrwq_f32(x)), Floats::of(max))).v);
  }
}

void softmax_row(float* x, uint32_t n) {
  clear_marks<kAllMarks>();
  float max = x[0];
  const float* at = x;
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[at]], #16\n\t"
      "vmaxnmv.f32 %[max], q0\n\t"
      "letp lr, 1b\n"
      "2:"
      : [at] "+r"(at), [max] "+r"(max)
      : [n] "r"(n)
      : "q0", "lr", "memory");
  // The one step of the exponentials that may flush; a NaN marks when it is converted.
  at = x;
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[at]], #16\n\t"
      "vsub.f32 q0, q0, %[max]\n\t"
      "vcvtn.s32.f32 q0, q0\n\t"
      "letp lr, 1b\n"
      "2:"
      : [at] "+r"(at)
      : [n] "r"(n), [max] "r"(max)
      : "q0", "lr", "memory");
  if (!unmarked()) {
    softmax_reference(x, n, 1, n);
    return;
  }
  if (n >= 4) exp_below(x, n / 4, max);
  if (n % 4 != 0) {
    const mve_pred16_t lanes = vctp32q(n % 4);
    float last[4];
    vstrwq_f32(last, load_first(x + (n & ~3u), lanes));
    exp_below(last, 1, max);
    vstrwq_p_f32(x + (n & ~3u), vldrwq_f32(last), lanes);
  }
  const float inverse = 1.0f / sum_in_lanes<false>(x, n);
  at = x;
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[at]], #16\n\t"
      "vmul.f32 q0, q0, %[inverse]\n\t"
      "letp lr, 1b\n"
      "2:"
      : [at] "+r"(at)
      : [n] "r"(n), [inverse] "r"(inverse)
      : "q0", "lr", "memory");
  if (!unmarked()) {
    for (uint32_t i = 0; i < n; ++i) x[i] = x[i] * inverse;
    return;
  }
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[x]]\n\t"
      "vmul.f32 q0, q0, %[inverse]\n\t"
      "vstrw.32 q0, [%[x]], #16\n\t"
      "letp lr, 1b\n"
      "2:"
      : [x] "+r"(x)
      : [n] "r"(n), [inverse] "r"(inverse)
      : "q0", "lr", "memory");
}

void softmax_helium(float* x, size_t stride, uint32_t n_rows, uint32_t n) {
  for (; n_rows > 0; --n_rows, x += stride) softmax_row(x, n);
}

// Lanes are dimensions.
void mix_values_helium(float* out, const float* weights, size_t weights_stride, const float* values,
                       size_t kv_stride, uint32_t n, uint32_t head_dim, uint32_t n_heads,
                       uint32_t q) {
  clear_marks<kAllMarks>();
  for (uint32_t h = 0; h < n_heads; ++h) {
    const float* head = values + size_t{h / q} * kv_stride;
    const float* row = weights + h * weights_stride;
    float* to = out + size_t{h} * head_dim;
    uint32_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
      const float *v = head + d, *weight = row;
      float32x4_t a = vdupq_n_f32(0.0f), b = a;
      float w;
      __asm__ volatile(
          "wls lr, %[n], 2f\n"
          "1:\n\t"
          "ldr %[w], [%[weight]], #4\n\t"
          "vldrw.32 q1, [%[v], #16]\n\t"
          "vldrw.32 q0, [%[v]]\n\t"
          "add %[v], %[stride]\n\t"
          "vfma.f32 %q[a], q0, %[w]\n\t"
          "vfma.f32 %q[b], q1, %[w]\n\t"
          "le lr, 1b\n"
          "2:"
          : [v] "+r"(v), [weight] "+r"(weight), [w] "=&r"(w), [a] "+w"(a), [b] "+w"(b)
          : [n] "r"(n), [stride] "r"(head_dim * sizeof(float))
          : "q0", "q1", "lr", "memory");
      vstrwq_f32(to + d, a);
      vstrwq_f32(to + d + 4, b);
    }
    for (; d < head_dim; d += 4) {
      const mve_pred16_t lanes = vctp32q(head_dim - d);
      const float *v = head + d, *weight = row;
      float32x4_t a = vdupq_n_f32(0.0f);
      for (uint32_t t = n; t > 0; --t, v += head_dim) {
        a = vfmaq_n_f32(a, load_first(v, lanes), *weight++);
      }
      vstrwq_p_f32(to + d, a, lanes);
    }
  }
  if (!unmarked()) {
    mix_values_reference(out, weights, weights_stride, values, kv_stride, n, head_dim, n_heads, q);
  }
}

// Weights * scales, of which the latter are bf16, to q0.
#define THIMBLE_WEIGH                 \
  "vldrh.u32 q0, [%[scale]], #8\n\t"  \
  "vldrw.32 q1, [%[weight]], #16\n\t" \
  "vshl.i32 q0, q0, #16\n\t"          \
  "vmul.f32 q0, q0, q1\n\t"

// The largest of a block, 0 if there is none above.
inline float largest_weight(const float* weight, const uint16_t* scale, uint32_t count) {
  float max = 0.0f;
  __asm__ volatile(
      "wlstp.32 lr, %[count], 2f\n"
      "1:\n\t" THIMBLE_WEIGH
      "vmaxnmv.f32 %[max], q0\n\t"
      "letp lr, 1b\n"
      "2:"
      : [weight] "+r"(weight), [scale] "+l"(scale), [max] "+r"(max)
      : [count] "r"(count)
      : "q0", "q1", "lr", "memory");
  return max;
}

inline void weights_to_int16(int16_t* p, const float* weight, const uint16_t* scale, float inverse,
                             uint32_t count) {
  __asm__ volatile(
      "vmov.i32 q2, #0\n\t"
      "wlstp.32 lr, %[count], 2f\n"
      "1:\n\t" THIMBLE_WEIGH
      "vmul.f32 q0, q0, %[inverse]\n\t"
      "vcvtn.s32.f32 q0, q0\n\t"
      "vmax.s32 q0, q0, q2\n\t"
      "vstrh.32 q0, [%[p]], #8\n\t"
      "letp lr, 1b\n"
      "2:"
      : [weight] "+r"(weight), [scale] "+l"(scale), [p] "+l"(p)
      : [count] "r"(count), [inverse] "r"(inverse)
      : "q0", "q1", "q2", "lr", "memory");
}

// Lanes are positions: eight a turn, each of four dimensions' values gathered at `rows`. Where
// fewer dimensions are left, the last one comes again.
inline int32x4_t mix_four(const int16_t* p, const int8_t* values, uint16x8_t rows, uint32_t count,
                          uint32_t head_dim, uint32_t left) {
  const uint32_t last = left - 1;
  const uint16x8_t b = vaddq_n_u16(rows, static_cast<uint16_t>(last < 1 ? last : 1));
  const uint16x8_t c = vaddq_n_u16(rows, static_cast<uint16_t>(last < 2 ? last : 2));
  const uint16x8_t d = vaddq_n_u16(rows, static_cast<uint16_t>(last < 3 ? last : 3));
  int32_t d0 = 0, d1 = 0, d2 = 0, d3 = 0;
  __asm__ volatile(
      "wlstp.16 lr, %[count], 2f\n"
      "1:\n\t"
      "vldrh.u16 q0, [%[p]], #16\n\t"
      "vldrb.s16 q1, [%[values], %q[a]]\n\t"
      "vldrb.s16 q2, [%[values], %q[b]]\n\t"
      "vmladava.s16 %[d0], q0, q1\n\t"
      "vldrb.s16 q1, [%[values], %q[c]]\n\t"
      "vmladava.s16 %[d1], q0, q2\n\t"
      "vldrb.s16 q2, [%[values], %q[d]]\n\t"
      "vmladava.s16 %[d2], q0, q1\n\t"
      "add %[values], %[step]\n\t"
      "vmladava.s16 %[d3], q0, q2\n\t"
      "letp lr, 1b\n"
      "2:"
      : [p] "+r"(p), [values] "+r"(values), [d0] "+Te"(d0), [d1] "+Te"(d1), [d2] "+Te"(d2),
        [d3] "+Te"(d3)
      : [a] "w"(rows), [b] "w"(b), [c] "w"(c), [d] "w"(d), [count] "r"(count),
        [step] "r"(8 * head_dim)
      : "q0", "q1", "q2", "lr", "memory");
  int32x4_t dots;
  __asm__(THIMBLE_DOTS("%q[dots]")
          : [dots] "=w"(dots)
          : [d0] "r"(d0), [d1] "r"(d1), [d2] "r"(d2), [d3] "r"(d3));
  return dots;
}

void mix_values_q8_helium(float* out, const float* weights, size_t weights_stride,
                          const int8_t* values, const uint16_t* scales, uint32_t n,
                          uint32_t head_dim, uint32_t n_heads) {
  int16_t p[kMixBlock];
  const uint16x8_t rows = vmulq_n_u16(vidupq_n_u16(0, 1), static_cast<uint16_t>(head_dim));
  clear_marks<kAllMarks>();
  for (uint32_t h = 0; h < n_heads; ++h) {
    float* to = out + size_t{h} * head_dim;
    memset(to, 0, head_dim * sizeof *to);
    for (uint32_t begin = 0; begin < n; begin += kMixBlock) {
      const uint32_t count = n - begin < kMixBlock ? n - begin : kMixBlock;
      const float* weight = weights + h * weights_stride + begin;
      const float max = largest_weight(weight, scales + begin, count);
      const bool silent = max < 1e-30f;
      const float inverse = silent ? 0.0f : 32767.0f / max;
      const float unit = silent ? 0.0f : max / 32767.0f;
      weights_to_int16(p, weight, scales + begin, inverse, count);
      // Products below 1e-37 become p[t] = 0 in any case; those of smaller weights may not.
      clear_marks<kFlushedResult>();
      const int8_t* v = values + size_t{begin} * head_dim;
      for (uint32_t d = 0; d < head_dim; d += 4) {
        const uint32_t left = head_dim - d;
        const mve_pred16_t lanes = vctp32q(left);
        const int32x4_t dots = mix_four(p, v + d, rows, count, head_dim, left);
        const float32x4_t acc = load_first(to + d, lanes);
        vstrwq_p_f32(to + d, vfmaq_n_f32(acc, vcvtq_f32_s32(dots), unit), lanes);
      }
    }
  }
  if (!unmarked()) {
    mix_values_q8_reference(out, weights, weights_stride, values, scales, n, head_dim, n_heads);
  }
}

}  // namespace
}  // namespace thimble

#endif
