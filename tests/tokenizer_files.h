// SPDX-License-Identifier: MIT
// Small tokenizer files of every kind, as the programs that make them write them. llama2c_files.h
// has those of llama2.c, gguf_files.h those within GGUF files.
#ifndef THIMBLE_TESTS_TOKENIZER_FILES_H
#define THIMBLE_TESTS_TOKENIZER_FILES_H

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint_files.h"

namespace thimble::test {

// ---- tokenizer.json of Hugging Face, vocab.json and merges.txt ----------------------------------

// Words for little byte-level tokenizers: "hello" and " hello" among their tokens.
constexpr char kHelloVocab[] =
    R"("h":0,"e":1,"l":2,"o":3,"Ġ":4,"he":5,"ll":6,"hell":7,"hello":8,"Ġhello":9,"<|end|>":10)";
constexpr char kHelloMerges[] = R"("h e","l l","he ll","hell o","Ġ hello")";
constexpr char kHelloMergeLines[] = "#version: 0.2\nh e\nl l\r\nhe ll\nhell o\nĠ hello\n";
constexpr char kByteLevelStep[] =
    R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";

inline std::string tokenizer_json(const std::string& pre, const std::string& more = "",
                                  const std::string& vocab = kHelloVocab,
                                  const std::string& merges = kHelloMerges,
                                  const std::string& model = R"("type":"BPE")") {
  return R"({"added_tokens":[{"id":10,"content":"<|end|>","special":true}],"pre_tokenizer":)" +
         pre + more + R"(,"model":{)" + model + R"(,"vocab":{)" + vocab + R"(},"merges":[)" +
         merges + "]}}";
}

// As above, with a template that puts <|end|> before a text.
inline std::string tokenizer_json_with_bos() {
  return tokenizer_json(
      kByteLevelStep, R"(,"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},)"
                      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|end|>"}},)"
                      R"({"Sequence":{"id":"A"}}]}]})");
}

// BPE with byte fallback, as Llama 2's.
inline std::string fallback_tokenizer_json() {
  const std::string vocab =
      R"("<unk>":0,"<s>":1,"<0x21>":2,"▁":3,"h":4,"i":5,"hi":6,"▁hi":7,"▁▁":8,"xhi":9,"x":10)";
  const std::string merges = R"(["h","i"],["▁","hi"],["▁","▁"])";
  return R"({"added_tokens":[{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>",)"
         R"("special":true}],"normalizer":{"type":"Sequence","normalizers":[)"
         R"({"type":"Prepend","prepend":"▁"},)"
         R"({"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,)"
         R"("model":{"type":"BPE","byte_fallback":true,"vocab":{)" +
         vocab + R"(},"merges":[)" + merges + "]}}";
}

// ---- SentencePiece's tokenizer.model ------------------------------------------------------------

// Types: 1 normal, 2 unknown, 3 control, 4 of the user, 5 unused, 6 byte.
inline std::string sentencepiece_piece(const std::string& text, float score, int type) {
  std::string inner = "\x0a" + std::string(1, static_cast<char>(text.size())) + text + "\x15";
  inner.append(reinterpret_cast<const char*>(&score), 4);
  inner += std::string("\x18") + static_cast<char>(type);
  return "\x0a" + std::string(1, static_cast<char>(inner.size())) + inner;
}

inline std::string sentencepiece_pieces() {
  const auto& piece = sentencepiece_piece;
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x21>", 0, 6) +
         piece("\xe2\x96\x81", -1, 1) + piece("h", -2, 1) + piece("\xe2\x96\x81h", -3, 1) +
         piece("user", 0, 4);
}

// Types of model: 1 Unigram, 2 BPE, 3 words, 4 characters.
inline std::string sentencepiece_file(int model_type = 2) {
  return sentencepiece_pieces() + "\x12\x02\x18" + static_cast<char>(model_type) +
         std::string("\x1a\x04\x18\x01\x20\x00", 6);
}

// ---- The others ---------------------------------------------------------------------------------

constexpr char kTiktokenRanks[] = "YQ== 0\nYg== 1\nYWI= 2\nYWJh 3\n";

// nanoGPT's meta.pkl.
inline std::string meta_pickle(const std::vector<std::string>& characters) {
  PickleWriter p;
  p.step("}(").text("vocab_size").integer(static_cast<int64_t>(characters.size()));
  p.text("itos").step("}(");
  for (size_t i = 0; i < characters.size(); ++i) {
    p.integer(static_cast<int64_t>(i)).text(characters[i]);
  }
  p.step("u").text("stoi").step("}(");
  for (size_t i = 0; i < characters.size(); ++i) {
    p.text(characters[i]).integer(static_cast<int64_t>(i));
  }
  return p.step("uu").end();
}

}  // namespace thimble::test

#endif
