// SPDX-License-Identifier: MIT
// On a board: the one table of kernels that the firmware has, every entry against the reference,
// bit for bit. Sizes up to a few tiles with odd tails, all tile heights and groups, misaligned,
// extreme values. Prints "kernels NAME: N cases equal", or the first case that differs.
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "board.h"
#include "exact_math.h"
#include "kernels/reference.h"

using namespace thimble;

namespace {

constexpr float kNan = __builtin_nanf("");
constexpr float kInfinity = __builtin_inff();
constexpr uint32_t kHeights[] = {1, 2, 4, 8, 16};
constexpr uint32_t kGroups[] = {32, 64, 128, 0};  // 0: the whole row

// ---- What went wrong, where ------------------------------------------------------------------

struct Size {
  const char* name;
  size_t value;
};

uint32_t g_cases = 0;

void write_number(size_t value) {
  char text[24];
  char* at = text + sizeof text - 1;
  *at = '\0';
  do {
    *--at = static_cast<char>('0' + value % 10);
  } while (value /= 10);
  board_write(at);
}

template <size_t kCount>
void expect(bool equal, const char* entry, const Size (&sizes)[kCount]) {
  ++g_cases;
  if (equal) return;
  board_write("kernels ");
  board_write(kernels_at(0)->name);
  board_write(": ");
  board_write(entry);
  board_write(" differs:");
  for (const Size& size : sizes) {
    board_write(" ");
    board_write(size.name);
    board_write(" ");
    write_number(size.value);
  }
  board_write("\n");
  board_exit(1);
}

// ---- Memory and numbers ----------------------------------------------------------------------

class Random {
 public:
  explicit Random(uint32_t seed) : state_(seed * 2654435769u + 1u) {}
  uint32_t next() {  // xorshift32 (Marsaglia 2003)
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((uint64_t{next()} * n) >> 32); }
  float uniform(float size) {  // within (-size, size)
    return static_cast<float>(static_cast<int32_t>(next()) >> 7) * (size / 16777216.0f);
  }
  // A whole number in [0, n). No inlining: where GCC 12 makes the conversion conditional, it writes
  // vcvtne, which is another instruction to the assembler for a Cortex-M55.
  __attribute__((noinline)) float whole(uint32_t n) { return static_cast<float>(below(n)); }
  int8_t value() { return static_cast<int8_t>(static_cast<int32_t>(below(255)) - 127); }

 private:
  uint32_t state_;
};

// `begin(n, shift)` is n elements that start `shift` elements behind an alignment of 64 bytes. What
// lies around them would show in a result (`poison`) or in the comparison of what was written.
template <class T, size_t kCapacity>
struct Block {
  static constexpr size_t kMargin = 64 / sizeof(T);
  alignas(64) T memory[kCapacity + 3 * kMargin];

