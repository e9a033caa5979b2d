// SPDX-License-Identifier: MIT
// Numbers that are no numbers: what the engine, convert and each verb say of them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "capture.h"
#include "finite.h"
#include "forward.h"
#include "llama2c_files.h"
#include "model.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

constexpr float kHuge = 1e20f, kInfinity = std::numeric_limits<float>::infinity();

// One weight that is not as the others.
struct Spoiled {
  SectionKind kind;
  uint32_t layer, row, col;
  float value;
};

// A model with that weight, built without a look at what it gives. With a self-test, its hashes are
// those of what it gives all the same: such a file is intact.
struct SpoiledModel {
  SpoiledModel(const tools::ModelShape& shape, const tools::WeightLayout& layout,
               const Spoiled& spoiled, bool with_self_test = false)
      : bytes() {
    const tools::Vocabulary vocabulary = tiny_vocabulary(shape.vocab_size);
    const tools::RowSource rows = [&](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                                      float* out) {
      random_row(1, kind, layer, row, cols, out);
      if (kind == spoiled.kind && layer == spoiled.layer && row == spoiled.row) {
        out[spoiled.col] = spoiled.value;
      }
    };
    const tools::Sink sink = [&](uint64_t offset, const void* data, size_t n) {
      if (bytes.size() < offset + n) bytes.resize(static_cast<size_t>(offset) + n);
      std::memcpy(bytes.data() + offset, data, n);
    };
    tools::SelfTestPlan plan;
    if (with_self_test) {
      plan.tokens = tools::self_test_prompt(shape, &vocabulary);
      plan.hashes = [&] { return hashes(); };
    }
    tools::build_image(shape, layout, &vocabulary, rows, sink, {}, plan);
    image = std::make_unique<AlignedBlock>(bytes.data(), bytes.size());
    expect_ok(thimble_model_open(&view, image->data(), image->size()), "open");
  }

  std::vector<uint64_t> hashes() {
    const AlignedBlock whole(bytes.data(), bytes.size());
    thimble_model model;
    expect_ok(thimble_model_open(&model, whole.data(), whole.size()), "open");
    std::vector<uint64_t> all(2 * (model.n_layers + 1));
    for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      TestSession s(model, {0, 1, "reference", kv, 0});
      expect_ok(forward_self_test(s, all.data() + kv * (model.n_layers + 1)), "self-test");
      finish_pass(s);
      forward_self_test_end(s, nullptr);
    }
    return all;
  }

  std::vector<uint8_t> bytes;
  std::unique_ptr<AlignedBlock> image;
  thimble_model view;
};

int32_t sampled(thimble_session* s) {
  const thimble_sampling greedy = {};
  return thimble_sample(s, &greedy);
}

tools::ModelShape shape_of_two() {
  return tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, false);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("finite: a token that overflows spoils all that follow it, and no logit shows it") {
  for (const tools::WeightLayout& layout : all_weight_types()) {
    for (const NamedShape& named : {llama_shapes()[0], family_shapes()[3], family_shapes()[5]}) {
      // The embedding of token 7 is good for a file, its square not for a norm. It is written into
      // a finished image, since no image is built with it.
      const auto spoil = [&](AlignedBlock* image, const thimble_model& view, uint32_t token) {
        const SectionEntry& s = section_of(view, kTokenEmbedding);
        if (s.type == kElementF32) {
          const float huge = 3e19f;
          const size_t at = size_t{token / s.row_tile} * s.row_tile * s.cols + token % s.row_tile;
          std::memcpy(image->data() + s.offset + at * sizeof huge, &huge, sizeof huge);
          return;
        }
        const size_t tile = token / s.row_tile * s.n_groups * s.row_tile;
        for (size_t g = 0; g < s.n_groups; ++g) {
          const uint16_t huge = 0x5f80;  // 2^64
          std::memcpy(image->data() + s.scales_offset +
                          (tile + g * s.row_tile + token % s.row_tile) * sizeof huge,
                      &huge, sizeof huge);
        }
      };
      for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
        for (uint32_t batch : {1u, 3u, 8u}) {
          TinyModel m(named.shape, layout);
          spoil(&m.image, m.view, 7);
          CAPTURE(std::string(named.name));
          CAPTURE(layout_name(layout));
          CAPTURE(batch);
          TestSession s(m.view, {0, batch, nullptr, kv, batch == 3 ? 4u : 0u});
          const std::vector<int32_t> good = {1, 2, 3, 4}, bad = {1, 2, 7, 4, 5};
          feed_pieces(s, good.data(), good.size(), 4, batch == 1 ? 100 : 0);
          CHECK(sampled(s) >= 0);
          REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
          feed_pieces(s, bad.data(), bad.size(), 5, batch == 1 ? 100 : 0);
          CHECK(sampled(s) == THIMBLE_ERROR_NOT_FINITE);
          if (const float* logits = thimble_logits(s)) {
            uint32_t n_finite = 0;
            for (uint32_t i = 0; i < m.view.vocab_size; ++i) n_finite += std::isfinite(logits[i]);
            CHECK(n_finite > 0);
          }
          feed_pieces(s, good.data(), 2, 1);
          CHECK(sampled(s) == THIMBLE_ERROR_NOT_FINITE);
          // Behind the token it stays, before it all is well again.
          REQUIRE(thimble_rewind(s, 3) == THIMBLE_OK);
          feed_pieces(s, good.data(), 1, 1);
          CHECK(sampled(s) == THIMBLE_ERROR_NOT_FINITE);
          REQUIRE(thimble_rewind(s, 2) == THIMBLE_OK);
          feed_pieces(s, good.data() + 2, 1, 1);
          CHECK(sampled(s) >= 0);
        }
      }
    }
  }
}

