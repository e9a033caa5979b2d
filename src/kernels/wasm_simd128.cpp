// SPDX-License-Identifier: MIT
// WebAssembly with SIMD128, without its relaxed operations, whose results may differ from machine
// to machine: 16 lanes are four registers. What makes a page's wait is written here, in small: one
// tile of weights, or one head, at a time. Blocks of several would not stay in the registers that
// a browser has on x86, and a module is downloaded.
#if defined(__wasm_simd128__)

#include <wasm_simd128.h>

#include "quads.h"

namespace thimble {
namespace {

struct QuadInt {
  v128_t v;
  static QuadInt of(int32_t x) { return {wasm_i32x4_splat(x)}; }
  static QuadInt load(const float* p) { return {wasm_v128_load(p)}; }
  void store(float* p) const { wasm_v128_store(p, v); }
  void store(uint32_t* p) const { wasm_v128_store(p, v); }
  static v128_t narrow(QuadInt a, QuadInt b) { return wasm_i16x8_narrow_i32x4(a.v, b.v); }
  static void store_int16(int16_t* p, const QuadInt (&q)[4]) {
    wasm_v128_store(p, narrow(q[0], q[1]));
    wasm_v128_store(p + 8, narrow(q[2], q[3]));
  }
  static void store_int8(int8_t* p, const QuadInt (&q)[4]) {
    wasm_v128_store(p, wasm_i8x16_narrow_i16x8(narrow(q[0], q[1]), narrow(q[2], q[3])));
  }
};

struct Quad {
  using I = QuadInt;
  v128_t v;
  static Quad of(float x) { return {wasm_f32x4_splat(x)}; }
  static Quad load(const float* p) { return {wasm_v128_load(p)}; }
  static Quad load_first_or(const float* p, uint32_t n, Quad other) {
    const v128_t one = wasm_v128_load32_lane(p, other.v, 0);
    if (n == 1) return {one};
    const v128_t two = wasm_v128_load32_lane(p + 1, one, 1);
    return {n == 2 ? two : wasm_v128_load32_lane(p + 2, two, 2)};
  }
  static Quad load_bf16(const uint16_t* p) { return {wasm_i32x4_shl(wasm_u32x4_load16x4(p), 16)}; }
  void store(float* p) const { wasm_v128_store(p, v); }
  void store_first(float* p, uint32_t n) const {
    wasm_v128_store32_lane(p, v, 0);
    if (n > 1) wasm_v128_store32_lane(p + 1, v, 1);
    if (n > 2) wasm_v128_store32_lane(p + 2, v, 2);
  }
};

inline Quad add(Quad a, Quad b) {
  return {wasm_f32x4_add(a.v, b.v)};
}
inline Quad sub(Quad a, Quad b) {
  return {wasm_f32x4_sub(a.v, b.v)};
}
inline Quad mul(Quad a, Quad b) {
  return {wasm_f32x4_mul(a.v, b.v)};
}
inline Quad div(Quad a, Quad b) {
  return {wasm_f32x4_div(a.v, b.v)};
}

// Four floats as doubles, in which products of floats are exact and sums are rounded once before
// they are rounded to floats. That errs only where the first rounding leaves a sum half way between
// two floats, or where a denormal arises; `doubt` gathers lanes where it may have, which are seldom
// enough to compute them again.
template <bool kCanBeDenormal>
struct Doubles {
  v128_t low, high, doubt;
  static Doubles of(float x) {
    const v128_t v = wasm_f64x2_splat(static_cast<double>(x));
    return {v, v, wasm_i32x4_splat(0)};
  }
  static Doubles of(Quad a) {
    return {wasm_f64x2_promote_low_f32x4(a.v),
            wasm_f64x2_promote_low_f32x4(wasm_i64x2_shuffle(a.v, a.v, 1, 1)), wasm_i32x4_splat(0)};
  }
  // Of doubles that one rounding makes floats.
  static Doubles rounded(v128_t low, v128_t high, v128_t doubt) {
    return {to_float_and_back(low), to_float_and_back(high), doubt};
  }
  static v128_t to_float_and_back(v128_t v) {
    v128_t floats = wasm_f32x4_demote_f64x2_zero(v);
    __asm__("" : "+r"(floats));  // or clang 14 does the two of them lane by lane
    return wasm_f64x2_promote_low_f32x4(floats);
  }
};
inline Quad narrow(v128_t low, v128_t high) {
  return {wasm_i64x2_shuffle(wasm_f32x4_demote_f64x2_zero(low), wasm_f32x4_demote_f64x2_zero(high),
                             0, 2)};
}
template <bool k>
inline Quad narrow(Doubles<k> a) {
  return narrow(a.low, a.high);
}

template <bool k>
inline Doubles<k> mul(Doubles<k> a, Doubles<k> b) {
  return Doubles<k>::rounded(wasm_f64x2_mul(a.low, b.low), wasm_f64x2_mul(a.high, b.high),
                             wasm_v128_or(a.doubt, b.doubt));
}
template <bool kCanBeDenormal>
inline Doubles<kCanBeDenormal> fma(Doubles<kCanBeDenormal> a, Doubles<kCanBeDenormal> b,
                                   Doubles<kCanBeDenormal> c) {
  const v128_t low = wasm_f64x2_add(wasm_f64x2_mul(a.low, b.low), c.low);
  const v128_t high = wasm_f64x2_add(wasm_f64x2_mul(a.high, b.high), c.high);
  const v128_t last = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6);
  v128_t doubt = wasm_i32x4_eq(wasm_i32x4_shl(last, 3), wasm_i32x4_splat(INT32_MIN));
  if (kCanBeDenormal) {
    // |sum| < 2^-126, by its exponent; a zero becomes the largest.
    const v128_t first = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
    const v128_t size = wasm_i32x4_add(wasm_i32x4_shl(first, 1), wasm_i32x4_splat(-1));
    const v128_t most = wasm_u32x4_min(size, wasm_i32x4_splat(2 * 0x38100000 - 2));
    doubt = wasm_v128_or(doubt, wasm_i32x4_eq(size, most));
  }
  const v128_t before = wasm_v128_or(wasm_v128_or(a.doubt, b.doubt), c.doubt);
  return Doubles<kCanBeDenormal>::rounded(low, high, wasm_v128_or(before, doubt));
}
using Wide = Doubles<true>;
inline bool is_sure(v128_t doubt) {
  return !wasm_v128_any_true(doubt);
}

// exact_fma's last form in exact_math.h, two lanes at a time, without its branches. For a sum that
// is inexact, odd: one towards zero if the error is that way, and the last bit set.
inline v128_t add_to_odd(v128_t p, v128_t d) {
  const v128_t s = wasm_f64x2_add(p, d);
  const v128_t d_part = wasm_f64x2_sub(s, p);
  const v128_t error =
      wasm_f64x2_add(wasm_f64x2_sub(p, wasm_f64x2_sub(s, d_part)), wasm_f64x2_sub(d, d_part));
  // Not where it is a NaN.
  const v128_t inexact = wasm_f64x2_gt(wasm_f64x2_abs(error), wasm_f64x2_splat(0.0));
  const v128_t opposite = wasm_v128_and(inexact, wasm_v128_xor(error, s));
  const v128_t towards_zero = wasm_u64x2_shr(opposite, 63), odd = wasm_u64x2_shr(inexact, 63);
  return wasm_v128_or(wasm_i64x2_sub(s, towards_zero), odd);
}
// Not inline, for the module's size: norms, rotations and ends of blocks can afford the call.
__attribute__((noinline)) Quad fma(Quad a, Quad b, Quad c) {
  const Wide x = Wide::of(a), y = Wide::of(b), z = Wide::of(c);
  return narrow(add_to_odd(wasm_f64x2_mul(x.low, y.low), z.low),
                add_to_odd(wasm_f64x2_mul(x.high, y.high), z.high));
}

// pmin(a, b) is b < a ? b : a, pmax(a, b) is a < b ? b : a.
inline Quad lesser(Quad a, Quad b) {
  return {wasm_f32x4_pmin(b.v, a.v)};
}
inline Quad greater(Quad a, Quad b) {
  return {wasm_f32x4_pmax(b.v, a.v)};
}
inline Quad absolute(Quad a) {
  return {wasm_f32x4_abs(a.v)};
}
inline Quad swap_pairs(Quad a) {
  return {wasm_i32x4_shuffle(a.v, a.v, 1, 0, 3, 2)};
}
inline QuadInt truncate(Quad a) {
  return {wasm_i32x4_trunc_sat_f32x4(a.v)};
}
inline QuadInt round_even(Quad a) {
  return truncate({wasm_f32x4_nearest(a.v)});
}
inline Quad to_float(QuadInt a) {
  return {wasm_f32x4_convert_i32x4(a.v)};
}
inline Quad times_power_of_two(Quad a, QuadInt n, Quad x, Quad limit) {
  const v128_t bits = wasm_i32x4_add(a.v, wasm_i32x4_shl(n.v, 23));
  return {wasm_v128_andnot(bits, wasm_f32x4_lt(x.v, limit.v))};
}
inline Quad upper_pair(Quad a) {
  return {wasm_i64x2_shuffle(a.v, a.v, 1, 1)};
}
inline float fold(Quad a) {
  const Quad two = add(a, upper_pair(a));
  return wasm_f32x4_extract_lane(two.v, 0) + wasm_f32x4_extract_lane(two.v, 1);
}
inline float greatest(Quad a) {
  const Quad two = greater(a, upper_pair(a));
  return wasm_f32x4_extract_lane(greater(two, swap_pairs(two)).v, 0);
}
inline QuadInt add(QuadInt a, QuadInt b) {
  return {wasm_i32x4_add(a.v, b.v)};
}
inline int32_t total(QuadInt a) {
  const v128_t two = wasm_i32x4_add(a.v, wasm_i64x2_shuffle(a.v, a.v, 1, 1));
  return wasm_i32x4_extract_lane(two, 0) + wasm_i32x4_extract_lane(two, 1);
}

using Floats = Quads<Quad, 4>;
using Ints = QuadInts<QuadInt>;

// What exact_exp wants beside mul and fma. No sum of its is a denormal, unless it is exact: r is x
// itself, or the rest of a whole number of ln 2 that x, a float, is not that close to.
using Power = Doubles<false>;
struct PowerInt {
  QuadInt n;
};
inline PowerInt round_even(Power a) {
  return {round_even(narrow(a))};
}
inline Power to_float(PowerInt a) {
  return Power::of(to_float(a.n));
}
inline Power times_power_of_two(Power a, PowerInt n, Power x, Power limit) {
  Power product = Power::of(times_power_of_two(narrow(a), n.n, narrow(x), narrow(limit)));
  product.doubt = a.doubt;
  return product;
}

// For softmax, SwiGLU, other activations and odds, in their place of the template.
__attribute__((noinline)) Floats exact_exp(Floats x) {
  Floats y;
  v128_t doubt = wasm_i32x4_splat(0);
  for (uint32_t i = 0; i < 4; ++i) {
    const Power e = thimble::exact_exp(Power::of(x.r[i]));
    y.r[i] = narrow(e);
    doubt = wasm_v128_or(doubt, e.doubt);
  }
  return is_sure(doubt) ? y : thimble::exact_exp<Floats>(x);
}

// ---- Products of matrices ------------------------------------------------------------------

// Columns 0 and 2 of each row, then 1 and 3, as int16: so the dot products of pairs stay with their
// row.
inline v128_t even_bytes(v128_t v) {
  return wasm_i16x8_shr(wasm_i16x8_shl(v, 8), 8);
}
inline v128_t odd_bytes(v128_t v) {
  return wasm_i16x8_shr(v, 8);
}

struct DotPairs {
  using I = Ints;
  struct Bytes {
    v128_t v[4];  // four rows of four columns each
  };
  struct Four {
    v128_t even, odd;
  };
  static Bytes load(const int8_t* p) {
    return {{wasm_v128_load(p), wasm_v128_load(p + 16), wasm_v128_load(p + 32),
             wasm_v128_load(p + 48)}};
  }
  static void load_q4(const int8_t* p, Bytes (&w)[2]) {
    const v128_t table = wasm_v128_load(kQ4Levels.of), bits = wasm_i8x16_splat(15);
    const Bytes pairs = load(p);
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      w[0].v[i] = wasm_i8x16_swizzle(table, wasm_v128_and(pairs.v[i], bits));
      w[1].v[i] = wasm_i8x16_swizzle(table, wasm_u8x16_shr(pairs.v[i], 4));
    }
  }
  static Four broadcast(const int8_t* p) {
    const v128_t four = wasm_v128_load32_splat(p);
    return {even_bytes(four), odd_bytes(four)};
  }
  static void step(v128_t (&dot)[4], const Bytes& w, Four four) {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      const v128_t even = wasm_i32x4_dot_i16x8(even_bytes(w.v[i]), four.even);
      const v128_t odd = wasm_i32x4_dot_i16x8(odd_bytes(w.v[i]), four.odd);
      dot[i] = wasm_i32x4_add(dot[i], wasm_i32x4_add(even, odd));
    }
  }
};

