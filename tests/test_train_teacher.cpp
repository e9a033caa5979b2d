// SPDX-License-Identifier: MIT
// Learning what another model expects, and 4 bits whose scales follow.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "random.h"
#include "tiny_training.h"
#include "train/rounding.h"
#include "train_case.h"

using namespace thimble;
using namespace thimble::test;
using tools::WeightLayout;
using tools::train::Floats;
using tools::train::Parameters;
using tools::train::Rounding;
using tools::train::Workers;

namespace {

double nll_of(const std::string& model, const std::string& text) {
  const Ended eval = run(tools::eval_verb, {model, text, "--ctx", "64"});
  double nll = 99;
  std::sscanf(eval.out.c_str(), "nll_per_token %lf", &nll);
  return nll;
}

// Of a tiny model: the sum of squares that rounding loses.
double lost(const Rounding& rounding, const Floats& weights) {
  const Floats rounded(weights.size());
  rounding.round(Workers(1), weights.data(), rounded.data());
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double error = static_cast<double>(weights[i] - rounded[i]);
    sum += error * error;
  }
  return sum;
}

}  // namespace

TEST_CASE("train: scales of 4 bits follow the weights, and lose no more than new ones would") {
  const Parameters parameters(tiny_shapes()[0].shape);
  const WeightLayout layout = {kWeightQ4, 32, 16};
  Floats weights(parameters.size());
  random_weights(parameters, weights.data());
  Rounding rounding(parameters, layout);
  CHECK(rounding.scales().size() == Rounding::n_scales(parameters, layout));
  CHECK(std::all_of(rounding.scales().begin(), rounding.scales().end(),
                    [](float scale) { return scale == 0.0f; }));
  rounding.follow(Workers(2), weights.data());
  CHECK(lost(rounding, weights) <= 1.001 * lost(Rounding(parameters, layout), weights));
  Random random(4);
  for (int step = 0; step < 20; ++step) {
    for (float& w : weights) w *= 1 + random.uniform(-0.02f, 0.02f);
    rounding.follow(Workers(2), weights.data());
  }
  // The best of 80 may have moved elsewhere meanwhile.
  CHECK(lost(rounding, weights) <= 1.1 * lost(Rounding(parameters, layout), weights));

  // What is rounded already stays, and its scales.
  const Floats once(weights.size()), twice(weights.size());
  rounding.round(Workers(1), weights.data(), once.data());
  Rounding other(parameters, layout);
  for (int step = 0; step < 3; ++step) other.follow(Workers(1), once.data());
  other.round(Workers(1), once.data(), twice.data());
  CHECK(std::equal(once.begin(), once.end(), twice.begin()));
}

TEST_CASE("train: weights settle on the level that is nearest, and go no further") {
  const Parameters parameters(tiny_shapes()[0].shape);
  const WeightLayout layout = {kWeightQ4, 32, 16};
  Floats weights(parameters.size()), rounded(parameters.size());
  random_weights(parameters, weights.data());
  const Floats before(parameters.size());
  std::copy(weights.begin(), weights.end(), before.begin());
  Rounding rounding(parameters, layout);
  rounding.follow(Workers(2), weights.data());
  rounding.round(Workers(2), weights.data(), rounded.data());
  constexpr float kStep = 1e-3f;
  rounding.settle(Workers(2), kStep, weights.data());
  size_t moved = 0;
  for (const tools::train::Tensor& t : parameters.tensors()) {
    for (size_t i = t.offset; i < t.offset + t.size(); ++i) {
      const float move = std::fabs(weights[i] - before[i]);
      if (t.is_matrix) {
        REQUIRE(move <= 4 * kStep);  // outermost gaps are wide, and some weights lie beyond
        REQUIRE(std::fabs(weights[i] - rounded[i]) <= std::fabs(before[i] - rounded[i]) + 1e-6f);
        moved += move > 0;
      } else {
        REQUIRE(move == 0.0f);
      }
    }
  }
  CHECK(moved > parameters.size() / 2);
  rounding.settle(Workers(2), 1e9f, weights.data());
  const Floats settled(parameters.size());
  rounding.round(Workers(2), weights.data(), settled.data());
  for (size_t i = 0; i < settled.size(); ++i) {
    REQUIRE(std::fabs(settled[i] - weights[i]) <= 1e-6f * std::fabs(weights[i]));
  }
}

