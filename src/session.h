// SPDX-License-Identifier: MIT
// A session: one text being computed, with its cache and activations, all in the caller's arena.
#ifndef THIMBLE_SRC_SESSION_H
#define THIMBLE_SRC_SESSION_H

#include "arena.h"
#include "candidates.h"
#include "kernels/kernels.h"
#include "kv_cache.h"
#include "lora.h"
#include "model.h"
#include "prompt_lookup.h"
#include "rule.h"
#include "self_test.h"
#include "stream.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint32_t kMaxBatch = 1024;
constexpr uint32_t kMaxSinks = 64;

// Logits that are computed at once where candidates are kept.
constexpr uint32_t kHeadChunk = 64;

// What a session's structure takes of the arena, the same on every chip, however wide its pointers:
// a plan made on the host holds on the board.
constexpr uint32_t kSessionBytes = 1024;

// The steps of a pass in the order of the paper; the ones from kAttentionNorm to kDown once a
// layer.
enum Stage : uint32_t {
  kEmbed,
  kAttentionNormStage,
  kQkv,
  kMakeRoom,
  kRotateAndStore,
  kAttend,
  kAttentionOutputStage,
  kFeedForwardNormStage,
  kGateUp,
  kActivate,
  kDown,
  kFinalNormStage,
  kHead,
  kIdle
};

// Where a pass stands: a stage's work is a number of units (tokens, tiles, heads), any of which may
// be the last of a slice.
struct Pass {
  Stage stage;
  uint32_t layer;
  uint32_t unit;   // the next one of this stage
  uint32_t first;  // position of the batch's first token
  uint32_t n;      // tokens in the batch
  uint32_t end;    // position behind the last token that was fed
};

// Rows of n_batch activations; every row's width is rounded up to whole tiles (kLanes floats).
struct Activations {
  float* x;             // (n_batch, dim): the residual stream
  float* normed;        // (n_batch, dim): what a norm gives; later what a block adds to x
  float* qkv;           // (n_batch, (n_heads + 2 n_kv_heads) * head_dim)
  float* context;       // (n_batch, n_heads * head_dim): what attention gives
  float* gate_up;       // (n_batch, 2 * hidden_dim), or hidden_dim if not gated
  float* rope;          // (n_batch, n_ropes, 2, head_dim): the rotation's tables at each position
  float* scores;        // (n_heads, n_ctx): attention scores, then weights, of one position; those
                        // of sinks need sinks_stride more before each row
  QuantizedRows input;  // q8 weights: the current matrix's input; padded_cols and group vary
  QuantizedRows query;  // q8 cache: (n_heads, padded head_dim), one scale a head
  uint32_t x_stride, qkv_stride, context_stride, gate_up_stride, scores_stride, sinks_stride;
};

}  // namespace thimble

struct thimble_session {
  thimble_model model;
  thimble::Weights weights;
  const thimble::Kernels* kernels;
  thimble::KvCache cache;
  thimble::Activations act;
  thimble::Pass pass;
  thimble_attention_hook on_attention;
  void* hook_user;
  float*
      sink_rope;  // (n_ropes, 2, head_dim), with sinks: the rotation's tables at position n_ctx - 1
  int32_t* tokens;  // (token_room): those computed, then those fed; with sinks the last ones, in a
                    // ring: token_at
  float* logits;    // (rows of logits, vocab_size rounded up to whole tiles); with candidates
                    // (rows of logits, kHeadChunk)
  thimble::Candidates candidates;  // of the first row
  thimble::Drafts* drafts;         // null: there are none, and one row of logits
  thimble::Lora* lora;             // null: no memory for adapters
  uint32_t* odds;                  // (vocab_size or candidates): the sampler's scratch
  size_t encode_scratch_size;      // of the activations' memory from act.x on, used between passes
  uint32_t n_ctx, n_batch, n_sinks, token_room;
  uint32_t position;  // tokens fed and computed
  uint32_t cached;    // to be seen by the next one: less after a rewind beyond a window, more where
                      // drafted tokens follow
  uint16_t has_logits;
  uint8_t rules;           // as the configuration has it; else than 0 a RuleInUse lies behind
  uint8_t has_share_room;  // 1: Shares lie behind that
  uint32_t overflowed;     // tokens to the first one whose numbers went beyond a float's; 0: none
  thimble::SelfTest self_test;
};

