// SPDX-License-Identifier: MIT
// tokenizer.bin: int32 longest text, then a token each: f32 score, int32 length, bytes. A length of
// 0 is a filler's, which no text leads to. llama2.c
// knows ids 0, 1 and 2 as <unk>, <s> (beginning of text) and </s> (end of text), and texts like
// <0x0A> as single bytes. All numbers are little-endian.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include "error.h"
#include "readers/llama2c.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr size_t kControlTokens = 3;
constexpr int32_t kBosId = 1, kEosId = 2;
constexpr uint64_t kMaxFileBytes = uint64_t{kMaxVocab} * 64;
class TokenReader {
 public:
  TokenReader(const InputFile& file, uint32_t vocab_size, bool has_fillers)
      : path_(file.path()), vocab_size_(vocab_size), has_fillers_(has_fillers) {
    if (file.size() > kMaxFileBytes) {
      refuse(format("found %llu bytes, expected a tokenizer.bin of at most %llu",
                    static_cast<unsigned long long>(file.size()),
                    static_cast<unsigned long long>(kMaxFileBytes)));
    }
    bytes_.resize(static_cast<size_t>(file.size()));
    file.read(0, bytes_.data(), bytes_.size());
  }

  Vocabulary read() {
    if (bytes_.size() < sizeof longest_) {
      refuse(format("found %zu bytes, expected at least %zu", bytes_.size(), sizeof longest_));
    }
    take(&longest_);
    if (longest_ < 1 || longest_ > static_cast<int32_t>(kMaxTokenBytes)) {
      refuse(
          format("length of the longest token: found %d, expected 1 to %u; is this llama2.c's "
                 "tokenizer.bin?",
                 longest_, kMaxTokenBytes));
    }
    while (at_ < bytes_.size()) read_token();
    size_t n = v_.texts.size();  // without the fillers at its end
    while (n > 0 && v_.texts[n - 1].empty()) --n;
    if (vocab_size_ > 0 && n > vocab_size_) {
      refuse(format("a tokenizer of another size: found %zu tokens, the model has %u", n,
                    vocab_size_));
    }
    // A smaller one may be what is left of a file that was cut.
    if (v_.texts.size() < vocab_size_ && !has_fillers_) {
      refuse(
          format("a tokenizer of another size: found %zu tokens, the model has %u; if the other "
                 "ids are fillers, say --fillers yes",
                 v_.texts.size(), vocab_size_));
    }
    v_.n_tokens = static_cast<uint32_t>(n);
    if (n < kControlTokens) {
      refuse(
          format("found %zu tokens, expected at least the %zu control tokens", n, kControlTokens));
    }
    name_spaces();
    set_types();
    v_.bos_id = kBosId;
    v_.eos_id = kEosId;
    v_.add_space_prefix = true;
    return std::move(v_);
  }

  bool had_meta_symbols() const { return had_meta_symbols_; }
  int32_t longest() const { return longest_; }

 private:
  [[noreturn]] void refuse(const std::string& why) const { throw Refused(path_ + ": " + why); }

  template <class T>
  void take(T* value) {
    std::memcpy(value, bytes_.data() + at_, sizeof *value);
    at_ += sizeof *value;
  }

  void read_token() {
    const size_t id = v_.texts.size();
    float score;
    int32_t length;
    if (id == kMaxVocab) refuse(format("found more than %u tokens", kMaxVocab));
    if (bytes_.size() - at_ < sizeof score + sizeof length) refuse_end(id);
    take(&score);
    take(&length);
    if (!std::isfinite(score)) {
      refuse(format("score of token %zu: found %g, expected a finite number", id,
                    static_cast<double>(score)));
    }
    const bool is_filler = length == 0 && id >= kControlTokens;
    if (!is_filler && (length < 1 || length > longest_)) {
      refuse(format("length of token %zu: found %d, expected %d to %d", id, length,
                    id >= kControlTokens ? 0 : 1, longest_));
    }
    const size_t n = static_cast<size_t>(length);
    if (bytes_.size() - at_ < n) refuse_end(id);
    v_.texts.emplace_back(reinterpret_cast<const char*>(bytes_.data() + at_), n);
    v_.scores.push_back(is_filler ? -FLT_MAX : score);
    at_ += n;
  }

  [[noreturn]] void refuse_end(size_t id) const {
    const std::string wanted = vocab_size_ ? format("; the model has %u tokens", vocab_size_) : "";
    refuse(format("ends within token %zu, at byte %zu", id, bytes_.size()) + wanted);
  }

  // llama2.c's export writes spaces; other ones leave SentencePiece's meta symbol. A vocabulary
  // with that symbol and without a space can only mean spaces by it.
  void name_spaces() {
    for (const std::string& text : v_.texts) {
      if (text.find(' ') != std::string::npos) return;
    }
    for (std::string& text : v_.texts) {
      std::string spaced = with_spaces(text);
      had_meta_symbols_ |= spaced != text;
      text = std::move(spaced);
    }
  }

  void set_types() {
    v_.types.assign(v_.texts.size(), kTokenNormal);
    for (size_t id = 0; id < v_.texts.size(); ++id) {
      std::string& text = v_.texts[id];
      const int byte = named_byte(text);
      if (id < kControlTokens) {
        v_.types[id] = kTokenControl;
        // The exporter dresses <s> and </s> in line breaks.
        if (text.size() > 2 && text.front() == '\n' && text.back() == '\n') {
          text = text.substr(1, text.size() - 2);
        }
      } else if (byte >= 0) {
        v_.types[id] = kTokenByte;
        text.assign(1, static_cast<char>(byte));
      }
    }
  }

  std::string path_;
  uint32_t vocab_size_;
  bool has_fillers_;
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
  int32_t longest_ = 0;
  bool had_meta_symbols_ = false;
  Vocabulary v_;
};

}  // namespace

VocabularyFile open_llama2c_tokenizer(const InputFile& file, uint32_t vocab_size,
                                      bool has_fillers) {
  TokenReader reader(file, vocab_size, has_fillers);
  VocabularyFile result;
  result.vocabulary = reader.read();
  result.description = format("llama2.c tokenizer, %u tokens of up to %d bytes",
                              result.vocabulary.n_tokens, reader.longest());
  pad_vocabulary(&result.vocabulary, vocab_size, file.path());
  if (reader.had_meta_symbols()) result.description += ", U+2581 taken as space";
  return result;
}

}  // namespace thimble::tools
