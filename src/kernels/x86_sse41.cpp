// SPDX-License-Identifier: MIT
// x86-64 with SSE4.1 (and SSSE3, which all such processors have): 16 lanes are four registers.
// Compiled with: -msse4.1 -mssse3
#if defined(__SSE4_1__) && defined(__SSSE3__)

#include <immintrin.h>

#include "quads.h"
#include "x86_rows.h"

namespace thimble {
namespace {

struct QuadInt {
  __m128i v;
  static QuadInt of(int32_t x) { return {_mm_set1_epi32(x)}; }
  static QuadInt load(const float* p) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
  }
  void store(float* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
  void store(uint32_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
  static void store_int16(int16_t* p, const QuadInt (&q)[4]) {
    __m128i* to = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(to, _mm_packs_epi32(q[0].v, q[1].v));
    _mm_storeu_si128(to + 1, _mm_packs_epi32(q[2].v, q[3].v));
  }
  static void store_int8(int8_t* p, const QuadInt (&q)[4]) {
    const __m128i low = _mm_packs_epi32(q[0].v, q[1].v), high = _mm_packs_epi32(q[2].v, q[3].v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(low, high));
  }
};

struct Quad {
  using I = QuadInt;
  static constexpr uint32_t kBlockTiles = 1;
  static constexpr uint32_t kBlockRows = 2;
  static constexpr uint32_t kRunBytes = 16384;
  static constexpr uint32_t kChains = 4;
  static constexpr uint32_t kHalfChains = 2;

  __m128 v;
  static Quad of(float x) { return {_mm_set1_ps(x)}; }
  static Quad load(const float* p) { return {_mm_loadu_ps(p)}; }
  template <int kLane>
  Quad splat() const {
    return {_mm_shuffle_ps(v, v, kLane * 0x55)};
  }
  static Quad load_first_or(const float* p, uint32_t n, Quad other) {
    if (n == 1) return {_mm_move_ss(other.v, _mm_load_ss(p))};
    const __m128 two = _mm_loadl_pi(other.v, reinterpret_cast<const __m64*>(p));
    return {n == 2 ? two : _mm_insert_ps(two, _mm_load_ss(p + 2), 0x20)};
  }
  static Quad load_bf16(const uint16_t* p) {
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return {_mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), half))};
  }
  void store(float* p) const { _mm_storeu_ps(p, v); }
  void store_first(float* p, uint32_t n) const {
    if (n == 1) {
      _mm_store_ss(p, v);
    } else {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), v);
      if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
    }
  }
};

inline void keep(Quad& a) {
  __asm__("" : "+x"(a.v));
}
inline Quad add(Quad a, Quad b) {
  return {_mm_add_ps(a.v, b.v)};
}
inline Quad sub(Quad a, Quad b) {
  return {_mm_sub_ps(a.v, b.v)};
}
inline Quad mul(Quad a, Quad b) {
  return {_mm_mul_ps(a.v, b.v)};
}
inline Quad div(Quad a, Quad b) {
  return {_mm_div_ps(a.v, b.v)};
}