TEST_CASE("train: a model of 4 bits goes on as what it is, and ends as what was trained") {
  const TrainCase c;
  const tools::Words q4 = {"--weights", "q4", "--quantized", "0.5", "--steps", "20"};
  REQUIRE(run(tools::train_verb, c.words("a.thimble", q4)).code == 0);
  const tools::Words tune = {c.text,
                             "--from",
                             c.folder / "a.thimble",
                             "-o",
                             c.folder / "b.thimble",
                             "--steps",
                             "1",
                             "--weights",
                             "q4",
                             "--quantized",
                             "1",
                             "--rate",
                             "0"};
  REQUIRE(run(tools::train_verb, tune).code == 0);
  CHECK(bytes_of(c.folder / "a.thimble") == bytes_of(c.folder / "b.thimble"));
}

TEST_CASE("train: learns of a teacher, from another shape and in 4 bits, with a break too") {
  const TrainCase c;
  const std::string teacher = c.folder / "teacher.thimble";
  REQUIRE(run(tools::train_verb,
              c.words("teacher.thimble", {"--steps", "60", "--weights", "f32", "--average", "0"}))
              .code == 0);
  // Its own vocabulary is learnt with.
  tools::Words words = c.words(
      "pupil.thimble", {"--teacher", teacher, "--dim", "16", "--weights", "q4", "--quantized",
                        "0.5", "--steps", "60", "--average", "0", "--every", "0"});
  const auto tokenizer = std::find(words.begin(), words.end(), "--tokenizer");
  words.erase(tokenizer, tokenizer + 2);
  const Ended ended = run(tools::train_verb, words);
  INFO(ended.err);
  REQUIRE(ended.code == 0);
  CHECK(nll_of(c.folder / "pupil.thimble", c.text) < 4.0);  // chance is ln 1024 = 6.9
  CHECK(run(tools::inspect_verb, {c.folder / "pupil.thimble", "--self-test"}).code == 0);

  // It is the teacher that was learnt from: the text alone, or another's expectations, give others.
  tools::Words alone = words;
  const auto at = std::find(alone.begin(), alone.end(), "--teacher");
  *at = "--tokenizer";
  *(std::find(alone.begin(), alone.end(), "-o") + 1) = c.folder / "alone.thimble";
  REQUIRE(run(tools::train_verb, alone).code == 0);
  CHECK(bytes_of(c.folder / "alone.thimble") != bytes_of(c.folder / "pupil.thimble"));

  // A teacher that was exchanged is another run.
  words.push_back("--resume");
  CHECK(run(tools::train_verb, words).code == 0);  // it is at its end
  REQUIRE(run(tools::train_verb,
              c.words("teacher.thimble", {"--steps", "2", "--weights", "f32", "--average", "0"}))
              .code == 0);
  CHECK(run(tools::train_verb, words).err.find("it has 'teacher ") != std::string::npos);
}

TEST_CASE("train: a teacher that does not suit is refused") {
  const TrainCase c;
  REQUIRE(run(tools::train_verb, c.words("short.thimble", {"--ctx", "32"})).code == 0);
  tools::Words learnt = c.words("other.thimble", {"--steps", "2"});
  const auto tokenizer = std::find(learnt.begin(), learnt.end(), "--tokenizer");
  learnt.erase(tokenizer, tokenizer + 2);
  REQUIRE(run(tools::train_verb, learnt).code == 0);
  const auto wrong = [&](const tools::Words& more) {
    return run(tools::train_verb, c.words("x.thimble", more)).err;
  };
  CHECK(wrong({"--teacher", c.folder / "short.thimble"})
            .find("short.thimble: knows 32 positions, and 64 are to be learnt of it; expected "
                  "--ctx 32 or less") != std::string::npos);
  CHECK(wrong({"--teacher", c.folder / "other.thimble"})
            .find("other.thimble: has another vocabulary than the model that learns of it, "
                  "models/story.thimble") != std::string::npos);
  CHECK(wrong({"--teacher", c.text}).find("stories.txt: not a Thimble model") != std::string::npos);
  CHECK(run(tools::train_verb, {c.text, "-o", c.folder / "x", "--teacher", c.text})
            .err.find("stories.txt: not a Thimble model") != std::string::npos);
  CHECK(run(tools::train_verb,
            {c.text, "-o", c.folder / "x", "--teacher", kTokenizer, "--vocab", "300"})
            .err.find("exclude each other") != std::string::npos);
  CHECK(wrong({"--settle", "0.2"}).find("'--settle' needs '--weights q4'") != std::string::npos);
  CHECK(run(tools::train_verb, {c.text, "-o", c.folder / "x", "--teacher", c.folder / "x"})
            .err.find("would be written over") != std::string::npos);
  const Ended plan =
      run(tools::train_verb, {c.text, "-o", c.folder / "x", "--teacher", kTokenizer, "--plan"});
  CHECK(plan.out.find("\n  teacher   ") != std::string::npos);
}
