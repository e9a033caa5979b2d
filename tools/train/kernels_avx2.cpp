// SPDX-License-Identifier: MIT
// Compiled with: -mavx2 -mfma
#if defined(__AVX2__)
#include "lanes_table.h"

namespace thimble::tools::train {

extern const Kernels kKernelsAvx2;
const Kernels kKernelsAvx2 = table_named("avx2");

}  // namespace thimble::tools::train
#endif
