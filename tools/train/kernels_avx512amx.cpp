// SPDX-License-Identifier: MIT
// Compiled with: -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mamx-tile -mamx-int8
#if defined(__AMX_INT8__) || defined(__AMXINT8__)  // g++ and new clang; older clang
#include "lanes_amx.h"

namespace thimble::tools::train {

Kernels with_amx(const Kernels& int16);

// What is not a product stays the other table's, and so do its bits.
Kernels with_amx(const Kernels& int16) {
  Kernels k = int16;
  k.name = "avx512amx";
  k.packed_floats = packed_bytes_floats;
  k.pack = pack_bytes;
  k.multiply = multiply_by_bytes;
  k.add_outer = add_outer_by_bytes;
  return k;
}

}  // namespace thimble::tools::train
#endif
