// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "engine.h"
#include "opened_model.h"
#include "random.h"
#include "tiny_model.h"
#include "tiny_training.h"
#include "train/dropout.h"
#include "train/network.h"
#include "train/random_stream.h"

using namespace thimble;
using namespace thimble::test;
using tools::train::Floats;
using tools::train::Kernels;
using tools::train::Network;
using tools::train::Pack;
using tools::train::PackedWeights;
using tools::train::Parameters;
using tools::train::Tensor;

namespace {

// Shapes that can be trained: all activations, norms, biases, windows, odd widths.
std::vector<NamedShape> trainable_shapes() {
  std::vector<NamedShape> shapes;
  for (const NamedShape& each : tiny_shapes()) {
    const tools::ModelShape& s = each.shape;
    if (s.norm_after || s.parallel || s.qk_norm || s.logit_cap != 0.0f) continue;
    shapes.push_back(each);
  }
  return shapes;
}

// Sequences of odd lengths; some tokens are not asked for.
Pack tiny_pack(const tools::ModelShape& shape, uint64_t seed, std::vector<uint32_t> lengths) {
  Random random(seed);
  Pack pack;
  for (uint32_t n : lengths) {
    n = std::min(n, shape.n_ctx);
    pack.sequences.push_back({static_cast<uint32_t>(pack.tokens.size()), n});
    for (uint32_t i = 0; i < n; ++i) {
      pack.tokens.push_back(static_cast<int32_t>(random.below(shape.vocab_size)));
      const bool asked = random.below(5) > 0;
      pack.targets.push_back(asked ? static_cast<int32_t>(random.below(shape.vocab_size)) : -1);
    }
  }
  return pack;
}

// The largest difference of a tensor, as a part of its largest gradient; the worst tensor's.
double worst_error(const Parameters& parameters, const std::vector<float>& found,
                   const Doubles& expected, std::string* where) {
  double worst = 0;
  for (const Tensor& t : parameters.tensors()) {
    double largest = 0, error = 0;
    for (size_t i = t.offset; i < t.offset + t.size(); ++i) {
      largest = std::max(largest, std::fabs(expected[i]));
      error = std::max(error, std::fabs(static_cast<double>(found[i]) - expected[i]));
    }
    if (error <= worst * largest) continue;
    worst = error / largest;
    *where = std::string(tools::section_name(t.kind)) + " of layer " + std::to_string(t.layer);
  }
  return worst;
}

}  // namespace

TEST_CASE("train reference: its gradient is that of its loss") {
  for (const NamedShape& each : trainable_shapes()) {
    const Parameters parameters(each.shape);
    Floats weights(parameters.size());
    random_weights(parameters, weights.data());
    Doubles w(weights.begin(), weights.end()), gradient(w.size());
    const Pack pack = tiny_pack(each.shape, 5, {7, 12});
    TrainReference reference(parameters);
    reference.run(w, pack, &gradient);
    Random random(9);
    for (const Tensor& t : parameters.tensors()) {
      for (int trial = 0; trial < 3; ++trial) {  // some directions in each tensor
        const Doubles direction = random_direction(&random, t.size());
        double expected = 0;
        for (size_t i = 0; i < t.size(); ++i) expected += direction[i] * gradient[t.offset + i];
        const double found = slope(w, t.offset, direction, [&](const Doubles& at) {
          return reference.run(at, pack, nullptr);
        });
        INFO(each.name, ": ", tools::section_name(t.kind), " of layer ", t.layer);
        // ReLU has a corner, which a difference may straddle.
        const double tolerance = each.shape.activation == kActivationRelu ? 1e-3 : 1e-6;
        CHECK(std::fabs(found - expected) <= tolerance * (1 + std::fabs(expected)));
      }
    }
  }
}

TEST_CASE("train: gradients are those in double within 1e-5 of a tensor's largest, by int16 1e-3") {
  for (const NamedShape& each : trainable_shapes()) {
    const Parameters parameters(each.shape);
    Floats weights(parameters.size());
    random_weights(parameters, weights.data());
    const Pack pack = tiny_pack(each.shape, 5, {1, 33, 2, 61, 40, 64});
    Doubles gradient(parameters.size());
    const double loss =
        TrainReference(parameters).run({weights.begin(), weights.end()}, pack, &gradient);
    for (const Kernels* kernels : all_kernels()) {
      const TrainerResult result = trainer_result(parameters, *kernels, weights.data(), pack);
      INFO(each.name, " by ", name_of(*kernels));
      CHECK(std::fabs(result.loss - loss) <= loss_bound(*kernels) * loss);
      std::string where;
      const double error = worst_error(parameters, result.gradient, gradient, &where);
      INFO(where);
      CHECK(error <= gradient_bound(*kernels));
    }
  }
}

