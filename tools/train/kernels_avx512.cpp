// SPDX-License-Identifier: MIT
// Compiled with: -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
#if defined(__AVX512F__)
#include "lanes_table.h"

namespace thimble::tools::train {

extern const Kernels kKernelsAvx512;
const Kernels kKernelsAvx512 = table_named("avx512");

}  // namespace thimble::tools::train
#endif
