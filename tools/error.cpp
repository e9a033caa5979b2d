// SPDX-License-Identifier: MIT
#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace thimble::tools {

std::string format(const char* pattern, ...) {
  va_list args, again;
  va_start(args, pattern);
  va_copy(again, args);
  const int length = std::vsnprintf(nullptr, 0, pattern, args);
  va_end(args);
  std::string text(length > 0 ? static_cast<size_t>(length) : 0, '\0');
  // data()[size()] is the terminating zero's place, so one more byte is allowed to be written.
  if (length > 0) std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string printable(const std::string& message) {
  constexpr size_t kLongest = 2000;
  std::string out;
  for (const char c : message) {
    if (out.size() >= kLongest && (c & 0xc0) != 0x80) return out + "...";  // whole characters
    const bool is_control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    out +=
        is_control && c != '\n' ? format("\\x%02x", static_cast<unsigned>(c)) : std::string(1, c);
  }
  return out;
}

}  // namespace thimble::tools
