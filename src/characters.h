// SPDX-License-Identifier: MIT
// UTF-8 (Unicode Standard, table 3-7: well-formed byte sequences).
#ifndef THIMBLE_SRC_CHARACTERS_H
#define THIMBLE_SRC_CHARACTERS_H

#include <stddef.h>
#include <stdint.h>

namespace thimble {

// Bytes of the character that starts with `lead`; 0 if none does.
inline uint32_t utf8_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;  // a continuation, or a lead of overlong forms only
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

// Whether `byte` may stand at `index` >= 1 of a character that starts with `lead`. The second byte
// decides about overlong forms, surrogates and values above U+10FFFF.
inline bool utf8_continues(uint8_t lead, uint32_t index, uint8_t byte) {
  uint8_t low = 0x80, high = 0xbf;
  if (index == 1) {
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  return low <= byte && byte <= high;
}

// Bytes of the character at `bytes`, n >= 1 of them there; 0 if it is invalid.
inline uint32_t utf8_valid_character(const uint8_t* bytes, size_t n) {
  const uint32_t length = utf8_length(bytes[0]);
  if (length > n) return 0;
  for (uint32_t i = 1; i < length; ++i) {
    if (!utf8_continues(bytes[0], i, bytes[i])) return 0;
  }
  return length;
}

// The code point of a valid character of `n` bytes.
inline uint32_t utf8_code_point(const uint8_t* bytes, uint32_t n) {
  if (n == 1) return bytes[0];
  uint32_t code = bytes[0] & (0x7fu >> n);
  for (uint32_t i = 1; i < n; ++i) code = code << 6 | (bytes[i] & 0x3fu);
  return code;
}

}  // namespace thimble

#endif
