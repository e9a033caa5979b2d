// SPDX-License-Identifier: MIT
// Small models with random weights, in memory, and sessions on them. Needs no test framework, so
// that every test program can use it; what goes wrong here throws.
#ifndef THIMBLE_TESTS_TINY_MODEL_H
#define THIMBLE_TESTS_TINY_MODEL_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "image.h"
#include "random.h"
#include "thimble/thimble.h"
#include "vocabulary.h"
#include "weight_types.h"

namespace thimble::test {

// A heap block of exactly so many bytes, so that a sanitizer sees every access behind it, aligned
// as images and arenas must be, or `shift` bytes off.
class AlignedBlock {
 public:
  explicit AlignedBlock(size_t bytes, int fill = 0, size_t shift = 0)
      : memory_(static_cast<uint8_t*>(
            ::operator new (bytes + shift, std::align_val_t{THIMBLE_ALIGNMENT}))),
        bytes_(bytes),
        shift_(shift) {
    std::memset(data(), fill, bytes);
  }
  AlignedBlock(const void* from, size_t bytes, size_t shift = 0) : AlignedBlock(bytes, 0, shift) {
    if (bytes > 0) std::memcpy(data(), from, bytes);
  }

  uint8_t* data() { return memory_.get() + shift_; }
  const uint8_t* data() const { return memory_.get() + shift_; }
  size_t size() const { return bytes_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const {
      ::operator delete (p, std::align_val_t{THIMBLE_ALIGNMENT});
    }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  size_t bytes_, shift_;
};

// ---- Shapes ------------------------------------------------------------------------------------

struct NamedShape {
  const char* name;
  tools::ModelShape shape;
};

inline tools::ModelShape tiny_shape(uint32_t dim, uint32_t hidden_dim, uint32_t n_layers,
                                    uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim,
                                    uint32_t vocab_size, uint32_t n_ctx, bool tied_head) {
  tools::ModelShape s;
  s.dim = dim;
  s.hidden_dim = hidden_dim;
  s.n_layers = n_layers;
  s.n_heads = n_heads;
  s.n_kv_heads = n_kv_heads;
  s.head_dim = head_dim;
  s.vocab_size = vocab_size;
  s.n_ctx = n_ctx;
  s.tied_head = tied_head;
  return s;
}

// Rotary frequencies over the first `rotary_dim` dimensions of a head; the rest stays.
inline std::vector<uint64_t> tiny_rope(uint32_t head_dim, uint32_t rotary_dim) {
  std::vector<uint64_t> table(head_dim / 2);
  for (uint32_t i = 0; i < rotary_dim / 2; ++i) {
    table[i] =
        (uint64_t{0x28be60db93910} << 12) >> (2 * i);  // 1 / 2 pi turns, then 1 / 4 of it ...
  }
  return table;
}

// One of each family that differs from Llama: what their shapes have that others have not.
inline std::vector<NamedShape> family_shapes() {
  tools::ModelShape mistral = tiny_shape(32, 40, 2, 4, 2, 8, 64, 64, false);
  mistral.layers = {{8, 0}, {8, 0}};
  tools::ModelShape qwen2 = tiny_shape(24, 36, 2, 4, 2, 6, 64, 61, true);
  qwen2.biases = kBiasQkv;
  tools::ModelShape qwen3 = tiny_shape(24, 36, 2, 4, 2, 8, 64, 61, true);
  qwen3.qk_norm = true;
  tools::ModelShape gpt2 = tiny_shape(24, 96, 2, 3, 3, 8, 64, 61, true);
  gpt2.norm = kNormLayer;
  gpt2.biases = kKnownBiases;
  gpt2.learned_positions = true;
  gpt2.activation = kActivationGeluTanh;
  gpt2.gated = false;
  gpt2.ropes = {tiny_rope(8, 0)};
  tools::ModelShape gpt_neo = gpt2;
  gpt_neo.biases &= ~uint32_t{kBiasQkv};
  gpt_neo.score_scale = 1.0f;
  gpt_neo.layers = {{0, 0}, {5, 0}};
  tools::ModelShape gpt_neox = tiny_shape(32, 72, 2, 2, 2, 16, 64, 61, false);
  gpt_neox.norm = kNormLayer;
  gpt_neox.biases = kKnownBiases;
  gpt_neox.parallel = true;
  gpt_neox.activation = kActivationGelu;
  gpt_neox.gated = false;
  gpt_neox.ropes = {tiny_rope(16, 4)};
  tools::ModelShape gemma3 = tiny_shape(20, 44, 3, 4, 1, 10, 64, 61, true);
  gemma3.norm_after = true;
  gemma3.qk_norm = true;
  gemma3.activation = kActivationGeluTanh;
  gemma3.embedding_scale = 4.47213602f;
  gemma3.logit_cap = 3.0f;
  gemma3.logit_scale = 0.75f;
  gemma3.ropes = {tiny_rope(10, 10), tiny_rope(10, 6)};
  gemma3.layers = {{7, 1}, {17, 1}, {0, 0}};
  tools::ModelShape relu = tiny_shape(24, 36, 2, 4, 2, 8, 64, 61, true);
  relu.activation = kActivationRelu;
  relu.biases = kBiasFeedForwardIn | kBiasAttentionOutput;
  tools::ModelShape silu = relu;
  silu.activation = kActivationSilu;
  silu.gated = false;
  return {{"Mistral", mistral}, {"Qwen 2", qwen2},     {"Qwen 3", qwen3},
          {"GPT-2", gpt2},      {"GPT-Neo", gpt_neo},  {"GPT-NeoX", gpt_neox},
          {"Gemma 3", gemma3},  {"ReLU, gated", relu}, {"SiLU, not gated", silu}};
}

// What the real ones are not: no multiple of 16 or 32, one KV head for all, heads that are wider or
// narrower together than the model, a single layer, several groups of 32, 64 and 128 in a row.
inline std::vector<NamedShape> llama_shapes() {
  return {
      {"plain", tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true)},
      {"one KV head", tiny_shape(24, 20, 2, 3, 1, 8, 97, 61, true)},
      {"head_dim 6, untied", tiny_shape(18, 172, 1, 5, 5, 6, 97, 50, false)},
      {"several groups", tiny_shape(144, 172, 1, 2, 1, 22, 50, 48, false)},
  };
}

inline std::vector<NamedShape> tiny_shapes() {
  std::vector<NamedShape> shapes = llama_shapes();
  for (const NamedShape& family : family_shapes()) shapes.push_back(family);
  return shapes;
}

inline std::vector<tools::WeightLayout> all_weight_types(uint32_t row_tile = 16) {
  std::vector<tools::WeightLayout> layouts{{kWeightF32, 0, row_tile}};
  for (uint32_t group : {32u, 64u, 128u, 0u}) layouts.push_back({kWeightQ8, group, row_tile});
  for (uint32_t group : {32u, 0u}) layouts.push_back({kWeightQ4, group, row_tile});
  layouts.push_back({kWeightQ4, 64, row_tile, kMatrixEmbedding | kMatrixDown | kMatrixPositions});
  return layouts;
}

// Of so many combinations every `n`-th, by the sum of their parts' numbers: with up to n of each
// part every two of them still meet. What all of them would add is time.
inline bool in_turn(size_t sum, size_t n) {
  return sum % n == 0;
}

inline std::string layout_name(const tools::WeightLayout& layout) {
  const std::string name = tools::weight_type(layout.type).name;
  if (layout.type == kWeightF32) return name + " tile " + std::to_string(layout.row_tile);
  return name + " group " + std::to_string(layout.group) + " tile " +
         std::to_string(layout.row_tile) + (layout.q8_matrices ? ", some q8" : "");
}

// ---- Weights -----------------------------------------------------------------------------------

// Random weights do not depend on how the format numbers its sections.
inline uint32_t weights_number(SectionKind kind) {
  constexpr SectionKind kOrder[] = {
      kTokenEmbedding,      kAttentionNorm,     kAttentionQkv,          kAttentionOutput,
      kFeedForwardNorm,     kFeedForwardGateUp, kFeedForwardDown,       kFinalNorm,
      kOutputHead,          kPositionEmbedding, kAttentionQkvBias,      kQkNorm,
      kAttentionOutputBias, kAttentionPostNorm, kFeedForwardGateUpBias, kFeedForwardDownBias,
      kFeedForwardPostNorm};
  uint32_t number = 1;
  for (SectionKind other : kOrder) {
    if (other == kind) return number;
    ++number;
  }
  return 0;
}

// Row `row` of a section, the same whenever it is asked for and with every standard library.
// Matrices keep the size of what they multiply: their elements have variance 1 / cols.
inline void random_row(uint64_t seed, SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                       float* out) {
  Random random((((seed * 32 + weights_number(kind)) << 13) + layer) * (uint64_t{1} << 20) + row);
  for (int i = 0; i < 4; ++i) random.next();  // seeds that are alike start alike
  const bool is_norm = kind == kAttentionNorm || kind == kFeedForwardNorm || kind == kFinalNorm ||
                       kind == kAttentionPostNorm || kind == kFeedForwardPostNorm ||
                       kind == kQkNorm;
  const bool is_bias = kind == kAttentionQkvBias || kind == kAttentionOutputBias ||
                       kind == kFeedForwardGateUpBias || kind == kFeedForwardDownBias ||
                       (is_norm && row == 1 && kind != kQkNorm);
  const float size = std::sqrt(3.0f / static_cast<float>(cols));
  for (uint32_t c = 0; c < cols; ++c) {
    if (is_bias) {
      out[c] = random.uniform(-0.5f, 0.5f);
    } else if (is_norm) {
      out[c] = random.uniform(0.5f, 1.5f);
    } else if (kind == kTokenEmbedding || kind == kPositionEmbedding) {
      out[c] = random.uniform(-1.0f, 1.0f);
    } else {
      out[c] = random.uniform(-size, size);
    }
  }
}

// Control tokens, byte tokens (all of them if there is room), then letters and what they merge to.
inline tools::Vocabulary tiny_vocabulary(uint32_t vocab_size) {
  tools::Vocabulary v;
  const auto add = [&](const std::string& text, uint8_t type) {
    if (v.texts.size() == vocab_size) return;
    v.scores.push_back(-static_cast<float>(v.texts.size()));
    v.texts.push_back(text);
    v.types.push_back(type);
  };
  for (const char* text : {"<unk>", "<s>", "</s>"}) add(text, kTokenControl);
  const uint32_t byte_tokens = vocab_size >= 3 + 256 + 27 ? 256 : 2;
  for (uint32_t byte = 0; byte < byte_tokens; ++byte) {
    add(std::string(1, static_cast<char>(byte)), kTokenByte);
  }
  add(" ", kTokenNormal);
  for (char c = 'a'; c <= 'z'; ++c) add(std::string(1, c), kTokenNormal);
  for (char c = 'a'; c <= 'z'; ++c) add(std::string(" ") + c, kTokenNormal);
  for (char c = 'a'; c <= 'z'; ++c) {
    for (char d : {'a', 'e', 'i', 'o', 'n', 's'}) add({c, d}, kTokenNormal);
  }
  while (v.texts.size() < vocab_size) {
    add("more" + std::to_string(v.texts.size()), kTokenNormal);
  }
  v.bos_id = vocab_size > 1 ? 1 : -1;
  v.eos_id = vocab_size > 2 ? 2 : -1;
  v.add_space_prefix = true;
  v.turns = {"<s>be ", "</s>", "<s>ask ", "</s>", "<s>say", "</s> "};
  v.end_of_turn_id = v.eos_id;
  return v;
}

// Byte-level, as GPT-2's: letters, and what they merge to.
inline tools::Vocabulary tiny_byte_vocabulary(uint32_t vocab_size) {
  tools::Vocabulary v;
  v.kind = kTokenizerByteBpe;
  v.pre_tokenizer = kPreTokenizerGpt2;
  v.texts = {"<|endoftext|>", " "};
  for (char c = 'a'; c <= 'z'; ++c) v.texts.emplace_back(1, c);
  std::vector<tools::Merge> merges;
  for (const char* left : {" ", "t"}) {
    for (char c = 'a'; c <= 'z' && v.texts.size() < vocab_size; ++c) {
      merges.push_back({left, std::string(1, c)});
      v.texts.push_back(left + std::string(1, c));
    }
  }
  v.types.assign(v.texts.size(), kTokenNormal);
  v.types[0] = kTokenControl;
  v.bos_id = v.eos_id = 0;
  tools::set_merges(&v, merges, "tiny");
  return v;
}

// ---- Models ------------------------------------------------------------------------------------

struct TinyModel {
  TinyModel(const tools::ModelShape& model_shape, const tools::WeightLayout& weight_layout,
            bool with_vocabulary = false, uint64_t weight_seed = 1, bool with_self_test = false)
      : shape(model_shape),
        layout(weight_layout),
        seed(weight_seed),
        image(build(with_vocabulary, with_self_test)) {
    const thimble_status status = thimble_model_open(&view, image.data(), image.size());
    if (status != THIMBLE_OK) {
      throw std::runtime_error(std::string("tiny model: ") + thimble_status_text(status) + ": " +
                               (view.fault.what ? view.fault.what : "?"));
    }
  }

