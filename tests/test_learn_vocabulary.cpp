// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "characters.h"
#include "json.h"
#include "pretokenizer.h"
#include "random.h"
#include "records.h"
#include "test_folder.h"
#include "tokenizer_case.h"
#include "train/learn_vocabulary.h"

using namespace thimble;
using test::refusal_when;
using test::TokenizerCase;
using tools::Vocabulary;
using tools::train::learn_vocabulary;
using tools::train::VocabularyOptions;
using tools::train::VocabularyReport;
using Symbols = std::vector<std::string>;

namespace {

constexpr size_t kControlAndBytes = 3 + 256;

Vocabulary learn(const std::vector<std::string>& records, const VocabularyOptions& options,
                 VocabularyReport* report = nullptr) {
  return learn_vocabulary({records.begin(), records.end()}, options, report);
}

VocabularyOptions options_of(TokenizerType kind, uint32_t vocab_size) {
  VocabularyOptions options;
  options.kind = kind;
  options.vocab_size = vocab_size;
  return options;
}

// ---- By the definition --------------------------------------------------------------------------

Symbols characters_of(const std::string& text) {
  Symbols symbols;
  for (size_t i = 0; i < text.size();) {
    const uint32_t n =
        utf8_valid_character(reinterpret_cast<const uint8_t*>(text.data()) + i, text.size() - i);
    symbols.push_back(text.substr(i, std::max(n, 1u)));
    i += std::max(n, 1u);
  }
  return symbols;
}

Symbols words_of(const std::string& text) {
  Symbols words;
  for (size_t i = 0; i < text.size();) {
    const uint8_t* rest = reinterpret_cast<const uint8_t*>(text.data()) + i;
    words.push_back(text.substr(i, first_word(kPreTokenizerSmolLm, rest, text.size() - i)));
    i += words.back().size();
  }
  return words;
}

// Texts that tokens of scored BPE may have: spaces, then letters, or then what is none. A digit
// stands alone, as does what is no UTF-8. For the characters of the tests below.
bool may_be_scored(const std::string& text) {
  size_t letters = 0, others = 0;
  for (const std::string& c : characters_of(text)) {
    if (c == " ") {
      if (letters + others > 0) return false;
    } else if ((c[0] >= '0' && c[0] <= '9') || c == "\xff") {
      return c == text;
    } else if ((c[0] >= 'a' && c[0] <= 'z') || c == "é") {
      ++letters;
    } else {
      ++others;
    }
  }
  return letters == 0 || others == 0;
}

// The token that was learnt first, at its first place, until none is left.
void merge_naively(Symbols* symbols, const Symbols& learnt) {
  for (;;) {
    size_t best = learnt.size(), at = 0;
    for (size_t i = 0; i + 1 < symbols->size(); ++i) {
      const auto found = std::find(learnt.begin(), learnt.end(), (*symbols)[i] + (*symbols)[i + 1]);
      const size_t rank = static_cast<size_t>(found - learnt.begin());
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (best == learnt.size()) return;
    (*symbols)[at] += (*symbols)[at + 1];
    symbols->erase(symbols->begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

Symbols learn_naively(std::vector<Symbols> words, size_t n, bool (*may_be)(const std::string&)) {
  Symbols learnt;
  while (learnt.size() < n) {
    std::map<std::string, size_t> counts;
    for (const Symbols& word : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        const std::string text = word[i] + word[i + 1];
        if (may_be(text)) ++counts[text];
      }
    }
    const auto best =
        std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
          // Texts are in the order of bytes, and the first of equal ones stays.
          return a.second < b.second;
        });
    if (best == counts.end() || best->second < 2) break;
    learnt.push_back(best->first);
    for (Symbols& word : words) merge_naively(&word, learnt);
  }
  return learnt;
}

// ---- Texts --------------------------------------------------------------------------------------

std::string random_text(Random* random, size_t n) {
  static const char* const kPieces[] = {"a", "b",  "c", "a", "b",    " ",        " ",  "  ", ".",
                                        "!", "\n", "1", "2", "\xff", "\xc3\xa9", "ab", " ab"};
  std::string text;
  while (text.size() < n) text += kPieces[random->below(std::size(kPieces))];
  return text;
}

Symbols learnt_texts(const Vocabulary& v, size_t n_merges) {
  const size_t first = v.kind == kTokenizerByteBpe ? 256 : kControlAndBytes;
  const auto begin = v.texts.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(n_merges)};
}

std::string joined(const Vocabulary& v, const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += v.texts[static_cast<size_t>(id)];
  return text;
}

}  // namespace

