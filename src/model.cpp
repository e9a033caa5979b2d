// SPDX-License-Identifier: MIT
// The trust boundary: everything a file could get wrong is found here, once.
#include "model.h"

#include <string.h>

#include "crc32.h"
#include "exact_math.h"

namespace thimble {
namespace {

// The section table is: embedding, the layers' sections, final norm, [head], rope, [tokenizer],
// [self-test].
constexpr SectionKind kLayerSections[] = {kAttentionNorm,   kAttentionQkv,      kAttentionOutput,
                                          kFeedForwardNorm, kFeedForwardGateUp, kFeedForwardDown};
constexpr uint32_t kSectionsPerLayer = sizeof kLayerSections / sizeof kLayerSections[0];
constexpr SectionKind kTokenizerSections[] = {kTokenOffsets, kTokenBytes, kTokenRanks,
                                              kTokenTypes,   kByteTokens, kTokenLookup};
constexpr uint32_t kTokenizerSectionCount =
    sizeof kTokenizerSections / sizeof kTokenizerSections[0];
constexpr uint32_t kSelfTestSectionCount = 2;

uint32_t tokenizer_section_count(const FileHeader& h) {
  return h.tokenizer == kTokenizerNone ? 0 : kTokenizerSectionCount;
}

uint32_t section_index(const FileHeader& h, SectionKind kind, uint32_t layer) {
  const uint32_t after_layers = 1 + kSectionsPerLayer * h.n_layers;
  switch (kind) {
    case kTokenEmbedding:
      return 0;
    case kFinalNorm:
      return after_layers;
    case kOutputHead:
      return after_layers + 1;
    case kRopeFrequencies:
      return after_layers + (h.tied_head ? 1 : 2);
    default:
      break;
  }
  const uint32_t after_rope = after_layers + (h.tied_head ? 2 : 3);
  if (kind >= kSelfTestTokens) {
    return after_rope + tokenizer_section_count(h) + (kind - kSelfTestTokens);
  }
  if (kind >= kTokenOffsets) return after_rope + (kind - kTokenOffsets);
  return 1 + kSectionsPerLayer * layer + (kind - kAttentionNorm);
}

void section_kind(const FileHeader& h, uint32_t index, SectionKind* kind, uint32_t* layer) {
  *layer = 0;
  const uint32_t after_layers = 1 + kSectionsPerLayer * h.n_layers;
  if (index == 0) {
    *kind = kTokenEmbedding;
  } else if (index < after_layers) {
    *kind = kLayerSections[(index - 1) % kSectionsPerLayer];
    *layer = (index - 1) / kSectionsPerLayer;
  } else if (index == after_layers) {
    *kind = kFinalNorm;
  } else if (!h.tied_head && index == after_layers + 1) {
    *kind = kOutputHead;
  } else if (index == after_layers + (h.tied_head ? 1 : 2)) {
    *kind = kRopeFrequencies;
  } else {
    const uint32_t after_rope = after_layers + (h.tied_head ? 2 : 3);
    const uint32_t after_tokenizer = after_rope + tokenizer_section_count(h);
    *kind = index < after_tokenizer    ? kTokenizerSections[index - after_rope]
            : index == after_tokenizer ? kSelfTestTokens
                                       : kSelfTestHashes;
  }
}

uint32_t padded_cols(const FileHeader& h, uint32_t cols) {
  if (h.weight_type == kWeightF32) return cols;
  return static_cast<uint32_t>(round_up(cols, h.group ? h.group : 4));
}

uint32_t element_bytes(uint32_t type) {
  switch (type) {
    case kElementQ8:
    case kElementU8:
      return 1;
    case kElementU64:
      return 8;
    default:
      return 4;
  }
}

struct Shape {
  uint32_t type, rows, cols;
  bool is_matrix;
};

Shape section_shape(const FileHeader& h, SectionKind kind) {
  const uint32_t q = h.n_heads * h.head_dim, kv = h.n_kv_heads * h.head_dim;
  const uint32_t weights = h.weight_type == kWeightF32 ? kElementF32 : kElementQ8;
  switch (kind) {
    case kTokenEmbedding:
    case kOutputHead:
      return {weights, h.vocab_size, h.dim, true};
    case kAttentionQkv:
      return {weights, q + 2 * kv, h.dim, true};
    case kAttentionOutput:
      return {weights, h.dim, q, true};
    case kFeedForwardGateUp:
      return {weights, 2 * h.hidden_dim, h.dim, true};
    case kFeedForwardDown:
      return {weights, h.dim, h.hidden_dim, true};
    case kAttentionNorm:
    case kFeedForwardNorm:
    case kFinalNorm:
      return {kElementF32, 1, h.dim, false};
    case kRopeFrequencies:
      return {kElementU64, 1, h.head_dim / 2, false};
    case kTokenOffsets:
      return {kElementU32, 1, h.vocab_size + 1, false};
    case kTokenBytes:
      return {kElementU8, 1, h.token_bytes, false};
    case kTokenRanks:
      return {kElementI32, 1, h.vocab_size, false};
    case kTokenTypes:
      return {kElementU8, 1, h.vocab_size, false};
    case kByteTokens:
      return {kElementI32, 1, 256, false};
    case kTokenLookup:
      return {kElementI32, 1, token_lookup_slots(h.vocab_size), false};
    case kSelfTestTokens:
      return {kElementI32, 1, h.self_test_tokens, false};
    case kSelfTestHashes:
      return {kElementU64, 2, h.n_layers + 1, false};
  }
  return {};
}

bool refuse(thimble_fault* fault, const char* what, uint64_t found, uint64_t expected,
            uint64_t offset) {
  *fault = {what, found, expected, offset};
  return false;
}

// ---- Header fields -------------------------------------------------------------------------

struct HeaderChecker {
  const FileHeader& header;
  thimble_fault* fault;

