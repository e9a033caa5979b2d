// SPDX-License-Identifier: MIT
#include "kernels.h"

#include <cstring>

namespace thimble::tools::train {

extern const Kernels kKernelsPlain;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2, kKernelsAvx512;
#endif

size_t attention_scratch(uint32_t n, uint32_t head_dim) {
  // The widest table's, and room for the roundings of the others.
  constexpr size_t kMostPanel = 32, kMostQueries = 28;
  const size_t rows = (n + kMostPanel - 1) / kMostPanel * kMostPanel;
  return rows * (size_t{6} * (head_dim + 16) + 2 * kMostQueries) + 1024;
}

const Kernels* find_kernels(const char* name) {
  const auto is_wanted = [&](const Kernels& k) { return !name || std::strcmp(name, k.name) == 0; };
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      is_wanted(kKernelsAvx512)) {
    return &kKernelsAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && is_wanted(kKernelsAvx2)) {
    return &kKernelsAvx2;
  }
#endif
  return is_wanted(kKernelsPlain) ? &kKernelsPlain : nullptr;
}

}  // namespace thimble::tools::train