// acc = fma(a, b, acc) of kQuads chains side by side.
template <uint32_t kQuads>
__attribute__((always_inline)) inline void add_products(Wide (&acc)[kQuads],
                                                        const Quad (&a)[kQuads],
                                                        const Quad (&b)[kQuads]) {
  Wide sum[kQuads];
  v128_t doubt = wasm_i32x4_splat(0);
  THIMBLE_UNROLL
  for (uint32_t q = 0; q < kQuads; ++q) {
    sum[q] = fma(Wide::of(a[q]), Wide::of(b[q]), acc[q]);
    doubt = wasm_v128_or(doubt, sum[q].doubt);
  }
  const bool sure = is_sure(doubt);
  THIMBLE_UNROLL
  for (uint32_t q = 0; q < kQuads; ++q) {
    if (!sure) sum[q] = Wide::of(fma(a[q], b[q], narrow(acc[q])));
    acc[q] = {sum[q].low, sum[q].high, wasm_i32x4_splat(0)};
  }
}

// One tile times one row of x.
template <class Columns>
void tile_int8(float* out, const int8_t* w, const uint16_t* scales, const Matrix& m,
               const QuantizedRows& x) {
  constexpr uint32_t kColumns = 4 * Columns::kFours;
  const int8_t* values = x.values;
  Wide acc[4] = {Wide::of(0.0f), Wide::of(0.0f), Wide::of(0.0f), Wide::of(0.0f)};
  for (uint32_t g = 0; g < m.n_groups; ++g, scales += kLanes) {
    v128_t dot[4] = {};
    const int8_t* end = values + m.group;
    for (; values != end; values += kColumns, w += kColumnBytes) {
      Columns columns;
      columns.load(w);
      THIMBLE_UNROLL
      for (uint32_t k = 0; k < Columns::kFours; ++k) {
        DotPairs::step(dot, columns.four[k], DotPairs::broadcast(values + 4 * k));
      }
    }
    const Quad x_scale = Quad::of(x.scales[g]);
    Quad sums[4], unit[4];
    THIMBLE_UNROLL
    for (uint32_t q = 0; q < 4; ++q) {
      sums[q] = to_float(QuadInt{dot[q]});
      unit[q] = mul(Quad::load_bf16(scales + 4 * q), x_scale);
    }
    add_products(acc, sums, unit);
  }
  THIMBLE_UNROLL
  for (uint32_t q = 0; q < 4; ++q) narrow(acc[q]).store(out + 4 * q);
}

