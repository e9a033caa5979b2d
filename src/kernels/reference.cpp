// SPDX-License-Identifier: MIT
// The definition of every result, in plain scalar C++: clear, never tuned. Contracts: kernels.h.
#include "reference.h"

#include "../exact_math.h"
#include "activation.h"

namespace thimble {

void matmul_f32_reference(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                          uint32_t tile_end, const float* x, size_t x_stride, uint32_t n) {
  const uint32_t height = w.row_tile;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const float* data = static_cast<const float*>(w.data) + size_t{tile} * w.cols * height;
    for (uint32_t i = 0; i < n; ++i) {
      for (uint32_t r = 0; r < height; ++r) {
        float acc = 0.0f;
        for (uint32_t c = 0; c < w.cols; ++c) {
          acc = exact_fma(data[size_t{c} * height + r], x[i * x_stride + c], acc);
        }
        out[i * out_stride + size_t{tile} * height + r] = acc;
      }
    }
  }
}

// value_at(c, r): column c of a tile's row r, of a tile's data.
template <class ValueAt>
static void matmul_int8(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                        uint32_t tile_end, const QuantizedRows& x, uint32_t n,
                        const ValueAt& value_at) {
  const uint32_t height = w.row_tile, cols = w.padded_cols, groups = w.n_groups;
  const size_t tile_bytes = weight_bytes(w.type, size_t{cols} * height);
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const int8_t* data = static_cast<const int8_t*>(w.data) + tile * tile_bytes;
    const uint16_t* scales = w.scales + size_t{tile} * groups * height;
    for (uint32_t i = 0; i < n; ++i) {
      const int8_t* values = x.values + size_t{i} * cols;
      for (uint32_t r = 0; r < height; ++r) {
        float acc = 0.0f;
        for (uint32_t g = 0; g < groups; ++g) {
          int32_t dot = 0;
          for (uint32_t c = g * w.group; c < (g + 1) * w.group; ++c) {
            dot += value_at(data, c, r) * values[c];
          }
          const float scale =
              from_bf16(scales[size_t{g} * height + r]) * x.scales[size_t{i} * groups + g];
          acc = exact_fma(static_cast<float>(dot), scale, acc);
        }
        out[i * out_stride + size_t{tile} * height + r] = acc;
      }
    }
  }
}

void matmul_q8_reference(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                         uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const uint32_t height = w.row_tile;
  matmul_int8(out, out_stride, w, tile_begin, tile_end, x, n,
              [height](const int8_t* data, uint32_t c, uint32_t r) -> int32_t {
                return data[(size_t{c / 4} * height + r) * 4 + c % 4];
              });
}

void matmul_q4_reference(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                         uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const uint32_t height = w.row_tile;
  matmul_int8(out, out_stride, w, tile_begin, tile_end, x, n,
              [height](const int8_t* data, uint32_t c, uint32_t r) {
                return q4_level(q4_bits(data, height, c, r));
              });
}

void quantize_q8_reference(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                           uint32_t n) {
  const uint32_t groups = out.n_groups;
  for (uint32_t i = 0; i < n; ++i) {
    const float* row = x + i * x_stride;
    int8_t* values = out.values + size_t{i} * out.padded_cols;
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t begin = g * out.group;
      const uint32_t end = begin + out.group < cols ? begin + out.group : cols;
      float max = 0.0f;
      for (uint32_t c = begin; c < end; ++c) {
        const float size = row[c] < 0.0f ? -row[c] : row[c];
        max = size > max ? size : max;
      }
      const bool silent = max < 1e-30f;
      const float inverse = silent ? 0.0f : 127.0f / max;
      int32_t sum = 0;
      for (uint32_t c = begin; c < begin + out.group; ++c) {
        Scalar v = {0.0f};
        if (c < end && !silent) v.v = row[c] * inverse;
        v = lesser(greater(v, Scalar{-127.0f}), Scalar{127.0f});
        const int32_t value = round_even(v).v;
        values[c] = static_cast<int8_t>(value);
        sum += value;
      }
      out.scales[size_t{i} * groups + g] = silent ? 0.0f : max / 127.0f;
      out.sums[size_t{i} * groups + g] = sum;
    }
  }
}

