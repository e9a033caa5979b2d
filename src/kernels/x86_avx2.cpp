// SPDX-License-Identifier: MIT
// x86-64 with AVX2 and FMA: 16 lanes are two registers. Two tables: int8 dot products by AVX-VNNI,
// and by multiply-add pairs where the CPU lacks it.
// Compiled with: -mavx2 -mfma
#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

#include "lanes.h"
#include "x86_half.h"
#include "x86_rows.h"

namespace thimble {
namespace {

struct Ints {
  __m256i low, high;
  static Ints of(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static Ints load(const float* p) {
    const __m256i* at = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  void store(float* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), high);
  }
  void store(uint32_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), high);
  }
  // Packing works within 128-bit halves; the permutation puts the quarters in order.
  __m256i words() const { return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8); }
  void store_int16(int16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words());
  }
  void store_int8(int8_t* p) const {
    const __m256i w = words();
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
};

struct Floats {
  using I = Ints;
  using Half = HalfFloats;
  static constexpr uint32_t kWidth = 16;
  static constexpr uint32_t kBlockTiles = 1;  // times kBlockRows, two registers each: 12 of 16
  static constexpr uint32_t kBlockRows = 6;
  static constexpr uint32_t kRunBytes = 16384;  // of a block's weights that the first cache keeps
  static constexpr uint32_t kChains = 4;
  static constexpr uint32_t kHalfChains = 4;

  __m256 low, high;
  static Floats of(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Floats four(const float* p) {
    const __m256 four = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
    return {four, four};
  }
  template <int kLane>
  Floats splat() const {
    const __m256 lane = _mm256_permute_ps(low, kLane * 0x55);
    return {lane, lane};
  }

  struct Mask {
    __m256i low, high;
  };
  static Mask first(uint32_t n) { return {first_lanes(n), first_lanes(n < 8 ? 0 : n - 8)}; }
  static Floats load_first(const float* p, uint32_t n) {
    const Mask m = first(n);
    return {_mm256_maskload_ps(p, m.low), _mm256_maskload_ps(p + 8, m.high)};
  }
  static Floats load_first_or(const float* p, uint32_t n, Floats other) {
    const Mask m = first(n);
    const Floats x = {_mm256_maskload_ps(p, m.low), _mm256_maskload_ps(p + 8, m.high)};
    return {_mm256_blendv_ps(other.low, x.low, _mm256_castsi256_ps(m.low)),
            _mm256_blendv_ps(other.high, x.high, _mm256_castsi256_ps(m.high))};
  }
  static Floats load_bf16(const uint16_t* p) {
    const __m128i* half = reinterpret_cast<const __m128i*>(p);
    const __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128(half));
    const __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128(half + 1));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
  }
  void store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
  void store_first(float* p, uint32_t n) const {
    const Mask m = first(n);
    _mm256_maskstore_ps(p, m.low, low);
    _mm256_maskstore_ps(p + 8, m.high, high);
  }
};

inline void keep(Floats& a) {
  __asm__("" : "+x"(a.low), "+x"(a.high));
}

