// SPDX-License-Identifier: MIT
// The model file's contents as the engine sees them: a checked, read-only view.
#ifndef THIMBLE_SRC_MODEL_H
#define THIMBLE_SRC_MODEL_H

#include "format.h"
#include "kernels/kernels.h"
#include "parts.h"
#include "thimble/thimble.h"

namespace thimble {

// ---- What a header implies. The reader checks a file against it, the writer builds from it.

// Whether layers differ, so that a table says how.
inline bool has_layer_kinds(const FileHeader& header) {
  return (THIMBLE_ROPES && header.n_ropes > 1) || (THIMBLE_WINDOWS && header.has_windows);
}

// Sections that a file with this header has; their entries follow the header.
uint32_t section_count(const FileHeader& header);

// The entry of the section table behind `previous`, offsets included; the first one if that is
// null. The header must have passed check_header, n_sections be right, and there be such an entry.
SectionEntry expected_section(const FileHeader& header, const SectionEntry* previous);

// Length of the whole file, given its last section.
uint64_t expected_file_bytes(const SectionEntry& last);

// Slots of the hash table of token texts: the smallest power of two >= 2 * vocab_size.
uint32_t token_lookup_slots(uint32_t vocab_size);

// Where a text's probe sequence starts is fnv1a_32(text) & (slots - 1); it goes on slot by slot.
constexpr uint32_t kFnv32Start = 0x811c9dc5u;
inline uint32_t fnv1a_32(const uint8_t* bytes, uint32_t n, uint32_t hash = kFnv32Start) {
  for (uint32_t i = 0; i < n; ++i) hash = (hash ^ bytes[i]) * 0x01000193u;
  return hash;
}

uint64_t parameter_count(const FileHeader& header);

// Writes *fault and returns false.
bool refuse(thimble_fault* fault, const char* what, uint64_t found, uint64_t expected,
            uint32_t offset);

// Checks every field but magic, version, byte order, lengths and checksums. On a refusal *fault
// says which field.
thimble_status check_header(const FileHeader& header, thimble_fault* fault);

#if THIMBLE_STREAM
// The last checks, of tables that the forward pass goes by; then fills the model's fields.
thimble_status take_model(thimble_model* model, const uint8_t* image, size_t image_bytes);

// The section table behind a header, entry by entry.
thimble_status check_sections(const FileHeader& h, thimble_fault* fault);
#endif

// All checks of thimble_model_open but the tokenizer's, and thimble_model_verify.
thimble_status open_model(thimble_model* model, const void* image, size_t image_bytes);
thimble_status verify_model(thimble_model* model);

// ---- The opened model. Pointers lie in the image; those of matrices in a store are places there.

inline const FileHeader& header_of(const thimble_model& model) {
  return *reinterpret_cast<const FileHeader*>(model.image);
}
// Whether the image is tables only, and matrices are in a store.
inline bool is_stored(const thimble_model& model) {
  return THIMBLE_STREAM && header_of(model).flags == kTablesOnly;
}
const SectionEntry& section_of(const thimble_model& model, SectionKind kind, uint32_t layer = 0);
Matrix matrix_of(const thimble_model& model, SectionKind kind, uint32_t layer = 0);
template <class T>
const T* table_of(const thimble_model& model, SectionKind kind, uint32_t layer = 0) {
  return reinterpret_cast<const T*>(model.image + section_of(model, kind, layer).offset);
}

// The weights as the forward pass wants them: found once, so that a pass only adds offsets. Those
// of a layer are given for layer 0; the ones of layer i lie i * layer_bytes further.
struct Weights {
  Matrix embedding;  // (vocab_size, dim)
  Matrix positions;  // (n_ctx, dim)
  Matrix qkv;        // ((n_heads + 2 n_kv_heads) * head_dim, dim)
  Matrix output;     // (dim, n_heads * head_dim)
  Matrix gate_up;    // (2 * hidden_dim, dim); (hidden_dim, dim) if not gated
  Matrix down;       // (dim, hidden_dim)
  Matrix head;       // (vocab_size, dim)
  // Norms: a weight (dim), and behind it a bias (dim) of LayerNorm.
  const float* attention_norm;
  const float* attention_post_norm;  // null if there is none; so are the following
  const float* feed_forward_norm;
  const float* feed_forward_post_norm;
  const float* final_norm;
  const float* qk_norm;   // (2, head_dim)
  const float* qkv_bias;  // as many as the matrix has rows
  const float* output_bias;
  const float* gate_up_bias;
  const float* down_bias;
  const uint64_t* rope;         // (n_ropes, head_dim / 2)
  const uint32_t* layer_kinds;  // (n_layers, 2): window, rotary table
  size_t layer_bytes;
  float norm_eps;
};
Weights weights_of(const thimble_model& model);

inline uint32_t rope_of(const Weights& w, uint32_t layer) {
  return THIMBLE_ROPES && w.layer_kinds ? w.layer_kinds[2 * layer + 1] : 0;
}

template <class T>
inline const T* at_layer(const T* first, const Weights& w, uint32_t layer) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(first) + layer * w.layer_bytes;
  return reinterpret_cast<const T*>(bytes);
}
inline Matrix at_layer(Matrix m, const Weights& w, uint32_t layer) {
  m.data = at_layer(static_cast<const uint8_t*>(m.data), w, layer);
  if (m.scales) m.scales = at_layer(m.scales, w, layer);
  return m;
}

// Row `row` of a matrix as floats: out[c] = w[row][c], q8 as float(value) * scale. c < cols.
void read_row(float* out, const Matrix& m, uint32_t row);

}  // namespace thimble

#endif