  uint64_t offset(const void* field) const {
    return static_cast<uint64_t>(static_cast<const uint8_t*>(field) -
                                 reinterpret_cast<const uint8_t*>(&header));
  }
  bool within(const char* what, const uint32_t& field, uint32_t low, uint32_t high) const {
    if (field < low) return refuse(fault, what, field, low, offset(&field));
    if (field > high) return refuse(fault, what, field, high, offset(&field));
    return true;
  }
  bool equals(const char* what, const uint32_t& field, uint32_t value) const {
    return within(what, field, value, value);
  }
  bool between(const char* what, const float& field, float low, float high) const {
    if (field >= low && field <= high) return true;
    return refuse(fault, what, bits_of(field), bits_of(field > high ? high : low), offset(&field));
  }
};

// A field that may have any value of a range, whatever the others say. In a table, since a call for
// each is twice as long.
struct FieldRange {
  const char* what;
  uint32_t offset, low, high;
};
constexpr FieldRange kTypes[] = {
    {"architecture", offsetof(FileHeader, architecture), kArchitectureLlama, kArchitectureLlama},
    {"flags", offsetof(FileHeader, flags), 0, 0},
    {"norm type", offsetof(FileHeader, norm), kNormRms, kNormRms},
    {"activation type", offsetof(FileHeader, activation), kActivationSwiGlu, kActivationSwiGlu},
    {"position type", offsetof(FileHeader, position), kPositionRope, kPositionRope},
    {"biases", offsetof(FileHeader, biases), 0, 0},
    {"tied_head", offsetof(FileHeader, tied_head), 0, 1},
    {"weight type", offsetof(FileHeader, weight_type), kWeightF32, kWeightQ8},
    {"tokenizer type", offsetof(FileHeader, tokenizer), kTokenizerNone, kTokenizerScoredBpe},
    {"tokenizer flags", offsetof(FileHeader, tokenizer_flags), 0, kTokenizerKnownFlags},
};
constexpr FieldRange kSizes[] = {
    {"dim", offsetof(FileHeader, dim), 1, kMaxDim},
    {"hidden_dim", offsetof(FileHeader, hidden_dim), 1, kMaxHiddenDim},
    {"n_layers", offsetof(FileHeader, n_layers), 1, kMaxLayers},
    {"n_heads", offsetof(FileHeader, n_heads), 1, kMaxHeads},
    {"n_kv_heads", offsetof(FileHeader, n_kv_heads), 1, kMaxHeads},
    {"head_dim", offsetof(FileHeader, head_dim), 2, kMaxHeadDim},
    {"vocab_size", offsetof(FileHeader, vocab_size), 1, kMaxVocab},
    {"n_ctx", offsetof(FileHeader, n_ctx), 1, kMaxContext},
};

template <size_t kCount>
bool fields_within(const HeaderChecker& check, const FieldRange (&fields)[kCount]) {
  const uint8_t* header = reinterpret_cast<const uint8_t*>(&check.header);
  for (const FieldRange& f : fields) {
    const uint32_t& field = *reinterpret_cast<const uint32_t*>(header + f.offset);
    if (!check.within(f.what, field, f.low, f.high)) return false;
  }
  return true;
}

bool known_types(const HeaderChecker& check) {
  if (!fields_within(check, kTypes)) return false;
  for (const uint8_t& byte : check.header.reserved) {
    if (byte != 0) return refuse(check.fault, "reserved byte", byte, 0, check.offset(&byte));
  }
  return true;
}

bool ranges_hold(const HeaderChecker& check) {
  const FileHeader& h = check.header;
  if (!fields_within(check, kSizes) || !check.within("n_kv_heads", h.n_kv_heads, 1, h.n_heads) ||
      !check.between("norm epsilon", h.norm_eps, 1e-12f, 1.0f) ||
      !check.between("rope_theta", h.rope_theta, 1.0f, 1e12f)) {
    return false;
  }
  if (h.n_heads % h.n_kv_heads != 0) {
    return refuse(check.fault, "n_kv_heads (must divide n_heads)", h.n_kv_heads, h.n_heads,
                  check.offset(&h.n_kv_heads));
  }
  if (h.head_dim % 2 != 0) {
    return refuse(check.fault, "head_dim (must be even)", h.head_dim, h.head_dim + 1,
                  check.offset(&h.head_dim));
  }
  if (!check.within("n_heads * head_dim", h.n_heads, 1, kMaxDim / h.head_dim)) return false;
  const uint32_t tile = h.row_tile;
  if (tile != 1 && tile != 2 && tile != 4 && tile != 8 && tile != 16) {
    return refuse(check.fault, "row_tile (1, 2, 4, 8 or 16)", tile, 16, check.offset(&h.row_tile));
  }
  const uint32_t group = h.group;
  if (h.weight_type == kWeightF32) {
    if (!check.equals("group (of f32 weights)", h.group, 0)) return false;
  } else if (group != 0 && group != 32 && group != 64 && group != 128) {
    return refuse(check.fault, "group (32, 64, 128 or 0)", group, 32, check.offset(&h.group));
  }
  if (h.tokenizer == kTokenizerNone) {
    if (!check.equals("tokenizer flags", h.tokenizer_flags, 0) ||
        !check.equals("token_bytes", h.token_bytes, 0) ||
        !check.equals("max_token_bytes", h.max_token_bytes, 0)) {
      return false;
    }
  } else if (!check.within("token_bytes", h.token_bytes, 1, kMaxVocab * 64) ||
             !check.within("max_token_bytes", h.max_token_bytes, 1, kMaxTokenBytes)) {
    return false;
  }
  const uint32_t longest = h.n_ctx < kMaxSelfTestTokens ? h.n_ctx : kMaxSelfTestTokens;
  if (!check.within("self_test_tokens", h.self_test_tokens, 0, longest)) return false;
  const int32_t vocab = static_cast<int32_t>(h.vocab_size);
  const auto as_found = [](int32_t id) { return static_cast<uint64_t>(static_cast<int64_t>(id)); };
  if (h.bos_id < -1 || h.bos_id >= vocab) {
    return refuse(check.fault, "bos_id", as_found(h.bos_id), h.vocab_size - 1,
                  check.offset(&h.bos_id));
  }
  if (h.eos_id < -1 || h.eos_id >= vocab) {
    return refuse(check.fault, "eos_id", as_found(h.eos_id), h.vocab_size - 1,
                  check.offset(&h.eos_id));
  }
  return true;
}

uint64_t parameter_count(const FileHeader& h) {
  uint64_t n = 0;
  const uint32_t weights_end = section_index(h, kRopeFrequencies, 0);
  for (uint32_t i = 0; i < weights_end; ++i) {
    SectionKind kind;
    uint32_t layer;
    section_kind(h, i, &kind, &layer);
    const Shape s = section_shape(h, kind);
    n += static_cast<uint64_t>(s.rows) * s.cols;
  }
  return n;
}

// ---- The file around the header ------------------------------------------------------------

// What can be said before the header's own checksum: is this a file for us at all, and all of it?
thimble_status check_envelope(const uint8_t* image, size_t bytes, thimble_fault* fault) {
  const auto fail = [fault](thimble_status status, const char* what, uint64_t found,
                            uint64_t expected, uint64_t offset) {
    refuse(fault, what, found, expected, offset);
    return status;
  };
  const size_t prefix = bytes < sizeof kMagic ? bytes : sizeof kMagic;
  if (bytes == 0 || memcmp(image, kMagic, prefix) != 0) {
    uint64_t found = 0, expected = 0;
    memcpy(&found, image, prefix);
    memcpy(&expected, kMagic, sizeof kMagic);
    return fail(THIMBLE_ERROR_MAGIC, "magic", found, expected, 0);
  }
  if (bytes < sizeof(FileHeader)) {
    return fail(THIMBLE_ERROR_TRUNCATED, "length of the file", bytes, sizeof(FileHeader), 0);
  }
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image);
  if (h.byte_order != kByteOrderMark) {
    return fail(THIMBLE_ERROR_BYTE_ORDER, "byte-order mark", h.byte_order, kByteOrderMark, 12);
  }
  if (h.version != kFormatVersion) {
    return fail(THIMBLE_ERROR_VERSION, "version", h.version, kFormatVersion, 8);
  }
  if (h.file_bytes != bytes) {
    return fail(THIMBLE_ERROR_TRUNCATED, "length of the file", bytes, h.file_bytes, 24);
  }
  const uint64_t table = h.header_bytes - static_cast<uint64_t>(sizeof h);
  if (h.header_bytes < sizeof h || h.header_bytes > bytes ||
      table != static_cast<uint64_t>(h.n_sections) * sizeof(SectionEntry)) {
    return fail(THIMBLE_ERROR_HEADER, "header_bytes", h.header_bytes,
                sizeof h + static_cast<uint64_t>(h.n_sections) * sizeof(SectionEntry), 16);
  }
  const uint32_t zero = 0;
  const size_t crc_at = offsetof(FileHeader, header_crc), crc_end = crc_at + sizeof zero;
  uint32_t crc = crc32(0, image, crc_at);
  crc = crc32(crc, &zero, sizeof zero);
  crc = crc32(crc, image + crc_end, h.header_bytes - crc_end);
  if (crc != h.header_crc) {
    return fail(THIMBLE_ERROR_HEADER_CHECKSUM, "checksum of the header", crc, h.header_crc, crc_at);
  }
  return THIMBLE_OK;
}

// A file's entry has to be the one that the header implies, field by field.
bool entries_match(const SectionEntry& found, const SectionEntry& expected, uint64_t at,
                   thimble_fault* fault) {
  const struct {
    const char* what;
    uint64_t found, expected, offset;
  } fields[] = {
      {"section kind", found.kind, expected.kind, offsetof(SectionEntry, kind)},
      {"section layer", found.layer, expected.layer, offsetof(SectionEntry, layer)},
      {"section type", found.type, expected.type, offsetof(SectionEntry, type)},
      {"section rows", found.rows, expected.rows, offsetof(SectionEntry, rows)},
      {"section cols", found.cols, expected.cols, offsetof(SectionEntry, cols)},
      {"section row_tile", found.row_tile, expected.row_tile, offsetof(SectionEntry, row_tile)},
      {"section group", found.group, expected.group, offsetof(SectionEntry, group)},
      {"section n_groups", found.n_groups, expected.n_groups, offsetof(SectionEntry, n_groups)},
      {"section offset", found.offset, expected.offset, offsetof(SectionEntry, offset)},
      {"section bytes", found.bytes, expected.bytes, offsetof(SectionEntry, bytes)},
      {"section scales_offset", found.scales_offset, expected.scales_offset,
       offsetof(SectionEntry, scales_offset)},
      {"section scales_bytes", found.scales_bytes, expected.scales_bytes,
       offsetof(SectionEntry, scales_bytes)},
  };
  for (const auto& field : fields) {
    if (field.found != field.expected) {
      return refuse(fault, field.what, field.found, field.expected, at + field.offset);
    }
  }
  return true;
}

thimble_status check_sections(const FileHeader& h, thimble_fault* fault) {
  const uint32_t count = section_count(h);
  if (h.n_sections != count) {
    refuse(fault, "n_sections", h.n_sections, count, offsetof(FileHeader, n_sections));
    return THIMBLE_ERROR_SECTION;
  }
  const SectionEntry* table = reinterpret_cast<const SectionEntry*>(&h + 1);
  const SectionEntry* previous = nullptr;
  SectionEntry expected{};
  for (uint32_t i = 0; i < count; ++i) {
    expected = expected_section(h, i, previous);
    if (!entries_match(table[i], expected, sizeof h + i * sizeof(SectionEntry), fault)) {
      return THIMBLE_ERROR_SECTION;
    }
    previous = &table[i];
  }
  if (h.file_bytes != expected_file_bytes(expected)) {
    refuse(fault, "file_bytes", h.file_bytes, expected_file_bytes(expected),
           offsetof(FileHeader, file_bytes));
    return THIMBLE_ERROR_TRUNCATED;
  }
  return THIMBLE_OK;
}

}  // namespace

