// SPDX-License-Identifier: MIT
// Which kernels there are, best first.
//
// Firmware has one table, named at compile time, so that the linker drops all others:
// -DTHIMBLE_KERNELS=kKernelsDsp, or else what the compiler's flags say the core has. A program
// under an operating system asks the processor. Nothing is remembered: asking is cheap and needs no
// global state.
#include "kernels.h"

#if __cplusplus < 201402L
#error \
    "Thimble is C++17 and also compiles as C++14 with GNU's extensions; this is an older -std. In an Arduino core's platform.local.txt: compiler.cpp.extra_flags=-std=gnu++17"
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if !defined(THIMBLE_KERNELS) && !defined(__linux__) && !defined(__APPLE__) && !defined(_WIN32) && \
    !defined(__unix__)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#define THIMBLE_KERNELS kKernelsHelium
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define THIMBLE_KERNELS kKernelsNeonDot
#elif defined(__aarch64__) || defined(__ARM_NEON)
#define THIMBLE_KERNELS kKernelsNeon
#elif defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_FMA) && defined(__ARM_FP)
#define THIMBLE_KERNELS kKernelsDsp
#elif defined(__wasm_simd128__)
#define THIMBLE_KERNELS kKernelsSimd128
#else
#define THIMBLE_KERNELS kKernelsScalar
#endif
#endif

namespace thimble {

namespace {

bool same_text(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

}  // namespace

#if defined(THIMBLE_KERNELS)

extern const Kernels THIMBLE_KERNELS;

const Kernels* kernels_at(size_t index) {
  return index == 0 ? &THIMBLE_KERNELS : nullptr;
}

#else

extern const Kernels kKernelsAvx512Vbmi, kKernelsAvx512Vnni, kKernelsAvx512, kKernelsAvxVnni,
    kKernelsAvx2, kKernelsSse41;
extern const Kernels kKernelsNeonDot, kKernelsNeon, kKernelsDsp;
extern const Kernels kKernelsScalar;

namespace {

struct Candidates {
  const Kernels* table[8];
  size_t count;
};

// A table has no name where its file was compiled without its instructions.
[[maybe_unused]] void add(Candidates* found, const Kernels& kernels) {
  if (kernels.name) found->table[found->count++] = &kernels;
}

#if defined(__x86_64__)
// The registers that the operating system saves (XCR0), without needing -mxsave.
uint64_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

void add_avx(Candidates* found) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const bool os_saves = (c & bit_OSXSAVE) != 0, fma = (c & bit_FMA) != 0;
  if (!os_saves || !fma) return;
  const uint64_t saved = saved_registers();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((saved & 0xe6) == 0xe6 && (b & avx512) == avx512) {
    if (c & bit_AVX512VNNI) {
      if (c & bit_AVX512VBMI) add(found, kKernelsAvx512Vbmi);
      add(found, kKernelsAvx512Vnni);
    }
    add(found, kKernelsAvx512);
  }
  if ((saved & 0x6) != 0x6 || !(b & bit_AVX2)) return;
  constexpr uint32_t kAvxVnni = 1u << 4;  // of leaf 7, 1: eax
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnni)) {
    add(found, kKernelsAvxVnni);
  }
  add(found, kKernelsAvx2);
}

void add_native(Candidates* found) {
  add_avx(found);
  uint32_t a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1)) add(found, kKernelsSse41);
}
#elif defined(__aarch64__)
// Weak: without a C library that has it, the dot product is used where the compiler was told so.
extern "C" __attribute__((weak)) unsigned long getauxval(unsigned long);

void add_native(Candidates* found) {
#if defined(__linux__)
  constexpr unsigned long kHwcap = 16, kAsimdDp = 1ul << 20;
  const bool has_dot = getauxval && (getauxval(kHwcap) & kAsimdDp) != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
  constexpr bool has_dot = true;
#else
  constexpr bool has_dot = false;
#endif
  if (has_dot) add(found, kKernelsNeonDot);
  add(found, kKernelsNeon);
}
#elif defined(__arm__)
void add_native(Candidates* found) {
  add(found, kKernelsNeon);
  add(found, kKernelsDsp);
}
#else
void add_native(Candidates*) {}
#endif

Candidates candidates() {
  Candidates found = {};
  add_native(&found);
  add(&found, kKernelsScalar);
  add(&found, kKernelsReference);
  return found;
}

}  // namespace

const Kernels* kernels_at(size_t index) {
  const Candidates found = candidates();
  return index < found.count ? found.table[index] : nullptr;
}

#endif

const Kernels* kernels_by_name(const char* name) {
  if (name == nullptr || name[0] == '\0') return kernels_at(0);
  for (size_t i = 0; const Kernels* kernels = kernels_at(i); ++i) {
    if (same_text(kernels->name, name)) return kernels;
  }
  return nullptr;
}

}  // namespace thimble
