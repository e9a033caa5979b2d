// SPDX-License-Identifier: MIT
#include "tokenizer.h"

#include <string.h>

namespace thimble {
namespace {

// ---- Tables -------------------------------------------------------------------------------------

struct Text {
  const uint8_t* bytes;
  uint32_t n;
};

struct Tables {
  explicit Tables(const thimble_model& model)
      : offsets(table_of<uint32_t>(model, kTokenOffsets)),
        bytes(table_of<uint8_t>(model, kTokenBytes)),
        ranks(table_of<int32_t>(model, kTokenRanks)),
        types(table_of<uint8_t>(model, kTokenTypes)),
        byte_tokens(table_of<int32_t>(model, kByteTokens)),
        lookup(table_of<int32_t>(model, kTokenLookup)),
        lookup_mask(token_lookup_slots(header_of(model).vocab_size) - 1),
        max_token_bytes(header_of(model).max_token_bytes) {}

  const uint32_t* offsets;     // (vocab_size + 1)
  const uint8_t* bytes;        // (token_bytes)
  const int32_t* ranks;        // (vocab_size)
  const uint8_t* types;        // (vocab_size), TokenType
  const int32_t* byte_tokens;  // (256)
  const int32_t* lookup;       // (lookup_mask + 1)
  uint32_t lookup_mask;
  uint32_t max_token_bytes;
};

Text text_of(const Tables& t, int32_t token) {
  return {t.bytes + t.offsets[token], t.offsets[token + 1] - t.offsets[token]};
}

// Not memcmp: clang turns its result's test into bcmp, which firmware may not have.
bool equal(const uint8_t* bytes, Text text) {
  for (uint32_t i = 0; i < text.n; ++i) {
    if (bytes[i] != text.bytes[i]) return false;
  }
  return true;
}

// The token whose text is a followed by b, -1 if there is none.
int32_t find_token(const Tables& t, Text a, Text b) {
  const uint32_t n = a.n + b.n;
  if (n > t.max_token_bytes) return -1;
  uint32_t slot = fnv1a_32(b.bytes, b.n, fnv1a_32(a.bytes, a.n)) & t.lookup_mask;
  for (;; slot = (slot + 1) & t.lookup_mask) {
    const int32_t token = t.lookup[slot];
    if (token < 0) return -1;
    const Text text = text_of(t, token);
    if (text.n == n && equal(text.bytes, a) && equal(text.bytes + a.n, b)) return token;
  }
}

// ---- UTF-8 (Unicode Standard, table 3-7: well-formed byte sequences) ----------------------------

// Bytes of the character that starts with `lead`; 0 if none does.
uint32_t utf8_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;  // a continuation, or a lead of overlong forms only
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

// Whether `byte` may stand at `index` >= 1 of a character that starts with `lead`. The second byte
// decides about overlong forms, surrogates and values above U+10FFFF.
bool utf8_continues(uint8_t lead, uint32_t index, uint8_t byte) {
  uint8_t low = 0x80, high = 0xbf;
  if (index == 1) {
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  return low <= byte && byte <= high;
}

// Bytes of the character at `bytes`; an invalid byte counts as a character of its own. n >= 1.
uint32_t utf8_character(const uint8_t* bytes, size_t n) {
  const uint32_t length = utf8_length(bytes[0]);
  if (length == 0 || length > n) return 1;
  for (uint32_t i = 1; i < length; ++i) {
    if (!utf8_continues(bytes[0], i, bytes[i])) return 1;
  }
  return length;
}

// ---- Merging a word -----------------------------------------------------------------------------

constexpr uint16_t kNone = 0xffff;
static_assert(kMaxWordBytes <= kNone, "positions in a word have 16 bits");

// The symbols of one word as a doubly linked list over positions, and a winner tree (Knuth, TAOCP
// 3, 5.4.1) that has the best pair at its root: a merge costs O(log n). A tree over n leaves has
// its inner nodes at [1, n) and leaf i at n + i; the children of k are 2k and 2k + 1.
struct Word {
  int32_t* token;    // the symbol at a position
  int32_t* merged;   // what it and its next symbol merge into, -1 if they do not
  uint16_t* before;  // neighbours that are still there, or kNone
  uint16_t* after;
  uint16_t* winner;  // inner nodes: the position of the best pair below
  uint32_t n;        // symbols that were put in
  uint32_t limit;    // symbols that fit
};
constexpr size_t kScratchPerSymbol = 2 * sizeof(int32_t) + 3 * sizeof(uint16_t);

Word empty_word(void* scratch, size_t scratch_bytes) {
  const size_t limit = encode_word_bytes(scratch_bytes);
  Word w;
  w.token = static_cast<int32_t*>(scratch);
  w.merged = w.token + limit;
  w.before = reinterpret_cast<uint16_t*>(w.merged + limit);
  w.after = w.before + limit;
  w.winner = w.after + limit;
  w.n = 0;
  w.limit = static_cast<uint32_t>(limit);
  return w;
}

int32_t merged_pair(const Tables& t, const Word& w, uint32_t at) {
  if (w.after[at] == kNone) return -1;
  return find_token(t, text_of(t, w.token[at]), text_of(t, w.token[w.after[at]]));
}

// The better one of two pairs: higher rank, then further left; any rank beats no token.
uint32_t better_pair(const Tables& t, const Word& w, uint32_t a, uint32_t b) {
  if (w.merged[b] < 0) return a;
  if (w.merged[a] < 0) return b;
  const int32_t rank_a = t.ranks[w.merged[a]], rank_b = t.ranks[w.merged[b]];
  if (rank_a != rank_b) return rank_a > rank_b ? a : b;
  return a < b ? a : b;
}

uint16_t play(const Tables& t, const Word& w, uint32_t node) {
  const uint32_t left = 2 * node, right = left + 1;
  const uint32_t a = left < w.n ? w.winner[left] : left - w.n;
  const uint32_t b = right < w.n ? w.winner[right] : right - w.n;
  return static_cast<uint16_t>(better_pair(t, w, a, b));
}

// Sets the pair at a position and plays its games again, as long as they can end differently.
void set_pair(const Tables& t, const Word& w, uint32_t at, int32_t merged) {
  w.merged[at] = merged;
  for (uint32_t node = (w.n + at) / 2; node > 0; node /= 2) {
    const uint16_t winner = play(t, w, node);
    if (winner == w.winner[node] && winner != at) return;
    w.winner[node] = winner;
  }
}

// Merges the best pair until none is left (Sennrich et al. 2016).
void merge_word(const Tables& t, const Word& w) {
  for (uint32_t i = 0; i < w.n; ++i) {
    w.before[i] = i > 0 ? static_cast<uint16_t>(i - 1) : kNone;
    w.after[i] = i + 1 < w.n ? static_cast<uint16_t>(i + 1) : kNone;
    w.merged[i] = merged_pair(t, w, i);
  }
  if (w.n < 2) return;
  for (uint32_t node = w.n - 1; node > 0; --node) w.winner[node] = play(t, w, node);

  for (;;) {
    const uint16_t best = w.winner[1];
    if (w.merged[best] < 0) return;
    const uint16_t gone = w.after[best];
    w.token[best] = w.merged[best];
    w.after[best] = w.after[gone];
    if (w.after[best] != kNone) w.before[w.after[best]] = best;
    // One at a time: set_pair relies on all other games being up to date.
    set_pair(t, w, gone, -1);
    set_pair(t, w, best, merged_pair(t, w, best));
    if (w.before[best] != kNone) set_pair(t, w, w.before[best], merged_pair(t, w, w.before[best]));
  }
}

// ---- Encoding -----------------------------------------------------------------------------------

struct Output {
  int32_t* tokens;
  size_t capacity;
  size_t n;
};

thimble_status put_token(Output* out, int32_t token) {
  if (out->n == out->capacity) return THIMBLE_ERROR_OUTPUT_TOO_SMALL;
  out->tokens[out->n++] = token;
  return THIMBLE_OK;
}

// Merges the word, writes its tokens and empties it.
thimble_status put_word(const Tables& t, Word* w, Output* out) {
  if (w->n == 0) return THIMBLE_OK;
  merge_word(t, *w);
  w->n = 0;
  for (uint32_t at = 0; at != kNone; at = w->after[at]) {
    const thimble_status status = put_token(out, w->token[at]);
    if (status != THIMBLE_OK) return status;
  }
  return THIMBLE_OK;
}

// Adds a character to the word. One that is no token becomes byte tokens, which merge with nothing
// (as in llama2.c) and so end the word; a byte without a token ends it, too, and is left out.
thimble_status put_character(const Tables& t, Text character, Word* w, Output* out) {
  const int32_t token = find_token(t, character, {character.bytes, 0});
  if (token >= 0) {
    if (w->n == w->limit) return THIMBLE_ERROR_TEXT_TOO_LONG;
    w->token[w->n++] = token;
    return THIMBLE_OK;
  }
  thimble_status status = put_word(t, w, out);
  for (uint32_t i = 0; i < character.n && status == THIMBLE_OK; ++i) {
    const int32_t byte_token = t.byte_tokens[character.bytes[i]];
    if (byte_token >= 0) status = put_token(out, byte_token);
  }
  return status;
}

// ---- Decoding -----------------------------------------------------------------------------------

constexpr uint8_t kReplacement[3] = {0xef, 0xbf, 0xbd};  // U+FFFD

// Collects bytes and lets whole characters through; without `out` it only counts, so that the
// length that is checked and the bytes that are written cannot disagree.
struct CharacterStream {
  uint8_t pending[4];
  uint32_t n_pending;
  char* out;
  size_t n_out;
};

void put_bytes(CharacterStream* s, const uint8_t* bytes, uint32_t n) {
  if (s->out) memcpy(s->out + s->n_out, bytes, n);
  s->n_out += n;
}

// Each maximal part of an invalid sequence becomes one U+FFFD (Unicode Standard, section 3.9).
void put_byte(CharacterStream* s, uint8_t byte) {
  if (s->n_pending > 0) {
    if (utf8_continues(s->pending[0], s->n_pending, byte)) {
      s->pending[s->n_pending++] = byte;
      if (s->n_pending < utf8_length(s->pending[0])) return;
      put_bytes(s, s->pending, s->n_pending);
      s->n_pending = 0;
      return;
    }
    put_bytes(s, kReplacement, sizeof(kReplacement));
    s->n_pending = 0;
  }
  const uint32_t length = utf8_length(byte);
  if (length == 0) {
    put_bytes(s, kReplacement, sizeof(kReplacement));
  } else if (length == 1) {
    put_bytes(s, &byte, 1);
  } else {
    s->pending[s->n_pending++] = byte;
  }
}

CharacterStream put_text(const thimble_decoder& decoder, Text text, char* out) {
  CharacterStream s;
  memcpy(s.pending, decoder.pending, sizeof(s.pending));
  s.n_pending = decoder.n_pending;
  s.out = out;
  s.n_out = 0;
  for (uint32_t i = 0; i < text.n; ++i) put_byte(&s, text.bytes[i]);
  return s;
}

// ---- Checking -----------------------------------------------------------------------------------

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
    if (t.types[i] > kTokenByte) {
      return refuse<uint8_t>(model, kTokenTypes, i, fault, "token type", t.types[i], kTokenByte);
    }
    if (t.types[i] == kTokenByte && text.n != 1) return refuse_offset(i + 1, begin + 1);
    if ((h.tokenizer_flags & kTokenizerSplitsAtSpaces) && t.types[i] == kTokenNormal &&
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
    if (id == -1 || (is_id(id) && t.types[id] == kTokenByte && *text_of(t, id).bytes == byte)) {
      continue;
    }
    return refuse<int32_t>(model, kByteTokens, byte, fault, "token of a byte", id, -1);
  }

  bool any_empty = false;  // what ends a search
  for (uint32_t slot = 0; slot <= t.lookup_mask; ++slot) {
    const int32_t id = t.lookup[slot];
    any_empty |= id == -1;
    if (id == -1 || (is_id(id) && t.types[id] == kTokenNormal)) continue;
    return refuse<int32_t>(model, kTokenLookup, slot, fault, "token lookup slot", id, -1);
  }
  if (any_empty) return THIMBLE_OK;
  return refuse<int32_t>(model, kTokenLookup, 0, fault, "token lookup (no empty slot)", t.lookup[0],
                         -1);
}

}  // namespace

thimble_status check_tokenizer(const thimble_model& model, thimble_fault* fault) {
  if (header_of(model).tokenizer == kTokenizerNone) return THIMBLE_OK;
  const thimble_status status = check_texts(model, fault);
  return status != THIMBLE_OK ? status : check_ways_to_tokens(model, fault);
}

size_t encode_scratch_bytes(size_t word_bytes) {
  return (word_bytes < kMaxWordBytes ? word_bytes : kMaxWordBytes) * kScratchPerSymbol;
}

size_t encode_word_bytes(size_t scratch_bytes) {
  const size_t symbols = scratch_bytes / kScratchPerSymbol;
  return symbols < kMaxWordBytes ? symbols : kMaxWordBytes;
}

int32_t encode_text(const thimble_model& model, const char* text, size_t text_bytes, uint32_t flags,
                    int32_t* tokens, size_t capacity, void* scratch, size_t scratch_bytes) {
  if (text_bytes > size_t{INT32_MAX} - 2) return THIMBLE_ERROR_ARGUMENT;  // no count could tell
  const FileHeader& h = header_of(model);
  const Tables t(model);
  Word word = empty_word(scratch, scratch_bytes);
  Output out = {tokens, capacity, 0};
  thimble_status status = THIMBLE_OK;

  if ((flags & THIMBLE_ENCODE_BOS) && h.bos_id >= 0) status = put_token(&out, h.bos_id);
  if (status == THIMBLE_OK && text_bytes > 0 && (h.tokenizer_flags & kTokenizerAddSpacePrefix)) {
    const uint8_t space = ' ';
    status = put_character(t, {&space, 1}, &word, &out);
  }
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(text);
  const bool splits = h.tokenizer_flags & kTokenizerSplitsAtSpaces;
  for (size_t i = 0; i < text_bytes && status == THIMBLE_OK;) {
    if (splits && i > 0 && bytes[i] == ' ' && bytes[i - 1] != ' ') {
      status = put_word(t, &word, &out);
    }
    const uint32_t n = utf8_character(bytes + i, text_bytes - i);
    if (status == THIMBLE_OK) status = put_character(t, {bytes + i, n}, &word, &out);
    i += n;
  }
  if (status == THIMBLE_OK) status = put_word(t, &word, &out);
  return status == THIMBLE_OK ? static_cast<int32_t>(out.n) : static_cast<int32_t>(status);
}

int32_t decode_token(const thimble_model& model, thimble_decoder* decoder, int32_t token, char* out,
                     size_t capacity) {
  if (decoder->n_pending > 3) return THIMBLE_ERROR_ARGUMENT;  // not zeroed at the start
  const Tables t(model);
  Text text = text_of(t, token);
  if (t.types[token] == kTokenControl || text.n == 0) return 0;
  if (!decoder->started && (header_of(model).tokenizer_flags & kTokenizerAddSpacePrefix) &&
      text.bytes[0] == ' ') {
    text = {text.bytes + 1, text.n - 1};
  }
  if (put_text(*decoder, text, nullptr).n_out > capacity) return THIMBLE_ERROR_OUTPUT_TOO_SMALL;
  const CharacterStream s = put_text(*decoder, text, out);
  memcpy(decoder->pending, s.pending, sizeof(decoder->pending));
  decoder->n_pending = static_cast<uint8_t>(s.n_pending);
  decoder->started = 1;
  return static_cast<int32_t>(s.n_out);
}

int32_t decode_end(thimble_decoder* decoder, char* out, size_t capacity) {
  const size_t n = decoder->n_pending > 0 ? sizeof(kReplacement) : 0;
  if (n > capacity) return THIMBLE_ERROR_OUTPUT_TOO_SMALL;
  if (n > 0) memcpy(out, kReplacement, n);
  memset(decoder, 0, sizeof(*decoder));
  return static_cast<int32_t>(n);
}

}  // namespace thimble
