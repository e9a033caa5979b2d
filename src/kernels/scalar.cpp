// SPDX-License-Identifier: MIT
// Plain C++ for cores without vector instructions and without an FPU: integers wherever they give
// the same bits as the reference's floats, and four rows of int8 weights at a time.
#include "../exact_math_soft.h"
#include "reference.h"

namespace thimble {
namespace {

constexpr uint32_t kSign = 0x80000000u, kInfinity = 0x7f800000u;
constexpr uint32_t kSilent = 0x0da24260u;  // 1e-30, below which maxima count as none
constexpr uint32_t kEightySeven = 0x42ae0000u;

uint32_t size_bits(float x) {
  return bits_of(x) & ~kSign;
}

// The dot products of four rows with x: 16 values of v for four of x, `step` behind the last
// four's. Out of line, so that what lives here has the registers.
__attribute__((noinline)) void dot_four_rows(int32_t* dots, const int8_t* v, size_t step,
                                             const int8_t* x, uint32_t cols) {
  int32_t dot0 = 0, dot1 = 0, dot2 = 0, dot3 = 0;
  const int8_t* end = x + cols;
  do {
    const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
    x += 4;
    dot0 += v[0] * x0;
    dot0 += v[1] * x1;
    dot0 += v[2] * x2;
    dot0 += v[3] * x3;
    dot1 += v[4] * x0;
    dot1 += v[5] * x1;
    dot1 += v[6] * x2;
    dot1 += v[7] * x3;
    dot2 += v[8] * x0;
    dot2 += v[9] * x1;
    dot2 += v[10] * x2;
    dot2 += v[11] * x3;
    dot3 += v[12] * x0;
    dot3 += v[13] * x1;
    dot3 += v[14] * x2;
    dot3 += v[15] * x3;
    v += step;
  } while (x != end);
  dots[0] = dot0;
  dots[1] = dot1;
  dots[2] = dot2;
  dots[3] = dot3;
}

// to[k] = fma(float(dots[k]), from_bf16(scales[k]) * x_scale, first ? +0 : to[k]) of four rows.
// With +0 that is a product, rounded after its factors were.
__attribute__((noinline)) void scale_four_rows(float* to, const int32_t* dots,
                                               const uint16_t* scales, float x_scale, bool first) {
  const uint32_t x_bits = bits_of(x_scale), x_exponent = (x_bits >> 23) & 255u;
  const uint32_t x_mantissa = (x_bits & 0x7fffffu) | 0x800000u;
  for (const int32_t* end = dots + 4; dots != end; ++dots, ++scales, ++to) {
    const int32_t dot = *dots;
    const uint32_t w = *scales, w_exponent = (w >> 7) & 255u;
    const uint32_t size = static_cast<uint32_t>(dot < 0 ? -dot : dot);
    // Within these bounds every factor and every product is a normal number.
    if (!first || x_exponent - 64 >= 128 || w_exponent - 96 >= 63 || size - 1 >= 0xffffff) {
      *to = exact_fma(static_cast<float>(dot), from_bf16(*scales) * x_scale, first ? 0.0f : *to);
      continue;
    }
    uint32_t exponent = w_exponent + x_exponent;
    uint32_t scale = ((w & 0x7fu) | 0x80u) * x_mantissa;  // in [2^30, 2^32)
    if (scale >> 31) {
      scale = shift_to_even(scale, 8, false);
      ++exponent;
    } else {
      scale = shift_to_even(scale, 7, false);
    }
    const uint32_t zeros = leading_zeros(size);
    const uint64_t product = wide_product(size << zeros, scale << 7);  // in [2^61, 2^63)
    uint32_t high = static_cast<uint32_t>(product >> 32);
    const bool rest = static_cast<uint32_t>(product) != 0;
    exponent -= zeros;
    if (high >> 30) {
      high = shift_to_even(high, 7, rest);
      ++exponent;
    } else {
      high = shift_to_even(high, 6, rest);
    }
    const uint32_t sign = (static_cast<uint32_t>(dot) ^ w << 16 ^ x_bits) & kSign;
    *to = float_of(sign + ((exponent - 97) << 23) + high);
  }
}

void matmul_q8_scalar(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                      uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const uint32_t height = w.row_tile, groups = w.n_groups;
  if (height % 4 != 0) {
    matmul_q8_reference(out, out_stride, w, tile_begin, tile_end, x, n);
    return;
  }
  const size_t group_values = size_t{w.group} * height, step = size_t{height} * 4;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t i = 0; i < n; ++i) {
      const int8_t* v = static_cast<const int8_t*>(w.data) + tile * groups * group_values;
      const uint16_t* scales = w.scales + size_t{tile} * groups * height;
      const int8_t* values = x.values + size_t{i} * w.padded_cols;
      const float* x_scales = x.scales + size_t{i} * groups;
      float* to = out + i * out_stride + size_t{tile} * height;
      for (uint32_t g = 0; g < groups; ++g) {
        for (uint32_t r = 0; r < height; r += 4) {
          int32_t dots[4];
          dot_four_rows(dots, v + r * 4, step, values, w.group);
          scale_four_rows(to + r, dots, scales + r, x_scales[g], g == 0);
        }
        v += group_values;
        scales += height;
        values += w.group;
      }
    }
  }
}

