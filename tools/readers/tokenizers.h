// SPDX-License-Identifier: MIT
// Tokenizer files, one file of code a format. All throw Refused, naming the file, what was found
// and what was expected. `vocab_size` is the model's; 0: as many tokens as the file has.
#ifndef THIMBLE_TOOLS_READERS_TOKENIZERS_H
#define THIMBLE_TOOLS_READERS_TOKENIZERS_H

#include <string>
#include <vector>

#include "readers/gguf.h"
#include "readers/input_file.h"
#include "readers/reader.h"
#include "value.h"
#include "vocabulary.h"

namespace thimble::tools {

// tokenizer.json of Hugging Face, of which `root` is the contents: BPE, byte-level or with byte
// fallback.
VocabularyFile open_hf_tokenizer(const Value& root, const std::string& path, uint32_t vocab_size);

// vocab.json or encoder.json, of which `root` is the contents, and merges.txt or vocab.bpe.
VocabularyFile open_vocab_and_merges(const Value& root, const std::string& path,
                                     const InputFile& merges, uint32_t vocab_size);

// Ranks of OpenAI's tiktoken: a line a token, base64 and rank.
VocabularyFile open_tiktoken(const InputFile& file, uint32_t vocab_size);

// tokenizer.model of SentencePiece (BPE).
VocabularyFile open_sentencepiece(const InputFile& file, uint32_t vocab_size);

// nanoGPT's meta.pkl, and a text file of nothing but the characters.
VocabularyFile open_meta_pickle(const InputFile& file, uint32_t vocab_size);
VocabularyFile open_characters(const InputFile& file, uint32_t vocab_size);
Vocabulary vocabulary_of_characters(std::vector<std::string> characters);  // by id

// The tokenizer within a GGUF file, not padded. `path` is for messages.
Vocabulary vocabulary_from_gguf(const GgufFile& file, const std::string& path);

// "a b" as in merges.txt; parts in GPT-2's spelling become bytes. `index` from 0, for messages.
Merge merge_of_line(const std::string& line, size_t index, const std::string& path);

// What the small files beside a tokenizer say: which tokens begin and end a text. Gives the name of
// Hugging Face's class for the tokenizer, "" if they do not say.
std::string read_companions(Vocabulary* v, const std::string& path);

}  // namespace thimble::tools

#endif
