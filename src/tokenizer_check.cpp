// SPDX-License-Identifier: MIT
// What may be relied on in a file's tokenizer.
#include <stddef.h>

#include "token_tables.h"
#include "tokenizer.h"

namespace thimble {
namespace {

// A table's entry that is refused; the entries have T's size.
template <class T>
thimble_status refuse(const thimble_model& model, SectionKind kind, uint32_t index,
                      thimble_fault* fault, const char* what, int64_t found, int64_t expected) {
  *fault = {what, static_cast<uint64_t>(found), static_cast<uint64_t>(expected),
            section_of(model, kind).offset + uint64_t{index} * sizeof(T)};
  return THIMBLE_ERROR_TOKENIZER;
}

thimble_status refuse_header(thimble_fault* fault, const char* what, uint32_t found,
                             uint32_t expected, uint64_t offset) {
  *fault = {what, found, expected, offset};
  return THIMBLE_ERROR_TOKENIZER;
}

bool has_inner_space(Text text) {
  for (uint32_t i = 1; i < text.n; ++i) {
    if (text.bytes[i] == ' ' && text.bytes[i - 1] != ' ') return true;
  }
  return false;
}

// Token texts and their types.
thimble_status check_texts(const thimble_model& model, thimble_fault* fault) {
  const FileHeader& h = header_of(model);
  const Tables t(model);
  const auto refuse_offset = [&](uint32_t index, uint32_t expected) {
    return refuse<uint32_t>(model, kTokenOffsets, index, fault, "token offset", t.offsets[index],
                            expected);
  };
  if (t.offsets[0] != 0) return refuse_offset(0, 0);
  uint32_t longest = 0;
  for (uint32_t i = 0; i < h.vocab_size; ++i) {
    const uint32_t begin = t.offsets[i], end = t.offsets[i + 1];
    if (end < begin) return refuse_offset(i + 1, begin);
    if (end > h.token_bytes) return refuse_offset(i + 1, h.token_bytes);
    const Text text = text_of(t, static_cast<int32_t>(i));
    if (text.n > longest) longest = text.n;
    const TokenType type = type_of(t, static_cast<int32_t>(i));
    if (type > kTokenUser || (t.types[i] > type && type != kTokenNormal)) {
      return refuse<uint8_t>(model, kTokenTypes, i, fault, "token type", t.types[i], kTokenUser);
    }
    if (type == kTokenByte && text.n != 1) return refuse_offset(i + 1, begin + 1);
    if ((h.tokenizer_flags & kTokenizerSplitsAtSpaces) && type == kTokenNormal &&
        has_inner_space(text)) {
      return refuse_header(fault, "tokenizer_flags (a token spans words)", h.tokenizer_flags,
                           h.tokenizer_flags & ~uint32_t{kTokenizerSplitsAtSpaces},
                           offsetof(FileHeader, tokenizer_flags));
    }
  }
  if (t.offsets[h.vocab_size] != h.token_bytes) return refuse_offset(h.vocab_size, h.token_bytes);
  if (longest != h.max_token_bytes) {
    return refuse_header(fault, "max_token_bytes", h.max_token_bytes, longest,
                         offsetof(FileHeader, max_token_bytes));
  }
  return THIMBLE_OK;
}

// The two tables that lead from text to tokens. The texts must have been checked.
thimble_status check_ways_to_tokens(const thimble_model& model, thimble_fault* fault) {
  const uint32_t vocab_size = header_of(model).vocab_size;
  const Tables t(model);
  const auto is_id = [&](int32_t id) { return id >= 0 && static_cast<uint32_t>(id) < vocab_size; };

  for (uint32_t byte = 0; byte < 256; ++byte) {
    const int32_t id = t.byte_tokens[byte];
    // Byte-level BPE begins with ordinary tokens of one byte.
    const TokenType type = t.byte_level ? kTokenNormal : kTokenByte;
    if (id == -1) continue;
    if (is_id(id) && type_of(t, id) == type && text_of(t, id).n == 1 &&
        *text_of(t, id).bytes == byte) {
      continue;
    }
    return refuse<int32_t>(model, kByteTokens, byte, fault, "token of a byte", id, -1);
  }

  bool any_empty = false;  // what ends a search
  for (uint32_t slot = 0; slot <= t.lookup_mask; ++slot) {
    const int32_t id = t.lookup[slot];
    any_empty |= id == -1;
    if (id == -1 || (is_id(id) && type_of(t, id) != kTokenByte)) continue;
    return refuse<int32_t>(model, kTokenLookup, slot, fault, "token lookup slot", id, -1);
  }
  if (!any_empty) {
    return refuse<int32_t>(model, kTokenLookup, 0, fault, "token lookup (no empty slot)",
                           t.lookup[0], -1);
  }
  for (uint32_t i = 0; t.byte_level && i < vocab_size; ++i) {
    const uint32_t n = text_of(t, static_cast<int32_t>(i)).n;
    if (t.splits[i] == 0 || t.splits[i] < n || (t.splits[i] & kSplitMask)) continue;
    return refuse<uint16_t>(model, kTokenSplits, i, fault, "token split", t.splits[i], 0);
  }
  return THIMBLE_OK;
}

#if THIMBLE_CHAT  // without it nobody reads them
// The texts around turns.
thimble_status check_turns(const thimble_model& model, thimble_fault* fault) {
  const uint32_t turn_bytes = header_of(model).turn_bytes;
  if (turn_bytes == 0) return THIMBLE_OK;
  const uint32_t* offsets = table_of<uint32_t>(model, kTurnOffsets);
  for (uint32_t i = 0; i <= kTurnTextCount; ++i) {
    const uint32_t low = i == 0 ? 0 : i == kTurnTextCount ? turn_bytes : offsets[i - 1];
    const uint32_t high = i == 0 ? 0 : turn_bytes;
    if (offsets[i] >= low && offsets[i] <= high) continue;
    return refuse<uint32_t>(model, kTurnOffsets, i, fault, "offset of a text around turns",
                            offsets[i], offsets[i] < low ? low : high);
  }
  return THIMBLE_OK;
}
#endif

}  // namespace

thimble_status check_tokenizer(const thimble_model& model, thimble_fault* fault) {
  if (header_of(model).tokenizer == kTokenizerNone) return THIMBLE_OK;
  thimble_status status = check_texts(model, fault);
  if (status == THIMBLE_OK) status = check_ways_to_tokens(model, fault);
#if THIMBLE_CHAT
  if (status == THIMBLE_OK) status = check_turns(model, fault);
#endif
  return status;
}

}  // namespace thimble
