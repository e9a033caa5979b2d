// SPDX-License-Identifier: MIT
// The vectors that lanes.h wants, as registers of 4 lanes: 16 lanes are four, a half is two. An ISA
// file gives, in its anonymous namespace:
//   Quad      4 floats: operations of the names below, and
//             load_first_or(p, n, other)  the first n of p, 1 to 3, other's behind; store_first(p,
//             n) equal_mask(a, b)            a bit for each lane kBlockTiles ...             as in
//             lanes.h
//   Quad::I   4 int32: of, load, store, add, total; store_int8 and store_int16 of four of them
#ifndef THIMBLE_SRC_KERNELS_QUADS_H
#define THIMBLE_SRC_KERNELS_QUADS_H

#include "lanes.h"

namespace thimble {

template <class N>
struct QuadInts {
  N r[4];
  static QuadInts of(int32_t x) { return {{N::of(x), N::of(x), N::of(x), N::of(x)}}; }
  static QuadInts load(const float* p) {
    return {{N::load(p), N::load(p + 4), N::load(p + 8), N::load(p + 12)}};
  }
  void store(float* p) const {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) r[i].store(p + 4 * i);
  }
  void store(uint32_t* p) const {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) r[i].store(p + 4 * i);
  }
  void store_int8(int8_t* p) const { N::store_int8(p, r); }
  void store_int16(int16_t* p) const { N::store_int16(p, r); }
};

// Four floats, of which each in turn is wanted in every lane.
template <class R, uint32_t kCount>
struct QuadSource;

template <class R, uint32_t kCount>
struct Quads {
  using I = QuadInts<typename R::I>;
  using Half = Quads<R, 2>;
  static constexpr uint32_t kWidth = 4 * kCount;
  static constexpr uint32_t kBlockTiles = R::kBlockTiles;
  static constexpr uint32_t kBlockRows = R::kBlockRows;
  static constexpr uint32_t kRunBytes = R::kRunBytes;
  static constexpr uint32_t kChains = R::kChains;
  static constexpr uint32_t kHalfChains = R::kHalfChains;

  R r[kCount];

  template <class Each>
  static Quads each(Each value) {
    Quads q;
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kCount; ++i) q.r[i] = value(i);
    return q;
  }
  static Quads of(float x) {
    const R one = R::of(x);
    return each([&](uint32_t) { return one; });
  }
  static Quads load(const float* p) {
    return each([&](uint32_t i) { return R::load(p + 4 * i); });
  }
  static QuadSource<R, kCount> four(const float* p) { return {R::load(p)}; }
  static Quads load_first(const float* p, uint32_t n) { return load_first_or(p, n, of(0.0f)); }
  static Quads load_first_or(const float* p, uint32_t n, Quads other) {
    return each([&](uint32_t i) {
      if (n >= 4 * i + 4) return R::load(p + 4 * i);
      return n > 4 * i ? R::load_first_or(p + 4 * i, n - 4 * i, other.r[i]) : other.r[i];
    });
  }
  static Quads load_bf16(const uint16_t* p) {
    return each([&](uint32_t i) { return R::load_bf16(p + 4 * i); });
  }
  void store(float* p) const {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kCount; ++i) r[i].store(p + 4 * i);
  }
  void store_first(float* p, uint32_t n) const {
    THIMBLE_UNROLL
    for (uint32_t i = 0; i < kCount; ++i) {
      if (n >= 4 * i + 4) {
        r[i].store(p + 4 * i);
      } else if (n > 4 * i) {
        r[i].store_first(p + 4 * i, n - 4 * i);
      }
    }
  }
};

template <class R, uint32_t kCount>
struct QuadSource {
  R r;
  template <int kLane>
  Quads<R, kCount> splat() const {
    const R lane = r.template splat<kLane>();
    return Quads<R, kCount>::each([&](uint32_t) { return lane; });
  }
};

