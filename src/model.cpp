// SPDX-License-Identifier: MIT
// The trust boundary: everything a file could get wrong is found here, once.
#include "model.h"

#include <string.h>

#include "exact_math.h"
#include "flat_file.h"
#include "parts.h"

namespace thimble {
namespace {

// Rounded up to a multiple of a power of two.
uint32_t padded(uint32_t n, uint32_t multiple) {
  return (n + multiple - 1) & (0 - multiple);
}

uint32_t element_bytes(uint32_t type) {
  switch (type) {
    case kElementU8:
      return 1;
    case kElementU16:
      return 2;
    case kElementU64:
      return 8;
    default:
      return 4;
  }
}

// Of the matrices that a bit stands for.
uint32_t element_of(const FileHeader& h, uint32_t bit) {
  if (THIMBLE_Q4 && h.weight_type == kWeightQ4 && !(h.q8_matrices & bit)) return kElementQ4;
  return h.weight_type == kWeightF32 ? kElementF32 : kElementQ8;
}

struct Shape {
  uint32_t type, rows, cols;
  bool is_matrix;
};

// Of a section of that kind; no rows if a file with this header has none.
Shape section_shape(const FileHeader& h, uint32_t kind) {
  const uint32_t q = h.n_heads * h.head_dim, kv = h.n_kv_heads * h.head_dim;
  const uint32_t up = (THIMBLE_NOT_GATED && !h.gated ? 1 : 2) * h.hidden_dim;
  const uint32_t biases = THIMBLE_BIASES ? h.biases : 0;
  const uint32_t norm_rows = THIMBLE_LAYER_NORM && h.norm == kNormLayer ? 2 : 1;
  const auto matrix = [&](uint32_t bit, uint32_t rows, uint32_t cols) -> Shape {
    return {element_of(h, bit), rows, cols, true};
  };
  const auto table_if = [](bool is_there, uint32_t type, uint32_t rows, uint32_t cols) -> Shape {
    if (!is_there) return {};
    return {type, rows, cols, false};
  };
  const auto bias_if = [&](uint32_t bit, uint32_t cols) {
    return table_if((biases & bit) != 0, kElementF32, 1, cols);
  };
  const bool has_tokenizer = h.tokenizer != kTokenizerNone;
  switch (kind) {
    case kTokenEmbedding:
      return matrix(kMatrixEmbedding, h.vocab_size, h.dim);
    case kPositionEmbedding:
      if (!THIMBLE_LEARNED_POSITIONS) return {};
      return matrix(kMatrixPositions, h.learned_positions ? h.n_ctx : 0, h.dim);
    case kOutputHead:
      return matrix(kMatrixHead, h.tied_head ? 0 : h.vocab_size, h.dim);
    case kAttentionQkv:
      return matrix(kMatrixQkv, q + 2 * kv, h.dim);
    case kAttentionQkvBias:
      return bias_if(kBiasQkv, q + 2 * kv);
    case kQkNorm:
      return table_if(THIMBLE_QK_NORM && h.qk_norm, kElementF32, 2, h.head_dim);
    case kAttentionOutput:
      return matrix(kMatrixOutput, h.dim, q);
    case kAttentionOutputBias:
      return bias_if(kBiasAttentionOutput, h.dim);
    case kFeedForwardGateUp:
      return matrix(kMatrixGateUp, up, h.dim);
    case kFeedForwardGateUpBias:
      return bias_if(kBiasFeedForwardIn, up);
    case kFeedForwardDown:
      return matrix(kMatrixDown, h.dim, h.hidden_dim);
    case kFeedForwardDownBias:
      return bias_if(kBiasFeedForwardDown, h.dim);
    case kAttentionPostNorm:
    case kFeedForwardPostNorm:
      return table_if(THIMBLE_NORM_AFTER && h.norm_after, kElementF32, norm_rows, h.dim);
    case kAttentionNorm:
    case kFeedForwardNorm:
    case kFinalNorm:
      return {kElementF32, norm_rows, h.dim, false};
    case kRopeFrequencies:
      return {kElementU64, THIMBLE_ROPES ? h.n_ropes : 1, h.head_dim / 2, false};
    case kLayerKinds:
      return table_if(has_layer_kinds(h), kElementU32, h.n_layers, 2);
    case kTokenOffsets:
      return table_if(has_tokenizer, kElementU32, 1, h.vocab_size + 1);
    case kTokenBytes:
      return table_if(has_tokenizer, kElementU8, 1, h.token_bytes);
    case kTokenRanks:
      return table_if(has_tokenizer, kElementI32, 1, h.vocab_size);
    case kTokenTypes:
      return table_if(has_tokenizer, kElementU8, 1, h.vocab_size);
    case kByteTokens:
      return table_if(has_tokenizer, kElementI32, 1, 256);
    case kTokenLookup:
      return table_if(has_tokenizer, kElementI32, 1, token_lookup_slots(h.vocab_size));
    case kTokenSplits:
      return table_if(THIMBLE_BYTE_BPE && h.tokenizer == kTokenizerByteBpe, kElementU16, 1,
                      h.vocab_size);
    case kTurnOffsets:
      return table_if(h.turn_bytes > 0, kElementU32, 1, kTurnTextCount + 1);
    case kTurnTexts:
      return table_if(h.turn_bytes > 0, kElementU8, 1, h.turn_bytes);
    case kSelfTestTokens:
      return table_if(h.self_test_tokens > 0, kElementI32, 1, h.self_test_tokens);
    case kSelfTestHashes:
      return table_if(h.self_test_tokens > 0, kElementU64, 2, h.n_layers + 1);
    default:
      return {};
  }
}

const SectionEntry* section_table(const FileHeader& h) {
  return reinterpret_cast<const SectionEntry*>(&h + 1);
}

// A section that the checked table has, mostly. Layers are alike: the second one tells how far they
// lie apart.
const SectionEntry& find_section(const FileHeader& h, uint32_t kind, uint32_t layer) {
  const bool is_behind = kind >= kFinalNorm;  // the layers: sought from the end
  const SectionEntry* e = section_table(h) + (is_behind ? h.n_sections - 1 : 0);
  while (e->kind != kind) e += is_behind ? -1 : 1;
  if (layer == 0) return *e;
  const SectionEntry* next = e + 1;
  while (next->kind != kind) ++next;
  return e[layer * static_cast<size_t>(next - e)];
}

#if THIMBLE_WINDOWS || THIMBLE_ROPES
// The one table that the forward pass goes by.
thimble_status check_layer_kinds(const uint8_t* image, thimble_fault* fault) {
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image);
  if (!has_layer_kinds(h)) return THIMBLE_OK;
  const uint64_t begin = find_section(h, kLayerKinds, 0).offset;
  const uint32_t* kinds = reinterpret_cast<const uint32_t*>(image + begin);
  const uint32_t limits[2] = {h.has_windows ? h.n_ctx : 0, h.n_ropes - 1};
  for (uint32_t i = 0; i < 2 * h.n_layers; ++i) {
    if (kinds[i] > limits[i % 2]) {
      *fault = {i % 2 ? "rotary table of a layer" : "window of a layer", kinds[i], limits[i % 2],
                begin + i * sizeof(uint32_t)};
      return THIMBLE_ERROR_SECTION;
    }
  }
  return THIMBLE_OK;
}
#endif

}  // namespace

