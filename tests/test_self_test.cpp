// SPDX-License-Identifier: MIT
// The self-test that a file carries: passes on every kernel table, names the layer of a difference.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "model.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// A model with a self-test, and its sections.
struct TestedModel : TinyModel {
  TestedModel(const tools::ModelShape& model_shape, const tools::WeightLayout& weight_layout,
              bool with_vocabulary)
      : TinyModel(model_shape, weight_layout, with_vocabulary, 1, true) {
    expect_ok(thimble_model_verify(&view), "verify");
  }
  uint8_t* section(SectionKind kind, uint32_t layer = 0) {
    return image.data() + section_of(view, kind, layer).offset;
  }
};

thimble_status run_self_test(thimble_session* s, uint64_t budget,
                             thimble_self_test_report* report = nullptr) {
  thimble_status status;
  do status = thimble_self_test(s, budget, report);
  while (status == THIMBLE_MORE);
  return status;
}

}  // namespace

TEST_CASE("self-test: passes on every kernel table, for both caches, in slices") {
  const std::vector<NamedShape> shapes = tiny_shapes();
  const std::vector<tools::WeightLayout> layouts = all_weight_types();
  for (size_t shape = 0; shape < shapes.size(); ++shape) {
    for (size_t type = 0; type < layouts.size(); ++type) {
      for (bool with_vocabulary : {false, true}) {
        TestedModel m(shapes[shape].shape, layouts[type], with_vocabulary);
        for (size_t i = 0; thimble_isa_at(i); ++i) {
          for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
            for (uint32_t n_candidates : {0u, 2u}) {
              if (!in_turn(shape + type + with_vocabulary + i + kv + n_candidates / 2, 2)) continue;
              TestSession s(m.view, {0, 3, thimble_isa_at(i), kv, n_candidates});
              thimble_self_test_report report = {};
              CAPTURE(std::string(thimble_isa_at(i)));
              REQUIRE(run_self_test(s, i % 2 ? 0 : 1000, &report) == THIMBLE_OK);
              CHECK(report.layer == -1);
              CHECK(report.found == report.expected);
              CHECK(thimble_position(s) == 0);
              CHECK(run_self_test(s, 0) == THIMBLE_OK);  // as often as one likes
            }
          }
        }
      }
    }
  }
}

TEST_CASE("self-test: its last hash is that of the logits behind its prompt") {
  TestedModel m(tiny_shapes()[0].shape, {kWeightQ8, 32, 4}, true);
  const uint32_t n = header_of(m.view).self_test_tokens;
  REQUIRE(n == 8);
  const int32_t* prompt = table_of<int32_t>(m.view, kSelfTestTokens);
  CHECK(prompt[0] == m.view.bos_id);
  const uint64_t* hashes = table_of<uint64_t>(m.view, kSelfTestHashes);
  for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    TestSession s(m.view, {0, 1, "reference", kv, 0});
    feed_pieces(s, prompt, n, 1);
    const uint64_t* row = hashes + kv * (m.view.n_layers + 1);
    CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == row[m.view.n_layers]);
  }
}

TEST_CASE("self-test: says on which layer the first difference is") {
  const tools::ModelShape shape = tiny_shape(32, 64, 4, 4, 2, 8, 64, 64, false);
  for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    for (uint32_t layer = 0; layer <= 4; ++layer) {
      TestedModel m(shape, {kWeightQ8, 32, 4}, false);
      // One bit of one weight, as failing flash would have it; in the head it is the logits.
      m.section(layer < 4 ? kFeedForwardDown : kOutputHead, layer < 4 ? layer : 0)[5] ^= 0x40;
      TestSession s(m.view, {0, 4, nullptr, kv, 0});
      thimble_self_test_report report = {};
      CHECK(run_self_test(s, 500, &report) == THIMBLE_ERROR_SELF_TEST);
      CHECK(report.layer == static_cast<int32_t>(layer));
      CHECK(report.found != report.expected);
      CHECK(thimble_model_verify(&m.view) == THIMBLE_ERROR_DATA_CHECKSUM);
    }
    // A wrong hash in the file.
    TestedModel m(shape, {kWeightF32, 0, 16}, false);
    m.section(kSelfTestHashes)[(kv * 5 + 2) * 8] ^= 1;
    TestSession s(m.view, {0, 4, nullptr, kv, 0});
    thimble_self_test_report report = {};
    CHECK(run_self_test(s, 0, &report) == THIMBLE_ERROR_SELF_TEST);
    CHECK(report.layer == 2);
    CHECK((report.found ^ report.expected) == 1);
  }
}

TEST_CASE("self-test: what it cannot do, and what it does to a session") {
  TestedModel m(tiny_shapes()[0].shape, {kWeightQ8, 32, 4}, true);
  TinyModel without(tiny_shapes()[0].shape, {kWeightQ8, 32, 4});
  TestSession none(without.view), s(m.view), small(m.view, {7, 1, nullptr, 0, 0});
  CHECK(thimble_self_test(nullptr, 0, nullptr) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_self_test(none, 0, nullptr) == THIMBLE_ERROR_NO_SELF_TEST);
  CHECK(thimble_self_test(small, 0, nullptr) == THIMBLE_ERROR_CONTEXT_FULL);

  const std::vector<int32_t> text = random_tokens(3, 20, 64);
  TestSession fresh(m.view);
  const uint64_t expected = hash_of_text(fresh, text, 5);
  REQUIRE(thimble_feed(s, text.data(), 5) == THIMBLE_OK);
  CHECK(thimble_self_test(s, 0, nullptr) == THIMBLE_ERROR_BUSY);
  finish_pass(s);
  // Under way, it is a pass like others: nothing can be fed, and rewinding ends it.
  REQUIRE(thimble_self_test(s, 100, nullptr) == THIMBLE_MORE);
  CHECK(thimble_feed(s, text.data(), 1) == THIMBLE_ERROR_BUSY);
  REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
  CHECK(hash_of_text(s, text, 5) == expected);
  // Finished by other steps, and then given up for a text.
  REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
  REQUIRE(thimble_self_test(s, 100, nullptr) == THIMBLE_MORE);
  finish_pass(s);
  feed_pieces(s, text.data(), 1, 1);
  CHECK(thimble_self_test(s, 100, nullptr) == THIMBLE_MORE);  // from its start
  CHECK(run_self_test(s, 3000) == THIMBLE_OK);
  CHECK(thimble_position(s) == 0);
  CHECK(thimble_logits(s) == nullptr);
  CHECK(hash_of_text(s, text, 5) == expected);
}

TEST_CASE("self-test: a prompt outside the vocabulary or too long is refused at open") {
  TestedModel m(tiny_shapes()[0].shape, {kWeightQ8, 32, 4}, true);
  for (int32_t bad : {-1, 64, INT32_MAX}) {
    std::memcpy(m.section(kSelfTestTokens) + 8, &bad, sizeof bad);
    thimble_model view;
    CHECK(thimble_model_open(&view, m.image.data(), m.image.size()) == THIMBLE_ERROR_SECTION);
    CHECK(std::string(view.fault.what) == "self-test token");
    CHECK(view.fault.expected == 63);
    CHECK(view.image == nullptr);
  }
  thimble_fault fault = {};
  FileHeader h = header_of(m.view);
  for (uint32_t n : {65u, 0xffffffffu}) {
    h.self_test_tokens = n;
    CHECK(check_header(h, &fault) == THIMBLE_ERROR_HEADER);
    CHECK(std::string(fault.what) == "self_test_tokens");
    CHECK(fault.expected == 64);
  }
}
