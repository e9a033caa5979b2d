// SPDX-License-Identifier: MIT
// What people say, as phrases with choices: the notation of Home Assistant's sentence templates,
// and the file of intents that they stand in.
#ifndef THIMBLE_TOOLS_INTENTS_PHRASES_H
#define THIMBLE_TOOLS_INTENTS_PHRASES_H

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace thimble::tools {

struct Phrase {
  enum class Kind { kWord, kSequence, kChoice, kReference, kNumber, kMadeUp };
  Kind kind = Kind::kSequence;
  std::string text;                      // the word; the list that is referred to
  std::string slot;                      // "": none; what is said here is its value
  std::string value;                     // of an alternative of a list, "= VALUE"; "": what is said
  std::vector<Phrase> parts;             // of a sequence; the alternatives of a choice
  std::vector<uint32_t> weights;         // of the alternatives
  uint32_t low = 0, high = 0, step = 1;  // of a number
  bool is_glued = false;                 // a word that follows without a space
  bool is_held_out = false;  // an alternative of an open list that training does not see
};

// A sentence of an intent, as its line of the file says.
struct Template {
  Phrase phrase;
  std::vector<std::pair<std::string, std::string>> constants;  // slots with their values
  bool is_held_out = false;
  uint32_t line = 0;
};

struct Intent {
  std::string name;
  std::vector<Template> templates;
  uint32_t weight = 1;
};

struct Slot {
  enum class Kind { kText, kWords, kNumber };
  std::string name;
  Kind kind = Kind::kText;
  std::vector<std::string> words;  // one of them
  uint32_t low = 0, high = 0;      // of a number
};

// Intents and what is around their sentences.
struct IntentFile {
  std::vector<Slot> slots;  // in the order of an answer's keys
  std::vector<Intent> intents;
  std::map<std::string, Phrase> lists;
  std::map<std::string, std::vector<std::string>> heard_as;  // a word: what else it may sound like

  const Slot* find_slot(const std::string& name) const;
};

// Lists that a file may give, without which nothing is said there.
constexpr char kBefore[] = "before", kAfter[] = "after", kFiller[] = "filler", kJoin[] = "join",
               kBreak[] = "break";  // words that no command ends with
constexpr char kNoIntent[] = "none";

// Throws Refused, naming `path` and the line. held_out: the share of templates (where an intent has
// some) and of the alternatives of open lists that are.
IntentFile read_intents(const std::string& text, const std::string& path, double held_out);

}  // namespace thimble::tools

#endif
