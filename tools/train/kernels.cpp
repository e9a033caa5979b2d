// SPDX-License-Identifier: MIT
#include "kernels.h"

#include <cstring>

namespace thimble::tools::train {

extern const Kernels kKernelsPlain;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2, kKernelsAvx512, kKernelsAvx512Int16;
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
  offer(has_avx512 && __builtin_cpu_supports("avx512vnni"), kKernelsAvx512Int16);
  offer(has_avx512, kKernelsAvx512);
  offer(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), kKernelsAvx2);
#endif
  offer(true, kKernelsPlain);
  return found;
}

}  // namespace thimble::tools::train
