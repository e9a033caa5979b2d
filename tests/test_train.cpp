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
#include <string>
#include <thread>
#include <vector>

#include "doctest/doctest.h"
#include "random.h"
#include "train/kernels.h"
#include "train/training_log.h"
#include "train_case.h"

using namespace thimble;
using namespace thimble::test;

TEST_CASE("train: learns, and the model that it writes says so") {
  const TrainCase c;
  const Ended ended = run(tools::train_verb,
                          c.words("a.thimble", {"--steps", "60", "--f32", c.folder / "a32.thimble",
                                                "--log", c.folder / "a.csv"}));
  REQUIRE(ended.code == 0);
  CHECK(ended.err.find(" held out (") != std::string::npos);
  const std::string log = bytes_of(c.folder / "a.csv");
  CHECK(log.substr(0, log.find('\n')) ==
        "step,tokens,loss,heldout_bits,learning_rate,tokens_per_second,seconds");
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
  const TrainCase c;
  REQUIRE(run(tools::train_verb, c.words("one.thimble", {"--threads", "1"})).code == 0);
  REQUIRE(run(tools::train_verb, c.words("three.thimble", {"--threads", "3"})).code == 0);
  CHECK(bytes_of(c.folder / "one.thimble") == bytes_of(c.folder / "three.thimble"));
  REQUIRE(run(tools::train_verb, c.words("other.thimble", {"--seed", "2"})).code == 0);
  CHECK(bytes_of(c.folder / "one.thimble") != bytes_of(c.folder / "other.thimble"));
}

namespace {

// Of 40 steps, whose whole.thimble is there: it is to be the same.
void kill_and_resume(const TrainCase& c, tools::Words words, int times) {
  Random random(3);
  const std::string model = c.folder / "killed.thimble", log = c.folder / "killed.csv";
  for (const std::string& word : {std::string("--every"), std::string("0"), std::string("--log"),
                                  log, std::string("--page"), c.folder / "killed.html"}) {
    words.push_back(word);
  }
  // A machine may be so fast that a run ends before: then there is another one.
  constexpr int kSignals[] = {SIGKILL, SIGTERM, SIGINT};
  for (int kills = 0, lives = 0; kills < times; ++lives) {
    REQUIRE(lives < 20 * times);
    const bool resumes = std::filesystem::exists(model + ".train");
    tools::Words now = words;
    if (resumes) now.push_back("--resume");
    const pid_t child = fork();
    if (child == 0) {
      for (const int each : kSignals) signal(each, SIG_DFL);  // doctest's own handlers go
      _exit(run(tools::train_verb, now).code);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random.below(120)));
    kill(child, kSignals[kills % 3]);
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 128 + kSignals[kills % 3]));
      ++kills;
      if (kills < times) continue;
      now = words;
      if (std::filesystem::exists(model + ".train")) now.push_back("--resume");
      REQUIRE(run(tools::train_verb, now).code == 0);
    }
    REQUIRE(bytes_of(c.folder / "whole.thimble") == bytes_of(model));
    // The log has every step once, whatever was computed twice.
    const std::vector<tools::train::TrainingRow> rows =
        tools::train::parse_training_log(log, bytes_of(log));
    REQUIRE(rows.size() == 40);
    for (size_t i = 0; i < rows.size(); ++i) CHECK(rows[i].step == i + 1);
    std::filesystem::remove(model + ".train");
  }
}

}  // namespace

TEST_CASE("train: killed at random moments and resumed, it ends with the same bits") {
  const TrainCase c;
  const auto learnt = [](tools::Words words) {  // the vocabulary, anew each time
    words.erase(std::find(words.begin(), words.end(), "--tokenizer"),
                std::find(words.begin(), words.end(), "--dim"));
    return words;
  };
  REQUIRE(run(tools::train_verb, learnt(c.words("whole.thimble", {"--steps", "40"}))).code == 0);
  kill_and_resume(c, learnt(c.words("killed.thimble", {"--steps", "40"})), 20);
}

TEST_CASE("train: so it does in 4 bits, whose scales have a past, and with a teacher") {
  const TrainCase c;
  const tools::Words q4 = {"--weights", "q4",      "--settle", "0.1",       "--quantized",
                           "0.8",       "--steps", "40",       "--teacher", kTokenizer};
  REQUIRE(run(tools::train_verb, c.words("whole.thimble", q4)).code == 0);
  kill_and_resume(c, c.words("killed.thimble", q4), 4);
}

