// SPDX-License-Identifier: MIT
// What the trainer computes is what the engine computes of the same weights.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "capture.h"
#include "doctest/doctest.h"
#include "engine.h"
#include "eval.h"
#include "exact_math.h"
#include "kernels/reference.h"
#include "opened_model.h"
#include "random.h"
#include "test_folder.h"
#include "tiny_model.h"
#include "tiny_training.h"
#include "train/corpus.h"
#include "train/network.h"
#include "train/rounding.h"
#include "verbs.h"
#include "vocabulary.h"

using namespace thimble;
using namespace thimble::test;
using namespace thimble::tools;
using namespace thimble::tools::train;

namespace {

const char kStories[] =
    R"(Once upon a time, there was a little girl named Lily. She loved to play with her toys and make funny faces. One day, she found a big, red ball in her room. She was very happy and wanted to play with it.
Lily took the ball to her mom and said, "Mom, can I play with it?" Her mom smiled and said, "Yes, Lily. Let's play with the ball!" They played with the ball and had lots of fun.
<|endoftext|>
Ben and Sam are friends. They like to play outside. Today, they have a hose and a bike. "Look, Ben!" Sam says. He rides his bike very fast. He goes up and down the hill.
"What game, Ben?" Sam asks. He stops his bike. "I will spray you with the hose!"
<|endoftext|>
The end.
)";

// Nats a token of the whole text by the trainer.
double trainer_nll(const ModelShape& shape, const thimble_model& tokenizer, const Floats& weights,
                   const Parameters& parameters, const Int8Steps& steps,
                   const train::Kernels& kernels, const std::string& stories = kStories) {
  const TestFolder folder;
  Corpus corpus(tokenizer, shape.n_ctx, folder.path);
  for (const std::string_view record : split_records(stories))
    corpus.add_held_out({record, false, false});
  CHECK_THROWS_AS(corpus.finish("the stories"), Refused);  // nothing is left to learn from
  const Network network(parameters, kernels);
  const PackedWeights packed = packed_weights(parameters, kernels, weights.data());
  Network::Workspace workspace(network, 512);
  double sum = 0, n = 0;
  for (const Pack& pack : packs_of(corpus, corpus.held_out(), 512)) {
    sum += network.run(packed, pack, &workspace, nullptr, steps);
    n += pack.n_targets();
  }
  return sum / n;
}

double engine_nll(const thimble_model& model, uint32_t kv_type,
                  const std::string& stories = kStories) {
  thimble_config config{};
  config.kv_type = kv_type;
  const TestSession session(model, config);
  const Score score =
      score_records(session, model, split_records(stories), BehindContext::kCut, nullptr);
  return score.nll / static_cast<double>(score.tokens);
}

// More of them, of the story model's own: what two ways of rounding differ by averages out.
std::string many_stories() {
  std::string all = kStories;
  for (const char* seed : {"1", "2", "3", "4", "5", "6"}) {
    const Ended told = run(run_verb, {"models/story.thimble", "-t", "0.9", "--seed", seed});
    REQUIRE(told.code == 0);
    all += "<|endoftext|>\n" + told.out;
  }
  return all;
}

}  // namespace

TEST_CASE("train: the loss of float32 weights is the engine's") {
  const LoadedModel story("models/story.thimble");
  const ModelShape shape = shape_of_model(story.model());
  const Vocabulary vocabulary = vocabulary_of_model(story.model());
  const ImageInMemory image =
      build_image_in_memory(shape, {kWeightF32, 0, 16}, &vocabulary, rows_of_model(story.model()));
  thimble_model model;
  REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);
  const Parameters parameters(shape);
  const Floats weights(parameters.size());
  read_rows(parameters, rows_of_model(story.model()), weights.data());
  const double expected = engine_nll(model, THIMBLE_KV_F32);
  for (const train::Kernels* kernels : all_kernels()) {
    const double found = trainer_nll(shape, model, weights, parameters, {}, *kernels);
    INFO(name_of(*kernels), ": ", found, ", the engine: ", expected);
    CHECK(std::fabs(found - expected) < (is_f32(*kernels) ? 1e-5 : 1e-4));
  }
}

