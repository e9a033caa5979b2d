// SPDX-License-Identifier: MIT
// NEON
#if defined(__ARM_NEON)

#include "reference.h"

namespace thimble {
namespace {

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "neon";
  return k;
}

}  // namespace

extern const Kernels kKernelsNeon;
const Kernels kKernelsNeon = make_table();
#if defined(__aarch64__)
extern const Kernels kKernelsNeonDot;
const Kernels kKernelsNeonDot = {};
#endif

}  // namespace thimble

#endif
