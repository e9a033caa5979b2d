// SPDX-License-Identifier: MIT
// GGUF files for tests, right ones and wrong ones: every field can be set to what it should not be.
#ifndef THIMBLE_TESTS_GGUF_FILES_H
#define THIMBLE_TESTS_GGUF_FILES_H

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "readers/gguf_types.h"

namespace thimble::test {

template <class T>
std::string gguf_raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
inline std::string gguf_string(const std::string& text) {
  return gguf_raw<uint64_t>(text.size()) + text;
}
// An array's value: the type of its elements, their number, and the elements' bytes.
inline std::string gguf_array(uint32_t type, uint64_t count, const std::string& elements) {
  return gguf_raw(type) + gguf_raw(count) + elements;
}
inline std::string gguf_strings(const std::vector<std::string>& texts) {
  std::string elements;
  for (const std::string& text : texts) elements += gguf_string(text);
  return gguf_array(8, texts.size(), elements);
}

struct GgufTestTensor {
  std::string name;
  std::vector<uint64_t> dims;  // as the file has them: innermost first
  uint32_t type = 0;
  std::string data;
  int64_t offset = -1;  // -1: where it belongs
};

struct GgufTestFile {
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of what is written; says nothing in the file by itself
  std::vector<std::string> keys;
  std::vector<GgufTestTensor> tensors;
  int64_t n_keys = -1, n_tensors = -1;  // -1: the true numbers

  // Types: 0 u8, 1 i8, 2 u16, 3 i16, 4 u32, 5 i32, 6 f32, 7 bool, 8 string, 9 array, 10 u64,
  // 11 i64, 12 f64.
  GgufTestFile& key(const std::string& name, uint32_t type, const std::string& value) {
    keys.push_back(gguf_string(name) + gguf_raw(type) + value);
    return *this;
  }
  GgufTestFile& tensor(GgufTestTensor t) {
    tensors.push_back(std::move(t));
    return *this;
  }

  std::string bytes() const {
    std::string out = magic + gguf_raw(version);
    out += gguf_raw<uint64_t>(n_tensors < 0 ? tensors.size() : static_cast<uint64_t>(n_tensors));
    out += gguf_raw<uint64_t>(n_keys < 0 ? keys.size() : static_cast<uint64_t>(n_keys));
    for (const std::string& k : keys) out += k;
    std::string data;
    for (const GgufTestTensor& t : tensors) {
      out += gguf_string(t.name) + gguf_raw(static_cast<uint32_t>(t.dims.size()));
      for (const uint64_t dim : t.dims) out += gguf_raw(dim);
      out += gguf_raw(t.type);
      out += gguf_raw<uint64_t>(t.offset < 0 ? data.size() : static_cast<uint64_t>(t.offset));
      data += t.data;
      pad(&data);
    }
    pad(&out);
    return out + data;
  }

