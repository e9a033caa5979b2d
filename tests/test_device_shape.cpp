// SPDX-License-Identifier: MIT
// The largest shape for a device: its numbers are plan's, it fits, and no larger one does.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "args.h"
#include "capture.h"
#include "targets.h"
#include "test_folder.h"
#include "tiny_model.h"
#include "train/device_shape.h"

namespace thimble::tools::train {
namespace {

using test::refusal_when;

template <class Plan>
bool same(const Plan& a, const Plan& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;  // plans are 64-bit numbers throughout
}

uint32_t step_of(const ShapeOptions& options) {
  return options.layout.group ? std::max(32u, options.layout.group) : 16;
}

bool fits(const ModelShape& shape, const Vocabulary* vocabulary, const ShapeOptions& options,
          const Device& device) {
  const ShapeNeeds needs = needs_of(shape, vocabulary, options);
  return needs.flash.total() <= device.flash && needs.ram.total() <= device.ram;
}

Vocabulary usual_vocabulary() {
  return vocabulary_of_size(kTokenizerByteBpe, 1024, 5000);
}

TEST_CASE("device shape: an outline says what the whole model says, to the byte") {
  for (const auto& layout : test::all_weight_types(4)) {
    for (test::NamedShape named : test::llama_shapes()) {
      for (const ShapeFamily family : {ShapeFamily::kLlama, ShapeFamily::kGpt2}) {
        CAPTURE(named.name);
        set_family(family, &named.shape);
        ShapeOptions options;
        options.layout = layout;
        options.n_ctx = named.shape.n_ctx - 3;
        for (const bool with_vocabulary : {false, true}) {
          const test::TinyModel whole(named.shape, layout, with_vocabulary, 1, true);
          const Vocabulary v = test::tiny_vocabulary(named.shape.vocab_size);
          for (const uint32_t n_candidates : {0u, 7u}) {
            for (const uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
              options.kv_type = kv_type;
              options.n_candidates = n_candidates;
              options.n_batch = 1 + n_candidates;
              const ShapeNeeds needs =
                  needs_of(named.shape, with_vocabulary ? &v : nullptr, options);
              const thimble_config config = {options.n_ctx, options.n_batch, nullptr,
                                             kv_type,       n_candidates,    0};
              CHECK(same(needs.flash, plan_flash(whole.view)));
              CHECK(same(needs.ram, plan_ram(whole.view, config)));
              CHECK(needs.flash.model() == whole.image.size());
            }
          }
        }
      }
    }
  }
}

TEST_CASE("device shape: a model whose layers differ has no outline") {
  for (const test::NamedShape& named : test::family_shapes()) {
    if (named.shape.layers.empty() && named.shape.ropes.size() < 2) continue;
    CHECK(refusal_when([&] {
            outline_image(named.shape, {kWeightF32, 0, 4}, nullptr);
          }) == "a model whose layers differ has no outline");
  }
}

// What is chosen keeps the rules, fits, and is as large as it can be along each of its sizes.
void check_choice(const DeviceShape& chosen, const Device& device, const Vocabulary* vocabulary,
                  const ShapeOptions& options) {
  const ModelShape& s = chosen.shape;
  const uint32_t step = step_of(options);
  const bool is_llama = options.family == ShapeFamily::kLlama;
  CHECK((s.n_layers >= kFewestLayers && s.n_layers <= kMostLayers));
  CHECK((s.dim >= kLeastAspect * s.n_layers && s.dim <= kMostAspect * s.n_layers));
  CHECK((s.dim % step == 0 && s.hidden_dim % step == 0));
  CHECK((s.head_dim == 16 || s.head_dim == 32 || s.head_dim == 64));
  CHECK(s.n_heads * s.head_dim == s.dim);
  CHECK(s.n_heads % s.n_kv_heads == 0);
  CHECK((is_llama || s.n_kv_heads == s.n_heads));
  CHECK(chosen.n_params == count_parameters(s));
  CHECK(chosen.needs.flash.total() + chosen.flash_left == device.flash);
  CHECK(chosen.needs.ram.total() + chosen.ram_left == device.ram);
  CHECK(fits(s, vocabulary, options, device));
  CHECK(std::count(chosen.text.begin(), chosen.text.end(), '\n') == 1);

  ModelShape larger = s;
  larger.hidden_dim += step;
  const uint32_t widest = is_llama ? 10 * s.dim / 3 : 5 * s.dim;
  CHECK((larger.hidden_dim > widest || !fits(larger, vocabulary, options, device)));
  larger = s;
  ++larger.n_layers;
  CHECK((larger.n_layers > kMostLayers || larger.n_layers * kLeastAspect > s.dim ||
         !fits(larger, vocabulary, options, device)));
  larger = s;
  for (uint32_t kv = s.n_kv_heads + 1; kv <= s.n_heads / 2 && is_llama; ++kv) {
    if (s.n_heads % kv != 0) continue;
    larger.n_kv_heads = kv;
    CHECK(needs_of(larger, vocabulary, options).ram.total() > device.ram);
  }
}

TEST_CASE("device shape: on every board the choice fits, and the next larger does not") {
  const Vocabulary vocabulary = usual_vocabulary();
  for (const Board& board : kBoards) {
    const Device device{&board, board.flash, board.ram};
    ShapeOptions options;
    for (const WeightType type : {kWeightQ8, kWeightQ4, kWeightF32}) {
      for (const ShapeFamily family : {ShapeFamily::kLlama, ShapeFamily::kGpt2}) {
        CAPTURE(board.name);
        CAPTURE(type);
        options.family = family;
        options.layout = {type, type == kWeightF32 ? 0u : 32u, find_target(board.target)->row_tile};
        check_choice(shape_for(device, &vocabulary, 1024, options), device, &vocabulary, options);
      }
    }
  }
}

TEST_CASE("device shape: no shape of the stated kinds is larger by more than 3 %") {
  const Vocabulary vocabulary = vocabulary_of_size(kTokenizerScoredBpe, 512, 2000);
  for (const uint64_t flash : {230u, 400u, 900u}) {
    for (const uint64_t ram : {40u, 64u, 300u}) {
      CAPTURE(flash);
      CAPTURE(ram);
      const Device device{nullptr, flash * kKiB, ram * kKiB};
      ShapeOptions options;
      options.n_ctx = 128;
      const DeviceShape chosen = shape_for(device, &vocabulary, 512, options);
      check_choice(chosen, device, &vocabulary, options);
      const auto distance = [](const ModelShape& s) {
        return std::fabs(std::log(static_cast<double>(s.dim) / s.n_layers / kBestAspect));
      };
      uint64_t most = 0;
      std::vector<ModelShape> all;
      for (uint32_t layers = kFewestLayers; layers <= 12; ++layers) {
        for (uint32_t dim = 32; dim <= 256; dim += 32) {
          if (dim < kLeastAspect * layers || dim > kMostAspect * layers) continue;
          ModelShape s = chosen.shape;
          s.dim = dim;
          s.n_layers = layers;
          s.head_dim = dim == 192 || dim == 256 ? 32 : 16;
          s.n_heads = dim / s.head_dim;
          const uint32_t narrowest = (dim * 8 / 3 + 31) / 32 * 32;
          s.hidden_dim = narrowest;
          for (s.n_kv_heads = std::max(1u, s.n_heads / 2); s.n_kv_heads > 1; --s.n_kv_heads) {
            if (s.n_heads % s.n_kv_heads != 0) continue;
            if (needs_of(s, &vocabulary, options).ram.total() <= device.ram) break;
          }
          for (; s.hidden_dim <= std::max(narrowest, dim * 10 / 3); s.hidden_dim += 32) {
            if (!fits(s, &vocabulary, options, device)) continue;
            most = std::max(most, count_parameters(s));
            all.push_back(s);
          }
        }
      }
      CHECK(chosen.n_params <= most);
      CHECK(static_cast<double>(chosen.n_params) >= 0.97 * static_cast<double>(most));
      for (const ModelShape& s : all) {
        if (static_cast<double>(count_parameters(s)) < 0.97 * static_cast<double>(most)) continue;
        CHECK(distance(s) >= distance(chosen.shape) - 1e-12);
      }
    }
  }
}

TEST_CASE("device shape: groups decide the step, and what is given as 0 limits nothing") {
  const Vocabulary vocabulary = usual_vocabulary();
  ShapeOptions options;
  const Device flash_only{nullptr, 1 * kMiB, 0};
  for (const uint32_t group : {64u, 128u, 0u}) {
    options.layout.group = group;
    const DeviceShape chosen = shape_for(flash_only, &vocabulary, 1024, options);
    CHECK(chosen.shape.dim % (group ? group : 16) == 0);
    CHECK(chosen.needs.flash.total() + chosen.flash_left == flash_only.flash);
    CHECK(chosen.ram_left == 0);
    CHECK(chosen.text.find("RAM") == std::string::npos);
  }
  options.layout.group = 32;
  options.most_parameters = 300000;
  const DeviceShape few = shape_for({}, nullptr, 1024, options);
  CHECK(few.n_params <= 300000);
  CHECK(few.n_params > 250000);
  CHECK(few.text.find("left") == std::string::npos);
  options.most_parameters = 0;
  CHECK_THROWS_WITH_AS(shape_for({}, nullptr, 1024, options),
                       "expected the device's flash, --board NAME or --flash SIZE", WrongUsage);
}

TEST_CASE("device shape: what is too small is named, and by how much") {
  const Vocabulary vocabulary = usual_vocabulary();
  ShapeOptions options;
  const auto refused = [&](uint64_t flash, uint64_t ram) {
    return refusal_when([&] { shape_for({nullptr, flash, ram}, &vocabulary, 1024, options); });
  };
  ModelShape smallest;
  smallest.dim = 32;
  smallest.hidden_dim = 96;
  smallest.n_layers = 2;
  smallest.n_heads = 2;
  smallest.n_kv_heads = 1;
  smallest.head_dim = 16;
  smallest.vocab_size = 1024;
  smallest.n_ctx = 256;
  const ShapeNeeds needs = needs_of(smallest, &vocabulary, options);
  const uint64_t flash = needs.flash.total(), ram = needs.ram.total();
  CHECK(refused(flash, ram) == "accepted");
  const std::string first =
      "no shape fits the device; the smallest is dim 32, hidden 96, 2 layers, 2 heads of 16 (1 "
      "key/value), context 256\n";
  const std::string no_flash = refused(flash - 1, ram);
  CHECK(no_flash.rfind(first + "flash is too small: the smallest shape needs " +
                           std::to_string(flash) + " bytes (",
                       0) == 0);
  CHECK(no_flash.find(", there are " + std::to_string(flash - 1) + ", 1 are missing") !=
        std::string::npos);
  CHECK(no_flash.find("RAM") == std::string::npos);
  const std::string no_ram = refused(flash, ram - 3000);
  CHECK(no_ram.rfind(first + "RAM is too small", 0) == 0);
  CHECK(no_ram.find(", 3000 are missing; a context of ") != std::string::npos);
  CHECK(refused(flash, 2000).find("; no context would fit") != std::string::npos);
  const std::string neither = refused(1000, 2000);
  CHECK(neither.find("\nflash is too small") != std::string::npos);
  CHECK(neither.find("\nRAM is too small") != std::string::npos);
  options.most_parameters = 1000;
  CHECK(refused(flash, ram) == first + "the smallest shape has " +
                                   std::to_string(count_parameters(smallest)) +
                                   " parameters, at most 1000 are wanted");
}

TEST_CASE("device shape: options of a device") {
  const std::vector<Option> known = {{"--board", true}, {"--flash", true}, {"--ram", true}};
  const Device board = device_of(Args({"--board", "rp2040", "--ram", "200K"}, known));
  CHECK(std::string(board.board->name) == "rp2040");
  CHECK(board.flash == 2 * kMiB);
  CHECK(board.ram == 200 * kKiB);
  CHECK_THROWS_AS(device_of(Args({"--board", "rp2041"}, known)), WrongUsage);
  CHECK(device_of(Args({}, known)).flash == 0);
}

}  // namespace
}  // namespace thimble::tools::train
