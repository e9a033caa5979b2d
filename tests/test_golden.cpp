// SPDX-License-Identifier: MIT
// The engine against numbers that were computed apart from it: a forward pass in double precision
// (double_forward.h), the golden files in ../shared, and logits hashes that hold on every machine.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "crc32.h"
#include "double_forward.h"
#include "json.h"
#include "model.h"
#include "readers/reader.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// ---- The double forward pass
// ---------------------------------------------------------------------

struct Comparison {
  double worst_share = 0;    // the largest error, as a share of its bound
  double largest_bound = 0;  // of the logits that were compared
  size_t n_logits = 0;
  size_t longest = 0;  // tokens
};

// Adds a text to the comparison, up to the first activation that might be rounded to the other side
// of a tie: from there on bounds say little.
void compare(const thimble_model& model, DoubleForward expected, const std::vector<int32_t>& text,
             Comparison* c) {
  TestSession s(model);
  for (size_t t = 0; t < text.size(); ++t) {
    feed_pieces(s, &text[t], 1, 1);
    const float* logits = thimble_logits(s);
    const Estimates estimates = expected.feed(text[t]);
    if (expected.possible_flips() > 0) return;
    for (uint32_t i = 0; i < model.vocab_size; ++i) {
      const double bound = estimates[i].bound();
      const double error = std::fabs(static_cast<double>(logits[i]) - estimates[i].value);
      REQUIRE_MESSAGE(error <= bound, "token ", t, ", logit ", i, ": found ", logits[i],
                      ", expected ", estimates[i].value, " +- ", bound);
      c->worst_share = std::fmax(c->worst_share, error / bound);
      c->largest_bound = std::fmax(c->largest_bound, bound);
      ++c->n_logits;
    }
    c->longest = std::max(c->longest, t + 1);
  }
}

// The weights that the engine computes with: of f32 what the image was built from, of int8 what
// the image makes of it.
tools::RowSource engine_rows(const TinyModel& m) {
  return [&m](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
    if (section_of(m.view, kind, layer).type == kElementQ8) {
      read_row(out, matrix_of(m.view, kind, layer), row);
    } else {
      random_row(m.seed, kind, layer, row, cols, out);
    }
  };
}

}  // namespace

TEST_CASE("golden: f32 is within the derived bound of a double forward pass") {
  for (const NamedShape& named : tiny_shapes()) {
    for (uint32_t tile : {1u, 2u, 4u, 8u, 16u}) {
      TinyModel m(named.shape, {kWeightF32, 0, tile});
      CAPTURE(std::string(named.name));
      Comparison c;
      compare(m.view, DoubleForward(m.shape, m.layout, engine_rows(m)),
              random_tokens(7, m.shape.n_ctx, m.shape.vocab_size), &c);
      CHECK(c.longest == m.shape.n_ctx);
      CHECK(c.largest_bound < 4e-5);  // so that the bound says something; logits are about 1
      CHECK(c.worst_share > 0.05);
    }
  }
}

TEST_CASE("golden: int8 is within the derived bound of a double forward pass that quantizes") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types()) {
      if (layout.type != kWeightQ8) continue;
      TinyModel m(named.shape, layout);
      CAPTURE(std::string(named.name));
      CAPTURE(layout_name(layout));
      Comparison c;
      for (uint64_t seed = 0; seed < 40; ++seed) {
        compare(m.view, DoubleForward(m.shape, m.layout, engine_rows(m)),
                random_tokens(seed, m.shape.n_ctx, m.shape.vocab_size), &c);
      }
      CHECK(c.n_logits > 2000);
      CHECK(c.longest >= 8);
      CHECK(c.largest_bound < 4e-5);
      CHECK(c.worst_share > 0.05);
    }
  }
}

