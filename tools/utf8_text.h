// SPDX-License-Identifier: MIT
#ifndef THIMBLE_TOOLS_UTF8_TEXT_H
#define THIMBLE_TOOLS_UTF8_TEXT_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace thimble::tools {

// Bytes of the UTF-8 character that starts at `at`, 0 if there is none. (RFC 3629)
size_t utf8_character_bytes(std::string_view text, size_t at);

bool is_utf8(std::string_view text);

// Of a code point up to 0x10ffff.
void append_utf8(uint32_t code_point, std::string* out);

}  // namespace thimble::tools

#endif
