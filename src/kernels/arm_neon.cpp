// SPDX-License-Identifier: MIT
// Arm's Advanced SIMD: 16 lanes are four registers. On AArch64 two tables: int8 dot products by the
// instruction, and by widening multiplies where the CPU lacks it. On ARMv7-A it flushes denormals,
// so only integers go there, and floats go through the scalar FPU.
#if defined(__ARM_NEON)

#include <arm_neon.h>

#include "quads.h"

namespace thimble {
namespace {

struct QuadInt {
  int32x4_t v;
  static QuadInt of(int32_t x) { return {vdupq_n_s32(x)}; }
  static QuadInt load(const float* p) { return {vreinterpretq_s32_f32(vld1q_f32(p))}; }
  void store(float* p) const { vst1q_f32(p, vreinterpretq_f32_s32(v)); }
  void store(uint32_t* p) const { vst1q_u32(p, vreinterpretq_u32_s32(v)); }
  static int16x8_t narrow(QuadInt a, QuadInt b) {
    return vcombine_s16(vmovn_s32(a.v), vmovn_s32(b.v));
  }
  static void store_int16(int16_t* p, const QuadInt (&q)[4]) {
    vst1q_s16(p, narrow(q[0], q[1]));
    vst1q_s16(p + 8, narrow(q[2], q[3]));
  }
  static void store_int8(int8_t* p, const QuadInt (&q)[4]) {
    vst1_s8(p, vmovn_s16(narrow(q[0], q[1])));
    vst1_s8(p + 8, vmovn_s16(narrow(q[2], q[3])));
  }
};

#if defined(__aarch64__)

struct Quad {
  using I = QuadInt;
  static constexpr uint32_t kBlockTiles = 2;  // times kBlockRows, four registers each: 24 of 32
  static constexpr uint32_t kBlockRows = 3;
  static constexpr uint32_t kRunBytes = 16384;
  static constexpr uint32_t kChains = 4;
  static constexpr uint32_t kHalfChains = 4;

  float32x4_t v;
  static Quad of(float x) { return {vdupq_n_f32(x)}; }
  static Quad load(const float* p) { return {vld1q_f32(p)}; }
  template <int kLane>
  Quad splat() const {
    return {vdupq_laneq_f32(v, kLane)};
  }
  static Quad load_first_or(const float* p, uint32_t n, Quad other) {
    if (n == 1) return {vld1q_lane_f32(p, other.v, 0)};
    const float32x4_t two = vcombine_f32(vld1_f32(p), vget_high_f32(other.v));
    return {n == 2 ? two : vld1q_lane_f32(p + 2, two, 2)};
  }
  static Quad load_bf16(const uint16_t* p) {
    return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))};
  }
  void store(float* p) const { vst1q_f32(p, v); }
  void store_first(float* p, uint32_t n) const {
    if (n == 1) {
      vst1q_lane_f32(p, v, 0);
    } else {
      vst1_f32(p, vget_low_f32(v));
      if (n == 3) vst1q_lane_f32(p + 2, v, 2);
    }
  }
};

inline void keep(Quad& a) {
  __asm__("" : "+w"(a.v));
}
inline Quad add(Quad a, Quad b) {
  return {vaddq_f32(a.v, b.v)};
}
inline Quad sub(Quad a, Quad b) {
  return {vsubq_f32(a.v, b.v)};
}
inline Quad mul(Quad a, Quad b) {
  return {vmulq_f32(a.v, b.v)};
}
inline Quad div(Quad a, Quad b) {
  return {vdivq_f32(a.v, b.v)};
}
inline Quad fma(Quad a, Quad b, Quad c) {
  return {vfmaq_f32(c.v, a.v, b.v)};
}
// By selection: the instructions for minimum and maximum treat NaNs otherwise.
inline Quad lesser(Quad a, Quad b) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)};
}
inline Quad greater(Quad a, Quad b) {
  return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)};
}
inline Quad absolute(Quad a) {
  return {vabsq_f32(a.v)};
}
inline Quad swap_pairs(Quad a) {
  return {vrev64q_f32(a.v)};
}
inline QuadInt round_even(Quad a) {
  return {vcvtnq_s32_f32(a.v)};
}
inline QuadInt truncate(Quad a) {
  return {vcvtq_s32_f32(a.v)};
}
inline Quad to_float(QuadInt a) {
  return {vcvtq_f32_s32(a.v)};
}
inline Quad times_power_of_two(Quad a, QuadInt n, Quad x, Quad limit) {
  const int32x4_t bits = vaddq_s32(vreinterpretq_s32_f32(a.v), vshlq_n_s32(n.v, 23));
  return {vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_s32(bits), vcltq_f32(x.v, limit.v)))};
}
inline uint32_t equal_mask(Quad a, Quad b) {
  constexpr uint32_t kBits[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vceqq_f32(a.v, b.v), vld1q_u32(kBits)));
}
inline float fold(Quad a) {
  return vpadds_f32(vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v)));
}
inline float greatest(Quad a) {
  return vmaxvq_f32(a.v);
}
inline QuadInt add(QuadInt a, QuadInt b) {
  return {vaddq_s32(a.v, b.v)};
}
inline int32_t total(QuadInt a) {
  return vaddvq_s32(a.v);
}

