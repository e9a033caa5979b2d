// SPDX-License-Identifier: MIT
// What a character is to the patterns of byte-level BPE: \p{L}, \p{N}, \s or none of them.
#ifndef THIMBLE_SRC_UNICODE_CLASSES_H
#define THIMBLE_SRC_UNICODE_CLASSES_H

#include <stdint.h>

namespace thimble {

enum CharacterClass : uint8_t { kOther, kLetter, kNumber, kSpace };

// Any code point, those that Unicode has not assigned included.
CharacterClass class_of(uint32_t code_point);

}  // namespace thimble

#endif