 private:
  void pad(std::string* out) const {
    while (out->size() % alignment != 0) out->push_back('\0');
  }
};

inline std::string gguf_floats(const std::vector<float>& values) {
  std::string out;
  for (const float value : values) out += gguf_raw(value);
  return out;
}

inline std::string gguf_integers(const std::vector<int32_t>& values) {
  std::string out;
  for (const int32_t value : values) out += gguf_raw(value);
  return gguf_array(5, values.size(), out);
}

// The bytes of `n` elements of a type, in blocks: no float in them is infinite or no number.
inline std::string gguf_blocks(uint32_t type, uint64_t n) {
  const tools::GgufType* is = tools::gguf_type(type);
  std::string out(static_cast<size_t>(n / is->block_elements * is->block_bytes), '\0');
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(7 * i % 60 + 1);
  return out;
}

// Keys of every type, a tokenizer, tensors of three types; the last ends with the file.
inline GgufTestFile rich_gguf_file(uint32_t version = 3) {
  GgufTestFile f;
  f.version = version;
  f.key("general.architecture", 8, gguf_string("llama"))
      .key("a.u8", 0, gguf_raw<uint8_t>(200))
      .key("a.i8", 1, gguf_raw<int8_t>(-100))
      .key("a.u16", 2, gguf_raw<uint16_t>(60000))
      .key("a.i16", 3, gguf_raw<int16_t>(-30000))
      .key("a.u32", 4, gguf_raw<uint32_t>(4000000000u))
      .key("a.i32", 5, gguf_raw<int32_t>(-2000000000))
      .key("a.f32", 6, gguf_raw(0.1f))
      .key("a.bool", 7, gguf_raw<uint8_t>(1))
      .key("a.array", 9, gguf_array(3, 2, gguf_raw<int16_t>(-1) + gguf_raw<int16_t>(2)))
      .key("a.u64", 10, gguf_raw<uint64_t>(1ull << 60))
      .key("a.huge", 10, gguf_raw<uint64_t>(1ull << 63))
      .key("a.i64", 11, gguf_raw<int64_t>(-(1ll << 60)))
      .key("a.f64", 12, gguf_raw(0.1))
      .key("a.nested", 9,
           gguf_array(9, 2, gguf_array(8, 1, gguf_string("x")) + gguf_array(7, 0, "")))
      .key("tokenizer.ggml.tokens", 9, gguf_strings({"<unk>", "a", "b", "ab"}))
      .key("tokenizer.ggml.scores", 9, gguf_array(6, 4, gguf_floats({0, -1, -2, -3})))
      .key("tokenizer.ggml.token_type", 9,
           gguf_array(5, 4, gguf_raw(2) + gguf_raw(1) + gguf_raw(1) + gguf_raw(1)))
      .key("tokenizer.ggml.merges", 9, gguf_strings({"a b"}));
  f.tensor({"norm", {3}, 0, gguf_floats({1.5f, -2, 0.25f})});
  std::string halves, blocks;
  for (uint16_t i = 0; i < 6; ++i) halves += gguf_raw<uint16_t>(static_cast<uint16_t>(0x3c00 + i));
  f.tensor({"halves", {3, 2}, 1, halves});
  for (int block = 0; block < 16; ++block) {  // 544 bytes: a multiple of the alignment
    blocks += gguf_raw<uint16_t>(static_cast<uint16_t>(0x3800 + block));
    for (int i = 0; i < 32; ++i) blocks += static_cast<char>(7 * i + block);
  }
  return f.tensor({"blocks", {64, 2, 4}, 8, blocks});
}

// A Llama that can be opened: dim 32, 2 heads of 4, 1 key/value head, hidden 8, 1 layer, 8 tokens,
// weights of several types.
inline GgufTestFile llama_gguf_file(uint32_t version = 3) {
  GgufTestFile f;
  f.version = version;
  const auto count = [&](const std::string& name, uint32_t value) {
    f.key("llama." + name, 4, gguf_raw(value));
  };
  f.key("general.architecture", 8, gguf_string("llama"));
  count("context_length", 64);
  count("embedding_length", 32);
  count("block_count", 1);
  count("feed_forward_length", 8);
  count("attention.head_count", 2);
  count("attention.head_count_kv", 1);
  count("attention.key_length", 4);
  count("attention.value_length", 4);
  f.key("llama.attention.layer_norm_rms_epsilon", 6, gguf_raw(1e-5f))
      .key("llama.rope.freq_base", 6, gguf_raw(500.0f))
      .key("tokenizer.ggml.model", 8, gguf_string("llama"))
      .key("tokenizer.ggml.tokens", 9,
           gguf_strings({"<unk>", "<s>", "</s>", "<0x21>", "\xe2\x96\x81", "h", "i", "hi"}))
      .key("tokenizer.ggml.scores", 9, gguf_array(6, 8, gguf_floats({0, 0, 0, 0, -1, -2, -3, -4})))
      .key("tokenizer.ggml.token_type", 9, gguf_integers({2, 3, 3, 6, 1, 1, 1, 1}));
  // Blocks of a type, small values.
  const auto tensor = [&](const std::string& name, std::vector<uint64_t> dims, uint32_t type) {
    uint64_t n = 1;
    for (const uint64_t dim : dims) n *= dim;
    f.tensor({name, std::move(dims), type, gguf_blocks(type, n)});
  };
  constexpr uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ5_1 = 7, kQ8_0 = 8, kBf16 = 30;
  tensor("token_embd.weight", {32, 8}, kQ8_0);
  tensor("blk.0.attn_norm.weight", {32}, kF32);
  tensor("blk.0.attn_q.weight", {32, 8}, kQ4_0);
  tensor("blk.0.attn_k.weight", {32, 4}, kQ5_1);
  tensor("blk.0.attn_v.weight", {32, 4}, kQ8_0);
  tensor("blk.0.attn_output.weight", {8, 32}, kF16);
  tensor("blk.0.ffn_norm.weight", {32}, kF32);
  tensor("blk.0.ffn_gate.weight", {32, 8}, kQ5_1);
  tensor("blk.0.ffn_up.weight", {32, 8}, kQ4_0);
  tensor("blk.0.ffn_down.weight", {8, 32}, kBf16);
  tensor("output_norm.weight", {32}, kF32);
  return f;
}

// Every type that ggml has, 256 elements of each.
inline GgufTestFile all_types_gguf_file() {
  GgufTestFile f;
  for (uint32_t id = 0; id < 64; ++id) {
    const tools::GgufType* type = tools::gguf_type(id);
    if (type) f.tensor({type->name, {256}, id, gguf_blocks(id, 256)});
  }
  return f;
}

// Nothing but arrays: a byte-level tokenizer of all bytes, and long ones.
inline GgufTestFile big_arrays_gguf_file() {
  std::vector<std::string> texts, merges;
  std::vector<int32_t> types, numbers;
  for (char c = 'a'; c <= 'z'; ++c) texts.emplace_back(1, c);
  for (char c = 'a'; c <= 'z'; ++c) {
    texts.push_back("t" + std::string(1, c));
    merges.push_back("t " + std::string(1, c));
  }
  for (size_t i = 0; i < texts.size(); ++i) types.push_back(1);
  for (int32_t i = 0; i < 300; ++i) numbers.push_back(i * i);
  GgufTestFile f;
  return f.key("tokenizer.ggml.model", 8, gguf_string("gpt2"))
      .key("tokenizer.ggml.pre", 8, gguf_string("llama-bpe"))
      .key("tokenizer.ggml.tokens", 9, gguf_strings(texts))
      .key("tokenizer.ggml.token_type", 9, gguf_integers(types))
      .key("tokenizer.ggml.merges", 9, gguf_strings(merges))
      .key("tokenizer.ggml.eos_token_id", 4, gguf_raw<uint32_t>(0))
      .key("tokenizer.chat_template", 8, gguf_string("{{ '<|im_start|>' + message }}"))
      .key("numbers", 9, gguf_integers(numbers))
      .key("nested", 9, gguf_array(9, 2, gguf_integers(numbers) + gguf_strings(merges)));
}

}  // namespace thimble::test

#endif
