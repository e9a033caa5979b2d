// SPDX-License-Identifier: MIT
// Finds out what kind of tokenizer a file is, by its content, or which one a folder has.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "error.h"
#include "json_reader.h"
#include "readers/llama2c.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

using Start = std::array<uint8_t, 16>;  // the file's first bytes, zeros behind a shorter file
constexpr uint64_t kMaxJsonBytes = 256u << 20;

bool is_folder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool exists(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0;
}

std::string beside(const std::string& path, const char* name) {
  return path.substr(0, path.rfind('/') + 1) + name;
}

std::string beside_in(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

// The first of these that a folder has, or its only *.tiktoken.
std::string tokenizer_in(const std::string& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "encoder.json",
                           "tokenizer.bin", "meta.pkl"}) {
    std::string path = beside_in(folder, name);
    if (exists(path)) return path;
  }
  std::vector<std::string> found;
  if (DIR* entries = opendir(folder.c_str())) {
    while (const dirent* entry = readdir(entries)) {
      const std::string name = entry->d_name, end = ".tiktoken";
      if (name.size() > end.size() &&
          name.compare(name.size() - end.size(), end.size(), end) == 0) {
        found.push_back(beside_in(folder, name));
      }
    }
    closedir(entries);
  }
  std::sort(found.begin(), found.end());
  if (!found.empty()) return found[0];
  throw Refused(folder +
                ": found no tokenizer, expected tokenizer.json, tokenizer.model, vocab.json with "
                "merges.txt, encoder.json with vocab.bpe, *.tiktoken, tokenizer.bin or meta.pkl");
}

VocabularyFile open_json(const InputFile& file, uint32_t vocab_size) {
  const std::string& path = file.path();
  JsonOptions options;
  options.large_integers_as_reals = true;
  const Value root = read_json(read_whole_file(file, kMaxJsonBytes), path, options);
  const Value* model = root.find("model");
  if (model && model->dict()) return open_hf_tokenizer(root, path, vocab_size);
  for (const char* name : {"merges.txt", "vocab.bpe"}) {
    if (exists(beside(path, name))) {
      return open_vocab_and_merges(root, path, InputFile(beside(path, name)), vocab_size);
    }
  }
  throw Refused(path +
                ": found no model in it and no merges.txt or vocab.bpe beside it, one of "
                "which is expected");
}

// "AA== 0" and a line break.
bool is_tiktoken(const Start& start) {
  size_t i = 0;
  while (i < start.size() && start[i] > ' ' && start[i] < 0x7f) ++i;
  return i > 0 && i % 4 == 0 && i + 2 < start.size() && start[i] == ' ' && start[i + 1] == '0' &&
         (start[i + 2] == '\n' || start[i + 2] == '\r');
}

VocabularyFile open_file(const InputFile& file, uint32_t vocab_size, bool has_fillers) {
  const std::string& path = file.path();
  Start start{};
  file.read(0, start.data(), static_cast<size_t>(std::min<uint64_t>(file.size(), start.size())));
  const auto begins = [&](const char* text) {
    return std::memcmp(start.data(), text, std::strlen(text)) == 0;
  };
  if (std::memcmp(start.data(), kMagic, sizeof kMagic) == 0) {
    throw Refused(path + ": is a Thimble model already, expected a tokenizer");
  }
  if (begins("PK\3\4")) throw Refused(path + ": is a zip file, expected a tokenizer");
  if (begins("GGUF")) {
    VocabularyFile result;
    const GgufFile gguf = open_gguf(path);
    result.vocabulary = vocabulary_from_gguf(gguf, path);
    result.description =
        format("tokenizer of %s, %u tokens", gguf.description.c_str(), result.vocabulary.n_tokens);
    pad_vocabulary(&result.vocabulary, vocab_size, path);
    return result;
  }
  if (start[0] == '{') return open_json(file, vocab_size);
  if (begins("#version:")) {
    for (const char* name : {"vocab.json", "encoder.json"}) {
      if (exists(beside(path, name))) return open_json(InputFile(beside(path, name)), vocab_size);
    }
    throw Refused(path + ": is a list of merges, expected vocab.json or encoder.json beside it");
  }
  if (start[0] == 0x80 && start[1] >= 2 && start[1] <= 5) return open_meta_pickle(file, vocab_size);
  if (start[0] == 0x0a && start[1] >= 3 && start[2] == 0x0a) {
    return open_sentencepiece(file, vocab_size);
  }
  if (is_tiktoken(start)) return open_tiktoken(file, vocab_size);
  // A length of four bytes, most of them 0. No text has such bytes.
  if (std::memchr(start.data(), 0, std::min<size_t>(4, static_cast<size_t>(file.size())))) {
    return open_llama2c_tokenizer(file, vocab_size, has_fillers);
  }
  return open_characters(file, vocab_size);
}

}  // namespace

VocabularyFile open_vocabulary(const std::string& path, uint32_t vocab_size, bool has_fillers) {
  return open_file(InputFile(is_folder(path) ? tokenizer_in(path) : path), vocab_size, has_fillers);
}

}  // namespace thimble::tools
