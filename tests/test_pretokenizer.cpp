// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "pretokenizer.h"
#include "random.h"
#include "unicode_classes.h"

using namespace thimble;

namespace {

// The words of a text with '|' between them; in a block of just its size, for the sanitizer.
std::string words(PreTokenizer kind, const std::string& text) {
  const std::unique_ptr<uint8_t[]> bytes(new uint8_t[text.size()]);
  std::copy(text.begin(), text.end(), bytes.get());
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t n = first_word(kind, bytes.get() + i, text.size() - i);
    REQUIRE(n > 0);
    REQUIRE(n <= text.size() - i);
    if (i > 0) out += '|';
    out += text.substr(i, n);
    i += n;
  }
  return out;
}

}  // namespace

TEST_CASE("unicode classes: letters, numbers, spaces and their neighbours") {
  const struct {
    uint32_t code;
    CharacterClass expected;
  } cases[] = {
      {'a', kLetter},     {'z', kLetter},     {'{', kOther},      {'`', kOther},
      {'A', kLetter},     {'Z', kLetter},     {'[', kOther},      {'@', kOther},
      {'0', kNumber},     {'9', kNumber},     {':', kOther},      {'/', kOther},
      {' ', kSpace},      {'\t', kSpace},     {'\r', kSpace},     {0x0e, kOther},
      {0x08, kOther},     {0x1c, kOther},     {0x7f, kOther},     {0x80, kOther},
      {0x85, kSpace},     {0xa0, kSpace},     {0xa9, kOther},     {0xaa, kLetter},
      {0xab, kOther},     {0xb2, kNumber},    {0xb5, kLetter},    {0xbc, kNumber},
      {0xbf, kOther},     {0xc0, kLetter},    {0xd7, kOther},     {0xf7, kOther},
      {0x2c1, kLetter},   {0x2c2, kOther},    {0x301, kOther},    {0x660, kNumber},
      {0x1680, kSpace},   {0x180e, kOther},   {0x2000, kSpace},   {0x200a, kSpace},
      {0x200b, kOther},   {0x2028, kSpace},   {0x202a, kOther},   {0x202f, kSpace},
      {0x205f, kSpace},   {0x2160, kNumber},  {0x2188, kNumber},  {0x2581, kOther},
      {0x3000, kSpace},   {0x3001, kOther},   {0x3007, kNumber},  {0x4e00, kLetter},
      {0x9fff, kLetter},  {0xa48c, kLetter},  {0xa48d, kOther},   {0xac00, kLetter},
      {0xd7a3, kLetter},  {0xd7a4, kOther},   {0xe000, kOther},   {0xfffd, kOther},
      {0x10000, kLetter}, {0x1d7ce, kNumber}, {0x1f600, kOther},  {0x20000, kLetter},
      {0x323af, kLetter}, {0x323b0, kOther},  {0x10ffff, kOther},
  };
  for (const auto& c : cases) {
    CAPTURE(c.code);
    CHECK(class_of(c.code) == c.expected);
  }
  // How many of each there are in Unicode 15.1.
  size_t n[4] = {};
  for (uint32_t code = 0; code < 0x110000; ++code) ++n[class_of(code)];
  CHECK(n[kLetter] == 136726);
  CHECK(n[kNumber] == 1831);
  CHECK(n[kSpace] == 25);
}

TEST_CASE("pretokenizer: GPT-2") {
  const auto cut = [](const std::string& text) { return words(kPreTokenizerGpt2, text); };
  CHECK(cut("Hello world") == "Hello| world");
  CHECK(cut("a  b") == "a| | b");
  CHECK(cut("a   ") == "a|   ");
  CHECK(cut(" ") == " ");
  CHECK(cut("   a") == "  | a");
  CHECK(cut("a\n\nb") == "a|\n|\n|b");
  CHECK(cut("a \n b") == "a| \n| b");
  CHECK(cut("I'm you're we'll don't he'd it's I've") ==
        "I|'m| you|'re| we|'ll| don|'t| he|'d| it|'s| I|'ve");
  CHECK(cut("I'M 'sound 'x 'r") == "I|'|M| '|sound| '|x| '|r");
  CHECK(cut("1234 5 67a") == "1234| 5| 67|a");
  CHECK(cut("(a) -- !?") == "(|a|)| --| !?");
  CHECK(cut("caf\xc3\xa9 \xc3\xa9t\xc3\xa9\xe2\x80\x94no") ==
        "caf\xc3\xa9| \xc3\xa9t\xc3\xa9|\xe2\x80\x94|no");
  CHECK(cut("a\xc2\xa0 b") == "a|\xc2\xa0| b");
  CHECK(cut("\xff\xfe b") == "\xff\xfe| b");
  CHECK(cut("a\xe2\x82") == "a|\xe2\x82");
}

TEST_CASE("pretokenizer: Llama 3 and Qwen 2") {
  const auto llama = [](const std::string& text) { return words(kPreTokenizerLlama3, text); };
  const auto qwen = [](const std::string& text) { return words(kPreTokenizerQwen2, text); };
  CHECK(llama("12345 678") == "123|45| |678");
  CHECK(qwen("123 4") == "1|2|3| |4");
  for (const auto& cut : {words}) {
    for (const PreTokenizer kind : {kPreTokenizerLlama3, kPreTokenizerQwen2}) {
      const auto of = [&](const std::string& text) { return cut(kind, text); };
      CHECK(of("Hello world") == "Hello| world");
      CHECK(of("I'M WE'LL 'Re") == "I|'M| WE|'LL| '|Re");
      CHECK(of("(a) \ta") == "(a|)| |\ta");
      CHECK(of("a\n\n b") == "a|\n\n| b");
      CHECK(of("a  \n  \n  b") == "a|  \n  \n| | b");
      CHECK(of("a!\n\nb") == "a|!\n\n|b");
      CHECK(of("a !\r\n b") == "a| !\r\n| b");
      CHECK(of("\na") == "\n|a");
      CHECK(of("a   ") == "a|   ");
      CHECK(of("$a $$a") == "$a| $$|a");
      CHECK(of("\xe3\x80\x80z") == "\xe3\x80\x80z");
    }
  }
}

TEST_CASE("pretokenizer: SmolLM cuts digits off before all else") {
  const auto cut = [](const std::string& text) { return words(kPreTokenizerSmolLm, text); };
  CHECK(cut("a12 b") == "a|1|2| b");
  CHECK(cut("a  1") == "a|  |1");
  CHECK(cut("a 1") == "a| |1");
  CHECK(cut("a  b") == "a| | b");
  CHECK(cut("\xc2\xbd\xe2\x85\xa7") == "\xc2\xbd|\xe2\x85\xa7");
  CHECK(cut("it's 9") == "it|'s| |9");
}

TEST_CASE("pretokenizer: any bytes are cut into words that make them up") {
  Random random(5);
  const std::string pieces[] = {" ",
                                "  ",
                                "\n",
                                "\r",
                                "'",
                                "s",
                                "LL",
                                "\xc3\xa9",
                                "7",
                                "\xff",
                                ".",
                                "\xe2\x80",
                                "\xf0\x9f\x98\x80"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const size_t n = 1 + random.below(12);
    for (size_t i = 0; i < n; ++i) text += pieces[random.below(13)];
    for (const PreTokenizer kind :
         {kPreTokenizerGpt2, kPreTokenizerLlama3, kPreTokenizerQwen2, kPreTokenizerSmolLm}) {
      std::string cut = words(kind, text);
      cut.erase(std::remove(cut.begin(), cut.end(), '|'), cut.end());
      REQUIRE(cut == text);
    }
  }
}
