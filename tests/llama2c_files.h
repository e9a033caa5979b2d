// SPDX-License-Identifier: MIT
// Small llama2.c checkpoints and tokenizers, written as its own exporter writes them, and a folder
// for them.
#ifndef THIMBLE_TESTS_LLAMA2C_FILES_H
#define THIMBLE_TESTS_LLAMA2C_FILES_H

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "format.h"
#include "random.h"
#include "test_folder.h"

namespace thimble::test {

template <class T>
void append(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void append(std::string* out, const std::vector<float>& values) {
  for (float value : values) append(out, value);
}

struct Llama2c {
  int32_t dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, n_ctx;
  bool tied_head;
  // All layers of each, one after another.
  std::vector<float> token_embedding, attention_norm, wq, wk, wv, wo, feed_forward_norm, w1, w2, w3,
      final_norm, head;

  Llama2c(std::vector<int32_t> fields, bool tied, uint64_t seed = 1)
      : dim(fields[0]),
        hidden_dim(fields[1]),
        n_layers(fields[2]),
        n_heads(fields[3]),
        n_kv_heads(fields[4]),
        vocab_size(fields[5]),
        n_ctx(fields[6]),
        tied_head(tied) {
    Random random(seed);
    const int32_t kv = kv_rows();
    for (const auto& tensor : tensors()) {
      int32_t n = tensor.values == &token_embedding || tensor.values == &head ? vocab_size * dim
                  : tensor.values == &final_norm                              ? dim
                  : tensor.is_norm                                            ? n_layers * dim
                  : tensor.values == &wq || tensor.values == &wo              ? n_layers * dim * dim
                  : tensor.values == &wk || tensor.values == &wv              ? n_layers * kv * dim
                                                                 : n_layers * hidden_dim * dim;
      if (tensor.values == &head && tied) n = 0;
      for (int32_t i = 0; i < n; ++i) tensor.values->push_back(random.normal() * 0.1f);
    }
  }

  int32_t head_dim() const { return dim / n_heads; }
  int32_t kv_rows() const { return head_dim() * n_kv_heads; }

  // What the engine's section has in this row.
  std::vector<float> row(SectionKind kind, uint32_t layer, uint32_t r) const {
    const int l = static_cast<int>(layer), q = dim, kv = kv_rows(), h = hidden_dim;
    int i = static_cast<int>(r);
    const auto of = [](const std::vector<float>& tensor, int index, int cols) {
      std::vector<float> out(static_cast<size_t>(cols));
      std::copy_n(tensor.data() + ptrdiff_t{index} * cols, cols, out.data());
      return out;
    };
    switch (kind) {
      case kTokenEmbedding:
        return of(token_embedding, i, dim);
      case kOutputHead:
        return of(head, i, dim);
      case kAttentionNorm:
        return of(attention_norm, l, dim);
      case kFeedForwardNorm:
        return of(feed_forward_norm, l, dim);
      case kFinalNorm:
        return of(final_norm, 0, dim);
      case kAttentionOutput:
        return of(wo, l * dim + i, dim);
      case kFeedForwardDown:
        return of(w2, l * dim + i, hidden_dim);
      case kFeedForwardGateUp:
        return i < h ? of(w1, l * h + i, dim) : of(w3, l * h + i - h, dim);
      case kAttentionQkv:
        if (i < q) return of(wq, l * q + i, dim);
        i -= q;
        return i < kv ? of(wk, l * kv + i, dim) : of(wv, l * kv + i - kv, dim);
      default:
        return {};
    }
  }

  // The same model with pairs (i, i + head_dim / 2) instead of neighbours: in each head of q and k
  // first the even rows, then the odd ones.
  Llama2c with_halves() const {
    Llama2c other = *this;
    for (auto tensor : {&Llama2c::wq, &Llama2c::wk}) {
      std::vector<float>& to = other.*tensor;
      const std::vector<float>& from = this->*tensor;
      const ptrdiff_t n = head_dim(), cols = dim,
                      heads = static_cast<ptrdiff_t>(to.size()) / n / cols;
      for (ptrdiff_t h = 0; h < heads; ++h) {
        for (ptrdiff_t i = 0; i < n; ++i) {
          const ptrdiff_t source = i < n / 2 ? 2 * i : 2 * (i - n / 2) + 1;
          std::copy_n(from.begin() + (h * n + source) * cols, cols,
                      to.begin() + (h * n + i) * cols);
        }
      }
    }
    return other;
  }

  // Its tables are those of base `theta`, positions divided by `scaling`; 0: zeros.
  std::string version0(double theta = 10000, double scaling = 1) const {
    std::string out;
    for (int32_t field : {dim, hidden_dim, n_layers, n_heads, n_kv_heads,
                          tied_head ? vocab_size : -vocab_size, n_ctx}) {
      append(&out, field);
    }
    for (const auto* tensor : {&token_embedding, &attention_norm, &wq, &wk, &wv, &wo,
                               &feed_forward_norm, &w1, &w2, &w3, &final_norm}) {
      append(&out, *tensor);
    }
    for (const bool is_sine : {false, true}) {
      for (int32_t position = 0; position < n_ctx; ++position) {
        for (int32_t pair = 0; pair < head_dim() / 2; ++pair) {
          const double angle = position / scaling * std::pow(theta, -2.0 * pair / head_dim());
          const double value = is_sine ? std::sin(angle) : std::cos(angle);
          append(&out, static_cast<float>(theta > 0 ? value : 0));
        }
      }
    }
    append(&out, head);
    return out;
  }

  std::string version1() const {
    std::string out = versioned_header(1, 0);
    for (const auto& tensor : tensors()) append(&out, *tensor.values);
    return out;
  }

  // *stored becomes the model whose weights are exactly what the file has.
  std::string version2(int32_t group_size, Llama2c* stored = nullptr) const {
    std::string out = versioned_header(2, group_size);
    Llama2c copy = *this;
    for (const auto& tensor : copy.tensors()) {
      if (tensor.is_norm) {
        append(&out, *tensor.values);
        continue;
      }
      const size_t layers = tensor.values == &copy.token_embedding || tensor.values == &copy.head
                                ? 1
                                : static_cast<size_t>(n_layers);
      const size_t layer_size = tensor.values->size() / layers;
      for (size_t layer = 0; layer_size > 0 && layer < layers; ++layer) {
        append_quantized(&out, tensor.values->data() + layer * layer_size, layer_size,
                         static_cast<size_t>(group_size));
      }
    }
    if (stored) *stored = copy;
    return out;
  }

 private:
  struct NamedTensor {
    std::vector<float>* values;
    bool is_norm;
  };

  // In the order of version 1.
  std::vector<NamedTensor> tensors() {
    return {{&attention_norm, true},
            {&feed_forward_norm, true},
            {&final_norm, true},
            {&token_embedding, false},
            {&wq, false},
            {&wk, false},
            {&wv, false},
            {&wo, false},
            {&w1, false},
            {&w2, false},
            {&w3, false},
            {&head, false}};
  }
  std::vector<NamedTensor> tensors() const { return const_cast<Llama2c*>(this)->tensors(); }

  std::string versioned_header(int32_t version, int32_t group_size) const {
    std::string out;
    append(&out, uint32_t{0x616b3432});
    append(&out, version);
    for (int32_t field : {dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, n_ctx}) {
      append(&out, field);
    }
    append(&out, static_cast<uint8_t>(tied_head));
    if (version == 2) append(&out, group_size);
    out.resize(256);
    return out;
  }

  static void append_quantized(std::string* out, float* w, size_t n, size_t group) {
    std::vector<float> scales;
    for (size_t start = 0; start < n; start += group) {
      float largest = 0;
      for (size_t i = 0; i < group; ++i) largest = std::max(largest, std::fabs(w[start + i]));
      const float scale = largest / 127.0f;
      scales.push_back(scale);
      for (size_t i = 0; i < group; ++i) {
        const int8_t value =
            static_cast<int8_t>(scale > 0 ? std::round(w[start + i] / scale) : 0.0f);
        append(out, value);
        w[start + i] = static_cast<float>(value) * scale;
      }
    }
    append(out, scales);
  }
};

// Of odd sizes: hidden 172, head size 6, vocabulary 97.
inline Llama2c small_llama2c(bool tied_head = true) {
  return Llama2c({24, 172, 2, 4, 2, 97, 40}, tied_head);
}

// A few hundred bytes, for tests that try every length.
inline Llama2c smallest_llama2c(bool tied_head = true) {
  return Llama2c({4, 2, 1, 2, 1, 5, 2}, tied_head);
}

struct Token {
  std::string text;
  float score;
};

// A vocabulary of that many tokens: control tokens, three byte tokens, letters and pairs.
inline std::vector<Token> small_tokens(size_t n) {
  std::vector<Token> tokens = {{"<unk>", 0},  {"\n<s>\n", 0}, {"\n</s>\n", 0},
                               {"<0x00>", 0}, {"<0x0A>", 0},  {"<0xff>", 0}};
  const std::string letters = " abcdefghijklmnop";
  for (char c : letters) tokens.push_back({std::string(1, c), -1000});
  for (char c : letters) {
    for (char d : letters.substr(1)) {
      tokens.push_back({std::string(1, c) + d, -static_cast<float>(tokens.size())});
    }
  }
  tokens.resize(n);
  return tokens;
}

inline std::string tokenizer_bytes(const std::vector<Token>& tokens) {
  size_t longest = 0;
  for (const Token& token : tokens) longest = std::max(longest, token.text.size());
  std::string out;
  append(&out, static_cast<int32_t>(longest));
  for (const Token& token : tokens) {
    append(&out, token.score);
    append(&out, static_cast<int32_t>(token.text.size()));
    out += token.text;
  }
  return out;
}

}  // namespace thimble::test

#endif
