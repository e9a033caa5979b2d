// SPDX-License-Identifier: MIT
#include "parts.h"
#include "thimble/thimble.h"

namespace {

// By value, from the highest down, in one string: a table of pointers to them would be as long as a
// tenth of it.
constexpr char kTexts[] =
    "the pass is not complete\0"
    "good\0"
    "an argument is null or outside its range\0"
    "image or arena is not aligned to 64 bytes\0"
    "the length is not the one that the header states\0"
    "not a Thimble model\0"
    "a format version that this engine does not know\0"
    "written for the other byte order\0"
    "header or section table is damaged\0"
    "weights or tables are damaged\0"
    "a header field is out of range\0"
    "an unknown architecture, type or flag\0"
    "a section is not as the header implies\0"
    "a tokenizer table contradicts itself\0"
    "a configuration that this model cannot have\0"
    "the arena is smaller than needed\0"
    "the context is full\0"
    "a token id is outside the vocabulary\0"
    "a pass is under way\0"
    "there are no logits yet\0"
    "the model file has no tokenizer\0"
    "the output buffer is too small\0"
    "a word is too long for the scratch\0"
    "not the results that the file expects\0"
    "the file has no self-test\0"
    "the model has no turns\0"
    "the results are not finite numbers\0"
    "the cache has moved beyond it\0"
    "belongs to another model\0"
    "a session of another layout\0"
#if THIMBLE_LORA || THIMBLE_RULES || THIMBLE_STREAM
    "the adapter's rank is above the session's limit\0"
    "the session holds tokens\0"
    "a session of another adapter\0"
#endif
#if THIMBLE_RULES || THIMBLE_STREAM
    "a rule contradicts itself\0"
    "the rule forbids the token\0"
    "the rule allows no token here\0"
    "a session of another rule\0"
#endif
#if THIMBLE_STREAM
    "a read of the store failed\0"
#endif
    "an unknown status";

constexpr int kHighest = THIMBLE_MORE, kLowest = THIMBLE_STREAM  ? THIMBLE_ERROR_READ
                                                 : THIMBLE_RULES ? THIMBLE_ERROR_OTHER_RULE
                                                 : THIMBLE_LORA  ? THIMBLE_ERROR_OTHER_ADAPTER
                                                                 : THIMBLE_ERROR_OTHER_LAYOUT;

}  // namespace

extern "C" const char* thimble_status_text(thimble_status status) {
  const int value = status <= kHighest && status >= kLowest ? status : kLowest - 1;
  const char* text = kTexts;
  for (int at = kHighest; at > value; ++text) at -= *text == 0;
  return text;
}
