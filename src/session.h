// SPDX-License-Identifier: MIT
// A session: one text being computed, with its cache and activations, all in the caller's arena.
#ifndef THIMBLE_SRC_SESSION_H
#define THIMBLE_SRC_SESSION_H

#include "arena.h"
#include "kernels/kernels.h"
#include "kv_cache.h"
#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

constexpr uint32_t kMaxBatch = 1024;

// The steps of a pass in the order of the paper; the ones from kAttentionNorm to kDown once a
// layer.
enum Stage : uint32_t {
  kEmbed,
  kAttentionNormStage,
  kQkv,
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
  float* gate_up;       // (n_batch, 2 * hidden_dim)
  float* rope;          // (n_batch, 2, head_dim): the rotation's table at each position
  float* scores;        // (n_heads, n_ctx): attention scores, then weights, of one position
  QuantizedRows input;  // q8 only: the current matrix's input; padded_cols and group vary
  uint32_t x_stride, qkv_stride, context_stride, gate_up_stride, scores_stride;
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
  int32_t* tokens;       // (n_ctx): those computed, then those fed
  float* logits;         // (vocab_size, rounded up to whole tiles)
  uint32_t* odds;        // (vocab_size): the sampler's scratch
  void* encode_scratch;  // the activations' memory, used between passes
  size_t encode_scratch_size;
  uint32_t n_ctx, n_batch;
  uint32_t position;  // tokens computed
  uint32_t has_logits;
};

namespace thimble {

// Lays the session out in `arena`, which may only count; with memory, returns it, initialised.
thimble_session* session_layout(Arena* arena, const thimble_model& model, uint32_t n_ctx,
                                uint32_t n_batch, const Kernels* kernels);

// Resolves defaults and checks ranges.
struct ResolvedConfig {
  uint32_t n_ctx, n_batch;
  const Kernels* kernels;
};
thimble_status resolve_config(const thimble_model& model, const thimble_config* config,
                              ResolvedConfig* out);

}  // namespace thimble

#endif
