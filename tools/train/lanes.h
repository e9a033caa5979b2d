// SPDX-License-Identifier: MIT
// A few floats side by side, as many as the instruction set has that a file is compiled for. Only
// the files kernels_*.cpp include this, with C headers only: nothing compiled for instructions that
// the machine may lack must leave them.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_H
#define THIMBLE_TOOLS_TRAIN_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace thimble::tools::train {
namespace {

#if defined(__AVX512F__)
constexpr uint32_t kWidth = 16, kTileRows = 14;
#elif defined(__AVX2__)
constexpr uint32_t kWidth = 8, kTileRows = 6;
#elif defined(__aarch64__)
constexpr uint32_t kWidth = 4, kTileRows = 12;
#else
constexpr uint32_t kWidth = 4, kTileRows = 4;
#endif
constexpr uint32_t kPanel = 2 * kWidth;  // columns of a tile

typedef float Vec __attribute__((vector_size(4 * kWidth)));
typedef int32_t VecI __attribute__((vector_size(4 * kWidth)));
typedef uint32_t VecU __attribute__((vector_size(4 * kWidth)));

// How much of a vector there is.
struct Whole {
  static constexpr uint32_t n = kWidth;
};
struct Part {
  uint32_t n;
};

inline Vec load(const float* p, Whole = {}) {
  Vec v;
  memcpy(&v, p, sizeof v);
  return v;
}
#if defined(__AVX512F__)
inline __mmask16 mask_of(Part part) {
  return static_cast<__mmask16>((1u << part.n) - 1);
}
inline Vec load(const float* p, Part part) {
  return (Vec)_mm512_maskz_loadu_ps(mask_of(part), p);
}
#else
inline Vec load(const float* p, Part part) {
  Vec v = {};
  for (uint32_t i = 0; i < part.n; ++i) v[i] = p[i];
  return v;
}
#endif
inline void store(float* p, Vec v, Whole = {}) {
  memcpy(p, &v, sizeof v);
}
#if defined(__AVX512F__)
inline void store(float* p, Vec v, Part part) {
  _mm512_mask_storeu_ps(p, mask_of(part), (__m512)v);
}
#else
inline void store(float* p, Vec v, Part part) {
  for (uint32_t i = 0; i < part.n; ++i) p[i] = v[i];
}
#endif
inline Vec all(float x) {
  return x - Vec{};
}
inline VecU as_bits(Vec v) {
  return (VecU)v;
}
inline Vec as_floats(VecU v) {
  return (Vec)v;
}
inline Vec choose(VecI condition, Vec a, Vec b) {
  return condition ? a : b;
}
inline Vec greater(Vec a, Vec b) {
  return a > b ? a : b;
}
inline Vec lesser(Vec a, Vec b) {
  return a < b ? a : b;
}
// Its lanes moved round by half of them, a quarter ...
#if defined(__AVX512F__)
inline Vec moved_by(Vec v, uint32_t lanes) {
  if (lanes == 8) {
    return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  }
  if (lanes == 4) {
    return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  }
  if (lanes == 2) {
    return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  }
  return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
}
#elif defined(__AVX2__)
inline Vec moved_by(Vec v, uint32_t lanes) {
  if (lanes == 4) return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
  if (lanes == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
  return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
}
#else
inline Vec moved_by(Vec v, uint32_t lanes) {
  if (lanes == 2) return __builtin_shufflevector(v, v, 2, 3, 0, 1);
  return __builtin_shufflevector(v, v, 1, 0, 3, 2);
}
#endif
inline float sum(Vec v) {
  for (uint32_t half = kWidth / 2; half > 0; half /= 2) v += moved_by(v, half);
  return v[0];
}
inline float largest(Vec v) {
  for (uint32_t half = kWidth / 2; half > 0; half /= 2) v = greater(v, moved_by(v, half));
  return v[0];
}
inline VecU lane_numbers() {
  VecU v = {};
  for (uint32_t i = 0; i < kWidth; ++i) v[i] = i;
  return v;
}

// f(i, Whole or Part) for each vector of n floats.
template <class F>
inline void for_vectors(size_t n, F f) {
  size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, Whole{});
  if (i < n) f(i, Part{static_cast<uint32_t>(n - i)});
}

inline uint32_t ceil_div(uint32_t a, uint32_t b) {
  return (a + b - 1) / b;
}
inline float root(float x) {
  return __builtin_sqrtf(x);
}

// To whole numbers; x in [-1000, 1000].
inline VecI round_to_int(Vec x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  const Vec shifted = x + kMagic;
  return (VecI)shifted - 0x4b400000;
}

// e^x within 2 ulp for x in [-87, 88]; 0 below (Cody, Waite 1980).
inline Vec exp_of(Vec x) {
  const VecI n = round_to_int(greater(x, all(-88.0f)) * 1.44269502f);
  const Vec whole = __builtin_convertvector(n, Vec);
  Vec r = x - whole * 0.693145752f;
  r = r - whole * 1.42860677e-6f;
  Vec p = r * 0.00139263261f + 0.00836329255f;
  p = p * r + 0.0416665524f;
  p = p * r + 0.166665763f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Vec value = as_floats(as_bits(p) + ((VecU)n << 23));
  return choose(x < -87.0f, all(0.0f), value);
}

// 1 / (1 + e^-x)
inline Vec sigmoid(Vec x) {
  return 1.0f / (1.0f + exp_of(lesser(-x, all(88.0f))));
}

}  // namespace
}  // namespace thimble::tools::train

#endif