TEST_CASE("learn_vocabulary: scored, the texts that the definition gives") {
  Random random(3);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::string> records;
    std::vector<Symbols> words;
    for (size_t i = 0; i < 12; ++i) {
      records.push_back(random_text(&random, 1 + random.below(60)));
      words.push_back(characters_of(" " + records.back()));
    }
    VocabularyOptions options = options_of(kTokenizerScoredBpe, 0);
    options.coverage = 1;
    std::map<std::string, size_t> characters;
    for (const Symbols& word : words) {
      for (const std::string& c : word) characters[c] += c != "\xff";
    }
    characters.erase("\xff");
    const size_t n = 1 + random.below(25);
    const Symbols expected = learn_naively(words, n, may_be_scored);
    options.vocab_size =
        static_cast<uint32_t>(kControlAndBytes + characters.size() + expected.size());
    VocabularyReport report;
    const Vocabulary v = learn(records, options, &report);
    REQUIRE(v.texts.size() == options.vocab_size);
    REQUIRE(report.n_merges == expected.size());
    REQUIRE(learnt_texts(v, expected.size()) == expected);
    // The engine cuts the text as the learner did.
    const TokenizerCase tokenizer(v);
    size_t n_tokens = 0;
    for (const std::string& record : records) {
      const std::vector<int32_t> ids = tokenizer.encode(record);
      CHECK(joined(v, ids) == " " + record);
      n_tokens += ids.size();
    }
    CHECK(n_tokens == report.n_tokens);
  }
}

TEST_CASE("learn_vocabulary: byte-level, the texts that the definition gives") {
  Random random(4);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::string> records;
    std::vector<Symbols> words;
    for (size_t i = 0; i < 12; ++i) {
      records.push_back(random_text(&random, 1 + random.below(60)));
      for (std::string word : words_of(records.back())) {
        for (size_t at; (at = word.find('\xff')) != std::string::npos;) {
          word.replace(at, 1, "\xef\xbf\xbd");
        }
        words.emplace_back();
        for (const char c : word) words.back().emplace_back(1, c);
      }
    }
    const auto any = [](const std::string&) { return true; };
    const Symbols expected = learn_naively(words, 1 + random.below(25), any);
    const VocabularyOptions options =
        options_of(kTokenizerByteBpe, static_cast<uint32_t>(257 + expected.size()));
    VocabularyReport report;
    const Vocabulary v = learn(records, options, &report);
    REQUIRE(v.texts.size() == options.vocab_size);
    REQUIRE(learnt_texts(v, expected.size()) == expected);
    CHECK(v.texts.back() == "<|endoftext|>");
    CHECK(v.bos_id == static_cast<int32_t>(options.vocab_size) - 1);
    CHECK(v.pre_tokenizer == kPreTokenizerSmolLm);
    const TokenizerCase tokenizer(v);
    size_t n_tokens = 0;
    for (const std::string& record : records) n_tokens += tokenizer.encode(record).size();
    CHECK(n_tokens == report.n_tokens);
  }
}

TEST_CASE("learn_vocabulary: the order of records does not matter") {
  Random random(5);
  std::vector<std::string> records;
  for (size_t i = 0; i < 200; ++i) records.push_back(random_text(&random, 1 + random.below(300)));
  for (const TokenizerType kind : {kTokenizerScoredBpe, kTokenizerByteBpe}) {
    // With room for all words, and with room for those of a part of the records.
    for (const size_t most_word_bytes : {size_t{1} << 20, size_t{2000}}) {
      VocabularyOptions options = options_of(kind, 340);
      options.most_word_bytes = most_word_bytes;
      VocabularyReport report;
      const Vocabulary first = learn(records, options, &report);
      CHECK((report.halvings > 0) == (most_word_bytes == 2000));
      CHECK((report.n_records == records.size()) == (most_word_bytes > 2000));
      for (int round = 0; round < 5; ++round) {
        for (size_t i = records.size(); i > 1; --i) {
          std::swap(records[i - 1], records[random.below(static_cast<uint32_t>(i))]);
        }
        const Vocabulary again = learn(records, options);
        REQUIRE(again.texts == first.texts);
        REQUIRE(again.scores == first.scores);
      }
    }
  }
}

TEST_CASE("learn_vocabulary: a scored vocabulary is SentencePiece's kind") {
  const Vocabulary v =
      learn({"the cat, the hat", "the 12 cats"}, options_of(kTokenizerScoredBpe, 275));
  CHECK(v.texts.size() == 275);
  CHECK(v.n_tokens == 275);
  CHECK(v.bos_id == 1);
  CHECK(v.eos_id == 2);
  CHECK(v.add_space_prefix);
  CHECK(v.texts[0] == "<unk>");
  CHECK(v.types[2] == kTokenControl);
  CHECK(v.types[3] == kTokenByte);
  CHECK(v.texts[3] == std::string(1, '\0'));
  CHECK(v.texts[258] == "\xff");
  CHECK(v.texts[259] == " t");  // as often as "at" and "he", and first in the order of bytes
  for (size_t id = 259; id < v.texts.size(); ++id) {
    CHECK(v.scores[id] == 259 - static_cast<float>(id));
    CHECK(v.types[id] == kTokenNormal);
    CHECK((v.texts[id].size() == 1) == (id >= 265));
    if (v.texts[id].size() > 1) CHECK(v.texts[id].find_first_of(",12") == std::string::npos);
  }
}

