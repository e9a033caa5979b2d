// SPDX-License-Identifier: MIT
// Ranks of OpenAI's tiktoken, which Llama 3 and Qwen come with, too: a line a token, its bytes in
// base64 (RFC 4648) and its rank, which is its id. Special tokens and the pattern that cuts words
// stand in programs, not in the file: they are told by the number of ranks.
#include <string>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxFileBytes = 64u << 20;

int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// False if it is no base64.
bool decode_base64(const std::string& text, std::string* bytes) {
  if (text.empty() || text.size() % 4 != 0) return false;
  for (size_t i = 0; i < text.size(); i += 4) {
    const bool is_last = i + 4 == text.size();
    const size_t pads = !is_last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
    uint32_t bits = 0;
    for (size_t k = 0; k < 4; ++k) {
      const int value = k < 4 - pads ? sextet(text[i + k]) : 0;
      if (value < 0) return false;
      bits = bits << 6 | static_cast<uint32_t>(value);
    }
    for (size_t k = 0; k < 3 - pads; ++k) *bytes += static_cast<char>(bits >> (16 - 8 * k) & 255);
  }
  return true;
}

void read_lines(const std::string& text, const std::string& path, Vocabulary* v) {
  size_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    std::string line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    std::string bytes;
    const std::string rank = space == std::string::npos ? "" : line.substr(space + 1);
    if (!decode_base64(line.substr(0, space), &bytes) || rank != std::to_string(v->texts.size())) {
      throw Refused(format("%s: line %zu: found %s, expected a token in base64, a space and %zu",
                           path.c_str(), line_number, shown(line).c_str(), v->texts.size()));
    }
    if (v->texts.size() == kMaxVocab) {
      throw Refused(format("%s: found more than %u tokens", path.c_str(), kMaxVocab));
    }
    v->texts.push_back(std::move(bytes));
  }
}

void add_control(Vocabulary* v, const std::string& text) {
  v->texts.push_back(text);
  v->types.push_back(kTokenControl);
  v->scores.push_back(-1.0f);
  v->splits.push_back(0);
}

void add_llama3_tokens(Vocabulary* v) {
  const int32_t first = static_cast<int32_t>(v->texts.size());
  for (const char* text :
       {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>",
        "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"}) {
    add_control(v, text);
  }
  v->bos_id = first;
  v->eos_id = first + 1;
  v->end_of_turn_id = first + 9;
  v->add_bos = true;
}

// How many ranks the published files have.
constexpr size_t kGpt2Ranks = 50256, kLlama3Ranks = 128000, kQwenRanks = 151643;

}  // namespace

VocabularyFile open_tiktoken(const InputFile& file, uint32_t vocab_size) {
  VocabularyFile result;
  Vocabulary& v = result.vocabulary;
  v.kind = kTokenizerByteBpe;
  v.ignore_merges = true;  // as tiktoken does
  v.add_bos = false;
  read_lines(read_whole_file(file, kMaxFileBytes), file.path(), &v);
  const size_t n = v.texts.size();
  v.types.assign(n, kTokenNormal);
  set_merges_by_id(&v);
  const char* cut = "GPT-2";
  v.pre_tokenizer = kPreTokenizerGpt2;
  if (n == kLlama3Ranks) {
    cut = "Llama 3";
    v.pre_tokenizer = kPreTokenizerLlama3;
    add_llama3_tokens(&v);
  } else if (n == kQwenRanks) {
    cut = "Qwen 2";
    v.pre_tokenizer = kPreTokenizerQwen2;
    for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add_control(&v, text);
    v.eos_id = static_cast<int32_t>(n);
    v.end_of_turn_id = v.eos_id + 2;
  } else if (n == kGpt2Ranks) {
    add_control(&v, "<|endoftext|>");
    v.bos_id = v.eos_id = static_cast<int32_t>(n);
  }
  result.description =
      format("tiktoken ranks, byte-level BPE, %zu tokens, words cut as by %s", n, cut);
  pad_vocabulary(&v, vocab_size, file.path());
  return result;
}

}  // namespace thimble::tools
