// SPDX-License-Identifier: MIT
// Zip archives: members found with and without zip64, and every contradiction refused.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "error.h"
#include "llama2c_files.h"
#include "random.h"
#include "readers/zip_archive.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

struct ZipFolder : TestFolder {
  std::shared_ptr<const InputFile> file(const std::string& bytes) const {
    return std::make_shared<const InputFile>(write("x.zip", bytes));
  }

  // Without the path.
  std::string refusal(const std::string& bytes) const {
    try {
      const ZipArchive zip(file(bytes));
      for (const ZipMember& member : zip.members()) zip.check(member);
    } catch (const Refused& refused) {
      const std::string text = refused.what(), file_path = *this / "x.zip";
      return text.substr(0, file_path.size()) == file_path ? text.substr(file_path.size()) : text;
    }
    return "accepted";
  }
};

const std::vector<NamedBytes>& some_members() {
  static const std::vector<NamedBytes> members = {
      {"b/two", "22"}, {"a/one", std::string(100, '1')}, {"b/none", ""}};
  return members;
}

// With other bytes at the only place that has these.
std::string changed(const std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  REQUIRE(text.find(from, at + 1) == std::string::npos);
  return text.substr(0, at) + to + text.substr(at + from.size());
}

std::string with_byte(std::string text, size_t at, int value) {
  text.at(at) = static_cast<char>(value);
  return text;
}

}  // namespace

TEST_CASE("zip_archive: members, their places and sizes") {
  const ZipFolder folder;
  for (const bool zip64 : {false, true}) {
    for (const bool sizes_behind : {false, true}) {
      ZipOptions options;
      options.zip64 = zip64;
      options.sizes_behind = sizes_behind;
      const auto file = folder.file(zip_file(some_members(), options));
      CHECK(is_zip(*file));
      const ZipArchive zip(file);
      REQUIRE(zip.members().size() == 3);
      CHECK(zip.members()[0].name == "a/one");
      CHECK(zip.find("b") == nullptr);
      CHECK(zip.find("c") == nullptr);
      for (const NamedBytes& expected : some_members()) {
        const ZipMember* member = zip.find(expected.name);
        REQUIRE(member != nullptr);
        REQUIRE(member->size == expected.bytes.size());
        std::string bytes(expected.bytes.size(), '\0');
        file->read(member->offset, bytes.data(), bytes.size());
        CHECK(bytes == expected.bytes);
        zip.check(*member);
      }
    }
  }
  CHECK(ZipArchive(folder.file(zip_file({}))).members().empty());
}

TEST_CASE("zip_archive: compressed and encrypted members are refused by name") {
  const ZipFolder folder;
  ZipOptions options;
  options.method = 8;
  CHECK(folder.refusal(zip_file(some_members(), options)) ==
        ": zip: member \"b/two\" is compressed (method 8), expected it stored (method 0), as "
        "torch.save does; pack the archive again without compression");
  options.method = 0;
  for (const int flag : {1, 1 << 6, 1 << 13}) {
    options.flags = static_cast<uint16_t>(flag);
    CHECK(folder.refusal(zip_file(some_members(), options)) ==
          ": zip: member \"b/two\" is encrypted, expected a plain one");
  }
}

TEST_CASE("zip_archive: a member that is damaged") {
  const ZipFolder folder;
  const std::string good = zip_file({{"m", "hello"}});
  CHECK(folder.refusal(changed(good, "hello", "hallo"))
            .find(": zip: member \"m\": found checksum 0x") == 0);
}

