// SPDX-License-Identifier: MIT
// Adapters from training: their gradients, what they are stored as, and that they learn.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "adapter_file.h"
#include "capture.h"
#include "doctest/doctest.h"
#include "engine.h"
#include "opened_model.h"
#include "random.h"
#include "test_folder.h"
#include "tiny_adapter.h"
#include "tiny_model.h"
#include "tiny_training.h"
#include "train/lora.h"
#include "train/text_records.h"
#include "train/trainer.h"

using namespace thimble;
using namespace thimble::test;
using tools::train::find_kernels;
using tools::train::Floats;
using tools::train::Lora;
using tools::train::LoraOptions;
using tools::train::Pack;
using tools::train::Parameters;
using tools::train::Tensor;
using tools::train::Trainer;
using tools::train::Workers;

namespace {

tools::ModelShape gpt2_shape() {
  for (const NamedShape& each : family_shapes()) {
    if (each.name == std::string("GPT-2")) return each.shape;
  }
  return {};
}

std::vector<NamedShape> both_families() {
  return {{"Llama", tiny_shape(24, 20, 2, 3, 1, 8, 40, 32, true)}, {"GPT-2", gpt2_shape()}};
}

LoraOptions options_of(uint32_t rank, uint32_t matrices = kLoraMatrices) {
  LoraOptions options;
  options.rank = rank;
  options.matrices = matrices;
  options.alpha = 2.5f * static_cast<float>(rank);
  return options;
}

void random_factors(const Lora& lora, float* factors) {
  for (const Tensor& t : lora.factors().tensors()) {
    for (uint32_t row = 0; row < t.rows; ++row) {
      random_factor_row(5, t.kind, t.layer, row, t.cols, factors + t.offset + size_t{row} * t.cols);
    }
  }
}

Pack random_pack(const tools::ModelShape& shape) {
  Pack pack;
  const uint32_t n = std::min(20u, shape.n_ctx);
  const std::vector<int32_t> tokens = random_tokens(4, n + 1, shape.vocab_size);
  pack.sequences.push_back({0, n});
  pack.tokens.assign(tokens.begin(), tokens.end() - 1);
  pack.targets.assign(tokens.begin() + 1, tokens.end());
  return pack;
}

// base + scale * B A in double.
Doubles composed(const Parameters& parameters, const Parameters& factors, const float* base,
                 const Doubles& f, double scale) {
  Doubles w(base, base + parameters.size());
  for (size_t i = 0; i < factors.tensors().size(); i += 2) {
    const Tensor &a = factors.tensors()[i], &b = factors.tensors()[i + 1];
    const Tensor& t = *parameters.find(static_cast<SectionKind>(a.kind - kLoraA), a.layer);
    for (uint32_t r = 0; r < t.rows; ++r) {
      for (uint32_t c = 0; c < t.cols; ++c) {
        double sum = 0;
        for (uint32_t k = 0; k < a.rows; ++k) {
          sum += f[b.offset + size_t{r} * a.rows + k] * f[a.offset + size_t{k} * a.cols + c];
        }
        w[t.offset + size_t{r} * t.cols + c] += scale * sum;
      }
    }
  }
  return w;
}

}  // namespace

TEST_CASE("train lora: gradients of A and B are the differences of the loss in double") {
  for (const NamedShape& each : both_families()) {
    const Parameters parameters(each.shape);
    const Workers workers(1);
    Lora lora(parameters, options_of(3), {});
    const Floats factors(lora.factors().size()), weights(parameters.size());
    const Floats projected(factors.size());
    random_weights(parameters, lora.base());
    random_factors(lora, factors.data());
    lora.compose(workers, factors.data(), false, weights.data());
    const Doubles f(factors.begin(), factors.end());
    const auto weights_of = [&](const Doubles& of) {
      return composed(parameters, lora.factors(), lora.base(), of, 2.5);
    };
    const Doubles expected_weights = weights_of(f);
    for (size_t i = 0; i < weights.size(); ++i) {
      CHECK(std::fabs(static_cast<double>(weights[i]) - expected_weights[i]) < 1e-5);
    }

    const Pack pack = random_pack(each.shape);
    const TrainerResult run =
        trainer_result(parameters, *find_kernels(nullptr, "f32"), weights.data(), pack);
    lora.project(workers, run.gradient.data(), projected.data());

    TrainReference reference(parameters);
    Random random(9);
    for (const Tensor& t : lora.factors().tensors()) {
      for (int trial = 0; trial < 3; ++trial) {  // directions in each tensor
        const Doubles direction = random_direction(&random, t.size());
        double found = 0, size = 0;
        for (size_t i = 0; i < t.size(); ++i) {
          found += direction[i] * static_cast<double>(projected[t.offset + i]);
          size += std::fabs(static_cast<double>(projected[t.offset + i]));
        }
        const double expected = slope(f, t.offset, direction, [&](const Doubles& at) {
          return reference.run(weights_of(at), pack, nullptr);
        });
        INFO(each.name, ": ", tools::section_name(t.kind), " of layer ", t.layer);
        CHECK(std::fabs(found - expected) <= 1e-5 * (1 + size));
      }
    }
  }
}

