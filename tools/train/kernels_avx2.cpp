// SPDX-License-Identifier: MIT
// The Makefile compiles this for the instructions of its name.
#if defined(__AVX2__)
#include "lanes_table.h"

namespace thimble::tools::train {

extern const Kernels kKernelsAvx2;
const Kernels kKernelsAvx2 = table_named("avx2");

}  // namespace thimble::tools::train
#endif