// exact_fma's last form in exact_math.h, two lanes at a time, without its branches. For a sum that
// is inexact, odd: one towards zero if the error is that way, and the last bit set.
inline __m128d add_to_odd(__m128d p, __m128d d) {
  const __m128d s = _mm_add_pd(p, d);
  const __m128d d_part = _mm_sub_pd(s, p);
  const __m128d error = _mm_add_pd(_mm_sub_pd(p, _mm_sub_pd(s, d_part)), _mm_sub_pd(d, d_part));
  const __m128d size = _mm_andnot_pd(_mm_set1_pd(-0.0), error);
  const __m128d inexact = _mm_cmpgt_pd(size, _mm_setzero_pd());  // not where it is a NaN
  const __m128d opposite = _mm_and_pd(inexact, _mm_xor_pd(error, s));
  const __m128i towards_zero = _mm_srli_epi64(_mm_castpd_si128(opposite), 63);
  const __m128i odd = _mm_srli_epi64(_mm_castpd_si128(inexact), 63);
  return _mm_castsi128_pd(_mm_or_si128(_mm_sub_epi64(_mm_castpd_si128(s), towards_zero), odd));
}
inline __m128d upper(__m128 v) {
  return _mm_cvtps_pd(_mm_movehl_ps(v, v));
}
__attribute__((noinline)) Quad fma_to_odd(Quad a, Quad b, Quad c) {
  const __m128d low = _mm_mul_pd(_mm_cvtps_pd(a.v), _mm_cvtps_pd(b.v));
  const __m128d high = _mm_mul_pd(upper(a.v), upper(b.v));
  return {_mm_movelh_ps(_mm_cvtpd_ps(add_to_odd(low, _mm_cvtps_pd(c.v))),
                        _mm_cvtpd_ps(add_to_odd(high, upper(c.v))))};
}
// Rounding the sum twice, both times to nearest, errs only where the first time leaves it half way
// between two floats (a one and 28 zeros are its last bits) or where a denormal arises; both are
// rare. Not inline: that made this file twice as large for a fifth of speed.
__attribute__((noinline)) Quad fma(Quad a, Quad b, Quad c) {
  const __m128d low =
      _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a.v), _mm_cvtps_pd(b.v)), _mm_cvtps_pd(c.v));
  const __m128d high = _mm_add_pd(_mm_mul_pd(upper(a.v), upper(b.v)), upper(c.v));
  const __m128 low_words = _mm_castpd_ps(low), high_words = _mm_castpd_ps(high);
  const __m128i last = _mm_castps_si128(_mm_shuffle_ps(low_words, high_words, 0x88));
  const __m128i first = _mm_castps_si128(_mm_shuffle_ps(low_words, high_words, 0xdd));
  const __m128i half_way = _mm_cmpeq_epi32(_mm_slli_epi32(last, 3), _mm_set1_epi32(INT32_MIN));
  // |sum| < 2^-126, by its exponent; a zero becomes the largest.
  const __m128i size = _mm_add_epi32(_mm_slli_epi32(first, 1), _mm_set1_epi32(-1));
  const __m128i denormal =
      _mm_cmpeq_epi32(size, _mm_min_epu32(size, _mm_set1_epi32(2 * 0x38100000 - 2)));
  const __m128i doubt = _mm_or_si128(half_way, denormal);
  if (__builtin_expect(_mm_movemask_epi8(doubt), 0) != 0) return fma_to_odd(a, b, c);
  return {_mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high))};
}

