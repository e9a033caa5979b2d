// SPDX-License-Identifier: MIT
// What suits each target: the only table that a new one is added to.
#ifndef THIMBLE_TOOLS_TARGETS_H
#define THIMBLE_TOOLS_TARGETS_H

#include <cstdint>
#include <string>

namespace thimble::tools {

struct Target {
  const char* name;
  uint32_t row_tile;  // rows that its kernels work on at once
};

constexpr Target kTargets[] = {
    {"host", 16},     {"x86", 16},        {"avx2", 16},     {"avx512", 16},
    {"neon", 16},     {"cortex-m0", 4},   {"cortex-m3", 4}, {"cortex-m4", 4},
    {"cortex-m7", 4}, {"cortex-m55", 16}, {"riscv", 4},
};

inline const Target* find_target(const std::string& name) {
  for (const Target& target : kTargets) {
    if (name == target.name) return &target;
  }
  return nullptr;
}

inline std::string target_names() {
  std::string names;
  for (const Target& target : kTargets)
    names += (names.empty() ? "" : ", ") + std::string(target.name);
  return names;
}

}  // namespace thimble::tools

#endif