TEST_CASE("zip_archive: directories that contradict the members, or themselves") {
  const ZipFolder folder;
  const std::string good = zip_file(some_members());
  const size_t end = good.size() - 22, directory = good.find("PK\1\2");
  REQUIRE(folder.refusal(good) == "accepted");
  CHECK(folder.refusal(good + "more") ==
        ": zip: found no directory at its end, expected one; is the file truncated?");
  CHECK(folder.refusal("more" + good).find(": zip: directory: found ") == 0);
  CHECK(folder.refusal(with_byte(good, end + 4, 1)) ==
        ": zip: is one of several parts, expected a whole archive");
  CHECK(folder.refusal(with_byte(good, end + 10, 4)) ==
        ": zip: is one of several parts, expected a whole archive");
  const auto with_count = [&](int n) {
    return with_byte(with_byte(good, end + 8, n), end + 10, n);
  };
  CHECK(folder.refusal(with_byte(good, directory, 'Q')) ==
        ": zip: directory: found no entry for member 0 of 3, expected one");
  CHECK(folder.refusal(with_count(2)).find("bytes for 2 members, expected") != std::string::npos);
  CHECK(folder.refusal(with_count(200)).find("found 200 members in") != std::string::npos);
  CHECK(folder.refusal(with_byte(good, directory + 28, 255)).find("ends behind the directory") !=
        std::string::npos);
  CHECK(folder.refusal(with_byte(good, directory + 24, 3))
            .find("has 3 bytes and takes 2, expected the same") != std::string::npos);
  CHECK(folder.refusal(with_byte(with_byte(good, directory + 24, 3), directory + 20, 3)) ==
        ": zip: member \"b/two\" has 2 bytes by its own header, 3 by the directory, expected one "
        "number");
  CHECK(folder.refusal(with_byte(with_byte(good, directory + 26, 3), directory + 22, 3))
            .find("bytes from byte 39, expected them before the directory at byte") !=
        std::string::npos);
  CHECK(folder.refusal(with_byte(good, directory + 42, 1)).find("has no header at byte 1") !=
        std::string::npos);
  CHECK(folder.refusal(with_byte(good, directory + 44, 1)).find("begins at byte 65536, expected") !=
        std::string::npos);
  CHECK(folder.refusal(with_byte(good, 30, 'x')) ==
        ": zip: member \"b/two\" is called \"x/two\" by its own header, expected one name");
  CHECK(folder.refusal(zip_file({{"m", "1"}, {"m", "2"}})) == ": zip: member \"m\" is there twice");
}

TEST_CASE("zip_archive: members that overlap") {
  const ZipFolder folder;
  ZipOptions options;
  options.sizes_behind = true;  // so that the member's own header does not say its size
  std::string file = zip_file({{"a", std::string(20, 'x')}, {"b", "y"}}, options);
  const size_t directory = file.find("PK\1\2");
  file = with_byte(with_byte(file, directory + 20, 60), directory + 24, 60);
  CHECK(folder.refusal(file) == ": zip: member \"b\" overlaps member \"a\"");
}

TEST_CASE("zip_archive: zip64 records that lead nowhere") {
  const ZipFolder folder;
  ZipOptions options;
  options.zip64 = true;
  const std::string good = zip_file(some_members(), options);
  const size_t locator = good.find("PK\6\7"), record = good.find("PK\6\6");
  CHECK(
      folder.refusal(with_byte(good, locator + 15, 0x7f)).find("zip64: found its end record at") !=
      std::string::npos);
  CHECK(
      folder.refusal(with_byte(good, locator + 8, 0)).find("zip64: found no end record at byte") !=
      std::string::npos);
  CHECK(folder.refusal(with_byte(good, record + 55, 1)).find("directory: found ") !=
        std::string::npos);
  CHECK(folder.refusal(with_byte(with_byte(good, record + 39, 1), record + 31, 1))
            .find("members in") != std::string::npos);
  // The field of the first member is cut.
  const size_t field = good.find("PK\1\2") + 46 + 5;
  CHECK(folder.refusal(with_byte(good, field + 2, 8)) ==
        ": zip: member \"b/two\" has a zip64 field that is too short");
}

TEST_CASE("zip_archive: every truncation is refused, mutations never do harm") {
  const ZipFolder folder;
  ZipOptions options;
  for (const bool zip64 : {false, true}) {
    options.zip64 = zip64;
    const std::string good = zip_file(some_members(), options);
    for (size_t n = 1; n < good.size(); ++n) {
      CAPTURE(n);
      CHECK(folder.refusal(good.substr(0, n)) != "accepted");
    }
    Random random(4);
    size_t accepted = 0;
    for (int i = 0; i < 3000; ++i) {
      std::string file = good;
      for (uint32_t k = 1 + random.below(3); k > 0; --k) {
        file[random.below(static_cast<uint32_t>(file.size()))] =
            static_cast<char>(random.below(2) == 0 ? random.below(256) : random.below(4));
      }
      accepted += folder.refusal(file) == "accepted";
    }
    CHECK(accepted > 10);
    CHECK(accepted < 2500);
  }
}
