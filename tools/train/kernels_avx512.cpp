// SPDX-License-Identifier: MIT
// The Makefile compiles this for the instructions of its name.
#if defined(__AVX512F__)
#include "lanes_table.h"

namespace thimble::tools::train {

extern const Kernels kKernelsAvx512;
const Kernels kKernelsAvx512 = table_named("avx512");

}  // namespace thimble::tools::train
#endif
