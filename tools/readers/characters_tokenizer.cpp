// SPDX-License-Identifier: MIT
// Models whose tokens are characters: a text file that holds nothing but them in the order of their
// ids, one after another or one a line.
#include <set>
#include <string>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/tokenizers.h"
#include "utf8_text.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{kMaxVocab} * 5;

// Empty if it is no text in UTF-8.
std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> characters;
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_character_bytes(text, i);
    const bool is_control = static_cast<uint8_t>(text[i]) < ' ' &&
                            std::string("\n\r\t").find(text[i]) == std::string::npos;
    if (n == 0 || is_control) return {};
    characters.push_back(text.substr(i, n));
    i += n;
  }
  return characters;
}

bool all_differ(const std::vector<std::string>& texts) {
  return std::set<std::string>(texts.begin(), texts.end()).size() == texts.size();
}

// One a line, without the line breaks; empty if it is not so.
std::vector<std::string> one_a_line(const std::vector<std::string>& characters) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < characters.size(); i += 2) {
    if (i + 1 < characters.size() && characters[i + 1] != "\n") return {};
    lines.push_back(characters[i]);
  }
  return lines;
}

}  // namespace

Vocabulary vocabulary_of_characters(std::vector<std::string> characters) {
  Vocabulary v;
  v.texts = std::move(characters);
  v.scores.assign(v.texts.size(), 0.0f);
  v.types.assign(v.texts.size(), kTokenNormal);
  v.add_bos = false;
  return v;
}

VocabularyFile open_characters(const InputFile& file, uint32_t vocab_size) {
  std::vector<std::string> characters = characters_of(read_whole_file(file, kMaxFileBytes));
  // A line break at the end is the editor's, unless the model wants it.
  std::vector<std::string> shorter = characters;
  if (shorter.size() > 1 && shorter.back() == "\n" && shorter.size() != vocab_size) {
    shorter.pop_back();
  }
  std::vector<std::string> lines = one_a_line(characters);
  if (all_differ(shorter)) {
    characters = std::move(shorter);
  } else if (lines.size() > 1 && all_differ(lines)) {
    characters = std::move(lines);
  } else {
    characters.clear();
  }
  if (characters.empty()) {
    throw Refused(file.path() +
                  ": is no tokenizer that is known, expected tokenizer.json, vocab.json with "
                  "merges.txt, tiktoken ranks, SentencePiece's tokenizer.model, llama2.c's "
                  "tokenizer.bin, GGUF, nanoGPT's meta.pkl, or a text of characters that all "
                  "differ");
  }
  VocabularyFile result;
  result.vocabulary = vocabulary_of_characters(std::move(characters));
  result.description = format("list of %zu characters", result.vocabulary.texts.size());
  pad_vocabulary(&result.vocabulary, vocab_size, file.path());
  return result;
}

}  // namespace thimble::tools
