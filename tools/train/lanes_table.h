// SPDX-License-Identifier: MIT
// The table of what a file kernels_*.cpp compiled.
#ifndef THIMBLE_TOOLS_TRAIN_LANES_TABLE_H
#define THIMBLE_TOOLS_TRAIN_LANES_TABLE_H

#include "lanes_attention.h"
#include "lanes_gemm.h"
#include "lanes_rows.h"

namespace thimble::tools::train {
namespace {

constexpr Kernels table_named(const char* name) {
  Kernels k{};
  k.name = name;
  k.same_bits_as = name;
  k.precision = "f32";
  k.panel = kPanel;
  k.packed_floats = packed_floats;
  k.pack = pack;
  k.multiply = multiply;
  k.add_outer = add_outer;
  k.rms_norm = rms_norm;
  k.rms_norm_backward = rms_norm_backward;
  k.layer_norm = layer_norm;
  k.layer_norm_backward = layer_norm_backward;
  k.rotate = rotate;
  k.activate = activate;
  k.activate_backward = activate_backward;
  k.add_dropout = add_dropout;
  k.dropout_backward = dropout_backward;
  k.attention = attention;
  k.attention_backward = attention_backward;
  k.cross_entropy = cross_entropy;
  k.cross_entropy_with = cross_entropy_with;
  k.add_rows = add_rows;
  k.sum_rows = sum_rows;
  k.add = add;
  k.adam = adam;
  k.round_int8 = round_int8;
  return k;
}

}  // namespace
}  // namespace thimble::tools::train

#endif
