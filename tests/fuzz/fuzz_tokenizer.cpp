// SPDX-License-Identifier: MIT
// Tokenizer files: any bytes are read or refused, and what was read encodes a text and decodes it.
// The first byte says which kind of file the others are.
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "chat_template.h"
#include "error.h"
#include "json_reader.h"
#include "readers/llama2c.h"
#include "readers/tokenizers.h"
#include "tokenizer.h"
#include "tokenizer_files.h"
#include "vocabulary.h"

using namespace thimble;
using namespace thimble::tools;

namespace {

std::string make_folder() {
  char path[] = "/tmp/fuzz-tokenizer-XXXXXX";
  if (!mkdtemp(path)) std::abort();
  return path;
}

std::string write_file(const std::string& folder, const char* name, const std::string& text) {
  std::ofstream(folder + "/" + name, std::ios::binary) << text;
  return folder + "/" + name;
}

std::string write_file(const char* name, const std::string& text) {
  static const std::string folder = make_folder();
  return write_file(folder, name, text);
}

// A good tokenizer.json with the text as the file beside it.
VocabularyFile open_with_companion(const std::string& text) {
  static const std::string folder = make_folder();
  static const std::string json = test::tokenizer_json_with_bos();
  const std::string path = write_file(folder, "tokenizer.json", json);
  write_file(folder, "tokenizer_config.json", text);
  return open_hf_tokenizer(read_json(json, path), path, 0);
}

const char kVocab[] = R"({"a":0,"b":1,"c":2,"ab":3,"abc":4,"bc":5,"Ġa":6,"Ġ":7,"<|end|>":8})";

VocabularyFile open_kind(uint8_t kind, const std::string& text) {
  switch (kind % 9) {
    case 0: {
      const std::string path = write_file("tokenizer.json", text);
      return open_hf_tokenizer(read_json(text, path), path, 0);
    }
    case 1: {
      const InputFile merges(write_file("merges.txt", text));
      return open_vocab_and_merges(read_json(kVocab, "vocab.json"), "/nowhere/vocab.json", merges,
                                   0);
    }
    case 2:
      return open_tiktoken(InputFile(write_file("ranks.tiktoken", text)), 0);
    case 3:
      return open_sentencepiece(InputFile(write_file("tokenizer.model", text)), 0);
    case 4:
      return open_llama2c_tokenizer(InputFile(write_file("tokenizer.bin", text)), 0);
    case 5:
      return open_meta_pickle(InputFile(write_file("meta.pkl", text)), 0);
    case 6:
      return open_vocabulary(write_file("any", text), 0);
    case 7:
      return open_with_companion(text);
    default: {
      const InputFile merges(write_file("vocab.bpe", test::kHelloMergeLines));
      return open_vocab_and_merges(read_json(text, "vocab.json"), "/nowhere/vocab.json", merges, 0);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes < 2) return 0;
  try {
    VocabularyFile file =
        open_kind(data[0], std::string(reinterpret_cast<const char*>(data + 1), bytes - 1));
    choose_turns({}, &file.vocabulary);
    if (file.vocabulary.texts.size() > 4096) return 0;
    const ImageInMemory image = image_of_vocabulary(file.vocabulary);
    thimble_model model;
    if (thimble_model_open(&model, image.data(), image.bytes) != THIMBLE_OK) std::abort();
    const std::vector<int32_t> ids =
        encode_all(model, "Hello  abc\n12 \xff <|end|>" + std::string(file.vocabulary.texts[0]), 2);
    thimble_decoder decoder = {};
    std::string text(3 * model.max_token_bytes + 3, '\0');
    for (const int32_t id : ids) {
      if (decode_token(model, &decoder, id, text.data(), text.size()) < 0) std::abort();
    }
    if (decode_end(&decoder, text.data(), text.size()) < 0) std::abort();
  } catch (const Refused&) {
  }
  return 0;
}