uint32_t token_lookup_slots(uint32_t vocab_size) {
  uint32_t slots = 2;
  while (slots < 2 * vocab_size) slots *= 2;
  return slots;
}

uint32_t section_count(const FileHeader& header) {
  return section_index(header, kRopeFrequencies, 0) + 1 + tokenizer_section_count(header) +
         (header.self_test_tokens ? kSelfTestSectionCount : 0);
}

SectionEntry expected_section(const FileHeader& header, uint32_t index,
                              const SectionEntry* previous) {
  SectionEntry e{};
  SectionKind kind;
  section_kind(header, index, &kind, &e.layer);
  const Shape shape = section_shape(header, kind);
  e.kind = kind;
  e.type = shape.type;
  e.rows = shape.rows;
  e.cols = shape.cols;
  e.row_tile = shape.is_matrix ? header.row_tile : 1;
  const uint64_t start = previous ? expected_file_bytes(*previous)
                                  : sizeof(FileHeader) + section_count(header) * sizeof e;
  e.offset = round_up(start, kSectionAlignment);
  const uint64_t rows = round_up(e.rows, e.row_tile);
  if (shape.type == kElementQ8) {
    const uint32_t cols = padded_cols(header, e.cols);
    e.group = header.group ? header.group : cols;
    e.n_groups = cols / e.group;
    e.bytes = rows * cols;
    e.scales_offset = round_up(e.offset + e.bytes, kSectionAlignment);
    e.scales_bytes = rows * e.n_groups * sizeof(uint16_t);
  } else {
    e.bytes = rows * e.cols * element_bytes(shape.type);
  }
  return e;
}