template <class Columns>
void matmul_int8(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                 uint32_t tile_end, const QuantizedRows& x, uint32_t n) {
  const auto reference = Columns::kType == kWeightQ8 ? matmul_q8_reference : matmul_q4_reference;
  if (w.row_tile != kLanes) return reference(out, out_stride, w, tile_begin, tile_end, x, n);
  const size_t bytes = weight_bytes(Columns::kType, size_t{w.padded_cols} * kLanes);
  for (uint32_t t = tile_begin; t < tile_end; ++t) {
    const int8_t* data = static_cast<const int8_t*>(w.data) + t * bytes;
    const uint16_t* scales = w.scales + size_t{t} * w.n_groups * kLanes;
    for (uint32_t i = 0; i < n; ++i) {
      tile_int8<Columns>(out + i * out_stride + t * kLanes, data, scales, w, skip_rows(x, i));
    }
  }
}

// out[d] = chain over t < n: fma(v[t][d], s[t], acc), for kQuads * 4 columns of v: (n, stride).
// Both a row of x times a tile of weights or keys, and weights times values.
template <uint32_t kQuads>
void chains(float* out, const float* v, size_t stride, const float* s, uint32_t n) {
  Wide acc[kQuads];
  THIMBLE_UNROLL
  for (uint32_t q = 0; q < kQuads; ++q) acc[q] = Wide::of(0.0f);
  for (uint32_t t = 0; t < n; ++t, v += stride) {
    Quad values[kQuads], factors[kQuads];
    THIMBLE_UNROLL
    for (uint32_t q = 0; q < kQuads; ++q) {
      values[q] = Quad::load(v + 4 * q);
      factors[q] = Quad::of(s[t]);
    }
    add_products(acc, values, factors);
  }
  THIMBLE_UNROLL
  for (uint32_t q = 0; q < kQuads; ++q) narrow(acc[q]).store(out + 4 * q);
}

