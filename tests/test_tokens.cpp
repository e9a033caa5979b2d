// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "capture.h"
#include "error.h"
#include "verbs.h"

using namespace thimble;
using test::CapturedStream;

namespace {

// A list of characters: " abc<e9>" with ids 0 to 4.
class CharacterFile {
 public:
  CharacterFile() {
    char name[] = "/tmp/thimble-test-XXXXXX";
    const int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    close(fd);
    path = name;
    std::ofstream(path) << " abc\xc3\xa9";
  }
  ~CharacterFile() { unlink(path.c_str()); }
  std::string path;
};

std::string printed(const tools::Words& words) {
  CapturedStream out(stdout);
  CHECK(tools::tokens_verb(words) == 0);
  return out.text();
}

}  // namespace

TEST_CASE("tokens: ids and pieces") {
  const CharacterFile file;
  CHECK(printed({file.path, "-p", "ab \xc3\xa9"}) ==
        "     1  \"a\"\n     2  \"b\"\n     0  \" \"\n     4  \"\xc3\xa9\"\n");
  CHECK(printed({file.path, "-p", "ab", "--json"}) == "{\"ids\":[1,2],\"pieces\":[\"a\",\"b\"]}\n");
  CHECK(printed({file.path, "-p", "", "--json"}) == "{\"ids\":[],\"pieces\":[]}\n");
}

TEST_CASE("tokens: a long text") {
  const CharacterFile file;
  std::string ids;
  for (int i = 0; i < 100000; ++i) ids += i == 0 ? "1" : ",1";
  const std::string found = printed({file.path, "--json", "-p", std::string(100000, 'a')});
  CHECK(found.compare(0, 8 + ids.size() + 1, "{\"ids\":[" + ids + "]") == 0);
}

TEST_CASE("tokens: what it is refused for") {
  const CharacterFile file;
  CHECK_THROWS_AS(tools::tokens_verb({file.path}), tools::WrongUsage);
  CHECK_THROWS_AS(tools::tokens_verb({"-p", "a"}), tools::WrongUsage);
  CHECK_THROWS_AS(tools::tokens_verb({file.path, "-p", "a", "--bos"}), tools::Refused);
  CHECK_THROWS_AS(tools::tokens_verb({file.path + ".missing", "-p", "a"}), tools::Refused);
}
