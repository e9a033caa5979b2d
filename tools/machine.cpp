// SPDX-License-Identifier: MIT
#include "machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "engine.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 takes its own headers' deliberately undefined operands for mistakes (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#endif

namespace thimble::tools {
namespace {

// Where results go, so that nothing is optimised away.
volatile uint64_t sink;

// The highest rate of several tries of about 4 ms, of the work that `run` does in so many rounds.
template <class Run>
double fastest(const Run& run) {
  constexpr double kTrySeconds = 4e-3;
  constexpr int kTries = 12;
  uint64_t rounds = 1;
  double best = 0;
  for (int i = 0; i < kTries;) {
    const Stopwatch watch;
    const double done = static_cast<double>(run(rounds));
    const double seconds = watch.seconds();
    best = std::max(best, seconds > 0 ? done / seconds : 0);
    if (seconds < kTrySeconds / 2) {
      rounds *= 2;  // too short to measure: this one did not count
    } else {
      ++i;
    }
  }
  return best;
}

// ---- Reading -------------------------------------------------------------------------------
// kStreams streams at a time: prefetchers of some machines do best with one, others with several.

constexpr size_t kStreams = 4;
constexpr size_t kStep = 256;  // bytes of a stream in one step

using Read = uint64_t (*)(const uint8_t* data, size_t stream_bytes, size_t streams);

uint64_t read_plain(const uint8_t* data, size_t stream_bytes, size_t streams) {
  constexpr size_t kWords = kStep / sizeof(uint64_t);
  uint64_t bits[kWords] = {};
  for (size_t at = 0; at < stream_bytes; at += kStep) {
    for (size_t s = 0; s < streams; ++s) {
      const uint8_t* from = data + s * stream_bytes + at;
      for (size_t i = 0; i < kWords; ++i) {
        uint64_t word;
        std::memcpy(&word, from + i * sizeof word, sizeof word);
        bits[i] ^= word;
      }
    }
  }
  uint64_t all = 0;
  for (uint64_t word : bits) all ^= word;
  return all;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) uint64_t read_avx2(const uint8_t* data, size_t stream_bytes,
                                                   size_t streams) {
  __m256i bits[8] = {};
  for (size_t at = 0; at < stream_bytes; at += kStep) {
    for (size_t s = 0; s < streams; ++s) {
      const __m256i* from = reinterpret_cast<const __m256i*>(data + s * stream_bytes + at);
      for (int i = 0; i < 8; ++i) bits[i] = _mm256_xor_si256(bits[i], _mm256_load_si256(from + i));
    }
  }
  __m256i all = bits[0];
  for (int i = 1; i < 8; ++i) all = _mm256_xor_si256(all, bits[i]);
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0) ^ _mm256_extract_epi64(all, 1) ^
                               _mm256_extract_epi64(all, 2) ^ _mm256_extract_epi64(all, 3));
}

__attribute__((target("avx512f"))) uint64_t read_avx512(const uint8_t* data, size_t stream_bytes,
                                                        size_t streams) {
  __m512i bits[4] = {};
  for (size_t at = 0; at < stream_bytes; at += kStep) {
    for (size_t s = 0; s < streams; ++s) {
      const uint8_t* from = data + s * stream_bytes + at;
      for (int i = 0; i < 4; ++i) {
        bits[i] = _mm512_xor_si512(bits[i], _mm512_load_si512(from + i * 64));
      }
    }
  }
  const __m512i all =
      _mm512_xor_si512(_mm512_xor_si512(bits[0], bits[1]), _mm512_xor_si512(bits[2], bits[3]));
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(all));
}
#endif

Read best_read() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
  return read_plain;
}

// ---- Multiplying and adding ----------------------------------------------------------------
// Chains side by side: more than the latency of an instruction times how many start in a cycle.

// They start at values that the compiler cannot know to be equal, or it would compute one chain
// only.
constexpr int kChains = 12;  // with two operands they fit 16 registers
constexpr int kPlainChains = 128;

// Numbers that the compiler cannot know, and with which chains stay normal numbers: 1 * x + 0.
volatile float one = 1.0f, zero = 0.0f;
volatile int32_t four_ones = 0x01010101;

uint64_t f32_plain(uint64_t rounds) {
  float acc[kPlainChains];
  const float a = one, b = zero;
  for (float& x : acc) x = one;
  for (uint64_t r = 0; r < rounds; ++r) {
#if defined(__FP_FAST_FMAF)
    for (float& x : acc) x = __builtin_fmaf(x, a, b);
#else
    for (float& x : acc) x = x * a + b;
#endif
  }
  float sum = 0;
  for (float x : acc) sum += x;
  sink = static_cast<uint64_t>(sum);
  return rounds * kPlainChains * 2;
}

