// SPDX-License-Identifier: MIT
// Text packed by the model that predicts it: its tokens, arithmetic coded by the model's own odds,
// which are the same bits on every chip. models/FORMAT.md explains the bytes.
//
// What a text is coded as, from its first byte on:
//  - a token, at the odds of the position
//  - the end of a record, <|endoftext|>, as the model's own end of text; the next record starts
//    afresh
//  - an escape and up to 255 bytes by the odds of such bytes before: what the tokenizer does not
//    spell to the byte, and what the model would take more bits for
#ifndef THIMBLE_SRC_PACK_H
#define THIMBLE_SRC_PACK_H

#include "odds.h"
#include "range_coder.h"
#include "session.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint8_t kPackedKind = 0x50;  // the first byte's upper half: this format, version 1
constexpr uint8_t kPackedKindMask = 0xf0;

// Bits of the first byte's lower half.
enum PackedFlag : uint8_t {
  kPackedKvQ8 = 1,     // computed with an int8 cache
  kPackedWindow = 2,   // may be longer than the context: n_ctx and n_sinks follow
  kPackedAdapter = 4,  // an adapter's name follows
  kPackedReserved = 8
};

// What precedes the coded bytes; `bytes` of them, with the checksum at their end.
struct PackedHeader {
  uint8_t flags;
  uint16_t model, adapter;  // names, see model_name
  uint32_t text_bytes;
  uint32_t n_ctx, n_sinks;  // 0 without kPackedWindow
  uint32_t crc;             // CRC-32 of the bytes before it and of the text
  uint32_t bytes;
};
constexpr uint32_t kMaxPackedHeader = 1 + 2 + 2 + 5 + 5 + 5 + 4;

// Errors: TRUNCATED, MAGIC, HEADER.
thimble_status read_packed_header(PackedHeader* header, const uint8_t* packed, size_t bytes);

// 16 bits of what the model computes in its self-test, so that they do not depend on how the file
// lays its weights out; without a self-test of the file's checksum. The adapter's are its
// checksum's, 0 if none is in use.
uint16_t model_name(const thimble_model& model);
uint16_t adapter_name(const thimble_session* s);

// Text that is encoded at once, in bytes.
constexpr uint32_t kPackPiece = 128;

// What both directions go through alike.
struct PackContext {
  thimble_session* session;
  uint32_t n_ctx;   // when so many tokens are in view, the text goes on with the last half of them
  int32_t next;     // the token that the next odds are behind; -1: none
  int32_t end;      // what ends a record; -1: nothing does
  bool has_window;  // n_ctx is in the header
  bool has_odds;
  bool is_start;          // no token of the record yet
  uint8_t n_line_breaks;  // behind the mark before
  Odds odds;
  ByteOdds bytes;
};

struct Packer {
  PackContext context;
  RangeEncoder coder;
  thimble_status status;  // MORE while there is something to do
  uint32_t state, left;   // left: of raw bytes, or of the message's last bytes
  const uint8_t* text;
  uint32_t text_bytes, at;
  uint32_t n_header, header_at;
  uint32_t n_tokens, token_at;
  int32_t surplus;   // bits that the last tokens took beyond what their bytes would have
  uint32_t raw_run;  // how many bytes are escaped when that is too much
  uint8_t header[kMaxPackedHeader];
  int32_t tokens[kPackPiece + 2];
};
static_assert(sizeof(Packer) <= sizeof(thimble_pack), "the structure has a fixed place");

struct Unpacker {
  PackContext context;
  RangeDecoder coder;
  thimble_status status;
  uint32_t state, left;
  uint32_t text_bytes, at;
  uint32_t crc, expected_crc;
  const uint8_t* ready;  // text on its way out
  uint32_t n_ready;
  uint32_t n_line_breaks;  // behind it
  uint8_t raw;
};
static_assert(sizeof(Unpacker) <= sizeof(thimble_unpack), "the structure has a fixed place");

// Bytes of the text that are packed so far.
inline uint32_t packed_text_bytes(const thimble_pack& pack) {
  return reinterpret_cast<const Packer&>(pack).at;
}

// As thimble_pack_begin and so on; a session between passes, a model with a tokenizer.
void pack_begin(Packer* p, thimble_session* s, const uint8_t* text, uint32_t bytes);
thimble_status pack_step(Packer* p, uint64_t budget, uint8_t* out, size_t capacity,
                         size_t* written);
thimble_status unpack_begin(Unpacker* u, thimble_session* s, const uint8_t* packed, size_t bytes);
thimble_status unpack_step(Unpacker* u, uint64_t budget, uint8_t* out, size_t capacity,
                           size_t* written);

}  // namespace thimble

#endif
