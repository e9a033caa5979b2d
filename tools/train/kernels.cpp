// SPDX-License-Identifier: MIT
#include "kernels.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace thimble::tools::train {

extern const Kernels kKernelsPlain;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2, kKernelsAvx512, kKernelsAvx512Int16;
Kernels with_amx(const Kernels& int16);

namespace {

// Whether there is AMX for bytes, and Linux lets this process have it, which has to ask.
bool may_use_amx() {
#if defined(__linux__)
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTile) == 0 || (d & kInt8) == 0) {
    return false;
  }
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Null if this machine has none.
const Kernels* amx_kernels() {
  static const bool is_there = may_use_amx();
  if (!is_there) return nullptr;
  static const Kernels kernels = with_amx(kKernelsAvx512Int16);
  return &kernels;
}

}  // namespace
#endif

size_t attention_scratch(uint32_t n, uint32_t head_dim) {
  // The widest table's, and room for the roundings of the others.
  constexpr size_t kMostPanel = 32, kMostQueries = 28;
  const size_t rows = (n + kMostPanel - 1) / kMostPanel * kMostPanel;
  return rows * (size_t{6} * (head_dim + 16) + 2 * kMostQueries) + 1024;
}

const Kernels* find_kernels(const char* name, const char* precision) {
  const Kernels* found = nullptr;
  const auto offer = [&](bool is_there, const Kernels& k) {
    if (found || !is_there || (name && std::strcmp(name, k.name) != 0)) return;
    if (!precision || std::strcmp(precision, k.precision) == 0) found = &k;
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool has_int16 = has_avx512 && __builtin_cpu_supports("avx512vnni");
  if (has_int16 && amx_kernels()) offer(true, *amx_kernels());
  offer(has_int16, kKernelsAvx512Int16);
  offer(has_avx512, kKernelsAvx512);
  offer(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), kKernelsAvx2);
#endif
  offer(true, kKernelsPlain);
  return found;
}

}  // namespace thimble::tools::train