// What models in a store share with the others; alone it is inlined.
#if THIMBLE_STREAM
#define THIMBLE_ALSO_STORED
#else
#define THIMBLE_ALSO_STORED static
#endif

THIMBLE_ALSO_STORED thimble_status check_sections(const FileHeader& h, thimble_fault* fault) {
  const uint32_t count = section_count(h);
  if (h.n_sections != count) {
    refuse(fault, "n_sections", h.n_sections, count, offsetof(FileHeader, n_sections));
    return THIMBLE_ERROR_SECTION;
  }
  const SectionEntry* entry = section_table(h);
  const SectionEntry* previous = nullptr;
  for (uint32_t i = 0; i < count; ++i, ++entry) {
    const SectionEntry expected = expected_section(h, previous);
    if (!entries_match(*entry, expected, sizeof h + i * sizeof expected, fault)) {
      return THIMBLE_ERROR_SECTION;
    }
    previous = entry;
  }
  const uint64_t file_bytes = expected_file_bytes(section_table(h)[count - 1]);
  if (h.file_bytes == file_bytes) return THIMBLE_OK;
  refuse(fault, "file_bytes", h.file_bytes, file_bytes, offsetof(FileHeader, file_bytes));
  return THIMBLE_ERROR_TRUNCATED;
}

