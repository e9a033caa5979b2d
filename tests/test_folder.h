// SPDX-License-Identifier: MIT
// Files that tests write, and what refuses them.
#ifndef THIMBLE_TESTS_TEST_FOLDER_H
#define THIMBLE_TESTS_TEST_FOLDER_H

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "error.h"

namespace thimble::test {

// A folder of its own, gone at the end.
struct TestFolder {
  TestFolder() {
    char pattern[] = "/tmp/thimble-test-XXXXXX";
    path = mkdtemp(pattern);
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(*this / name, std::ios::binary) << bytes;
    return *this / name;
  }

  std::string path;
};

// What f throws as Refused says, or "accepted".
template <class F>
std::string refusal_when(F f) {
  try {
    f();
  } catch (const tools::Refused& refused) {
    return refused.what();
  }
  return "accepted";
}

}  // namespace thimble::test

#endif
