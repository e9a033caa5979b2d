// SPDX-License-Identifier: MIT
#include "opened_model.h"

#include <algorithm>
#include <cfloat>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "model.h"

namespace thimble::tools {
namespace {

std::vector<std::string> texts_of(const thimble_model& model, SectionKind offsets,
                                  SectionKind bytes) {
  const uint32_t n = section_of(model, offsets).cols - 1;
  const uint32_t* at = table_of<uint32_t>(model, offsets);
  const char* text = table_of<char>(model, bytes);
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < n; ++i) texts.emplace_back(text + at[i], at[i + 1] - at[i]);
  return texts;
}

}  // namespace

ModelShape shape_of_model(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  ModelShape s;
  s.dim = h.dim;
  s.hidden_dim = h.hidden_dim;
  s.n_layers = h.n_layers;
  s.n_heads = h.n_heads;
  s.n_kv_heads = h.n_kv_heads;
  s.head_dim = h.head_dim;
  s.vocab_size = h.vocab_size;
  s.n_ctx = h.n_ctx;
  s.norm = static_cast<NormType>(h.norm);
  s.norm_eps = h.norm_eps;
  s.norm_after = h.norm_after != 0;
  s.parallel = h.parallel != 0;
  s.biases = h.biases;
  s.qk_norm = h.qk_norm != 0;
  s.learned_positions = h.learned_positions != 0;
  s.activation = static_cast<ActivationType>(h.activation);
  s.gated = h.gated != 0;
  s.score_scale = h.score_scale;
  s.embedding_scale = h.embedding_scale;
  s.logit_scale = h.logit_scale;
  s.logit_cap = h.logit_cap;
  s.rope_theta = h.rope_theta;
  s.tied_head = h.tied_head != 0;
  const uint64_t* turns = table_of<uint64_t>(model, kRopeFrequencies);
  for (uint32_t i = 0; i < h.n_ropes; ++i, turns += h.head_dim / 2) {
    s.ropes.emplace_back(turns, turns + h.head_dim / 2);
  }
  if (has_layer_kinds(h)) {
    const uint32_t* kinds = table_of<uint32_t>(model, kLayerKinds);
    for (uint32_t l = 0; l < h.n_layers; ++l) s.layers.push_back({kinds[2 * l], kinds[2 * l + 1]});
  }
  return s;
}

RowSource rows_of_model(const thimble_model& model) {
  return [&model](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
    if (section_of(model, kind, layer).type == kElementF32 &&
        section_of(model, kind, layer).row_tile == 1) {
      std::memcpy(out, table_of<float>(model, kind, layer) + size_t{row} * cols,
                  cols * sizeof(float));
      return;
    }
    read_row(out, matrix_of(model, kind, layer), row);
  };
}

Vocabulary vocabulary_of_model(const thimble_model& model) {
  const FileHeader& h = header_of(model);
  Vocabulary v;
  if (h.tokenizer == kTokenizerNone) return v;
  v.kind = static_cast<TokenizerType>(h.tokenizer);
  v.pre_tokenizer = static_cast<PreTokenizer>(h.pre_tokenizer);
  v.texts = texts_of(model, kTokenOffsets, kTokenBytes);
  const int32_t* ranks = table_of<int32_t>(model, kTokenRanks);
  const uint8_t* types = table_of<uint8_t>(model, kTokenTypes);
  for (uint32_t i = 0; i < h.vocab_size; ++i) {
    const float never = v.kind == kTokenizerByteBpe ? -1.0f : -FLT_MAX;
    v.scores.push_back(ranks[i] < 0 ? never : static_cast<float>(ranks[i]));
    v.types.push_back(types[i] & static_cast<uint8_t>(~kTokenWhole));
  }
  if (v.kind == kTokenizerByteBpe) {
    const uint16_t* splits = table_of<uint16_t>(model, kTokenSplits);
    v.splits.assign(splits, splits + h.vocab_size);
  }
  v.bos_id = h.bos_id;
  v.eos_id = h.eos_id;
  v.end_of_turn_id = h.end_of_turn_id;
  v.n_tokens = h.n_tokens;
  v.add_space_prefix = (h.tokenizer_flags & kTokenizerAddSpacePrefix) != 0;
  v.ignore_merges = (h.tokenizer_flags & kTokenizerIgnoresMerges) != 0;
  v.add_bos = (h.tokenizer_flags & kTokenizerAddsBos) != 0;
  if (h.turn_bytes > 0) v.turns = texts_of(model, kTurnOffsets, kTurnTexts);
  return v;
}

bool is_model_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  uint8_t magic[sizeof kMagic];
  return file && std::fread(magic, 1, sizeof magic, file.get()) == sizeof magic &&
         std::memcmp(magic, kMagic, sizeof magic) == 0;
}

}  // namespace thimble::tools