TEST_CASE("train: the loss of rounded weights, activations and cache is the engine's, too") {
  const LoadedModel story("models/story.thimble");
  const ModelShape shape = shape_of_model(story.model());
  const Vocabulary vocabulary = vocabulary_of_model(story.model());
  const Parameters parameters(shape);
  const Floats weights(parameters.size()), rounded(parameters.size());
  read_rows(parameters, rows_of_model(story.model()), weights.data());
  const std::string stories = many_stories();
  for (const WeightLayout& layout :
       {WeightLayout{kWeightQ8, 32, 16}, WeightLayout{kWeightQ8, 64, 16},
        WeightLayout{kWeightQ8, 0, 16}, WeightLayout{kWeightQ4, 32, 16}}) {
    const ImageInMemory image =
        build_image_in_memory(shape, layout, &vocabulary, rows_of(parameters, weights.data()));
    thimble_model model;
    REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);
    Rounding(parameters, layout).round(Workers(2), weights.data(), rounded.data());
    const Floats stored(parameters.size());
    read_rows(parameters, rows_of_model(model), stored.data());
    INFO(layout_name(layout));
    CHECK(std::equal(stored.begin(), stored.end(), rounded.begin()));

    Int8Steps steps;
    steps.activations = true;
    steps.group = layout.group;
    for (const bool cache : {false, true}) {
      steps.cache = cache;
      const double expected = engine_nll(model, cache ? THIMBLE_KV_Q8 : THIMBLE_KV_F32, stories);
      for (const train::Kernels* kernels : all_kernels()) {
        const double found =
            trainer_nll(shape, model, rounded, parameters, steps, *kernels, stories);
        INFO(name_of(*kernels), cache ? ", int8 cache: " : ": ", found, ", the engine: ", expected);
        // Sums in another order move a number now and then across a tie, by a step, and what
        // follows from it others: half of what rounding itself changes (1e-3 to 5e-3).
        CHECK(std::fabs(found - expected) < 4e-3);
      }
    }
  }
}

TEST_CASE("train: activations are rounded as the engine's reference rounds them") {
  Random random(4);
  for (const uint32_t n : {1u, 5u, 16u, 33u, 100u}) {
    for (const uint32_t group : {16u, 32u, 64u}) {
      const uint32_t groups = (n + group - 1) / group, rows = 7;
      std::vector<float> x(rows * n);
      for (float& v : x)
        v = random.normal() * std::ldexp(1.0f, -static_cast<int>(random.below(20)));
      std::fill_n(x.begin(), n, 0.0f);
      std::vector<int8_t> values(rows * groups * group);
      std::vector<float> scales(rows * groups);
      std::vector<int32_t> sums(rows * groups);
      QuantizedRows quantized{};
      quantized.values = values.data();
      quantized.scales = scales.data();
      quantized.sums = sums.data();
      quantized.padded_cols = groups * group;
      quantized.group = group;
      quantized.n_groups = groups;
      quantize_q8_reference(quantized, x.data(), n, n, rows);
      for (const train::Kernels* kernels : all_kernels()) {
        std::vector<float> rounded = x;
        kernels->round_int8(rounded.data(), n, rows, n, group, false);
        size_t wrong = 0;
        for (uint32_t r = 0; r < rows; ++r) {
          for (uint32_t c = 0; c < n; ++c) {
            const float expected =
                static_cast<float>(values[r * groups * group + c]) * scales[r * groups + c / group];
            wrong += rounded[r * n + c] != expected;
          }
        }
        CHECK(wrong == 0);
        // The cache's scale: a bf16, rounded up, so that nothing exceeds 127 steps.
        rounded = x;
        kernels->round_int8(rounded.data(), n, rows, n, group, true);
        for (uint32_t r = 1; r < rows; ++r) {
          for (uint32_t begin = 0; begin < n; begin += group) {
            float max = 0;
            const uint32_t end = std::min(n, begin + group);
            for (uint32_t c = begin; c < end; ++c) max = std::max(max, std::fabs(x[r * n + c]));
            const float scale =
                from_bf16(static_cast<uint16_t>((bits_of(max / 127.0f) + 0xffffu) >> 16));
            for (uint32_t c = begin; c < end; ++c) {
              const float whole = static_cast<float>(round_to_even(x[r * n + c] * (1.0f / scale)));
              wrong += rounded[r * n + c] != whole * scale;
            }
          }
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("train: a model's vocabulary and shape come back as they were") {
  for (const NamedShape& each : tiny_shapes()) {
    const TinyModel tiny(each.shape, {kWeightF32, 0, 4}, true);
    const Vocabulary vocabulary = vocabulary_of_model(tiny.view);
    const ImageInMemory again = build_image_in_memory(shape_of_model(tiny.view), {kWeightF32, 0, 4},
                                                      &vocabulary, rows_of_model(tiny.view));
    INFO(each.name);
    REQUIRE(again.bytes == tiny.image.size());
    CHECK(std::equal(again.data(), again.data() + again.bytes, tiny.image.data()));
  }
  const Vocabulary bytes = tiny_byte_vocabulary(64);
  const ImageInMemory image = image_of_vocabulary(bytes);
  thimble_model model;
  REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);
  const ImageInMemory again = image_of_vocabulary(vocabulary_of_model(model));
  REQUIRE(again.bytes == image.bytes);
  CHECK(std::equal(again.data(), again.data() + again.bytes, image.data()));
}
