// SPDX-License-Identifier: MIT
#include "tokenizer.h"

#include <string.h>

#include "characters.h"
#include "pretokenizer.h"
#include "token_tables.h"
#include "unicode_classes.h"

namespace thimble {
namespace {

// ---- Merging a word -----------------------------------------------------------------------------

// The symbols of one word over positions, and a winner tree (Knuth, TAOCP 3, 5.4.1) that has the
// best pair at its root: a merge costs O(log n). A tree over n leaves has its inner nodes at [1, n)
// and leaf i at n + i; the children of k are 2k and 2k + 1.
//
// A symbol that has merged covers its own position and those that it took over. The first and the
// last of these tell where it ends and starts, so that neighbours are found without links (Knuth,
// TAOCP 1, 2.5: boundary tags). merged[i] is <= kTaken for them.
struct Word {
  int32_t* token;    // the symbol at a position; of one taken over: where its symbol ends
  int32_t* merged;   // what it and its next symbol merge into, -1 if they do not; of one taken
                     // over: kTaken - where its symbol starts
  uint32_t* winner;  // inner nodes: the position of the best pair below
  uint32_t n;        // symbols that were put in
  uint32_t limit;    // symbols that fit
};
constexpr size_t kScratchPerSymbol = 2 * sizeof(int32_t) + sizeof(uint32_t);
constexpr int32_t kTaken = -2;
static_assert(kMaxWordBytes < INT32_MAX / 2, "a position fits beside kTaken");

Word empty_word(void* scratch, size_t scratch_bytes) {
  const size_t limit = encode_word_bytes(scratch_bytes);
  Word w;
  w.token = static_cast<int32_t*>(scratch);
  w.merged = w.token + limit;
  w.winner = reinterpret_cast<uint32_t*>(w.merged + limit);
  w.n = 0;
  w.limit = static_cast<uint32_t>(limit);
  return w;
}

// Where the symbol behind the one at a position starts; n if there is none.
uint32_t next_symbol(const Word& w, uint32_t at) {
  const uint32_t next = at + 1;
  return next == w.n || w.merged[next] > kTaken ? next : static_cast<uint32_t>(w.token[next]);
}

// And the one before it; the first one itself.
uint32_t symbol_before(const Word& w, uint32_t at) {
  if (at == 0) return 0;
  const int32_t merged = w.merged[at - 1];
  return merged > kTaken ? at - 1 : static_cast<uint32_t>(kTaken - merged);
}

// Whether the list of merges has this pair: see kTokenSplits.
bool may_meet(uint32_t split, uint32_t at) {
  if (split & kSplitMask) return at <= kMaxMaskedSplit && (split >> (at - 1) & 1);
  return split == 0 || split == at;
}

int32_t merged_pair(const Tables& t, const Word& w, uint32_t at) {
  const uint32_t next = next_symbol(w, at);
  if (next == w.n) return -1;
  const Text a = text_of(t, w.token[at]);
  const int32_t token = find_token(t, a, text_of(t, w.token[next]));
  if (token < 0 || t.ranks[token] < 0) return -1;  // ranks below 0: no merge makes it
  return !t.byte_level || may_meet(t.splits[token], a.n) ? token : -1;
}

// The better one of two pairs: higher rank, then further left; any rank beats no token.
uint32_t better_pair(const Tables& t, const Word& w, uint32_t a, uint32_t b) {
  if (w.merged[a] == w.merged[b]) return a < b ? a : b;
  if (w.merged[b] < 0) return a;
  if (w.merged[a] < 0) return b;
  const int32_t rank_a = t.ranks[w.merged[a]], rank_b = t.ranks[w.merged[b]];
  if (rank_a != rank_b) return rank_a > rank_b ? a : b;
  return a < b ? a : b;
}

uint32_t winner_of(const Word& w, uint32_t node) {
  return node < w.n ? w.winner[node] : node - w.n;
}

// Plays the games of a position's pair again, up to where they meet those of leaf `meets`, or to
// the root.
void play(const Tables& t, const Word& w, uint32_t at, uint32_t meets) {
  uint32_t winner = at;
  for (uint32_t node = w.n + at; node > 1; node /= 2) {
    meets /= 2;
    if (node / 2 == meets) return;
    winner = better_pair(t, w, winner, winner_of(w, node ^ 1));
    w.winner[node / 2] = winner;
  }
}

// Merges the best pair until none is left (Sennrich et al. 2016).
void merge_word(const Tables& t, const Word& w) {
  if (w.n == 0) return;
  for (uint32_t i = w.n; i-- > 0;) w.merged[i] = merged_pair(t, w, i);
  for (uint32_t node = w.n - 1; node > 0; --node) {
    w.winner[node] = better_pair(t, w, winner_of(w, 2 * node), winner_of(w, 2 * node + 1));
  }

  uint32_t best = winner_of(w, 1);
  while (w.merged[best] >= 0) {
    const int32_t token = w.merged[best];
    const uint32_t before = symbol_before(w, best), gone = next_symbol(w, best);
    const uint32_t end = next_symbol(w, gone);
    w.token[best] = token;
    w.token[best + 1] = w.token[end - 1] = static_cast<int32_t>(end);
    w.merged[best + 1] = w.merged[end - 1] = w.merged[gone] = kTaken - static_cast<int32_t>(best);
    w.merged[before] = merged_pair(t, w, before);
    w.merged[best] = merged_pair(t, w, best);
    play(t, w, gone, w.n + best);
    play(t, w, before, w.n + best);
    // In a run of equal symbols the pair behind is the next one, unless a new one is better. What
    // lies above both plays when the run has ended.
    const bool is_run = end < w.n && w.merged[end] == token &&
                        better_pair(t, w, better_pair(t, w, before, best), end) == end;
    play(t, w, best, is_run ? w.n + end : 0);
    best = is_run ? end : w.winner[1];
  }
}

constexpr uint8_t kReplacement[3] = {0xef, 0xbf, 0xbd};  // U+FFFD

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
  merge_word(t, *w);
  for (uint32_t at = 0; at < w->n; at = next_symbol(*w, at)) {
    const thimble_status status = put_token(out, w->token[at]);
    if (status != THIMBLE_OK) return status;
  }
  w->n = 0;
  return THIMBLE_OK;
}

// The token that a word, a followed by b, is known to merge into; -1: it has to be merged.
int32_t find_whole(const Tables& t, Text a, Text b) {
  const int32_t token = find_token(t, a, b);
  return token >= 0 && (t.types[token] & kTokenWhole) ? token : -1;
}

thimble_status put_symbol(Word* w, int32_t token) {
  if (w->n == w->limit) return THIMBLE_ERROR_TEXT_TOO_LONG;
  w->token[w->n++] = token;
  return THIMBLE_OK;
}

#if THIMBLE_SCORED_BPE

// Adds a character to the word. One that is no token becomes byte tokens, which merge with nothing
// (as in llama2.c) and so end the word; a byte without a token ends it, too, and is left out.
thimble_status put_character(const Tables& t, Text character, Word* w, Output* out) {
  const int32_t token = find_token(t, character, {character.bytes, 0});
  if (token >= 0) return put_symbol(w, token);
  thimble_status status = put_word(t, w, out);
  for (uint32_t i = 0; i < character.n && status == THIMBLE_OK; ++i) {
    const int32_t byte_token = t.byte_tokens[character.bytes[i]];
    if (byte_token >= 0) status = put_token(out, byte_token);
  }
  return status;
}

constexpr uint8_t kSpaceByte = ' ';

constexpr uint8_t kSpaceMark[3] = {0xe2, 0x96, 0x81};

// U+2581, which SentencePiece takes for a space, unless it is a token of its own.
bool is_space_mark(const Tables& t, const uint8_t* bytes, size_t n) {
  const Text mark = {kSpaceMark, sizeof kSpaceMark};
  return bytes[0] == kSpaceMark[0] && n >= mark.n && equal(bytes, mark) &&
         find_token(t, mark, {kSpaceMark, 0}) < 0;
}

// Bytes up to the first space behind another character.
uint32_t scored_word(const Tables& t, const uint8_t* bytes, size_t n) {
  bool after_other = false;
  size_t i = 0;
  while (i < n) {
    const bool is_space =
        bytes[i] == ' ' || (bytes[i] == kSpaceMark[0] && is_space_mark(t, bytes + i, n - i));
    if (is_space && after_other) break;
    after_other = !is_space;
    i += bytes[i] == ' ' || !is_space ? 1 : sizeof kSpaceMark;
  }
  return static_cast<uint32_t>(i);
}

// A text without special tokens, n >= 1.
thimble_status put_scored(const Tables& t, const FileHeader& h, const uint8_t* bytes, size_t n,
                          Word* word, Output* out) {
  Text prefix = {&kSpaceByte, t.space_prefix ? 1u : 0u};
  const bool splits = h.tokenizer_flags & kTokenizerSplitsAtSpaces;
  thimble_status status = THIMBLE_OK;
  while (n > 0 && status == THIMBLE_OK) {
    const Text text = {bytes, splits ? scored_word(t, bytes, n) : static_cast<uint32_t>(n)};
    const int32_t whole = find_whole(t, prefix, text);
    if (whole >= 0) {
      status = put_token(out, whole);
    } else {
      if (prefix.n > 0) status = put_character(t, prefix, word, out);
      for (uint32_t i = 0; i < text.n && status == THIMBLE_OK;) {
        const uint32_t mark = is_space_mark(t, bytes + i, text.n - i) ? sizeof kSpaceMark : 0;
        const uint32_t valid = utf8_valid_character(bytes + i, text.n - i);
        const Text character = mark ? Text{&kSpaceByte, 1} : Text{bytes + i, valid ? valid : 1};
        status = put_character(t, character, word, out);
        i += mark ? mark : character.n;
      }
      if (status == THIMBLE_OK) status = put_word(t, word, out);
    }
    prefix.n = 0;
    bytes += text.n;
    n -= text.n;
  }
  return status;
}

#endif
#if THIMBLE_BYTE_BPE

// One word of a text. An invalid byte is read as U+FFFD. A byte without a token is left out, and
// nothing merges across it.
thimble_status put_bytes_of_word(const Tables& t, Text text, Word* word, Output* out) {
  const int32_t whole = find_whole(t, text, {text.bytes, 0});
  if (whole >= 0) return put_token(out, whole);
  thimble_status status = THIMBLE_OK;
  for (uint32_t i = 0; i < text.n && status == THIMBLE_OK;) {
    const uint32_t length = utf8_valid_character(text.bytes + i, text.n - i);
    const Text character =
        length > 0 ? Text{text.bytes + i, length} : Text{kReplacement, sizeof kReplacement};
    for (uint32_t k = 0; k < character.n && status == THIMBLE_OK; ++k) {
      const int32_t token = t.byte_tokens[character.bytes[k]];
      status = token >= 0 ? put_symbol(word, token) : put_word(t, word, out);
    }
    i += length > 0 ? length : 1;
  }
  return status == THIMBLE_OK ? put_word(t, word, out) : status;
}

thimble_status put_byte_level(const Tables& t, const FileHeader& h, const uint8_t* bytes, size_t n,
                              Word* word, Output* out) {
  const PreTokenizer kind = static_cast<PreTokenizer>(h.pre_tokenizer);
  thimble_status status = THIMBLE_OK;
  while (n > 0 && status == THIMBLE_OK) {
    const size_t length = first_word(kind, bytes, n);
    status = put_bytes_of_word(t, {bytes, static_cast<uint32_t>(length)}, word, out);
    bytes += length;
    n -= length;
  }
  return status;
}

#endif

// A text without special tokens.
thimble_status put_plain(const Tables& t, const FileHeader& h, const uint8_t* bytes, size_t n,
                         Word* word, Output* out) {
  if (n == 0) return THIMBLE_OK;
#if THIMBLE_BYTE_BPE
  if (t.byte_level) return put_byte_level(t, h, bytes, n, word, out);
#endif
#if THIMBLE_SCORED_BPE
  return put_scored(t, h, bytes, n, word, out);
#else
  return THIMBLE_OK;
#endif
}

// Tokens that are recognised in a text, and which beginnings can be one of them: a bit for the low
// five bits of the first byte and the high three of the second.
struct Specials {
  uint32_t types;  // bits of TokenType
  uint32_t longest;
  uint8_t starts[32];
};

Specials specials_of(const Tables& t, uint32_t n_tokens, uint32_t types) {
  Specials s = {};
  s.types = types;
  for (uint32_t i = 0; i < n_tokens; ++i) {
    if (!(types >> type_of(t, static_cast<int32_t>(i)) & 1)) continue;
    const Text text = text_of(t, static_cast<int32_t>(i));
    if (text.n == 0) continue;
    if (text.n > s.longest) s.longest = text.n;
    const uint32_t seconds = text.n == 1 ? 255 : 1u << (text.bytes[1] >> 5);
    s.starts[text.bytes[0] & 31] |= static_cast<uint8_t>(seconds);
  }
  return s;
}

// The longest special token at the start of a text of n >= 1 bytes, -1 if there is none.
int32_t special_at(const Tables& t, const Specials& s, const uint8_t* bytes, size_t n) {
  if (n > 1 && !(s.starts[bytes[0] & 31] >> (bytes[1] >> 5) & 1)) return -1;
  const uint32_t most = n < s.longest ? static_cast<uint32_t>(n) : s.longest;
  int32_t found = -1;
  uint32_t hash = kFnv32Start;
  for (uint32_t i = 0; i < most; ++i) {
    hash = fnv1a_32(bytes + i, 1, hash);
    const int32_t token = find_hashed(t, hash, {bytes, i + 1}, {bytes, 0}, s.types);
    if (token >= 0) found = token;
  }
  return found;
}

#if THIMBLE_CHAT

// ---- A text in pieces ---------------------------------------------------------------------------

// A stretch without special tokens.
struct Run {
  Text parts[kMaxTextPieces];  // none is empty
  uint32_t n;
};

void add_part(Run* run, const uint8_t* bytes, size_t n) {
  if (n > 0) run->parts[run->n++] = {bytes, static_cast<uint32_t>(n)};
}

#if THIMBLE_SCORED_BPE

thimble_status put_scored_run(const Tables& t, const FileHeader& h, const Run& run, Word* word,
                              Output* out) {
  const bool splits = h.tokenizer_flags & kTokenizerSplitsAtSpaces;
  thimble_status status = THIMBLE_OK;
  if (t.space_prefix) status = put_character(t, {&kSpaceByte, 1}, word, out);
  bool after_other = false;
  for (uint32_t k = 0; k < run.n; ++k) {
    const Text part = run.parts[k];
    for (uint32_t i = 0; i < part.n && status == THIMBLE_OK;) {
      const uint8_t* at = part.bytes + i;
      const uint32_t mark = is_space_mark(t, at, part.n - i) ? sizeof kSpaceMark : 0;
      const bool is_space = mark > 0 || *at == ' ';
      if (splits && is_space && after_other) status = put_word(t, word, out);
      after_other = !is_space;
      const uint32_t valid = utf8_valid_character(at, part.n - i);
      const Text character = is_space ? Text{&kSpaceByte, 1} : Text{at, valid ? valid : 1};
      if (status == THIMBLE_OK) status = put_character(t, character, word, out);
      i += mark ? mark : character.n;
    }
  }
  return status == THIMBLE_OK ? put_word(t, word, out) : status;
}

#endif
#if THIMBLE_BYTE_BPE

// Whether the word at the start of n bytes stays the first one whatever follows them: words are
// decided by no more than the spaces behind them and a few bytes.
bool is_settled(const uint8_t* bytes, size_t word, size_t n) {
  constexpr size_t kLookAhead = 16;
  size_t i = word;
  while (i < n) {
    const uint32_t length = utf8_valid_character(bytes + i, n - i);
    if (length == 0 || class_of(utf8_code_point(bytes + i, length)) != kSpace) break;
    i += length;
  }
  return n - i >= kLookAhead;
}

// Words within a part are read where they are, those at a seam from a copy in the scratch.
thimble_status put_byte_run(const Tables& t, const FileHeader& h, Run* run, Word* word,
                            void* scratch, size_t scratch_bytes, Output* out) {
  static_assert(kMinWordBytes * kScratchPerSymbol >= 2 * kSeamBytes, "room for the copy");
  const PreTokenizer kind = static_cast<PreTokenizer>(h.pre_tokenizer);
  uint8_t* const copy = static_cast<uint8_t*>(scratch);
  Word seam_word = empty_word(copy + kSeamBytes, scratch_bytes - kSeamBytes);
  thimble_status status = THIMBLE_OK;
  for (uint32_t first = 0; first < run->n && status == THIMBLE_OK;) {
    const Text here = run->parts[first];
    size_t length = first_word(kind, here.bytes, here.n);
    if (first + 1 == run->n || is_settled(here.bytes, length, here.n)) {
      status = put_bytes_of_word(t, {here.bytes, static_cast<uint32_t>(length)}, word, out);
    } else {
      size_t n = 0;
      bool is_all = true;
      for (uint32_t k = first; k < run->n; ++k) {
        const Text part = run->parts[k];
        const size_t fits = part.n < kSeamBytes - n ? part.n : kSeamBytes - n;
        memcpy(copy + n, part.bytes, fits);
        n += fits;
        is_all &= fits == part.n;
      }
      length = first_word(kind, copy, n);
      if (!is_all && !is_settled(copy, length, n)) return THIMBLE_ERROR_TEXT_TOO_LONG;
      status = put_bytes_of_word(t, {copy, static_cast<uint32_t>(length)}, &seam_word, out);
    }
    while (length > 0) {
      Text* part = &run->parts[first];
      const uint32_t n = part->n < length ? part->n : static_cast<uint32_t>(length);
      *part = {part->bytes + n, part->n - n};
      length -= n;
      if (part->n == 0) ++first;
    }
  }
  return status;
}

#endif

// Writes the run's tokens and empties it.
thimble_status put_run(const Tables& t, const FileHeader& h, Run* run, Word* word, void* scratch,
                       size_t scratch_bytes, Output* out) {
  thimble_status status = THIMBLE_OK;
  if (run->n == 1) {
    status = put_plain(t, h, run->parts[0].bytes, run->parts[0].n, word, out);
  } else if (run->n > 1) {
#if THIMBLE_BYTE_BPE
    if (t.byte_level) status = put_byte_run(t, h, run, word, scratch, scratch_bytes, out);
#endif
#if THIMBLE_SCORED_BPE
    if (!t.byte_level) status = put_scored_run(t, h, *run, word, out);
#endif
  }
  (void)scratch, (void)scratch_bytes;  // of byte-level words only
  run->n = 0;
  return status;
}

#endif

// ---- Decoding -----------------------------------------------------------------------------------

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

}  // namespace

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
  Tables t(model);
