// SPDX-License-Identifier: MIT
// The model file, version 1: structures as they lie in it. models/FORMAT.md explains them.
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
constexpr uint32_t kFormatVersion = 1;
constexpr uint32_t kByteOrderMark = 0x01020304;
constexpr uint32_t kSectionAlignment = 64;

enum Architecture : uint32_t { kArchitectureLlama = 1 };
enum WeightType : uint32_t { kWeightF32 = 0, kWeightQ8 = 1 };
enum NormType : uint32_t { kNormRms = 1 };
enum ActivationType : uint32_t { kActivationSwiGlu = 1 };
enum PositionType : uint32_t { kPositionRope = 1 };
enum TokenizerType : uint32_t { kTokenizerNone = 0, kTokenizerScoredBpe = 1 };
enum TokenizerFlags : uint32_t {
  kTokenizerAddSpacePrefix = 1,  // a text that is not empty is encoded with a space before it
  kTokenizerSplitsAtSpaces = 2,  // no token holds a space after another byte: words are independent
  kTokenizerKnownFlags = 3
};
enum TokenType : uint8_t { kTokenNormal = 0, kTokenControl = 1, kTokenByte = 2 };

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

struct FileHeader {
  uint8_t magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint32_t header_bytes;  // this structure and the section table
  uint32_t header_crc;    // CRC-32 of those bytes with this field as 0
  uint64_t file_bytes;
  uint32_t data_crc;  // CRC-32 of all that follows the section table
  uint32_t flags;     // 0; every bit is reserved
  uint32_t architecture;
  uint32_t dim;
  uint32_t hidden_dim;
  uint32_t n_layers;
  uint32_t n_heads;
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t vocab_size;
  uint32_t n_ctx;
  uint32_t norm;
  float norm_eps;
  uint32_t activation;
  uint32_t position;
  float rope_theta;
  uint32_t tied_head;  // 1: the token embedding is also the output head
  uint32_t biases;     // 0; every bit is reserved
  uint32_t weight_type;
  uint32_t group;     // q8: columns that share a scale: 32, 64, 128, or 0 for the whole row
  uint32_t row_tile;  // 1, 2, 4, 8 or 16
  uint32_t n_sections;
  uint64_t n_params;
  uint32_t tokenizer;
  uint32_t tokenizer_flags;
  uint32_t token_bytes;      // length of the token texts, all together
  uint32_t max_token_bytes;  // the longest one
  int32_t bos_id;
  int32_t eos_id;
  uint32_t self_test_tokens;  // length of the self-test's prompt; 0: there is none
  uint8_t reserved[100];      // 0
};
static_assert(sizeof(FileHeader) == 256, "header layout");
static_assert(offsetof(FileHeader, header_bytes) == 16, "header layout");
static_assert(offsetof(FileHeader, file_bytes) == 24, "header layout");
static_assert(offsetof(FileHeader, architecture) == 40, "header layout");
static_assert(offsetof(FileHeader, norm) == 76, "header layout");
static_assert(offsetof(FileHeader, weight_type) == 104, "header layout");
static_assert(offsetof(FileHeader, n_sections) == 116, "header layout");
static_assert(offsetof(FileHeader, n_params) == 120, "header layout");
static_assert(offsetof(FileHeader, tokenizer) == 128, "header layout");
static_assert(offsetof(FileHeader, eos_id) == 148, "header layout");
static_assert(offsetof(FileHeader, self_test_tokens) == 152, "header layout");
static_assert(offsetof(FileHeader, reserved) == 156, "header layout");

// Sections come in this order, a layer's own ones once for each layer.
enum SectionKind : uint32_t {
  kTokenEmbedding = 1,     // (vocab_size, dim)
  kAttentionNorm = 2,      // (dim), each layer
  kAttentionQkv = 3,       // ((n_heads + 2 * n_kv_heads) * head_dim, dim), each layer
  kAttentionOutput = 4,    // (dim, n_heads * head_dim), each layer
  kFeedForwardNorm = 5,    // (dim), each layer
  kFeedForwardGateUp = 6,  // (2 * hidden_dim, dim), each layer: gate rows, then up rows
  kFeedForwardDown = 7,    // (dim, hidden_dim), each layer
  kFinalNorm = 8,          // (dim)
  kOutputHead = 9,         // (vocab_size, dim), only if tied_head is 0
  kRopeFrequencies = 10,   // (head_dim / 2) u64: turns a position, as a fraction of 2^64
  kTokenOffsets = 16,      // (vocab_size + 1) u32: where each token's text starts
  kTokenBytes = 17,        // (token_bytes) u8: the texts, one after another
  kTokenRanks = 18,        // (vocab_size) i32: the higher, the earlier a pair merges into it
  kTokenTypes = 19,        // (vocab_size) u8: TokenType
  kByteTokens = 20,        // (256) i32: token of each byte, -1 if there is none
  kTokenLookup = 21,       // (power of two >= 2 * vocab_size) i32: hash table of token texts
  kSelfTestTokens = 22,    // (self_test_tokens) i32: a prompt
  kSelfTestHashes = 23     // (2, n_layers + 1) u64: what it gives, for each type of cache
};

enum ElementType : uint32_t {
  kElementF32 = 0,
  kElementQ8 = 1,
  kElementU8 = 2,
  kElementI32 = 3,
  kElementU32 = 4,
  kElementU64 = 5
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
  uint64_t scales_offset;  // q8: bf16 scales; otherwise 0
  uint64_t scales_bytes;
};
static_assert(sizeof(SectionEntry) == 64, "section entry layout");
static_assert(offsetof(SectionEntry, offset) == 32, "section entry layout");

inline constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace thimble

#endif