THIMBLE_ALSO_STORED thimble_status take_model(thimble_model* model, const uint8_t* image,
                                              size_t image_bytes) {
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image);
#if THIMBLE_WINDOWS || THIMBLE_ROPES
  const thimble_status status = check_layer_kinds(image, &model->fault);
  if (status != THIMBLE_OK) return status;
#endif
  model->image = image;
  model->image_bytes = image_bytes;
  model->n_params = h.n_params;
  model->dim = h.dim;
  model->hidden_dim = h.hidden_dim;
  model->n_layers = h.n_layers;
  model->n_heads = h.n_heads;
  model->n_kv_heads = h.n_kv_heads;
  model->head_dim = h.head_dim;
  model->vocab_size = h.vocab_size;
  model->n_ctx = h.n_ctx;
  model->weight_type = h.weight_type;
  model->group = h.group;
  model->row_tile = h.row_tile;
  model->max_token_bytes = h.max_token_bytes;
  model->bos_id = h.bos_id;
  model->eos_id = h.eos_id;
  model->end_of_turn_id = h.end_of_turn_id;
  model->n_tokens = h.n_tokens;
  return THIMBLE_OK;
}

uint32_t token_lookup_slots(uint32_t vocab_size) {
  uint32_t slots = 2;
  while (slots < 2 * vocab_size) slots *= 2;
  return slots;
}

uint32_t section_count(const FileHeader& header) {
  uint32_t n = 0;
  for (uint32_t kind = 0; kind < kSectionKinds; ++kind) {
    if (section_shape(header, kind).rows > 0) n += is_layer_section(kind) ? header.n_layers : 1;
  }
  return n;
}

uint64_t parameter_count(const FileHeader& header) {
  uint64_t n = 0;
  for (uint32_t kind = 0; kind < kRopeFrequencies; ++kind) {
    const Shape s = section_shape(header, kind);
    n += static_cast<uint64_t>(s.rows) * s.cols * (is_layer_section(kind) ? header.n_layers : 1);
  }
  return n;
}

SectionEntry expected_section(const FileHeader& header, const SectionEntry* previous) {
  SectionEntry e{};
  uint64_t start = sizeof(FileHeader) + header.n_sections * sizeof e;
  if (previous) {
    e.kind = previous->kind;
    e.layer = previous->layer;
    start = expected_file_bytes(*previous);
  }
  // Kinds in ascending order, a layer's own ones once for each layer.
  Shape shape;
  do {
    if (++e.kind == kFinalNorm) {
      const bool was_last = e.layer + 1 == header.n_layers;
      e.layer = was_last ? 0 : e.layer + 1;
      if (!was_last) e.kind = kAttentionNorm;
    }
    shape = section_shape(header, e.kind);
  } while (shape.rows == 0);
  e.type = shape.type;
  e.rows = shape.rows;
  e.cols = shape.cols;
  e.row_tile = shape.is_matrix ? header.row_tile : 1;
  e.offset = start;
  const uint32_t rows = padded(e.rows, e.row_tile);
  if (shape.type == kElementQ8 || (THIMBLE_Q4 && shape.type == kElementQ4)) {
    const bool q4 = THIMBLE_Q4 && shape.type == kElementQ4;
    const uint32_t cols = padded(e.cols, header.group ? header.group : q4 ? 16 : 4);
    e.group = header.group ? header.group : cols;
    e.n_groups = cols / e.group;
    e.bytes = (static_cast<uint64_t>(rows) * cols) >> (q4 ? 1 : 0);
    e.scales_offset = round_up(e.offset + e.bytes, kSectionAlignment);
    e.scales_bytes = static_cast<uint64_t>(rows) * (e.n_groups * sizeof(uint16_t));
  } else {
    e.bytes = static_cast<uint64_t>(rows) * (e.cols * element_bytes(shape.type));
  }
  return e;
}

uint64_t expected_file_bytes(const SectionEntry& last) {
  return round_up(
      last.scales_offset ? last.scales_offset + last.scales_bytes : last.offset + last.bytes,
      kSectionAlignment);
}

thimble_status open_model(thimble_model* model, const void* image, size_t image_bytes) {
  memset(model, 0, sizeof *model);
  const uint8_t* bytes = static_cast<const uint8_t*>(image);
  thimble_fault* fault = &model->fault;
  thimble_status status = check_envelope(kModelFile, bytes, image_bytes, fault);
  if (status != THIMBLE_OK) return status;
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(bytes);
  status = check_header(h, fault);
  if (status == THIMBLE_OK) status = check_sections(h, fault);
  return status == THIMBLE_OK ? take_model(model, bytes, image_bytes) : status;
}