namespace thimble {

static_assert(sizeof(thimble_session) <= kSessionBytes, "the structure has a fixed place");

// With sinks a text has no end, and its tokens a ring.
inline bool is_endless(const thimble_session* s) {
  return THIMBLE_SINKS && s->n_sinks > 0;
}
inline int32_t& token_at(const thimble_session* s, uint32_t position) {
  return s->tokens[is_endless(s) ? position % s->token_room : position];
}

// Tokens that can be fed at once. Positions end where their arithmetic would.
constexpr uint32_t kMaxPosition = UINT32_MAX - 4 * kMaxContext;
inline uint32_t room_of(const thimble_session* s) {
  const uint32_t left = (is_endless(s) ? kMaxPosition : s->n_ctx) - s->position;
  return is_endless(s) && left > s->n_ctx ? s->n_ctx : left;
}

// Copies what is fed behind the session's text.
void append_tokens(thimble_session* s, const int32_t* tokens, uint32_t n);

// A configuration without defaults, within its ranges.
struct ResolvedConfig {
  uint32_t n_ctx, n_batch, n_candidates, n_sinks, n_draft, lora_rank, rules, n_shares, share_work;
  WeightType kv_type;
  const Kernels* kernels;
#if THIMBLE_STREAM
  const thimble_store* store;  // of a model in a store
  uint64_t stream_bytes;       // of its buffer; 0 of other models
#endif
};

// The rotations' tables of a position, (n_ropes, 2, head_dim).
inline void rope_tables(const thimble_session* s, float* tables, uint32_t position) {
  const uint32_t head_dim = s->model.head_dim;
  for (uint32_t i = 0; i < header_of(s->model).n_ropes; ++i) {
    s->kernels->rope_table(tables + size_t{i} * 2 * head_dim,
                           s->weights.rope + size_t{i} * (head_dim / 2), head_dim, position);
  }
}

// What the arena is used for, in bytes.
struct SessionParts {
  uint64_t structure, tokens, cache, logits, activations;
#if THIMBLE_STREAM
  uint64_t stream;
#endif
};

// Rows of logits that a pass ends with: behind the last token that was fed, and each drafted one.
inline uint32_t logits_rows(const thimble_session* s) {
  return THIMBLE_DRAFT && s->drafts ? s->drafts->n_rows : 1;
}
// The one behind the last token that was fed.
inline uint32_t logits_row(const thimble_session* s) {
  return THIMBLE_DRAFT && s->drafts ? s->drafts->row : 0;
}
inline size_t logits_stride(const thimble_session* s) {
  return static_cast<size_t>(round_up(s->model.vocab_size, kLanes));
}
inline float* logits_at(const thimble_session* s, uint32_t row) {
  return s->logits + row * logits_stride(s);
}
inline Candidates* candidates_at(thimble_session* s, uint32_t row) {
  return THIMBLE_DRAFT && row > 0 ? &s->drafts->candidates[row - 1] : &s->candidates;
}

// Whether a token of the text led to numbers beyond a float's: there are no odds then.
inline bool has_overflowed(const thimble_session* s) {
  return s->overflowed && s->overflowed <= s->position;
}

// Whether what is computed now goes through an adapter. The self-test is the model's own.
inline bool has_adapter(const thimble_session* s) {
  return THIMBLE_LORA && s->lora && s->lora->matrices && !s->self_test.is_running;
}

// The rule in use; only of sessions that have room for one.
inline RuleInUse& rule_of(const thimble_session* s) {
  uint8_t* at = reinterpret_cast<uint8_t*>(const_cast<thimble_session*>(s));
  return *reinterpret_cast<RuleInUse*>(at + kSessionBytes);
}

// Where the weights of a model in a store come through; behind the structure, and a rule's place.
inline Stream& stream_of(const thimble_session* s) {
  uint8_t* at = reinterpret_cast<uint8_t*>(const_cast<thimble_session*>(s)) + kSessionBytes;
  if (THIMBLE_RULES && s->rules) at += kRuleBytes;
  return *reinterpret_cast<Stream*>(at);
}

// Whether a rule says which tokens may come.
inline bool has_rule(const thimble_session* s) {
  return THIMBLE_RULES && s->rules && rule_of(s).tables.states;
}

// Lays the session out in `arena`, which may only count; with memory, returns it, initialised.
// `parts` may be null.
thimble_session* session_layout(Arena* arena, const thimble_model& model,
                                const ResolvedConfig& config, SessionParts* parts);

// Resolves defaults and checks ranges.
thimble_status resolve_config(const thimble_model& model, const thimble_config* config,
                              ResolvedConfig* out);

}  // namespace thimble

#endif
