// SPDX-License-Identifier: MIT
// What `thimble train` makes of a text alone: any text, also those that are none.
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "engine.h"
#include "sanitized.h"
#include "train/options.h"
#include "train/training_log.h"
#include "train_case.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// A short run of a small model on a text whose vocabulary is learnt.
Ended train(const TestFolder& folder, const std::string& text, const tools::Words& more = {}) {
  tools::Words words = {text,      "-o",      folder / "out.thimble",
                        "--dim",   "32",      "--layers",
                        "1",       "--ctx",   "64",
                        "--heads", "2",       "--steps",
                        "3",       "--batch", "600"};
  words.insert(words.end(), more.begin(), more.end());
  return run(tools::train_verb, words);
}

uint32_t vocabulary_of(const std::string& path) {
  return tools::LoadedModel(path).model().vocab_size;
}

}  // namespace

TEST_CASE("train: a text alone is enough") {
  const TrainCase c;
  const tools::Words words = {c.text, "-o",     c.folder / "a.thimble", "--steps", "2", "--batch",
                              "256",  "--page", c.folder / "a.html"};
  const Ended ended = run(tools::train_verb, words);
  INFO(ended.err);
  REQUIRE(ended.code == 0);
  CHECK(ended.err.find("dim 128, hidden 352, 5 layers") != std::string::npos);
  CHECK(run(tools::inspect_verb, {c.folder / "a.thimble", "--self-test"}).code == 0);
  CHECK(run(tools::run_verb, {c.folder / "a.thimble", "-p", "Once", "-n", "3"}).code == 0);
  const std::string page = bytes_of(c.folder / "a.html");
  CHECK(page.find("Training of <span id=\"name\">a.thimble") != std::string::npos);
  CHECK(page.find("\"step\":[1,2]") != std::string::npos);
}

TEST_CASE("train: kinds of vocabularies, and of what size") {
  const TrainCase c;
  const auto size_with = [&](const tools::Words& more) {
    const Ended ended = train(c.folder, c.text, more);
    INFO(ended.err);
    REQUIRE(ended.code == 0);
    return vocabulary_of(c.folder / "out.thimble");
  };
  CHECK(size_with({"--vocab", "310"}) == 310);
  CHECK(size_with({"--vocab", "290", "--vocab-kind", "bytes"}) == 290);
  CHECK(size_with({"--vocab", "290", "--vocab-kind", "words"}) == 290);
  const uint32_t all = size_with({});  // fewer than 1024: the text is short
  CHECK(all > 310);
  CHECK(all < 1024);
  const Ended wanted = train(c.folder, c.text, {"--vocab", "1024"});
  CHECK(wanted.code == 1);
  CHECK(wanted.err.find(c.text + ": the text has too few different pairs") != std::string::npos);
}

TEST_CASE("train: a run goes on with its own vocabulary only") {
  const TestFolder folder;
  const std::string text = folder.write("a.txt", small_stories(60));
  REQUIRE(train(folder, text).code == 0);
  CHECK(train(folder, text, {"--resume"}).code == 0);
  const Ended other = train(folder, text, {"--resume", "--vocab", "300"});
  CHECK(other.code == 1);
  CHECK(other.err.find("belongs to another run: it has 'vocabulary ") != std::string::npos);
  const Ended kind = train(folder, text, {"--resume", "--vocab-kind", "bytes"});
  CHECK(kind.code == 1);
  CHECK(kind.err.find("belongs to another run") != std::string::npos);
  // As many tokens, but others.
  std::string changed = small_stories(60);
  changed.replace(changed.find("Once"), 4, "Then");
  folder.write("a.txt", changed);
  CHECK(train(folder, text, {"--resume"}).err.find("belongs to another run") != std::string::npos);
}

TEST_CASE("train: a short text has steps enough to learn from") {
  CHECK(tools::train::usual_batch(1) == 2048);
  CHECK(tools::train::usual_batch(300000) == 4687);
  CHECK(tools::train::usual_batch(uint64_t{1} << 40) == 16384);
  // The rate gets to its height, however few the steps are, unless --warm-up says otherwise.
  const TestFolder folder;
  const std::string text = folder.write("a.txt", small_stories(60)), log = folder / "a.csv";
  const auto highest_rate = [&](const tools::Words& more) {
    REQUIRE(train(folder, text, more).code == 0);
    double highest = 0;
    for (const tools::train::TrainingRow& row :
         tools::train::parse_training_log(log, bytes_of(log))) {
      highest = std::max(highest, row.learning_rate);
    }
    return highest;
  };
  CHECK(highest_rate({"--log", log, "--rate", "0.01"}) > 0.007);
  CHECK(highest_rate({"--log", log, "--rate", "0.01", "--warm-up", "99"}) < 0.001);
}