uint64_t int8_plain(uint64_t rounds) {
  int8_t w[kPlainChains], x[kPlainChains];
  int32_t acc[kPlainChains] = {};
  std::memset(w, four_ones & 1, sizeof w);
  std::memset(x, four_ones & 1, sizeof x);
  for (uint64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kPlainChains; ++i) acc[i] += static_cast<int32_t>(w[i]) * x[i];
    __asm__ volatile("" : : "r"(w), "r"(x) : "memory");  // they may have changed
  }
  int32_t sum = 0;
  for (int32_t value : acc) sum += value;
  sink = static_cast<uint64_t>(sum);
  return rounds * kPlainChains * 2;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) uint64_t f32_avx2(uint64_t rounds) {
  const __m256 a = _mm256_set1_ps(one), b = _mm256_set1_ps(zero);
  __m256 acc[kChains];
  for (int i = 0; i < kChains; ++i) {
    acc[i] = a;
    __asm__("" : "+v"(acc[i]));
  }
  for (uint64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_fmadd_ps(acc[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  sink = static_cast<uint64_t>(_mm256_cvtss_f32(acc[0]));
  return rounds * kChains * 8 * 2;
}

__attribute__((target("avx512f"))) uint64_t f32_avx512(uint64_t rounds) {
  const __m512 a = _mm512_set1_ps(one), b = _mm512_set1_ps(zero);
  __m512 acc[kChains];
  for (int i = 0; i < kChains; ++i) {
    acc[i] = a;
    __asm__("" : "+v"(acc[i]));
  }
  for (uint64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(acc[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  sink = static_cast<uint64_t>(_mm512_cvtss_f32(acc[0]));
  return rounds * kChains * 16 * 2;
}

// Without VNNI: 8-bit products in 16-bit pairs, pairs in 32 bits, a sum. Operands that seem to
// change every time, so that products are not taken out of the loop.
__attribute__((target("avx2"))) uint64_t int8_avx2(uint64_t rounds) {
  constexpr int kPairChains = 8;
  const __m256i ones = _mm256_set1_epi16(static_cast<int16_t>(four_ones & 1));
  __m256i w = _mm256_set1_epi32(four_ones);
  __m256i acc[kPairChains] = {};
  for (int i = 0; i < kPairChains; ++i) __asm__("" : "+v"(acc[i]));
  for (uint64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kPairChains; ++i) {
      __asm__ volatile("" : "+x"(w));
      const __m256i pairs = _mm256_maddubs_epi16(w, w);
      acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(pairs, ones));
    }
  }
  for (int i = 1; i < kPairChains; ++i) acc[0] = _mm256_add_epi32(acc[0], acc[i]);
  sink = static_cast<uint64_t>(_mm256_extract_epi32(acc[0], 0));
  return rounds * kPairChains * 32 * 2;
}

__attribute__((target("avx512f,avx512bw"))) uint64_t int8_avx512(uint64_t rounds) {
  constexpr int kPairChains = 8;
  const __m512i ones = _mm512_set1_epi16(static_cast<int16_t>(four_ones & 1));
  __m512i w = _mm512_set1_epi32(four_ones);
  __m512i acc[kPairChains] = {};
  for (int i = 0; i < kPairChains; ++i) __asm__("" : "+v"(acc[i]));
  for (uint64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kPairChains; ++i) {
      __asm__ volatile("" : "+v"(w));
      const __m512i pairs = _mm512_maddubs_epi16(w, w);
      acc[i] = _mm512_add_epi32(acc[i], _mm512_madd_epi16(pairs, ones));
    }
  }
  for (int i = 1; i < kPairChains; ++i) acc[0] = _mm512_add_epi32(acc[0], acc[i]);
  sink = static_cast<uint64_t>(_mm512_reduce_add_epi32(acc[0]));
  return rounds * kPairChains * 64 * 2;
}

__attribute__((target("avx512f,avx512vnni"))) uint64_t int8_avx512vnni(uint64_t rounds) {
  const __m512i w = _mm512_set1_epi32(four_ones);
  __m512i acc[kChains] = {};
  for (int i = 0; i < kChains; ++i) __asm__("" : "+v"(acc[i]));
  for (uint64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], w, w);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_epi32(acc[0], acc[i]);
  sink = static_cast<uint64_t>(_mm512_reduce_add_epi32(acc[0]));
  return rounds * kChains * 64 * 2;
}
#endif

}  // namespace

double read_bandwidth(size_t bytes) {
  const size_t stream_bytes = std::max(bytes / (kStreams * kStep), size_t{1}) * kStep;
  const size_t all = kStreams * stream_bytes;
  const AlignedBlock block(all);  // of huge pages: a limit should not be one of the page tables
  const uint8_t* block_bytes = block.data();
  std::memset(block.data(), 1, all);  // pages of its own, not the one zero page
  const Read read = best_read();
  const auto one_stream = [&](uint64_t rounds) {
    for (uint64_t r = 0; r < rounds; ++r) sink = read(block_bytes, all, 1);
    return rounds * all;
  };
  const auto streams = [&](uint64_t rounds) {
    for (uint64_t r = 0; r < rounds; ++r) sink = read(block_bytes, stream_bytes, kStreams);
    return rounds * all;
  };
  return std::max(fastest(one_stream), fastest(streams));
}

size_t uncached_bytes() {
  constexpr size_t kLeast = size_t{256} << 20, kMost = size_t{512} << 20;
  long cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 0L);
#endif
  return std::min(std::max(static_cast<size_t>(cache) * 4, kLeast), kMost);
}

Peak f32_peak() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {fastest(f32_avx512), "avx512"};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {fastest(f32_avx2), "avx2"};
  }
#endif
  return {fastest(f32_plain), "plain C++"};
}

Peak int8_peak() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni")) return {fastest(int8_avx512vnni), "avx512vnni"};
  if (__builtin_cpu_supports("avx512bw")) return {fastest(int8_avx512), "avx512"};
  if (__builtin_cpu_supports("avx2")) return {fastest(int8_avx2), "avx2"};
#endif
  return {fastest(int8_plain), "plain C++"};
}

}  // namespace thimble::tools
