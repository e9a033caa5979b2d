// SPDX-License-Identifier: MIT
// What suits each target: the only table that a new one is added to.
#ifndef THIMBLE_TOOLS_TARGETS_H
#define THIMBLE_TOOLS_TARGETS_H

#include <cstdint>
#include <string>

#include "elf_object.h"

namespace thimble::tools {

struct Target {
  const char* name;
  uint32_t row_tile;         // rows that its kernels work on at once
  const ElfMachine* object;  // of its object files; null: the name does not tell
};

constexpr Target kTargets[] = {
    {"host", 16, kElfHost},     {"x86", 16, &kElfX86_64},     {"x86-64", 16, &kElfX86_64},
    {"avx2", 16, &kElfX86_64},  {"avx512", 16, &kElfX86_64},  {"aarch64", 16, &kElfAarch64},
    {"neon", 16, &kElfAarch64}, {"arm", 4, &kElfArm},         {"arm-linux", 16, &kElfArmLinux},
    {"cortex-m0", 4, &kElfArm}, {"cortex-m3", 4, &kElfArm},   {"cortex-m4", 4, &kElfArm},
    {"cortex-m7", 4, &kElfArm}, {"cortex-m33", 4, &kElfArm},  {"cortex-m55", 4, &kElfArm},
    {"riscv", 4, nullptr},      {"riscv32", 4, &kElfRiscv32}, {"riscv64", 4, &kElfRiscv64},
};

inline const Target* find_target(const std::string& name) {
  for (const Target& target : kTargets) {
    if (name == target.name) return &target;
  }
  return nullptr;
}

// "host, x86, ...": all, or those that an object file can be written for.
inline std::string target_names(bool with_object = false) {
  std::string names;
  for (const Target& target : kTargets) {
    if (with_object && !target.object) continue;
    names += (names.empty() ? "" : ", ") + std::string(target.name);
  }
  return names;
}

}  // namespace thimble::tools

#endif
