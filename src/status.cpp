// SPDX-License-Identifier: MIT
#include "thimble/thimble.h"

extern "C" const char* thimble_status_text(thimble_status status) {
  switch (status) {
    case THIMBLE_OK:
      return "good";
    case THIMBLE_MORE:
      return "the pass is not complete";
    case THIMBLE_ERROR_ARGUMENT:
      return "an argument is null or outside its range";
    case THIMBLE_ERROR_MISALIGNED:
      return "image or arena is not aligned to 64 bytes";
    case THIMBLE_ERROR_TRUNCATED:
      return "the length is not the one that the header states";
    case THIMBLE_ERROR_MAGIC:
      return "not a Thimble model";
    case THIMBLE_ERROR_VERSION:
      return "a format version that this engine does not know";
    case THIMBLE_ERROR_BYTE_ORDER:
      return "written for the other byte order";
    case THIMBLE_ERROR_HEADER_CHECKSUM:
      return "header or section table is damaged";
    case THIMBLE_ERROR_DATA_CHECKSUM:
      return "weights or tables are damaged";
    case THIMBLE_ERROR_HEADER:
      return "a header field is outside its range";
    case THIMBLE_ERROR_UNSUPPORTED:
      return "an architecture, type or flag that this engine does not know";
    case THIMBLE_ERROR_SECTION:
      return "a section is not what or where the header implies";
    case THIMBLE_ERROR_TOKENIZER:
      return "a tokenizer table contradicts itself";
    case THIMBLE_ERROR_CONFIG:
      return "context, batch, cache, candidates or kernels are not possible with this model";
    case THIMBLE_ERROR_ARENA_TOO_SMALL:
      return "the arena is smaller than the session needs";
    case THIMBLE_ERROR_CONTEXT_FULL:
      return "the context is full";
    case THIMBLE_ERROR_TOKEN:
      return "a token id is outside the vocabulary";
    case THIMBLE_ERROR_BUSY:
      return "a pass is under way";
    case THIMBLE_ERROR_NO_LOGITS:
      return "there are no logits yet";
    case THIMBLE_ERROR_NO_TOKENIZER:
      return "the model file has no tokenizer";
    case THIMBLE_ERROR_OUTPUT_TOO_SMALL:
      return "the output buffer is too small";
    case THIMBLE_ERROR_TEXT_TOO_LONG:
      return "a word is longer than the scratch can merge";
    case THIMBLE_ERROR_SELF_TEST:
      return "not the results that the model file expects";
    case THIMBLE_ERROR_NO_SELF_TEST:
      return "the model file has no self-test";
    case THIMBLE_ERROR_NO_TURNS:
      return "the model has no turns";
  }
  return "an unknown status";
}
