// SPDX-License-Identifier: MIT
// The verb, from texts to model files.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "capture.h"
#include "doctest/doctest.h"
#include "engine.h"
#include "random.h"
#include "test_folder.h"

using namespace thimble;
using namespace thimble::test;

namespace {

constexpr char kTokenizer[] = "models/story.thimble";

// Small stories, all of one pattern.
std::string small_stories(int n) {
  const char* names[] = {"Lily", "Ben", "Tom", "Anna"};
  const char* things[] = {"ball", "dog", "tree", "cake", "bird"};
  Random random(11);
  std::string text;
  for (int i = 0; i < n; ++i) {
    const std::string name = names[random.below(4)], thing = things[random.below(5)];
    text += "Once upon a time, there was a " + thing + ". " + name + " saw the " + thing + ". " +
            name + " liked the " + thing + ".\n<|endoftext|>\n";
  }
  return text;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Case {
  TestFolder folder;
  std::string text = folder.write("stories.txt", small_stories(120));

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

}  // namespace

TEST_CASE("train: learns, and the model that it writes says so") {
  const Case c;
  const Ended ended = run(tools::train_verb,
                          c.words("a.thimble", {"--steps", "60", "--f32", c.folder / "a32.thimble",
                                                "--log", c.folder / "a.csv"}));
  REQUIRE(ended.code == 0);
  CHECK(ended.err.find("held out: ") != std::string::npos);
  const std::string log = bytes_of(c.folder / "a.csv");
  CHECK(log.substr(0, log.find('\n')) ==
        "step,epoch,loss,held_out,bits_per_byte,rate,gradient_norm,tokens_per_second,seconds");
  CHECK(log.find("\n60,") != std::string::npos);
  for (const char* name : {"a.thimble", "a32.thimble"}) {
    const Ended eval = run(tools::eval_verb, {c.folder / name, c.text, "--ctx", "64"});
    REQUIRE(eval.code == 0);
    double nll = 99;
    std::sscanf(eval.out.c_str(), "nll_per_token %lf", &nll);
    CHECK(nll < 4.0);  // chance is ln 1024 = 6.9
    CHECK(run(tools::inspect_verb, {c.folder / name, "--self-test"}).code == 0);
  }
}

TEST_CASE("train: the same bits whatever the number of threads") {
  const Case c;
  REQUIRE(run(tools::train_verb, c.words("one.thimble", {"--threads", "1"})).code == 0);
  REQUIRE(run(tools::train_verb, c.words("three.thimble", {"--threads", "3"})).code == 0);
  CHECK(bytes_of(c.folder / "one.thimble") == bytes_of(c.folder / "three.thimble"));
  REQUIRE(run(tools::train_verb, c.words("other.thimble", {"--seed", "2"})).code == 0);
  CHECK(bytes_of(c.folder / "one.thimble") != bytes_of(c.folder / "other.thimble"));
}

TEST_CASE("train: killed at random moments and resumed, it ends with the same bits") {
  const Case c;
  REQUIRE(run(tools::train_verb, c.words("whole.thimble", {"--steps", "40"})).code == 0);
  Random random(3);
  int kills = 0;
  for (bool done = false; !done;) {
    tools::Words words = c.words("killed.thimble", {"--steps", "40", "--every", "0"});
    if (std::filesystem::exists(c.folder / "killed.thimble.train")) words.push_back("--resume");
    const pid_t child = fork();
    if (child == 0) _exit(run(tools::train_verb, words).code);
    if (kills < 20) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5 + random.below(120)));
      kill(child, kills % 3 == 0 ? SIGTERM : SIGKILL);
      ++kills;
    }
    int status = 0;
    waitpid(child, &status, 0);
    done = WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
           std::filesystem::exists(c.folder / "killed.thimble");
    REQUIRE((done || kills <= 20));
  }
  CHECK(bytes_of(c.folder / "whole.thimble") == bytes_of(c.folder / "killed.thimble"));
}

TEST_CASE("train: a full disk leaves the checkpoint that was there") {
  const Case c;
  REQUIRE(run(tools::train_verb, c.words("a.thimble")).code == 0);
  const std::string before = bytes_of(c.folder / "a.thimble.train");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);  // as main() does
    const rlimit limit = {before.size() / 2, before.size() / 2};
    setrlimit(RLIMIT_FSIZE, &limit);
    int code = 0;
    try {
      code = tools::train_verb(c.words("a.thimble", {"--seed", "2", "--every", "0"}));
    } catch (const tools::Refused& refused) {
      const std::string message = refused.what();
      code = message.find("a.thimble.train: cannot be written: ") != std::string::npos ? 17 : 18;
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 17);
  CHECK(bytes_of(c.folder / "a.thimble.train") == before);
}

