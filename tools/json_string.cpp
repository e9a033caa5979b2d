// SPDX-License-Identifier: MIT
#include "json_string.h"

#include <cstddef>
#include <cstdint>

#include "error.h"
#include "utf8_text.h"

namespace thimble::tools {
std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t n = utf8_character_bytes(text, i);
    if (n == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<uint8_t>(c) < 0x20) {
      out += format("\\u%04x", static_cast<unsigned>(c));
    } else {
      out.append(text, i, n);
    }
    i += n == 0 ? 1 : n;
  }
  return out + '"';
}

std::string shown(const std::string& text) {
  constexpr size_t kLongest = 80;
  if (text.size() <= kLongest) return json_string(text);
  return json_string(text.substr(0, kLongest)) + "...";
}

}  // namespace thimble::tools
