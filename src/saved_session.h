// SPDX-License-Identifier: MIT
// A session as bytes: its text, what is cached of it, and what its logits are computed from. The
// same bytes whatever the kernels, the batch and the way of feeding; models/FORMAT.md explains
// them.
#ifndef THIMBLE_SRC_SAVED_SESSION_H
#define THIMBLE_SRC_SAVED_SESSION_H

#include "session.h"

namespace thimble {

constexpr uint8_t kSavedMagic[8] = {0x89, 'T', 'H', 'I', 'M', 'S', 'A', '\n'};
constexpr uint32_t kSavedVersion = 1;

// What follows it: n_tokens x int32, the text's last tokens; dim x float32, if has_logits: what the
// head is multiplied with; then rows of the cache (kv_cache_save_row), layer by layer, position by
// position: those that the next token sees, from a multiple of kLanes on, and the sinks before
// them.
struct SavedHeader {
  uint8_t magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint32_t header_bytes;
  uint32_t header_crc;        // CRC-32 of the header with this field as 0
  uint64_t bytes;             // all of them
  uint32_t data_crc;          // CRC-32 of what follows the header
  uint32_t kv_type;           // THIMBLE_KV_F32 or THIMBLE_KV_Q8
  uint32_t model_header_crc;  // the model's own checksums
  uint32_t model_data_crc;
  uint32_t n_ctx;  // with sinks: the session's; otherwise 0: any that has room will do
  uint32_t n_sinks;
  uint32_t position;    // tokens computed
  uint32_t cached;      // and still to be seen by the next one
  uint32_t n_tokens;    // of the text: all; with sinks the last n_ctx at most
  uint32_t has_logits;  // 1: a token can be drawn
  uint32_t overflowed;  // tokens to the first one whose numbers went beyond a float's; 0: none
  uint32_t adapter_header_crc;  // the checksums of the adapter in use; 0: there was none
  uint32_t adapter_data_crc;
  uint32_t rule_header_crc;  // the checksums of the rule in use; 0: there was none,
  uint32_t rule_data_crc;
  uint32_t rule_start;       // and the rest is 0: position of the answer's first token,
  uint32_t rule_base;        // one from there on, with sinks within the last n_ctx,
  uint32_t rule_base_state;  // and the state before its token,
  float rule_confidence;     // the answer's confidence
  uint8_t reserved[20];      // 0
};
static_assert(sizeof(SavedHeader) == 128, "saved header layout");
static_assert(offsetof(SavedHeader, model_header_crc) == 40, "saved header layout");
static_assert(offsetof(SavedHeader, overflowed) == 72, "saved header layout");
static_assert(offsetof(SavedHeader, adapter_data_crc) == 80, "saved header layout");
static_assert(offsetof(SavedHeader, rule_confidence) == 104, "saved header layout");

// Bytes of a session between passes.
uint64_t saved_bytes(const thimble_session* s);

// Writes them.
void save_session(const thimble_session* s, uint8_t* out);

// Checks a saved session, then makes it this one's state; the pass that computes its logits, if it
// has any, is prepared. As thimble_session_load.
thimble_status load_session(thimble_session* s, const uint8_t* saved, size_t bytes);

}  // namespace thimble

#endif
