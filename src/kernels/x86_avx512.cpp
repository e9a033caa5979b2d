// SPDX-License-Identifier: MIT
// x86-64 with AVX-512 (F, BW, DQ, VL): 16 lanes are one register. Three tables: int8 dot products
// by VNNI, with 4 bits by VBMI or without it, and by multiply-add pairs where the CPU lacks both.
// Compiled with: -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__) && defined(__FMA__)

#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 takes its own headers' deliberately undefined operands for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "lanes.h"
#include "x86_half.h"
#include "x86_rows.h"

namespace thimble {
namespace {

struct Ints {
  __m512i v;
  static Ints of(int32_t x) { return {_mm512_set1_epi32(x)}; }
  static Ints load(const float* p) { return {_mm512_loadu_si512(p)}; }
  void store(float* p) const { _mm512_storeu_si512(p, v); }
  void store(uint32_t* p) const { _mm512_storeu_si512(p, v); }
  void store_int16(int16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
  }
  void store_int8(int8_t* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }
};

struct Floats {
  using I = Ints;
  using Half = HalfFloats;
  static constexpr uint32_t kWidth = 16;
  static constexpr uint32_t kBlockTiles = 3;  // times kBlockRows: 24 of 32 registers
  static constexpr uint32_t kBlockRows = 8;
  static constexpr uint32_t kRunBytes = 24576;  // of a block's weights that the first cache keeps
  static constexpr uint32_t kChains = 8;
  static constexpr uint32_t kHalfChains = 8;