#else  // ARMv7-A

// What the kernels below use of it, on the scalar FPU.
struct Quad {
  using I = QuadInt;
  float v[4];
  static Quad of(float x) { return {{x, x, x, x}}; }
  static Quad load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static Quad load_first_or(const float* p, uint32_t n, Quad other) {
    return {{p[0], n > 1 ? p[1] : other.v[1], n > 2 ? p[2] : other.v[2], other.v[3]}};
  }
  static Quad load_bf16(const uint16_t* p) {
    return {{from_bf16(p[0]), from_bf16(p[1]), from_bf16(p[2]), from_bf16(p[3])}};
  }
  void store(float* p) const { memcpy(p, v, sizeof v); }
};

template <class Each>
inline Quad each(Each value) {
  return {{value(0), value(1), value(2), value(3)}};
}
inline Quad mul(Quad a, Quad b) {
  return each([&](uint32_t i) { return a.v[i] * b.v[i]; });
}
inline Quad fma(Quad a, Quad b, Quad c) {
  return each([&](uint32_t i) { return exact_fma(a.v[i], b.v[i], c.v[i]); });
}
inline Quad lesser(Quad a, Quad b) {
  return each([&](uint32_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline Quad greater(Quad a, Quad b) {
  return each([&](uint32_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline float greatest(Quad a) {
  const float low = a.v[0] > a.v[1] ? a.v[0] : a.v[1], high = a.v[2] > a.v[3] ? a.v[2] : a.v[3];
  return low > high ? low : high;
}
inline QuadInt round_even(Quad a) {
  int32_t whole[4];
  for (uint32_t i = 0; i < 4; ++i) whole[i] = round_to_even(a.v[i]);
  return {vld1q_s32(whole)};
}
inline Quad to_float(QuadInt a) {
  int32_t whole[4];
  vst1q_s32(whole, a.v);
  return each([&](uint32_t i) { return static_cast<float>(whole[i]); });
}
inline QuadInt add(QuadInt a, QuadInt b) {
  return {vaddq_s32(a.v, b.v)};
}

#endif

using Floats = Quads<Quad, 4>;
using Ints = QuadInts<QuadInt>;

inline int8x16_t look_up(int8x16_t table, uint8x16_t index) {
#if defined(__aarch64__)
  return vqtbl1q_s8(table, index);
#else
  const int8x8x2_t halves = {{vget_low_s8(table), vget_high_s8(table)}};
  const int8x16_t at = vreinterpretq_s8_u8(index);
  return vcombine_s8(vtbl2_s8(halves, vget_low_s8(at)), vtbl2_s8(halves, vget_high_s8(at)));
#endif
}

struct DotWeights {
  int8x16_t v[4];  // four rows of four columns each
};

// Of 64 bytes of q4: four columns of low bits, four of high bits.
inline void load_levels(const int8_t* p, DotWeights (&w)[2]) {
  const int8x16_t table = vld1q_s8(kQ4Levels.of);
  THIMBLE_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    const uint8x16_t pair = vreinterpretq_u8_s8(vld1q_s8(p + 16 * i));
    w[0].v[i] = look_up(table, vandq_u8(pair, vdupq_n_u8(15)));
    w[1].v[i] = look_up(table, vshrq_n_u8(pair, 4));
  }
}

// Four int8 activations, the same for every row of the tile.
inline int8x16_t broadcast_four(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

struct DotBytes {
  using I = Ints;
  using Bytes = DotWeights;
  using Weights = DotWeights;
  using Four = int8x16_t;
  static constexpr int32_t kOffset = 0;
  static Bytes load_bytes(const int8_t* p) {
    return {{vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)}};
  }
  static void store(int8_t* p, const Bytes& bytes) {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) vst1q_s8(p + 16 * i, bytes.v[i]);
  }
  static Bytes load(const int8_t* p) { return load_bytes(p); }
  static void load_q4(const int8_t* p, Bytes (&w)[2]) { load_levels(p, w); }
  static Weights weights(const Bytes& bytes) { return bytes; }
  static Four broadcast(const int8_t* p) { return broadcast_four(p); }
};

// 2 * 128 * 127 fits the 16 bits of the pair sums.
struct DotPairs : DotBytes {
  static constexpr uint32_t kBlockTiles = 1;
  static constexpr uint32_t kBlockRows = 2;
  static constexpr uint32_t kGroupRows = 2;
  static constexpr uint32_t kUnrolled = 4;
#if defined(__aarch64__)
  static constexpr uint32_t kStreams = 4;
#else
  static constexpr uint32_t kStreams = 2;  // four tiles' sums would fill its 16 registers
#endif
  static int16x8_t pair_sums(int16x8_t a, int16x8_t b) {
#if defined(__aarch64__)
    return vpaddq_s16(a, b);
#else
    return vcombine_s16(vpadd_s16(vget_low_s16(a), vget_high_s16(a)),
                        vpadd_s16(vget_low_s16(b), vget_high_s16(b)));
#endif
  }
  static I step(I acc, Weights w, Four four) {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) {
      const int16x8_t low = vmull_s8(vget_low_s8(w.v[i]), vget_low_s8(four));
      const int16x8_t high = vmull_s8(vget_high_s8(w.v[i]), vget_high_s8(four));
      acc.r[i].v = vpadalq_s16(acc.r[i].v, pair_sums(low, high));
    }
    return acc;
  }
};

// Values of two positions, each its own register; the weights are elements of one.
struct Rows {
  using V = Floats;
  using I = Ints;
  static constexpr uint32_t kPositions = 2;
  int16x8_t first[2], second[2];
  static Rows load(const int8_t* const (&at)[2]) {
    const int8x16_t a = vld1q_s8(at[0]), b = vld1q_s8(at[1]);
    return {{vmovl_s8(vget_low_s8(a)), vmovl_s8(vget_high_s8(a))},
            {vmovl_s8(vget_low_s8(b)), vmovl_s8(vget_high_s8(b))}};
  }
  I step(I acc, const int16_t* p) const {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    const int16x4_t weights = vreinterpret_s16_s32(vdup_n_s32(pair));
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 2; ++i) {
      int32x4_t low = acc.r[2 * i].v, high = acc.r[2 * i + 1].v;
      low = vmlal_lane_s16(low, vget_low_s16(first[i]), weights, 0);
      high = vmlal_lane_s16(high, vget_high_s16(first[i]), weights, 0);
      low = vmlal_lane_s16(low, vget_low_s16(second[i]), weights, 1);
      high = vmlal_lane_s16(high, vget_high_s16(second[i]), weights, 1);
      acc.r[2 * i].v = low;
      acc.r[2 * i + 1].v = high;
    }
    return acc;
  }
  static V sums(I acc) { return to_float(acc); }
};

// Of four positions: two and two, added at the end.
struct HalfRows {
  using V = Floats::Half;
  using I = Ints;
  static constexpr uint32_t kPositions = 4;
  int16x8_t row[4];
  static HalfRows load(const int8_t* const (&at)[4]) {
    return {{vmovl_s8(vld1_s8(at[0])), vmovl_s8(vld1_s8(at[1])), vmovl_s8(vld1_s8(at[2])),
             vmovl_s8(vld1_s8(at[3]))}};
  }
  I step(I acc, const int16_t* p) const {
    const int16x4_t weights = vld1_s16(p);
    acc.r[0].v = vmlal_lane_s16(acc.r[0].v, vget_low_s16(row[0]), weights, 0);
    acc.r[1].v = vmlal_lane_s16(acc.r[1].v, vget_high_s16(row[0]), weights, 0);
    acc.r[2].v = vmlal_lane_s16(acc.r[2].v, vget_low_s16(row[1]), weights, 1);
    acc.r[3].v = vmlal_lane_s16(acc.r[3].v, vget_high_s16(row[1]), weights, 1);
    acc.r[0].v = vmlal_lane_s16(acc.r[0].v, vget_low_s16(row[2]), weights, 2);
    acc.r[1].v = vmlal_lane_s16(acc.r[1].v, vget_high_s16(row[2]), weights, 2);
    acc.r[2].v = vmlal_lane_s16(acc.r[2].v, vget_low_s16(row[3]), weights, 3);
    acc.r[3].v = vmlal_lane_s16(acc.r[3].v, vget_high_s16(row[3]), weights, 3);
    return acc;
  }
  static V sums(I acc) {
    return V::each([&](uint32_t i) { return to_float(add(acc.r[i], acc.r[i + 2])); });
  }
};

#if defined(__aarch64__)

// The assembler's leave to use it. GNU's gives it from Armv8.2 on, where a later architecture's
// instructions must stay accepted, too. clang 14's gives none without the compiler's flag.
#if defined(__ARM_FEATURE_DOTPROD)
#define THIMBLE_DOTPROD ""
#elif defined(__clang__)
#elif defined(__ARM_FEATURE_SVE) || defined(__ARM_FEATURE_COMPLEX) || \
    defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define THIMBLE_DOTPROD ".arch_extension dotprod\n\t"
#else
#define THIMBLE_DOTPROD ".arch armv8.2-a+dotprod\n\t"
#endif

#if defined(THIMBLE_DOTPROD)
struct DotInstruction : DotBytes {
  static constexpr uint32_t kBlockTiles = 1;
  static constexpr uint32_t kBlockRows = 4;
  static constexpr uint32_t kGroupRows = 3;
  static constexpr uint32_t kUnrolled = 8;
  static constexpr uint32_t kStreams = 4;
  // In assembler, so that the rest of this file does without: its other table must.
  // All four at once: g++ 12 moves sums to and fro between statements.
  static I step(I acc, Weights w, Four four) {
    __asm__(THIMBLE_DOTPROD
            "sdot %0.4s, %4.16b, %8.16b\n\t"
            "sdot %1.4s, %5.16b, %8.16b\n\t"
            "sdot %2.4s, %6.16b, %8.16b\n\t"
            "sdot %3.4s, %7.16b, %8.16b"
            : "+&w"(acc.r[0].v), "+&w"(acc.r[1].v), "+&w"(acc.r[2].v), "+&w"(acc.r[3].v)
            : "w"(w.v[0]), "w"(w.v[1]), "w"(w.v[2]), "w"(w.v[3]), "w"(four));
    return acc;
  }
};
#endif

#endif

}  // namespace

#if defined(__aarch64__)

extern const Kernels kKernelsNeon;
extern const Kernels kKernelsNeonDot;
const Kernels kKernelsNeon = lanes_table<Floats, DotPairs, Rows, HalfRows>("neon");
#if defined(THIMBLE_DOTPROD)
const Kernels kKernelsNeonDot = lanes_table<Floats, DotInstruction, Rows, HalfRows>("neondot");
#else
const Kernels kKernelsNeonDot = {};
#endif

#else

namespace {

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "neon";
  k.row_tile = kLanes;
  k.matmul_q8 = matmul_q8_lanes<Floats, DotPairs>;
  if (kHasQ4) k.matmul_q4 = matmul_q4_lanes<Floats, DotPairs>;
  k.mix_values_q8 = mix_values_q8_lanes<Floats, Rows, HalfRows>;
  return k;
}

}  // namespace

extern const Kernels kKernelsNeon;
const Kernels kKernelsNeon = make_table();

#endif

}  // namespace thimble

#elif defined(__aarch64__) || defined(__arm__)

#include "kernels.h"

// Compiled without the instructions: a table without a name, which select.cpp passes over.
namespace thimble {
extern const Kernels kKernelsNeon;
const Kernels kKernelsNeon = {};
#if defined(__aarch64__)
extern const Kernels kKernelsNeonDot;
const Kernels kKernelsNeonDot = {};
#endif
}  // namespace thimble

#endif
