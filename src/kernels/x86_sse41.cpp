// SPDX-License-Identifier: MIT
// x86-64 with SSE4.1
#if defined(__x86_64__)

#include "reference.h"

namespace thimble {
namespace {

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "sse41";
  return k;
}

}  // namespace

extern const Kernels kKernelsSse41;
const Kernels kKernelsSse41 = make_table();

}  // namespace thimble

#endif
