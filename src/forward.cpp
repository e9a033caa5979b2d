// SPDX-License-Identifier: MIT
// A decoder (Radford et al. 2019, Touvron et al. 2023), for each layer:
//   x = x + Wo . attention(Wq . h, Wk . h, Wv . h)          h = norm(x)
//   x = x + W2 . (act(W1 . h) * (W3 . h))                   h = norm(x)
// and at the end logits = W . norm(x), for the last token only. The header says which norm and
// which activation, whether matrices have biases, blocks a norm behind them, too, and whether both
// blocks of a layer start from the same x (parallel).
//
// An adapter makes W x + B (A x) of the products within layers (lora.h).
//
// It runs on a batch of tokens at once, so that prefill reads the weights once for all of them, and
// as a row of stages whose work can stop after any unit, so that a pass can be sliced.
#include "forward.h"

#include <string.h>

#include "attention.h"
#include "exact_math.h"
#include "forward_products.h"
#include "hash.h"
#include "shares.h"

namespace thimble {
namespace {

// ---- What a unit of each stage does --------------------------------------------------------

#if THIMBLE_SCALES
void scale(float* x, uint32_t n, float factor) {
  if (factor == 1.0f) return;
  for (uint32_t i = 0; i < n; ++i) x[i] = x[i] * factor;
}

// logits = cap * tanh(logits * scale / cap)
void scale_logits(const FileHeader& h, float* logits, uint32_t n) {
  scale(logits, n, h.logit_scale);
  if (h.logit_cap == 0.0f) return;
  for (uint32_t i = 0; i < n; ++i) {
    logits[i] = exact_tanh(Scalar{logits[i] / h.logit_cap}).v * h.logit_cap;
  }
}
#endif

void embed(thimble_session* s, uint32_t row) {
  const Activations& a = s->act;
  const uint32_t position = s->pass.first + row;
  const uint32_t token = static_cast<uint32_t>(token_at(s, position));
  const uint32_t head_dim = s->model.head_dim, tables = header_of(s->model).n_ropes;
  float* x = a.x + size_t{row} * a.x_stride;
  embedded_row(s, x, s->weights.embedding, token);
#if THIMBLE_SCALES
  scale(x, s->model.dim, header_of(s->model).embedding_scale);
#endif
#if THIMBLE_LEARNED_POSITIONS
  if (header_of(s->model).learned_positions) {
    float* learned = a.normed + size_t{row} * a.x_stride;
    embedded_row(s, learned, s->weights.positions, position);
    s->kernels->add(x, learned, s->model.dim);
  }
#endif
  rope_tables(s, a.rope + size_t{row} * tables * 2 * head_dim, position);
}

// The batch row that the first row of logits comes from; in batches before the last one, beyond it.
uint32_t first_logits_row(const thimble_session* s) {
  return s->pass.end - s->pass.first - logits_rows(s);
}

// Whoever wants logits as they are computed: n of them, of a row, from token `first` on.
using UseLogits = void (*)(void* user, uint32_t row, const float* logits, uint32_t n,
                           uint32_t first);

#if THIMBLE_RULES
// Whether a row may draw a token of the first chunk of the head's tiles from `first` on. `tiles`
// shrinks to the run of chunks that are alike, so that products stay few and long.
[[gnu::noinline]] bool is_run_wanted(const thimble_session* s, const uint32_t* states,
                                     uint32_t rows, uint32_t first, uint32_t* tiles) {
  const Matrix& head = s->weights.head;
  const uint32_t chunk = kHeadChunk / head.row_tile;
  if (kRuleIsSmall) {  // it is a single one
    const uint32_t token = first * head.row_tile, left = head.rows - token;
    bool any = false;
    for (uint32_t i = 0; i < rows && !any; ++i) {
      any = rule_any(rule_of(s).tables, states[i], token, left < kHeadChunk ? left : kHeadChunk);
    }
    return any;
  }
  const uint32_t end = first + *tiles;
  for (uint32_t i = 0; i < rows; ++i) {
    if (rule_is_dense(rule_of(s).tables, states[i])) return true;
  }
  bool is_wanted = false;
  for (uint32_t at = first; at < end; at += chunk) {
    uint32_t next = UINT32_MAX;
    for (uint32_t i = 0; i < rows; ++i) {
      const uint32_t of_row = rule_next(rule_of(s).tables, states[i], at * head.row_tile);
      next = of_row < next ? of_row : next;
    }
    const bool any = next / head.row_tile < at + chunk;
    if (at > first && any != is_wanted) {
      *tiles = at - first;
      break;
    }
    is_wanted = any;
    if (any) continue;
    // Chunks up to the next token's are alike.
    const uint32_t skipped =
        next / head.row_tile < end ? (next - at * head.row_tile) / kHeadChunk : end;
    if (skipped == end) break;
    at += (skipped - 1) * chunk;
  }
  return is_wanted;
}
#endif

// `rows` rows of logits from `row` on, minus infinity where a rule forbids the token, those of the
// head's tiles [begin, end), in chunks where there is no array of all.
void head_chunks(const thimble_session* s, uint32_t row, uint32_t rows, uint32_t begin,
                 uint32_t end, UseLogits use, void* user) {
  const Activations& a = s->act;
  const Matrix& head = s->weights.head;
  const uint32_t batch_row = first_logits_row(s) + row, tile = head.row_tile;
  const size_t stride = s->candidates.capacity ? kHeadChunk : logits_stride(s);
  uint32_t at_once = s->candidates.capacity ? kHeadChunk / tile : end - begin;
#if THIMBLE_RULES
  // In the second cache; with fewer, products lose more to beginning than masks gain.
  constexpr uint32_t kMaskedAtOnce = kRuleIsSmall ? kHeadChunk : 16384;
  const bool is_ruled = has_rule(s);
  if (is_ruled && at_once > kMaskedAtOnce / tile) at_once = kMaskedAtOnce / tile;
  uint32_t states[kMaxDraft + 1];
  if (is_ruled) rule_row_states(s, row, rows, states);
#endif
  for (uint32_t first = begin, tiles; first < end; first += tiles) {
    tiles = end - first < at_once ? end - first : at_once;
    const uint32_t token = first * tile, left = head.rows - token;
    float* logits = s->logits + (s->candidates.capacity ? 0 : row * stride + token);
#if THIMBLE_RULES
    const bool is_wanted = !is_ruled || is_run_wanted(s, states, rows, first, &tiles);
#else
    constexpr bool is_wanted = true;
#endif
    if (is_wanted) {
      tiles = multiply_own(s, tiles_from(head, first), 0, tiles, logits, stride, a.normed,
                           a.x_stride, batch_row, rows);
    }
    if (has_read_failed(s) && tiles == 0) return stop_at(s, first - begin);
    const uint32_t n = left < tiles * tile ? left : tiles * tile;
    for (uint32_t i = 0; i < rows; ++i, logits += stride) {
#if THIMBLE_SCALES
      if (is_wanted) scale_logits(header_of(s->model), logits, n);
#endif
#if THIMBLE_RULES
      if (is_ruled) rule_mask(rule_of(s).tables, states[i], logits, token, n);
#endif
      use(user, row + i, logits, n, token);
    }
    if (has_read_failed(s)) return stop_at(s, first + tiles - begin);
  }
}

void take_logits(void* session, uint32_t row, const float* logits, uint32_t n, uint32_t first) {
  thimble_session* s = static_cast<thimble_session*>(session);
  if (s->self_test.is_running) {
    s->self_test.logits_hash = hash_floats(s->self_test.logits_hash, logits, n);
  }
  if (s->candidates.capacity > 0 && first < s->model.n_tokens) {
    const uint32_t drawn = s->model.n_tokens - first;  // those behind are no tokens
    candidates_offer(candidates_at(s, row), *s->kernels, logits, n < drawn ? n : drawn,
                     static_cast<int32_t>(first));
  }
}

void hash_logits(void* hash, uint32_t, const float* logits, uint32_t n, uint32_t) {
  uint64_t* h = static_cast<uint64_t*>(hash);
  *h = hash_floats(*h, logits, n);
}

// The last token's residual stream behind a layer.
void test_layer(thimble_session* s, uint32_t row, uint32_t layer) {
  if (!s->self_test.is_running || s->pass.first + row + 1 != s->pass.end) return;
  const float* x = s->act.x + size_t{row} * s->act.x_stride;
  self_test_result(&s->self_test, layer, hash_floats(THIMBLE_HASH_START, x, s->model.dim));
}

// Remembers the first token whose residual stream is beyond what norms can square and sum. As each
// block only adds to it, its last look is enough. What is no number is beyond it in its bits, too.
void watch(thimble_session* s, uint32_t row) {
  const float* x = s->act.x + size_t{row} * s->act.x_stride;
  uint32_t any = 0;  // the highest bit, if one is
  for (uint32_t i = 0; i < s->model.dim; ++i) {
    any |= (bits_of(x[i]) & 0x7fffffffu) + (0x80000000u - bits_of(kResidualLimit));
  }
  if (any >> 31 && !s->overflowed) s->overflowed = s->pass.first + row + 1;
}

void norm(const thimble_session* s, float* out, const float* x, const float* weight) {
  const uint32_t dim = s->model.dim;
#if THIMBLE_LAYER_NORM
  if (!THIMBLE_RMS_NORM || header_of(s->model).norm == kNormLayer) {
    s->kernels->layer_norm(out, x, weight, weight + dim, dim, s->weights.norm_eps);
    return;
  }
#endif
  s->kernels->rms_norm(out, x, weight, dim, s->weights.norm_eps);
}

// What a block gives on its way to the residual stream; a norm's weight may be null, as a bias.
struct Block {
  const float* bias;
  const float* norm;
};

Block attention_block(const Weights& w, uint32_t layer) {
  return {w.output_bias ? at_layer(w.output_bias, w, layer) : nullptr,
          w.attention_post_norm ? at_layer(w.attention_post_norm, w, layer) : nullptr};
}
Block feed_forward_block(const Weights& w, uint32_t layer) {
  return {w.down_bias ? at_layer(w.down_bias, w, layer) : nullptr,
          w.feed_forward_post_norm ? at_layer(w.feed_forward_post_norm, w, layer) : nullptr};
}

// Adds what the block before gave to the residual stream.
void add_block(thimble_session* s, uint32_t row, const Block& block) {
  const Activations& a = s->act;
  float* given = a.normed + size_t{row} * a.x_stride;
  if (THIMBLE_BIASES && block.bias) s->kernels->add(given, block.bias, s->model.dim);
  if (THIMBLE_NORM_AFTER && block.norm) norm(s, given, given, block.norm);
  s->kernels->add(a.x + size_t{row} * a.x_stride, given, s->model.dim);
}

// The residual stream's norm, as input of the matrix `next`.
void norm_for(thimble_session* s, uint32_t row, const float* weight, const Matrix& next) {
  const Activations& a = s->act;
  norm(s, a.normed + size_t{row} * a.x_stride, a.x + size_t{row} * a.x_stride, weight);
  quantize(s, next, a.normed, a.x_stride, row);
}

void feed_forward_norm(thimble_session* s, uint32_t row) {
  const Weights& w = s->weights;
  const float* weight = at_layer(w.feed_forward_norm, w, s->pass.layer);
#if THIMBLE_PARALLEL
  if (header_of(s->model).parallel) {  // of the stream before the attention was added
    const Activations& a = s->act;
    float* x = a.x + size_t{row} * a.x_stride;
    float* normed = a.normed + size_t{row} * a.x_stride;
    if (const float* bias = attention_block(w, s->pass.layer).bias) {
      s->kernels->add(normed, bias, s->model.dim);
    }
    for (uint32_t i = 0; i < s->model.dim; ++i) {
      const float before = x[i];
      x[i] = before + normed[i];
      normed[i] = before;
    }
    norm(s, normed, normed, weight);
    quantize(s, w.gate_up, a.normed, a.x_stride, row);
    return;
  }
#endif
  add_block(s, row, attention_block(w, s->pass.layer));
  norm_for(s, row, weight, w.gate_up);
}

// Element by element.
void activate_here(const thimble_session* s, float* gate, const float* up, uint32_t n) {
#if THIMBLE_ACTIVATIONS
  const FileHeader& h = header_of(s->model);
  if (!THIMBLE_SILU || h.activation != kActivationSilu || !h.gated) {
    s->kernels->activate(gate, gate, h.gated ? up : nullptr, n, h.activation);
    return;
  }
#endif
  s->kernels->swiglu(gate, gate, up, n);
}

constexpr uint32_t kPerActivation = 40;  // in products, see stage_work

#if THIMBLE_SHARES
// Of a row's gate, runs of kLanes.
void activate_share(thimble_session* s, const void* row, uint32_t begin, uint32_t end) {
  float* gate = *static_cast<float* const*>(row) + size_t{begin} * kLanes;
  const uint32_t n = s->model.hidden_dim, first = begin * kLanes, last = end * kLanes;
  activate_here(s, gate, gate + n, (last < n ? last : n) - first);
}
#endif

void activate(thimble_session* s, uint32_t row) {
  const Activations& a = s->act;
  const Weights& w = s->weights;
  const uint32_t n = s->model.hidden_dim;
  float* gate = a.gate_up + size_t{row} * a.gate_up_stride;
  if (THIMBLE_BIASES && w.gate_up_bias) {
    s->kernels->add(gate, at_layer(w.gate_up_bias, w, s->pass.layer), w.gate_up.rows);
  }
#if THIMBLE_SHARES
  const uint32_t runs = (n + kLanes - 1) / kLanes;
  if (is_shared(s, runs, kPerActivation * kLanes)) {
    run_shared(s, activate_share, &gate, 0, runs);
  } else
#endif
    activate_here(s, gate, gate + n, n);
  quantize(s, w.down, a.gate_up, a.gate_up_stride, row);
}

// What a KV head's attention at the batch's row before `rows` is worth in products.
uint64_t attention_cost(const thimble_session* s, uint32_t rows) {
  const thimble_model& m = s->model;
  constexpr uint32_t kPerWeight = 64;
  return uint64_t{m.n_heads / m.n_kv_heads} * (2 * m.head_dim + kPerWeight) *
         kv_most_seen(s->cache, s->pass.layer, s->pass.first + rows);
}

#if THIMBLE_SHARES
void attend_share(thimble_session* s, const void* row, uint32_t begin, uint32_t end) {
  attend(s, *static_cast<const uint32_t*>(row), begin, end);
}
#endif

// KV heads [begin, end) of a batch row, by other cores, too; but a hook is called by this one
// alone.
void attend_row(thimble_session* s, uint32_t row, uint32_t begin, uint32_t end) {
#if THIMBLE_SHARES
  if (!s->on_attention && is_shared(s, end - begin, attention_cost(s, row + 1))) {
    run_shared(s, attend_share, &row, begin, end);
    return;
  }
#endif
  attend(s, row, begin, end);
}

// A unit is a KV head of a batch row: row by row, all heads of a row at once; of several rows head
// by head, as many rows together as can be.
void attend_units(thimble_session* s, uint32_t begin, uint32_t end) {
  const Activations& a = s->act;
  const uint32_t heads = s->model.n_kv_heads;
#if THIMBLE_ATTEND_ROWS
  if (const uint32_t rows = s->pass.n; rows > 1 && s->kernels->wide) {
    while (begin < end) {
      const uint32_t row = begin % rows, head = begin / rows;
      uint32_t count = attend_together(s, row);
      if (count > end - begin) count = end - begin;
      if (count > 1) {
        attend_rows(s, row, count, head);
      } else {
        attend(s, row, head, head + 1);
      }
      for (uint32_t i = row; i < row + count && head + 1 == heads; ++i) {
        quantize(s, s->weights.output, a.context, a.context_stride, i);
      }
      begin += count;
    }
    return;
  }
#endif
  while (begin < end) {
    const uint32_t row = begin / heads, first = begin % heads;
    const uint32_t count = end - begin < heads - first ? end - begin : heads - first;
    attend_row(s, row, first, first + count);
    if (first + count == heads) quantize(s, s->weights.output, a.context, a.context_stride, row);
    begin += count;
  }
}

// ---- The stages ----------------------------------------------------------------------------

// A stage's work: so many units of so many multiply-accumulates, or of what is worth as many.
struct Work {
  uint32_t units;
  uint64_t cost;
};

// The weights of a stage that multiplies, those of layer 0.
const Matrix& stage_matrix(const thimble_session* s) {
  const Weights& w = s->weights;
  switch (s->pass.stage) {
    case kQkv:
      return w.qkv;
    case kAttentionOutputStage:
      return w.output;
    case kGateUp:
      return w.gate_up;
    case kDown:
      return w.down;
    default:
      return w.head;
  }
}

#if THIMBLE_LORA
// Which of kLoraSections the stage multiplies with; kLoraKinds: none, or the adapter in use has no
// pair for it.
[[gnu::noinline]] uint32_t lora_kind(const thimble_session* s) {
  if (!has_adapter(s)) return kLoraKinds;
  uint32_t which = kLoraKinds;
  switch (s->pass.stage) {
    case kQkv:
      which = 0;
      break;
    case kAttentionOutputStage:
      which = 1;
      break;
    case kGateUp:
      which = 2;
      break;
    case kDown:
      which = 3;
      break;
    default:
      break;
  }
  const bool is_there = which < kLoraKinds && (s->lora->matrices & lora_bit(which)) != 0;
  return is_there ? which : kLoraKinds;
}

// h = A x, of A's tiles [begin, end); with the last one h becomes B's input.
void multiply_a(const thimble_session* s, const Matrix& a, uint32_t begin, uint32_t end,
                const float* x, size_t x_stride) {
  const Lora& lora = *s->lora;
  multiply(s, a, begin, end, lora.hidden, lora.hidden_stride, x, x_stride, 0, s->pass.n);
  if (end == tile_count(a) && a.type != kWeightF32) {
    s->kernels->quantize_q8(lora.input, lora.hidden, lora.hidden_stride, a.rows, s->pass.n);
  }
}

// out += B h, of tiles [begin, end).
void add_b(const thimble_session* s, const Matrix& b, uint32_t begin, uint32_t end, float* out,
           size_t out_stride) {
  const Lora& lora = *s->lora;
  const uint32_t at_once = kLoraChunk / b.row_tile;
  for (uint32_t first = begin; first < end; first += at_once) {
    const uint32_t tiles = end - first < at_once ? end - first : at_once;
    const Matrix part = tiles_from(b, first);
    if (b.type == kWeightF32) {
      s->kernels->matmul_f32(lora.delta, kLoraChunk, part, 0, tiles, lora.hidden,
                             lora.hidden_stride, s->pass.n);
    } else {
      s->kernels->matmul_q8(lora.delta, kLoraChunk, part, 0, tiles, lora.input, s->pass.n);
    }
    for (uint32_t i = 0; i < s->pass.n; ++i) {
      s->kernels->add(out + i * out_stride + size_t{first} * b.row_tile,
                      lora.delta + size_t{i} * kLoraChunk, tiles * b.row_tile);
    }
  }
}
#endif

// Such a stage but the last one, on the whole batch. With an adapter the tiles of A come before
// those of the stage's own matrix, each of which then goes together with its tile of B.
void multiply_stage(const thimble_session* s, uint32_t begin, uint32_t end) {
  const Activations& a = s->act;
  float* out = a.normed;
  const float* x = a.normed;
  size_t out_stride = a.x_stride, x_stride = a.x_stride;
  switch (s->pass.stage) {
    case kQkv:
      out = a.qkv;
      out_stride = a.qkv_stride;
      break;
    case kAttentionOutputStage:
      x = a.context;
      x_stride = a.context_stride;
      break;
    case kGateUp:
      out = a.gate_up;
      out_stride = a.gate_up_stride;
      break;
    default:
      x = a.gate_up;
      x_stride = a.gate_up_stride;
  }
#if THIMBLE_STREAM
  const Matrix own = is_stored(s->model)
                         ? stored_layer(stage_matrix(s), stream_of(s), s->pass.layer)
                         : at_layer(stage_matrix(s), s->weights, s->pass.layer);
#else
  const Matrix own = at_layer(stage_matrix(s), s->weights, s->pass.layer);
#endif
#if THIMBLE_LORA
  if (const uint32_t which = s->lora ? lora_kind(s) : kLoraKinds; which < kLoraKinds) {
    const LoraPair pair = lora_pair(*s->lora, which, s->pass.layer);
    const uint32_t first = tile_count(pair.a);
    const uint32_t of_a = begin < first ? (end < first ? end : first) - begin : 0;
    if (of_a > 0) multiply_a(s, pair.a, begin, begin + of_a, x, x_stride);
    begin = begin > first ? begin - first : 0;
    end = end > first ? end - first : 0;
    const uint32_t done =
        multiply_own(s, own, begin, end, out, out_stride, x, x_stride, 0, s->pass.n);
    add_b(s, pair.b, begin, begin + done, out, out_stride);
    stop_at(s, of_a + done);
    return;
  }
#endif
  stop_at(s, multiply_own(s, own, begin, end, out, out_stride, x, x_stride, 0, s->pass.n));
}

// Inlined twice, of which firmware keeps one.
[[gnu::always_inline]] inline Work stage_work(const thimble_session* s) {
  const thimble_model& m = s->model;
  const Pass& p = s->pass;
  // In units of a product on a Cortex-M4F: what else is done for each element.
  constexpr uint32_t kPerNorm = 16, kPerRotation = 10, kPerCandidate = 8;
  switch (p.stage) {
    case kEmbed:
    case kAttentionNormStage:
    case kFeedForwardNormStage:
      return {p.n, kPerNorm * m.dim};
    case kFinalNormStage:
      return {logits_rows(s), kPerNorm * m.dim};
    case kMakeRoom: {
      if (!THIMBLE_MOVING || kv_layer_has_room(s->cache, p.layer, p.first + p.n)) return {0, 1};
      return {1, uint64_t{2} * m.n_kv_heads * m.head_dim * kv_layer_size(s->cache, p.layer)};
    }
    case kRotateAndStore:
      return {p.n, kPerRotation * m.head_dim * (m.n_heads + 2 * m.n_kv_heads)};
    case kActivate:
      return {p.n, kPerActivation * m.hidden_dim};
    case kAttend:
      return {p.n * m.n_kv_heads, attention_cost(s, p.n)};
    default: {
      const Matrix& w = stage_matrix(s);
#if THIMBLE_LORA
      if (const uint32_t which = s->lora ? lora_kind(s) : kLoraKinds; which < kLoraKinds) {
        const LoraPair& pair = s->lora->pairs[which];
        return {tile_count(pair.a) + tile_count(w),
                uint64_t{p.n * w.row_tile} * (w.padded_cols + pair.b.padded_cols)};
      }
#endif
      if (p.stage != kHead) return {tile_count(w), p.n * w.row_tile * w.padded_cols};  // to 2^31
      return {tile_count(w), logits_rows(s) * w.row_tile *
                                 (w.padded_cols + kPerCandidate * s->candidates.capacity)};
    }
  }
}

void run_stage(thimble_session* s, uint32_t begin, uint32_t end) {
  const Weights& w = s->weights;
  const Pass& p = s->pass;
  const uint32_t to_head = first_logits_row(s);
  switch (p.stage) {
    case kEmbed:
      for (uint32_t row = begin; row < end; ++row) {
        embed(s, row);
        if (has_read_failed(s)) return stop_at(s, row - begin);
      }
#if THIMBLE_STREAM
      if (is_stored(s->model) && end == p.n) ask_for_next_matrix(s);
#endif
      break;
    case kAttentionNormStage: {
      const float* weight = at_layer(w.attention_norm, w, p.layer);
      for (uint32_t row = begin; row < end; ++row) {
        if (p.layer > 0) {
          add_block(s, row, feed_forward_block(w, p.layer - 1));
          test_layer(s, row, p.layer - 1);
        }
        // Of those that logits come from comes another one.
        if (p.layer + 1 == s->model.n_layers && row < to_head) watch(s, row);
        norm_for(s, row, weight, w.qkv);
      }
      break;
    }
    case kQkv:
    case kAttentionOutputStage:
    case kGateUp:
    case kDown:
      multiply_stage(s, begin, end);
      break;
    case kMakeRoom:
#if THIMBLE_MOVING
      if (end > begin) kv_cache_move(s->cache, p.layer, p.first);
#endif
      break;
    case kRotateAndStore:
      rotate_and_store(s, begin, end);
      break;
    case kAttend:
      attend_units(s, begin, end);
      break;
    case kFeedForwardNormStage:
      for (uint32_t row = begin; row < end; ++row) feed_forward_norm(s, row);
      break;
    case kActivate:
      for (uint32_t row = begin; row < end; ++row) activate(s, row);
      break;
    case kFinalNormStage:
      for (uint32_t row = to_head + begin; row < to_head + end; ++row) {
        add_block(s, row, feed_forward_block(w, s->model.n_layers - 1));
        test_layer(s, row, s->model.n_layers - 1);
        watch(s, row);
        norm_for(s, row, w.final_norm, w.head);
      }
      break;
    case kHead:
      head_chunks(s, 0, logits_rows(s), begin, end, take_logits, s);
      break;
    case kIdle:
      break;
  }
}

void begin_batch(thimble_session* s) {
  Pass& p = s->pass;
  const uint32_t left = p.end - s->cached;
  p.stage = kEmbed;
  p.layer = 0;
  p.unit = 0;
  p.first = s->cached;
  p.n = left < s->n_batch ? left : s->n_batch;
}

// Rows of logits, none of them computed.
void start_rows(thimble_session* s, uint32_t n_rows) {
#if THIMBLE_DRAFT
  if (s->drafts) {
    s->drafts->n_rows = n_rows;
    s->drafts->row = 0;
  }
#endif
  for (uint32_t row = 0; row < n_rows; ++row) candidates_at(s, row)->n = 0;
}

// From a finished stage to the next one.
[[gnu::always_inline]] inline void advance(thimble_session* s) {
  Pass& p = s->pass;
  p.unit = 0;
  const bool last_batch = p.first + p.n == p.end;
  if (p.stage == kDown) {
    ++p.layer;
    if (p.layer < s->model.n_layers) {
      p.stage = kAttentionNormStage;
      return;
    }
    if (!last_batch) {
      s->cached = p.first + p.n;
      if (s->cached > s->position) s->position = s->cached;
      begin_batch(s);
      return;
    }
  }
  p.stage = static_cast<Stage>(p.stage + 1);
  if (p.stage == kIdle) {
    s->cached = p.end;
    s->position = p.end + 1 + logits_row(s) - logits_rows(s);
    s->has_logits = 1;
  }
}

}  // namespace

// What windows have moved beyond has to be computed again, from the start.
void rewind_to(thimble_session* s, uint32_t position) {
  s->position = position;
  if (position < s->cached) s->cached = position;
  if (position < s->overflowed) s->overflowed = 0;
#if THIMBLE_MOVING
  if (!kv_cache_reaches(s->cache, s->model.n_layers, s->cached + 1)) s->cached = 0;
  if (s->cached == 0) kv_cache_start_at(s->cache, s->model.n_layers, 0);
#endif
  s->pass.stage = kIdle;
  s->has_logits = 0;
  s->self_test.is_running = false;
}

void forward_begin(thimble_session* s, uint32_t end, uint32_t n_rows) {
  s->pass.end = end;
  s->has_logits = 0;
  start_rows(s, n_rows);
  s->self_test.is_running = false;  // one that was finished by thimble_step and then given up
  begin_batch(s);
}

void forward_resume(thimble_session* s, const uint8_t* normed) {
  const Activations& a = s->act;
  memcpy(a.normed, normed, s->model.dim * sizeof(float));
  quantize(s, s->weights.head, a.normed, a.x_stride, 0);
  start_rows(s, 1);
  s->pass = {kHead, s->model.n_layers, 0, s->position - 1, 1, s->position};
}

void forward_head(thimble_session* s) {
  for (uint32_t row = 0; row < logits_rows(s); ++row) candidates_at(s, row)->n = 0;
  s->pass.stage = kHead;
  s->pass.unit = 0;
  s->has_logits = 0;
}

const float* forward_result(const thimble_session* s) {
  return s->act.normed + size_t{first_logits_row(s) + logits_row(s)} * s->act.x_stride;
}

#if THIMBLE_DRAFT
void forward_skip(thimble_session* s) {
  s->has_logits = 0;
  s->pass.stage = kHead;
  s->pass.unit = tile_count(s->weights.head);
}
#endif

[[gnu::always_inline]] static inline thimble_status run_slice(thimble_session* s, uint64_t budget) {
  uint64_t left = budget;
  while (s->pass.stage != kIdle) {
    const Work work = stage_work(s);
    uint32_t count = work.units - s->pass.unit;
    if (budget != 0) {
      if (left == 0) return THIMBLE_MORE;
      const uint64_t affordable = (left - 1) / work.cost + 1;
      count = affordable < count ? static_cast<uint32_t>(affordable) : count;
      const uint64_t spent = count * work.cost;
      left = spent < left ? left - spent : 0;
    }
    run_stage(s, s->pass.unit, s->pass.unit + count);
#if THIMBLE_STREAM
    if (has_read_failed(s)) {
      stream_of(s).has_failed = false;
      s->pass.unit += stream_of(s).done;
      return THIMBLE_ERROR_READ;
    }
#endif
    s->pass.unit += count;
    if (s->pass.unit == work.units) advance(s);
  }
  return THIMBLE_OK;
}

thimble_status forward_step(thimble_session* s, uint64_t budget) {
  const thimble_status status = run_slice(s, budget);
#if THIMBLE_STREAM
  if (is_stored(s->model)) stream_settle(&stream_of(s));
#endif
  return status;
}

Stage forward_stage(thimble_session* s) {
  const Stage stage = s->pass.stage;
  if (stage == kIdle) return stage;
  const Work work = stage_work(s);
  if (work.units == 0) {
    advance(s);
  } else {
    forward_step(s, (work.units - s->pass.unit) * work.cost);  // just as much as is left of it
  }
  return stage;
}

thimble_status forward_self_test(thimble_session* s, uint64_t* recorded) {
  const uint32_t n = header_of(s->model).self_test_tokens;
  if (n == 0) return THIMBLE_ERROR_NO_SELF_TEST;
  if (n > s->n_ctx) return THIMBLE_ERROR_CONTEXT_FULL;
  rewind_to(s, 0);
#if THIMBLE_RULES
  if (s->rules) rule_of(s) = {};
#endif
  forward_begin(s, n, 1);
  memcpy(s->tokens, table_of<int32_t>(s->model, kSelfTestTokens), n * sizeof(int32_t));
  SelfTest& test = s->self_test;
  test = {};
  test.is_running = true;
  test.recorded = recorded;
  if (!recorded) {
    const uint32_t row = s->cache.type == kWeightQ8 ? 1 : 0;
    test.expected = table_of<uint64_t>(s->model, kSelfTestHashes) + row * (s->model.n_layers + 1);
  }
  test.logits_hash = THIMBLE_HASH_START;
  test.report.layer = -1;
  return THIMBLE_OK;
}

thimble_status forward_self_test_end(thimble_session* s, thimble_self_test_report* report) {
  self_test_result(&s->self_test, s->model.n_layers, s->self_test.logits_hash);
  if (report) *report = s->self_test.report;
  const thimble_status status = s->self_test.report.layer >= 0 ? THIMBLE_ERROR_SELF_TEST
                                : s->overflowed                ? THIMBLE_ERROR_NOT_FINITE
                                                               : THIMBLE_OK;
  rewind_to(s, 0);
  return status;
}

uint64_t forward_logits_hash(const thimble_session* s, uint64_t hash) {
  const uint32_t row = logits_row(s);
  if (s->candidates.capacity == 0) {
    return hash_floats(hash, logits_at(s, row), s->model.vocab_size);
  }
#if THIMBLE_STREAM
  const uint64_t before = hash;
  head_chunks(s, row, 1, 0, tile_count(s->weights.head), hash_logits, &hash);
  if (is_stored(s->model)) {
    stream_settle(&stream_of(s));
    if (has_read_failed(s)) hash = before;
    stream_of(s).has_failed = false;
  }
#else
  head_chunks(s, row, 1, 0, tile_count(s->weights.head), hash_logits, &hash);
#endif
  return hash;
}

}  // namespace thimble
