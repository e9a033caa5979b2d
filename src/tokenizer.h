// SPDX-License-Identifier: MIT
// Text <-> tokens on tables that lie in the file (Sennrich et al. 2016): BPE driven by scores with
// byte fallback, as in SentencePiece and llama2.c (Kudo, Richardson 2018), and BPE over bytes
// within words, as in GPT-2 (Radford et al. 2019).
#ifndef THIMBLE_SRC_TOKENIZER_H
#define THIMBLE_SRC_TOKENIZER_H

#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

// Checks all that the functions below rely on. Call after header and sections were checked.
thimble_status check_tokenizer(const thimble_model& model, thimble_fault* fault);

// A word is what is merged at once. Scored BPE: spaces and the other bytes behind them if the file
// has kTokenizerSplitsAtSpaces, otherwise the whole text. Byte-level BPE: what first_word cuts off.
// The longest one whatever the scratch, in bytes: what 32 bits can address.
constexpr size_t kMaxWordBytes = size_t{1} << 28;

// The smallest word that every session can merge, in bytes.
constexpr size_t kMinWordBytes = 256;

// Scratch that a word of `word_bytes` bytes (spaces before it included) needs, and back: 12 bytes a
// byte. Words above kMaxWordBytes count as kMaxWordBytes.
size_t encode_scratch_bytes(size_t word_bytes);
size_t encode_word_bytes(size_t scratch_bytes);

// A flag beside those of thimble_encode: the text goes on with one before it, and so gets no space
// as a prefix.
constexpr uint32_t kEncodeContinues = 0x80000000;

// As thimble_encode; scratch is aligned to 8 bytes. Gives what llama2.c's encode gives for valid
// UTF-8, and what llama.cpp gives with byte-level BPE, in time n log(word). A byte that is part of
// no token and has no byte token is left out. Words up to encode_word_bytes(scratch_bytes) never
// give TEXT_TOO_LONG; longer ones do not either when they have so few characters. After an error
// tokens[] may hold anything.
int32_t encode_text(const thimble_model& model, const char* text, size_t text_bytes, uint32_t flags,
                    int32_t* tokens, size_t capacity, void* scratch, size_t scratch_bytes);

#if THIMBLE_CHAT

// A part of a text; control tokens are recognised in it or not.
struct TextPiece {
  const char* bytes;
  size_t n;
  bool has_control;
};
constexpr size_t kMaxTextPieces = 5;

// As encode_text of the pieces one behind another: a word may begin in one and end in another. Such
// a word, with what is looked at behind it, is at most kSeamBytes long, otherwise TEXT_TOO_LONG.
// `continues`: the text goes on with one before it, and so gets no space as a prefix.
constexpr size_t kSeamBytes = 256;
int32_t encode_pieces(const thimble_model& model, const TextPiece* pieces, size_t n_pieces,
                      bool with_bos, bool continues, int32_t* tokens, size_t capacity,
                      void* scratch, size_t scratch_bytes);

#endif

// Whether a word with the token's text merges into the token: what kTokenWhole says. For those who
// write files; `scratch` as in encode_text.
bool merges_whole(const thimble_model& model, int32_t token, void* scratch, size_t scratch_bytes);

// As thimble_decode and thimble_decode_end. Control tokens have no text. What is written is always
// valid UTF-8: each maximal part of an invalid sequence becomes one U+FFFD. So 3 * max_token_bytes
// + 3 bytes always suffice for a token.
int32_t decode_token(const thimble_model& model, thimble_decoder* decoder, int32_t token, char* out,
                     size_t capacity);
int32_t decode_end(thimble_decoder* decoder, char* out, size_t capacity);

}  // namespace thimble

#endif
