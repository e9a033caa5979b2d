// SPDX-License-Identifier: MIT
// For arm_helium.cpp: four floats a register, and how to know that they are the definition's.
#ifndef THIMBLE_SRC_KERNELS_ARM_HELIUM_LANES_H
#define THIMBLE_SRC_KERNELS_ARM_HELIUM_LANES_H

#include <arm_mve.h>

#include "../exact_math.h"
#include "reference.h"

namespace thimble {
namespace {

// ---- What was flushed ----------------------------------------------------------------------
// FPSCR's cumulative flags of a flushed operand (IDC, bit 7), a flushed result (UFC, bit 3), and of
// an invalid operation (IOC, bit 0): a comparison or conversion of a NaN. A procedure call need not
// keep them (AAPCS32, 6.1.2.2).

constexpr uint32_t kFlushedResult = 0x08, kAllMarks = 0x89;

template <uint32_t kMarks>
inline void clear_marks() {
  uint32_t fpscr;
  __asm__ volatile("vmrs %0, fpscr\n\tbic %0, %0, %1\n\tvmsr fpscr, %0"
                   : "=r"(fpscr)
                   : "i"(kMarks)
                   : "memory");
}

// What was stored before is as the definition wants it.
inline bool unmarked() {
  uint32_t fpscr;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr) : : "memory");
  return (fpscr & 0x89) == 0;
}

// v, not stored yet, is.
inline bool unmarked(float32x4_t& v) {
  uint32_t fpscr;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr), "+w"(v));
  return (fpscr & 0x89) == 0;
}

// ---- Four lanes ----------------------------------------------------------------------------
// What exact_math.h wants. A number that is the same in every lane stays in a core register, from
// where most instructions take it.

// All that a loop calls, within it, so that constants are loaded once.
#define THIMBLE_FLATTEN __attribute__((flatten))

struct Splat {
  float v;
};

struct Ints {
  int32x4_t v;
};

struct Floats {
  float32x4_t v;
  Floats(float32x4_t x) : v(x) {}
  Floats(Splat x) : v(vdupq_n_f32(x.v)) {}
  static Splat of(float x) { return {x}; }
};

inline Floats add(Splat a, Floats b) {
  return vaddq_n_f32(b.v, a.v);
}
inline Floats sub(Floats a, Splat b) {
  return vsubq_n_f32(a.v, b.v);
}
inline Floats sub(Splat a, Floats b) {
  return vsubq_f32(vdupq_n_f32(a.v), b.v);
}
inline Floats mul(Floats a, Floats b) {
  return vmulq_f32(a.v, b.v);
}
inline Floats mul(Floats a, Splat b) {
  return vmulq_n_f32(a.v, b.v);
}
inline Floats fma(Floats a, Splat b, Floats c) {
  return vfmaq_n_f32(c.v, a.v, b.v);
}
inline Floats fma(Floats a, Floats b, Splat c) {
  return vfmasq_n_f32(a.v, b.v, c.v);
}
// a > b ? yes : no. GT is false for a NaN, as GE and EQ are; LT, LE and NE are true for it.
inline float32x4_t where_greater(float32x4_t a, float32x4_t b, float32x4_t yes, float32x4_t no) {
#if defined(__clang__)
  return vpselq_f32(yes, no, vcmpgtq_f32(a, b));
#else  // GCC 12 takes predicates to a core register and back
  float32x4_t chosen;
  __asm__("vcmp.f32 gt, %q1, %q2\n\tvpsel %q0, %q3, %q4"
          : "=w"(chosen)
          : "w"(a), "w"(b), "w"(yes), "w"(no)
          : "p0");
  return chosen;
#endif
}
inline Floats lesser(Floats a, Splat b) {
  const float32x4_t bound = vdupq_n_f32(b.v);
  return where_greater(bound, a.v, a.v, bound);
}
inline Floats greater(Floats a, Splat b) {
  const float32x4_t bound = vdupq_n_f32(b.v);
  return where_greater(a.v, bound, a.v, bound);
}
inline Ints round_even(Floats a) {
  return {vcvtnq_s32_f32(a.v)};
}
inline Floats to_float(Ints n) {
  return vcvtq_f32_s32(n.v);
}
inline Floats times_power_of_two(Floats a, Ints n, Floats x, Splat limit) {
  const int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(a.v), vshlq_n_s32(n.v, 23));
  return where_greater(vdupq_n_f32(limit.v), x.v, vdupq_n_f32(0.0f), vreinterpretq_f32_s32(bits));
}