  tools::ModelShape shape;
  tools::WeightLayout layout;
  uint64_t seed;
  AlignedBlock image;
  thimble_model view;

 private:
  AlignedBlock build(bool with_vocabulary, bool with_self_test) const {
    const tools::Vocabulary vocabulary = tiny_vocabulary(shape.vocab_size);
    const tools::ImageInMemory built = tools::build_image_in_memory(
        shape, layout, with_vocabulary ? &vocabulary : nullptr,
        [this](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
          random_row(seed, kind, layer, row, cols, out);
        },
        with_self_test);
    return AlignedBlock(built.data(), built.bytes);
  }
};

// ---- Sessions ----------------------------------------------------------------------------------

inline void expect_ok(thimble_status status, const char* call) {
  if (status != THIMBLE_OK) {
    throw std::runtime_error(std::string(call) + ": " + thimble_status_text(status));
  }
}

// A session in an arena of exactly the needed size, which held `fill` before.
struct TestSession {
  explicit TestSession(const thimble_model& model, const thimble_config& config = {}, int fill = 0)
      : arena(thimble_session_bytes(&model, &config), fill) {
    expect_ok(thimble_session_init(&session, &model, &config, arena.data(), arena.size()),
              "thimble_session_init");
  }
  operator thimble_session*() const { return session; }  // NOLINT: stands for it in every call

