// SPDX-License-Identifier: MIT
// Plain C++ for cores without vector instructions and without an FPU: integers wherever they give
// the same bits as the reference's floats, and four rows of int8 weights at a time.
#include "../exact_math_soft.h"
#include "q4_pairs.h"
#include "reference.h"

namespace thimble {
namespace {

constexpr uint32_t kSign = 0x80000000u, kInfinity = 0x7f800000u;
constexpr uint32_t kSilent = 0x0da24260u;  // 1e-30, below which maxima count as none
constexpr uint32_t kEightySeven = 0x42ae0000u;

uint32_t size_bits(float x) {
  return bits_of(x) & ~kSign;
}

#if defined(THIMBLE_THUMB1)
// dot_four_rows of aligned values, by hand: only eight registers of this core multiply and no
// signed byte is loaded without one for its offset, of which compilers make twice as many
// instructions. r0 x, r1 v, r2-r5 four of x, r6 four of a row, r7 one of them; r8 step, r9 the end
// of x, r10-r12 and lr the sums.
__attribute__((naked, noinline)) void dot_four_rows_by_words(int32_t*, const int8_t*, size_t,
                                                             const int8_t*, uint32_t) {
#define THIMBLE_TERM(x, sum) \
  "sxtb r7, r6\n muls r7, " x ", r7\n add " sum ", r7\n asrs r6, r6, #8\n"
#define THIMBLE_ROW(offset, sum)                                                \
  "ldr r6, [r1, #" offset "]\n" THIMBLE_TERM("r2", sum) THIMBLE_TERM("r3", sum) \
      THIMBLE_TERM("r4", sum) "muls r6, r5, r6\n add " sum ", r6\n"
  __asm__(
      ".syntax unified\n"
      "push {r4-r7, lr}\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n"
      "push {r0, r4-r7}\n ldr r4, [sp, #40]\n adds r4, r4, r3\n mov r9, r4\n mov r8, r2\n"
      "mov r0, r3\n movs r7, #0\n mov r10, r7\n mov r11, r7\n mov r12, r7\n mov lr, r7\n"
      "1: ldmia r0!, {r6}\n sxtb r2, r6\n asrs r6, r6, #8\n sxtb r3, r6\n asrs r6, r6, #8\n"
      "sxtb r4, r6\n asrs r5, r6, #8\n"
      THIMBLE_ROW("0", "r10") THIMBLE_ROW("4", "r11") THIMBLE_ROW("8", "r12")
      THIMBLE_ROW("12", "lr")
      "add r1, r8\n cmp r0, r9\n bne 1b\n"
      "pop {r0, r4-r7}\n mov r1, r10\n mov r2, r11\n mov r3, r12\n stmia r0!, {r1-r3}\n"
      "mov r1, lr\n str r1, [r0]\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n"
      "pop {r4-r7, pc}\n");
#undef THIMBLE_ROW
#undef THIMBLE_TERM
}
#endif

// The dot products of four rows with x: 16 values of v for four of x, `step` behind the last
// four's. Out of line, so that what lives here has the registers.
__attribute__((noinline)) void dot_four_rows(int32_t* dots, const int8_t* v, size_t step,
                                             const int8_t* x, uint32_t cols) {
#if defined(THIMBLE_THUMB1)
  if (((reinterpret_cast<uintptr_t>(v) | reinterpret_cast<uintptr_t>(x)) & 3u) == 0) {
    dot_four_rows_by_words(dots, v, step, x, cols);
    return;
  }
#endif
  int32_t dot0 = 0, dot1 = 0, dot2 = 0, dot3 = 0;
  const int8_t* end = x + cols;
  do {
    const int8_t x0 = *x;
    x += 4;  // here, where it is a part of the load
    const int8_t x1 = x[-3], x2 = x[-2], x3 = x[-1];
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

constexpr Q4Pairs kPairs = q4_pairs(true);

// One product for two columns: (low + high 2^16) (b + a 2^16) = low b + (low a + high b) 2^16, and
// the rest lies above 32 bits. The sum is below 2^15 and low b below 2^14, so that the upper half
// is the sum, rounded.
THIMBLE_INLINE uint32_t pair_of(int8_t a, int8_t b) {
  return (static_cast<uint32_t>(a) << 16) + static_cast<uint32_t>(b);
}
THIMBLE_INLINE int32_t pair_product(uint8_t levels, uint32_t x, uint32_t half) {
  return static_cast<int32_t>(kPairs.of[levels] * x + half) >> 16;
}

// dot_four_rows of 4-bit weights: four bytes of each row for eight of x, in tiles of four rows of
// neighbouring columns, twice in 32 bytes.
template <bool kFourRows>
__attribute__((noinline)) void dot_four_rows_q4(int32_t* dots, const int8_t* weights, size_t step,
                                                const int8_t* x, uint32_t cols) {
  constexpr uint32_t kRow = kFourRows ? 8 : 4;
  const uint8_t* v = reinterpret_cast<const uint8_t*>(weights);
  uint32_t half = 0x8000;
  __asm__("" : "+r"(half));  // in a register, so that it is added while multiplying
  int32_t dot0 = 0, dot1 = 0, dot2 = 0, dot3 = 0;
  const int8_t* end = x + cols;
  if (kFourRows) step = 4;
  do {
    const uint32_t x0 = kFourRows ? pair_of(x[0], x[1]) : pair_of(x[0], x[4]);
    const uint32_t x1 = kFourRows ? pair_of(x[2], x[3]) : pair_of(x[1], x[5]);
    const uint32_t x2 = kFourRows ? pair_of(x[4], x[5]) : pair_of(x[2], x[6]);
    const uint32_t x3 = kFourRows ? pair_of(x[6], x[7]) : pair_of(x[3], x[7]);
    x += 8;
    dot0 += pair_product(v[0], x0, half);
    dot0 += pair_product(v[1], x1, half);
    dot0 += pair_product(v[2], x2, half);
    dot0 += pair_product(v[3], x3, half);
    dot1 += pair_product(v[kRow], x0, half);
    dot1 += pair_product(v[kRow + 1], x1, half);
    dot1 += pair_product(v[kRow + 2], x2, half);
    dot1 += pair_product(v[kRow + 3], x3, half);
    dot2 += pair_product(v[2 * kRow], x0, half);
    dot2 += pair_product(v[2 * kRow + 1], x1, half);
    dot2 += pair_product(v[2 * kRow + 2], x2, half);
    dot2 += pair_product(v[2 * kRow + 3], x3, half);
    dot3 += pair_product(v[3 * kRow], x0, half);
    dot3 += pair_product(v[3 * kRow + 1], x1, half);
    dot3 += pair_product(v[3 * kRow + 2], x2, half);
    dot3 += pair_product(v[3 * kRow + 3], x3, half);
    v += step;
    if (kFourRows) step ^= 4 ^ 28;
  } while (x != end);
  dots[0] = dot0;
  dots[1] = dot1;
  dots[2] = dot2;
  dots[3] = dot3;
}

// The product of a bf16 mantissa, 8 bits, and a float's, 24 bits, rounded to 24. Their exponents'
// sum becomes the product's, if 127 is taken off.
THIMBLE_INLINE uint32_t scale_mantissa(uint32_t w, uint32_t mantissa, uint32_t* exponent) {
  const uint32_t product = ((w & 0x7fu) | 0x80u) * mantissa;  // in [2^30, 2^32)
  if (!(product >> 31)) return shift_to_even(product, 7, false);
  ++*exponent;
  return shift_to_even(product, 8, false);
}

// Within these bounds every scale, and every one's product with a dot product, is a normal number;
// both are above 0. Exponents with the sign before them.
bool is_usual_exponent(uint32_t exponent) {
  return exponent - 64 < 128;
}
bool is_usual_scale(uint32_t w) {
  return (w >> 7) - 96 < 63;
}

// The bits of from_bf16(w) * x.
THIMBLE_INLINE uint32_t scaled_bits(float x, uint16_t w) {
  const uint32_t x_bits = bits_of(x), x_exponent = x_bits >> 23;
  if (!is_usual_exponent(x_exponent) || !is_usual_scale(w)) return bits_of(x * from_bf16(w));
  uint32_t exponent = x_exponent + (w >> 7);
  const uint32_t mantissa = scale_mantissa(w, (x_bits & 0x7fffffu) | 0x800000u, &exponent);
  return ((exponent - 128) << 23) + mantissa;
}

// to[k] = fma(float(dots[k]), from_bf16(scales[k]) * x_scale, first ? +0 : to[k]) of four rows.
// With +0 that is a product, rounded after its factors were.
__attribute__((noinline)) void scale_four_rows(float* to, const int32_t* dots,
                                               const uint16_t* scales, float x_scale, bool first) {
  const uint32_t x_bits = bits_of(x_scale), x_exponent = x_bits >> 23;
  const uint32_t x_mantissa = (x_bits & 0x7fffffu) | 0x800000u;
  const bool is_usual = first && is_usual_exponent(x_exponent);
  for (const int32_t* end = dots + 4; dots != end; ++dots, ++scales, ++to) {
    const int32_t dot = *dots;
    const uint32_t w = *scales & 0x7fffu;
    const uint32_t size = static_cast<uint32_t>(dot < 0 ? -dot : dot);
    if (!is_usual || !is_usual_scale(w) || size - 1 >= 0xffffff) {  // up to 2^24 floats are exact
      *to = exact_fma(static_cast<float>(dot), from_bf16(*scales) * x_scale, first ? 0.0f : *to);
      continue;
    }
    uint32_t exponent = (w >> 7) + x_exponent;
    const uint32_t scale = scale_mantissa(w, x_mantissa, &exponent);
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
    const uint32_t sign = (static_cast<uint32_t>(dot) ^ (uint32_t{*scales} << 16)) & kSign;
    *to = float_of(sign + ((exponent - 97) << 23) + high);
  }
}

template <WeightType kType>
THIMBLE_INLINE void matmul_int8(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                                uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  constexpr bool kQ4 = kType == kWeightQ4;
  const uint32_t height = w.row_tile, groups = w.n_groups;
  if (height % 4 != 0) {
    const auto matmul = kQ4 ? matmul_q4_reference : matmul_q8_reference;
    matmul(out, out_stride, w, tile_begin, tile_end, x, n);
    return;
  }
  const size_t group_bytes = weight_bytes(kType, size_t{w.group} * height);
  const size_t step = size_t{height} * 4;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t i = 0; i < n; ++i) {
      const int8_t* v = static_cast<const int8_t*>(w.data) + tile * groups * group_bytes;
      const uint16_t* scales = w.scales + size_t{tile} * groups * height;
      const int8_t* values = x.values + size_t{i} * w.padded_cols;
      const float* x_scales = x.scales + size_t{i} * groups;
      float* to = out + i * out_stride + size_t{tile} * height;
      for (uint32_t g = 0; g < groups; ++g) {
        for (uint32_t r = 0; r < height; r += 4) {
          int32_t dots[4];
          const auto dot = !kQ4          ? dot_four_rows
                           : height == 4 ? dot_four_rows_q4<true>
                                         : dot_four_rows_q4<false>;
          dot(dots, v + r * 4, step, values, w.group);
          scale_four_rows(to + r, dots, scales + r, x_scales[g], g == 0);
        }
        v += group_bytes;
        scales += height;
        values += w.group;
      }
    }
  }
}

void matmul_q8_scalar(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                      uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  matmul_int8<kWeightQ8>(out, out_stride, w, tile_begin, tile_end, x, n);
}

void matmul_q4_scalar(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                      uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  matmul_int8<kWeightQ4>(out, out_stride, w, tile_begin, tile_end, x, n);
}

uint32_t largest_size(const float* x, uint32_t n) {
  uint32_t max = 0;
  for (const float* end = x + n; x < end; ++x) {
    const uint32_t size = size_bits(*x);
    max = size > max ? size : max;
  }
  return max;
}

// Of finite numbers; returns their sum. Out of line for the registers, too.
__attribute__((noinline)) int32_t quantize_group(int8_t* values, const float* x, uint32_t n,
                                                 uint32_t inverse) {
  int32_t sum = 0;
  for (const float* end = x + n; x != end; ++x, ++values) {
    const uint32_t bits = bits_of(*x), negative = 0u - (bits >> 31);
    const uint32_t size = static_cast<uint32_t>(rounded_product(bits & ~kSign, inverse));
    const int32_t value = static_cast<int32_t>((size ^ negative) - negative);
    *values = static_cast<int8_t>(value);
    sum += value;
  }
  return sum;
}

void quantize_q8_scalar(const QuantizedRows& out, const float* x, size_t x_stride, uint32_t cols,
                        uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) {
    int8_t* values = out.values + size_t{i} * out.padded_cols;
    for (uint32_t g = 0; g < out.n_groups; ++g) {
      const uint32_t begin = g * out.group;
      const uint32_t end = begin + out.group < cols ? begin + out.group : cols;
      const float* row = x + i * x_stride;
      const uint32_t count = begin < end ? end - begin : 0;
      const uint32_t max = largest_size(row + begin, count);
      if (max >= kInfinity) {  // or a NaN
        quantize_q8_reference(out, x, x_stride, cols, n);
        return;
      }
      const bool silent = max < kSilent;
      const uint32_t used = silent ? 0 : count;
      const uint32_t inverse = silent ? 0 : bits_of(127.0f / float_of(max));
      const int32_t sum = quantize_group(values + begin, row + begin, used, inverse);
      for (uint32_t c = used; c < out.group; ++c) values[begin + c] = 0;
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

// The sums of p[t] * v[t][k] for k < width <= 4 and t < n.
__attribute__((noinline)) void mix_columns(int32_t* dots, const int16_t* p, const int8_t* v,
                                           uint32_t n, size_t stride, uint32_t width) {
  const int16_t* end = p + n;
  if (width == 4) {
    int32_t dot0 = 0, dot1 = 0, dot2 = 0, dot3 = 0;
    for (; p != end; ++p, v += stride) {
      dot0 += *p * v[0];
      dot1 += *p * v[1];
      dot2 += *p * v[2];
      dot3 += *p * v[3];
    }
    dots[0] = dot0;
    dots[1] = dot1;
    dots[2] = dot2;
    dots[3] = dot3;
    return;
  }
  for (uint32_t k = 0; k < width; ++k) {
    int32_t dot = 0;
    const int8_t* column = v + k;
    for (const int16_t* q = p; q != end; ++q, column += stride) dot += *q * *column;
    dots[k] = dot;
  }
}

void mix_values_q8_scalar(float* out, const float* weights, size_t weights_stride,
                          const int8_t* values, const uint16_t* scales, uint32_t n,
                          uint32_t head_dim, uint32_t n_heads) {
  int16_t p[kMixBlock];
  for (uint32_t h = 0; h < n_heads; ++h, out += head_dim, weights += weights_stride) {
    for (uint32_t d = 0; d < head_dim; ++d) out[d] = 0.0f;
    for (uint32_t begin = 0; begin < n; begin += kMixBlock) {
      const uint32_t count = n - begin < kMixBlock ? n - begin : kMixBlock;
      const uint16_t* scale = scales + begin;
      const float* weight = weights + begin;
      uint32_t max = 0;
      for (uint32_t t = 0; t < count; ++t) {
        const uint32_t e = scaled_bits(weight[t], scale[t]);
        if (e <= kInfinity && e > max) max = e;
      }
      const bool silent = max < kSilent, none = silent || max == kInfinity;
      const uint32_t inverse = none ? 0 : bits_of(32767.0f / float_of(max));
      const float unit = silent ? 0.0f : float_of(max) / 32767.0f;
      for (uint32_t t = 0; t < count; ++t) {
        const uint32_t e = scaled_bits(weight[t], scale[t]);
        p[t] = static_cast<int16_t>(none || e >= kInfinity ? 0 : rounded_product(e, inverse));
      }
      const int8_t* v = values + size_t{begin} * head_dim;
      for (uint32_t d = 0; d < head_dim; d += 4) {
        int32_t dots[4];
        const uint32_t width = head_dim - d < 4 ? head_dim - d : 4;
        mix_columns(dots, p, v + d, count, head_dim, width);
        for (uint32_t k = 0; k < width; ++k) {
          out[d + k] = exact_fma(static_cast<float>(dots[k]), unit, out[d + k]);
        }
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
  k.matmul_q4 = kHasQ4 ? matmul_q4_scalar : nullptr;
  k.quantize_q8 = quantize_q8_scalar;
  k.softmax = softmax_scalar;
  k.mix_values_q8 = mix_values_q8_scalar;
  k.swiglu = kHasSwiglu ? swiglu_scalar : nullptr;
  k.argmax = argmax_scalar;
  k.odds = odds_scalar;
  return k;
}

}  // namespace

extern const Kernels kKernelsScalar;
const Kernels kKernelsScalar = make_table();

}  // namespace thimble
