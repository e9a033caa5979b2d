// SPDX-License-Identifier: MIT
// A header's fields: what each may be, and what a build has left out.
#include "model.h"

namespace thimble {
namespace {

struct HeaderChecker {
  const FileHeader& header;
  thimble_fault* fault;

  uint32_t offset(const void* field) const {
    return static_cast<uint32_t>(static_cast<const uint8_t*>(field) -
                                 reinterpret_cast<const uint8_t*>(&header));
  }
  bool within(const char* what, const uint32_t& field, uint32_t low, uint32_t high) const {
    if (field >= low && field <= high) return true;
    return refuse(fault, what, field, field < low ? low : high, offset(&field));
  }
  bool equals(const char* what, const uint32_t& field, uint32_t value) const {
    return within(what, field, value, value);
  }
};

// A field that may have any value of a range, whatever the others say. In a table, since a call for
// each is twice as long. A positive float's bits order as it does, and those of a NaN or of what is
// negative are above all.
struct FieldRange {
  const char* what;
  uint32_t offset, low, high;
};
constexpr uint32_t kOneTrillionth = 0x2b8cbccc, kOneMillionth = 0x358637bd, kOne = 0x3f800000,
                   kOneMillion = 0x49742400, kOneTrillion = 0x5368d4a5;

// What a build may have left out is refused by its name.
#define THIMBLE_PART(macro, name) ((macro) ? (name) : "left out: " #macro)
constexpr FieldRange kTypes[] = {
    {"flags", offsetof(FileHeader, flags), 0, 0},
#if THIMBLE_RMS_NORM
    {THIMBLE_PART(THIMBLE_LAYER_NORM, "norm type"), offsetof(FileHeader, norm), kNormRms,
     THIMBLE_LAYER_NORM ? kNormLayer : kNormRms},
#else
    {THIMBLE_PART(THIMBLE_RMS_NORM, "norm type"), offsetof(FileHeader, norm), kNormLayer,
     kNormLayer},
#endif
    {THIMBLE_PART(THIMBLE_NORM_AFTER, "norm_after"), offsetof(FileHeader, norm_after), 0,
     THIMBLE_NORM_AFTER},
    {THIMBLE_PART(THIMBLE_PARALLEL, "parallel"), offsetof(FileHeader, parallel), 0,
     THIMBLE_PARALLEL},
    {THIMBLE_PART(THIMBLE_BIASES, "biases"), offsetof(FileHeader, biases), 0,
     THIMBLE_BIASES ? uint32_t{kKnownBiases} : 0},
    {THIMBLE_PART(THIMBLE_QK_NORM, "qk_norm"), offsetof(FileHeader, qk_norm), 0, THIMBLE_QK_NORM},
    {THIMBLE_PART(THIMBLE_LEARNED_POSITIONS, "learned_positions"),
     offsetof(FileHeader, learned_positions), 0, THIMBLE_LEARNED_POSITIONS},
    {"activation type", offsetof(FileHeader, activation), kActivationSilu, kActivationRelu},
    {THIMBLE_PART(THIMBLE_NOT_GATED, "gated"), offsetof(FileHeader, gated),
     THIMBLE_NOT_GATED ? 0 : 1, 1},
    {THIMBLE_PART(THIMBLE_ROPES, "n_ropes"), offsetof(FileHeader, n_ropes), 1,
     THIMBLE_ROPES ? kMaxRopes : 1},
    {THIMBLE_PART(THIMBLE_WINDOWS, "has_windows"), offsetof(FileHeader, has_windows), 0,
     THIMBLE_WINDOWS},
#if !THIMBLE_SCALES
    {THIMBLE_PART(THIMBLE_SCALES, "embedding scale"), offsetof(FileHeader, embedding_scale), kOne,
     kOne},
    {THIMBLE_PART(THIMBLE_SCALES, "logit scale"), offsetof(FileHeader, logit_scale), kOne, kOne},
    {THIMBLE_PART(THIMBLE_SCALES, "logit cap"), offsetof(FileHeader, logit_cap), 0, 0},
#endif
    {"tied_head", offsetof(FileHeader, tied_head), 0, 1},
    {THIMBLE_PART(THIMBLE_Q4, "weight type"), offsetof(FileHeader, weight_type), kWeightF32,
     THIMBLE_Q4 ? kWeightQ4 : kWeightQ8},
    {THIMBLE_PART(THIMBLE_BYTE_BPE, "tokenizer type"), offsetof(FileHeader, tokenizer),
     kTokenizerNone, THIMBLE_BYTE_BPE ? kTokenizerByteBpe : kTokenizerScoredBpe},
    {"tokenizer flags", offsetof(FileHeader, tokenizer_flags), 0, kTokenizerKnownFlags},
    {"pre-tokenizer", offsetof(FileHeader, pre_tokenizer), kPreTokenizerNone, kPreTokenizerSmolLm},
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
    {"norm epsilon", offsetof(FileHeader, norm_eps), kOneTrillionth, kOne},
    {"rope_theta", offsetof(FileHeader, rope_theta), kOne, kOneTrillion},
    {"score scale", offsetof(FileHeader, score_scale), kOneMillionth, kOneMillion},
#if THIMBLE_SCALES
    {"embedding scale", offsetof(FileHeader, embedding_scale), kOneMillionth, kOneMillion},
    {"logit scale", offsetof(FileHeader, logit_scale), kOneMillionth, kOneMillion},
    {"logit cap", offsetof(FileHeader, logit_cap), 0, kOneMillion},
#endif
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

#define THIMBLE_KNOWN(macro) ((macro) ? nullptr : "left out: " #macro)
bool has_activation(const HeaderChecker& check) {
  static constexpr const char* kLeftOut[] = {
      THIMBLE_KNOWN(THIMBLE_SILU), THIMBLE_KNOWN(THIMBLE_GELU_TANH), THIMBLE_KNOWN(THIMBLE_GELU),
      THIMBLE_KNOWN(THIMBLE_RELU)};
  constexpr uint32_t kThere = THIMBLE_SILU        ? kActivationSilu
                              : THIMBLE_GELU_TANH ? kActivationGeluTanh
                              : THIMBLE_GELU      ? kActivationGelu
                                                  : kActivationRelu;
  const uint32_t type = check.header.activation;
  return kLeftOut[type] == nullptr || check.equals(kLeftOut[type], check.header.activation, kThere);
}
#undef THIMBLE_KNOWN

bool known_types(const HeaderChecker& check) {
#if !THIMBLE_SCORED_BPE
  if (check.header.tokenizer == kTokenizerScoredBpe) {
    return check.equals(THIMBLE_PART(THIMBLE_SCORED_BPE, "tokenizer type"), check.header.tokenizer,
                        THIMBLE_BYTE_BPE ? kTokenizerByteBpe : kTokenizerNone);
  }
#endif
  if (!fields_within(check, kTypes) || !has_activation(check)) return false;
  for (const uint8_t& byte : check.header.reserved) {
    if (byte != 0) return refuse(check.fault, "reserved byte", byte, 0, check.offset(&byte));
  }
  return true;
}
#undef THIMBLE_PART

bool heads_fit(const HeaderChecker& check) {
  const FileHeader& h = check.header;
  if (!check.within("n_kv_heads", h.n_kv_heads, 1, h.n_heads)) return false;
  if (h.n_heads % h.n_kv_heads != 0 &&
      !check.equals("n_kv_heads (must divide n_heads)", h.n_kv_heads, h.n_heads)) {
    return false;
  }
  return check.equals("head_dim (must be even)", h.head_dim, h.head_dim + h.head_dim % 2) &&
         check.within("n_heads * head_dim", h.n_heads, 1, kMaxDim / h.head_dim);
}

bool layout_is_known(const HeaderChecker& check) {
  const FileHeader& h = check.header;
  const uint32_t tile = h.row_tile, group = h.group;
  if ((tile - 1 >= kMaxRowTile || (tile & (tile - 1)) != 0) &&
      !check.equals("row_tile (1, 2, 4, 8 or 16)", h.row_tile, 16)) {
    return false;
  }
  const uint32_t matrices = h.weight_type == kWeightQ4 ? uint32_t{kKnownMatrices} : 0;
  if (THIMBLE_Q4 && !check.within("q8_matrices", h.q8_matrices, 0, matrices)) return false;
  if (h.weight_type == kWeightF32) return check.equals("group (of f32 weights)", h.group, 0);
  return group == 0 || group == 32 || group == 64 || group == 128 ||
         check.equals("group (32, 64, 128 or 0)", h.group, 32);
}

bool tokenizer_is_whole(const HeaderChecker& check) {
  const FileHeader& h = check.header;
  const uint32_t there = h.tokenizer != kTokenizerNone ? 1 : 0;
  const bool is_byte = THIMBLE_BYTE_BPE && h.tokenizer == kTokenizerByteBpe;
  return check.within("n_tokens", h.n_tokens, 1, h.vocab_size) &&
         check.within("tokenizer flags", h.tokenizer_flags, 0, there * kTokenizerKnownFlags) &&
         check.within("pre-tokenizer", h.pre_tokenizer,
                      is_byte ? kPreTokenizerGpt2 : kPreTokenizerNone,
                      is_byte ? kPreTokenizerSmolLm : kPreTokenizerNone) &&
         check.within("turn_bytes", h.turn_bytes, 0, there * kMaxTurnBytes) &&
         check.within("token_bytes", h.token_bytes, there, there * kMaxVocab * 64) &&
         check.within("max_token_bytes", h.max_token_bytes, there, there * kMaxTokenBytes);
}

bool ranges_hold(const HeaderChecker& check) {
  const FileHeader& h = check.header;
  const uint32_t longest = h.n_ctx < kMaxSelfTestTokens ? h.n_ctx : kMaxSelfTestTokens;
  if (!fields_within(check, kSizes) || !heads_fit(check) || !layout_is_known(check) ||
      !tokenizer_is_whole(check) ||
      !check.within("self_test_tokens", h.self_test_tokens, 0, longest)) {
    return false;
  }
  const auto is_id = [&](const char* what, const int32_t& id) {
    if (id >= -1 && id < static_cast<int32_t>(h.vocab_size)) return true;
    return refuse(check.fault, what, static_cast<uint64_t>(static_cast<int64_t>(id)),
                  h.vocab_size - 1, check.offset(&id));
  };
  return is_id("bos_id", h.bos_id) && is_id("eos_id", h.eos_id) &&
         is_id("end_of_turn_id", h.end_of_turn_id);
}

}  // namespace

bool refuse(thimble_fault* fault, const char* what, uint64_t found, uint64_t expected,
            uint32_t offset) {
  *fault = {what, found, expected, offset};
  return false;
}

thimble_status check_header(const FileHeader& header, thimble_fault* fault) {
  const HeaderChecker check{header, fault};
  if (!known_types(check)) return THIMBLE_ERROR_UNSUPPORTED;
  if (!ranges_hold(check)) return THIMBLE_ERROR_HEADER;
  const uint64_t n_params = parameter_count(header);
  if (header.n_params == n_params) return THIMBLE_OK;
  refuse(fault, "n_params", header.n_params, n_params, offsetof(FileHeader, n_params));
  return THIMBLE_ERROR_HEADER;
}

}  // namespace thimble
