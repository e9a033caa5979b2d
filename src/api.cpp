// SPDX-License-Identifier: MIT
// The C API: checks arguments and state, then calls the parts.
#include <string.h>

#include "adapter.h"
#include "confidence.h"
#include "forward.h"
#include "pack.h"
#include "rule.h"
#include "sampler.h"
#include "saved_session.h"
#include "self_test.h"
#include "session.h"
#include "shares.h"
#include "stored_model.h"
#include "tokenizer.h"

using namespace thimble;

namespace {

bool is_busy(const thimble_session* s) {
  return s->pass.stage != kIdle;
}

#if THIMBLE_PACK
// A session whose odds of all tokens can be had, between passes.
thimble_status check_packing(const thimble_session* s) {
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  if (header_of(s->model).tokenizer == kTokenizerNone) return THIMBLE_ERROR_NO_TOKENIZER;
  return s->candidates.capacity > 0 || s->n_ctx < 2 ? THIMBLE_ERROR_ARGUMENT : THIMBLE_OK;
}
#endif

#if THIMBLE_CALLERS
// Settings of the size that they have for the caller, to a copy as this engine knows them (null:
// all zeros). False: a field that it does not know is not 0.
bool copy_settings(void* copy, size_t known, const void* given, size_t bytes) {
  memset(copy, 0, known);
  if (!given) return true;
  memcpy(copy, given, bytes < known ? bytes : known);
  const uint8_t* surplus = static_cast<const uint8_t*>(given);
  for (size_t i = known; i < bytes; ++i) {
    if (surplus[i] != 0) return false;
  }
  return true;
}

// *settings becomes `copy`.
template <class T>
bool take_settings(const T** settings, size_t bytes, T* copy) {
  const bool are_known = copy_settings(copy, sizeof *copy, *settings, bytes);
  *settings = copy;
  return are_known;
}

bool has_reserved(const thimble_sampling& sampling) {
  return sampling.reserved != 0;
}
#else
// An engine that is built together with its callers knows theirs.
template <class T>
bool take_settings(const T**, size_t, T*) {
  return true;
}

bool has_reserved(const thimble_sampling&) {
  return false;
}
#endif

thimble_status take_config(ResolvedConfig* out, const thimble_model& model,
                           const thimble_config* config, size_t bytes) {
  thimble_config copy;
  if (!take_settings(&config, bytes, &copy)) return THIMBLE_ERROR_UNSUPPORTED;
  return resolve_config(model, config, out);
}

bool is_aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % THIMBLE_ALIGNMENT == 0;
}

// The checks that come last: of tables that forward pass and tokenizer go by.
thimble_status check_content(thimble_model* model) {
  thimble_status status = check_tokenizer(*model, &model->fault);
  if (status == THIMBLE_OK) status = check_self_test(*model, &model->fault);
  return status;
}

}  // namespace