TEST_CASE("train: every family and way of storing weights ends as a model that runs") {
  const Case c;
  for (const tools::Words& more : {tools::Words{"--family", "gpt2"},
                                   {"--family", "gpt2", "--weights", "q4"},
                                   {"--weights", "q4"},
                                   {"--weights", "q8", "--group", "row"},
                                   {"--weights", "f32"},
                                   {"--optimizer", "adamw", "--kv-heads", "1"},
                                   {"--isa", "plain"}}) {
    const Ended ended = run(tools::train_verb, c.words("b.thimble", more));
    INFO(more[0], " ", more[1], ": ", ended.err);
    CHECK(ended.code == 0);
    CHECK(run(tools::inspect_verb, {c.folder / "b.thimble", "--self-test"}).code == 0);
  }
}

TEST_CASE("train: goes on with a model that was there") {
  const Case c;
  for (const char* family : {"llama", "gpt2"}) {
    REQUIRE(run(tools::train_verb,
                c.words("base.thimble", {"--family", family, "--weights", "f32", "--steps", "30"}))
                .code == 0);
    // A rate of 0 changes nothing.
    const tools::Words tune = {c.text,
                               "--from",
                               c.folder / "base.thimble",
                               "-o",
                               c.folder / "tuned.thimble",
                               "--steps",
                               "2",
                               "--weights",
                               "f32",
                               "--rate",
                               "0"};
    const Ended ended = run(tools::train_verb, tune);
    INFO(ended.err);
    REQUIRE(ended.code == 0);
    CHECK(bytes_of(c.folder / "base.thimble") == bytes_of(c.folder / "tuned.thimble"));
    tools::Words shorter = tune, longer = tune;
    shorter.insert(shorter.end(), {"--ctx", "20"});
    longer.insert(longer.end(), {"--ctx", "65"});
    CHECK(run(tools::train_verb, shorter).code == 0);
    CHECK(run(tools::train_verb, longer).err.find("more than the 64 positions") !=
          std::string::npos);
  }
}

TEST_CASE("train: by the clock") {
  const Case c;
  tools::Words words = c.words("clock.thimble");
  const auto at = std::find(words.begin(), words.end(), "--steps");
  *at = "--minutes";
  *(at + 1) = "0.01";
  const Ended ended = run(tools::train_verb, words);
  INFO(ended.err);
  CHECK(ended.code == 0);
  CHECK(run(tools::inspect_verb, {c.folder / "clock.thimble", "--self-test"}).code == 0);
}

TEST_CASE("train: says what is wrong") {
  const Case c;
  const auto wrong = [&](const tools::Words& words) { return run(tools::train_verb, words).err; };
  CHECK(run(tools::train_verb, {}).code == 2);
  CHECK(run(tools::train_verb, {c.text}).code == 2);
  CHECK(run(tools::train_verb, {c.text, "-o", c.folder / "x"}).code == 2);
  CHECK(wrong({c.text, "-o", c.text, "--tokenizer", kTokenizer}).find("written over") !=
        std::string::npos);
  CHECK(wrong({c.text, "-o", c.folder / "x", "--tokenizer", kTokenizer, "--heads", "3"})
            .find("expected an even multiple of the 3 heads") != std::string::npos);
  CHECK(wrong({c.text, "-o", c.folder / "x", "--from", kTokenizer, "--dim", "64"})
            .find("exclude each other") != std::string::npos);
  CHECK(wrong({c.text, "-o", c.folder / "x", "--tokenizer", kTokenizer, "--steps", "2", "--epochs",
               "1"})
            .find("exclude each other") != std::string::npos);
  CHECK(run(tools::train_verb, c.words("none.thimble", {"--resume"})).code == 1);
  const Ended empty = run(tools::train_verb, {c.folder.write("empty", ""), "-o", c.folder / "x",
                                              "--tokenizer", kTokenizer});
  CHECK(empty.code == 1);
  CHECK(empty.err.find("is empty (0 bytes)") != std::string::npos);
  const Ended plan =
      run(tools::train_verb, {c.text, "-o", c.folder / "x", "--tokenizer", kTokenizer, "--plan"});
  CHECK(plan.code == 0);
  CHECK(plan.out.find("= RAM") != std::string::npos);
  CHECK(!std::filesystem::exists(c.folder / "x"));
}
