// SPDX-License-Identifier: MIT
#include "intents/phrases.h"

#include <algorithm>
#include <functional>
#include <set>

#include "error.h"
#include "intents/phrase_reader.h"
#include "train/hashed_text.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

constexpr size_t kMaxWays = 10000;  // that one line is spelled out to

// In [0, 1): whether something is held out depends on it alone, not on what else is in the file.
double number_of(const std::string& text) {
  return static_cast<double>(train::hashed_text(text, 0x686f6c64) >> 11) * 0x1p-53;
}

std::string stripped(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, end + 1 - begin);
}

std::vector<std::string> split_at(const std::string& text, char c) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(c, at), text.size());
    parts.push_back(stripped(text.substr(at, end - at)));
    at = end + 1;
  }
  return parts;
}

// The whole of a phrase as text, to hold alternatives out by.
void spell(const Phrase& phrase, std::string* out) {
  *out += phrase.text + phrase.slot + " ";
  for (const Phrase& part : phrase.parts) spell(part, out);
}

class Reader {
 public:
  Reader(const std::string& path, double held_out) : path_(path), held_out_(held_out) {}

  IntentFile whole(const std::string& text) {
    if (!is_utf8(text)) throw Refused(path_ + ": is no UTF-8, expected a file of intents");
    std::string pending;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      ++line_;
      std::string line = stripped(text.substr(at, end - at));
      at = end + 1;
      if (line.empty() || line[0] == '#') continue;
      // A list goes on where its line ends with a bar.
      pending += pending.empty() ? line : " " + line;
      if (pending.back() == '|') continue;
      take(pending);
      pending.clear();
    }
    if (!pending.empty()) refuse("a list's end", "an alternative behind '|'");
    check();
    return std::move(file_);
  }

 private:
  std::string where() const { return path_ + ": line " + std::to_string(line_); }
  [[noreturn]] void refuse(const std::string& found, const std::string& expected) const {
    throw Refused(where() + ": found " + found + ", expected " + expected);
  }

  void take(const std::string& line) {
    const size_t space = line.find_first_of(" \t");
    const std::string key = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : stripped(line.substr(space));
    if (key == "intent") return take_intent(rest);
    // 'open the door' is a sentence, too.
    const size_t colon = rest.find(':'), gap = rest.find_first_of(" \t");
    if (colon == std::string::npos || gap < colon) return take_sentences(line);
    if (key == "slot") return take_slot(rest);
    if (key == "list" || key == "open") return take_list(rest, key == "open");
    if (key == "heard") return take_heard(rest);
    if (key == "ways") return take_ways(rest);
    take_sentences(line);
  }

  // NAME of two sides of a colon.
  std::pair<std::string, std::string> named(const std::string& rest, const char* what) const {
    const size_t colon = rest.find(':');
    const std::string name = stripped(rest.substr(0, colon));
    if (colon == std::string::npos || name.empty() || name.find(' ') != std::string::npos) {
      refuse("'" + rest.substr(0, 40) + "'", std::string(what) + " NAME: ...");
    }
    return {name, stripped(rest.substr(colon + 1))};
  }

  void take_slot(const std::string& rest) {
    const auto [name, what] = named(rest, "slot");
    if (file_.find_slot(name)) refuse("slot '" + name + "' again", "each slot once");
    Slot slot;
    slot.name = name;
    const size_t dots = what.find("..");
    if (dots != std::string::npos) {
      const Phrase range = read_phrase("{x=" + what + "}", where()).parts[0].parts[0];
      slot.kind = Slot::Kind::kNumber;
      slot.low = range.low;
      slot.high = range.high;
    } else if (what != "text") {
      slot.kind = Slot::Kind::kWords;
      slot.words = split_at(what, '|');
      for (const std::string& word : slot.words) {
        if (word.empty()) refuse("an empty word", "text, a range as 0..100, or words between '|'");
      }
    }
    file_.slots.push_back(std::move(slot));
  }

  void take_list(const std::string& rest, bool is_open) {
    const auto [name, what] = named(rest, is_open ? "open" : "list");
    if (file_.lists.count(name)) refuse("list '" + name + "' again", "each list once");
    Phrase phrase = read_phrase(what, where());
    if (is_open) hold_out(&phrase);
    list_lines_[name] = line_;
    file_.lists.emplace(name, std::move(phrase));
  }

  // Of the alternatives some, and never all.
  void hold_out(Phrase* list) const {
    size_t n = 0;
    for (Phrase& part : list->parts) {
      std::string spelled;
      spell(part, &spelled);
      part.is_held_out = n + 1 < list->parts.size() && number_of(spelled) < held_out_;
      n += part.is_held_out;
    }
  }

  void take_heard(const std::string& rest) {
    const auto [word, others] = named(rest, "heard");
    for (const std::string& other : split_at(others, '|')) file_.heard_as[word].push_back(other);
  }

  void take_intent(const std::string& rest) {
    Intent intent;
    const size_t star = rest.find(' ');
    intent.name = rest.substr(0, star);
    if (intent.name.empty()) refuse("no name", "intent NAME");
    if (star != std::string::npos) {
      const std::string weight = stripped(rest.substr(star));
      intent.weight = 0;
      for (const char c : weight) {
        if (c < '0' || c > '9' || intent.weight > 1000) refuse("'" + weight + "'", "a weight");
        intent.weight = intent.weight * 10 + static_cast<uint32_t>(c - '0');
      }
    }
    for (const Intent& other : file_.intents) {
      if (other.name == intent.name) refuse("intent '" + intent.name + "' again", "each once");
    }
    file_.intents.push_back(std::move(intent));
  }

  void take_ways(const std::string& rest) {
    const auto [name, what] = named(rest, "ways");
    if (ways_.count(name)) refuse("ways '" + name + "' again", "each of them once");
    std::vector<std::string> all;
    size_t begin = 0;
    for (size_t at = 0, depth = 0; at <= what.size(); ++at) {
      const char c = at < what.size() ? what[at] : '|';
      if (c == '(' || c == '[') ++depth;
      if (c == ')' || c == ']') --depth;
      if (c != '|' || (depth > 0 && at < what.size())) continue;
      for (std::string& way : spelled_out(stripped(what.substr(begin, at - begin)))) {
        all.push_back(std::move(way));
      }
      begin = at + 1;
    }
    ways_.emplace(name, std::move(all));
  }

  // With each of the ways in the place of @NAME.
  std::vector<std::string> spelled_out(const std::string& line) const {
    const size_t begin = line.find('@');
    if (begin == std::string::npos) return {line};
    size_t end = begin + 1;
    while (end < line.size() && (line[end] == '-' || (line[end] >= 'a' && line[end] <= 'z'))) ++end;
    const auto ways = ways_.find(line.substr(begin + 1, end - begin - 1));
    if (ways == ways_.end()) {
      refuse("'" + line.substr(begin, end - begin) + "'", "'@' and ways that stand before");
    }
    std::vector<std::string> all;
    const std::vector<std::string> rests = spelled_out(line.substr(end));
    if (ways->second.size() * rests.size() > kMaxWays) {
      refuse(format("%zu sentences in one line", ways->second.size() * rests.size()),
             format("%zu at most", kMaxWays));
    }
    for (const std::string& way : ways->second) {
      for (const std::string& rest : rests) {
        all.push_back(line.substr(0, begin).append(way).append(rest));
      }
    }
    return all;
  }

  void take_sentences(const std::string& line) {
    if (file_.intents.empty()) {
      refuse("'" + line.substr(0, 40) + "'", "slot, list, open, ways, heard or intent");
    }
    for (const std::string& sentence : spelled_out(line)) take_template(sentence);
  }

  void take_template(const std::string& line) {
    Template t;
    t.line = line_;
    const size_t arrow = line.find("->");
    t.phrase = read_phrase(stripped(line.substr(0, arrow)), where());
    if (arrow != std::string::npos) {
      for (const std::string& constant : split_at(line.substr(arrow + 2), ',')) {
        const size_t equal = constant.find('=');
        if (equal == std::string::npos) refuse("'" + constant + "'", "SLOT=VALUE behind '->'");
        t.constants.emplace_back(stripped(constant.substr(0, equal)),
                                 stripped(constant.substr(equal + 1)));
      }
    }
    std::vector<Template>& all = file_.intents.back().templates;
    // The first ones stay: an intent of one sentence has something to learn from.
    t.is_held_out = all.size() >= 2 && number_of(line) < held_out_;
    all.push_back(std::move(t));
  }

  void check() {
    if (file_.intents.empty()) throw Refused(path_ + ": has no 'intent', expected one at least");
    for (const auto& [name, phrase] : file_.lists) {
      line_ = list_lines_[name];
      std::set<std::string> within = {name};
      check_phrase(phrase, &within);
    }
    for (const Intent& intent : file_.intents) {
      if (intent.templates.empty()) {
        throw Refused(path_ + ": intent '" + intent.name + "' has no sentence, expected one");
      }
      for (const Template& t : intent.templates) {
        line_ = t.line;
        std::set<std::string> within;
        check_phrase(t.phrase, &within);
        for (const auto& [slot, value] : t.constants) check_constant(slot, value);
      }
    }
  }

  void check_constant(const std::string& name, const std::string& value) const {
    const Slot* slot = file_.find_slot(name);
    if (!slot) refuse("slot '" + name + "'", "one that a 'slot' line names");
    check_value(*slot, value);
  }

  void check_value(const Slot& slot, const std::string& value) const {
    if (slot.kind == Slot::Kind::kWords &&
        std::find(slot.words.begin(), slot.words.end(), value) == slot.words.end()) {
      refuse("'" + value + "' for slot '" + slot.name + "'", "one of the slot's words");
    }
    if (slot.kind != Slot::Kind::kNumber) return;
    const bool is_number = !value.empty() && value.size() < 8 &&
                           value.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number || std::stoul(value) < slot.low || std::stoul(value) > slot.high) {
      refuse("'" + value + "' for slot '" + slot.name + "'",
             format("a number from %u to %u", slot.low, slot.high));
    }
  }

  // `within`: the lists that this stands in.
  void check_phrase(const Phrase& phrase, std::set<std::string>* within) const {
    const Slot* slot = nullptr;
    if (!phrase.slot.empty()) {
      slot = file_.find_slot(phrase.slot);
      if (!slot) refuse("slot '" + phrase.slot + "'", "one that a 'slot' line names");
    }
    if (phrase.kind == Phrase::Kind::kNumber) {
      if (slot->kind != Slot::Kind::kNumber || phrase.low < slot->low || phrase.high > slot->high) {
        refuse(format("a range of %u to %u for slot '%s'", phrase.low, phrase.high,
                      slot->name.c_str()),
               "a slot with such numbers");
      }
    }
    if (phrase.kind == Phrase::Kind::kReference) {
      const auto list = file_.lists.find(phrase.text);
      if (list == file_.lists.end()) refuse("list '" + phrase.text + "'", "one that the file has");
      if (!within->insert(phrase.text).second) {
        refuse("list '" + phrase.text + "' within itself", "lists that end");
      }
      if (slot && slot->kind != Slot::Kind::kText) {
        for (const Phrase& part : list->second.parts) check_value(*slot, said_value(part));
      }
      check_phrase(list->second, within);
      within->erase(phrase.text);
    }
    for (const Phrase& part : phrase.parts) check_phrase(part, within);
  }

  // What an alternative means: its value, or the words that it consists of.
  static std::string said_value(const Phrase& part) {
    if (!part.value.empty()) return part.value;
    std::string said;
    for (const Phrase& word : part.parts) said += (said.empty() ? "" : " ") + word.text;
    return said;
  }

  const std::string& path_;
  double held_out_;
  uint32_t line_ = 0;
  std::map<std::string, uint32_t> list_lines_;
  std::map<std::string, std::vector<std::string>> ways_;
  IntentFile file_;
};

}  // namespace

const Slot* IntentFile::find_slot(const std::string& name) const {
  const auto found =
      std::find_if(slots.begin(), slots.end(), [&](const Slot& s) { return s.name == name; });
  return found == slots.end() ? nullptr : &*found;
}

IntentFile read_intents(const std::string& text, const std::string& path, double held_out) {
  return Reader(path, held_out).whole(text);
}

}  // namespace thimble::tools
