// SPDX-License-Identifier: MIT
// A vocabulary as the engine sees it, for tests of tokenizers.
#ifndef THIMBLE_TESTS_TOKENIZER_CASE_H
#define THIMBLE_TESTS_TOKENIZER_CASE_H

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer.h"
#include "vocabulary.h"

namespace thimble::test {

class TokenizerCase {
 public:
  explicit TokenizerCase(const tools::Vocabulary& v) : image_(tools::image_of_vocabulary(v)) {
    const thimble_status status = thimble_model_open(&model_, image_.data(), image_.bytes);
    REQUIRE_MESSAGE(status == THIMBLE_OK, model_.fault.what);
  }

  // In blocks of just the size that is stated, for the sanitizer.
  std::vector<int32_t> encode(const std::string& text, uint32_t flags = 0) const {
    const size_t capacity = 3 * text.size() + 2;
    const size_t scratch_bytes = encode_scratch_bytes(3 * text.size() + 1);
    const std::unique_ptr<char[]> input(new char[text.size()]);
    const std::unique_ptr<int32_t[]> output(new int32_t[capacity]);
    const std::unique_ptr<uint8_t[]> scratch(new uint8_t[scratch_bytes]);
    std::copy(text.begin(), text.end(), input.get());
    const int32_t n = encode_text(model_, input.get(), text.size(), flags, output.get(), capacity,
                                  scratch.get(), scratch_bytes);
    REQUIRE(n >= 0);
    return {output.get(), output.get() + n};
  }

  std::string decode(const std::vector<int32_t>& tokens) const {
    thimble_decoder decoder = {};
    std::string text(3 * model_.max_token_bytes + 3, '\0'), out;
    for (const int32_t token : tokens) {
      const int32_t n = decode_token(model_, &decoder, token, text.data(), text.size());
      REQUIRE(n >= 0);
      out.append(text, 0, static_cast<size_t>(n));
    }
    return out.append(text, 0, static_cast<size_t>(decode_end(&decoder, text.data(), text.size())));
  }

  const thimble_model& model() const { return model_; }
  uint8_t* table(SectionKind kind) { return image_.block.data() + section_of(model_, kind).offset; }

 private:
  tools::ImageInMemory image_;
  thimble_model model_;
};

// All bytes, then what the merges give, as byte-level BPE has it.
inline tools::Vocabulary byte_level_vocabulary(const std::vector<tools::Merge>& merges,
                                               PreTokenizer pre = kPreTokenizerGpt2) {
  tools::Vocabulary v;
  v.kind = kTokenizerByteBpe;
  v.pre_tokenizer = pre;
  for (int byte = 0; byte < 256; ++byte) v.texts.emplace_back(1, static_cast<char>(byte));
  for (const tools::Merge& merge : merges) {
    const std::string text = merge.first + merge.second;
    if (std::find(v.texts.begin(), v.texts.end(), text) == v.texts.end()) v.texts.push_back(text);
  }
  v.types.assign(v.texts.size(), kTokenNormal);
  tools::set_merges(&v, merges, "merges");
  return v;
}

inline void add_token(tools::Vocabulary* v, const std::string& text, TokenType type) {
  v->texts.push_back(text);
  v->types.push_back(type);
  v->scores.push_back(-1);
  v->splits.push_back(0);
}

}  // namespace thimble::test

#endif
