// SPDX-License-Identifier: MIT
// Which kernels this machine can run, best first. Nothing is remembered: asking the CPU is cheap
// and needs no global state.
#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace thimble {

#if defined(__x86_64__)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
extern const Kernels kKernelsAvx512Vnni;
#endif

namespace {

struct Candidates {
  const Kernels* table[4];
  size_t count;
};

#if defined(__x86_64__)
// The registers that the operating system saves (XCR0), without needing -mxsave.
uint64_t saved_registers() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// A table has no name where its file was compiled without its instructions.
void add(Candidates* found, const Kernels& kernels) {
  if (kernels.name) found->table[found->count++] = &kernels;
}

void add_x86(Candidates* found) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const bool os_saves = (c & bit_OSXSAVE) != 0, fma = (c & bit_FMA) != 0;
  if (!os_saves || !fma) return;
  const uint64_t saved = saved_registers();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((saved & 0xe6) == 0xe6 && (b & avx512) == avx512) {
    if (c & bit_AVX512VNNI) add(found, kKernelsAvx512Vnni);
    add(found, kKernelsAvx512);
  }
  if ((saved & 0x6) == 0x6 && (b & bit_AVX2)) add(found, kKernelsAvx2);
}
#endif

Candidates candidates() {
  Candidates found = {};
#if defined(__x86_64__)
  add_x86(&found);
#endif
  found.table[found.count++] = &kKernelsReference;
  return found;
}

bool same_text(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

}  // namespace

const Kernels* kernels_at(size_t index) {
  const Candidates found = candidates();
  return index < found.count ? found.table[index] : nullptr;
}

const Kernels* kernels_by_name(const char* name) {
  const Candidates found = candidates();
  if (name == nullptr || name[0] == '\0') return found.table[0];
  for (size_t i = 0; i < found.count; ++i) {
    if (same_text(found.table[i]->name, name)) return found.table[i];
  }
  return nullptr;
}

}  // namespace thimble