#if THIMBLE_SCORED_BPE && THIMBLE_PACK
  if (flags & kEncodeContinues) t.space_prefix = false;
#endif
  Word word = empty_word(scratch, scratch_bytes);
  Output out = {tokens, capacity, 0};
  thimble_status status = THIMBLE_OK;
  if ((flags & THIMBLE_ENCODE_BOS) && h.bos_id >= 0) status = put_token(&out, h.bos_id);

  const uint32_t control = flags & THIMBLE_ENCODE_SPECIAL ? bit_of(kTokenControl) : 0;
  const Specials specials = specials_of(t, h.vocab_size, bit_of(kTokenUser) | control);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(text);
  size_t begin = 0;  // of what has not been encoded
  for (size_t i = 0; specials.longest > 0 && i < text_bytes && status == THIMBLE_OK;) {
    const int32_t token = special_at(t, specials, bytes + i, text_bytes - i);
    if (token < 0) {
      ++i;
      continue;
    }
    status = put_plain(t, h, bytes + begin, i - begin, &word, &out);
    if (status == THIMBLE_OK) status = put_token(&out, token);
    i += text_of(t, token).n;
    begin = i;
  }
  if (status == THIMBLE_OK) {
    status = put_plain(t, h, bytes + begin, text_bytes - begin, &word, &out);
  }
  return status == THIMBLE_OK ? static_cast<int32_t>(out.n) : static_cast<int32_t>(status);
}