TEST_CASE("train lora: what training rounds to is what the file holds") {
  for (const NamedShape& each : both_families()) {
    for (const tools::WeightLayout& layout :
         {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 32, 4},
          tools::WeightLayout{kWeightQ8, 0, 4}}) {
      const TinyModel m(each.shape, layout);
      const Parameters parameters(each.shape);
      const Workers workers(1);
      const uint32_t matrices = kMatrixQkv | kMatrixDown;
      Lora lora(parameters, options_of(5, matrices), layout);
      const Floats factors(lora.factors().size()), weights(parameters.size());
      const Floats merged(parameters.size());
      read_rows(parameters, tools::rows_of_model(m.view), lora.base());
      random_factors(lora, factors.data());
      lora.compose(workers, factors.data(), true, weights.data());
      const tools::ImageInMemory file =
          tools::build_adapter(m.view, 5, matrices, lora.rows(factors.data()));
      thimble_adapter adapter;
      REQUIRE(thimble_adapter_open(&adapter, &m.view, file.data(), file.bytes) == THIMBLE_OK);
      read_rows(parameters, tools::merged_rows(m.view, adapter), merged.data());
      for (size_t i = 0; i < weights.size(); ++i) {
        // Sums of five products, in float and in double.
        CHECK(std::fabs(weights[i] - merged[i]) < 2e-6f);
      }
    }
  }
}

namespace {

std::string letters(int n, const char* opening) {
  const char* names[] = {"Bram", "Odo", "Wyn"};
  const char* things[] = {"dragon", "bear", "storm", "river"};
  Random random(7);
  std::string text;
  for (int i = 0; i < n; ++i) {
    text += std::string(opening) + " I, " + names[random.below(3)] + ", met a " +
            things[random.below(4)] + " at the " + (random.below(2) ? "hill" : "bridge") +
            ".\n<|endoftext|>\n";
  }
  return text;
}

double eval_nll(const tools::Words& words) {
  const Ended eval = run(tools::eval_verb, words);
  CHECK(eval.code == 0);
  double nll = 99;
  std::sscanf(eval.out.c_str(), "nll_per_token %lf", &nll);
  return nll;
}

}  // namespace

TEST_CASE("train lora: learns a new text, in a file that is small") {
  const TestFolder folder;
  const std::string old_text = folder.write("old.txt", letters(80, "Dear friend, how are you?"));
  const std::string new_text = folder.write("new.txt", letters(80, "To the king!"));
  for (const char* family : {"llama", "gpt2"}) {
    for (const char* weights : {"q8", "f32", "q4"}) {
      INFO(family, ", ", weights);
      const std::string base = folder / "base.thimble", adapter = folder / "new.lora";
      const std::string merged = folder / "merged.thimble";
      REQUIRE(run(tools::train_verb,
                  {old_text,   "-o",        base,        "--tokenizer", "models/story.thimble",
                   "--family", family,      "--weights", weights,       "--dim",
                   "32",       "--layers",  "2",         "--heads",     "2",
                   "--ctx",    "64",        "--steps",   "25",          "--batch",
                   "600",      "--warm-up", "2",         "--threads",   "2"})
                  .code == 0);
      const Ended trained =
          run(tools::train_verb,
              {new_text, "-o", adapter, "--from", base, "--lora", "4", "--steps", "40", "--batch",
               "600", "--warm-up", "2", "--threads", "2", "--held-out", "0.1"});
      REQUIRE(trained.code == 0);
      const double before = eval_nll({base, new_text});
      const double after = eval_nll({base, new_text, "--lora", adapter});
      CHECK(after < before - 1);
      const auto size = [](const std::string& path) { return std::filesystem::file_size(path); };
      CHECK(size(adapter) < size(base));
      REQUIRE(run(tools::merge_verb, {base, adapter, "-o", merged, "--weights", "f32"}).code == 0);
      CHECK(std::fabs(eval_nll({merged, new_text}) - after) < 0.1);
      CHECK(run(tools::run_verb, {merged, "--lora", adapter, "-n", "3"}).code == 1);
    }
  }
}

TEST_CASE("train lora: with a break it ends with the same bits, on any number of threads") {
  const TestFolder folder;
  const tools::LoadedModel story("models/story.thimble");
  const tools::ModelShape shape = tools::shape_of_model(story.model());
  const Parameters parameters(shape);
  tools::train::Corpus corpus(story.model(), 64, folder.path);
  corpus.add(tools::train::TextRecords({folder.write("letters", letters(40, "To the king!"))}, {}));
  corpus.finish("letters");
  tools::train::TrainerOptions options;
  options.n_ctx = 64;
  options.batch_tokens = 200;
  options.average = 0.5f;
  options.dropout = 0.1f;
  options.quantized_share = 0.5;
  options.layout = {kWeightQ8, 32, 16};
  options.optimizer.muon = false;
  options.lora = options_of(3);
  const auto trainer_of = [&](uint32_t threads) {
    options.threads = threads;
    auto trainer = std::make_unique<Trainer>(parameters, *find_kernels(), corpus, options);
    read_rows(parameters, tools::rows_of_model(story.model()), trainer->weights());
    trainer->state().total_steps = 4;
    return trainer;
  };
  const auto adapter_of = [&](const Trainer& trainer) {
    const tools::ImageInMemory image =
        tools::build_adapter(story.model(), 3, kLoraMatrices, trainer.adapter_rows());
    return std::string(reinterpret_cast<const char*>(image.data()), image.bytes);
  };
  const auto whole = trainer_of(1), first = trainer_of(2), second = trainer_of(3);
  for (int i = 0; i < 4; ++i) whole->step();
  for (int i = 0; i < 2; ++i) first->step();
  first->save(folder / "run.train", "settings\n");
  second->load(folder / "run.train", "settings\n");
  for (int i = 0; i < 2; ++i) second->step();
  CHECK(adapter_of(*second) == adapter_of(*whole));
  CHECK(adapter_of(*first) != adapter_of(*whole));
}
