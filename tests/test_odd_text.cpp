// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "error.h"
#include "odd_text.h"

using namespace thimble::tools;

namespace {

// What is said of a text, all in one; what it is refused with.
std::string said_of(const std::string& text) {
  std::string all;
  try {
    for (const std::string& oddity : oddities_of(text, "a.txt")) all += oddity + "\n";
  } catch (const Refused& refused) {
    return std::string("refused: ") + refused.what();
  }
  return all;
}

// As UTF-16 or UTF-32 of ASCII.
std::string wide(const std::string& text, size_t bytes, bool big_endian) {
  std::string out;
  for (const char c : text) {
    std::string character(bytes, '\0');
    character[big_endian ? bytes - 1 : 0] = c;
    out += character;
  }
  return out;
}

}  // namespace

TEST_CASE("odd text: ordinary texts have nothing odd") {
  for (const char* text :
       {"", "a", "Once upon a time\n", "caf\xc3\xa9 \xff \xe2\x82\xac", "\n\n\n", "ab", "abc"}) {
    CHECK(said_of(text) == "");
  }
  // One return among many lines.
  std::string many;
  for (int i = 0; i < 11; ++i) many += "line\n";
  CHECK(said_of(many + "\r") == "");
  CHECK(said_of(std::string(3, '\0') + std::string(13, 'x')).find("refused") == std::string::npos);
}

TEST_CASE("odd text: what Windows writes is said, with what to do") {
  CHECK(said_of("a\r\nb\r\nc\r\n") ==
        "a.txt: has 3 carriage returns in 3 lines, as Windows writes them, which models are not "
        "trained on; tr -d '\\r' <a.txt leaves them out\n");
  CHECK(said_of("one\rtwo").find("1 carriage returns in 1 lines") != std::string::npos);
  CHECK(said_of("\xef\xbb\xbftext\n") ==
        "a.txt: begins with a byte-order mark (ef bb bf), which models are not trained on; tail -c "
        "+4 a.txt leaves it out\n");
  CHECK(said_of(std::string("some t\0ext", 10)) ==
        "a.txt: has 1 NUL bytes, which models are not trained on; is it a text?\n");
  CHECK(said_of(std::string(64, '\0')).find("has 64 NUL bytes") != std::string::npos);
  CHECK(oddities_of("\xef\xbb\xbf"
                    "a\r\n",
                    "stdin")[1]
            .find("tr -d '\\r' <FILE") != std::string::npos);
}

TEST_CASE("odd text: wide characters are refused, with a byte-order mark or without") {
  const std::string text = "Once upon a time\n";
  const struct {
    std::string mark, name;
    size_t bytes;
    bool big_endian;
  } kinds[] = {{"\xff\xfe", "UTF-16", 2, false},
               {"\xfe\xff", "UTF-16", 2, true},
               {"", "UTF-16LE", 2, false},
               {"", "UTF-16BE", 2, true},
               {std::string("\xff\xfe\0\0", 4), "UTF-32", 4, false},
               {std::string("\0\0\xfe\xff", 4), "UTF-32", 4, true}};
  for (const auto& kind : kinds) {
    const std::string said = said_of(kind.mark + wide(text, kind.bytes, kind.big_endian));
    CHECK_MESSAGE(said.find("refused: a.txt: looks like " + kind.name + ", ") == 0, said);
    CHECK(said.find("iconv -f " + kind.name + " -t UTF-8 a.txt gives it") != std::string::npos);
  }
  CHECK(said_of("\xff\xfe").find("refused") == 0);
}