#if THIMBLE_CHAT

int32_t encode_pieces(const thimble_model& model, const TextPiece* pieces, size_t n_pieces,
                      bool with_bos, bool continues, int32_t* tokens, size_t capacity,
                      void* scratch, size_t scratch_bytes) {
  const FileHeader& h = header_of(model);
  Tables t(model);
#if THIMBLE_SCORED_BPE
  const bool has_prefix = t.space_prefix;
  if (continues) t.space_prefix = false;
#else
  (void)continues;
#endif
  Word word = empty_word(scratch, scratch_bytes);
  Output out = {tokens, capacity, 0};
  thimble_status status = THIMBLE_OK;
  if (with_bos && h.bos_id >= 0) status = put_token(&out, h.bos_id);

  const Specials specials[2] = {
      specials_of(t, h.vocab_size, bit_of(kTokenUser)),
      specials_of(t, h.vocab_size, bit_of(kTokenUser) | bit_of(kTokenControl))};
  Run run = {};
  for (size_t k = 0; k < n_pieces; ++k) {
    if (pieces[k].n > size_t{INT32_MAX} / 2) return THIMBLE_ERROR_ARGUMENT;
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(pieces[k].bytes);
    const Specials& s = specials[pieces[k].has_control];
    size_t begin = 0;  // of what is in no run yet
    for (size_t i = 0; s.longest > 0 && i < pieces[k].n && status == THIMBLE_OK;) {
      const int32_t token = special_at(t, s, bytes + i, pieces[k].n - i);
      if (token < 0) {
        ++i;
        continue;
      }
      add_part(&run, bytes + begin, i - begin);
      status = put_run(t, h, &run, &word, scratch, scratch_bytes, &out);
      if (status == THIMBLE_OK) status = put_token(&out, token);
#if THIMBLE_SCORED_BPE
      t.space_prefix = has_prefix;
#endif
      i += text_of(t, token).n;
      begin = i;
    }
    add_part(&run, bytes + begin, pieces[k].n - begin);
  }
  if (status == THIMBLE_OK) status = put_run(t, h, &run, &word, scratch, scratch_bytes, &out);
  return status == THIMBLE_OK ? static_cast<int32_t>(out.n) : static_cast<int32_t>(status);
}

