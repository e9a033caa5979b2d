// SPDX-License-Identifier: MIT
// Rows of int8 values, their lanes side by side, for multiply-adds of neighbours: what the Rows of
// lanes.h are made of. For the x86 kernel files only, each of which compiles its own.
#ifndef THIMBLE_SRC_KERNELS_X86_ROWS_H
#define THIMBLE_SRC_KERNELS_X86_ROWS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace thimble {
namespace {

struct Interleaved {
  __m128i low, high;  // lanes 0 to 7 and 8 to 15 of two rows, or 0 to 3 and 4 to 7 of four
};

inline Interleaved interleave(const int8_t* const (&at)[2]) {
  const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at[0]));
  const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at[1]));
  return {_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)};
}

inline Interleaved interleave(const int8_t* const (&at)[4]) {
  __m128i rows[4];
  for (int i = 0; i < 4; ++i) rows[i] = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at[i]));
  const __m128i ab = _mm_unpacklo_epi8(rows[0], rows[1]);
  const __m128i cd = _mm_unpacklo_epi8(rows[2], rows[3]);
  return {_mm_unpacklo_epi16(ab, cd), _mm_unpackhi_epi16(ab, cd)};
}

// Weights of two and of four positions, to be set in every lane.
inline int32_t two(const int16_t* p) {
  int32_t pair;
  memcpy(&pair, p, sizeof pair);
  return pair;
}
inline int64_t four(const int16_t* p) {
  int64_t pairs;
  memcpy(&pairs, p, sizeof pairs);
  return pairs;
}

}  // namespace
}  // namespace thimble

#endif