TEST_CASE("golden: int8 weights are within half a step of what they were made from") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types(4)) {
      TinyModel m(named.shape, layout);
      for (uint32_t i = 0; i < header_of(m.view).n_sections; ++i) {
        const SectionEntry& e =
            reinterpret_cast<const SectionEntry*>(m.image.data() + sizeof(FileHeader))[i];
        if (e.type != kElementQ8) continue;
        std::vector<float> weights(e.cols), stored(e.cols);
        for (uint32_t row = 0; row < e.rows; ++row) {
          const SectionKind kind = static_cast<SectionKind>(e.kind);
          random_row(m.seed, kind, e.layer, row, e.cols, weights.data());
          read_row(stored.data(), matrix_of(m.view, kind, e.layer), row);
          for (uint32_t begin = 0; begin < e.cols; begin += e.group) {
            const uint32_t end = std::min(begin + e.group, e.cols);
            double max = 0;
            for (uint32_t c = begin; c < end; ++c) {
              max = std::fmax(max, std::fabs(static_cast<double>(weights[c])));
            }
            const double half_step = 1.07 * max / 127 / 2;  // tools/quantize.h
            for (uint32_t c = begin; c < end; ++c) {
              const double error =
                  std::fabs(static_cast<double>(stored[c]) - static_cast<double>(weights[c]));
              REQUIRE(error <= half_step);
            }
          }
        }
      }
    }
  }
}

// ---- Committed hashes
// ------------------------------------------------------------------------------