  T* begin(size_t n, size_t shift, T poison) {
    if (n > kCapacity || shift > kMargin) {
      board_write("kernels: a block is too small\n");
      board_exit(1);
    }
    for (size_t i = 0; i < n + 3 * kMargin; ++i) memory[i] = poison;
    return memory + kMargin + shift;
  }
};

// A result and a margin on both sides; chips differ in the bits of the NaN they make.
bool same(const float* a, const float* b, size_t n) {
  constexpr size_t kMargin = 8;
  a -= kMargin, b -= kMargin;
  for (size_t i = 0; i < n + 2 * kMargin; ++i) {
    const bool both_nan = a[i] != a[i] && b[i] != b[i];
    if (!both_nan && bits_of(a[i]) != bits_of(b[i])) return false;
  }
  return true;
}

template <class T>
bool same_integers(const T* a, const T* b, size_t n) {
  constexpr size_t kMargin = 8;
  return memcmp(a - kMargin, b - kMargin, (n + 2 * kMargin) * sizeof(T)) == 0;
}

constexpr float kPoison = -3e38f;

Block<float, 8192> g_weights_f32, g_expected, g_found;
Block<float, 4096> g_x, g_y, g_scales;
Block<int8_t, 65536> g_weights_q8;
Block<int8_t, 4096> g_values_q8, g_expected_q8, g_found_q8;
Block<uint16_t, 4096> g_bf16;
Block<int32_t, 256> g_sums, g_found_sums;
Block<float, 256> g_found_scales;
Block<uint32_t, 256> g_odds, g_found_odds;

float* random_floats(float* x, Random& random, size_t n, float size) {
  for (size_t i = 0; i < n; ++i) x[i] = random.uniform(size);
  return x;
}

// An x that exp's reduction finds half-way: x * log2(e) is a whole number and a half.
float exp_tie(Random& random) {
  const float wanted = random.whole(87) + 0.5f;
  for (uint32_t step = 0; step < 16; ++step) {
    const float x = float_of(bits_of(wanted * 0.693147182f) + step - 8);
    if (x * 1.44269502f == wanted) return random.below(2) ? x : -x;
  }
  return 0.0f;
}

uint32_t round_up_to(uint32_t n, uint32_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// ---- The entries -----------------------------------------------------------------------------

void check_matmul_f32(const Kernels& k) {
  Random random(1);
  constexpr uint32_t kRows[] = {1, 7, 16, 33, 50}, kCols[] = {1, 2, 7, 8, 31, 64};
  constexpr uint32_t kBatch[] = {1, 2, 5};
  for (uint32_t height : kHeights) {
    for (uint32_t rows : kRows) {
      for (uint32_t cols : kCols) {
        for (uint32_t n : kBatch) {
          const uint32_t tiles = (rows + height - 1) / height, padded = tiles * height;
          const size_t stride = cols + n % 2, out_stride = padded + random.below(2);
          float* w = g_weights_f32.begin(size_t{padded} * cols, random.below(4), kPoison);
          random_floats(w, random, size_t{padded} * cols, 1.0f);
          float* x = g_x.begin(stride * n, random.below(4), kPoison);
          random_floats(x, random, stride * (n - 1) + cols, 1.0f);
          const Matrix m = {w, nullptr, rows, cols, cols, height, 0, 0, kWeightF32};
          const uint32_t begin = random.below(tiles), end = tiles - random.below(tiles - begin);
          float* expected = g_expected.begin(out_stride * n, 0, kPoison);
          float* found = g_found.begin(out_stride * n, random.below(4), kPoison);
          matmul_f32_reference(expected, out_stride, m, begin, end, x, stride, n);
          k.matmul_f32(found, out_stride, m, begin, end, x, stride, n);
          expect(same(expected, found, out_stride * n), "matmul_f32",
                 {{"height", height}, {"rows", rows}, {"cols", cols}, {"n", n}, {"tile", begin}});
        }
      }
    }
  }
}

enum MatmulKind : uint32_t { kPlain, kMisaligned, kExtreme, kLowest, kZero, kMatmulKinds };

void check_matmul_int8_case(const Kernels& k, Random& random, WeightType type, uint32_t height,
                            uint32_t group, uint32_t rows, uint32_t cols, uint32_t n,
                            uint32_t kind) {
  const bool q4 = type == kWeightQ4;
  const uint32_t padded = round_up_to(cols, group ? group : q4 ? 16 : 4);
  const uint32_t per_scale = group ? group : padded, groups = padded / per_scale;
  const uint32_t tiles = (rows + height - 1) / height;
  const uint32_t shift = kind == kMisaligned ? 1 + random.below(3) : 0;
  const size_t weights = weight_bytes(type, size_t{tiles} * height * padded),
               scales = size_t{tiles} * height * groups;

  int8_t* w = g_weights_q8.begin(weights, shift, 99);
  for (size_t i = 0; i < weights; ++i) {
    w[i] = random.value();
    if (q4 && kind != kZero) continue;  // any bits are weights
    if (kind == kExtreme) w[i] = random.below(8) ? 127 : -127;
    if (kind == kLowest) w[i] = -128;  // a crafted file
    if (kind == kZero) w[i] = 0;
  }
  uint16_t* ws = g_bf16.begin(scales, kind == kMisaligned ? random.below(2) : 0, 0xff7f);
  for (size_t i = 0; i < scales; ++i) {
    ws[i] = static_cast<uint16_t>(bits_of(0.001f + random.uniform(0.001f)) >> 16);
    if (q4 && random.below(2)) ws[i] |= 0x8000;
  }
  int8_t* values =
      g_values_q8.begin(size_t{n} * padded, kind == kMisaligned ? random.below(4) : 0, 99);
  float* xs = g_scales.begin(size_t{n} * groups, random.below(3), kPoison);
  random_floats(xs, random, size_t{n} * groups, 0.1f);
  int32_t* sums = g_sums.begin(size_t{n} * groups, 0, 0);
  for (uint32_t i = 0; i < n * groups; ++i) {
    sums[i] = 0;
    for (uint32_t c = i * per_scale; c < (i + 1) * per_scale; ++c) {
      values[c] = kind == kLowest ? int8_t{-127} : random.value();
      if (kind == kExtreme) values[c] = random.below(8) ? 127 : -127;
      sums[i] += values[c];
    }
  }
  const Matrix m = {w, ws, rows, cols, padded, height, per_scale, groups, type};
  const QuantizedRows x = {values, xs, sums, padded, per_scale, groups};
  const uint32_t begin = random.below(tiles), end = tiles - random.below(tiles - begin);
  const size_t out_stride = tiles * height + random.below(2);
  float* expected = g_expected.begin(out_stride * n, 0, kPoison);
  float* found = g_found.begin(out_stride * n, random.below(4), kPoison);
  (q4 ? matmul_q4_reference : matmul_q8_reference)(expected, out_stride, m, begin, end, x, n);
  (q4 ? k.matmul_q4 : k.matmul_q8)(found, out_stride, m, begin, end, x, n);
  expect(same(expected, found, out_stride * n), q4 ? "matmul_q4" : "matmul_q8",
         {{"height", height},
          {"group", per_scale},
          {"rows", rows},
          {"cols", cols},
          {"n", n},
          {"tile", begin},
          {"kind", kind}});
}

void check_matmul_int8(const Kernels& k, WeightType type) {
  Random random(2);
  constexpr uint32_t kRows[] = {1, 5, 16, 33, 70},
                     kCols[] = {4, 8, 12, 16, 20, 24, 28, 64, 172, 256, 600, 1000};
  constexpr uint32_t kBatch[] = {1, 2, 3, 5};
  uint32_t count = 0;
  for (uint32_t height : kHeights) {
    for (uint32_t group : kGroups) {
      for (uint32_t rows : kRows) {
        for (uint32_t cols : kCols) {
          for (uint32_t n : kBatch) {
            if (cols > 256 && (rows != 5 || n > 3)) continue;  // more than one run of columns
            const uint32_t kind = rows == 70 ? kPlain : count++ % kMatmulKinds;
            check_matmul_int8_case(k, random, type, height, group, rows, cols, n, kind);
          }
        }
      }
    }
  }
}

void check_quantize_q8(const Kernels& k) {
  Random random(3);
  for (uint32_t group : kGroups) {
    for (uint32_t cols = 1; cols <= 200; cols += 1 + cols / 16) {
      for (uint32_t kind = 0; kind < 10; ++kind) {
        const uint32_t padded = round_up_to(cols, group ? group : 4);
        const uint32_t per_scale = group ? group : padded, groups = padded / per_scale, n = 2;
        const size_t stride = cols + 1, count = stride * (n - 1) + cols;
        float* x = g_x.begin(count, random.below(4), kInfinity);
        random_floats(x, random, count, 3.0f);
        const size_t at = random.below(static_cast<uint32_t>(count));
        if (kind == 1) x[at] = kNan;
        if (kind == 2) x[at] = -kInfinity;
        if (kind == 3) x[at] = kInfinity;
        if (kind == 4) x[at] = 3e38f;
        for (size_t i = 0; i < count; ++i) {
          if (kind == 5) x[i] *= 1e-31f;
          if (kind == 6) x[i] *= 1e-30f;  // some groups are silent, some are not
          if (kind == 7) x[i] = i % 2 ? -0.0f : 0.0f;
          if (kind == 8) x[i] = -random.whole(128);
          if (kind == 9) x[i] = random.whole(255) * 0.5f - 63.5f;
        }
        if (kind >= 8) {  // halves: ties
          for (size_t i = 0; i < count; i += 3) x[i] = 126.5f - random.whole(254);
          for (size_t i = 0; i < count; i += 16) x[i] = 127.0f;
        }
        const size_t values = size_t{n} * padded;
        int8_t* a = g_expected_q8.begin(values, 0, 77);
        int8_t* b = g_found_q8.begin(values, random.below(4), 77);
        float* a_scales = g_scales.begin(size_t{n} * groups, 0, kPoison);
        float* b_scales = g_found_scales.begin(size_t{n} * groups, random.below(4), kPoison);
        int32_t* a_sums = g_sums.begin(size_t{n} * groups, 0, 77);
        int32_t* b_sums = g_found_sums.begin(size_t{n} * groups, random.below(4), 77);
        quantize_q8_reference({a, a_scales, a_sums, padded, per_scale, groups}, x, stride, cols, n);
        k.quantize_q8({b, b_scales, b_sums, padded, per_scale, groups}, x, stride, cols, n);
        expect(same_integers(a, b, values) && same(a_scales, b_scales, size_t{n} * groups) &&
                   same_integers(a_sums, b_sums, size_t{n} * groups),
               "quantize_q8", {{"group", per_scale}, {"cols", cols}, {"kind", kind}});
      }
    }
  }
}

void check_rms_norm(const Kernels& k) {
  Random random(4);
  constexpr float kSizes[] = {3.0f, 1e-20f, 0.0f, 1e18f};
  for (uint32_t n = 1; n <= 70; ++n) {
    for (float size : kSizes) {
      float* weight = random_floats(g_y.begin(n, random.below(4), kPoison), random, n, 2.0f);
      float* x = random_floats(g_x.begin(n, random.below(4), kPoison), random, n, size);
      float* expected = g_expected.begin(n, 0, kPoison);
      float* found = g_found.begin(n, random.below(4), kPoison);
      rms_norm_reference(expected, x, weight, n, 1e-5f);
      k.rms_norm(found, x, weight, n, 1e-5f);
      expect(same(expected, found, n), "rms_norm", {{"n", n}});
      memcpy(found, x, n * sizeof(float));
      k.rms_norm(found, found, weight, n, 1e-5f);
      expect(same(expected, found, n), "rms_norm in place", {{"n", n}});
    }
  }
}

void check_rotate(const Kernels& k) {
  Random random(5);
  constexpr uint32_t kHeads[] = {1, 3};
  constexpr uint32_t kPositions[] = {0, 1, 1000, 0xffffffffu};
  for (uint32_t head_dim = 2; head_dim <= 72; head_dim += 2) {
    uint64_t frequencies[36];
    for (uint64_t& f : frequencies) f = uint64_t{random.next()} << 29 ^ random.next();
    for (uint32_t position : kPositions) {
      float* expected = g_expected.begin(2 * head_dim, 0, kPoison);
      float* found = g_found.begin(2 * head_dim, random.below(4), kPoison);
      rope_table_reference(expected, frequencies, head_dim, position);
      k.rope_table(found, frequencies, head_dim, position);
      expect(same(expected, found, 2 * head_dim), "rope_table",
             {{"head_dim", head_dim}, {"position", position}});
    }
    float* table = g_y.begin(2 * head_dim, random.below(4), kPoison);
    rope_table_reference(table, frequencies, head_dim, 77);
    for (uint32_t n_heads : kHeads) {
      const size_t n = size_t{n_heads} * head_dim;
      float* expected = random_floats(g_expected.begin(n, 0, kPoison), random, n, 2.0f);
      float* found = g_found.begin(n, random.below(4), kPoison);
      memcpy(found, expected, n * sizeof(float));
      rotate_reference(expected, table, n_heads, head_dim, 0.37f);
      k.rotate(found, table, n_heads, head_dim, 0.37f);
      expect(same(expected, found, n), "rotate", {{"heads", n_heads}, {"head_dim", head_dim}});
    }
  }
}

void check_softmax(const Kernels& k) {
  Random random(6);
  constexpr float kSizes[] = {1.0f, 60.0f, 1e4f, 0.0f};
  constexpr float kOdd[] = {kNan, kInfinity, -kInfinity};
  constexpr uint32_t kKinds = 10;
  for (uint32_t n = 1; n <= 70; ++n) {
    for (uint32_t kind = 0; kind < kKinds; ++kind) {
      const uint32_t rows = 1 + n % 3;
      const size_t stride = n + 2, count = stride * rows;
      float* expected = g_expected.begin(count, 0, kPoison);
      random_floats(expected, random, count, kSizes[kind % 4]);
      if (kind >= 4 && kind < 7) expected[0] = kOdd[kind - 4];
      if (kind == 7) expected[n - 1] = kNan;
      for (uint32_t i = 0; i < n; ++i) {
        if (kind == 8) expected[i] = kNan;
        if (kind == 9) expected[i] = -kInfinity;
      }
      float* found = g_found.begin(count, random.below(4), kPoison);
      memcpy(found, expected, count * sizeof(float));
      softmax_reference(expected, stride, rows, n);
      k.softmax(found, stride, rows, n);
      expect(same(expected, found, count), "softmax", {{"rows", rows}, {"n", n}, {"kind", kind}});
    }
  }
}

void check_mix_values(const Kernels& k) {
  Random random(7);
  constexpr uint32_t kHeadDims[] = {1, 2, 3, 4, 6, 8, 15, 16, 17, 24, 32, 48, 64, 65, 66};
  constexpr uint32_t kCounts[] = {1, 2, 19};
  for (uint32_t head_dim : kHeadDims) {
    for (uint32_t q = 1; q <= 3; ++q) {
      for (uint32_t kv_heads = 1; kv_heads <= 3; kv_heads += 2) {
        for (uint32_t n : kCounts) {
          const uint32_t n_heads = q * kv_heads;
          const size_t stride = n + 1, kv_stride = size_t{n} * head_dim + 3;
          const size_t count = size_t{n_heads} * head_dim;
          float* weights = g_x.begin(stride * n_heads, random.below(4), kPoison);
          random_floats(weights, random, stride * (n_heads - 1) + n, 1.0f);
          float* values = g_weights_f32.begin(kv_stride * kv_heads, random.below(4), kPoison);
          random_floats(values, random, kv_stride * kv_heads - 3, 1.0f);
          float* expected = g_expected.begin(count, 0, kPoison);
          float* found = g_found.begin(count, random.below(4), kPoison);
          mix_values_reference(expected, weights, stride, values, kv_stride, n, head_dim, n_heads,
                               q);
          k.mix_values(found, weights, stride, values, kv_stride, n, head_dim, n_heads, q);
          expect(same(expected, found, count), "mix_values",
                 {{"head_dim", head_dim}, {"q", q}, {"heads", n_heads}, {"n", n}});
        }
      }
    }
  }
}

void check_mix_values_q8(const Kernels& k) {
  Random random(8);
  constexpr uint32_t kHeadDims[] = {1, 2, 3, 4, 6, 8, 16, 24, 34, 48, 64, 66};
  constexpr uint32_t kCounts[] = {1, 2, 3, 4, 19, 255, 256, 257, 530};
  for (uint32_t head_dim : kHeadDims) {
    for (uint32_t n_heads = 1; n_heads <= 4; ++n_heads) {
      for (uint32_t n : kCounts) {
        const uint32_t kind = (n + n_heads + head_dim) % 9;
        const size_t stride = n + n % 3, count = size_t{n_heads} * head_dim;
        float* weights = g_x.begin(stride * n_heads, random.below(4), kPoison);
        int8_t* values = g_weights_q8.begin(size_t{n} * head_dim, random.below(4), 99);
        uint16_t* scales = g_bf16.begin(n, random.below(2), 0x7f7f);
        for (size_t i = 0; i < stride * (n_heads - 1) + n; ++i) {
          weights[i] = 1.0f + random.uniform(1.0f);
          if (kind == 1) weights[i] = 1.0f;
          if (kind == 2 && i < 300) weights[i] = 0.0f;
          if (kind == 3 && i % 7 == 0) weights[i] = kNan;
          if (kind == 4) weights[i] *= 1e-29f;
          if (kind == 6 && i % 3 == 0) weights[i] = -weights[i];
          if (kind == 5) weights[i] = i % 3 ? 0.5f : 1.0f;    // 16383.5: a tie
          if (kind == 7 && i % 3 == 0) weights[i] *= 1e-37f;  // denormal times a scale
          if (kind == 8 && i % 3 == 0) weights[i] *= 1e-40f;  // denormal
        }
        for (size_t i = 0; i < size_t{n} * head_dim; ++i) {
          values[i] = random.value();
          if (kind == 1) values[i] = i % 2 ? 127 : -127;  // the largest sums
        }
        for (uint32_t t = 0; t < n; ++t) {
          scales[t] = static_cast<uint16_t>(bits_of(0.01f + random.uniform(0.0099f)) >> 16);
          if (kind == 1 || kind == 5) scales[t] = 0x3f80;
        }
        float* expected = g_expected.begin(count, 0, kPoison);
        float* found = g_found.begin(count, random.below(4), kPoison);
        mix_values_q8_reference(expected, weights, stride, values, scales, n, head_dim, n_heads);
        k.mix_values_q8(found, weights, stride, values, scales, n, head_dim, n_heads);
        expect(same(expected, found, count), "mix_values_q8",
               {{"head_dim", head_dim}, {"heads", n_heads}, {"n", n}, {"kind", kind}});
      }
    }
  }
}

void check_swiglu_add(const Kernels& k) {
  Random random(9);
  constexpr float kSizes[] = {4.0f, 200.0f, 1e10f, 1e-30f};
  constexpr float kOdd[] = {kNan, kInfinity, -kInfinity, -0.0f, -88.0f, -87.0f, 87.0f, 88.0f};
  for (uint32_t n = 1; n <= 70; ++n) {
    for (float size : kSizes) {
      float* x = random_floats(g_x.begin(n, random.below(4), kPoison), random, n, size);
      float* y = random_floats(g_y.begin(n, random.below(4), kPoison), random, n, 1.0f);
      x[random.below(n)] = kOdd[random.below(8)];
      x[random.below(n)] = exp_tie(random);
      float* expected = g_expected.begin(n, 0, kPoison);
      float* found = g_found.begin(n, random.below(4), kPoison);
      swiglu_reference(expected, x, y, n);
      k.swiglu(found, x, y, n);
      expect(same(expected, found, n), "swiglu", {{"n", n}});
      memcpy(found, x, n * sizeof(float));
      k.swiglu(found, found, y, n);
      expect(same(expected, found, n), "swiglu in place", {{"n", n}});

      memcpy(expected, x, n * sizeof(float));
      memcpy(found, x, n * sizeof(float));
      add_reference(expected, y, n);
      k.add(found, y, n);
      expect(same(expected, found, n), "add", {{"n", n}});
    }
  }
}

void check_argmax_odds(const Kernels& k) {
  Random random(10);
  constexpr float kTemperatures[] = {1.0f, 0.01f, 50.0f};
  for (uint32_t n = 1; n <= 70; ++n) {
    for (uint32_t kind = 0; kind < 6; ++kind) {
      float* x = g_x.begin(n, random.below(4), kInfinity);
      for (uint32_t i = 0; i < n; ++i) {
        const float few = random.whole(4) - 2.0f;  // many ties
        x[i] = kind == 0 ? random.uniform(5.0f) : few;
        if (kind == 4) x[i] = -kInfinity;
        if (kind == 5) x[i] = kNan;
      }
      if (kind == 2) x[random.below(n)] = kNan;
      if (kind == 3) x[random.below(n)] = kInfinity;
      const uint32_t best = argmax_reference(x, n);
      expect(k.argmax(x, n) == best, "argmax", {{"n", n}, {"kind", kind}});
      for (float inv_temperature : kTemperatures) {
        uint32_t* expected = g_odds.begin(n, 0, 77);
        uint32_t* found = g_found_odds.begin(n, random.below(4), 77);
        odds_reference(expected, x, n, x[best], inv_temperature);
        k.odds(found, x, n, x[best], inv_temperature);
        expect(same_integers(expected, found, n), "odds", {{"n", n}, {"kind", kind}});
      }
    }
  }
}

// Heads of 4 to 32 numbers: keys with one scale for queries that share them, and values with every
// tail of positions and kind of weight.
void check_small_heads(const Kernels& k) {
  Random random(11);
  constexpr uint32_t kDims[] = {4, 8, 12, 16, 32};
  constexpr float kOdd[] = {1.0f, kNan, -kNan, kInfinity, -kInfinity, -0.0f, -1.0f, 1e-38f, 3e38f};
  for (uint32_t dim : kDims) {
    for (uint32_t n = 1; n <= 40; ++n) {
      for (uint32_t kind = 0; kind < kMatmulKinds; ++kind) {
        check_matmul_int8_case(k, random, kWeightQ8, k.row_tile, 0, n, dim, 1 + n % 3, kind);
      }
      for (float odd : kOdd) {
        float* weights = g_x.begin(n * 2, random.below(4), kPoison);
        int8_t* values = g_weights_q8.begin(size_t{n} * dim, random.below(4), 99);
        uint16_t* scales = g_bf16.begin(n, random.below(2), 0x7f7f);
        for (uint32_t i = 0; i < n * 2; ++i) weights[i] = 1.0f + random.uniform(1.0f);
        weights[random.below(n * 2)] = odd;
        for (size_t i = 0; i < size_t{n} * dim; ++i) values[i] = random.value();
        for (uint32_t t = 0; t < n; ++t) {
          scales[t] = static_cast<uint16_t>(bits_of(0.01f + random.uniform(0.0099f)) >> 16);
        }
        float* expected = g_expected.begin(size_t{dim} * 2, 0, kPoison);
        float* found = g_found.begin(size_t{dim} * 2, random.below(4), kPoison);
        mix_values_q8_reference(expected, weights, n, values, scales, n, dim, 2);
        k.mix_values_q8(found, weights, n, values, scales, n, dim, 2);
        expect(same(expected, found, size_t{dim} * 2), "mix_values_q8 of a small head",
               {{"head_dim", dim}, {"n", n}, {"odd", bits_of(odd)}});
      }
    }
  }
}

}  // namespace

int main() {
  const Kernels& k = *kernels_at(0);
  check_matmul_f32(k);
  check_matmul_int8(k, kWeightQ8);
  check_matmul_int8(k, kWeightQ4);
  check_quantize_q8(k);
  check_rms_norm(k);
  check_rotate(k);
  check_softmax(k);
  check_mix_values(k);
  check_mix_values_q8(k);
  check_swiglu_add(k);
  check_argmax_odds(k);
  check_small_heads(k);
  board_write("kernels ");
  board_write(k.name);
  board_write(": ");
  write_number(g_cases);
  board_write(" cases equal\n");
  return 0;
}
