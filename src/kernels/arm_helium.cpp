// SPDX-License-Identifier: MIT
// Cortex-M55 and later: Helium, also called MVE: 8 registers of 4 floats or 16 int8.
//
// Helium's floats differ from the definition in two things, whatever FPSCR.FZ and DN say: denormals
// are flushed to zero, and every NaN becomes the default one, whose bits no chip shares anyway.
// Scalar instructions keep both. But a vector that flushed leaves its mark in FPSCR, so every
// kernel clears the marks, runs, looks, and where there is one computes again in scalars, by the
// reference. That is rare: activations are far above 1e-38.
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)

#include "arm_helium_attention.h"
#include "arm_helium_lanes.h"
#include "arm_helium_q4.h"
#include "arm_helium_q8.h"

namespace thimble {
namespace {

// ---- Matrix products -----------------------------------------------------------------------

// Lanes are rows.
#define THIMBLE_ROWS4(acc)       \
  "vldrw.32 q0, [%[w]], #16\n\t" \
  "vfma.f32 %q[" acc "], q0, %[value]\n\t"

#define THIMBLE_COLUMNS(rows)         \
  "wls lr, %[cols], 2f\n"             \
  "1:\n\t"                            \
  "ldr %[value], [%[x]], #4\n\t" rows \
  "le lr, 1b\n"                       \
  "2:"

template <uint32_t kHeight>
inline void tile_f32(float* out, const float* w, uint32_t cols, const float* x) {
  float32x4_t a = vdupq_n_f32(0.0f), b = a, c = a, d = a;
  float value;
  if (kHeight == 4) {
    __asm__ volatile(THIMBLE_COLUMNS(THIMBLE_ROWS4("a"))
                     : [w] "+r"(w), [x] "+r"(x), [value] "=&r"(value), [a] "+w"(a)
                     : [cols] "r"(cols)
                     : "q0", "lr", "memory");
  } else if (kHeight == 8) {
    __asm__ volatile(THIMBLE_COLUMNS(THIMBLE_ROWS4("a") THIMBLE_ROWS4("b"))
                     : [w] "+r"(w), [x] "+r"(x), [value] "=&r"(value), [a] "+w"(a), [b] "+w"(b)
                     : [cols] "r"(cols)
                     : "q0", "lr", "memory");
  } else {
    __asm__ volatile(
        THIMBLE_COLUMNS(THIMBLE_ROWS4("a") THIMBLE_ROWS4("b") THIMBLE_ROWS4("c") THIMBLE_ROWS4("d"))
        : [w] "+r"(w), [x] "+r"(x), [value] "=&r"(value), [a] "+w"(a), [b] "+w"(b), [c] "+w"(c),
          [d] "+w"(d)
        : [cols] "r"(cols)
        : "q0", "lr", "memory");
  }
  vstrwq_f32(out, a);
  if (kHeight >= 8) vstrwq_f32(out + 4, b);
  if (kHeight >= 16) {
    vstrwq_f32(out + 8, c);
    vstrwq_f32(out + 12, d);
  }
}

void matmul_f32_helium(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                       uint32_t tile_end, const float* x, size_t x_stride, uint32_t n) {
  if (w.row_tile >= 4) {
    clear_marks<kAllMarks>();
    const size_t tile_floats = size_t{w.cols} * w.row_tile;
    const float* data = static_cast<const float*>(w.data) + tile_begin * tile_floats;
    float* to = out + size_t{tile_begin} * w.row_tile;
    for (uint32_t tiles = tile_end - tile_begin; tiles > 0; --tiles) {
      for (uint32_t i = 0; i < n; ++i) {
        if (w.row_tile == 4) {
          tile_f32<4>(to + i * out_stride, data, w.cols, x + i * x_stride);
        } else if (w.row_tile == 8) {
          tile_f32<8>(to + i * out_stride, data, w.cols, x + i * x_stride);
        } else {
          tile_f32<16>(to + i * out_stride, data, w.cols, x + i * x_stride);
        }
      }
      data += tile_floats;
      to += w.row_tile;
    }
    if (unmarked()) return;
  }
  matmul_f32_reference(out, out_stride, w, tile_begin, tile_end, x, x_stride, n);
}

// ---- Norm and activation ---------------------------------------------------------------------

void rms_norm_helium(float* out, const float* x, const float* weight, uint32_t n, float eps) {
  if (out != x) {
    clear_marks<kAllMarks>();
    const float mean = sum_in_lanes<true>(x, n) / static_cast<float>(n);
    const float r = 1.0f / exact_sqrt(mean + eps);
    float* to = out;
    const float *from = x, *by = weight;
    __asm__ volatile(
        "wlstp.32 lr, %[n], 2f\n"
        "1:\n\t"
        "vldrw.32 q0, [%[from]], #16\n\t"
        "vldrw.32 q1, [%[by]], #16\n\t"
        "vmul.f32 q0, q0, %[r]\n\t"
        "vmul.f32 q0, q0, q1\n\t"
        "vstrw.32 q0, [%[to]], #16\n\t"
        "letp lr, 1b\n"
        "2:"
        : [to] "+r"(to), [from] "+r"(from), [by] "+r"(by)
        : [n] "r"(n), [r] "r"(r)
        : "q0", "q1", "lr", "memory");
    if (unmarked()) return;
  }
  rms_norm_reference(out, x, weight, n, eps);
}

// ---- In place ------------------------------------------------------------------------------
// A first round, that stores nothing, tells whether a second one may.

#define THIMBLE_ROTATE(store)           \
  "wlstp.32 lr, %[n], 2f\n"             \
  "1:\n\t"                              \
  "vldrw.32 q0, [%[x]]\n\t"             \
  "vldrw.32 q1, [%[sines]], #16\n\t"    \
  "vldrw.32 q2, [%[cosines]], #16\n\t"  \
  "vrev64.32 q3, q0\n\t"                \
  "vmul.f32 q1, q1, q3\n\t"             \
  "vfma.f32 q1, q0, q2\n\t"             \
  "vmul.f32 q1, q1, %[scale]\n\t" store \
  "letp lr, 1b\n"                       \
  "2:"

template <bool kStore>
inline void rotate_heads(float* x, const float* table, uint32_t n_heads, uint32_t head_dim,
                         float scale) {
  for (; n_heads > 0; --n_heads, x += head_dim) {
    float* at = x;
    const float* cosines = table;
    const float* sines = table + head_dim;
    if (kStore) {
      __asm__ volatile(THIMBLE_ROTATE("vstrw.32 q1, [%[x]], #16\n\t")
                       : [x] "+r"(at), [cosines] "+r"(cosines), [sines] "+r"(sines)
                       : [n] "r"(head_dim), [scale] "r"(scale)
                       : "q0", "q1", "q2", "q3", "lr", "memory");
    } else {
      __asm__ volatile(THIMBLE_ROTATE("adds %[x], #16\n\t")
                       : [x] "+r"(at), [cosines] "+r"(cosines), [sines] "+r"(sines)
                       : [n] "r"(head_dim), [scale] "r"(scale)
                       : "q0", "q1", "q2", "q3", "lr", "cc", "memory");
    }
  }
}

void rotate_helium(float* x, const float* table, uint32_t n_heads, uint32_t head_dim, float scale) {
  clear_marks<kAllMarks>();
  rotate_heads<false>(x, table, n_heads, head_dim, scale);
  if (unmarked()) {
    rotate_heads<true>(x, table, n_heads, head_dim, scale);
  } else {
    rotate_reference(x, table, n_heads, head_dim, scale);
  }
}

void add_helium(float* x, const float* y, uint32_t n) {
  const float *a = x, *b = y;
  clear_marks<kAllMarks>();
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[a]], #16\n\t"
      "vldrw.32 q1, [%[b]], #16\n\t"
      "vadd.f32 q0, q0, q1\n\t"
      "letp lr, 1b\n"
      "2:"
      : [a] "+r"(a), [b] "+r"(b)
      : [n] "r"(n)
      : "q0", "q1", "lr", "memory");
  if (!unmarked()) {
    add_reference(x, y, n);
    return;
  }
  __asm__ volatile(
      "wlstp.32 lr, %[n], 2f\n"
      "1:\n\t"
      "vldrw.32 q0, [%[x]]\n\t"
      "vldrw.32 q1, [%[y]], #16\n\t"
      "vadd.f32 q0, q0, q1\n\t"
      "vstrw.32 q0, [%[x]], #16\n\t"
      "letp lr, 1b\n"
      "2:"
      : [x] "+r"(x), [y] "+r"(y)
      : [n] "r"(n)
      : "q0", "q1", "lr", "memory");
}