void quantize_q8_scalar(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                        uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    int8_t* values = out.values + size_t{i} * out.padded_cols;
    for (uint32_t g = 0; g < out.n_groups; ++g) {
      const uint32_t begin = g * out.group;
      const uint32_t end = begin + out.group < cols ? begin + out.group : cols;
      const float* row = x + i * x_stride;
      uint32_t max = 0;
      for (uint32_t c = begin; c < end; ++c) {
        const uint32_t size = size_bits(row[c]);
        max = size > max ? size : max;
      }
      if (max >= kInfinity) {  // or a NaN
        quantize_q8_reference(out, x, x_stride, cols, n);
        return;
      }
      const bool silent = max < kSilent;
      int32_t sum = 0;
      uint32_t c = begin;
      if (!silent) {
        const uint32_t inverse = bits_of(127.0f / float_of(max));
        for (; c < end; ++c) {
          const uint32_t size = size_bits(row[c]);
          const int32_t value = rounded_product(size, inverse);
          const int32_t signed_value = bits_of(row[c]) == size ? value : -value;
          values[c] = static_cast<int8_t>(signed_value);
          sum += signed_value;
        }
      }
      for (; c < begin + out.group; ++c) values[c] = 0;
      const size_t at = size_t{i} * out.n_groups + g;
      out.scales[at] = silent ? 0.0f : float_of(max) / 127.0f;
      out.sums[at] = sum;
    }
  }
}

// In the order of floats, the two zeros equal; NaNs lie outside the infinities.
int32_t ordered(float x) {
  const uint32_t bits = bits_of(x);
  return static_cast<int32_t>(bits & kSign ? kSign - bits : bits);
}

void softmax_scalar(float* x, size_t stride, uint32_t n_rows, uint32_t n) {
  for (uint32_t row = 0; row < n_rows; ++row, x += stride) {
    float max = x[0];
    bool finite = true;
    for (uint32_t i = 0; i < n; ++i) {
      if (ordered(x[i]) > ordered(max)) max = x[i];
      finite = finite && size_bits(x[i]) < kInfinity;
    }
    if (!finite) {
      softmax_reference(x, stride, 1, n);
      continue;
    }
    if (n == 1) {
      x[0] = 1.0f;
      continue;
    }
    float lanes[kLanes] = {};
    for (uint32_t i = 0; i < n; ++i) {
      x[i] = exp_by_integers(x[i] - max);
      lanes[i % kLanes] = lanes[i % kLanes] + x[i];
    }
    const float inverse = 1.0f / fold_lanes(lanes);
    for (uint32_t i = 0; i < n; ++i) x[i] = x[i] * inverse;
  }
}

void mix_values_q8_scalar(float* out, const float* weights, size_t weights_stride,
                          const int8_t* values, const uint16_t* scales, uint32_t n,
                          uint32_t head_dim, uint32_t n_heads) {
  int16_t p[kMixBlock];
  for (uint32_t h = 0; h < n_heads; ++h, out += head_dim, weights += weights_stride) {
    for (uint32_t begin = 0; begin < n; begin += kMixBlock) {
      const uint32_t count = n - begin < kMixBlock ? n - begin : kMixBlock;
      const uint16_t* scale = scales + begin;
      const float* weight = weights + begin;
      uint32_t max = 0;
      for (uint32_t t = 0; t < count; ++t) {
        const uint32_t e = bits_of(weight[t] * from_bf16(scale[t]));
        if (e <= kInfinity && e > max) max = e;
      }
      const bool silent = max < kSilent, none = silent || max == kInfinity;
      const uint32_t inverse = none ? 0 : bits_of(32767.0f / float_of(max));
      const float unit = silent ? 0.0f : float_of(max) / 32767.0f;
      for (uint32_t t = 0; t < count; ++t) {
        const uint32_t e = bits_of(weight[t] * from_bf16(scale[t]));
        p[t] = static_cast<int16_t>(none || e >= kInfinity ? 0 : rounded_product(e, inverse));
      }
      const int8_t* v = values + size_t{begin} * head_dim;
      for (uint32_t d = 0; d < head_dim; ++d) {
        int32_t dot = 0;
        const int8_t* column = v + d;
        for (uint32_t t = 0; t < count; ++t, column += head_dim) dot += p[t] * *column;
        out[d] = exact_fma(static_cast<float>(dot), unit, begin == 0 ? 0.0f : out[d]);
      }
    }
  }
}

void swiglu_scalar(float* out, const float* gate, const float* up, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) out[i] = silu_by_integers(gate[i]) * up[i];
}

uint32_t argmax_scalar(const float* x, uint32_t n) {
  uint32_t best = 0;
  int32_t max = ordered(-__builtin_inff());
  for (uint32_t i = 0; i < n; ++i) {
    const int32_t value = ordered(x[i]);
    if (value > max && value <= static_cast<int32_t>(kInfinity)) {
      max = value;
      best = i;
    }
  }
  return best;
}

void odds_scalar(uint32_t* weights, const float* x, uint32_t n, float max, float inv_temperature) {
  for (uint32_t i = 0; i < n; ++i) {
    const float scaled = (x[i] - max) * inv_temperature;
    const uint32_t size = size_bits(scaled);
    weights[i] = 0;
    if (size > kInfinity || (size != bits_of(scaled) && size > kEightySeven)) continue;
    // e is in [0, 1]: 30 bits behind the point of a mantissa that has 23.
    const uint32_t e = bits_of(size == bits_of(scaled) ? 1.0f : exp_by_integers(scaled));
    if (e >= 97u << 23) weights[i] = (((e & 0x7fffffu) | 0x800000u) << 7) >> (127 - (e >> 23));
  }
}

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "scalar";
  k.row_tile = 4;
  k.matmul_q8 = matmul_q8_scalar;
  k.quantize_q8 = quantize_q8_scalar;
  k.softmax = softmax_scalar;
  k.mix_values_q8 = mix_values_q8_scalar;
  k.swiglu = swiglu_scalar;
  k.argmax = argmax_scalar;
  k.odds = odds_scalar;
  return k;
}

}  // namespace

extern const Kernels kKernelsScalar;
const Kernels kKernelsScalar = make_table();

}  // namespace thimble