void matmul_f32(float* out, size_t out_stride, const Matrix& w, uint32_t tile_begin,
                uint32_t tile_end, const float* x, size_t x_stride, uint32_t n) {
  if (w.row_tile != kLanes) {
    return matmul_f32_reference(out, out_stride, w, tile_begin, tile_end, x, x_stride, n);
  }
  for (uint32_t t = tile_begin; t < tile_end; ++t) {
    const float* data = static_cast<const float*>(w.data) + size_t{t} * w.cols * kLanes;
    for (uint32_t i = 0; i < n; ++i) {
      chains<4>(out + i * out_stride + t * kLanes, data, kLanes, x + i * x_stride, w.cols);
    }
  }
}

// ---- Attention -----------------------------------------------------------------------------

void mix_values(float* out, const float* weights, size_t weights_stride, const float* values,
                size_t kv_stride, uint32_t n, uint32_t head_dim, uint32_t n_heads, uint32_t q) {
  if (head_dim % 4 != 0) {
    return mix_values_reference(out, weights, weights_stride, values, kv_stride, n, head_dim,
                                n_heads, q);
  }
  for (uint32_t h = 0; h < n_heads; ++h, out += head_dim, weights += weights_stride) {
    const float* v = values + h / q * kv_stride;
    uint32_t d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) chains<4>(out + d, v + d, head_dim, weights, n);
    for (; d < head_dim; d += 4) chains<1>(out + d, v + d, head_dim, weights, n);
  }
}

