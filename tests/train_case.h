// SPDX-License-Identifier: MIT
// Short runs of `thimble train` on small texts.
#ifndef THIMBLE_TESTS_TRAIN_CASE_H
#define THIMBLE_TESTS_TRAIN_CASE_H

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "capture.h"
#include "random.h"
#include "test_folder.h"

namespace thimble::test {

constexpr char kTokenizer[] = "models/story.thimble";

// Small stories, all of one pattern, none twice.
inline std::string small_stories(int n) {
  const char* names[] = {"Lily", "Ben", "Tom", "Anna"};
  const char* things[] = {"ball", "dog", "tree", "cake", "bird"};
  Random random(11);
  std::string text;
  for (int i = 0; i < n; ++i) {
    const std::string name = names[random.below(4)], thing = things[random.below(5)];
    text += "Once upon a time, there was a " + thing + ". " + name + " saw the " + thing + ". " +
            name + " liked the " + thing + " " + std::to_string(i) + " times.\n<|endoftext|>\n";
  }
  return text;
}

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct TrainCase {
  TestFolder folder;
  std::string text = folder.write("stories.txt", small_stories(120));

  // With options that count instead of, or beside, the usual ones.
  tools::Words words(const std::string& out, const tools::Words& more = {}) const {
    tools::Words all = {text,  "-o",        folder / out, "--tokenizer", kTokenizer, "--dim",
                        "32",  "--layers",  "1",          "--heads",     "2",        "--ctx",
                        "64",  "--steps",   "12",         "--batch",     "600",      "--warm-up",
                        "2",   "--threads", "2",          "--dropout",   "0.1",      "--held-out",
                        "0.1", "--average", "0.8",        "--evaluate",  "4"};
    for (size_t i = 0; i < more.size(); ++i) {  // an option given again counts
      const bool is_option = more[i].substr(0, 2) == "--";
      const auto at = is_option ? std::find(all.begin(), all.end(), more[i]) : all.end();
      if (at == all.end()) {
        all.push_back(more[i]);
      } else {
        *(at + 1) = more[++i];
      }
    }
    return all;
  }
};

}  // namespace thimble::test

#endif