#endif

bool merges_whole(const thimble_model& model, int32_t token, void* scratch, size_t scratch_bytes) {
  const Tables t(model);
  const Text text = text_of(t, token);
  if (type_of(t, token) != kTokenNormal || text.n > encode_word_bytes(scratch_bytes)) return false;
  Word word = empty_word(scratch, scratch_bytes);
  for (uint32_t i = 0; i < text.n;) {
    const uint32_t valid = utf8_valid_character(text.bytes + i, text.n - i);
    const uint32_t n = t.byte_level || valid == 0 ? 1 : valid;
    const int32_t symbol = t.byte_level ? t.byte_tokens[text.bytes[i]]
                                        : find_token(t, {text.bytes + i, n}, {text.bytes, 0});
    if (symbol < 0) return false;
    word.token[word.n++] = symbol;
    i += n;
  }
  merge_word(t, word);
  return word.n > 0 && next_symbol(word, 0) == word.n && word.token[0] == token;
}

int32_t decode_token(const thimble_model& model, thimble_decoder* decoder, int32_t token, char* out,
                     size_t capacity) {
  if (decoder->n_pending > 3) return THIMBLE_ERROR_ARGUMENT;  // not zeroed at the start
  const Tables t(model);
  Text text = text_of(t, token);
  if (type_of(t, token) == kTokenControl || text.n == 0) return 0;
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