// Values of two positions, lanes side by side: one dot product of pairs is both products.
struct Rows {
  using V = Floats;
  using I = Ints;
  static constexpr uint32_t kPositions = 2;
  v128_t v[4];
  static Rows widened(v128_t low, v128_t high) {
    return {{wasm_i16x8_extend_low_i8x16(low), wasm_i16x8_extend_high_i8x16(low),
             wasm_i16x8_extend_low_i8x16(high), wasm_i16x8_extend_high_i8x16(high)}};
  }
  static Rows load(const int8_t* const (&at)[2]) {
    const v128_t a = wasm_v128_load(at[0]), b = wasm_v128_load(at[1]);
    return widened(
        wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
        wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
  }
  I add_products(I acc, v128_t weights) const {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      acc.r[i].v = wasm_i32x4_add(acc.r[i].v, wasm_i32x4_dot_i16x8(v[i], weights));
    }
    return acc;
  }
  I step(I acc, const int16_t* p) const { return add_products(acc, wasm_v128_load32_splat(p)); }
  static V sums(I acc) { return to_float(acc); }
};

// Of four positions: a lane's two pairs are neighbours, and are added at the end.
struct HalfRows {
  using V = Floats::Half;
  using I = Ints;
  static constexpr uint32_t kPositions = 4;
  Rows pairs;
  static HalfRows load(const int8_t* const (&at)[4]) {
    const auto two = [](const int8_t* a, const int8_t* b) {
      return wasm_i8x16_shuffle(wasm_v128_load64_zero(a), wasm_v128_load64_zero(b), 0, 16, 1, 17, 2,
                                18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    };
    const v128_t ab = two(at[0], at[1]), cd = two(at[2], at[3]);
    return {Rows::widened(wasm_i16x8_shuffle(ab, cd, 0, 8, 1, 9, 2, 10, 3, 11),
                          wasm_i16x8_shuffle(ab, cd, 4, 12, 5, 13, 6, 14, 7, 15))};
  }
  I step(I acc, const int16_t* p) const {
    return pairs.add_products(acc, wasm_v128_load64_splat(p));
  }
  static V sums(I acc) {
    return V::each([&](uint32_t i) {
      const v128_t a = acc.r[2 * i].v, b = acc.r[2 * i + 1].v;
      return to_float(QuadInt{wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 2, 4, 6),
                                             wasm_i32x4_shuffle(a, b, 1, 3, 5, 7))});
    });
  }
};

void mix_values_q8(float* out, const float* weights, size_t weights_stride, const int8_t* values,
                   const uint16_t* scales, uint32_t n, uint32_t head_dim, uint32_t n_heads) {
  over_rows<1>(0, n_heads,
               MixQ8<Floats, Rows, HalfRows>{out, head_dim, weights, weights_stride, values, scales,
                                             n, 0, head_dim});
}

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "simd128";
  k.row_tile = kLanes;
  k.matmul_f32 = matmul_f32;
  k.matmul_q8 = matmul_int8<Q8Columns<DotPairs>>;
  if (kHasQ4) k.matmul_q4 = matmul_int8<Q4Columns<DotPairs>>;
  k.quantize_q8 = quantize_q8_lanes<Floats>;
  if (kHasRmsNorm) k.rms_norm = rms_norm_lanes<Floats>;
  k.rotate = rotate_lanes<Floats>;
  k.softmax = softmax_lanes<Floats>;
  k.mix_values = mix_values;
  k.mix_values_q8 = mix_values_q8;
  if (kHasSwiglu) k.swiglu = swiglu_lanes<Floats>;
  k.odds = odds_lanes<Floats>;
  return k;
}

}  // namespace

extern const Kernels kKernelsSimd128;
const Kernels kKernelsSimd128 = make_table();

}  // namespace thimble

#endif
