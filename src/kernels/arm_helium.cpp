// SPDX-License-Identifier: MIT
// Cortex-M55: Helium, also called MVE
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)

#include "reference.h"

namespace thimble {
namespace {

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "helium";
  return k;
}

}  // namespace

extern const Kernels kKernelsHelium;
const Kernels kKernelsHelium = make_table();

}  // namespace thimble

#endif