namespace {

// Of the shapes of tiny_model.h, in f32 and in int8 with groups 32, 64, 128 and whole rows:
// the checksum of the image's data, and the hash of 5 logits vectors of a text of 41 tokens. If
// only hashes differ, the engine's arithmetic has changed, which the promises forbid; if checksums
// do, too, the images are other ones.
struct GoldenHash {
  uint32_t data_crc;
  uint64_t logits_hash;
};

// Int8 weights and scales straight from the generator, so that the converter may find better ones
// without changing these hashes.
void fill_int8(TinyModel* m) {
  Random random(77);
  for (uint32_t i = 0; i < header_of(m->view).n_sections; ++i) {
    const SectionEntry& e =
        reinterpret_cast<const SectionEntry*>(m->image.data() + sizeof(FileHeader))[i];
    if (e.type != kElementQ8 && e.type != kElementQ4) continue;
    const Matrix w = matrix_of(m->view, static_cast<SectionKind>(e.kind), e.layer);
    uint8_t* values = m->image.data() + e.offset;
    uint8_t* scales = m->image.data() + e.scales_offset;
    if (w.type == kWeightQ4) std::memset(values, 0, e.bytes);
    const float size = std::sqrt(3.0f / static_cast<float>(e.cols)) / 127.0f;
    for (uint32_t row = 0; row < e.rows; ++row) {
      const size_t tile = row / w.row_tile, lane = row % w.row_tile;
      for (uint32_t c = 0; c < e.cols; ++c) {
        if (w.type == kWeightQ4) {
          if (c % 8 >= 4) continue;  // with the column four before
          const uint32_t high = c + 4 < e.cols ? random.below(16) : 0;
          const uint32_t bits[] = {random.below(16), high};
          uint8_t* of_tile = values + tile * w.padded_cols * w.row_tile / 2;
          for (uint32_t k = 0; k < 2; ++k) {
            const Q4Place place = q4_place(w.row_tile, c + 4 * k, static_cast<uint32_t>(lane));
            of_tile[place.byte] |= static_cast<uint8_t>(bits[k] << place.shift);
          }
          continue;
        }
        const size_t at = ((tile * w.padded_cols + c / 4 * 4) * w.row_tile) + lane * 4 + c % 4;
        values[at] = static_cast<uint8_t>(random.below(255) - 127);
      }
      const size_t groups = w.padded_cols / w.group;
      for (size_t g = 0; g < groups; ++g) {
        const float scale = random.uniform(0.5f, 1.5f) * size;
        uint32_t bits;
        std::memcpy(&bits, &scale, sizeof bits);
        const uint16_t half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(scales + ((tile * groups + g) * w.row_tile + lane) * 2, &half, sizeof half);
      }
    }
  }
}

constexpr GoldenHash kGoldenHashes[13][8] = {{{0xb0e79d41, 0x072b41d89cc107c5},
                                              {0xe4c48118, 0xc33b072916aca207},
                                              {0x000e988f, 0x6bffb3f62ef35d5e},
                                              {0x7319baae, 0x6bffb3f62ef35d5e},
                                              {0x27e68af9, 0x6bffb3f62ef35d5e},
                                              {0x1b943418, 0x337e7fea943edc71},
                                              {0x3fb2eb20, 0x8be61d8c2dfc55c7},
                                              {0x99f1dc1a, 0xad75fe1eeafd63de}},
                                             {{0x94f6b17a, 0x6defc642be412504},
                                              {0x5a0e0195, 0xd6ee406789a4230c},
                                              {0x045103b8, 0xd6ee406789a4230c},
                                              {0x2b2d1618, 0xd6ee406789a4230c},
                                              {0x13dcbec3, 0xd6ee406789a4230c},
                                              {0xcc60f4b8, 0x4279fbd6f19dd4d3},
                                              {0xcc60f4b8, 0x4279fbd6f19dd4d3},
                                              {0x7fffba48, 0xe6f1329a25a14a00}},
                                             {{0x7ee3907b, 0xc67816d1f0924f7b},
                                              {0x17b162d1, 0xc31a8b780696eb40},
                                              {0x21efd7e5, 0x8a990b18dd5d6e62},
                                              {0x8706b06e, 0x4169a54415ad4b7e},
                                              {0xbc718017, 0x3c5a998068c901da},
                                              {0xe66b5350, 0xec5d1ce50b398608},
                                              {0xa0a676db, 0xe221aa5346bf1cc6},
                                              {0x4e2f8093, 0xf9545edcec01a436}},
                                             {{0xdc79562b, 0x8ad64c4d217a3dea},
                                              {0xba332b98, 0x8c203b6925ef3157},
                                              {0xfd63dac2, 0xb65080ffa66f1d3f},
                                              {0x570e06f0, 0xad29a99bd8ac9b0b},
                                              {0x86256fff, 0x2268e6ebb256d508},
                                              {0xc518ca06, 0x24dfdf7057d7b544},
                                              {0x2c1e0a73, 0x8796af52ee5c78e7},
                                              {0x824030d8, 0xf41b36ac63636fb9}},
                                             {{0x08a06954, 0x2ab522f777c27422},
                                              {0xe8e758f4, 0xc4c75128ba258428},
                                              {0xc1b61f52, 0x310573304187a924},
                                              {0xf9feca3d, 0x310573304187a924},
                                              {0x840520d0, 0x310573304187a924},
                                              {0xab9ebe9b, 0x99c1285ea95eb812},
                                              {0x878c3251, 0x198054241007af76},
                                              {0x814dfb7e, 0x9782dc37817fa6d6}},
                                             {{0x4b4eb601, 0xb2d1de0e31871e6b},
                                              {0x6be52e14, 0x1f7ef6a5d5623dfc},
                                              {0x42cd8f83, 0xb00a394413d18412},
                                              {0x38e7b837, 0xb00a394413d18412},
                                              {0xe9ee3915, 0xb00a394413d18412},
                                              {0x6404f56f, 0x0d20bd9e9e2caa95},
                                              {0xcc735d14, 0x6fc7e59259c2e05d},
                                              {0x9e343071, 0x6600ef8368d1d655}},
                                             {{0xe6f9e6e2, 0xb5d37c867ed6c856},
                                              {0xfab9d4c3, 0x0eea01330a7cc47a},
                                              {0x1b499002, 0x5854e992463d5963},
                                              {0xe04694f7, 0x5854e992463d5963},
                                              {0x2ac6ee5a, 0x5854e992463d5963},
                                              {0xa5fdb593, 0xb50372a098ad4289},
                                              {0x6655e8ea, 0xd42d087101a4359f},
                                              {0x4bb99dc7, 0x33ff09d2a35ddf33}},
                                             {{0xc53683b3, 0x02866135a92fa499},
                                              {0xeee41fac, 0x5cbf825a7be6ceed},
                                              {0xf9f1ee3e, 0xc8b57d914ee54d5c},
                                              {0x50311295, 0xbe805b03b45d9e66},
                                              {0x92edb5a6, 0xbe805b03b45d9e66},
                                              {0x084bc4c6, 0xe062de4f9e7ed345},
                                              {0xd127c9bf, 0x03796322ef966061},
                                              {0x3e8cfef1, 0x04405dea37109a17}},
                                             {{0x0d07f41d, 0xd22b8f731d178315},
                                              {0x9c4d35fe, 0x081ca251b0ff5c0a},
                                              {0xb14e5744, 0x8d391e455efcd887},
                                              {0x008f391c, 0x0ccb358faa9ea7f3},
                                              {0x5cc841ba, 0x0ccb358faa9ea7f3},
                                              {0xb8abc267, 0x41e1b80d9b3c5c26},
                                              {0x97e8eef7, 0x47e0b7375ae33c28},
                                              {0x783c3635, 0xcd93d34855b78980}},
                                             {{0x6be9c775, 0x7f46716f1c1c674c},
                                              {0x174a5571, 0x7a96e731a1e00ad9},
                                              {0xf64b659e, 0xd415624c84ba5899},
                                              {0xe4e2c488, 0x151a890a39b52e02},
                                              {0xcedfc8f9, 0x151a890a39b52e02},
                                              {0xbe1070c2, 0x92e1843d8914d61f},
                                              {0xc456d314, 0x0efc0f9824286691},
                                              {0x8fc65420, 0x2fcdbd36260ba6d8}},
                                             {{0xf6927229, 0x4527a78ecef5e834},
                                              {0x809bbc11, 0x6909bf5d518a974f},
                                              {0x5eaac5db, 0xbc771362f56583f3},
                                              {0x09dd4f5e, 0xbc771362f56583f3},
                                              {0xf6c39814, 0xbc771362f56583f3},
                                              {0x7c22ede5, 0x0044f7897a83547b},
                                              {0x05029be7, 0x05e9945f66ccb10e},
                                              {0xd0310724, 0x6cd25114d7012b1d}},
                                             {{0x5aa8e55b, 0xe0366b695c57da27},
                                              {0x00a37f69, 0x0d850c5eb2580ff1},
                                              {0x2098f3d8, 0x77cff1a5d9304024},
                                              {0x1b68bea7, 0x77cff1a5d9304024},
                                              {0x6ffda9b3, 0x77cff1a5d9304024},
                                              {0x71fc6ed0, 0x074dd61b10e9649c},
                                              {0x8bc1e8ce, 0x76405a70d90c44b2},
                                              {0x16c8ee42, 0x19596338f3593eed}},
                                             {{0x77eb6b79, 0xfb590df52f0eeca9},
                                              {0x829204f1, 0x12ec4fc70fd69bf7},
                                              {0xb4ac19e4, 0x4069b7c677ff97fc},
                                              {0x6a3ac09b, 0x4069b7c677ff97fc},
                                              {0x9d937ed8, 0x4069b7c677ff97fc},
                                              {0xae09288e, 0x811d247ba3b64ebe},
                                              {0x5ebed15c, 0x8ccd20feb1220b6d},
                                              {0xa4cf1caf, 0xa06bbf6806647706}}};

}  // namespace

