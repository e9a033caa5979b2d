// SPDX-License-Identifier: MIT
#ifndef THIMBLE_TOOLS_SIZE_TEXT_H
#define THIMBLE_TOOLS_SIZE_TEXT_H

#include <cstdint>
#include <string>

#include "error.h"

namespace thimble::tools {

// "1234 bytes (1.2 KiB)": exact, and to grasp.
inline std::string size_text(uint64_t bytes) {
  double value = static_cast<double>(bytes) / 1024;
  const char* unit = "KiB";
  for (const char* larger : {"MiB", "GiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  return format("%llu bytes (%.1f %s)", static_cast<unsigned long long>(bytes), value, unit);
}

}  // namespace thimble::tools

#endif
