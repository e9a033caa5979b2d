// SPDX-License-Identifier: MIT
// The model file, version 2: structures as they lie in it. models/FORMAT.md explains them.
#ifndef THIMBLE_SRC_FORMAT_H
#define THIMBLE_SRC_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Thimble reads model files in place, so it needs a little-endian target."
#endif

namespace thimble {

// The first byte is no text, the last one is changed by a transfer in text mode.
constexpr uint8_t kMagic[8] = {0x89, 'T', 'H', 'I', 'M', 'B', 'L', '\n'};
constexpr uint32_t kFormatVersion = 2;
constexpr uint32_t kByteOrderMark = 0x01020304;
constexpr uint32_t kSectionAlignment = 64;

enum WeightType : uint32_t {
  kWeightF32 = 0,
  kWeightQ8 = 1,  // int8, a bf16 scale a group
  kWeightQ4 = 2   // 4 bits that stand for a level (q4_level), a bf16 scale of either sign a group
};

// What 4 bits stand for: x in [-8, 7] as two's complement, level about 8 x + x^3 / 16, denser where
// weights are. It is what three instructions make of 16 x in 8 bits where no shuffle looks up a
// table (Helium: VQDMULH, VMULH, VHADD), so every operation here rounds down:
//   -96 -78 -62 -48 -36 -26 -17 -9 0 8 16 25 36 47 61 77
inline constexpr int32_t q4_level(uint32_t bits) {
  const int32_t y = (static_cast<int32_t>(bits & 15) ^ 8) * 16 - 128;
  const int32_t square = 2 * y * y / 256 < 127 ? 2 * y * y / 256 : 127;
  const int32_t cube = (y * square + 32768) / 256 - 128;
  return (y + cube + 256) / 2 - 128;
}
static_assert(q4_level(8) == -96 && q4_level(15) == -9 && q4_level(0) == 0 && q4_level(7) == 77,
              "levels");
// Matrices of one kind, in all layers.
enum MatrixBit : uint32_t {
  kMatrixEmbedding = 1,
  kMatrixPositions = 2,
  kMatrixQkv = 4,
  kMatrixOutput = 8,
  kMatrixGateUp = 16,
  kMatrixDown = 32,
  kMatrixHead = 64,  // if it is no embedding
  kKnownMatrices = 127
};
enum NormType : uint32_t {
  kNormRms = 0,   // x / sqrt(mean(x^2) + eps) * weight
  kNormLayer = 1  // (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias
};
enum ActivationType : uint32_t {
  kActivationSilu = 0,      // x * sigmoid(x)
  kActivationGeluTanh = 1,  // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  kActivationGelu = 2,      // x / 2 * (1 + erf(x / sqrt(2)))
  kActivationRelu = 3       // max(x, 0)
};
enum Biases : uint32_t {  // bits: which matrices have one
  kBiasQkv = 1,
  kBiasAttentionOutput = 2,
  kBiasFeedForwardIn = 4,  // gate and up
  kBiasFeedForwardDown = 8,
  kKnownBiases = 15
};
enum TokenizerType : uint32_t {
  kTokenizerNone = 0,
  kTokenizerScoredBpe = 1,
  kTokenizerByteBpe = 2
};
// How byte-level BPE cuts a text into words before it merges.
enum PreTokenizer : uint32_t {
  kPreTokenizerNone = 0,  // of scored BPE
  kPreTokenizerGpt2 = 1,  // GPT-2, GPT-Neo, GPT-NeoX
  kPreTokenizerLlama3 = 2,
  kPreTokenizerQwen2 = 3,
  kPreTokenizerSmolLm = 4  // digits alone, then GPT-2's
};
enum TokenizerFlags : uint32_t {
  kTokenizerAddSpacePrefix = 1,  // a text that is not empty is encoded with a space before it
  kTokenizerSplitsAtSpaces = 2,  // no token holds a space after another byte: words are independent
  kTokenizerIgnoresMerges = 4,   // byte-level: kTokenWhole is said of all ordinary tokens
  kTokenizerAddsBos = 8,         // prompts start with bos_id
  kTokenizerKnownFlags = 15
};
enum TokenType : uint8_t {
  kTokenNormal = 0,
  kTokenControl = 1,  // no text; recognised in a text on request only
  kTokenByte = 2,
  kTokenUser = 3  // recognised in a text before all else
};
// Beside kTokenNormal: a word with this text, which is valid UTF-8, gives the token and needs no
// merging. So it is where merging leads to it, and everywhere with kTokenizerIgnoresMerges.
constexpr uint8_t kTokenWhole = 0x80;

// Limits a header must keep. They bound every product below, so that 64 bits never overflow.
constexpr uint32_t kMaxDim = 65536;
constexpr uint32_t kMaxHiddenDim =
    131072;  // 127 * 127 * 131072 < 2^31: int32 dot products are exact
constexpr uint32_t kMaxLayers = 4096;
constexpr uint32_t kMaxHeads = 1024;
constexpr uint32_t kMaxHeadDim = 1024;
constexpr uint32_t kMaxVocab = 1u << 20;
constexpr uint32_t kMaxContext = 1u << 20;
constexpr uint32_t kMaxTokenBytes = 4096;
constexpr uint32_t kMaxRowTile = 16;
constexpr uint32_t kMaxSelfTestTokens = 64;
constexpr uint32_t kMaxRopes = 4;
constexpr uint32_t kMaxTurnBytes = 4096;

struct FileHeader {
  uint8_t magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint32_t header_bytes;  // this structure and the section table
  uint32_t header_crc;    // CRC-32 of those bytes with this field as 0
  uint64_t file_bytes;
  uint32_t data_crc;  // CRC-32 of all that follows the section table
  uint32_t flags;     // 0; every bit is reserved
  uint32_t dim;
  uint32_t hidden_dim;
  uint32_t n_layers;
  uint32_t n_heads;
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t vocab_size;
  uint32_t n_ctx;
  uint32_t norm;  // NormType
  float norm_eps;
  uint32_t norm_after;         // 1: a second norm on what each block gives, before it is added
  uint32_t parallel;           // 1: both blocks of a layer start from the same residual stream
  uint32_t biases;             // bits of Biases
  uint32_t qk_norm;            // 1: rms_norm over each head of q and k, before the rotation
  uint32_t learned_positions;  // 1: a vector for each position is added to the token's
  uint32_t activation;         // ActivationType
  uint32_t gated;              // 1: act(gate) * up; 0: act(up)
  uint32_t n_ropes;            // tables of rotary frequencies
  uint32_t has_windows;        // 1: some layer sees less than all positions
  float rope_theta;            // what the first table was made from: for people only
  float score_scale;           // of q . k
  float embedding_scale;       // of the token's vector
  float logit_scale;
  float logit_cap;     // logits = cap * tanh(logits / cap); 0: as they are
  uint32_t tied_head;  // 1: the token embedding is also the output head
  uint32_t weight_type;
  uint32_t group;     // q8: columns that share a scale: 32, 64, 128, or 0 for the whole row
  uint32_t row_tile;  // 1, 2, 4, 8 or 16
  uint64_t n_params;
  uint32_t n_sections;
  uint32_t tokenizer;  // TokenizerType
  uint32_t tokenizer_flags;
  uint32_t pre_tokenizer;    // PreTokenizer
  uint32_t n_tokens;         // tokens that may be drawn: ids from it to vocab_size are padding
  uint32_t token_bytes;      // length of the token texts, all together
  uint32_t max_token_bytes;  // the longest one
  int32_t bos_id;
  int32_t eos_id;
  int32_t end_of_turn_id;     // ends an answer in a chat; -1 if there is none
  uint32_t turn_bytes;        // length of the texts around turns, all together; 0: no chat
  uint32_t self_test_tokens;  // length of the self-test's prompt; 0: there is none
  uint32_t q8_matrices;       // q4: bits of MatrixBit: matrices that are stored as q8
  uint8_t reserved[108];      // 0
};
static_assert(sizeof(FileHeader) == 320, "header layout");
static_assert(offsetof(FileHeader, header_bytes) == 16, "header layout");
static_assert(offsetof(FileHeader, file_bytes) == 24, "header layout");
static_assert(offsetof(FileHeader, dim) == 40, "header layout");
static_assert(offsetof(FileHeader, norm) == 72, "header layout");
static_assert(offsetof(FileHeader, score_scale) == 120, "header layout");
static_assert(offsetof(FileHeader, weight_type) == 140, "header layout");
static_assert(offsetof(FileHeader, n_params) == 152, "header layout");
static_assert(offsetof(FileHeader, tokenizer) == 164, "header layout");
static_assert(offsetof(FileHeader, self_test_tokens) == 204, "header layout");
static_assert(offsetof(FileHeader, q8_matrices) == 208, "header layout");

// Sections come in this order, a layer's own ones once for each layer. Which of them a file has,
// its header says. A bias belongs to the rows of the matrix before it.
enum SectionKind : uint32_t {
  kTokenEmbedding = 1,          // (vocab_size, dim)
  kPositionEmbedding = 2,       // (n_ctx, dim), if learned_positions
  kAttentionNorm = 8,           // (1, dim) weight, or (2, dim) weight and bias; each layer
  kAttentionQkv = 9,            // ((n_heads + 2 * n_kv_heads) * head_dim, dim), each layer
  kAttentionQkvBias = 10,       // its rows
  kQkNorm = 11,                 // (2, head_dim): q's weight and k's, each layer
  kAttentionOutput = 12,        // (dim, n_heads * head_dim), each layer
  kAttentionOutputBias = 13,    // (dim)
  kAttentionPostNorm = 14,      // as kAttentionNorm, if norm_after
  kFeedForwardNorm = 15,        // as kAttentionNorm
  kFeedForwardGateUp = 16,      // (2 * hidden_dim, dim): gate rows, then up rows; (hidden_dim, dim)
                                // if not gated; each layer
  kFeedForwardGateUpBias = 17,  // its rows
  kFeedForwardDown = 18,        // (dim, hidden_dim), each layer
  kFeedForwardDownBias = 19,    // (dim)
  kFeedForwardPostNorm = 20,    // as kAttentionNorm, if norm_after
  kFinalNorm = 32,              // as kAttentionNorm
  kOutputHead = 33,             // (vocab_size, dim), only if tied_head is 0
  kRopeFrequencies = 34,        // (n_ropes, head_dim / 2) u64: turns a position, of 2^64
  kLayerKinds = 35,      // (n_layers, 2) u32: window (0: all) and rotary table of each layer,
                         // if n_ropes > 1 or has_windows
  kTokenOffsets = 40,    // (vocab_size + 1) u32: where each token's text starts
  kTokenBytes = 41,      // (token_bytes) u8: the texts, one after another
  kTokenRanks = 42,      // (vocab_size) i32: the higher, the earlier a pair merges into it
  kTokenTypes = 43,      // (vocab_size) u8: TokenType, kTokenWhole
  kByteTokens = 44,      // (256) i32: token of each byte, -1 if there is none
  kTokenLookup = 45,     // (power of two >= 2 * vocab_size) i32: hash table of token texts
  kTokenSplits = 46,     // (vocab_size) u16, byte-level BPE: where the pairs that merge into
                         // it meet, in bytes from its start: one place; 0: any; kSplitMask
                         // and bits: bit i if at i + 1
  kTurnOffsets = 47,     // (7) u32: where each text around turns starts, if turn_bytes
  kTurnTexts = 48,       // (turn_bytes) u8
  kSelfTestTokens = 56,  // (self_test_tokens) i32: a prompt
  kSelfTestHashes = 57,  // (2, n_layers + 1) u64: what it gives, for each type of cache
  kSectionKinds = 58     // above all of them
};
constexpr uint32_t kSplitMask = 0x8000, kMaxMaskedSplit = 15;
constexpr uint32_t kTurnTextCount = 6;  // open and close: system, user, assistant

// Whether sections of a kind are matrices; what is none is small, or asked for at any time.
inline constexpr bool is_matrix_section(uint32_t kind) {
  return kind == kTokenEmbedding || kind == kPositionEmbedding || kind == kAttentionQkv ||
         kind == kAttentionOutput || kind == kFeedForwardGateUp || kind == kFeedForwardDown ||
         kind == kOutputHead;
}

// FileHeader::flags of tables (stored_model.h): the matrices are elsewhere. Never of a file.
constexpr uint32_t kTablesOnly = 1;

// Whether sections of a kind belong to a layer.
inline constexpr bool is_layer_section(uint32_t kind) {
  return kind >= kAttentionNorm && kind < kFinalNorm;
}

enum ElementType : uint32_t {
  kElementF32 = 0,
  kElementQ8 = 1,
  kElementU8 = 2,
  kElementI32 = 3,
  kElementU32 = 4,
  kElementU64 = 5,
  kElementU16 = 6,
  kElementQ4 = 7
};

struct SectionEntry {
  uint32_t kind;
  uint32_t layer;  // 0 where a section belongs to no layer
  uint32_t type;   // ElementType
  uint32_t rows;   // 1 for vectors and tables
  uint32_t cols;
  uint32_t row_tile;  // 1 for vectors and tables
  uint32_t group;     // columns that share a scale; 0 where there are no scales
  uint32_t n_groups;  // scales a row; columns are padded with zeros to n_groups * group
  uint64_t offset;    // from the file's start, a multiple of 64
  uint64_t bytes;
  uint64_t scales_offset;  // q8, q4: bf16 scales; otherwise 0
  uint64_t scales_bytes;
};
static_assert(sizeof(SectionEntry) == 64, "section entry layout");
static_assert(offsetof(SectionEntry, offset) == 32, "section entry layout");

inline constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace thimble

#endif
