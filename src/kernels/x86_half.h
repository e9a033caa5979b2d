// SPDX-License-Identifier: MIT
// 8 lanes in an AVX register, for heads of 8 and for tails: what lanes.h calls F::Half. For the x86
// kernel files only, each of which compiles its own.
#ifndef THIMBLE_SRC_KERNELS_X86_HALF_H
#define THIMBLE_SRC_KERNELS_X86_HALF_H

#include <immintrin.h>
#include <stdint.h>

namespace thimble {
namespace {

inline __m256i first_lanes(uint32_t n) {  // all ones in the first n lanes
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

struct HalfFloats {
  static constexpr uint32_t kWidth = 8;
  __m256 v;
  static HalfFloats of(float x) { return {_mm256_set1_ps(x)}; }
  static HalfFloats load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static HalfFloats four(const float* p) {
    return {_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p))};
  }
  template <int kLane>
  HalfFloats splat() const {
    return {_mm256_permute_ps(v, kLane * 0x55)};
  }
  static HalfFloats load_first(const float* p, uint32_t n) {
    return {_mm256_maskload_ps(p, first_lanes(n))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store_first(float* p, uint32_t n) const { _mm256_maskstore_ps(p, first_lanes(n), v); }
};

inline HalfFloats add(HalfFloats a, HalfFloats b) {
  return {_mm256_add_ps(a.v, b.v)};
}
inline HalfFloats mul(HalfFloats a, HalfFloats b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
inline HalfFloats fma(HalfFloats a, HalfFloats b, HalfFloats c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
inline HalfFloats swap_pairs(HalfFloats a) {
  return {_mm256_permute_ps(a.v, 0xb1)};
}
inline void keep(HalfFloats& a) {
  __asm__("" : "+v"(a.v));
}

// Neighbouring lanes of 16, added: 8 sums in their order.
inline HalfFloats sum_neighbours(__m256i low, __m256i high) {
  const __m256i sums = _mm256_hadd_epi32(low, high);  // within 128-bit halves
  return {_mm256_cvtepi32_ps(_mm256_permute4x64_epi64(sums, 0xd8))};
}

}  // namespace
}  // namespace thimble

#endif