uint64_t expected_file_bytes(const SectionEntry& last) {
  return round_up(
      last.scales_offset ? last.scales_offset + last.scales_bytes : last.offset + last.bytes,
      kSectionAlignment);
}

thimble_status check_header(const FileHeader& header, thimble_fault* fault) {
  const HeaderChecker check{header, fault};
  if (!known_types(check)) return THIMBLE_ERROR_UNSUPPORTED;
  if (!ranges_hold(check)) return THIMBLE_ERROR_HEADER;
  if (header.n_params != parameter_count(header)) {
    refuse(fault, "n_params", header.n_params, parameter_count(header),
           offsetof(FileHeader, n_params));
    return THIMBLE_ERROR_HEADER;
  }
  return THIMBLE_OK;
}

thimble_status open_model(thimble_model* model, const void* image, size_t image_bytes) {
  memset(model, 0, sizeof *model);
  const uint8_t* bytes = static_cast<const uint8_t*>(image);
  thimble_fault* fault = &model->fault;
  const uint64_t misplaced = reinterpret_cast<uintptr_t>(image) % THIMBLE_ALIGNMENT;
  if (misplaced != 0) {
    refuse(fault, "address of the image, modulo 64", misplaced, 0, 0);
    return THIMBLE_ERROR_MISALIGNED;
  }
  thimble_status status = check_envelope(bytes, image_bytes, fault);
  if (status != THIMBLE_OK) return status;
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(bytes);
  status = check_header(h, fault);
  if (status == THIMBLE_OK) status = check_sections(h, fault);
  if (status != THIMBLE_OK) return status;

  model->image = bytes;
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
  return THIMBLE_OK;
}

