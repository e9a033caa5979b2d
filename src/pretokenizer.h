// SPDX-License-Identifier: MIT
// How byte-level BPE cuts a text into words: published regular expressions, matched by hand.
#ifndef THIMBLE_SRC_PRETOKENIZER_H
#define THIMBLE_SRC_PRETOKENIZER_H

#include <stddef.h>

#include "format.h"

namespace thimble {

// Bytes of the first word of a text, at least 1. `n` >= 1. A byte that is no UTF-8 counts as a
// character that is neither letter, number nor space. Reads no further than the word and the
// character behind it, but for spaces (and so a text is cut in time linear in its length).
size_t first_word(PreTokenizer kind, const uint8_t* text, size_t n);

}  // namespace thimble

#endif