TEST_CASE("finite: 2^50 is the limit of the residual stream") {
  const tools::ModelShape shape = tiny_shape(16, 16, 1, 2, 2, 8, 20, 16, false);
  for (const float value : {0x1p49f, -0x1p49f, 0x1p50f, -0x1p50f, 0x1p127f, kInfinity, NAN}) {
    TinyModel m(shape, {kWeightF32, 0, 1});
    const SectionEntry& s = section_of(m.view, kTokenEmbedding);
    std::memcpy(m.image.data() + s.offset + (3 * s.cols + 15) * sizeof value, &value, sizeof value);
    TestSession session(m.view);
    const int32_t token = 3;
    feed_pieces(session, &token, 1, 1);
    CHECK((sampled(session) >= 0) == (std::fabs(value) < 0x1p50f));
  }
}

TEST_CASE("finite: a self-test of no numbers is not passed") {
  const Spoiled spoiled = {kFeedForwardDown, 1, 3, 5, kHuge};
  SpoiledModel bad(shape_of_two(), {kWeightQ8, 32, 4}, spoiled, true);
  SpoiledModel good(shape_of_two(), {kWeightQ8, 32, 4}, {kFeedForwardDown, 1, 3, 5, 0.1f}, true);
  for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    for (size_t i = 0; thimble_isa_at(i); ++i) {
      TestSession s(bad.view, {0, 2, thimble_isa_at(i), kv, 0});
      thimble_self_test_report report = {};
      CHECK(thimble_self_test(s, 0, &report) == THIMBLE_ERROR_NOT_FINITE);
      CHECK(report.layer == -1);
      CHECK(report.found == report.expected);
      CHECK(thimble_position(s) == 0);
      const int32_t token = 1;
      feed_pieces(s, &token, 1, 1);
      CHECK(sampled(s) == THIMBLE_ERROR_NOT_FINITE);
      TestSession other(good.view, {0, 2, thimble_isa_at(i), kv, 0});
      CHECK(thimble_self_test(other, 0, &report) == THIMBLE_OK);
    }
  }
}

