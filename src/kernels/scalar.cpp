// SPDX-License-Identifier: MIT
// Plain C++ for cores without vector instructions
#include "reference.h"

namespace thimble {
namespace {

constexpr Kernels make_table() {
  Kernels k = reference_table();
  k.name = "scalar";
  return k;
}

}  // namespace

extern const Kernels kKernelsScalar;
const Kernels kKernelsScalar = make_table();

}  // namespace thimble
