// SPDX-License-Identifier: MIT
#include "intents/slips.h"

#include <utility>

namespace thimble::tools {
namespace {

constexpr double kHeardAs = 0.06, kTypingError = 0.07, kCapital = 0.15, kFullStop = 0.12;
constexpr size_t kTypedWrong = 4;  // letters at least

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_ascii_word(const std::string& word) {
  for (const char c : word) {
    if (!is_letter(c)) return false;
  }
  return true;
}

// Two letters change places, one is left out or comes twice; the first one stays.
void mistype(std::string* word, train::RandomStream* random) {
  const size_t at = 1 + random->below(static_cast<uint32_t>(word->size() - 2));
  switch (random->below(3)) {
    case 0:
      std::swap((*word)[at], (*word)[at + 1]);
      break;
    case 1:
      word->erase(at, 1);
      break;
    default:
      word->insert(at, 1, (*word)[at]);
  }
}

}  // namespace

void slip(const IntentFile& file, std::vector<SaidWord>* words, train::RandomStream* random) {
  if (words->empty()) return;
  if (random->unit() < kHeardAs) {
    for (SaidWord& word : *words) {
      const auto others = file.heard_as.find(word.text);
      if (word.slot >= 0 || others == file.heard_as.end() || random->below(2) == 0) continue;
      word.text = others->second[random->below(static_cast<uint32_t>(others->second.size()))];
      break;
    }
  }
  if (random->unit() < kTypingError) {
    SaidWord& word = (*words)[random->below(static_cast<uint32_t>(words->size()))];
    if (word.slot < 0 && word.text.size() >= kTypedWrong && is_ascii_word(word.text)) {
      mistype(&word.text, random);
    }
  }
  if (random->unit() < kCapital) {
    char& first = words->front().text[0];
    if (first >= 'a' && first <= 'z') first = static_cast<char>(first - 'a' + 'A');
  }
  if (random->unit() < kFullStop) {
    const char* const ends[] = {".", ".", "?", "!"};
    // A word of its own that is written without a space: join() knows.
    words->push_back({ends[random->below(4)], -1});
  }
}

}  // namespace thimble::tools