// Here a look at each vector is cheaper than a second round. Returns how many it did before one
// that has to be done otherwise.
THIMBLE_FLATTEN uint32_t swiglu_fours(float* out, const float* gate, const float* up,
                                      uint32_t count) {
  for (uint32_t left = count; left > 0; --left, out += 4, gate += 4, up += 4) {
    float32x4_t v = mul(exact_silu(Floats(vldrwq_f32(gate))), Floats(vldrwq_f32(up))).v;
    if (!unmarked(v)) return count - left;
    vstrwq_f32(out, v);
  }
  return count;
}

void swiglu_helium(float* out, const float* gate, const float* up, uint32_t n) {
  for (;;) {
    clear_marks<kAllMarks>();
    const uint32_t done = swiglu_fours(out, gate, up, n / 4) * 4;
    out += done, gate += done, up += done, n -= done;
    const uint32_t next = n < 4 ? n : 4;
    if (next == 0) return;
    swiglu_reference(out, gate, up, next);
    out += next, gate += next, up += next, n -= next;
  }
}

// ---- Drawing a token -----------------------------------------------------------------------

uint32_t argmax_helium(const float* x, uint32_t n) {
  float max = -__builtin_inff();
  const float* at = x;
  clear_marks<kAllMarks>();
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
  if (!unmarked()) return argmax_reference(x, n);
  if (max == -__builtin_inff()) return 0;
  uint32_t i = 0;
  while (i + 4 <= n && vcmpgeq_n_f32(vldrwq_f32(x + i), max) == 0) i += 4;
  while (!(x[i] >= max)) ++i;
  return i;
}

