// SPDX-License-Identifier: MIT
// The engine as a WebAssembly module: one model, one session, one text. engine.js calls this, from
// a page or from Node. The module has no start-up and imports one function, the attention hook.
#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "thimble/thimble.h"

#define EXPORTED(name) __attribute__((export_name(#name)))

extern "C" __attribute__((import_module("page"), import_name("attention"))) void page_attention(
    uint32_t layer, uint32_t position, uint32_t first, uint32_t first_head, uint32_t n_heads,
    const float* weights, size_t stride);
extern "C" uint8_t __heap_base;

namespace {

// All that the module keeps beside the blocks that were reserved.
struct State {
  size_t blocks_end;  // 0: none was reserved
  thimble_model model;
  thimble_session* session;
  thimble_sampling sampling;
  thimble_decoder decoder;
  uint64_t hash;
  char text[3 * thimble::kMaxTokenBytes + 3];
};
State g;

void on_attention(void*, uint32_t layer, uint32_t position, uint32_t first, uint32_t first_head,
                  uint32_t n_heads, const float* weights, size_t stride) {
  page_attention(layer, position, first, first_head, n_heads, weights, stride);
}

int32_t set_hook(bool wanted) {
  return thimble_on_attention(g.session, wanted ? on_attention : nullptr, nullptr);
}

}  // namespace

extern "C" {

// ---- Memory ----------------------------------------------------------------------------------

// A block behind all others, aligned for images and arenas. NULL: there is no more memory.
EXPORTED(reserve) void* reserve(size_t bytes) {
  constexpr size_t kPage = 65536, kAligned = THIMBLE_ALIGNMENT - 1;
  if (g.blocks_end == 0) g.blocks_end = reinterpret_cast<size_t>(&__heap_base);
  const size_t begin = (g.blocks_end + kAligned) & ~kAligned;
  const size_t has = __builtin_wasm_memory_size(0) * kPage;
  if (begin + bytes < begin) return nullptr;
  if (begin + bytes > has) {
    const size_t more = (begin + bytes - has + kPage - 1) / kPage;
    if (__builtin_wasm_memory_grow(0, more) == SIZE_MAX) return nullptr;
  }
  g.blocks_end = begin + bytes;
  return reinterpret_cast<void*>(begin);
}

// ---- Model -----------------------------------------------------------------------------------

EXPORTED(open) int32_t open_image(const void* image, size_t bytes) {
  const thimble_status status = thimble_model_open(&g.model, image, bytes);
  return status == THIMBLE_OK ? thimble_model_verify(&g.model) : status;
}

EXPORTED(status_text) const char* status_text(int32_t status) {
  return thimble_status_text(static_cast<thimble_status>(status));
}

// thimble_fault: its fields where C puts them, 8 bytes each.
EXPORTED(fault) const thimble_fault* fault() {
  return &g.model.fault;
}

// The fields of thimble_model that are 32 bits long, from dim on.
EXPORTED(shape) const uint32_t* shape() {
  return &g.model.dim;
}
EXPORTED(n_params) double n_params() {
  return static_cast<double>(g.model.n_params);
}

// A token's bytes as the file has them.
EXPORTED(token_text) const uint8_t* token_text(int32_t token) {
  return thimble::table_of<uint8_t>(g.model, thimble::kTokenBytes) +
         thimble::table_of<uint32_t>(g.model, thimble::kTokenOffsets)[token];
}
EXPORTED(token_bytes) uint32_t token_bytes(int32_t token) {
  const uint32_t* offsets = thimble::table_of<uint32_t>(g.model, thimble::kTokenOffsets) + token;
  return offsets[1] - offsets[0];
}
EXPORTED(is_end) int32_t is_end(int32_t token) {
  return thimble_is_end(&g.model, token);
}

// ---- Session ---------------------------------------------------------------------------------

static thimble_config config_of(uint32_t n_ctx, uint32_t kv_type) {
  thimble_config config = {};
  config.n_ctx = n_ctx;
  config.kv_type = kv_type;
  return config;
}

EXPORTED(session_bytes) size_t session_bytes(uint32_t n_ctx, uint32_t kv_type) {
  const thimble_config config = config_of(n_ctx, kv_type);
  return thimble_session_bytes(&g.model, &config);
}
EXPORTED(start) int32_t start(uint32_t n_ctx, uint32_t kv_type, void* arena, size_t bytes) {
  const thimble_config config = config_of(n_ctx, kv_type);
  return thimble_session_init(&g.session, &g.model, &config, arena, bytes);
}
EXPORTED(kernels) const char* kernels() {
  return thimble_isa(g.session);
}
EXPORTED(self_test) int32_t self_test(uint32_t budget) {
  return thimble_self_test(g.session, budget, nullptr);
}

// Begins a new text. What it attends to is told to the page, or not.
EXPORTED(begin) int32_t begin(int32_t shows_attention) {
  g.hash = THIMBLE_HASH_START;
  g.decoder = {};
  const int32_t status = thimble_rewind(g.session, 0);
  return status == THIMBLE_OK ? set_hook(shows_attention != 0) : status;
}
EXPORTED(encode) int32_t encode(const char* text, size_t bytes, int32_t* tokens, size_t capacity) {
  return thimble_encode(g.session, text, bytes, THIMBLE_ENCODE_BOS, tokens, capacity);
}
EXPORTED(feed) int32_t feed(const int32_t* tokens, size_t count) {
  return thimble_feed(g.session, tokens, count);
}
EXPORTED(step) int32_t step(uint32_t budget) {
  return thimble_step(g.session, budget);
}
EXPORTED(room) uint32_t room() {
  return thimble_room(g.session);
}
EXPORTED(position) uint32_t position() {
  return thimble_position(g.session);
}
EXPORTED(logits) const float* logits() {
  return thimble_logits(g.session);
}

// ---- Drawing ---------------------------------------------------------------------------------

// Zeros as the engine means them.
EXPORTED(sampling) void sampling(float temperature, float top_p, uint64_t seed) {
  g.sampling = {};
  g.sampling.temperature = temperature;
  g.sampling.top_p = top_p;
  g.sampling.seed = seed;
}
// The next token, whose logits go into the hash.
EXPORTED(draw) int32_t draw() {
  g.hash = thimble_logits_hash(g.session, g.hash);
  return thimble_sample(g.session, &g.sampling);
}
EXPORTED(hash) uint64_t hash() {
  return g.hash;
}

EXPORTED(text) char* text() {
  return g.text;
}
// Bytes of text that came with a token (-1: with the end), whole characters, at text().
EXPORTED(decode) int32_t decode(int32_t token) {
  if (token < 0) return thimble_decode_end(&g.decoder, g.text, sizeof g.text);
  return thimble_decode(&g.model, &g.decoder, token, g.text, sizeof g.text);
}

}  // extern "C"