extern "C" {

const char* thimble_version(void) {
  return THIMBLE_VERSION;
}

thimble_status thimble_model_open(thimble_model* model, const void* image, size_t image_bytes) {
  if (!model) return THIMBLE_ERROR_ARGUMENT;
  if (!image) {
    memset(model, 0, sizeof *model);
    return THIMBLE_ERROR_ARGUMENT;
  }
  thimble_status status = open_model(model, image, image_bytes);
  if (status == THIMBLE_OK) status = check_content(model);
  if (status != THIMBLE_OK) model->image = nullptr;
  return status;
}

thimble_status thimble_model_verify(thimble_model* model) {
  if (!model || !model->image || is_stored(*model)) return THIMBLE_ERROR_ARGUMENT;
  return verify_model(model);
}

thimble_status thimble_tables_bytes(const thimble_store* store, size_t* bytes,
                                    thimble_fault* fault) {
  if (!store || !store->read || !bytes) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_STREAM
  thimble_fault ignored;
  return stored_tables_bytes(*store, bytes, fault ? fault : &ignored);
#else
  (void)fault;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_tables_read(const thimble_store* store, void* tables, size_t tables_bytes,
                                   thimble_fault* fault) {
  if (!store || !store->read || !tables) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_STREAM
  thimble_fault ignored;
  if (!is_aligned(tables)) return THIMBLE_ERROR_MISALIGNED;
  return read_stored_tables(*store, static_cast<uint8_t*>(tables), tables_bytes,
                            fault ? fault : &ignored);
#else
  (void)tables_bytes;
  (void)fault;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_model_open_streamed(thimble_model* model, const thimble_store* store,
                                           const void* tables, size_t tables_bytes) {
  if (!model) return THIMBLE_ERROR_ARGUMENT;
  memset(model, 0, sizeof *model);
  if (!store || !store->read || !tables) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_STREAM
  const uint8_t* image = static_cast<const uint8_t*>(tables);
  thimble_status status = open_stored_model(model, *store, image, tables_bytes);
  if (status == THIMBLE_OK) status = check_content(model);
  if (status != THIMBLE_OK) model->image = nullptr;
  return status;
#else
  (void)tables_bytes;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_model_verify_streamed(thimble_model* model, const thimble_store* store) {
  if (!model || !model->image || !is_stored(*model) || !store || !store->read) {
    return THIMBLE_ERROR_ARGUMENT;
  }
#if THIMBLE_STREAM
  return verify_stored_model(model, *store);
#else
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

size_t thimble_stream_bytes(const thimble_model* model) {
#if THIMBLE_STREAM
  if (model && model->image && is_stored(*model)) {
    const uint64_t bytes = stream_least_bytes(*model);
    return bytes > SIZE_MAX ? SIZE_MAX : static_cast<size_t>(bytes);
  }
#endif
  (void)model;
  return 0;
}

thimble_status thimble_adapter_open(thimble_adapter* adapter, const thimble_model* model,
                                    const void* image, size_t image_bytes) {
  if (!adapter) return THIMBLE_ERROR_ARGUMENT;
  memset(adapter, 0, sizeof *adapter);
  if (!model || !model->image || !image) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_LORA
  return open_adapter(adapter, *model, image, image_bytes);
#else
  (void)image_bytes;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_adapter_verify(thimble_adapter* adapter) {
  if (!adapter || !adapter->image) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_LORA
  return verify_adapter(adapter);
#else
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_rule_open(thimble_rule* rule, const thimble_model* model, const void* image,
                                 size_t image_bytes) {
  if (!rule) return THIMBLE_ERROR_ARGUMENT;
  memset(rule, 0, sizeof *rule);
  if (!model || !model->image || !image) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_RULES
  if (header_of(*model).tokenizer == kTokenizerNone) return THIMBLE_ERROR_NO_TOKENIZER;
  return open_rule(rule, *model, image, image_bytes);
#else
  (void)image_bytes;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_rule_verify(thimble_rule* rule) {
  if (!rule || !rule->image) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_RULES
  return verify_rule(rule);
#else
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

int thimble_is_end(const thimble_model* model, int32_t token) {
  return model && token >= 0 &&
         (token == model->eos_id || token == model->bos_id || token == model->end_of_turn_id);
}

size_t thimble_session_bytes_sized(const thimble_model* model, const thimble_config* config,
                                   size_t config_bytes) {
  ResolvedConfig c;
  if (!model || !model->image || take_config(&c, *model, config, config_bytes) != THIMBLE_OK) {
    return 0;
  }
  Arena counter(nullptr);
  session_layout(&counter, *model, c, nullptr);
  return counter.used() > SIZE_MAX ? SIZE_MAX : static_cast<size_t>(counter.used());
}

thimble_status thimble_session_init_sized(thimble_session** session, const thimble_model* model,
                                          const thimble_config* config, size_t config_bytes,
                                          void* arena, size_t arena_bytes) {
  if (!session || !model || !model->image || !arena) return THIMBLE_ERROR_ARGUMENT;
  ResolvedConfig c;
  const thimble_status status = take_config(&c, *model, config, config_bytes);
  if (status != THIMBLE_OK) return status;
  if (!is_aligned(arena)) return THIMBLE_ERROR_MISALIGNED;
  const size_t need = thimble_session_bytes_sized(model, config, config_bytes);
  if (arena_bytes < need || need == SIZE_MAX) return THIMBLE_ERROR_ARENA_TOO_SMALL;
  Arena block(arena);
  *session = session_layout(&block, *model, c, nullptr);
  return THIMBLE_OK;
}

thimble_status thimble_feed(thimble_session* s, const int32_t* tokens, size_t count) {
  if (!s || !tokens || count == 0) return THIMBLE_ERROR_ARGUMENT;
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  if (count > room_of(s)) return THIMBLE_ERROR_CONTEXT_FULL;
  for (size_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= s->model.vocab_size) {
      return THIMBLE_ERROR_TOKEN;
    }
  }
  const uint32_t n = static_cast<uint32_t>(count);
#if THIMBLE_RULES
  if (has_rule(s)) {
    if (!rule_feed(s, tokens, n)) return THIMBLE_ERROR_FORBIDDEN;
    if (float& c = rule_of(s).confidence; c > 0.0f && n == 1 && s->has_logits) {
      c *= odds_of_token(s, tokens[0]);
    }
  }
#endif
#if THIMBLE_DRAFT
  if (s->drafts) {
    feed_with_drafts(s, tokens, n);
    return THIMBLE_OK;
  }
#endif
  append_tokens(s, tokens, n);
  forward_begin(s, s->position + n, 1);
  return THIMBLE_OK;
}

thimble_status thimble_step(thimble_session* s, uint64_t budget) {
  return s ? forward_step(s, budget) : THIMBLE_ERROR_ARGUMENT;
}

thimble_status thimble_rewind(thimble_session* s, uint32_t position) {
  if (!s || position > s->position) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_SINKS
  if (is_endless(s) && position > 0 &&
      !kv_cache_reaches(s->cache, s->model.n_layers, position + 1)) {
    return THIMBLE_ERROR_FORGOTTEN;
  }
#endif
#if THIMBLE_RULES
  if (has_rule(s)) {
    if (!rule_reaches(s, position)) return THIMBLE_ERROR_FORGOTTEN;
    rule_rewind(s, position);
  }
#endif
  rewind_to(s, position);
  return THIMBLE_OK;
}

thimble_status thimble_session_lora(thimble_session* s, const thimble_adapter* adapter) {
  if (!s || (adapter && !adapter->image)) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_LORA
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  if (s->position > 0) return THIMBLE_ERROR_NOT_EMPTY;
  // What was checked were the shapes of that very model.
  if (adapter && adapter->model_image != s->model.image) return THIMBLE_ERROR_OTHER_MODEL;
  if (adapter && (!s->lora || adapter->rank > s->lora->max_rank)) return THIMBLE_ERROR_LORA_RANK;
  rewind_to(s, 0);  // what was computed ahead is of the other weights, too
  if (s->lora) lora_use(s->lora, adapter, s->model.n_layers);
  return THIMBLE_OK;
#else
  return adapter ? THIMBLE_ERROR_UNSUPPORTED : THIMBLE_OK;
#endif
}

thimble_status thimble_session_constrain(thimble_session* s, const thimble_rule* rule) {
  if (!s || (rule && !rule->image)) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_RULES
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  // What was checked was that very model's vocabulary.
  if (rule && rule->model_image != s->model.image) return THIMBLE_ERROR_OTHER_MODEL;
  if (!s->rules) return rule ? THIMBLE_ERROR_CONFIG : THIMBLE_OK;
  const bool was_ruled = has_rule(s);
  rule_use(s, rule);
  if (s->has_logits && (rule || was_ruled)) forward_head(s);
  return THIMBLE_OK;
#else
  return rule ? THIMBLE_ERROR_UNSUPPORTED : THIMBLE_OK;
#endif
}

int thimble_rule_is_met(const thimble_session* s) {
#if THIMBLE_RULES
  return s && has_rule(s) && rule_accepts(rule_of(s).tables, rule_of(s).state);
#else
  (void)s;
  return 0;
#endif
}

float thimble_session_confidence(const thimble_session* s) {
#if THIMBLE_RULES
  if (s && has_rule(s)) return rule_of(s).confidence;
#endif
  (void)s;
  return 0.0f;
}

uint32_t thimble_position(const thimble_session* s) {
  return s ? s->position : 0;
}

uint32_t thimble_context_size(const thimble_session* s) {
  return s ? s->n_ctx : 0;
}

uint32_t thimble_room(const thimble_session* s) {
  return s ? room_of(s) : 0;
}

thimble_drafts thimble_draft_counts(const thimble_session* s) {
#if THIMBLE_DRAFT
  if (s && s->drafts) return {s->drafts->drafted, s->drafts->accepted};
#endif
  (void)s;
  return {0, 0};
}

const float* thimble_logits(const thimble_session* s) {
  const bool is_there = s && s->has_logits && s->candidates.capacity == 0;
  return is_there ? logits_at(s, logits_row(s)) : nullptr;
}

uint64_t thimble_logits_hash(const thimble_session* s, uint64_t hash) {
  return s && s->has_logits ? forward_logits_hash(s, hash) : hash;
}

thimble_status thimble_on_attention(thimble_session* s, thimble_attention_hook hook, void* user) {
  if (!s) return THIMBLE_ERROR_ARGUMENT;
  s->on_attention = hook;
  s->hook_user = user;
  return THIMBLE_OK;
}

thimble_status thimble_on_shares(thimble_session* s, thimble_share_hook hook, void* user) {
  if (!s) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_SHARES
  if (!s->has_share_room) return hook ? THIMBLE_ERROR_CONFIG : THIMBLE_OK;
  shares_of(s).hook = hook;
  shares_of(s).user = user;
  return THIMBLE_OK;
#else
  (void)user;
  return hook ? THIMBLE_ERROR_UNSUPPORTED : THIMBLE_OK;
#endif
}

void thimble_share(thimble_session* s, uint32_t share) {
#if THIMBLE_SHARES
  if (!s || !s->has_share_room) return;
  const Shares& all = shares_of(s);
  if (!all.run || share >= all.n) return;
  const uint32_t each = (all.end - all.begin + all.n - 1) / all.n;
  const uint32_t begin = all.begin + share * each, end = begin + each;
  if (begin < all.end) all.run(s, all.work, begin, end < all.end ? end : all.end);
#else
  (void)s;
  (void)share;
#endif
}

thimble_status thimble_self_test(thimble_session* s, uint64_t budget,
                                 thimble_self_test_report* report) {
  if (!s) return THIMBLE_ERROR_ARGUMENT;
  if (!s->self_test.is_running) {
    if (is_busy(s)) return THIMBLE_ERROR_BUSY;
    const thimble_status status = forward_self_test(s, nullptr);
    if (status != THIMBLE_OK) return status;
  }
#if THIMBLE_STREAM
  const thimble_status status = forward_step(s, budget);
  if (status != THIMBLE_OK) return status;
#else
  if (forward_step(s, budget) == THIMBLE_MORE) return THIMBLE_MORE;
#endif
  return forward_self_test_end(s, report);
}

size_t thimble_session_save_bytes(const thimble_session* s) {
  if (!s || is_busy(s)) return 0;
  const uint64_t bytes = saved_bytes(s);
  return bytes > SIZE_MAX ? SIZE_MAX : static_cast<size_t>(bytes);
}

thimble_status thimble_session_save(const thimble_session* s, void* out, size_t out_bytes) {
  if (!s || !out) return THIMBLE_ERROR_ARGUMENT;
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  if (out_bytes < saved_bytes(s)) return THIMBLE_ERROR_OUTPUT_TOO_SMALL;
  save_session(s, static_cast<uint8_t*>(out));
  return THIMBLE_OK;
}

thimble_status thimble_session_load(thimble_session* s, const void* saved, size_t bytes) {
  if (!s || !saved) return THIMBLE_ERROR_ARGUMENT;
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  return load_session(s, static_cast<const uint8_t*>(saved), bytes);
}

const char* thimble_isa_at(size_t index) {
  const Kernels* kernels = kernels_at(index);
  return kernels ? kernels->name : nullptr;
}

const char* thimble_isa(const thimble_session* s) {
  return s ? s->kernels->name : "";
}

int32_t thimble_sample_sized(thimble_session* s, const thimble_sampling* sampling,
                             size_t sampling_bytes) {
  if (!s || !sampling) return THIMBLE_ERROR_ARGUMENT;
  thimble_sampling copy;
  if (!take_settings(&sampling, sampling_bytes, &copy) || has_reserved(*sampling)) {
    return THIMBLE_ERROR_UNSUPPORTED;
  }
  if (!s->has_logits) return THIMBLE_ERROR_NO_LOGITS;
  if (has_overflowed(s)) return THIMBLE_ERROR_NOT_FINITE;
#if THIMBLE_RULES
  if (has_rule(s) && !rule_any(rule_of(s).tables, rule_of(s).state, 0, s->model.n_tokens)) {
    return THIMBLE_ERROR_DEAD_END;
  }
#endif
  const Candidates& kept = *candidates_at(s, logits_row(s));
  const bool is_cut = kept.capacity > 0;
  SampleInput input = {is_cut ? kept.logits : logits_at(s, logits_row(s)),
                       is_cut ? kept.ids : nullptr,
                       s->odds,
                       is_cut ? kept.n : s->model.n_tokens,
                       s->tokens,
                       s->position};
#if THIMBLE_SINKS
  input.ring = s->token_room;
  input.kept = s->n_ctx;
#endif
  return sample_token(*s->kernels, input, *sampling);
}

int32_t thimble_encode(thimble_session* s, const char* text, size_t text_bytes, uint32_t flags,
                       int32_t* tokens, size_t capacity) {
  if (!s || (!text && text_bytes > 0) || (!tokens && capacity > 0) ||
      (flags & ~(THIMBLE_ENCODE_BOS | THIMBLE_ENCODE_SPECIAL)) != 0) {
    return THIMBLE_ERROR_ARGUMENT;
  }
  if (is_busy(s)) return THIMBLE_ERROR_BUSY;
  if (header_of(s->model).tokenizer == kTokenizerNone) return THIMBLE_ERROR_NO_TOKENIZER;
  return encode_text(s->model, text, text_bytes, flags, tokens, capacity, s->act.x,
                     s->encode_scratch_size);
}

size_t thimble_encode_word_bytes(const thimble_session* s) {
  return s ? encode_word_bytes(s->encode_scratch_size) : 0;
}

int32_t thimble_decode(const thimble_model* model, thimble_decoder* decoder, int32_t token,
                       char* out, size_t capacity) {
  if (!model || !model->image || !decoder || (!out && capacity > 0)) return THIMBLE_ERROR_ARGUMENT;
  if (header_of(*model).tokenizer == kTokenizerNone) return THIMBLE_ERROR_NO_TOKENIZER;
  if (token < 0 || static_cast<uint32_t>(token) >= model->vocab_size) return THIMBLE_ERROR_TOKEN;
  return decode_token(*model, decoder, token, out, capacity);
}

int32_t thimble_decode_end(thimble_decoder* decoder, char* out, size_t capacity) {
  if (!decoder || (!out && capacity > 0)) return THIMBLE_ERROR_ARGUMENT;
  return decode_end(decoder, out, capacity);
}

thimble_status thimble_pack_begin(thimble_pack* pack, thimble_session* s, const void* text,
                                  size_t text_bytes) {
  if (!pack || !s || (!text && text_bytes > 0) || text_bytes > UINT32_MAX) {
    return THIMBLE_ERROR_ARGUMENT;
  }
#if THIMBLE_PACK
  const thimble_status status = check_packing(s);
  if (status == THIMBLE_OK) {
    pack_begin(reinterpret_cast<Packer*>(pack), s, static_cast<const uint8_t*>(text),
               static_cast<uint32_t>(text_bytes));
  }
  return status;
#else
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_pack_step(thimble_pack* pack, uint64_t budget, void* out, size_t capacity,
                                 size_t* written) {
  if (!pack || (!out && capacity > 0) || !written) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_PACK
  return pack_step(reinterpret_cast<Packer*>(pack), budget, static_cast<uint8_t*>(out), capacity,
                   written);
#else
  (void)budget;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_unpack_begin(thimble_unpack* unpack, thimble_session* s, const void* packed,
                                    size_t packed_bytes, size_t* text_bytes) {
  if (!unpack || !s || (!packed && packed_bytes > 0)) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_PACK
  Unpacker* u = reinterpret_cast<Unpacker*>(unpack);
  thimble_status status = check_packing(s);
  if (status == THIMBLE_OK) {
    status = unpack_begin(u, s, static_cast<const uint8_t*>(packed), packed_bytes);
  }
  if (text_bytes) *text_bytes = status == THIMBLE_OK ? u->text_bytes : 0;
  return status;
#else
  (void)text_bytes;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

thimble_status thimble_unpack_step(thimble_unpack* unpack, uint64_t budget, void* out,
                                   size_t capacity, size_t* written) {
  if (!unpack || (!out && capacity > 0) || !written) return THIMBLE_ERROR_ARGUMENT;
#if THIMBLE_PACK
  return unpack_step(reinterpret_cast<Unpacker*>(unpack), budget, static_cast<uint8_t*>(out),
                     capacity, written);
#else
  (void)budget;
  return THIMBLE_ERROR_UNSUPPORTED;
#endif
}

}  // extern "C"
