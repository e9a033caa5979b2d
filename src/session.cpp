// SPDX-License-Identifier: MIT
#include "session.h"

#include <string.h>

#include "shares.h"
#include "stored_model.h"
#include "tokenizer.h"

namespace thimble {
namespace {

uint32_t row_width(uint64_t floats) {
  return static_cast<uint32_t>(round_up(floats, kLanes));
}

// Room for one quantized row of the widest input, in any group.
uint64_t widest_padded_input(const thimble_model& m) {
  uint64_t widest = 0;
  constexpr SectionKind kWidths[] = {kAttentionQkv, kAttentionOutput, kFeedForwardDown};
  for (SectionKind kind : kWidths) {
    const uint64_t cols = matrix_of(m, kind).padded_cols;
    widest = cols > widest ? cols : widest;
  }
  return widest;
}

KvConfig kv_config(const ResolvedConfig& c) {
  return {c.n_ctx, c.n_batch, c.n_sinks, c.kv_type, c.kernels->row_tile};
}

// Scores of one head at most: all positions, or the longest window and what a whole tile before it
// adds.
uint32_t longest_look(const thimble_model& m, const ResolvedConfig& config) {
#if THIMBLE_MOVING
  const uint32_t n_ctx = config.n_ctx;
  const bool has_windows = THIMBLE_WINDOWS && header_of(m).has_windows;
  if (!has_windows && config.n_sinks == 0) return n_ctx;
  const uint32_t* kinds = has_windows ? table_of<uint32_t>(m, kLayerKinds) : nullptr;
  uint32_t longest = 0;
  for (uint32_t i = 0; i < m.n_layers; ++i) {
    const KvLayer layer = kv_layer(kinds ? kinds[2 * i] : 0, kv_config(config));
    const uint32_t behind = layer.window + kLanes - 1;  // where a window does not start a tile
    const bool is_cut = behind > n_ctx && config.n_sinks == 0;  // a text ends, or it goes on,
    const bool is_all = layer.window == 0 || is_cut || (layer.sinks > 0 && behind < n_ctx);
    const uint32_t seen = is_all ? n_ctx : behind;
    longest = seen > longest ? seen : longest;
  }
  return longest;
#else
  (void)m;
  return config.n_ctx;
#endif
}

// In two steps: what a pass's end needs, then what is only used within a pass.
void take_inputs(Activations* a, Arena* arena, const thimble_model& m, uint32_t batch) {
  a->x_stride = row_width(m.dim);
  a->normed = arena->take<float>(uint64_t{batch} * a->x_stride);
  if (m.weight_type == kWeightF32) return;
  const uint64_t cols = widest_padded_input(m);
  const uint64_t groups = m.group ? (cols + m.group - 1) / m.group : 1;
  a->input.values = arena->take<int8_t>(batch * cols);
  a->input.scales = arena->take<float>(batch * groups);
  a->input.sums = arena->take<int32_t>(batch * groups);
}

void take_activations(Activations* to, Arena* arena, const thimble_model& m,
                      const ResolvedConfig& config) {
  Activations& a = *to;
  const uint64_t batch = config.n_batch;
  const uint64_t q = uint64_t{m.n_heads} * m.head_dim, kv = uint64_t{m.n_kv_heads} * m.head_dim;
  a.qkv_stride = row_width(q + 2 * kv);
  a.context_stride = row_width(q);
  a.gate_up_stride =
      row_width((THIMBLE_NOT_GATED && !header_of(m).gated ? 1 : 2) * uint64_t{m.hidden_dim});
  a.scores_stride = row_width(longest_look(m, config));
#if THIMBLE_SINKS
  a.sinks_stride = row_width(config.n_sinks);
  a.scores_stride += a.sinks_stride;
#endif
  a.x = arena->take<float>(batch * a.x_stride);
  a.qkv = arena->take<float>(batch * a.qkv_stride);
  a.context = arena->take<float>(batch * a.context_stride);
  a.gate_up = arena->take<float>(batch * a.gate_up_stride);
  a.rope = arena->take<float>(batch * header_of(m).n_ropes * 2 * m.head_dim);
  a.scores = arena->take<float>(uint64_t{m.n_heads} * a.scores_stride);
  if (config.kv_type == kWeightQ8) {
    a.query.padded_cols = a.query.group = kv_padded_dim(m.head_dim);
    a.query.n_groups = 1;
    a.query.values = arena->take<int8_t>(uint64_t{m.n_heads} * a.query.padded_cols);
    a.query.scales = arena->take<float>(m.n_heads);
    a.query.sums = arena->take<int32_t>(m.n_heads);
  }
}

// Behind the memory for candidates, whose first row is `first`.
Drafts* drafts_take(Arena* arena, uint32_t capacity, uint64_t model_bytes, Candidates first) {
  Drafts* drafts = reinterpret_cast<Drafts*>(arena->take<uint8_t>(kDraftsBytes));
  if (!drafts) return nullptr;
  *drafts = {};
  drafts->capacity = capacity;
  drafts->price = draft_price(model_bytes);
  drafts->tokens_a_credit = lookup_tokens(model_bytes);
  for (uint32_t i = 0; i < capacity; ++i) {
    first.logits += first.capacity;
    first.ids += first.capacity;
    drafts->candidates[i] = first;
  }
  return drafts;
}

// A text without end needs positions without end.
bool has_good_sinks(const thimble_model& m, const ResolvedConfig& config) {
  return config.n_sinks == 0 || (THIMBLE_SINKS && config.n_sinks <= kMaxSinks &&
                                 config.n_sinks < config.n_ctx && !header_of(m).learned_positions);
}

#if THIMBLE_STREAM
// A model in a store needs to know it, and a buffer for two tiles at least.
bool has_good_store(const thimble_model& m, const thimble_config& c, ResolvedConfig* out) {
  out->store = nullptr;
  out->stream_bytes = 0;
  if (!is_stored(m)) return true;
  if (!c.store || !c.store->read) return false;
  const uint64_t least = stream_least_bytes(m), given = c.store->buffer_bytes;
  out->store = c.store;
  out->stream_bytes = given ? given - given % (2 * kStoreBlock) : least;
  return out->stream_bytes >= least;
}
#endif

}  // namespace

thimble_session* session_layout(Arena* arena, const thimble_model& model,
                                const ResolvedConfig& config, SessionParts* parts) {
  uint64_t before = 0;
  const auto taken = [&] {
    const uint64_t bytes = arena->used() - before;
    before = arena->used();
    return bytes;
  };
  SessionParts p = {};
  void* place = arena->take<uint8_t>(kSessionBytes);
#if THIMBLE_RULES
  if (config.rules) {
    RuleInUse* rule = reinterpret_cast<RuleInUse*>(arena->take<uint8_t>(kRuleBytes));
    if (rule) *rule = {};
  }
#endif
#if THIMBLE_SHARES
  if (config.n_shares) {
    Shares* shares = reinterpret_cast<Shares*>(arena->take<uint8_t>(kSharesBytes));
    if (shares) {
      *shares = {};
      shares->n = config.n_shares;
      shares->least = config.share_work;
    }
  }
#endif
  p.structure = taken();
#if THIMBLE_STREAM
  if (config.stream_bytes > 0) {
    stream_take(arena, model, *config.store, static_cast<size_t>(config.stream_bytes));
    p.stream = taken();
  }
#endif
  thimble_session s = {};
  s.model = model;
  s.kernels = config.kernels;
  s.n_ctx = config.n_ctx;
  s.n_batch = config.n_batch;
  s.pass.stage = kIdle;
#if THIMBLE_RULES
  s.rules = static_cast<uint8_t>(config.rules);
#endif
#if THIMBLE_SHARES
  s.has_share_room = config.n_shares > 0;
#endif
  uint32_t token_room = config.n_ctx;
#if THIMBLE_SINKS
  // The last n_ctx tokens stay through a rewind: one of n_ctx that were fed and not computed, or
  // one within what the cache still has.
  if (config.n_sinks > 0) token_room += config.n_ctx + config.n_batch + 2 * kLanes;
  s.n_sinks = config.n_sinks;
  s.token_room = token_room;
#endif
  s.tokens = arena->take<int32_t>(token_room);
  p.tokens = taken();
  s.cache = kv_cache_take(arena, model, kv_config(config));
#if THIMBLE_SINKS
  if (config.n_sinks > 0) {
    s.sink_rope = arena->take<float>(uint64_t{header_of(model).n_ropes} * 2 * model.head_dim);
  }
#endif
  p.cache = taken();
  const uint32_t kept = config.n_candidates, rows = config.n_draft + 1;
  s.candidates = candidates_take(arena, kept, rows);
  s.logits = arena->take<float>(rows * (kept ? kHeadChunk : round_up(model.vocab_size, kLanes)));
  s.odds = arena->take<uint32_t>(kept ? kept : model.vocab_size);
  if (THIMBLE_DRAFT && config.n_draft > 0) {
    s.drafts = drafts_take(arena, config.n_draft, model.image_bytes, s.candidates);
  }
  p.logits = taken();
#if THIMBLE_LORA
  if (config.lora_rank > 0) s.lora = lora_take(arena, model, config.n_batch, config.lora_rank);
#endif

  // Encoding happens between passes, so its scratch is the activations' memory, but for the last
  // matrix's input, which the logits can be computed from again.
  take_inputs(&s.act, arena, model, config.n_batch);
  const uint64_t scratch = arena->used();
  take_activations(&s.act, arena, model, config);
  const uint64_t shared = arena->used() - scratch;
  const uint64_t wanted = model.max_token_bytes ? encode_scratch_bytes(kMinWordBytes) : 0;
  if (shared < wanted) arena->take<uint8_t>(wanted - shared);
  s.encode_scratch_size = static_cast<size_t>(arena->used() - scratch);
  p.activations = taken();
  if (parts) *parts = p;

  thimble_session* session = static_cast<thimble_session*>(place);
  if (session) {
    s.weights = weights_of(model);
#if THIMBLE_SINKS
    if (is_endless(&s)) rope_tables(&s, s.sink_rope, s.n_ctx - 1);
#endif
    *session = s;
    kv_cache_clear(s.cache, model.n_layers);
  }
  return session;
}

void append_tokens(thimble_session* s, const int32_t* tokens, uint32_t n) {
  if (is_endless(s)) {
    for (uint32_t i = 0; i < n; ++i) token_at(s, s->position + i) = tokens[i];
  } else {
    memmove(s->tokens + s->position, tokens, n * sizeof *tokens);
  }
}

thimble_status resolve_config(const thimble_model& model, const thimble_config* config,
                              ResolvedConfig* out) {
  static const thimble_config kDefault = {};
  const thimble_config& c = config ? *config : kDefault;
  out->n_ctx = c.n_ctx ? c.n_ctx : model.n_ctx;
  out->n_batch = c.n_batch ? c.n_batch : 1;
  out->n_candidates = c.n_candidates < model.vocab_size ? c.n_candidates : 0;
  out->n_sinks = c.n_sinks;
  out->kv_type = c.kv_type == THIMBLE_KV_Q8 ? kWeightQ8 : kWeightF32;
  out->n_draft = c.n_draft;
  out->lora_rank = c.lora_rank;
  out->rules = c.rules;
#if THIMBLE_SHARES
  out->n_shares = c.n_shares;
  out->share_work = c.share_work ? c.share_work : kShareWork;
#endif
  out->kernels = kernels_by_name(c.isa);
#if THIMBLE_STREAM
  if (!has_good_store(model, c, out)) return THIMBLE_ERROR_CONFIG;
#endif
  const bool good = out->n_ctx <= model.n_ctx && out->n_batch <= kMaxBatch &&
                    out->n_candidates <= kMaxCandidates && has_good_sinks(model, *out) &&
                    out->n_draft <= (THIMBLE_DRAFT ? kMaxDraft : 0) &&
                    out->lora_rank <= (THIMBLE_LORA ? kMaxLoraRank : 0) &&
                    out->rules <= (THIMBLE_RULES ? THIMBLE_RULES_CONFIDENCE : 0) &&
                    c.n_shares <= (THIMBLE_SHARES ? kMaxShares : 0) &&
                    (c.kv_type == THIMBLE_KV_F32 || c.kv_type == THIMBLE_KV_Q8) && out->kernels;
  // Larger ones could not be used.
  if (out->n_draft > out->n_ctx - 1) out->n_draft = out->n_ctx - 1;
  if (out->n_batch > out->n_ctx) out->n_batch = out->n_ctx;
  if (out->n_batch < out->n_draft + 1) out->n_batch = out->n_draft + 1;
  return good ? THIMBLE_OK : THIMBLE_ERROR_CONFIG;
}

}  // namespace thimble
