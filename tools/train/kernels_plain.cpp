// SPDX-License-Identifier: MIT
// For every machine: by the vectors that its compiler assumes (SSE2, NEON), or none.
#include "lanes_table.h"

namespace thimble::tools::train {

extern const Kernels kKernelsPlain;
const Kernels kKernelsPlain = table_named("plain");

}  // namespace thimble::tools::train
