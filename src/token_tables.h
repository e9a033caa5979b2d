// SPDX-License-Identifier: MIT
// The tokenizer's tables as they lie in the file, and the token of a text.
#ifndef THIMBLE_SRC_TOKEN_TABLES_H
#define THIMBLE_SRC_TOKEN_TABLES_H

#include "model.h"

namespace thimble {

struct Text {
  const uint8_t* bytes;
  uint32_t n;
};

// What a build leaves out is known when it is compiled.
struct Tables {
  explicit Tables(const thimble_model& model)
      : offsets(table_of<uint32_t>(model, kTokenOffsets)),
        bytes(table_of<uint8_t>(model, kTokenBytes)),
        ranks(table_of<int32_t>(model, kTokenRanks)),
        types(table_of<uint8_t>(model, kTokenTypes)),
        byte_tokens(table_of<int32_t>(model, kByteTokens)),
        lookup(table_of<int32_t>(model, kTokenLookup)),
        lookup_mask(token_lookup_slots(header_of(model).vocab_size) - 1),
        max_token_bytes(header_of(model).max_token_bytes),
#if THIMBLE_BYTE_BPE && THIMBLE_SCORED_BPE
        byte_level(header_of(model).tokenizer == kTokenizerByteBpe),
#endif
#if THIMBLE_SCORED_BPE
        space_prefix((header_of(model).tokenizer_flags & kTokenizerAddSpacePrefix) != 0),
#endif
        splits(byte_level ? table_of<uint16_t>(model, kTokenSplits) : nullptr) {
  }

  const uint32_t* offsets;     // (vocab_size + 1)
  const uint8_t* bytes;        // (token_bytes)
  const int32_t* ranks;        // (vocab_size)
  const uint8_t* types;        // (vocab_size), TokenType
  const int32_t* byte_tokens;  // (256)
  const int32_t* lookup;       // (lookup_mask + 1)
  uint32_t lookup_mask;
  uint32_t max_token_bytes;
#if THIMBLE_BYTE_BPE && THIMBLE_SCORED_BPE
  bool byte_level;
#else
  static constexpr bool byte_level = THIMBLE_BYTE_BPE;
#endif
#if THIMBLE_SCORED_BPE
  bool space_prefix;  // a text is encoded with a space before it
#endif
  const uint16_t* splits;  // (vocab_size), of byte-level BPE
};

inline Text text_of(const Tables& t, int32_t token) {
  return {t.bytes + t.offsets[token], t.offsets[token + 1] - t.offsets[token]};
}

// Not memcmp: clang turns its result's test into bcmp, which firmware may not have.
inline bool equal(const uint8_t* bytes, Text text) {
  for (uint32_t i = 0; i < text.n; ++i) {
    if (bytes[i] != text.bytes[i]) return false;
  }
  return true;
}

constexpr uint32_t bit_of(TokenType type) {
  return 1u << type;
}

inline TokenType type_of(const Tables& t, int32_t token) {
  return static_cast<TokenType>(t.types[token] & ~kTokenWhole);
}

// The token of one of `types` (bits) whose text is a followed by b, -1 if there is none. `hash` is
// that of the text, whose n is at least 1.
inline int32_t find_hashed(const Tables& t, uint32_t hash, Text a, Text b, uint32_t types) {
  const uint32_t n = a.n + b.n;
  for (uint32_t slot = hash & t.lookup_mask;; slot = (slot + 1) & t.lookup_mask) {
    const int32_t token = t.lookup[slot];
    if (token < 0) return -1;
    const Text text = text_of(t, token);
    if (text.n == n && equal(text.bytes, a) && equal(text.bytes + a.n, b) &&
        (types >> type_of(t, token) & 1)) {
      return token;
    }
  }
}

inline int32_t find_token(const Tables& t, Text a, Text b) {
  if (a.n + b.n > t.max_token_bytes) return -1;
  const uint32_t hash = fnv1a_32(b.bytes, b.n, fnv1a_32(a.bytes, a.n));
  return find_hashed(t, hash, a, b, bit_of(kTokenNormal));
}

}  // namespace thimble

#endif
