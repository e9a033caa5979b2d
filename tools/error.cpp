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

}  // namespace thimble::tools
