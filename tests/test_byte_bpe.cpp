// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "random.h"
#include "tokenizer_case.h"

using namespace thimble;
using test::TokenizerCase;
using tools::Merge;
using Ids = std::vector<int32_t>;

namespace {

// By the definition: the pair that comes first in the list, the leftmost of its places, again and
// again.
std::vector<std::string> merge_naively(const std::vector<Merge>& merges, const std::string& word) {
  std::vector<std::string> symbols;
  for (const char c : word) symbols.emplace_back(1, c);
  for (;;) {
    size_t best = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = std::find(merges.begin(), merges.end(), Merge(symbols[i], symbols[i + 1]));
      const size_t rank = static_cast<size_t>(found - merges.begin());
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (best == merges.size()) return symbols;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

std::string random_word(Random* random, size_t n, size_t letters) {
  std::string word;
  while (word.size() < n)
    word += static_cast<char>('a' + random->below(static_cast<uint32_t>(letters)));
  return word;
}

// Merges that give different texts each, as training finds them.
std::vector<Merge> random_merges(Random* random, size_t n) {
  std::vector<std::string> texts = {"a", "b", "c"};
  std::vector<Merge> merges;
  while (merges.size() < n) {
    const std::string& left = texts[random->below(static_cast<uint32_t>(texts.size()))];
    const std::string& right = texts[random->below(static_cast<uint32_t>(texts.size()))];
    if (std::find(texts.begin(), texts.end(), left + right) != texts.end()) continue;
    merges.emplace_back(left, right);
    texts.push_back(left + right);
  }
  return merges;
}

}  // namespace

TEST_CASE("byte BPE: merges as the list says, whatever texts they give") {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    const std::vector<Merge> merges = random_merges(&random, 2 + random.below(20));
    tools::Vocabulary v = test::byte_level_vocabulary(merges);
    CHECK(v.note.empty());
    v.marks_whole = round % 2 == 0;
    const TokenizerCase tokenizer(v);
    for (int k = 0; k < 60; ++k) {
      // One letter: runs, which merge_word takes a shortcut through.
      const uint32_t letters = 1 + static_cast<uint32_t>(k) % 3;
      const std::string word = random_word(&random, 1 + random.below(120 / letters), letters);
      std::vector<std::string> found;
      for (const int32_t id : tokenizer.encode(word)) {
        found.push_back(v.texts[static_cast<size_t>(id)]);
      }
      REQUIRE(found == merge_naively(merges, word));
    }
  }
}

TEST_CASE("byte BPE: only the pair of the list merges into a token") {
  // "abc" is a + bc; ab + c gives the same text and is no merge.
  tools::Vocabulary v = test::byte_level_vocabulary({{"a", "b"}, {"b", "c"}, {"a", "bc"}});
  CHECK(v.splits[256 + 2] == 1);
  CHECK(TokenizerCase(v).encode("abc") == Ids{256, 'c'});
}

TEST_CASE("byte BPE: several merges into one token") {
  SUBCASE("all that there are") {
    const tools::Vocabulary v =
        test::byte_level_vocabulary({{"b", "c"}, {"a", "b"}, {"ab", "c"}, {"a", "bc"}});
    CHECK(v.splits[258] == 0);
    CHECK(v.note.empty());
  }
  SUBCASE("some of them, in a row") {
    const tools::Vocabulary v = test::byte_level_vocabulary(
        {{"a", "a"}, {"aa", "a"}, {"b", "aa"}, {"ba", "a"}, {"b", "a"}, {"aaa", "b"}});
    CHECK(v.note.empty());
  }
  SUBCASE("some of them, with others between: said") {
    const tools::Vocabulary v =
        test::byte_level_vocabulary({{"a", "b"}, {"b", "c"}, {"ab", "c"}, {"c", "c"}, {"a", "bc"}});
    CHECK(v.note.find("'abc'") != std::string::npos);
  }
}

TEST_CASE("byte BPE: a merge of what is no token is refused") {
  tools::Vocabulary v = test::byte_level_vocabulary({{"a", "b"}});
  CHECK_THROWS_WITH_AS(tools::set_merges(&v, {{"a", "b"}, {"ab", "d"}}, "file"),
                       "file: merge 2 ('ab' and 'd'): expected two tokens that give a third",
                       tools::Refused);
}

TEST_CASE("byte BPE: tokens without a merge") {
  tools::Vocabulary v = test::byte_level_vocabulary({{"a", "b"}});
  test::add_token(&v, "abc", kTokenNormal);
  CHECK(TokenizerCase(v).encode("abc") == Ids{256, 'c'});
  v.ignore_merges = true;
  CHECK(TokenizerCase(v).encode("abc") == Ids{257});
  CHECK(TokenizerCase(v).encode("abcd") == Ids{256, 'c', 'd'});
}

TEST_CASE("byte BPE: special tokens") {
  tools::Vocabulary v = test::byte_level_vocabulary({{"<", "|"}});
  test::add_token(&v, "<|end|>", kTokenControl);   // 257
  test::add_token(&v, "<|end|>>", kTokenControl);  // 258
  test::add_token(&v, "tool", kTokenUser);         // 259
  test::add_token(&v, "x", kTokenUser);            // 260
  v.bos_id = 257;
  const TokenizerCase t(v);
  CHECK(t.encode("a<|end|>b", THIMBLE_ENCODE_SPECIAL) == Ids{'a', 257, 'b'});
  CHECK(t.encode("<|end|>>>", THIMBLE_ENCODE_SPECIAL) == Ids{258, '>'});
  CHECK(t.encode("<|end|", THIMBLE_ENCODE_SPECIAL) == Ids{256, 'e', 'n', 'd', '|'});
  CHECK(t.encode("<|end|>") == Ids{256, 'e', 'n', 'd', '|', '>'});
  CHECK(t.encode("tooltoox") == Ids{259, 't', 'o', 'o', 260});
  CHECK(t.encode("", THIMBLE_ENCODE_BOS) == Ids{257});
  CHECK(t.encode("x", THIMBLE_ENCODE_BOS | THIMBLE_ENCODE_SPECIAL) == Ids{257, 260});
  CHECK(t.decode({'a', 257, 259, 'b'}) == "atoolb");
}

TEST_CASE("byte BPE: invalid bytes are read as U+FFFD, and a text comes back") {
  const tools::Vocabulary v = test::byte_level_vocabulary({{"\xef", "\xbf"}});
  const TokenizerCase t(v);
  CHECK(t.encode("a\xff") == Ids{'a', 256, 0xbd});
  CHECK(t.encode("\xe2\x82") == Ids{256, 0xbd, 256, 0xbd});
  CHECK(t.decode(t.encode("a\xff")) == "a\xef\xbf\xbd");
  const std::string text = " two  spaces\n\xe2\x82\xac\xf0\x9f\x98\x80 .";
  CHECK(t.decode(t.encode(text)) == text);
  CHECK(t.decode({0xe2, 0x82, 'a'}) ==
        "\xef\xbf\xbd"
        "a");
}

TEST_CASE("byte BPE: a byte without a token is left out") {
  tools::Vocabulary v = test::byte_level_vocabulary({{"a", "c"}});
  v.texts['b'].clear();
  const TokenizerCase t(v);
  CHECK(t.encode("abc") == Ids{'a', 'c'});
}

TEST_CASE("byte BPE: damaged tables are refused") {
  TokenizerCase t(test::byte_level_vocabulary({{"a", "b"}}));
  thimble_fault fault = {};
  REQUIRE(check_tokenizer(t.model(), &fault) == THIMBLE_OK);
  SUBCASE("a split behind the text") {
    reinterpret_cast<uint16_t*>(t.table(kTokenSplits))[256] = 2;
    CHECK(check_tokenizer(t.model(), &fault) == THIMBLE_ERROR_TOKENIZER);
    CHECK(std::string(fault.what) == "token split");
  }
  SUBCASE("a byte that is another token's") {
    reinterpret_cast<int32_t*>(t.table(kByteTokens))[97] = 'b';
    CHECK(check_tokenizer(t.model(), &fault) == THIMBLE_ERROR_TOKENIZER);
    CHECK(std::string(fault.what) == "token of a byte");
  }
}

TEST_CASE("byte BPE: damaged tables that pass the checks do no harm") {
  Random random(3);
  for (int round = 0; round < 3000; ++round) {
    tools::Vocabulary v = test::byte_level_vocabulary(random_merges(&random, 5));
    test::add_token(&v, "<x>", kTokenControl);
    v.pre_tokenizer = static_cast<PreTokenizer>(1 + random.below(4));
    v.marks_whole = false;
    TokenizerCase t(v);
    const SectionKind kinds[] = {kTokenOffsets, kTokenBytes,  kTokenRanks, kTokenTypes,
                                 kByteTokens,   kTokenLookup, kTokenSplits};
    for (int k = 0; k < 3; ++k) {
      const SectionKind kind = kinds[random.below(7)];
      const uint64_t bytes = section_of(t.model(), kind).bytes;
      t.table(kind)[random.below(static_cast<uint32_t>(bytes))] =
          static_cast<uint8_t>(random.below(256));
    }
    thimble_fault fault = {};
    if (check_tokenizer(t.model(), &fault) != THIMBLE_OK) continue;
    t.decode(t.encode(random_word(&random, 50, 3) + "<x> \xff " + random_word(&random, 9, 3),
                      THIMBLE_ENCODE_SPECIAL));
  }
}

TEST_CASE("byte BPE: a word of 100 000 letters") {
  std::vector<Merge> merges;
  for (size_t n = 1; n < 64; n *= 2) merges.emplace_back(std::string(n, 'a'), std::string(n, 'a'));
  const tools::Vocabulary v = test::byte_level_vocabulary(merges);
  const TokenizerCase t(v);
  const Ids found = tools::encode_all(t.model(), std::string(100000, 'a'), 0);
  REQUIRE(found.size() == 1563);
  CHECK(v.texts[static_cast<size_t>(found[0])].size() == 64);
  CHECK(v.texts[static_cast<size_t>(found[1562])].size() == 32);
}