TEST_CASE("train: odd texts work") {
  const TestFolder folder;
  std::string bytes;
  Random random(5);
  for (int i = 0; i < 3000; ++i) bytes += static_cast<char>(1 + random.below(255));
  const std::string long_word(20000, 'x');
  for (const std::string& text :
       {std::string("a"), std::string("One record, and no more."), std::string("\xff"),
        std::string("a\xc3(\x80\x80 \xf0\x9f\x98"), bytes, long_word,
        std::string("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"), "x" + std::string(99, '\n')}) {
    for (const char* kind : {"scored", "bytes"}) {
      const Ended ended = train(folder, folder.write("odd.txt", text), {"--vocab-kind", kind});
      INFO(kind, ", ", text.substr(0, 20), ": ", ended.err);
      CHECK(ended.code == 0);
      CHECK(run(tools::inspect_verb, {folder / "out.thimble", "--self-test"}).code == 0);
    }
  }
}

TEST_CASE("train: what is no text is refused in a sentence that names the file") {
  const TestFolder folder;
  const auto says = [&](const std::string& bytes, const std::string& what) {
    const std::string path = folder.write("none.txt", bytes);
    const Ended ended = train(folder, path);
    INFO(ended.err);
    CHECK(ended.code == 1);
    CHECK(ended.err.find(path + ": " + what) != std::string::npos);
    CHECK(!std::filesystem::exists(folder / "out.thimble"));
  };
  says("", "is empty (0 bytes), expected a text");
  says(" \n\n", "found only white space and <|endoftext|> marks, expected a text");
  says("<|endoftext|>\n<|endoftext|>", "found only white space and <|endoftext|> marks");
  says(std::string("\xff\xfeO\0n\0", 6), "looks like UTF-16, as Windows writes it");
  std::string letters;  // more than there are tokens
  for (int i = 0; i < 800; ++i) {
    letters += {static_cast<char>(0xe4 + i / 4096), static_cast<char>(0x80 + i / 64 % 64),
                static_cast<char>(0x80 + i % 64)};
  }
  says(letters, "a vocabulary of 1024 tokens is too small: 3 control tokens, 256 bytes and");
  CHECK(train(folder, folder / "no.txt").err.find("no.txt: No such file") != std::string::npos);
  CHECK(train(folder, folder.path).err.find("is a directory, expected a file") !=
        std::string::npos);
}

// Sanitizers have memory of their own.
#if !defined(THIMBLE_SANITIZED) && defined(__linux__)
TEST_CASE("train: a text may be larger than memory") {
  const TestFolder folder;
  const std::string path = folder / "long.txt";
  {
    std::ofstream file(path, std::ios::binary);
    const char* small_words[] = {"the ", "dog ",  "sees ", "red ",  "balls ",
                                 "and ", "they ", "like ", "them\n"};
    Random random(8);
    for (size_t bytes = 0; bytes < (12u << 20);) {  // one record
      std::string words;
      for (int i = 0; i < 200; ++i) words += small_words[random.below(9)];
      bytes += words.size();
      file << words;
    }
  }
  const pid_t child = fork();
  if (child == 0) {
    malloc_trim(0);
    long pages = 0;  // of data, as the limit counts them
    std::FILE* statm = std::fopen("/proc/self/statm", "r");
    if (!statm || std::fscanf(statm, "%*d %*d %*d %*d %*d %ld", &pages) != 1) _exit(9);
    std::fclose(statm);
    const rlim_t most = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (10u << 20);
    const rlimit limit = {most, most};
    if (setrlimit(RLIMIT_DATA, &limit) != 0) _exit(9);
    // The same text does not fit.
    if (mmap(nullptr, std::filesystem::file_size(path), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
      _exit(8);
    }
    _exit(train(folder, path, {"--threads", "1"}).code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("train: the largest shape for a device fits it, by `thimble plan`") {
  const TrainCase c;
  for (const char* family : {"llama", "gpt2"}) {
    const Ended ended = run(
        tools::train_verb, {c.text, "-o", c.folder / "a.thimble", "--flash", "120K", "--ram", "48K",
                            "--ctx", "64", "--steps", "2", "--batch", "200", "--family", family});
    INFO(ended.err);
    REQUIRE(ended.code == 0);
    CHECK(ended.err.find("shape  dim ") != std::string::npos);
    CHECK(run(tools::plan_verb, {c.folder / "a.thimble", "--kv", "q8", "--candidates", "40",
                                 "--flash", "120K", "--ram", "48K"})
              .code == 0);
    const tools::LoadedModel model(c.folder / "a.thimble");
    CHECK(model.model().n_ctx == 64);
  }
}