TEST_CASE("train: a full disk leaves the checkpoint that was there, and the message says so") {
  const TrainCase c;
  REQUIRE(run(tools::train_verb, c.words("a.thimble")).code == 0);
  const std::string before = bytes_of(c.folder / "a.thimble.train");
  const auto refusal_within = [&](rlim_t bytes, const tools::Words& words, const char* expected) {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);  // as main() does
      const rlimit limit = {bytes, bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
      const std::string found = refusal_when([&] { tools::train_verb(words); });
      _exit(found.find(expected) != std::string::npos ? 17 : 18);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(bytes_of(c.folder / "a.thimble.train") == before);
    return WEXITSTATUS(status) == 17;
  };
  CHECK(refusal_within(before.size() / 2, c.words("a.thimble", {"--seed", "2", "--every", "0"}),
                       "a.thimble.train: cannot be written: "));
  CHECK(refusal_within(before.size() / 2, c.words("a.thimble", {"--resume"}),
                       "a.thimble.train as it was saved last: the same command with --resume"));
  CHECK(refusal_within(64, c.words("a.thimble"), ": no room for the tokens of the texts: "));
  // Nor does anything else stay.
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(c.folder.path)) {
    files += entry.is_regular_file();
  }
  CHECK(files == 3);  // the text, the model, the checkpoint
}

TEST_CASE("train: every family and way of storing weights ends as a model that runs") {
  const TrainCase c;
  for (const tools::Words& more : {tools::Words{"--family", "gpt2"},
                                   {"--family", "gpt2", "--weights", "q4"},
                                   {"--weights", "q4"},
                                   {"--weights", "q8", "--group", "row"},
                                   {"--weights", "f32"},
                                   {"--optimizer", "adamw", "--kv-heads", "1"},
                                   {"--isa", "plain"},
                                   {"--precision", "f32"}}) {
    const Ended ended = run(tools::train_verb, c.words("b.thimble", more));
    INFO(more[0], " ", more[1], ": ", ended.err);
    CHECK(ended.code == 0);
    CHECK(run(tools::inspect_verb, {c.folder / "b.thimble", "--self-test"}).code == 0);
  }
}

TEST_CASE("train: goes on with a model that was there") {
  const TrainCase c;
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
  const TrainCase c;
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
  const TrainCase c;
  const auto wrong = [&](const tools::Words& words) { return run(tools::train_verb, words).err; };
  CHECK(run(tools::train_verb, {}).code == 2);
  CHECK(run(tools::train_verb, {c.text}).code == 2);
  CHECK(wrong({c.text, "-o", c.text, "--tokenizer", kTokenizer}).find("written over") !=
        std::string::npos);
  CHECK(wrong({c.text, "-o", c.folder / "x", "--tokenizer", kTokenizer, "--heads", "3"})
            .find("expected an even multiple of the 3 heads") != std::string::npos);
  CHECK(wrong({c.text, "-o", c.folder / "x", "--from", kTokenizer, "--dim", "64"})
            .find("exclude each other") != std::string::npos);
  CHECK(wrong({c.text, "-o", c.folder / "x", "--tokenizer", kTokenizer, "--steps", "2", "--epochs",
               "1"})
            .find("exclude each other") != std::string::npos);
  CHECK(wrong(c.words("none.thimble", {"--resume"})).find("none.thimble.train: is not there") !=
        std::string::npos);
  CHECK(wrong(c.words("none.thimble", {"--precision", "bf16"}))
            .find("'--precision' is 'bf16', expected f32 or int16") != std::string::npos);
  CHECK(wrong(c.words("none.thimble", {"--precision", "int16", "--isa", "plain"}))
            .find("'--precision' is 'int16', expected f32 with this processor or --isa") !=
        std::string::npos);
  if (tools::train::find_kernels(nullptr, "int16")) {  // another precision would give other bits
    REQUIRE(run(tools::train_verb, c.words("p.thimble", {"--precision", "int16"})).code == 0);
    CHECK(wrong(c.words("p.thimble", {"--precision", "f32", "--resume"}))
              .find("it has 'precision int16', and this command says 'precision f32'") !=
          std::string::npos);
  }
  const Ended empty = run(tools::train_verb, {c.folder.write("empty", ""), "-o", c.folder / "x",
                                              "--tokenizer", kTokenizer});
  CHECK(empty.code == 1);
  CHECK(empty.err.find("is empty (0 bytes), expected a text") != std::string::npos);
  const Ended plan =
      run(tools::train_verb, {c.text, "-o", c.folder / "x", "--tokenizer", kTokenizer, "--plan"});
  CHECK(plan.code == 0);
  CHECK(plan.out.find("= RAM") != std::string::npos);
  CHECK(!std::filesystem::exists(c.folder / "x"));
}
