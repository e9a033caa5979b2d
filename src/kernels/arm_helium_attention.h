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
  clear_marks();
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
  clear_marks();
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

// weights * scales, of which the latter are bf16; zeros behind the first `left`.
inline float32x4_t weigh(const float* weights, const uint16_t* scales, uint32_t left) {
  const mve_pred16_t lanes = vctp32q(left);
  const uint32x4_t bits = vshlq_n_u32(vldrhq_z_u32(scales, lanes), 16);
  return vmulq_f32(load_first(weights, lanes), vreinterpretq_f32_u32(bits));
}

// The exact sums of p[t] * values[t] of eight dimensions, and of the first of four.
inline int32x4x2_t mix_eight(const int16_t* p, const int8_t* values, uint32_t count,
                             uint32_t head_dim) {
  int32x4_t a = vdupq_n_s32(0), b = a;
  int32_t weight;
  __asm__ volatile(
      "wls lr, %[count], 2f\n"
      "1:\n\t"
      "ldrsh %[weight], [%[p]], #2\n\t"
      "vldrb.s32 q0, [%[values]]\n\t"
      "vldrb.s32 q1, [%[values], #4]\n\t"
      "add %[values], %[head_dim]\n\t"
      "vmla.s32 %q[a], q0, %[weight]\n\t"
      "vmla.s32 %q[b], q1, %[weight]\n\t"
      "le lr, 1b\n"
      "2:"
      : [p] "+r"(p), [values] "+l"(values), [weight] "=&r"(weight), [a] "+w"(a), [b] "+w"(b)
      : [count] "r"(count), [head_dim] "r"(head_dim)
      : "q0", "q1", "lr", "memory");
  return {{a, b}};
}
inline int32x4_t mix_first(const int16_t* p, const int8_t* values, uint32_t count,
                           uint32_t head_dim, mve_pred16_t lanes) {
  int32x4_t dot = vdupq_n_s32(0);
  for (; count > 0; --count, values += head_dim) {
    dot = vmlaq_n_s32(dot, vldrbq_z_s32(values, lanes), *p++);
  }
  return dot;
}

void mix_values_q8_helium(float* out, const float* weights, size_t weights_stride,
                          const int8_t* values, const uint16_t* scales, uint32_t n,
                          uint32_t head_dim, uint32_t n_heads) {
  int16_t p[kMixBlock];
  clear_marks();
  for (uint32_t h = 0; h < n_heads; ++h) {
    float* to = out + size_t{h} * head_dim;
    for (uint32_t begin = 0; begin < n; begin += kMixBlock) {
      const uint32_t count = n - begin < kMixBlock ? n - begin : kMixBlock;
      const float* weight = weights + h * weights_stride + begin;
      const uint16_t* scale = scales + begin;
      float32x4_t most = vdupq_n_f32(0.0f);
      for (uint32_t t = 0; t < count; t += 4) {
        most = vmaxnmq_f32(most, weigh(weight + t, scale + t, count - t));
      }
      const float max = vmaxnmvq_f32(0.0f, most);
      const bool silent = max < 1e-30f;
      const float inverse = silent ? 0.0f : 32767.0f / max;
      const float unit = silent ? 0.0f : max / 32767.0f;
      for (uint32_t t = 0; t < count; t += 4) {
        const float32x4_t e = weigh(weight + t, scale + t, count - t);
        const int32x4_t whole = vcvtnq_s32_f32(vmulq_n_f32(e, inverse));
        vstrhq_s32(p + t, vmaxq_s32(whole, vdupq_n_s32(0)));
      }
      const int8_t* v = values + size_t{begin} * head_dim;
      if (begin == 0) memset(to, 0, head_dim * sizeof *to);
      uint32_t d = 0;
      for (; d + 8 <= head_dim; d += 8) {
        const int32x4x2_t dots = mix_eight(p, v + d, count, head_dim);
        for (uint32_t k = 0; k < 2; ++k) {
          float* at = to + d + 4 * k;
          vstrwq_f32(at, vfmaq_n_f32(vldrwq_f32(at), vcvtq_f32_s32(dots.val[k]), unit));
        }
      }
      for (; d < head_dim; d += 4) {
        const mve_pred16_t lanes = vctp32q(head_dim - d);
        const int32x4_t dot = mix_first(p, v + d, count, head_dim, lanes);
        const float32x4_t acc = load_first(to + d, lanes);
        vstrwq_p_f32(to + d, vfmaq_n_f32(acc, vcvtq_f32_s32(dot), unit), lanes);
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