TEST_CASE("finite: convert's look at a pass names the layer and what it gives") {
  const tools::ModelShape shape = shape_of_two();
  const struct {
    Spoiled spoiled;
    const char* said;
  } cases[] = {
      {{kAttentionNorm, 1, 0, 5, kHuge}, "layer 1, attention norm, token 0: found "},
      {{kAttentionQkv, 0, 2, 5, kHuge}, "layer 0, attention q, k, v, token 0: found "},
      {{kAttentionOutput, 1, 2, 5, kHuge}, "layer 1, attention output, token 0: found "},
      {{kFeedForwardNorm, 0, 0, 5, kHuge}, "layer 0, feed-forward norm, token 0: found "},
      {{kFeedForwardGateUp, 1, 2, 5, kHuge}, "layer 1, feed-forward gate, up, token 0: found "},
      {{kFeedForwardDown, 0, 2, 5, kHuge}, "layer 0, feed-forward down, token 0: found "},
      {{kFinalNorm, 0, 0, 5, kHuge}, "final norm, token 7: found "},
      {{kOutputHead, 0, 2, 5, kHuge}, "logits, token 7: found "},
  };
  for (const auto& c : cases) {
    for (const tools::WeightLayout& layout :
         {tools::WeightLayout{kWeightQ8, 32, 4}, tools::WeightLayout{kWeightF32, 0, 16}}) {
      for (uint32_t batch : {1u, 8u}) {
        SpoiledModel m(shape, layout, c.spoiled);
        TestSession s(m.view, {0, batch, nullptr, THIMBLE_KV_Q8, 0});
        const std::vector<int32_t> tokens = {1, 40, 80, 120, 160, 200, 240, 280};
        expect_ok(thimble_feed(s, tokens.data(), tokens.size()), "feed");
        uint32_t n_between = 0;
        const std::string said = tools::run_finite(s, [&] { ++n_between; });
        CHECK_MESSAGE(said.compare(0, std::strlen(c.said), c.said) == 0, said);
        CHECK(contains(said, "expected a number below 2^50"));
        CHECK(thimble_position(s) == 8);  // to its end all the same
      }
      // And no image with a self-test is made of it.
      const tools::RowSource rows = [&](SectionKind kind, uint32_t layer, uint32_t row,
                                        uint32_t cols, float* out) {
        random_row(1, kind, layer, row, cols, out);
        const Spoiled& w = c.spoiled;
        if (kind == w.kind && layer == w.layer && row == w.row) out[w.col] = w.value;
      };
      CHECK_THROWS_AS(tools::build_image_in_memory(shape, layout, nullptr, rows, true),
                      tools::RefusedModel);
    }
  }
  // Every shape and layout that is good stays so.
  for (const NamedShape& named : tiny_shapes()) {
    TinyModel m(named.shape, {kWeightQ8, 32, 4});
    TestSession s(m.view, {0, 3, nullptr, 0, 0});
    const std::vector<int32_t> tokens = random_tokens(1, 8, named.shape.vocab_size);
    expect_ok(thimble_feed(s, tokens.data(), tokens.size()), "feed");
    CHECK(tools::run_finite(s) == "");
  }
}

TEST_CASE("finite: each verb refuses in words, and convert leaves nothing") {
  const TestFolder folder;
  const auto refused = [&](const Ended& ended, const std::string& message) {
    CHECK(ended.code == 1);
    CHECK_MESSAGE(contains(ended.err, message), ended.err);
  };
  const std::string out = folder / "out.thimble";
  Llama2c checkpoint = small_llama2c();
  checkpoint.token_embedding[24 + 5] = 1e38f;  // of the beginning of a text
  refused(run(tools::convert_verb, {folder.write("a.bin", checkpoint.version1()), "-o", out}),
          "a.bin: token embedding, row 1, column 5: found 1e+38, expected less than 2^50");
  checkpoint = small_llama2c();
  checkpoint.wq[24 * 24 + 5] = 1e38f;
  refused(run(tools::convert_verb, {folder.write("b.bin", checkpoint.version1()), "-o", out}),
          "b.bin: the self-test gives numbers that no trained model has: layer 1, attention q, k, "
          "v, token ");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 2);

  const SpoiledModel bad(shape_of_two(), {kWeightQ8, 32, 4}, {kFeedForwardDown, 1, 3, 5, kHuge},
                         true);
  const std::string model = folder.write(
      "bad.thimble", {reinterpret_cast<const char*>(bad.bytes.data()), bad.bytes.size()});
  const std::string text = folder.write("text", "a text of words");
  const std::string said = model + ": found results that are no finite numbers at position ";
  refused(run(tools::run_verb, {model, "-n", "3"}), said + "0");
  refused(run(tools::run_verb, {model, "-t", "0", "-p", "abc", "--candidates", "1"}), said);
  refused(run(tools::trace_verb, {model, "-p", "abc", "-o", folder / "page.html"}), said + "0");
  refused(run(tools::logits_verb, {model, "-p", "abc", "--json"}), said + "0");
  refused(run(tools::eval_verb, {model, text}), said + "0");
  refused(run(tools::bench_verb, {model, "--prefill", "1", "--decode", "2", "--limits", "no"}),
          said + "0");
  const Ended inspected = run(tools::inspect_verb, {model, "--self-test"});
  CHECK(inspected.code == 1);
  CHECK_MESSAGE(contains(inspected.out,
                         "self-test WRONG: the self-test gives numbers that no "
                         "trained model has: layer 1, feed-forward down, token 0"),
                inspected.out);
  CHECK(contains(inspected.out, "the results are not finite numbers"));
  CHECK(contains(run(tools::inspect_verb, {model, "--self-test", "--json"}).out,
                 "\"self_tests_finite\": false"));
  CHECK(run(tools::inspect_verb, {model}).code == 0);  // the file itself is intact
  CHECK(!std::filesystem::exists(folder / "page.html"));
}
