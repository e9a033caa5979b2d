// SPDX-License-Identifier: MIT
// Tokenizer files: any bytes are read or refused, and what was read encodes a text. The first byte
// says which kind of file the others are.
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "error.h"
#include "json_reader.h"
#include "readers/llama2c.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

using namespace thimble;
using namespace thimble::tools;

namespace {

std::string write_file(const char* name, const std::string& text) {
  static const std::string folder = [] {
    char path[] = "/tmp/fuzz-tokenizer-XXXXXX";
    if (!mkdtemp(path)) std::abort();
    return std::string(path);
  }();
  std::ofstream(folder + "/" + name, std::ios::binary) << text;
  return folder + "/" + name;
}

const char kVocab[] = R"({"a":0,"b":1,"c":2,"ab":3,"abc":4,"bc":5,"Ġa":6,"Ġ":7,"<|end|>":8})";

VocabularyFile open_kind(uint8_t kind, const std::string& text) {
  switch (kind % 7) {
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
    default:
      return open_vocabulary(write_file("any", text), 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes < 2) return 0;
  try {
    const VocabularyFile file =
        open_kind(data[0], std::string(reinterpret_cast<const char*>(data + 1), bytes - 1));
    if (file.vocabulary.texts.size() > 4096) return 0;
    const ImageInMemory image = image_of_vocabulary(file.vocabulary);
    thimble_model model;
    if (thimble_model_open(&model, image.data(), image.bytes) != THIMBLE_OK) std::abort();
    encode_all(model, "Hello  abc\n12 \xff <|end|>" + std::string(file.vocabulary.texts[0]), 2);
  } catch (const Refused&) {
  }
  return 0;
}
