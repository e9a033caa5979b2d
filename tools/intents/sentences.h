// SPDX-License-Identifier: MIT
// Sentences drawn from a file of intents, as people say them, with the answers to them.
#ifndef THIMBLE_TOOLS_INTENTS_SENTENCES_H
#define THIMBLE_TOOLS_INTENTS_SENTENCES_H

#include <string>
#include <vector>

#include "intents/phrases.h"
#include "train/random_stream.h"

namespace thimble::tools {

// A word that is said; `slot` is the index of the slot whose text it belongs to, -1: of none.
struct SaidWord {
  std::string text;
  int slot;
};

struct SaidSentence {
  std::vector<SaidWord> words;
  std::vector<std::string> values;  // by slot, where something else is meant than is said
  std::vector<bool> is_set;         // by slot
  const Intent* intent;
};

struct SentenceOptions {
  // Training sees neither held-out templates nor held-out words; without it every sentence has one
  // of those templates, and half of them some of those words.
  bool is_training = true;
  double none = 0.2, pairs = 0.05;  // shares: no command, two commands in a sentence
};

class Sentences {
 public:
  // `others`: sentences that are no command, beside those of the file's intent 'none'.
  Sentences(const IntentFile& file, std::vector<std::string> others,
            const SentenceOptions& options);

  // SENTENCE, a tab, ANSWER: the same for the same seed and number.
  std::string line(uint64_t seed, uint64_t number) const;

 private:
  const Template& choose(const Intent& intent, train::RandomStream* random) const;
  SaidSentence command(train::RandomStream* random) const;
  SaidSentence said(const Intent& intent, train::RandomStream* random) const;
  std::string answer(const SaidSentence& sentence) const;
  std::string two_commands(train::RandomStream* random) const;
  bool breaks_off(const std::string& word) const;
  std::string no_command(train::RandomStream* random) const;
  void decorate(std::vector<SaidWord>* words, train::RandomStream* random) const;

  const IntentFile& file_;
  std::vector<std::string> others_;
  SentenceOptions options_;
  std::vector<const Intent*> commands_;  // as often as their weights say
  const Intent* none_ = nullptr;
};

// In words, as people say them: "twenty five".
std::string spoken_number(uint32_t n, train::RandomStream* random);

}  // namespace thimble::tools

#endif
