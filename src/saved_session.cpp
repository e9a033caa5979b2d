// SPDX-License-Identifier: MIT
#include "saved_session.h"

#include <string.h>

#include "crc32.h"
#include "forward.h"

namespace thimble {
namespace {

// What the header is about to say, or says.
struct Extent {
  uint32_t cached, n_tokens, has_logits;
};

// Of the sinks, those that no other row is.
uint32_t sink_rows(const thimble_session* s, uint32_t layer, uint32_t cached) {
  return kv_needed_from(s->cache, layer, cached) > 0 ? kv_sinks(s->cache, layer) : 0;
}

uint64_t rows_of(const thimble_session* s, uint32_t layer, uint32_t cached) {
  return uint64_t{cached} - kv_needed_from(s->cache, layer, cached) + sink_rows(s, layer, cached);
}

uint64_t bytes_for(const thimble_session* s, const Extent& e) {
  uint64_t bytes = sizeof(SavedHeader) + uint64_t{e.n_tokens} * sizeof(int32_t);
  if (e.has_logits) bytes += uint64_t{s->model.dim} * sizeof(float);
  for (uint32_t i = 0; i < s->model.n_layers; ++i) {
    bytes += rows_of(s, i, e.cached) * kv_row_bytes(s->cache);
  }
  return bytes;
}

// Tokens that are there for sure, of so many.
uint32_t tokens_of(const thimble_session* s, uint32_t position) {
  return position < s->n_ctx ? position : s->n_ctx;
}

// What has been computed ahead is not of the text.
Extent extent_of(const thimble_session* s) {
  return {s->cached < s->position ? s->cached : s->position, tokens_of(s, s->position),
          s->has_logits};
}

// Calls row(layer, position) for all rows in their order.
template <class Row>
void each_row(const thimble_session* s, uint32_t cached, Row row) {
  for (uint32_t i = 0; i < s->model.n_layers; ++i) {
    for (uint32_t p = 0; p < sink_rows(s, i, cached); ++p) row(i, p);
    for (uint32_t p = kv_needed_from(s->cache, i, cached); p < cached; ++p) row(i, p);
  }
}

uint32_t kv_type_of(const thimble_session* s) {
  return s->cache.type == kWeightQ8 ? THIMBLE_KV_Q8 : THIMBLE_KV_F32;
}

uint32_t header_crc(SavedHeader header) {
  header.header_crc = 0;
  return crc32(0, &header, sizeof header);
}

#if THIMBLE_LORA
// Whether the header names the adapter that is in use, or none if there is none.
bool names_adapter(const thimble_session* s, const SavedHeader& h) {
  const uint32_t header_crc = s->lora ? s->lora->header_crc : 0;
  const uint32_t data_crc = s->lora ? s->lora->data_crc : 0;
  return h.adapter_header_crc == header_crc && h.adapter_data_crc == data_crc;
}
#endif

#if THIMBLE_RULES
// Whether the header names the rule that is in use, or none.
bool names_rule(const thimble_session* s, const SavedHeader& h) {
  if ((h.rule_header_crc | h.rule_data_crc) == 0) return true;
  return has_rule(s) && h.rule_header_crc == rule_of(s).header_crc &&
         h.rule_data_crc == rule_of(s).data_crc;
}

constexpr size_t kSavedFieldsBytes =
    offsetof(RuleInUse, confidence) + sizeof(float) - offsetof(RuleInUse, header_crc);
static_assert(offsetof(SavedHeader, rule_confidence) - offsetof(SavedHeader, rule_header_crc) ==
                  offsetof(RuleInUse, confidence) - offsetof(RuleInUse, header_crc),
              "fields in one order");

// The rule as it is to be in use at the end of the saved text, whose tokens are at `tokens`; false:
// no session can have saved that.
bool saved_rule(const thimble_session* s, const SavedHeader& h, const uint8_t* tokens,
                RuleInUse* rule) {
  *rule = {};
  memcpy(&rule->header_crc, &h.rule_header_crc, kSavedFieldsBytes);
  if ((rule->header_crc | rule->data_crc) == 0) {
    return (rule->start | rule->base | rule->base_state | bits_of(rule->confidence)) == 0;
  }
  const uint32_t first = h.position - h.n_tokens;
  rule->tables = rule_of(s).tables;
  rule->state = rule->base_state;
  // A NaN and what is negative have larger bits than 1.
  if (rule->base < rule->start || rule->base < first || rule->base > h.position ||
      rule->state > rule->tables.n_states || bits_of(rule->confidence) > bits_of(1.0f)) {
    return false;
  }
  for (uint32_t i = rule->base; i < h.position; ++i) {
    int32_t token;
    memcpy(&token, tokens + size_t{i - first} * sizeof token, sizeof token);
    if (!rule_token(rule->tables, s->model, &rule->state, token)) return false;
  }
  return true;
}
#endif

// Who wrote it, and whether it is whole.
thimble_status check_envelope(const SavedHeader& h, const uint8_t* saved, size_t bytes) {
  if (memcmp(h.magic, kSavedMagic, sizeof kSavedMagic) != 0) return THIMBLE_ERROR_MAGIC;
  if (h.byte_order != kByteOrderMark) return THIMBLE_ERROR_BYTE_ORDER;
  if (h.version != kSavedVersion) return THIMBLE_ERROR_VERSION;
  if (header_crc(h) != h.header_crc) return THIMBLE_ERROR_HEADER_CHECKSUM;
  if (h.bytes != bytes) return THIMBLE_ERROR_TRUNCATED;
  if (crc32(0, saved + sizeof h, bytes - sizeof h) != h.data_crc)
    return THIMBLE_ERROR_DATA_CHECKSUM;
  return THIMBLE_OK;
}

// Whether this session can go on from it.
thimble_status check_state(const thimble_session* s, const SavedHeader& h) {
  const FileHeader& model = header_of(s->model);
  if (h.model_header_crc != model.header_crc || h.model_data_crc != model.data_crc) {
    return THIMBLE_ERROR_OTHER_MODEL;
  }
#if THIMBLE_LORA
  if (!names_adapter(s, h)) return THIMBLE_ERROR_OTHER_ADAPTER;
#else
  if (h.adapter_header_crc | h.adapter_data_crc) return THIMBLE_ERROR_UNSUPPORTED;
#endif
#if THIMBLE_RULES
  if (!names_rule(s, h)) return THIMBLE_ERROR_OTHER_RULE;
#else
  if (h.rule_header_crc | h.rule_data_crc) return THIMBLE_ERROR_UNSUPPORTED;
#endif
  if (h.kv_type != kv_type_of(s) || h.n_sinks != s->n_sinks ||
      h.n_ctx != (s->n_sinks > 0 ? s->n_ctx : 0)) {
    return THIMBLE_ERROR_OTHER_LAYOUT;
  }
  for (uint8_t byte : h.reserved) {
    if (byte != 0) return THIMBLE_ERROR_HEADER;
  }
  const bool is_whole = h.cached == h.position;
  if (h.header_bytes != sizeof h || h.position > kMaxPosition || h.cached > h.position ||
      h.overflowed > h.position || h.n_tokens != tokens_of(s, h.position) || h.has_logits > 1 ||
      (h.has_logits && (h.position == 0 || !is_whole)) || (s->n_sinks > 0 && !is_whole)) {
    // More positions than fit are no fault of the file.
    return s->n_sinks == 0 && h.position > s->n_ctx ? THIMBLE_ERROR_OTHER_LAYOUT
                                                    : THIMBLE_ERROR_HEADER;
  }
  if (s->n_sinks == 0 && h.position > s->n_ctx) return THIMBLE_ERROR_OTHER_LAYOUT;
  return h.bytes == bytes_for(s, {h.cached, h.n_tokens, h.has_logits}) ? THIMBLE_OK
                                                                       : THIMBLE_ERROR_HEADER;
}

}  // namespace

uint64_t saved_bytes(const thimble_session* s) {
  return bytes_for(s, extent_of(s));
}

void save_session(const thimble_session* s, uint8_t* out) {
  const Extent e = extent_of(s);
  SavedHeader h = {};
  memcpy(h.magic, kSavedMagic, sizeof h.magic);
  h.version = kSavedVersion;
  h.byte_order = kByteOrderMark;
  h.header_bytes = sizeof h;
  h.bytes = bytes_for(s, e);
  h.kv_type = kv_type_of(s);
  h.model_header_crc = header_of(s->model).header_crc;
  h.model_data_crc = header_of(s->model).data_crc;
  h.n_ctx = s->n_sinks > 0 ? s->n_ctx : 0;
  h.n_sinks = s->n_sinks;
  h.position = s->position;
  h.cached = e.cached;
  h.n_tokens = e.n_tokens;
  h.has_logits = e.has_logits;
  h.overflowed = s->overflowed <= s->position ? s->overflowed : 0;
#if THIMBLE_LORA
  if (s->lora) {
    h.adapter_header_crc = s->lora->header_crc;
    h.adapter_data_crc = s->lora->data_crc;
  }
#endif
#if THIMBLE_RULES
  if (has_rule(s)) {
    RuleInUse rule = rule_of(s);
    rule_advance_base(s, &rule);
    memcpy(&h.rule_header_crc, &rule.header_crc, kSavedFieldsBytes);
  }
#endif

  uint8_t* at = out + sizeof h;
  const auto put = [&](const void* data, size_t n) {
    memcpy(at, data, n);
    at += n;
  };
  for (uint32_t i = 0; i < e.n_tokens; ++i) {
    put(&token_at(s, s->position - e.n_tokens + i), sizeof(int32_t));
  }
  if (e.has_logits) put(forward_result(s), s->model.dim * sizeof(float));
  each_row(s, e.cached, [&](uint32_t layer, uint32_t position) {
    kv_cache_save_row(s->cache, layer, position, at);
    at += kv_row_bytes(s->cache);
  });
  h.data_crc = crc32(0, out + sizeof h, static_cast<size_t>(at - out) - sizeof h);
  h.header_crc = header_crc(h);
  memcpy(out, &h, sizeof h);
}

thimble_status load_session(thimble_session* s, const uint8_t* saved, size_t bytes) {
  SavedHeader h;
  if (bytes < sizeof h) return THIMBLE_ERROR_TRUNCATED;
  memcpy(&h, saved, sizeof h);
  thimble_status status = check_envelope(h, saved, bytes);
  if (status == THIMBLE_OK) status = check_state(s, h);
  if (status != THIMBLE_OK) return status;
  const uint8_t* at = saved + sizeof h;
  for (uint32_t i = 0; i < h.n_tokens; ++i) {
    int32_t token;
    memcpy(&token, at + i * sizeof token, sizeof token);
    if (token < 0 || static_cast<uint32_t>(token) >= s->model.vocab_size) {
      return THIMBLE_ERROR_TOKEN;
    }
  }

#if THIMBLE_RULES
  RuleInUse rule;
  if (!saved_rule(s, h, at, &rule)) return THIMBLE_ERROR_HEADER;
  if (s->rules) rule_of(s) = rule;
#endif
  rewind_to(s, 0);
  s->position = h.position;
  s->cached = h.cached;
  s->overflowed = h.overflowed;
#if THIMBLE_MOVING
  kv_cache_start_at(s->cache, s->model.n_layers, h.cached);
#endif
  for (uint32_t i = 0; i < h.n_tokens; ++i, at += sizeof(int32_t)) {
    memcpy(&token_at(s, h.position - h.n_tokens + i), at, sizeof(int32_t));
  }
  const uint8_t* normed = at;
  if (h.has_logits) at += s->model.dim * sizeof(float);
  each_row(s, h.cached, [&](uint32_t layer, uint32_t position) {
    kv_cache_load_row(s->cache, layer, position, at);
    at += kv_row_bytes(s->cache);
  });
  if (h.has_logits) forward_resume(s, normed);
  return THIMBLE_OK;
}

}  // namespace thimble
