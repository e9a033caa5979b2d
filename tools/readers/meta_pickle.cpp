// SPDX-License-Identifier: MIT
// nanoGPT's meta.pkl: a pickled dictionary with stoi, from characters to ids.
#include <string>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/pickle.h"
#include "readers/tokenizers.h"

namespace thimble::tools {

VocabularyFile open_meta_pickle(const InputFile& file, uint32_t vocab_size) {
  const std::string& path = file.path();
  const Value root = read_pickle_file(path);
  const Value* stoi = root.find("stoi");
  if (!stoi || !stoi->dict() || stoi->dict()->empty()) {
    throw Refused(path +
                  ": found no stoi, expected nanoGPT's meta.pkl with a dictionary of "
                  "characters and ids");
  }
  std::vector<std::string> characters(stoi->dict()->size());
  std::vector<bool> is_taken(characters.size());
  for (const auto& [text, value] : *stoi->dict()) {
    const int64_t* id = value.integer();
    if (!id || *id < 0 || static_cast<uint64_t>(*id) >= characters.size() ||
        is_taken[static_cast<size_t>(*id)] || text.empty()) {
      throw Refused(format("%s: stoi[%s]: expected an id of its own, 0 to %zu", path.c_str(),
                           shown(text).c_str(), characters.size() - 1));
    }
    is_taken[static_cast<size_t>(*id)] = true;
    characters[static_cast<size_t>(*id)] = text;
  }
  VocabularyFile result;
  result.vocabulary = vocabulary_of_characters(std::move(characters));
  result.description = format("nanoGPT's meta.pkl, %zu tokens", result.vocabulary.texts.size());
  pad_vocabulary(&result.vocabulary, vocab_size, path);
  return result;
}

}  // namespace thimble::tools
