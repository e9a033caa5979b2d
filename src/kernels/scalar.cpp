// SPDX-License-Identifier: MIT
// Plain C++ for cores without vector instructions and without an FPU: integers wherever they give
// the same bits as the reference's floats, and four rows of int8 weights at a time.
#include "../exact_math_soft.h"
#include "reference.h"

namespace thimble {
namespace {

constexpr uint32_t kSign = 0x80000000u, kInfinity = 0x7f800000u;
constexpr uint32_t kSilent = 0x0da24260u;  // 1e-30, below which maxima count as none
constexpr uint32_t kEightySeven = 0x42ae0000u, kEightyEight = 0x42b00000u;

uint32_t size_bits(float x) {
  return bits_of(x) & ~kSign;
}

// fma(float(dot), from_bf16(weight_scale) * x_scale, +0): the product, rounded twice as there.
float scaled_dot(int32_t dot, uint16_t weight_scale, float x_scale) {
  const uint32_t x_bits = bits_of(x_scale);
  const uint32_t size = static_cast<uint32_t>(dot < 0 ? -dot : dot);
  const uint32_t w_exponent = (weight_scale >> 7) & 255u, x_exponent = (x_bits >> 23) & 255u;
  // 8 bits by 24, rounded to 24.
  const uint32_t scale = ((weight_scale & 0x7fu) | 0x80u) * ((x_bits & 0x7fffffu) | 0x800000u);
  const uint32_t place = 7 + (scale >> 31);
  const uint32_t scale_exponent = w_exponent + x_exponent + place - 134;
  const uint32_t zeros = size ? static_cast<uint32_t>(__builtin_clz(size)) : 0;
  const uint64_t product =  // in [2^61, 2^63)
      static_cast<uint64_t>(size << zeros) * (shift_to_even(scale, place, false) << 7);
  const uint32_t high = static_cast<uint32_t>(product >> 32);
  const uint32_t drop = 6 + (high >> 30);
  const uint32_t exponent = scale_exponent + 25 + drop - zeros;
  // Only where all are normal, and the dot product is one as a float, too.
  if (size - 1 >= 0xffffff || w_exponent - 1 >= 254 || x_exponent - 1 >= 254 ||
      scale_exponent - 1 >= 253 || exponent - 1 >= 253) {
    return exact_fma(static_cast<float>(dot), from_bf16(weight_scale) * x_scale, 0.0f);
  }
  const uint32_t sign =
      (static_cast<uint32_t>(dot) ^ static_cast<uint32_t>(weight_scale) << 16 ^ x_bits) & kSign;
  return float_of(sign + ((exponent - 1) << 23) +
                  shift_to_even(high, drop, static_cast<uint32_t>(product) != 0));
}

void matmul_q8_scalar(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                      uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  if (w.row_tile % 4 != 0) {
    matmul_q8_reference(out, out_stride, w, tile_begin, tile_end, x, n);
    return;
  }
  const uint32_t height = w.row_tile, groups = w.n_groups;
  for (uint32_t i = 0; i < n; ++i) {
    const int8_t* values = x.values + size_t{i} * w.padded_cols;
    const float* x_scales = x.scales + size_t{i} * groups;
    for (uint32_t row = tile_begin * height; row < tile_end * height; row += 4) {
      const uint32_t tile = row / height, r = row % height;
      const int8_t* v = static_cast<const int8_t*>(w.data) + size_t{tile} * w.padded_cols * height +
                        size_t{r} * 4;
      const uint16_t* scales = w.scales + size_t{tile} * groups * height + r;
      float* to = out + i * out_stride + row;
      const int8_t* u = values;
      for (uint32_t g = 0; g < groups; ++g, scales += height) {
        int32_t dot0 = 0, dot1 = 0, dot2 = 0, dot3 = 0;
        for (const int8_t* end = u + w.group; u != end; u += 4, v += size_t{height} * 4) {
          const int32_t u0 = u[0], u1 = u[1], u2 = u[2], u3 = u[3];
          dot0 += v[0] * u0 + v[1] * u1 + v[2] * u2 + v[3] * u3;
          dot1 += v[4] * u0 + v[5] * u1 + v[6] * u2 + v[7] * u3;
          dot2 += v[8] * u0 + v[9] * u1 + v[10] * u2 + v[11] * u3;
          dot3 += v[12] * u0 + v[13] * u1 + v[14] * u2 + v[15] * u3;
        }
        const int32_t dots[4] = {dot0, dot1, dot2, dot3};
        for (uint32_t k = 0; k < 4; ++k) {
          if (g == 0) {
            to[k] = scaled_dot(dots[k], scales[k], x_scales[0]);
          } else {
            to[k] =
                exact_fma(static_cast<float>(dots[k]), from_bf16(scales[k]) * x_scales[g], to[k]);
          }
        }
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
      const uint32_t inverse = silent ? 0 : bits_of(127.0f / float_of(max));
      int32_t sum = 0;
      for (uint32_t c = begin; c < begin + out.group; ++c) {
        int32_t value = 0;
        if (c < end && !silent) {
          value = rounded_product(size_bits(row[c]), inverse);
          if (bits_of(row[c]) & kSign) value = -value;
        }
        values[c] = static_cast<int8_t>(value);
        sum += value;
      }
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
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t negated = bits_of(gate[i]) ^ kSign;
    const bool is_large = negated < kSign && negated > kEightyEight;  // or a NaN, and stays one
    const float e = exp_by_integers(float_of(is_large ? kEightyEight : negated));
    out[i] = gate[i] / (1.0f + e) * up[i];
  }
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