TEST_CASE("learn_vocabulary: rare characters become bytes, U+2581 never a space") {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += i % 2 ? "ab " : "ba ";
  text += "\xe2\x96\x81 \xc3\xa9";
  const VocabularyOptions options = options_of(kTokenizerScoredBpe, 259 + 4 + 3);
  VocabularyReport report;
  const Vocabulary v = learn({text}, options, &report);
  CHECK(report.n_characters == 4);
  const TokenizerCase tokenizer(v);
  const std::vector<int32_t> ids = tokenizer.encode(text);
  CHECK(tokenizer.decode(ids) == text);
  CHECK(v.types[static_cast<size_t>(ids.back())] == kTokenByte);
  CHECK(ids.size() == report.n_tokens);
}

TEST_CASE("learn_vocabulary: punctuation may join words, digits numbers") {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "go.\n 19 19 ";
  for (const TokenizerType kind : {kTokenizerScoredBpe, kTokenizerByteBpe}) {
    VocabularyOptions options = options_of(kind, kind == kTokenizerByteBpe ? 260 : 272);
    options.splits_digits = options.splits_punctuation = false;
    const Vocabulary v = learn({text}, options);
    const auto has = [&](const char* part) {
      return std::any_of(v.texts.begin(), v.texts.end(), [&](const std::string& token) {
        return token.find(part) != std::string::npos;
      });
    };
    CHECK(has("19"));
    CHECK(has("go.") == (kind == kTokenizerScoredBpe));
    CHECK(TokenizerCase(v).decode(TokenizerCase(v).encode(text)) == text);
  }
}

TEST_CASE("learn_vocabulary: words that are tokens take no steps on the way") {
  Random random(6);
  std::vector<std::string> records;
  Symbols words;
  for (int i = 0; i < 60; ++i) {
    words.emplace_back(" ");
    for (size_t n = 2 + random.below(7); n > 0; --n) {
      words.back() += static_cast<char>('a' + random.below(8));
    }
  }
  for (int i = 0; i < 100; ++i) {
    records.emplace_back();
    for (int k = 0; k < 30; ++k) {
      const uint32_t most = 1 + random.below(60);  // some are rare
      records.back() += words[random.below(most)] + (random.below(8) > 0 ? "" : ", \xc3\xa9");
    }
  }
  VocabularyOptions options = options_of(kTokenizerByteBpe, 300);
  VocabularyReport merges_only, report;
  learn(records, options, &merges_only);
  options.has_whole_words = true;
  const Vocabulary v = learn(records, options, &report);
  CHECK(v.texts.size() == 300);
  CHECK(v.ignore_merges);
  CHECK(report.n_whole_words > 0);
  CHECK(report.n_merges + report.n_whole_words == 43);
  CHECK(report.n_tokens < merges_only.n_tokens);
  CHECK(std::set<std::string>(v.texts.begin(), v.texts.end()).size() == 300);
  const TokenizerCase tokenizer(v);
  size_t n_tokens = 0;
  for (const std::string& record : records) {
    const std::vector<int32_t> ids = tokenizer.encode(record);
    CHECK(tokenizer.decode(ids) == record);
    n_tokens += ids.size();
  }
  CHECK(n_tokens == report.n_tokens);
  std::reverse(records.begin(), records.end());
  CHECK(learn(records, options).texts == v.texts);
  CHECK(refusal_when([&] {
          options.vocab_size = 1024;
          learn({"ab ab"}, options);
        }) ==
        "the text has too few different pairs for a vocabulary of 1024 tokens: found 1 that occur "
        "at least 2 times, which make one of 258");
}