  AlignedBlock arena;
  thimble_session* session = nullptr;
};

// Runs the prepared pass in slices.
inline void finish_pass(thimble_session* session, uint64_t budget = 0) {
  thimble_status status;
  do status = thimble_step(session, budget);
  while (status == THIMBLE_MORE);
  expect_ok(status, "thimble_step");
}

inline void feed_pieces(thimble_session* session, const int32_t* tokens, size_t count, size_t piece,
                        uint64_t budget = 0) {
  for (size_t i = 0; i < count; i += piece) {
    const size_t n = count - i < piece ? count - i : piece;
    expect_ok(thimble_feed(session, tokens + i, n), "thimble_feed");
    finish_pass(session, budget);
  }
}

// Feeds all but the last four tokens in pieces, then those one by one. The hash of the logits
// behind the prompt and behind each of the four.
inline uint64_t hash_of_text(thimble_session* session, const std::vector<int32_t>& text,
                             size_t piece, uint64_t budget = 0) {
  const size_t prompt = text.size() - 4;
  feed_pieces(session, text.data(), prompt, piece, budget);
  uint64_t hash = thimble_logits_hash(session, THIMBLE_HASH_START);
  for (size_t i = prompt; i < text.size(); ++i) {
    feed_pieces(session, &text[i], 1, 1, budget);
    hash = thimble_logits_hash(session, hash);
  }
  return hash;
}

inline std::vector<int32_t> random_tokens(uint64_t seed, size_t n, uint32_t vocab_size) {
  Random random(seed);
  std::vector<int32_t> tokens(n);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(vocab_size));
  return tokens;
}

}  // namespace thimble::test

#endif