template <class R, uint32_t kCount>
static inline void keep(Quads<R, kCount>& a) {
  THIMBLE_UNROLL
  for (uint32_t i = 0; i < kCount; ++i) keep(a.r[i]);
}
template <class R, uint32_t kCount>
static inline void keep(QuadSource<R, kCount>& a) {
  keep(a.r);
}

template <class R, uint32_t kCount>
static inline Quads<R, kCount> add(Quads<R, kCount> a, Quads<R, kCount> b) {
  return a.each([&](uint32_t i) { return add(a.r[i], b.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> sub(Quads<R, kCount> a, Quads<R, kCount> b) {
  return a.each([&](uint32_t i) { return sub(a.r[i], b.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> mul(Quads<R, kCount> a, Quads<R, kCount> b) {
  return a.each([&](uint32_t i) { return mul(a.r[i], b.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> div(Quads<R, kCount> a, Quads<R, kCount> b) {
  return a.each([&](uint32_t i) { return div(a.r[i], b.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> fma(Quads<R, kCount> a, Quads<R, kCount> b, Quads<R, kCount> c) {
  return a.each([&](uint32_t i) { return fma(a.r[i], b.r[i], c.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> lesser(Quads<R, kCount> a, Quads<R, kCount> b) {
  return a.each([&](uint32_t i) { return lesser(a.r[i], b.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> greater(Quads<R, kCount> a, Quads<R, kCount> b) {
  return a.each([&](uint32_t i) { return greater(a.r[i], b.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> absolute(Quads<R, kCount> a) {
  return a.each([&](uint32_t i) { return absolute(a.r[i]); });
}
template <class R, uint32_t kCount>
static inline Quads<R, kCount> swap_pairs(Quads<R, kCount> a) {
  return a.each([&](uint32_t i) { return swap_pairs(a.r[i]); });
}
template <class R>
static inline Quads<R, 4> times_power_of_two(Quads<R, 4> a, QuadInts<typename R::I> n,
                                             Quads<R, 4> x, Quads<R, 4> limit) {
  return a.each([&](uint32_t i) { return times_power_of_two(a.r[i], n.r[i], x.r[i], limit.r[i]); });
}
template <class R>
static inline QuadInts<typename R::I> round_even(Quads<R, 4> a) {
  return {{round_even(a.r[0]), round_even(a.r[1]), round_even(a.r[2]), round_even(a.r[3])}};
}
template <class R>
static inline QuadInts<typename R::I> truncate(Quads<R, 4> a) {
  return {{truncate(a.r[0]), truncate(a.r[1]), truncate(a.r[2]), truncate(a.r[3])}};
}
template <class N>
static inline auto to_float(QuadInts<N> a) {
  using R = decltype(to_float(a.r[0]));
  return Quads<R, 4>::each([&](uint32_t i) { return to_float(a.r[i]); });
}
template <class R>
static inline uint32_t equal_lanes(Quads<R, 4> a, Quads<R, 4> b) {
  uint32_t mask = 0;
  THIMBLE_UNROLL
  for (uint32_t i = 0; i < 4; ++i) mask |= equal_mask(a.r[i], b.r[i]) << (4 * i);
  return mask;
}

// The definition's tree: 8, 4, 2, 1.
template <class R>
static inline float fold(Quads<R, 4> a) {
  return fold(add(add(a.r[0], a.r[2]), add(a.r[1], a.r[3])));
}
template <class R>
static inline float greatest(Quads<R, 4> a) {
  return greatest(greater(greater(a.r[0], a.r[2]), greater(a.r[1], a.r[3])));
}
template <class N>
static inline QuadInts<N> add(QuadInts<N> a, QuadInts<N> b) {
  return {{add(a.r[0], b.r[0]), add(a.r[1], b.r[1]), add(a.r[2], b.r[2]), add(a.r[3], b.r[3])}};
}
template <class N>
static inline int32_t total(QuadInts<N> a) {
  return total(add(add(a.r[0], a.r[1]), add(a.r[2], a.r[3])));
}

}  // namespace thimble

#endif
