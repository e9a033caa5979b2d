// SPDX-License-Identifier: MIT
// Turns of a chat: the texts around them lie in the file.
#include "model.h"
#include "session.h"
#include "tokenizer.h"

#if THIMBLE_CHAT

namespace thimble {
namespace {

struct TurnTexts {
  const uint32_t* offsets;  // (kTurnTextCount + 1)
  const char* bytes;

  TextPiece open(uint32_t role) const { return piece(2 * role); }
  TextPiece close(uint32_t role) const { return piece(2 * role + 1); }
  TextPiece piece(uint32_t i) const {
    return {bytes + offsets[i], offsets[i + 1] - offsets[i], true};
  }
};

bool begins_with(TextPiece text, TextPiece beginning) {
  if (text.n < beginning.n) return false;
  for (size_t i = 0; i < beginning.n; ++i) {
    if (text.bytes[i] != beginning.bytes[i]) return false;
  }
  return true;
}

// A system's turn that opens as the user's does is a part of it.
bool is_opened_by_system(const TurnTexts& texts) {
  return begins_with(texts.open(THIMBLE_ROLE_SYSTEM), texts.open(THIMBLE_ROLE_USER));
}

}  // namespace
}  // namespace thimble

#endif

using namespace thimble;

extern "C" int32_t thimble_encode_turn(thimble_session* s, thimble_role role, const char* text,
                                       size_t text_bytes, uint32_t flags, int32_t* tokens,
                                       size_t capacity) {
  constexpr uint32_t kKnownFlags =
      THIMBLE_TURN_ANSWER | THIMBLE_TURN_AFTER_ANSWER | THIMBLE_TURN_AFTER_SYSTEM;
  const uint32_t r = static_cast<uint32_t>(role);
  if (!s || (!text && text_bytes > 0) || (!tokens && capacity > 0) || r > THIMBLE_ROLE_ASSISTANT ||
      (flags & ~kKnownFlags) != 0) {
    return THIMBLE_ERROR_ARGUMENT;
  }
  if (s->pass.stage != kIdle) return THIMBLE_ERROR_BUSY;
  const FileHeader& h = header_of(s->model);
  if (h.tokenizer == kTokenizerNone) return THIMBLE_ERROR_NO_TOKENIZER;
  if (!THIMBLE_CHAT || h.turn_bytes == 0) return THIMBLE_ERROR_NO_TURNS;
#if THIMBLE_CHAT
  const TurnTexts texts = {table_of<uint32_t>(s->model, kTurnOffsets),
                           table_of<char>(s->model, kTurnTexts)};
  TextPiece pieces[kMaxTextPieces];
  size_t n = 0;
  if (flags & THIMBLE_TURN_AFTER_ANSWER) pieces[n++] = texts.close(THIMBLE_ROLE_ASSISTANT);
  const bool is_open = role == THIMBLE_ROLE_USER && (flags & THIMBLE_TURN_AFTER_SYSTEM) &&
                       is_opened_by_system(texts);
  if (!is_open) pieces[n++] = texts.open(r);
  pieces[n++] = {text, text_bytes, false};
  pieces[n++] = texts.close(r);
  if (flags & THIMBLE_TURN_ANSWER) pieces[n++] = texts.open(THIMBLE_ROLE_ASSISTANT);
  const bool is_first = s->position == 0;
  return encode_pieces(s->model, pieces, n, is_first && (h.tokenizer_flags & kTokenizerAddsBos),
                       !is_first, tokens, capacity, s->act.x, s->encode_scratch_size);
#endif
}
