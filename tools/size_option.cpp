// SPDX-License-Identifier: MIT
#include "size_option.h"

#include <string>

#include "error.h"

namespace thimble::tools {

uint64_t size_option(const Args& args, const char* option) {
  constexpr uint64_t kKiB = 1024, kMiB = kKiB * 1024;
  const std::string text = args.text(option, "");
  size_t digits = 0;
  uint64_t value = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9' && digits < 15) {
    value = value * 10 + static_cast<uint64_t>(text[digits++] - '0');
  }
  const std::string unit = text.substr(digits);
  const bool known = unit.empty() || unit == "K" || unit == "M" || unit == "KiB" || unit == "MiB";
  if (digits == 0 || value == 0 || !known) {
    throw WrongUsage(std::string("option '") + option + "' is '" + text +
                     "', expected a size such as 700000, 512K or 1M");
  }
  return value * (unit.empty() ? 1 : unit[0] == 'K' ? kKiB : kMiB);
}

}  // namespace thimble::tools