thimble_status verify_model(thimble_model* model) {
  const FileHeader& h = header_of(*model);
  const uint32_t crc = crc32(0, model->image + h.header_bytes, model->image_bytes - h.header_bytes);
  if (crc == h.data_crc) return THIMBLE_OK;
  refuse(&model->fault, "checksum of the data", crc, h.data_crc, offsetof(FileHeader, data_crc));
  return THIMBLE_ERROR_DATA_CHECKSUM;
}

const SectionEntry& section_of(const thimble_model& model, SectionKind kind, uint32_t layer) {
  const FileHeader& h = header_of(model);
  return reinterpret_cast<const SectionEntry*>(&h + 1)[section_index(h, kind, layer)];
}

Matrix matrix_of(const thimble_model& model, SectionKind kind, uint32_t layer) {
  const SectionEntry& e = section_of(model, kind, layer);
  Matrix m;
  m.data = model.image + e.offset;
  m.rows = e.rows;
  m.cols = e.cols;
  m.row_tile = e.row_tile;
  m.group = e.group;
  m.n_groups = e.n_groups;
  if (e.type == kElementQ8) {
    m.type = kWeightQ8;
    m.scales = reinterpret_cast<const uint16_t*>(model.image + e.scales_offset);
    m.padded_cols = e.n_groups * e.group;
  } else {
    m.type = kWeightF32;
    m.scales = nullptr;
    m.padded_cols = e.cols;
  }
  return m;
}

