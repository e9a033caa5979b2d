// SPDX-License-Identifier: MIT
#include "train/learn_vocabulary.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "characters.h"
#include "error.h"
#include "train/hashed_text.h"
#include "train/merge_learner.h"
#include "train/whole_words.h"
#include "train/word_counts.h"
#include "vocabulary.h"

namespace thimble::tools::train {
namespace {

constexpr const char* kControlTexts[] = {"<unk>", "<s>", "</s>"};
constexpr int32_t kBosId = 1, kEosId = 2;
constexpr char kEndOfText[] = "<|endoftext|>";
constexpr char kSpaceMark[] = "\xe2\x96\x81";  // U+2581
constexpr size_t kBytes = 256;

void add_token(Vocabulary* v, std::string text, TokenType type, float score) {
  v->texts.push_back(std::move(text));
  v->types.push_back(type);
  v->scores.push_back(score);
}

// A text that files of vocabularies mean something else by.
bool is_reserved(const std::string& text) {
  if (text == kEndOfText || named_byte(text) >= 0) return true;
  return std::find(std::begin(kControlTexts), std::end(kControlTexts), text) !=
         std::end(kControlTexts);
}

void check(const VocabularyOptions& o) {
  if (o.kind != kTokenizerScoredBpe && o.kind != kTokenizerByteBpe) {
    throw Refused("a vocabulary is learnt with scores or over bytes");
  }
  if (o.has_whole_words && o.kind != kTokenizerByteBpe) {
    throw Refused("whole words are learnt over bytes only, not with scores");
  }
  if (o.vocab_size < 1 || o.vocab_size > kMaxVocab) {
    throw Refused(format("size of the vocabulary: found %u tokens, expected 1 to %u", o.vocab_size,
                         kMaxVocab));
  }
  if (!(o.coverage > 0 && o.coverage <= 1)) {
    throw Refused(
        format("coverage of characters: found %g, expected more than 0, up to 1", o.coverage));
  }
  if (o.max_token_bytes < 1 || o.max_token_bytes > kMaxTokenBytes) {
    throw Refused(format("length of the longest token: found %u bytes, expected 1 to %u",
                         o.max_token_bytes, kMaxTokenBytes));
  }
}

// ---- Words --------------------------------------------------------------------------------------

// The share of records is the same whatever their order: the largest one whose words have room.
WordCounts count_words(const std::vector<std::string_view>& records, const VocabularyOptions& o,
                       VocabularyReport* report) {
  WordRules rules;
  rules.kind = o.kind;
  rules.splits_digits = o.splits_digits;
  rules.splits_punctuation = o.splits_punctuation;
  if (o.kind == kTokenizerByteBpe) {
    rules.pre_tokenizer = o.splits_digits ? kPreTokenizerSmolLm : kPreTokenizerGpt2;
  }
  for (uint32_t halvings = 0; halvings < 64; ++halvings) {
    WordCounts counts(rules, o.most_word_bytes);
    bool has_room = true;
    uint64_t n_records = 0;
    for (const std::string_view record : records) {
      if (halvings > 0 && hashed_text(record) >> (64 - halvings) != 0) continue;
      ++n_records;
      has_room = counts.add(record);
      if (!has_room) break;
    }
    if (!has_room) continue;
    report->halvings = halvings;
    report->n_records = n_records;
    report->text_bytes = counts.text_bytes();
    report->n_words = counts.words().size();
    if (counts.text_bytes() > 0) return counts;
    if (halvings == 0) throw Refused("there is no text to learn a vocabulary from");
    break;
  }
  throw Refused(
      format("a vocabulary is learnt from records whose different words have at most %zu "
             "bytes, and each of the records here has more",
             o.most_word_bytes));
}

// ---- Scored -------------------------------------------------------------------------------------

struct Character {
  std::string_view text;  // in a word
  uint64_t count;
};

size_t character_bytes(std::string_view word, size_t at) {
  return utf8_length(static_cast<uint8_t>(word[at]));  // words are valid
}

// The most frequent ones, up to the coverage.
std::vector<Character> characters_of(const WordCounts& counts, double coverage) {
  std::unordered_map<std::string_view, uint64_t> found;
  uint64_t n = 0, ascii[128] = {};
  const std::string_view ascii_texts = [] {
    static char texts[128];
    for (int i = 0; i < 128; ++i) texts[i] = static_cast<char>(i);
    return std::string_view(texts, sizeof texts);
  }();
  for (const auto& [word, count] : counts.words()) {
    for (size_t i = 0; i < word.size();) {
      const size_t bytes = character_bytes(word, i);
      if (bytes == 1) {
        ascii[static_cast<uint8_t>(word[i])] += count;
      } else {
        found[word.substr(i, bytes)] += count;
      }
      n += count;
      i += bytes;
    }
  }
  std::vector<Character> all;
  for (size_t i = 0; i < sizeof ascii / sizeof ascii[0]; ++i) {
    if (ascii[i] > 0) all.push_back({ascii_texts.substr(i, 1), ascii[i]});
  }
  for (const auto& [text, count] : found) all.push_back({text, count});
  std::sort(all.begin(), all.end(), [](const Character& a, const Character& b) {
    return a.count != b.count ? a.count > b.count : a.text < b.text;
  });
  std::vector<Character> covered;
  uint64_t sum = 0;
  for (const Character& c : all) {
    const bool is_covered = static_cast<double>(sum) >= coverage * static_cast<double>(n);
    sum += c.count;
    // Without a token of its own U+2581 would be taken for a space, and all begin with a space.
    if (!is_covered || c.text == kSpaceMark || c.text == " ") covered.push_back(c);
  }
  return covered;
}

// Words in characters, cut where one has no token; such ones become bytes. Gives how many bytes.
uint64_t add_scored_words(const WordCounts& counts, const std::vector<Character>& characters,
                          MergeLearner* learner) {
  std::unordered_map<std::string_view, uint32_t> ids;
  for (const Character& c : characters) {
    ids.emplace(c.text, static_cast<uint32_t>(ids.size()));
  }
  uint64_t n_bytes = counts.invalid_bytes();
  std::vector<uint32_t> symbols;
  for (const auto& [word, count] : counts.words()) {
    for (size_t i = 0; i < word.size();) {
      const size_t bytes = character_bytes(word, i);
      const auto id = ids.find(word.substr(i, bytes));
      if (id != ids.end()) {
        symbols.push_back(id->second);
      } else {
        learner->add_word(symbols.data(), symbols.size(), count);
        symbols.clear();
        n_bytes += bytes * count;
      }
      i += bytes;
    }
    learner->add_word(symbols.data(), symbols.size(), count);
    symbols.clear();
  }
  return n_bytes;
}

// ---- Both ---------------------------------------------------------------------------------------

[[noreturn]] void refuse_few_pairs(size_t n_found, size_t n_fixed, const VocabularyOptions& o) {
  throw Refused(format(
      "the text has too few different pairs for a vocabulary of %u tokens: found "
      "%zu that occur at least %llu times, which make one of %zu",
      o.vocab_size, n_found, static_cast<unsigned long long>(o.min_count), n_fixed + n_found));
}

// n_fixed: tokens beside those that are learnt.
void learn(MergeLearner* learner, size_t n_fixed, const VocabularyOptions& o,
           VocabularyReport* report) {
  const size_t wanted = o.vocab_size - n_fixed;
  report->n_merges = learner->learn(wanted, o.min_count, is_reserved);
  report->last_count = learner->last_count();
  if (report->n_merges < wanted && !o.may_be_smaller)
    refuse_few_pairs(report->n_merges, n_fixed, o);
}

Vocabulary learn_scored(const WordCounts& counts, const VocabularyOptions& o,
                        VocabularyReport* report) {
  const std::vector<Character> characters = characters_of(counts, o.coverage);
  const size_t n_fixed = std::size(kControlTexts) + kBytes + characters.size();
  if (n_fixed > o.vocab_size) {
    throw Refused(
        format("a vocabulary of %u tokens is too small: 3 control tokens, 256 bytes and "
               "%zu characters (%g %% of the text) make %zu",
               o.vocab_size, characters.size(), 100 * o.coverage, n_fixed));
  }
  report->n_characters = characters.size();
  std::vector<std::string> texts;
  texts.reserve(characters.size());
  for (const Character& c : characters) texts.emplace_back(c.text);
  MergeLearner learner(std::move(texts), o.max_token_bytes);
  report->n_tokens = add_scored_words(counts, characters, &learner);
  learn(&learner, n_fixed, o, report);
  report->n_tokens += learner.n_symbols();

  Vocabulary v;
  v.kind = kTokenizerScoredBpe;
  v.bos_id = kBosId;
  v.eos_id = kEosId;
  v.add_space_prefix = true;
  for (const char* text : kControlTexts) add_token(&v, text, kTokenControl, 0);
  for (size_t byte = 0; byte < kBytes; ++byte) {
    add_token(&v, std::string(1, static_cast<char>(byte)), kTokenByte, 0);
  }
  // As SentencePiece has them, characters last.
  float score = 0;
  const auto first_merged =
      learner.texts().begin() + static_cast<std::ptrdiff_t>(characters.size());
  for (auto text = first_merged; text != learner.texts().end(); ++text) {
    add_token(&v, *text, kTokenNormal, score--);
  }
  for (const Character& c : characters) {
    add_token(&v, std::string(c.text), kTokenNormal, score--);
  }
  return v;
}

// What is learnt of bytes: merges, and words if they are wanted.
WholeWords learn_bytes(const WordCounts& counts, size_t n_fixed, const VocabularyOptions& o,
                       VocabularyReport* report) {
  if (o.has_whole_words) {
    const size_t wanted = o.vocab_size - n_fixed;
    WholeWords learnt =
        learn_whole_words(counts, wanted, o.max_token_bytes, o.min_count, is_reserved);
    report->n_merges = learnt.merged.size();
    report->n_whole_words = learnt.words.size();
    report->last_count = learnt.last_count;
    report->n_tokens = learnt.n_tokens;
    const size_t n_found = learnt.merged.size() + learnt.words.size();
    if (n_found < wanted && !o.may_be_smaller) refuse_few_pairs(n_found, n_fixed, o);
    return learnt;
  }
  MergeLearner learner = MergeLearner::over_bytes(o.max_token_bytes);
  for (const auto& [word, count] : counts.words()) learner.add_bytes(word, count);
  learn(&learner, n_fixed, o, report);
  report->n_tokens = learner.n_symbols();
  WholeWords learnt;
  learnt.merged.assign(learner.texts().begin() + kBytes, learner.texts().end());
  return learnt;
}

Vocabulary learn_byte_level(const WordCounts& counts, const VocabularyOptions& o,
                            VocabularyReport* report) {
  const size_t n_fixed = kBytes + 1;
  if (n_fixed > o.vocab_size) {
    throw Refused(format("a vocabulary of %u tokens is too small: 256 bytes and %s make %zu",
                         o.vocab_size, kEndOfText, n_fixed));
  }
  const WholeWords learnt = learn_bytes(counts, n_fixed, o, report);
  Vocabulary v;
  v.kind = kTokenizerByteBpe;
  v.pre_tokenizer = o.splits_digits ? kPreTokenizerSmolLm : kPreTokenizerGpt2;
  v.ignore_merges = o.has_whole_words;
  for (size_t byte = 0; byte < kBytes; ++byte) {
    add_token(&v, std::string(1, static_cast<char>(byte)), kTokenNormal, -1);
  }
  float rank = static_cast<float>(learnt.merged.size());
  for (const std::string& text : learnt.merged) add_token(&v, text, kTokenNormal, --rank);
  for (const std::string& text : learnt.words) add_token(&v, text, kTokenNormal, -1);
  add_token(&v, kEndOfText, kTokenControl, -1);
  v.bos_id = v.eos_id = static_cast<int32_t>(v.texts.size()) - 1;
  v.splits.assign(v.texts.size(), 0);  // any pair that gives a token merges
  return v;
}

}  // namespace

Vocabulary learn_vocabulary(const std::vector<std::string_view>& records,
                            const VocabularyOptions& options, VocabularyReport* report) {
  check(options);
  VocabularyReport unread;
  if (!report) report = &unread;
  *report = {};
  const WordCounts counts = count_words(records, options, report);
  Vocabulary v = options.kind == kTokenizerByteBpe ? learn_byte_level(counts, options, report)
                                                   : learn_scored(counts, options, report);
  v.n_tokens = static_cast<uint32_t>(v.texts.size());
  return v;
}

}  // namespace thimble::tools::train
