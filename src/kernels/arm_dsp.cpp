// SPDX-License-Identifier: MIT
// Cortex-M4F and M7F: dual 16-bit multiply-accumulate, scalar FPU
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FP)

#include "reference.h"

namespace thimble {
namespace {

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "dsp";
  return k;
}

}  // namespace

extern const Kernels kKernelsDsp;
const Kernels kKernelsDsp = make_table();

}  // namespace thimble

#elif defined(__arm__)

#include "kernels.h"

// Compiled without the instructions: a table without a name, which select.cpp passes over.
namespace thimble {
extern const Kernels kKernelsDsp;
const Kernels kKernelsDsp = {};
}  // namespace thimble

#endif