Weights weights_of(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  Weights w;
  w.embedding = matrix_of(model, kTokenEmbedding);
  w.qkv = matrix_of(model, kAttentionQkv);
  w.output = matrix_of(model, kAttentionOutput);
  w.gate_up = matrix_of(model, kFeedForwardGateUp);
  w.down = matrix_of(model, kFeedForwardDown);
  w.head = matrix_of(model, h.tied_head ? kTokenEmbedding : kOutputHead);
  w.attention_norm = table_of<float>(model, kAttentionNorm);
  w.feed_forward_norm = table_of<float>(model, kFeedForwardNorm);
  w.final_norm = table_of<float>(model, kFinalNorm);
  w.rope = table_of<uint64_t>(model, kRopeFrequencies);
  // Layers are alike, and sections follow each other without gaps: the stride is the same for all.
  const uint64_t first = section_of(model, kAttentionNorm).offset;
  const uint64_t behind = section_of(model, kFinalNorm).offset;
  w.layer_bytes = static_cast<size_t>((behind - first) / h.n_layers);
  w.norm_eps = h.norm_eps;
  return w;
}

void read_row(float* out, const Matrix& m, uint32_t row) {
  const size_t tile = row / m.row_tile, lane = row % m.row_tile;
  if (m.type == kWeightF32) {
    const float* data = static_cast<const float*>(m.data) + tile * m.cols * m.row_tile + lane;
    for (uint32_t c = 0; c < m.cols; ++c) out[c] = data[static_cast<size_t>(c) * m.row_tile];
    return;
  }
  const int8_t* data =
      static_cast<const int8_t*>(m.data) + tile * m.padded_cols * m.row_tile + lane * 4;
  const uint16_t* scales = m.scales + tile * m.n_groups * m.row_tile + lane;
  for (uint32_t c = 0; c < m.cols; ++c) {
    const int8_t value = data[static_cast<size_t>(c / 4) * m.row_tile * 4 + c % 4];
    const float scale = from_bf16(scales[static_cast<size_t>(c / m.group) * m.row_tile]);
    out[c] = static_cast<float>(value) * scale;
  }
}

}  // namespace thimble