THIMBLE_FLATTEN void odds_helium(uint32_t* weights, const float* x, uint32_t n, float max,
                                 float inv_temperature) {
  clear_marks<kAllMarks>();
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const Floats v = vldrwq_f32(x + i);
    const Floats scaled = mul(sub(v, Floats::of(max)), Floats::of(inv_temperature));
    const Floats e = exact_exp(lesser(greater(scaled, Floats::of(-200.0f)), Floats::of(0.0f)));
    vstrwq_u32(weights + i, vcvtq_u32_f32(mul(e, Floats::of(1073741824.0f)).v));
  }
  if (!unmarked()) i = 0;
  odds_reference(weights + i, x + i, n - i, max, inv_temperature);
}

}  // namespace

extern const Kernels kKernelsHelium;
const Kernels kKernelsHelium = {"helium",
                                4,
                                matmul_f32_helium,
                                matmul_q8_helium,
                                kHasQ4 ? matmul_q4_helium : nullptr,
                                quantize_q8_helium,
                                kHasRmsNorm ? rms_norm_helium : nullptr,
                                kHasLayerNorm ? layer_norm_reference : nullptr,
                                exact_rope_table,
                                rotate_helium,
                                softmax_helium,
                                mix_values_helium,
                                mix_values_q8_helium,
                                kHasSwiglu ? swiglu_helium : nullptr,
                                kHasActivations ? activate_reference : nullptr,
                                add_helium,
                                argmax_helium,
                                odds_helium,
                                nullptr};

}  // namespace thimble

#endif
