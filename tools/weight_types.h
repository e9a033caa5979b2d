// SPDX-License-Identifier: MIT
// Types of weights by the names that options, bench and inspect have for them.
#ifndef THIMBLE_TOOLS_WEIGHT_TYPES_H
#define THIMBLE_TOOLS_WEIGHT_TYPES_H

#include <string>

#include "format.h"

namespace thimble::tools {

struct WeightTypeName {
  const char* name;
  WeightType type;
  bool has_scales;
};
inline constexpr WeightTypeName kWeightTypes[] = {
    {"f32", kWeightF32, false}, {"q8", kWeightQ8, true}, {"q4", kWeightQ4, true}};

inline const WeightTypeName& weight_type(uint32_t type) {
  for (const WeightTypeName& known : kWeightTypes) {
    if (known.type == type) return known;
  }
  return kWeightTypes[0];  // a checked header has no other
}

// nullptr if there is none of that name.
inline const WeightTypeName* find_weight_type(const std::string& name) {
  for (const WeightTypeName& known : kWeightTypes) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

// The kinds of matrices that a MatrixBit stands for, "token embedding, down"; "" for none.
inline std::string matrix_names(uint32_t bits) {
  constexpr const char* kNames[] = {"token embedding",  "position embedding", "q, k, v",
                                    "attention output", "gate and up",        "down",
                                    "output head"};
  std::string names;
  for (uint32_t i = 0; bits >> i != 0; ++i) {
    if (bits >> i & 1) names += (names.empty() ? "" : "; ") + std::string(kNames[i]);
  }
  return names;
}

}  // namespace thimble::tools

#endif
