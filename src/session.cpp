// SPDX-License-Identifier: MIT
#include "session.h"

#include <string.h>

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

Activations take_activations(Arena* arena, const thimble_model& m, uint32_t n_ctx, uint32_t batch) {
  Activations a = {};
  const uint64_t q = uint64_t{m.n_heads} * m.head_dim, kv = uint64_t{m.n_kv_heads} * m.head_dim;
  a.x_stride = row_width(m.dim);
  a.qkv_stride = row_width(q + 2 * kv);
  a.context_stride = row_width(q);
  a.gate_up_stride = row_width(2 * uint64_t{m.hidden_dim});
  a.scores_stride = row_width(n_ctx);
  a.x = arena->take<float>(uint64_t{batch} * a.x_stride);
  a.normed = arena->take<float>(uint64_t{batch} * a.x_stride);
  a.qkv = arena->take<float>(uint64_t{batch} * a.qkv_stride);
  a.context = arena->take<float>(uint64_t{batch} * a.context_stride);
  a.gate_up = arena->take<float>(uint64_t{batch} * a.gate_up_stride);
  a.rope = arena->take<float>(uint64_t{batch} * 2 * m.head_dim);
  a.scores = arena->take<float>(uint64_t{m.n_heads} * a.scores_stride);
  if (m.weight_type == kWeightQ8) {
    const uint64_t cols = widest_padded_input(m);
    const uint64_t groups = m.group ? (cols + m.group - 1) / m.group : 1;
    a.input.values = arena->take<int8_t>(batch * cols);
    a.input.scales = arena->take<float>(batch * groups);
    a.input.sums = arena->take<int32_t>(batch * groups);
  }
  return a;
}

}  // namespace

thimble_session* session_layout(Arena* arena, const thimble_model& model, uint32_t n_ctx,
                                uint32_t n_batch, const Kernels* kernels) {
  thimble_session* session = arena->take<thimble_session>(1);
  thimble_session s = {};
  s.model = model;
  s.kernels = kernels;
  s.n_ctx = n_ctx;
  s.n_batch = n_batch;
  s.pass.stage = kIdle;
  s.tokens = arena->take<int32_t>(n_ctx);
  s.cache = kv_cache_take(arena, model, n_ctx);
  s.logits = arena->take<float>(round_up(model.vocab_size, kLanes));
  s.odds = arena->take<uint32_t>(model.vocab_size);

  // Encoding happens between passes, so its scratch is the activations' memory.
  const uint64_t before = arena->used();
  s.act = take_activations(arena, model, n_ctx, n_batch);
  const uint64_t shared = arena->used() - before;
  const uint64_t wanted = model.max_token_bytes ? encode_scratch_bytes(kMinWordBytes) : 0;
  if (shared < wanted) arena->take<uint8_t>(wanted - shared);
  s.encode_scratch = s.act.x;
  s.encode_scratch_size = static_cast<size_t>(arena->used() - before);

  if (session) {
    s.weights = weights_of(model);
    *session = s;
    // Lanes beyond the last position are computed with its tile and thrown away; zeros keep what a
    // session reads independent of what the arena held before.
    const size_t cache_bytes =
        size_t{model.n_layers} * model.n_kv_heads * kv_head_stride(s.cache) * sizeof(float);
    memset(s.cache.keys, 0, cache_bytes);
    memset(s.cache.values, 0, cache_bytes);
  }
  return session;
}

thimble_status resolve_config(const thimble_model& model, const thimble_config* config,
                              ResolvedConfig* out) {
  static const thimble_config kDefault = {0, 0, nullptr};
  const thimble_config& c = config ? *config : kDefault;
  out->n_ctx = c.n_ctx ? c.n_ctx : model.n_ctx;
  out->n_batch = c.n_batch ? c.n_batch : 1;
  out->kernels = kernels_by_name(c.isa);
  const bool good = out->n_ctx <= model.n_ctx && out->n_batch <= kMaxBatch && out->kernels;
  if (out->n_batch > out->n_ctx) out->n_batch = out->n_ctx;  // a larger one could not be used
  return good ? THIMBLE_OK : THIMBLE_ERROR_CONFIG;
}

}  // namespace thimble
