// SPDX-License-Identifier: MIT
#include "intents/sentences.h"

#include <algorithm>
#include <cstddef>

#include "intents/slips.h"
#include "json_string.h"

namespace thimble::tools {
namespace {

using train::RandomStream;

constexpr double kInWords = 0.35;  // of the numbers
constexpr double kBefores = 0.35, kAfters = 0.25, kFillers = 0.08;
constexpr double kUnfinished = 0.12, kOthers = 0.6;  // of the sentences that are no command

const char* const kSmall[] = {"zero",    "one",     "two",       "three",    "four",
                              "five",    "six",     "seven",     "eight",    "nine",
                              "ten",     "eleven",  "twelve",    "thirteen", "fourteen",
                              "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
const char* const kTens[] = {"",      "",      "twenty",  "thirty", "forty",
                             "fifty", "sixty", "seventy", "eighty", "ninety"};

// A word that nobody has heard, such as names are.
std::string made_up(RandomStream* random) {
  const char* const starts[] = {"b", "br", "d", "f",  "g", "k", "kl", "l", "m", "n", "p", "r",
                                "s", "st", "t", "tr", "v", "w", "z",  "h", "j", "c", ""};
  const char* const vowels[] = {"a", "e", "i", "o", "u", "ai", "ee", "oo", "y", "ou"};
  const char* const ends[] = {"", "", "", "n", "r", "l", "s", "x", "ck", "nd", "t", "m"};
  const auto of = [&](const auto& all) {
    return std::string(all[random->below(static_cast<uint32_t>(std::size(all)))]);
  };
  std::string word;
  for (uint32_t n = 1 + random->below(3); n > 0; --n) word += of(starts) + of(vowels) + of(ends);
  return word.size() < 3 ? word + "ko" : word;
}

// One phrase after another, into a sentence.
class Speaker {
 public:
  Speaker(const IntentFile& file, bool wants_held_out, bool may_held_out, RandomStream* random,
          SaidSentence* out)
      : file_(file), wants_(wants_held_out), may_(may_held_out), random_(random), out_(out) {}

  // slot: whose text is said; gives_value: and an alternative's value is its value.
  void say(const Phrase& phrase, int slot = -1, bool gives_value = false) {
    if (!phrase.slot.empty()) slot = begin_slot(phrase.slot);
    switch (phrase.kind) {
      case Phrase::Kind::kWord:
        if (phrase.is_glued && !out_->words.empty()) {
          out_->words.back().text += phrase.text;
        } else {
          out_->words.push_back({phrase.text, slot});
        }
        break;
      case Phrase::Kind::kSequence:
        for (const Phrase& part : phrase.parts) say(part, slot);
        break;
      case Phrase::Kind::kChoice: {
        const Phrase& part = chosen(phrase);
        if (!part.value.empty() && gives_value)
          out_->values[static_cast<size_t>(slot)] = part.value;
        say(part, slot);
        break;
      }
      case Phrase::Kind::kReference:
        say(file_.lists.at(phrase.text), slot, !phrase.slot.empty());
        break;
      case Phrase::Kind::kMadeUp:
        out_->words.push_back({made_up(random_), slot});
        break;
      case Phrase::Kind::kNumber:
        say_number(phrase, slot);
        break;
    }
  }

 private:
  int begin_slot(const std::string& name) {
    const Slot* slot = file_.find_slot(name);
    const auto index = static_cast<size_t>(slot - file_.slots.data());
    out_->is_set[index] = true;
    return static_cast<int>(index);
  }

  const Phrase& chosen(const Phrase& choice) {
    // Half the time one of those that training has not seen, where there are some.
    const bool prefers = wants_ && random_->below(2) == 0;
    uint32_t all = 0, held_out = 0;
    for (size_t i = 0; i < choice.parts.size(); ++i) {
      if (!choice.parts[i].is_held_out || may_) all += choice.weights[i];
      if (choice.parts[i].is_held_out) held_out += choice.weights[i];
    }
    const bool only = prefers && held_out > 0;
    uint32_t left = random_->below(only ? held_out : all);
    for (size_t i = 0; i < choice.parts.size(); ++i) {
      const bool counts = only ? choice.parts[i].is_held_out : !choice.parts[i].is_held_out || may_;
      if (!counts) continue;
      if (left < choice.weights[i]) return choice.parts[i];
      left -= choice.weights[i];
    }
    return choice.parts.back();
  }

  void say_number(const Phrase& phrase, int slot) {
    const uint32_t steps = (phrase.high - phrase.low) / phrase.step + 1;
    const uint32_t n = phrase.low + phrase.step * random_->below(steps);
    out_->values[static_cast<size_t>(slot)] = std::to_string(n);
    if (random_->unit() >= kInWords) {
      out_->words.push_back({std::to_string(n), slot});
      return;
    }
    const std::string spoken = spoken_number(n, random_);
    for (size_t at = 0; at < spoken.size();) {
      const size_t end = std::min(spoken.find(' ', at), spoken.size());
      out_->words.push_back({spoken.substr(at, end - at), slot});
      at = end + 1;
    }
  }

  const IntentFile& file_;
  bool wants_, may_;
  RandomStream* random_;
  SaidSentence* out_;
};

bool ends_with_digit(const std::string& text) {
  return !text.empty() && text.back() >= '0' && text.back() <= '9';
}

// "50 %" is written 50%, and said "fifty percent"; marks follow their word.
std::string join(const std::vector<SaidWord>& words) {
  std::string text;
  for (const SaidWord& word : words) {
    const bool is_mark = word.text.size() == 1 && std::string(".?!,").find(word.text[0]) < 4;
    if (word.text == "%" && !ends_with_digit(text)) {
      text += " percent";
    } else {
      text += (text.empty() || is_mark || word.text == "%" ? "" : " ") + word.text;
    }
  }
  return text;
}

}  // namespace

std::string spoken_number(uint32_t n, RandomStream* random) {
  if (n >= 1000) {
    const std::string rest = n % 1000 ? " " + spoken_number(n % 1000, random) : "";
    return spoken_number(n / 1000, random) + " thousand" + rest;
  }
  if (n >= 100) {
    const std::string hundreds = n / 100 == 1 && random->below(2) ? "a" : kSmall[n / 100];
    const char* const link = random->below(2) ? " and " : " ";
    return hundreds + " hundred" + (n % 100 ? link + spoken_number(n % 100, random) : "");
  }
  if (n < 20) return kSmall[n];
  const char* const link = random->below(5) == 0 ? "-" : " ";
  return std::string(kTens[n / 10]) + (n % 10 ? link + std::string(kSmall[n % 10]) : "");
}

Sentences::Sentences(const IntentFile& file, std::vector<std::string> others,
                     const SentenceOptions& options)
    : file_(file), others_(std::move(others)), options_(options) {
  for (const Intent& intent : file.intents) {
    if (intent.name == kNoIntent) {
      none_ = &intent;
      continue;
    }
    const bool has_some =
        options.is_training || std::any_of(intent.templates.begin(), intent.templates.end(),
                                           [](const Template& t) { return t.is_held_out; });
    if (has_some) commands_.insert(commands_.end(), intent.weight, &intent);
  }
}

const Template& Sentences::choose(const Intent& intent, RandomStream* random) const {
  std::vector<const Template*> some;
  for (const Template& t : intent.templates) {
    if (t.is_held_out != options_.is_training) some.push_back(&t);
  }
  if (some.empty())
    return intent.templates[random->below(static_cast<uint32_t>(intent.templates.size()))];
  return *some[random->below(static_cast<uint32_t>(some.size()))];
}

SaidSentence Sentences::said(const Intent& intent, RandomStream* random) const {
  SaidSentence s;
  s.intent = &intent;
  s.values.resize(file_.slots.size());
  s.is_set.resize(file_.slots.size());
  const Template& t = choose(intent, random);
  for (const auto& [name, value] : t.constants) {
    const auto index = static_cast<size_t>(file_.find_slot(name) - file_.slots.data());
    s.values[index] = value;
    s.is_set[index] = true;
  }
  const bool wants_held_out = !options_.is_training && random->below(2) == 0;
  Speaker(file_, wants_held_out, !options_.is_training, random, &s).say(t.phrase);
  return s;
}

SaidSentence Sentences::command(RandomStream* random) const {
  return said(*commands_[random->below(static_cast<uint32_t>(commands_.size()))], random);
}

std::string Sentences::answer(const SaidSentence& s) const {
  std::string text = "{\"intent\":" + json_string(s.intent->name);
  for (size_t i = 0; i < file_.slots.size(); ++i) {
    if (!s.is_set[i]) continue;
    std::string value = s.values[i];
    if (value.empty()) {
      std::vector<SaidWord> words;
      for (const SaidWord& word : s.words) {
        if (word.slot == static_cast<int>(i)) words.push_back(word);
      }
      value = join(words);
    }
    const bool is_number = file_.slots[i].kind == Slot::Kind::kNumber;
    text += "," + json_string(file_.slots[i].name) + ":" + (is_number ? value : json_string(value));
  }
  return text + "}";
}

// Politeness in front and behind, and what is said while thinking.
void Sentences::decorate(std::vector<SaidWord>* words, RandomStream* random) const {
  const auto phrase_of = [&](const char* name) {
    SaidSentence s;
    s.values.resize(file_.slots.size());
    s.is_set.resize(file_.slots.size());
    const auto list = file_.lists.find(name);
    if (list != file_.lists.end()) {
      Speaker(file_, false, true, random, &s).say(list->second);
    }
    return s.words;
  };
  if (random->unit() < kBefores) {
    const std::vector<SaidWord> before = phrase_of(kBefore);
    words->insert(words->begin(), before.begin(), before.end());
  }
  if (random->unit() < kAfters) {
    const std::vector<SaidWord> after = phrase_of(kAfter);
    words->insert(words->end(), after.begin(), after.end());
  }
  if (random->unit() < kFillers) {
    // Not within a slot's text.
    const size_t at = random->below(static_cast<uint32_t>(words->size() + 1));
    const bool is_within = at > 0 && at < words->size() && (*words)[at].slot >= 0 &&
                           (*words)[at - 1].slot == (*words)[at].slot;
    const std::vector<SaidWord> filler = phrase_of(kFiller);
    if (!is_within) {
      words->insert(words->begin() + static_cast<ptrdiff_t>(at), filler.begin(), filler.end());
    }
  }
}

std::string Sentences::two_commands(RandomStream* random) const {
  SaidSentence one = command(random), two = command(random);
  std::vector<SaidWord> words = one.words;
  SaidSentence link;
  link.values.resize(file_.slots.size());
  link.is_set.resize(file_.slots.size());
  const auto list = file_.lists.find(kJoin);
  if (list == file_.lists.end()) return "";
  Speaker(file_, false, true, random, &link).say(list->second);
  words.insert(words.end(), link.words.begin(), link.words.end());
  const size_t n_one = one.words.size(), at = words.size();
  words.insert(words.end(), two.words.begin(), two.words.end());
  slip(file_, &words, random);
  // Their letters may be others now.
  one.words.assign(words.begin(), words.begin() + static_cast<ptrdiff_t>(n_one));
  two.words.assign(words.begin() + static_cast<ptrdiff_t>(at), words.end());
  return join(words) + "\t[" + answer(one) + "," + answer(two) + "]";
}

bool Sentences::breaks_off(const std::string& word) const {
  const auto list = file_.lists.find(kBreak);
  if (list == file_.lists.end()) return false;
  const std::vector<Phrase>& all = list->second.parts;
  return std::any_of(all.begin(), all.end(), [&](const Phrase& phrase) {
    return phrase.parts.size() == 1 && phrase.parts[0].text == word;
  });
}

std::string Sentences::no_command(RandomStream* random) const {
  const std::string no = std::string("\t{\"intent\":\"") + kNoIntent + "\"}";
  const double which = random->unit();
  if (which < kUnfinished && !commands_.empty()) {
    // A command that breaks off in front of what it is about.
    const SaidSentence whole = command(random);
    size_t n = 0;
    while (n < whole.words.size() && whole.words[n].slot < 0) ++n;
    if (n > 0 && n < whole.words.size() && breaks_off(whole.words[n - 1].text)) {
      std::vector<SaidWord> words(whole.words.begin(),
                                  whole.words.begin() + static_cast<ptrdiff_t>(n));
      slip(file_, &words, random);
      return join(words) + no;
    }
  }
  if ((which < kUnfinished + kOthers || !none_) && !others_.empty()) {
    return others_[random->below(static_cast<uint32_t>(others_.size()))] + no;
  }
  if (!none_) return "";
  SaidSentence s = said(*none_, random);
  decorate(&s.words, random);
  slip(file_, &s.words, random);
  return join(s.words) + no;
}

std::string Sentences::line(uint64_t seed, uint64_t number) const {
  RandomStream random(seed, number);
  const double which = random.unit();
  std::string text;
  if (which < options_.none) text = no_command(&random);
  if (which >= options_.none && which < options_.none + options_.pairs)
    text = two_commands(&random);
  if (!text.empty()) return text;
  SaidSentence s = command(&random);
  decorate(&s.words, &random);
  slip(file_, &s.words, &random);
  return join(s.words) + "\t" + answer(s);
}

}  // namespace thimble::tools