TEST_CASE("train: gradients towards what a teacher expects are those in double") {
  for (const NamedShape& each : trainable_shapes()) {
    // A deeper one of the same vocabulary, where layers are alike.
    tools::ModelShape other = each.shape;
    if (other.layers.empty()) ++other.n_layers;
    const Parameters parameters(each.shape), of_teacher(other);
    Floats weights(parameters.size()), teaching(of_teacher.size());
    random_weights(parameters, weights.data());
    random_weights(of_teacher, teaching.data(), 8);
    const Pack pack = tiny_pack(each.shape, 5, {1, 33, 2, 61, 40, 64});
    const std::vector<Doubles> expected =
        TrainReference(of_teacher).expectations({teaching.begin(), teaching.end()}, pack);
    Doubles gradient(parameters.size());
    TrainReference reference(parameters);
    reference.learn(&expected);
    const double loss = reference.run({weights.begin(), weights.end()}, pack, &gradient);
    for (const Kernels* kernels : all_kernels()) {
      const Network network(of_teacher, *kernels);
      const PackedWeights packed = packed_weights(of_teacher, *kernels, teaching.data());
      Network::Workspace workspace(network, static_cast<uint32_t>(pack.tokens.size()));
      const Network::Teacher teacher = {network, packed, &workspace};
      const TrainerResult result =
          trainer_result(parameters, *kernels, weights.data(), pack, 0, 0, &teacher);
      INFO(each.name, " by ", name_of(*kernels));
      CHECK(std::fabs(result.loss - loss) <= loss_bound(*kernels) * loss);
      std::string where;
      const double error = worst_error(parameters, result.gradient, gradient, &where);
      INFO(where);
      // Two softmaxes whose difference this is are larger than it, and so is what rounding did.
      CHECK(error <= (is_f32(*kernels) ? 1 : 2) * gradient_bound(*kernels));
    }
  }
}

TEST_CASE("train: dropout's gradient is that of the same mask in double") {
  for (const NamedShape& each : trainable_shapes()) {
    if (!each.shape.layers.empty()) continue;  // windows move where a row of weights begins
    const Parameters parameters(each.shape);
    Floats weights(parameters.size());
    random_weights(parameters, weights.data());
    const Pack pack = tiny_pack(each.shape, 6, {20, 37, 64});
    constexpr float kDropout = 0.25f;
    constexpr uint64_t kSeed = 77;
    using namespace tools::train;
    const uint32_t limit = dropout_limit(kDropout);
    const double factor = static_cast<double>(dropout_scale(kDropout));
    const auto place_seed = [](uint32_t layer, uint32_t place) {
      return mixed(kSeed + (uint64_t{layer} * 8 + place + 1) * 0x9e3779b97f4a7c15u);
    };
    for (const Kernels* kernels : all_kernels()) {
      ReferenceDropout dropout;
      size_t dropped = 0, all_elements = 0;
      dropout.residual = [&](uint32_t layer, uint32_t place, size_t i) {
        ++all_elements;
        const bool kept = random_bits(element_number(place_seed(layer, place), i)) >> 16 >= limit;
        dropped += kept ? 0 : 1;
        return kept ? factor : 0.0;
      };
      dropout.attention = [&](uint32_t layer, uint32_t begin, uint32_t head, uint32_t query,
                              uint32_t key) {
        const uint64_t seed = mixed(place_seed(layer, 1) + begin);
        const uint32_t panel = kernels->panel, width = panel / 2;
        const uint32_t number = key / panel * width + key % width;
        const uint32_t bits = random_bits(attention_number(seed, head, query) + number);
        return (key % panel < width ? bits & 0xffff : bits >> 16) >= limit ? factor : 0.0;
      };
      Doubles gradient(parameters.size());
      const double loss = TrainReference(parameters, dropout)
                              .run({weights.begin(), weights.end()}, pack, &gradient);
      const TrainerResult result =
          trainer_result(parameters, *kernels, weights.data(), pack, kDropout, kSeed);
      INFO(each.name, " by ", name_of(*kernels));
      CHECK(std::fabs(result.loss - loss) <= loss_bound(*kernels) * loss);
      std::string where;
      const double error = worst_error(parameters, result.gradient, gradient, &where);
      INFO(where);
      CHECK(error <= gradient_bound(*kernels));
      const double share = static_cast<double>(dropped) / static_cast<double>(all_elements);
      CHECK(share > 0.2);
      CHECK(share < 0.3);
    }
  }
}

// Some seconds: `-tc="measure: gradients*" --no-skip -s` prints the worst error of each table.
TEST_CASE("measure: gradients of the story model on whole contexts" * doctest::skip()) {
  const tools::LoadedModel story("models/story.thimble");
  const Parameters parameters(tools::shape_of_model(story.model()));
  Floats weights(parameters.size());
  read_rows(parameters, tools::rows_of_model(story.model()), weights.data());
  const Pack pack = tiny_pack(parameters.shape(), 5, {512, 200, 312});
  Doubles gradient(parameters.size());
  TrainReference(parameters).run({weights.begin(), weights.end()}, pack, &gradient);
  for (const Kernels* kernels : all_kernels()) {
    const TrainerResult result = trainer_result(parameters, *kernels, weights.data(), pack);
    std::string where;
    const double error = worst_error(parameters, result.gradient, gradient, &where);
    CHECK(error <= gradient_bound(*kernels));
    MESSAGE(name_of(*kernels), ": ", error, ", ", where);
  }
}