  __m512 v;
  static Floats of(float x) { return {_mm512_set1_ps(x)}; }
  static Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Floats four(const float* p) { return {_mm512_broadcast_f32x4(_mm_loadu_ps(p))}; }
  template <int kLane>
  Floats splat() const {
    return {_mm512_permute_ps(v, kLane * 0x55)};
  }
  static __mmask16 first(uint32_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Floats load_first(const float* p, uint32_t n) {
    return {_mm512_maskz_loadu_ps(first(n), p)};
  }
  static Floats load_first_or(const float* p, uint32_t n, Floats other) {
    return {_mm512_mask_loadu_ps(other.v, first(n), p)};
  }
  static Floats load_bf16(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_first(float* p, uint32_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }
};

inline void keep(Floats& a) {
  __asm__("" : "+v"(a.v));
}

inline Floats add(Floats a, Floats b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline Floats sub(Floats a, Floats b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline Floats mul(Floats a, Floats b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline Floats div(Floats a, Floats b) {
  return {_mm512_div_ps(a.v, b.v)};
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline Floats lesser(Floats a, Floats b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline Floats greater(Floats a, Floats b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline Floats absolute(Floats a) {
  return {_mm512_abs_ps(a.v)};
}
inline Floats swap_pairs(Floats a) {
  return {_mm512_permute_ps(a.v, 0xb1)};
}
inline Ints round_even(Floats a) {
  return {_mm512_cvt_roundps_epi32(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Ints truncate(Floats a) {
  return {_mm512_cvttps_epi32(a.v)};
}
inline Floats to_float(Ints a) {
  return {_mm512_cvtepi32_ps(a.v)};
}
inline Floats times_power_of_two(Floats a, Ints n, Floats x, Floats limit) {
  const __mmask16 kept = _mm512_cmp_ps_mask(x.v, limit.v, _CMP_NLT_UQ);
  const __m512i bits = _mm512_castps_si512(a.v);
  return {_mm512_castsi512_ps(_mm512_maskz_add_epi32(kept, bits, _mm512_slli_epi32(n.v, 23)))};
}
inline uint32_t equal_lanes(Floats a, Floats b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ);
}

inline __m256 upper_half(__m512 v) {
  return _mm512_extractf32x8_ps(v, 1);
}

// The definition's tree: 8, 4, 2, 1.
inline float fold(Floats a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), upper_half(a.v));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float greatest(Floats a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), upper_half(a.v));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline Ints add(Ints a, Ints b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
inline int32_t total(Ints a) {
  return _mm512_reduce_add_epi32(a.v);
}

// Four int8 activations, the same for every row of the tile.
inline __m512i broadcast_four(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

// 64 bytes of q4: four columns of low bits, four of high bits, by a table of what they stand for.
inline void look_up(const Q4Levels& levels, const int8_t* p, __m512i (&bytes)[2]) {
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(levels.of)));
  const __m512i pairs = _mm512_loadu_si512(p), bits = _mm512_set1_epi8(15);
  bytes[0] = _mm512_shuffle_epi8(table, _mm512_and_si512(pairs, bits));
  bytes[1] = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(pairs, 4), bits));
}

struct DotBytes {
  using I = Ints;
  using Bytes = __m512i;
  using Four = __m512i;
  static void store(int8_t* p, Bytes bytes) { _mm512_storeu_si512(p, bytes); }
  static Bytes load_bytes(const int8_t* p) { return _mm512_loadu_si512(p); }
  static Four broadcast(const int8_t* p) { return broadcast_four(p); }
};

// vpdpbusd multiplies unsigned by signed bytes: the weights become unsigned by adding 128.
struct DotVnni : DotBytes {
  using Weights = Bytes;
  static constexpr int32_t kOffset = 128;
  static constexpr uint32_t kBlockTiles = 3;
  static constexpr uint32_t kBlockRows = 8;
  static constexpr uint32_t kGroupRows = 4;
  static constexpr uint32_t kUnrolled = 32;
  static constexpr uint32_t kStreams = 4;
  static Bytes load(const int8_t* p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
  }
  static void load_q4(const int8_t* p, Bytes (&bytes)[2]) { look_up(kQ4Unsigned, p, bytes); }
  static Weights weights(Bytes bytes) { return bytes; }
  // In assembler, so that the rest of this file needs no VNNI: its other table must run without.
  static I step(I acc, Weights w, Four four) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(w), "v"(four));
    return acc;
  }
};

// With VBMI, whose shuffle of 64 bytes looks at six bits of an index: of four copies of the levels
// it takes the one that four of the bits say, so that no others need be cleared.
struct DotVbmi : DotVnni {
  static __m512i permute(__m512i table, __m512i at) {
    __m512i bytes;
    __asm__("vpermb %1, %2, %0" : "=v"(bytes) : "v"(table), "v"(at));
    return bytes;
  }
  static void load_q4(const int8_t* p, Bytes (&bytes)[2]) {
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(kQ4Unsigned.of)));
    const __m512i pairs = load_bytes(p);
    bytes[0] = permute(table, pairs);
    bytes[1] = permute(table, _mm512_srli_epi16(pairs, 4));
  }
};

// |w| is unsigned, and x takes the sign of w; 2 * 128 * 127 fits the 16 bits of the pair sums.
struct DotPairs : DotBytes {
  struct Weights {
    __m512i size;
    __mmask64 negative;
  };
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kBlockTiles = 2;
  static constexpr uint32_t kBlockRows = 8;
  static constexpr uint32_t kGroupRows = 4;
  static constexpr uint32_t kUnrolled = 8;
  static constexpr uint32_t kStreams = 4;
  static Bytes load(const int8_t* p) { return load_bytes(p); }
  static void load_q4(const int8_t* p, Bytes (&bytes)[2]) { look_up(kQ4Levels, p, bytes); }
  static Weights weights(Bytes bytes) {
    return {_mm512_abs_epi8(bytes), _mm512_movepi8_mask(bytes)};
  }
  static I step(I acc, Weights w, Four four) {
    const __m512i x = _mm512_mask_sub_epi8(four, w.negative, _mm512_setzero_si512(), four);
    const __m512i pairs = _mm512_maddubs_epi16(w.size, x);
    return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
  }
};

// Values of two positions, lanes side by side: one multiply-add of pairs is both products.
struct Rows {
  using V = Floats;
  using I = Ints;
  static constexpr uint32_t kPositions = 2;
  __m512i v;
  static Rows widened(Interleaved bytes) {
    return {_mm512_cvtepi8_epi16(_mm256_set_m128i(bytes.high, bytes.low))};
  }
  static Rows load(const int8_t* const (&at)[2]) { return widened(interleave(at)); }
  I add_products(I acc, __m512i p) const {
    return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(v, p))};
  }
  I step(I acc, const int16_t* p) const { return add_products(acc, _mm512_set1_epi32(two(p))); }
  static V sums(I acc) { return to_float(acc); }
};

// Of four positions: a lane's two pairs are neighbours, and are added at the end.
struct HalfRows {
  using V = HalfFloats;
  using I = Ints;
  static constexpr uint32_t kPositions = 4;
  Rows pairs;
  static HalfRows load(const int8_t* const (&at)[4]) { return {Rows::widened(interleave(at))}; }
  I step(I acc, const int16_t* p) const {
    return pairs.add_products(acc, _mm512_set1_epi64(four(p)));
  }
  static V sums(I acc) {
    return sum_neighbours(_mm512_castsi512_si256(acc.v), _mm512_extracti64x4_epi64(acc.v, 1));
  }
};

// With VNNI the products are added to the sums at once.
struct RowsVnni : Rows {
  static RowsVnni load(const int8_t* const (&at)[2]) { return {Rows::load(at)}; }
  I step(I acc, const int16_t* p) const {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc.v) : "v"(v), "v"(_mm512_set1_epi32(two(p))));
    return acc;
  }
};

}  // namespace

extern const Kernels kKernelsAvx512;
extern const Kernels kKernelsAvx512Vnni;
const Kernels kKernelsAvx512 = lanes_table<Floats, DotPairs, Rows, HalfRows>("avx512");
const Kernels kKernelsAvx512Vnni = lanes_table<Floats, DotVnni, RowsVnni, HalfRows>("avx512vnni");
extern const Kernels kKernelsAvx512Vbmi;
const Kernels kKernelsAvx512Vbmi =
    lanes_table<Floats, DotVnni, RowsVnni, HalfRows, DotVbmi>("avx512vbmi");

}  // namespace thimble

#elif defined(__x86_64__)

#include "kernels.h"

// Compiled without the instructions: a table without a name, which select.cpp passes over.
namespace thimble {
extern const Kernels kKernelsAvx512;
const Kernels kKernelsAvx512 = {};
extern const Kernels kKernelsAvx512Vnni;
const Kernels kKernelsAvx512Vnni = {};
extern const Kernels kKernelsAvx512Vbmi;
const Kernels kKernelsAvx512Vbmi = {};
}  // namespace thimble

#endif
