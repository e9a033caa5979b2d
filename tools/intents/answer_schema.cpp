// SPDX-License-Identifier: MIT
#include "intents/answer_schema.h"

#include <iterator>
#include <set>
#include <utility>

#include "error.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

void keep_common(const std::set<std::string>& other, std::set<std::string>* set) {
  for (auto at = set->begin(); at != set->end();)
    at = other.count(*at) ? std::next(at) : set->erase(at);
}

void collect(const IntentFile& file, const Phrase& phrase, std::set<std::string>* slots) {
  if (!phrase.slot.empty()) slots->insert(phrase.slot);
  if (phrase.kind == Phrase::Kind::kReference) collect(file, file.lists.at(phrase.text), slots);
  for (const Phrase& part : phrase.parts) collect(file, part, slots);
}

// The slots that are said whichever way a phrase goes.
std::set<std::string> always(const IntentFile& file, const Phrase& phrase) {
  std::set<std::string> slots;
  if (phrase.kind == Phrase::Kind::kReference) slots = always(file, file.lists.at(phrase.text));
  for (size_t i = 0; i < phrase.parts.size(); ++i) {
    const std::set<std::string> of_part = always(file, phrase.parts[i]);
    if (phrase.kind == Phrase::Kind::kChoice && i > 0) {
      keep_common(of_part, &slots);
    } else {
      slots.insert(of_part.begin(), of_part.end());
    }
  }
  if (!phrase.slot.empty()) slots.insert(phrase.slot);
  return slots;
}

// What every sentence of an intent says.
std::set<std::string> required_slots(const IntentFile& file, const Intent& intent) {
  std::set<std::string> required;
  for (const Template& t : intent.templates) {
    std::set<std::string> slots = always(file, t.phrase);
    for (const auto& [name, value] : t.constants) slots.insert(name);
    if (&t == &intent.templates[0]) {
      required = std::move(slots);
    } else {
      keep_common(slots, &required);
    }
  }
  return required;
}

std::string slot_schema(const Slot& slot) {
  if (slot.kind == Slot::Kind::kNumber) {
    return format("{\"type\":\"integer\",\"minimum\":%u,\"maximum\":%u}", slot.low, slot.high);
  }
  if (slot.kind == Slot::Kind::kWords) {
    std::string words;
    for (const std::string& word : slot.words) {
      words += (words.empty() ? "" : ",") + json_string(word);
    }
    return "{\"enum\":[" + words + "]}";
  }
  // What stands in a sentence needs no backslash.
  return "{\"type\":\"string\",\"pattern\":\"^[^\\\"\\\\\\\\\\\\x00-\\\\x1f]+$\"}";
}

std::string intent_schema(const IntentFile& file, const Intent& intent) {
  std::set<std::string> slots;
  for (const Template& t : intent.templates) {
    collect(file, t.phrase, &slots);
    for (const auto& [name, value] : t.constants) slots.insert(name);
  }
  std::string text =
      "{\"type\":\"object\",\"properties\":{\"intent\":{\"const\":" + json_string(intent.name) +
      "}";
  for (const Slot& slot : file.slots) {
    if (slots.count(slot.name))
      text += ",\n    " + json_string(slot.name) + ":" + slot_schema(slot);
  }
  text += "},\n   \"required\":[\"intent\"";
  for (const std::string& slot : required_slots(file, intent)) text += "," + json_string(slot);
  return text + "],\"additionalProperties\":false}";
}

}  // namespace

std::string answer_schema(const IntentFile& file) {
  std::string commands;
  for (const Intent& intent : file.intents) {
    if (intent.name == kNoIntent) continue;
    commands += (commands.empty() ? "  " : ",\n  ") + intent_schema(file, intent);
  }
  return "{\"anyOf\":[\n {\"$ref\":\"#/$defs/command\"},\n"
         " {\"type\":\"object\",\"properties\":{\"intent\":{\"const\":\"" +
         std::string(kNoIntent) +
         "\"}},\"required\":[\"intent\"],\"additionalProperties\":false},\n"
         " {\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/command\"},"
         "\"minItems\":2,\"maxItems\":2}],\n \"$defs\":{\"command\":{\"anyOf\":[\n" +
         commands + "]}}}\n";
}

}  // namespace thimble::tools