thimble_status verify_model(thimble_model* model) {
  return check_data(model->image, model->image_bytes, &model->fault);
}

// Null if the model has no such section.
static const float* optional_table(const thimble_model& model, SectionKind kind) {
  const FileHeader& h = header_of(model);
  const SectionEntry* e = section_table(h);
  for (const SectionEntry* end = e + h.n_sections; e != end; ++e) {
    if (e->kind == kind) return reinterpret_cast<const float*>(model.image + e->offset);
  }
  return nullptr;
}

const SectionEntry& section_of(const thimble_model& model, SectionKind kind, uint32_t layer) {
  return find_section(header_of(model), kind, layer);
}

Matrix matrix_of(const thimble_model& model, SectionKind kind, uint32_t layer) {
  return matrix_at(is_stored(model) ? nullptr : model.image, section_of(model, kind, layer));
}

Weights weights_of(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  Weights w = {};
  w.embedding = matrix_of(model, kTokenEmbedding);
  if (THIMBLE_LEARNED_POSITIONS && h.learned_positions) {
    w.positions = matrix_of(model, kPositionEmbedding);
  }
  w.qkv = matrix_of(model, kAttentionQkv);
  w.output = matrix_of(model, kAttentionOutput);
  w.gate_up = matrix_of(model, kFeedForwardGateUp);
  w.down = matrix_of(model, kFeedForwardDown);
  w.head = matrix_of(model, h.tied_head ? kTokenEmbedding : kOutputHead);
  w.attention_norm = table_of<float>(model, kAttentionNorm);
  w.feed_forward_norm = table_of<float>(model, kFeedForwardNorm);
  w.final_norm = table_of<float>(model, kFinalNorm);
  if (THIMBLE_NORM_AFTER) {
    w.attention_post_norm = optional_table(model, kAttentionPostNorm);
    w.feed_forward_post_norm = optional_table(model, kFeedForwardPostNorm);
  }
  if (THIMBLE_QK_NORM) w.qk_norm = optional_table(model, kQkNorm);
  if (THIMBLE_BIASES) {
    w.qkv_bias = optional_table(model, kAttentionQkvBias);
    w.output_bias = optional_table(model, kAttentionOutputBias);
    w.gate_up_bias = optional_table(model, kFeedForwardGateUpBias);
    w.down_bias = optional_table(model, kFeedForwardDownBias);
  }
  w.rope = table_of<uint64_t>(model, kRopeFrequencies);
  if (has_layer_kinds(h)) w.layer_kinds = table_of<uint32_t>(model, kLayerKinds);
  // Layers are alike, and sections follow each other without gaps: the stride is the same for all.
  const uint64_t first = section_of(model, kAttentionNorm).offset;
  const uint64_t behind = section_of(model, kFinalNorm).offset;
  w.layer_bytes = static_cast<size_t>((behind - first) / h.n_layers);
  w.norm_eps = h.norm_eps;
  return w;
}

void read_row(float* out, const Matrix& m, uint32_t row) {
  const size_t tile = row / m.row_tile;
  const uint32_t lane = row % m.row_tile;
  if (m.type == kWeightF32) {
    const float* data = static_cast<const float*>(m.data) + tile * m.cols * m.row_tile + lane;
    for (uint32_t c = 0; c < m.cols; ++c) out[c] = data[static_cast<size_t>(c) * m.row_tile];
    return;
  }
  const bool q4 = THIMBLE_Q4 && m.type == kWeightQ4;
  const int8_t* data = static_cast<const int8_t*>(m.data) +
                       weight_bytes(m.type, tile * m.padded_cols * m.row_tile) +
                       (q4 ? 0 : lane * 4);
  const uint16_t* scales = m.scales + tile * m.n_groups * m.row_tile + lane;
  for (uint32_t c = 0; c < m.cols; ++c) {
    const int32_t value = q4 ? q4_level(q4_bits(data, m.row_tile, c, lane))
                             : data[static_cast<size_t>(c / 4) * m.row_tile * 4 + c % 4];
    const float scale = from_bf16(scales[static_cast<size_t>(c / m.group) * m.row_tile]);
    out[c] = static_cast<float>(value) * scale;
  }
}

}  // namespace thimble