TEST_CASE("golden: committed logits hashes") {
  const std::vector<NamedShape> shapes = tiny_shapes();
  const std::vector<tools::WeightLayout> layouts = all_weight_types();
  for (size_t i = 0; i < shapes.size(); ++i) {
    for (size_t j = 0; j < layouts.size(); ++j) {
      TinyModel m(shapes[i].shape, layouts[j]);
      fill_int8(&m);
      const uint32_t header_bytes = header_of(m.view).header_bytes;
      const uint32_t data_crc =
          crc32(0, m.image.data() + header_bytes, m.image.size() - header_bytes);
      const std::vector<int32_t> text = random_tokens(7, 41, m.shape.vocab_size);
      char line[64];
      for (size_t k = 0; thimble_isa_at(k); ++k) {
        TestSession s(m.view, {0, 16, thimble_isa_at(k), 0, 0});
        const GoldenHash found = {data_crc, hash_of_text(s, text, text.size())};
        std::snprintf(line, sizeof line, "{0x%08x, 0x%016llx}", found.data_crc,
                      static_cast<unsigned long long>(found.logits_hash));
        CHECK_MESSAGE(found.data_crc == kGoldenHashes[i][j].data_crc, std::string(shapes[i].name),
                      ", ", layout_name(layouts[j]), ": found ", std::string(line));
        CHECK_MESSAGE(found.logits_hash == kGoldenHashes[i][j].logits_hash,
                      std::string(shapes[i].name), ", ", layout_name(layouts[j]), ", ",
                      std::string(thimble_isa_at(k)), ": found ", std::string(line));
      }
    }
  }
}

// ---- ../shared
// -------------------------------------------------------------------------------------

