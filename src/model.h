// SPDX-License-Identifier: MIT
// The model file's contents as the engine sees them: a checked, read-only view.
#ifndef THIMBLE_SRC_MODEL_H
#define THIMBLE_SRC_MODEL_H

#include "format.h"
#include "kernels/kernels.h"
#include "thimble/thimble.h"

namespace thimble {

// ---- What a header implies. The reader checks a file against it, the writer builds from it.

// Sections that a file with this header has; their entries follow the header.
uint32_t section_count(const FileHeader& header);

// Entry `index` of the section table, offsets included if `previous` is the entry before it (null
// for the first). The header must have passed check_header.
SectionEntry expected_section(const FileHeader& header, uint32_t index,
                              const SectionEntry* previous);

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

// Checks every field but magic, version, byte order, lengths and checksums. On a refusal *fault
// says which field.
thimble_status check_header(const FileHeader& header, thimble_fault* fault);

// All checks of thimble_model_open but the tokenizer's, and thimble_model_verify.
thimble_status open_model(thimble_model* model, const void* image, size_t image_bytes);
thimble_status verify_model(thimble_model* model);

// ---- The opened model. Pointers lie in the image.

inline const FileHeader& header_of(const thimble_model& model) {
  return *reinterpret_cast<const FileHeader*>(model.image);
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
  Matrix embedding;                // (vocab_size, dim)
  Matrix qkv;                      // ((n_heads + 2 n_kv_heads) * head_dim, dim)
  Matrix output;                   // (dim, n_heads * head_dim)
  Matrix gate_up;                  // (2 * hidden_dim, dim)
  Matrix down;                     // (dim, hidden_dim)
  Matrix head;                     // (vocab_size, dim)
  const float* attention_norm;     // (dim)
  const float* feed_forward_norm;  // (dim)
  const float* final_norm;         // (dim)
  const uint64_t* rope;            // (head_dim / 2)
  size_t layer_bytes;
  float norm_eps;
};
Weights weights_of(const thimble_model& model);

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