TEST_CASE("learn_vocabulary: odd texts") {
  const std::string nul("\0\0a\0\0 \0\0a\0\0", 11);
  const std::string invalid = "ab\xff\xc3 ab\xff\xc3\xe2\x82 ab";
  const std::string marks = "<s> <s> <0x41> <0x41> <|endoftext|> <|endoftext|> <unk> <unk>";
  for (const TokenizerType kind : {kTokenizerScoredBpe, kTokenizerByteBpe}) {
    const uint32_t base = kind == kTokenizerScoredBpe ? 259 : 257;
    VocabularyReport report;
    Vocabulary v = learn({nul}, options_of(kind, base + (base == 259 ? 3 : 0) + 1), &report);
    CHECK(std::count(v.texts.begin(), v.texts.end(), std::string(2, '\0')) == 1);
    CHECK(TokenizerCase(v).decode(TokenizerCase(v).encode(nul)) == nul);

    v = learn({invalid}, options_of(kind, base + (base == 259 ? 3 : 0) + 1));
    const std::string back = joined(v, TokenizerCase(v).encode(invalid));
    if (kind == kTokenizerScoredBpe) {
      CHECK(back == " " + invalid);
    } else {
      const std::string no_utf8 = "\xef\xbf\xbd";
      CHECK(back ==
            "ab" + no_utf8 + no_utf8 + " ab" + no_utf8 + no_utf8 + no_utf8 + no_utf8 + " ab");
    }

    // One letter, longer than any word that is counted whole.
    const std::string letters(10000, 'a');
    v = learn({letters}, options_of(kind, base + (base == 259 ? 2 : 0) + 6), &report);
    for (const std::string& text : v.texts) CHECK(text.size() <= 64);
    CHECK(TokenizerCase(v).decode(TokenizerCase(v).encode(letters)) == letters);

    VocabularyOptions options = options_of(kind, base + (base == 259 ? 24 : 0) + 10);
    options.splits_punctuation = options.splits_digits = false;
    v = learn({marks, marks}, options);
    for (const char* text : {"<s>", "<unk>", "<0x41>", "<|endoftext|>"}) {
      CHECK(std::count(v.texts.begin(), v.texts.end(), text) <= 1);
    }
    CHECK(TokenizerCase(v).decode(TokenizerCase(v).encode(marks)) == marks);
  }
}

TEST_CASE("learn_vocabulary: what is refused says what would do") {
  const auto refusal = [](const std::vector<std::string>& records, VocabularyOptions options) {
    return refusal_when([&] { learn(records, options); });
  };
  const VocabularyOptions scored = options_of(kTokenizerScoredBpe, 1024);
  const VocabularyOptions byte_level = options_of(kTokenizerByteBpe, 1024);
  CHECK(refusal({}, scored) == "there is no text to learn a vocabulary from");
  CHECK(refusal({"", ""}, byte_level) == "there is no text to learn a vocabulary from");
  CHECK(refusal({"a"}, scored) ==
        "the text has too few different pairs for a vocabulary of 1024 tokens: found 0 that occur "
        "at least 2 times, which make one of 261");
  CHECK(refusal({"the the"}, byte_level) ==
        "the text has too few different pairs for a vocabulary of 1024 tokens: found 2 that occur "
        "at least 2 times, which make one of 259");
  CHECK(refusal({"abc"}, options_of(kTokenizerScoredBpe, 262)) ==
        "a vocabulary of 262 tokens is too small: 3 control tokens, 256 bytes and 4 characters "
        "(99.95 % of the text) make 263");
  CHECK(refusal({"abc"}, options_of(kTokenizerByteBpe, 256)) ==
        "a vocabulary of 256 tokens is too small: 256 bytes and <|endoftext|> make 257");
  CHECK(refusal({"abc"}, options_of(kTokenizerByteBpe, 0)) ==
        "size of the vocabulary: found 0 tokens, expected 1 to 1048576");
  VocabularyOptions options = scored;
  options.coverage = 0;
  CHECK(refusal({"abc"}, options) ==
        "coverage of characters: found 0, expected more than 0, up to 1");
  options = scored;
  options.has_whole_words = true;
  CHECK(refusal({"abc"}, options) == "whole words are learnt over bytes only, not with scores");
  options = scored;
  options.max_token_bytes = 5000;
  CHECK(refusal({"abc"}, options) ==
        "length of the longest token: found 5000 bytes, expected 1 to 4096");
  options = scored;
  options.most_word_bytes = 4;
  CHECK(refusal({"abcdef"}, options) ==
        "a vocabulary is learnt from records whose different words have at most 4 bytes, and each "
        "of the records here has more");
}

TEST_CASE("learn_vocabulary: of stories, with fewer tokens than the default model's") {
  std::string text, held_out;
  if (!test::read_whole_file("../shared/text/stories-train.txt", &text) ||
      !test::read_whole_file("../shared/text/story-heldout.txt", &held_out)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  for (const TokenizerType kind : {kTokenizerScoredBpe, kTokenizerByteBpe}) {
    const Vocabulary v = learn_vocabulary(tools::split_records(text), options_of(kind, 1024));
    CHECK(v.texts.size() == 1024);
    const TokenizerCase tokenizer(v);
    size_t n = 0;
    for (const std::string_view record : tools::split_records(held_out)) {
      const std::vector<int32_t> ids = tools::encode_all(tokenizer.model(), std::string(record), 0);
      n += ids.size();
      CHECK(tokenizer.decode(ids) == record);
    }
    CHECK(n < 64533);  // story.thimble's
  }
}