inline Floats add(Floats a, Floats b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Floats sub(Floats a, Floats b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Floats mul(Floats a, Floats b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Floats div(Floats a, Floats b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Floats lesser(Floats a, Floats b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline Floats greater(Floats a, Floats b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline Floats absolute(Floats a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
inline Floats swap_pairs(Floats a) {
  return {_mm256_permute_ps(a.low, 0xb1), _mm256_permute_ps(a.high, 0xb1)};
}
inline Ints round_even(Floats a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_cvttps_epi32(_mm256_round_ps(a.low, kNearest)),
          _mm256_cvttps_epi32(_mm256_round_ps(a.high, kNearest))};
}
inline Ints truncate(Floats a) {
  return {_mm256_cvttps_epi32(a.low), _mm256_cvttps_epi32(a.high)};
}
inline Floats to_float(Ints a) {
  return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

inline __m256 times_power_of_two(__m256 a, __m256i n, __m256 x, __m256 limit) {
  const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(n, 23));
  return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), _mm256_castsi256_ps(bits));
}
inline Floats times_power_of_two(Floats a, Ints n, Floats x, Floats limit) {
  return {times_power_of_two(a.low, n.low, x.low, limit.low),
          times_power_of_two(a.high, n.high, x.high, limit.high)};
}
inline uint32_t equal_lanes(Floats a, Floats b) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
  return static_cast<uint32_t>(low | high << 8);
}

// The definition's tree: 8, 4, 2, 1.
inline float fold(Floats a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float greatest(Floats a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline Ints add(Ints a, Ints b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline int32_t total(Ints a) {
  const __m256i eight = _mm256_add_epi32(a.low, a.high);
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

// Weights of 16 rows, 4 columns each; the same 4 activations for all of them.
struct DotBytes {
  using I = Ints;
  struct Bytes {
    __m256i low, high;
  };
  using Weights = Bytes;
  using Four = __m256i;
  static void store(int8_t* p, Bytes bytes) {
    __m256i* to = reinterpret_cast<__m256i*>(p);
    _mm256_storeu_si256(to, bytes.low);
    _mm256_storeu_si256(to + 1, bytes.high);
  }
  static Bytes load_bytes(const int8_t* p) {
    const __m256i* at = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  static Weights weights(Bytes bytes) { return bytes; }
  static Four broadcast(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
  }
  // q4: four columns of low bits, four of high bits, by a table of what they stand for.
  static void look_up(const Q4Levels& levels, const int8_t* p, Bytes (&bytes)[2]) {
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(levels.of)));
    const __m256i bits = _mm256_set1_epi8(15);
    const Bytes pairs = load_bytes(p);
    bytes[0] = {_mm256_shuffle_epi8(table, _mm256_and_si256(pairs.low, bits)),
                _mm256_shuffle_epi8(table, _mm256_and_si256(pairs.high, bits))};
    bytes[1] = {
        _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(pairs.low, 4), bits)),
        _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(pairs.high, 4), bits))};
  }
};

// vpdpbusd multiplies unsigned by signed bytes: the weights become unsigned by adding 128.
struct DotVnni : DotBytes {
  static constexpr int32_t kOffset = 128;
  static constexpr uint32_t kBlockTiles = 1;
  static constexpr uint32_t kBlockRows = 6;
  static constexpr uint32_t kGroupRows = 6;
  static constexpr uint32_t kUnrolled = 32;
  static constexpr uint32_t kStreams = 4;
  static Bytes load(const int8_t* p) {
    const Bytes bytes = load_bytes(p);
    const __m256i top = _mm256_set1_epi8(-128);
    return {_mm256_xor_si256(bytes.low, top), _mm256_xor_si256(bytes.high, top)};
  }
  static void load_q4(const int8_t* p, Bytes (&bytes)[2]) { look_up(kQ4Unsigned, p, bytes); }
  // In assembler, so that the rest of this file needs no VNNI: its other table must run without.
  static I step(I acc, Weights w, Four four) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.low) : "x"(w.low), "x"(four));
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.high) : "x"(w.high), "x"(four));
    return acc;
  }
};

// |w| is unsigned, and x takes the sign of w; 2 * 128 * 127 fits the 16 bits of the pair sums.
struct DotPairs : DotBytes {
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kBlockTiles = 1;
  static constexpr uint32_t kBlockRows = 4;
  static constexpr uint32_t kGroupRows = 4;
  static constexpr uint32_t kUnrolled = 8;
  static constexpr uint32_t kStreams = 4;
  static Bytes load(const int8_t* p) { return load_bytes(p); }
  static void load_q4(const int8_t* p, Bytes (&bytes)[2]) { look_up(kQ4Levels, p, bytes); }
  static __m256i dot(__m256i acc, __m256i w, __m256i four) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(four, w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static I step(I acc, Weights w, Four four) {
    return {dot(acc.low, w.low, four), dot(acc.high, w.high, four)};
  }
};

// Values of two positions, lanes side by side: one multiply-add of pairs is both products.
struct Rows {
  using V = Floats;
  using I = Ints;
  static constexpr uint32_t kPositions = 2;
  __m256i low, high;
  static Rows widened(Interleaved bytes) {
    return {_mm256_cvtepi8_epi16(bytes.low), _mm256_cvtepi8_epi16(bytes.high)};
  }
  static Rows load(const int8_t* const (&at)[2]) { return widened(interleave(at)); }
  I add_products(I acc, __m256i p) const {
    return {_mm256_add_epi32(acc.low, _mm256_madd_epi16(low, p)),
            _mm256_add_epi32(acc.high, _mm256_madd_epi16(high, p))};
  }
  I step(I acc, const int16_t* p) const { return add_products(acc, _mm256_set1_epi32(two(p))); }
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
    return pairs.add_products(acc, _mm256_set1_epi64x(four(p)));
  }
  static V sums(I acc) { return sum_neighbours(acc.low, acc.high); }
};

}  // namespace

extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvxVnni;
const Kernels kKernelsAvx2 = lanes_table<Floats, DotPairs, Rows, HalfRows>("avx2");
const Kernels kKernelsAvxVnni = lanes_table<Floats, DotVnni, Rows, HalfRows>("avxvnni");

}  // namespace thimble

#elif defined(__x86_64__)

#include "kernels.h"

// Compiled without the instructions: a table without a name, which select.cpp passes over.
namespace thimble {
extern const Kernels kKernelsAvx2;
const Kernels kKernelsAvx2 = {};
extern const Kernels kKernelsAvxVnni;
const Kernels kKernelsAvxVnni = {};
}  // namespace thimble

#endif
