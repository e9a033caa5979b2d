// SPDX-License-Identifier: MIT
// From what tokenizer files say to the engine's tables.
#ifndef THIMBLE_TOOLS_VOCABULARY_H
#define THIMBLE_TOOLS_VOCABULARY_H

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "image.h"

namespace thimble::tools {

// The byte that a text like <0x0A> stands for, -1 if it is no such text.
int named_byte(const std::string& text);

// SentencePiece's mark for a space, U+2581, back to one.
std::string with_spaces(std::string text);

// A text in GPT-2's spelling, a character a byte (bytes that are no printable Latin-1 characters
// are U+0100 and following). Nothing if another character is in it.
std::optional<std::string> bytes_of_spelling(const std::string& text);

// The lowest id of each text of ordinary tokens.
using TokenIds = std::unordered_map<std::string, int32_t>;
TokenIds ids_of_texts(const Vocabulary& v);

using Merge = std::pair<std::string, std::string>;  // texts as in Vocabulary

// Sets scores and splits from a list of merges, the first the most urgent. The engine looks up what
// two texts give together; where that is not quite the list, v->note says so. Throws Refused when a
// merge has parts or a result that are no tokens; `path` is for the message.
void set_merges(Vocabulary* v, const std::vector<Merge>& merges, const std::string& path);

// Ranks without a list of merges, as in tiktoken: any pair that gives a token merges, the lowest id
// first. Byte-level.
void set_merges_by_id(Vocabulary* v);

// Adds tokens without text up to `vocab_size`; 0: none. Throws Refused, with both numbers, if there
// are more already.
void pad_vocabulary(Vocabulary* v, uint32_t vocab_size, const std::string& path);

// Finds a token by its text, control and added ones first; -1 if there is none.
int32_t find_special(const Vocabulary& v, const std::string& text);

// Whether the tokens spell a plain English sentence without falling back to bytes or leaving
// anything out; *why says what is missing.
bool spells_plainly(const Vocabulary& v, std::string* why);

// A model file around nothing but a vocabulary, which must not be empty.
ImageInMemory image_of_vocabulary(const Vocabulary& v);

// The types with kTokenWhole where it belongs.
std::vector<uint8_t> types_with_whole(const Vocabulary& v);

// All tokens of a text, whatever its length. `flags` as in thimble_encode.
std::vector<int32_t> encode_all(const thimble_model& model, const std::string& text,
                                uint32_t flags);

}  // namespace thimble::tools

#endif
