// SPDX-License-Identifier: MIT
// GPT-2's files: vocab.json (or encoder.json) with a token's spelling and id, and merges.txt (or
// vocab.bpe) with a line a merge, the most urgent first. They name no special tokens and do not say
// how words are cut; the small files beside them may.
#include <string>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/tokenizers.h"
#include "vocabulary.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxFileBytes = 128u << 20;

std::vector<std::string> texts_of(const Value& root, const std::string& path) {
  const Value::Dict* tokens = root.dict();
  if (!tokens || tokens->empty()) throw Refused(path + ": expected tokens and their ids");
  std::vector<std::string> texts;
  std::vector<bool> is_taken;
  for (const auto& [text, value] : *tokens) {
    const int64_t* id = value.integer();
    if (!id || *id < 0 || *id >= int64_t{kMaxVocab}) {
      throw Refused(format("%s: token %s: expected an id, 0 to %u", path.c_str(),
                           shown(text).c_str(), kMaxVocab - 1));
    }
    const size_t at = static_cast<size_t>(*id);
    if (at >= texts.size()) {
      texts.resize(at + 1);
      is_taken.resize(at + 1);
    }
    if (is_taken[at]) {
      throw Refused(format("%s: two tokens have the id %zu, one is %s", path.c_str(), at,
                           shown(text).c_str()));
    }
    is_taken[at] = true;
    texts[at] = text;
  }
  return texts;
}

// merges.txt may begin with a line "#version: 0.2".
std::vector<Merge> merges_of(const std::string& text, const std::string& path) {
  std::vector<Merge> merges;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    std::string line = text.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const bool is_version = at == 0 && line.compare(0, 9, "#version:") == 0;
    if (!line.empty() && !is_version) merges.push_back(merge_of_line(line, merges.size(), path));
    at = end + 1;
  }
  return merges;
}

// <|endoftext|>, <pad>, [PAD]: what no merge leads to.
bool looks_special(const std::string& text) {
  return text.size() > 2 && ((text.front() == '<' && text.back() == '>') ||
                             (text.front() == '[' && text.back() == ']'));
}

}  // namespace

Merge merge_of_line(const std::string& line, size_t index, const std::string& path) {
  const size_t space = line.find(' ', 1);
  if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
    throw Refused(format("%s: merge %zu: found %s, expected two parts and a space between them",
                         path.c_str(), index + 1, shown(line).c_str()));
  }
  const std::string left = line.substr(0, space), right = line.substr(space + 1);
  return {bytes_of_spelling(left).value_or(left), bytes_of_spelling(right).value_or(right)};
}

VocabularyFile open_vocab_and_merges(const Value& root, const std::string& path,
                                     const InputFile& merges, uint32_t vocab_size) {
  VocabularyFile result;
  Vocabulary& v = result.vocabulary;
  v.kind = kTokenizerByteBpe;
  v.pre_tokenizer = kPreTokenizerGpt2;
  std::vector<std::string> spelled = texts_of(root, path);
  v.types.assign(spelled.size(), kTokenNormal);
  for (const std::string& text : spelled) {
    v.texts.push_back(bytes_of_spelling(text).value_or(text));
  }
  set_merges(&v, merges_of(read_whole_file(merges, kMaxFileBytes), merges.path()), merges.path());
  for (size_t id = 0; id < v.texts.size(); ++id) {
    if (v.scores[id] < 0 && looks_special(spelled[id])) {
      v.texts[id] = spelled[id];
      v.types[id] = kTokenControl;
    }
  }
  v.add_bos = false;
  v.bos_id = v.eos_id = find_special(v, "<|endoftext|>");
  if (read_companions(&v, path).find("Qwen2") != std::string::npos) {
    v.pre_tokenizer = kPreTokenizerQwen2;
  }
  result.description = format("vocab and merges, byte-level BPE, %zu tokens", v.texts.size());
  pad_vocabulary(&v, vocab_size, path);
  return result;
}

}  // namespace thimble::tools