inline Quad lesser(Quad a, Quad b) {
  return {_mm_min_ps(a.v, b.v)};
}
inline Quad greater(Quad a, Quad b) {
  return {_mm_max_ps(a.v, b.v)};
}
inline Quad absolute(Quad a) {
  return {_mm_andnot_ps(_mm_set1_ps(-0.0f), a.v)};
}
inline Quad swap_pairs(Quad a) {
  return {_mm_shuffle_ps(a.v, a.v, 0xb1)};
}
inline QuadInt round_even(Quad a) {
  return {_mm_cvttps_epi32(_mm_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))};
}
inline QuadInt truncate(Quad a) {
  return {_mm_cvttps_epi32(a.v)};
}
inline Quad to_float(QuadInt a) {
  return {_mm_cvtepi32_ps(a.v)};
}
inline Quad times_power_of_two(Quad a, QuadInt n, Quad x, Quad limit) {
  const __m128i bits = _mm_add_epi32(_mm_castps_si128(a.v), _mm_slli_epi32(n.v, 23));
  return {_mm_and_ps(_mm_cmpnlt_ps(x.v, limit.v), _mm_castsi128_ps(bits))};
}
inline uint32_t equal_mask(Quad a, Quad b) {
  return static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpeq_ps(a.v, b.v)));
}
inline float fold(Quad a) {
  const __m128 two = _mm_add_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float greatest(Quad a) {
  const __m128 two = _mm_max_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline QuadInt add(QuadInt a, QuadInt b) {
  return {_mm_add_epi32(a.v, b.v)};
}
inline int32_t total(QuadInt a) {
  const __m128i two = _mm_add_epi32(a.v, _mm_shuffle_epi32(a.v, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

using Floats = Quads<Quad, 4>;
using Ints = QuadInts<QuadInt>;

// |w| is unsigned, and x takes the sign of w; 2 * 128 * 127 fits the 16 bits of the pair sums.
struct DotPairs {
  using I = Ints;
  struct Bytes {
    __m128i v[4];
  };
  using Weights = Bytes;
  using Four = __m128i;
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kBlockTiles = 1;
  static constexpr uint32_t kBlockRows = 2;
  static constexpr uint32_t kGroupRows = 2;
  static constexpr uint32_t kUnrolled = 8;
  static constexpr uint32_t kStreams = 4;
  static Bytes load_bytes(const int8_t* p) {
    const __m128i* at = reinterpret_cast<const __m128i*>(p);
    return {{_mm_loadu_si128(at), _mm_loadu_si128(at + 1), _mm_loadu_si128(at + 2),
             _mm_loadu_si128(at + 3)}};
  }
  static void store(int8_t* p, const Bytes& bytes) {
    __m128i* to = reinterpret_cast<__m128i*>(p);
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) _mm_storeu_si128(to + i, bytes.v[i]);
  }
  static Bytes load(const int8_t* p) { return load_bytes(p); }
  static void load_q4(const int8_t* p, Bytes (&w)[2]) {
    const __m128i table = _mm_load_si128(reinterpret_cast<const __m128i*>(kQ4Levels.of));
    const __m128i bits = _mm_set1_epi8(15);
    const Bytes pairs = load(p);
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      w[0].v[i] = _mm_shuffle_epi8(table, _mm_and_si128(pairs.v[i], bits));
      w[1].v[i] = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(pairs.v[i], 4), bits));
    }
  }
  static Weights weights(const Bytes& bytes) { return bytes; }
  static Four broadcast(const int8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm_set1_epi32(four);
  }
  static I step(I acc, Weights w, Four four) {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      const __m128i pairs = _mm_maddubs_epi16(_mm_abs_epi8(w.v[i]), _mm_sign_epi8(four, w.v[i]));
      acc.r[i].v = _mm_add_epi32(acc.r[i].v, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
    }
    return acc;
  }
};

// Values of two positions, lanes side by side: one multiply-add of pairs is both products.
struct Rows {
  using V = Floats;
  using I = Ints;
  static constexpr uint32_t kPositions = 2;
  __m128i v[4];
  static Rows widened(Interleaved bytes) {
    return {{_mm_cvtepi8_epi16(bytes.low), _mm_cvtepi8_epi16(_mm_srli_si128(bytes.low, 8)),
             _mm_cvtepi8_epi16(bytes.high), _mm_cvtepi8_epi16(_mm_srli_si128(bytes.high, 8))}};
  }
  static Rows load(const int8_t* const (&at)[2]) { return widened(interleave(at)); }
  I add_products(I acc, __m128i p) const {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      acc.r[i].v = _mm_add_epi32(acc.r[i].v, _mm_madd_epi16(v[i], p));
    }
    return acc;
  }
  I step(I acc, const int16_t* p) const { return add_products(acc, _mm_set1_epi32(two(p))); }
  static V sums(I acc) { return to_float(acc); }
};

// Of four positions: a lane's two pairs are neighbours, and are added at the end.
struct HalfRows {
  using V = Floats::Half;
  using I = Ints;
  static constexpr uint32_t kPositions = 4;
  Rows pairs;
  static HalfRows load(const int8_t* const (&at)[4]) { return {Rows::widened(interleave(at))}; }
  I step(I acc, const int16_t* p) const {
    return pairs.add_products(acc, _mm_set1_epi64x(four(p)));
  }
  static V sums(I acc) {
    return V::each([&](uint32_t i) {
      return to_float(QuadInt{_mm_hadd_epi32(acc.r[2 * i].v, acc.r[2 * i + 1].v)});
    });
  }
};

}  // namespace

extern const Kernels kKernelsSse41;
const Kernels kKernelsSse41 = lanes_table<Floats, DotPairs, Rows, HalfRows>("sse41");

}  // namespace thimble

#elif defined(__x86_64__)

#include "kernels.h"

// Compiled without the instructions: a table without a name, which select.cpp passes over.
namespace thimble {
extern const Kernels kKernelsSse41;
const Kernels kKernelsSse41 = {};
}  // namespace thimble

#endif