// Sums in 16 lanes, then folded: the order that vector units of any width can keep.
float fold_lanes(float (&lanes)[kLanes]) {
  for (uint32_t half = kLanes / 2; half > 0; half /= 2) {
    for (uint32_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
}

void rms_norm_reference(float* out, const float* x, const float* weight, uint32_t n, float eps) {
  float lanes[kLanes] = {};
  for (uint32_t i = 0; i < n; ++i) lanes[i % kLanes] = exact_fma(x[i], x[i], lanes[i % kLanes]);
  const float mean = fold_lanes(lanes) / static_cast<float>(n);
  const float r = 1.0f / exact_sqrt(mean + eps);
  for (uint32_t i = 0; i < n; ++i) out[i] = (x[i] * r) * weight[i];
}

void layer_norm_reference(float* out, const float* x, const float* weight, const float* bias,
                          uint32_t n, float eps) {
  float sums[kLanes] = {}, squares[kLanes] = {};
  for (uint32_t i = 0; i < n; ++i) sums[i % kLanes] = sums[i % kLanes] + x[i];
  const float mean = fold_lanes(sums) / static_cast<float>(n);
  for (uint32_t i = 0; i < n; ++i) {
    const float d = x[i] - mean;
    squares[i % kLanes] = exact_fma(d, d, squares[i % kLanes]);
  }
  const float r = 1.0f / exact_sqrt(fold_lanes(squares) / static_cast<float>(n) + eps);
  for (uint32_t i = 0; i < n; ++i) out[i] = exact_fma((x[i] - mean) * r, weight[i], bias[i]);
}

void rope_table_reference(float* table, const uint64_t* frequencies, uint32_t head_dim,
                          uint32_t position) {
  exact_rope_table(table, frequencies, head_dim, position);
}

void rotate_reference(float* x, const float* table, uint32_t n_heads, uint32_t head_dim,
                      float scale) {
  const float* cosines = table;
  const float* sines = table + head_dim;
  for (uint32_t h = 0; h < n_heads; ++h, x += head_dim) {
    for (uint32_t j = 0; j < head_dim; j += 2) {
      const float a = x[j], b = x[j + 1];
      x[j] = exact_fma(a, cosines[j], b * sines[j]) * scale;
      x[j + 1] = exact_fma(b, cosines[j + 1], a * sines[j + 1]) * scale;
    }
  }
}

void softmax_reference(float* x, size_t stride, uint32_t n_rows, uint32_t n) {
  for (uint32_t row = 0; row < n_rows; ++row, x += stride) {
    float max = x[0];
    for (uint32_t i = 1; i < n; ++i) max = x[i] > max ? x[i] : max;
    float lanes[kLanes] = {};
    for (uint32_t i = 0; i < n; ++i) {
      x[i] = exact_exp(Scalar{x[i] - max}).v;
      lanes[i % kLanes] = lanes[i % kLanes] + x[i];
    }
    const float inverse = 1.0f / fold_lanes(lanes);
    for (uint32_t i = 0; i < n; ++i) x[i] = x[i] * inverse;
  }
}

void mix_values_reference(float* out, const float* weights, size_t weights_stride,
                          const float* values, size_t kv_stride, uint32_t n, uint32_t head_dim,
                          uint32_t n_heads, uint32_t q) {
  for (uint32_t h = 0; h < n_heads; ++h) {
    const float* v = values + size_t{h / q} * kv_stride;
    for (uint32_t d = 0; d < head_dim; ++d) {
      float acc = 0.0f;
      for (uint32_t t = 0; t < n; ++t) {
        acc = exact_fma(weights[h * weights_stride + t], v[size_t{t} * head_dim + d], acc);
      }
      out[size_t{h} * head_dim + d] = acc;
    }
  }
}

void mix_values_q8_reference(float* out, const float* weights, size_t weights_stride,
                             const int8_t* values, const uint16_t* scales, uint32_t n,
                             uint32_t head_dim, uint32_t n_heads) {
  int16_t p[kMixBlock];
  for (uint32_t h = 0; h < n_heads; ++h, out += head_dim, weights += weights_stride) {
    for (uint32_t d = 0; d < head_dim; ++d) out[d] = 0.0f;
    for (uint32_t begin = 0; begin < n; begin += kMixBlock) {
      const uint32_t count = n - begin < kMixBlock ? n - begin : kMixBlock;
      const uint16_t* scale = scales + begin;
      float max = 0.0f;
      for (uint32_t t = 0; t < count; ++t) {
        max = greater(Scalar{weights[begin + t] * from_bf16(scale[t])}, Scalar{max}).v;
      }
      const bool silent = max < 1e-30f;
      const float inverse = silent ? 0.0f : 32767.0f / max;
      const float unit = silent ? 0.0f : max / 32767.0f;
      for (uint32_t t = 0; t < count; ++t) {
        Scalar v = {0.0f};
        if (!silent) v.v = weights[begin + t] * from_bf16(scale[t]) * inverse;
        p[t] =
            static_cast<int16_t>(round_even(lesser(greater(v, Scalar{0.0f}), Scalar{32767.0f})).v);
      }
      for (uint32_t d = 0; d < head_dim; ++d) {
        int32_t dot = 0;
        for (uint32_t t = 0; t < count; ++t) dot += p[t] * values[size_t{begin + t} * head_dim + d];
        out[d] = exact_fma(static_cast<float>(dot), unit, out[d]);
      }
    }
  }
}

void swiglu_reference(float* out, const float* gate, const float* up, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) out[i] = exact_silu(Scalar{gate[i]}).v * up[i];
}

void activate_reference(float* out, const float* x, const float* up, uint32_t n, uint32_t type) {
  with_activation(type, [&](auto act) {
    for (uint32_t i = 0; i < n; ++i) {
      const float y = act(Scalar{x[i]}).v;
      out[i] = up ? y * up[i] : y;
    }
  });
}

void add_reference(float* x, const float* y, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) x[i] = x[i] + y[i];
}

uint32_t argmax_reference(const float* x, uint32_t n) {
  float max = -__builtin_inff();
  uint32_t best = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (x[i] > max) {
      max = x[i];
      best = i;
    }
  }
  return best;
}

void odds_reference(uint32_t* weights, const float* x, uint32_t n, float max,
                    float inv_temperature) {
  for (uint32_t i = 0; i < n; ++i) {
    const Scalar scaled = {(x[i] - max) * inv_temperature};
    const Scalar e = exact_exp(lesser(greater(scaled, Scalar{-200.0f}), Scalar{0.0f}));
    weights[i] = static_cast<uint32_t>(e.v * 1073741824.0f);
  }
}

extern const Kernels kKernelsReference = reference_table();

}  // namespace thimble