// There is no quotient of vectors: four of the scalar unit's.
inline Floats div(Floats a, Floats b) {
  register float32x4_t q __asm__("q0") = a.v;
  register float32x4_t d __asm__("q1") = b.v;
  __asm__("vdiv.f32 s0, s0, s4\n\tvdiv.f32 s1, s1, s5\n\tvdiv.f32 s2, s2, s6\n\tvdiv.f32 s3, s3, s7"
          : "+w"(q)
          : "w"(d));
  const float32x4_t quotients = q;
  return quotients;
}

// The first lanes of four, where `left` elements are left; zeros behind.
inline float32x4_t load_first(const float* p, mve_pred16_t lanes) {
  return vldrwq_z_f32(p, lanes);
}

// Four numbers d0 to d3 to a vector.
#define THIMBLE_DOTS(q)   \
  "vmov " q "[2], " q     \
  "[0], %[d0], %[d2]\n\t" \
  "vmov " q "[3], " q "[1], %[d1], %[d3]\n\t"

// The register of predicates, among what assembler changes. Clang 14 has no name for it: there such
// assembler stands alone in its function.
#if defined(__clang__)
#define THIMBLE_PREDICATES "cc"
#else
#define THIMBLE_PREDICATES "p0"
#endif

// ---- Sums ----------------------------------------------------------------------------------

#define THIMBLE_ADD(acc) "vadd.f32 " acc ", " acc ", q5\n\t"
#define THIMBLE_ADD_SQUARE(acc) "vfma.f32 " acc ", q5, q5\n\t"

// The definition's order: element i to lane i mod 16, then 8, 4, 2, 1. Where the four registers of
// lanes change places (a lane of them at a time), the same pairs still meet.
#define THIMBLE_SUM(step) \
  "vmov.i32 q0, #0\n\t"            \
  "vmov.i32 q1, #0\n\t"            \
  "vmov.i32 q2, #0\n\t"            \
  "vmov.i32 q3, #0\n\t"            \
  "wls lr, %[sixteens], 2f\n"      \
  "1:\n\t"                         \
  "vldrw.32 q5, [%[x]], #16\n\t"   \
  step("q0")                       \
  "vldrw.32 q5, [%[x]], #16\n\t"   \
  step("q1")                       \
  "vldrw.32 q5, [%[x]], #16\n\t"   \
  step("q2")                       \
  "vldrw.32 q5, [%[x]], #16\n\t"   \
  step("q3")                       \
  "le lr, 1b\n"                    \
  "2:\n\t"                         \
  "wlstp.32 lr, %[rest], 4f\n"     \
  "3:\n\t"                         \
  "vldrw.32 q5, [%[x]], #16\n\t"   \
  step("q0")                       \
  "vmov q5, q0\n\t"                \
  "vmov q0, q1\n\t"                \
  "vmov q1, q2\n\t"                \
  "vmov q2, q3\n\t"                \
  "vmov q3, q5\n\t"                \
  "letp lr, 3b\n"                  \
  "4:\n\t"                         \
  "vadd.f32 q0, q0, q2\n\t"        \
  "vadd.f32 q1, q1, q3\n\t"        \
  "vadd.f32 %q[four], q0, q1"

template <bool kSquares>
float sum_in_lanes(const float* x, uint32_t n) {
  float32x4_t four;
  if (kSquares) {
    __asm__ volatile(THIMBLE_SUM(THIMBLE_ADD_SQUARE)
                     : [x] "+r"(x), [four] "=w"(four)
                     : [sixteens] "r"(n / kLanes), [rest] "r"(n % kLanes)
                     : "q0", "q1", "q2", "q3", "q5", "lr", "memory");
  } else {
    __asm__ volatile(THIMBLE_SUM(THIMBLE_ADD)
                     : [x] "+r"(x), [four] "=w"(four)
                     : [sixteens] "r"(n / kLanes), [rest] "r"(n % kLanes)
                     : "q0", "q1", "q2", "q3", "q5", "lr", "memory");
  }
  const float even = vgetq_lane_f32(four, 0) + vgetq_lane_f32(four, 2);
  return even + (vgetq_lane_f32(four, 1) + vgetq_lane_f32(four, 3));
}

}  // namespace
}  // namespace thimble

#endif