namespace {

const std::string kShared = "../shared/";

bool shared_is_absent() {
  std::string ignored;
  if (read_whole_file(kShared + "ASSETS.md", &ignored)) return false;
  MESSAGE("skipped: ../shared is absent");
  return true;
}

Json read_json(const std::string& path) {
  std::string text;
  REQUIRE_MESSAGE(read_whole_file(kShared + path, &text), path);
  return parse_json(text);
}

// A checkpoint of ../shared, converted in memory.
struct RealModel {
  RealModel(const std::string& path, const std::string& vocabulary_path,
            const tools::WeightLayout& weight_layout)
      : checkpoint(tools::open_checkpoint(kShared + path, {})), layout(weight_layout) {
    std::optional<tools::Vocabulary> vocabulary;
    if (!vocabulary_path.empty()) {
      vocabulary =
          tools::open_vocabulary(kShared + vocabulary_path, checkpoint.shape.vocab_size).vocabulary;
    }
    image = tools::build_image_in_memory(checkpoint.shape, layout,
                                         vocabulary ? &*vocabulary : nullptr, checkpoint.rows);
    REQUIRE(thimble_model_open(&view, image.data(), image.bytes) == THIMBLE_OK);
  }

  tools::Checkpoint checkpoint;
  tools::WeightLayout layout;
  tools::ImageInMemory image;
  thimble_model view;
};

RealModel stories260k() {
  return RealModel("models/stories260K/stories260K.bin", "models/stories260K/tok512.bin",
                   {kWeightF32, 0, 16});
}

// A golden logit was rounded to float when it was written.
double golden_rounding(double logit) {
  return kUnit * std::fabs(logit);
}

double log_sum_exp(const float* logits, uint32_t n) {
  double max = -HUGE_VAL, sum = 0;
  for (uint32_t i = 0; i < n; ++i) max = std::fmax(max, static_cast<double>(logits[i]));
  for (uint32_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - max);
  return max + std::log(sum);
}

// The issue's own bound for stories260K in f32.
constexpr double kStoriesBound = 2e-4;

// One step of a golden file: the five largest logits, how far they lie apart, and, of the first
// steps, all of them.
void check_step(const Json& step, const float* logits, uint32_t vocab_size) {
  for (const Json& pair : step["top5"].items) {
    const double found = static_cast<double>(logits[pair[0].as_int()]);
    REQUIRE(std::fabs(found - pair[1].number) <= kStoriesBound);
  }
  std::vector<float> sorted(logits, logits + vocab_size);
  std::sort(sorted.rbegin(), sorted.rend());
  const double margin = static_cast<double>(sorted[0]) - static_cast<double>(sorted[1]);
  REQUIRE(std::fabs(margin - step["margin"].number) <= 2 * kStoriesBound);
  const Json* all = step.find("logits");
  if (!all) return;
  REQUIRE(all->size() == vocab_size);
  for (uint32_t i = 0; i < vocab_size; ++i) {
    const double found = static_cast<double>(logits[i]);
    REQUIRE(std::fabs(found - (*all)[i].number) <= kStoriesBound);
  }
}

}  // namespace

TEST_CASE("golden: stories260K tells its documented story") {
  if (shared_is_absent()) return;
  const RealModel m = stories260k();
  const Json golden = read_json("models/stories260K/golden_greedy.json");
  const std::vector<int32_t> ids = golden["greedy_ids"].as_ints();
  std::string documented;
  REQUIRE(read_whole_file(kShared + "models/stories260K/greedy.txt", &documented));
  REQUIRE(ids.size() == 257);

  TestSession s(m.view);
  int32_t token = -1;
  REQUIRE(thimble_encode(s, "", 0, THIMBLE_ENCODE_BOS, &token, 1) == 1);
  thimble_decoder decoder = {};
  std::vector<char> out(3 * m.view.max_token_bytes + 3);
  std::string story;
  const thimble_sampling greedy = {};
  for (size_t step = 0; step < 256; ++step) {
    CAPTURE(step);
    REQUIRE(token == ids[step]);
    feed_pieces(s, &token, 1, 1);
    check_step(golden["steps"][step], thimble_logits(s), m.view.vocab_size);
    token = thimble_sample(s, &greedy);
    const int32_t n = thimble_decode(&m.view, &decoder, token, out.data(), out.size());
    REQUIRE(n >= 0);
    story.append(out.data(), static_cast<size_t>(n));
  }
  CHECK(token == ids[256]);
  CHECK(story == golden["text"].text);
  CHECK(story + "\n" == documented);  // as llama2.c prints it
}

