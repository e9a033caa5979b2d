// SPDX-License-Identifier: MIT
// Compiled with: -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma
#if defined(__AVX512VNNI__)
#include "lanes_pairs.h"
#include "lanes_table.h"

namespace thimble::tools::train {
namespace {

constexpr Kernels table() {
  Kernels k = table_named("avx512");
  k.precision = "int16";
  k.packed_floats = packed_pairs_floats;
  k.pack = pack_pairs;
  k.multiply = multiply_by_pairs;
  k.add_outer = add_outer_by_pairs;
  return k;
}

}  // namespace

extern const Kernels kKernelsAvx512Int16;
const Kernels kKernelsAvx512Int16 = table();

}  // namespace thimble::tools::train
#endif