TEST_CASE("golden: stories260K scores a prompt as the double reference does") {
  if (shared_is_absent()) return;
  const RealModel m = stories260k();
  const Json golden = read_json("models/stories260K/golden_prompt.json");
  const std::string prompt = golden["prompt"].text;
  const std::vector<int32_t> ids = golden["greedy_ids"].as_ints();
  const std::vector<int32_t> prompt_ids = golden["prompt_ids"].as_ints();

  TestSession s(m.view, {0, 64, nullptr, 0, 0});
  std::vector<int32_t> tokens(prompt.size() + 2);
  const int32_t n = thimble_encode(s, prompt.data(), prompt.size(), THIMBLE_ENCODE_BOS,
                                   tokens.data(), tokens.size());
  REQUIRE(n == static_cast<int32_t>(prompt_ids.size()));
  tokens.resize(prompt_ids.size());
  REQUIRE(tokens == prompt_ids);

  // With golden logits and with the double forward pass here, whose bound is derived.
  DoubleForward expected(m.checkpoint.shape, m.layout, m.checkpoint.rows);
  const thimble_sampling greedy = {};
  for (size_t i = 0; i < golden["steps"].size(); ++i) {
    CAPTURE(i);
    feed_pieces(s, &ids[i], 1, 1);
    const float* logits = thimble_logits(s);
    check_step(golden["steps"][i], logits, m.view.vocab_size);
    if (i + 1 < prompt_ids.size()) {
      const double logit = static_cast<double>(logits[ids[i + 1]]);
      const double nll = log_sum_exp(logits, m.view.vocab_size) - logit;
      // If no logit moves by more than the bound, neither part moves by more.
      CHECK(std::fabs(nll - golden["prompt_nll"][i].number) <= 2 * kStoriesBound);
    } else {
      CHECK(thimble_sample(s, &greedy) == ids[i + 1]);
    }
    const Estimates estimates = expected.feed(ids[i]);
    for (uint32_t t = 0; t < m.view.vocab_size; ++t) {
      const double bound = estimates[t].bound();
      REQUIRE(std::fabs(static_cast<double>(logits[t]) - estimates[t].value) <= bound);
    }
  }

  // The prompt in one pass.
  TestSession whole(m.view, {0, 64, nullptr, 0, 0});
  feed_pieces(whole, prompt_ids.data(), prompt_ids.size(), prompt_ids.size());
  check_step(golden["steps"][prompt_ids.size() - 1], thimble_logits(whole), m.view.vocab_size);
}

TEST_CASE("golden: llama_tiny, tied and untied, within the derived bound") {
  if (shared_is_absent()) return;
  for (const std::string name : {"llama_tiny_tied", "llama_tiny_untied"}) {
    CAPTURE(name);
    const RealModel m("golden/llama_tiny/" + name + ".llama2c.bin", "", {kWeightF32, 0, 16});
    const Json golden = read_json("golden/llama_tiny/" + name + ".golden.json");
    const std::vector<int32_t> prompt = golden["prompt"].as_ints();
    const Json& logits = golden["logits"]["data"];
    const uint32_t vocab_size = m.view.vocab_size;
    REQUIRE(logits.size() == prompt.size() * vocab_size);
    CHECK(m.view.n_params == static_cast<uint64_t>(golden["params"].number));
    CHECK(header_of(m.view).tied_head == (name == "llama_tiny_tied" ? 1 : 0));

    TestSession s(m.view);
    DoubleForward expected(m.checkpoint.shape, m.layout, m.checkpoint.rows);
    for (size_t i = 0; i < prompt.size(); ++i) {
      feed_pieces(s, &prompt[i], 1, 1);
      const Estimates estimates = expected.feed(prompt[i]);
      for (uint32_t t = 0; t < vocab_size; ++t) {
        const double value = logits[i * vocab_size + t].number;
        const double found = static_cast<double>(thimble_logits(s)[t]);
        // Two programs in double agree to far more digits than the golden file has.
        REQUIRE(std::fabs(estimates[t].value - value) <= golden_rounding(value) + 1e-12);
        REQUIRE(std::fabs(found - value) <= estimates[t].bound() + golden_rounding(value));
        REQUIRE(estimates[t].bound() < 1e-4);
      }
    }

    const std::vector<int32_t> ids = golden["greedy_ids"].as_ints();
    const thimble_sampling greedy = {};
    for (size_t i = prompt.size(); i < ids.size(); ++i) {
      const int32_t token = thimble_sample(s, &greedy);
      REQUIRE(token == ids[i]);
      if (i + 1 < ids.size()) feed_pieces(s, &token, 1, 1);
    }
  }
}
