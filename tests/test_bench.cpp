// SPDX-License-Identifier: MIT
// What bench does the same every time: shapes, random weights, hashes, JSON. No speed is tested.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "bench_measure.h"
#include "bench_report.h"
#include "bench_shape.h"
#include "error.h"
#include "files.h"
#include "json.h"
#include "json_string.h"
#include "machine.h"
#include "model.h"
#include "test_folder.h"
#include "tiny_rule.h"

namespace thimble::tools {
namespace {

const char kTinyShape[] = "24,20,2,4,2,50,16";

BenchReport tiny_report(const ImageInMemory& image, const std::vector<std::string>& isas) {
  BenchReport report;
  report.name = "tiny \"model\"\n";
  report.model = open_model(report.name, image.data(), image.bytes);
  report.work = {16, 3, 7, 9, 2};
  for (const std::string& isa : isas) {
    report.results.push_back(measure(report.model, report.work, isa));
  }
  return report;
}

std::vector<std::string> isas_here() {
  std::vector<std::string> isas;
  for (size_t i = 0; const char* name = thimble_isa_at(i); ++i) isas.push_back(name);
  return isas;
}

TEST_CASE("bench: shapes by name have the parameters that their name says") {
  const struct {
    const char* name;
    uint64_t n_params;
  } expected[] = {
      {"stories260K", 260032}, {"15M", 15191712}, {"42M", 41689600}, {"110M", 109529856}};
  for (const auto& each : expected) {
    CAPTURE(each.name);
    CHECK(count_parameters(parse_shape(each.name)) == each.n_params);
  }
}

TEST_CASE("bench: a shape by its numbers") {
  const ModelShape shape = parse_shape("288,768,6,12,3,32000,256");
  CHECK(shape.dim == 288);
  CHECK(shape.hidden_dim == 768);
  CHECK(shape.n_layers == 6);
  CHECK(shape.n_heads == 12);
  CHECK(shape.n_kv_heads == 3);
  CHECK(shape.head_dim == 24);
  CHECK(shape.vocab_size == 32000);
  CHECK(shape.n_ctx == 256);
  CHECK(shape.tied_head);
}

TEST_CASE("bench: what is no shape") {
  const char* const wrong[] = {"",
                               "16M",
                               "15m",
                               "288",
                               "288,768,6,6,6,32000",
                               "288,768,6,6,6,32000,256,1",
                               "288,768,6,6,6,32000,256,",
                               ",768,6,6,6,32000,256",
                               "288,768,6,,6,32000,256",
                               "288,768,6,6,6,32000,-256",
                               "288,768,6,6,6,32000,2 56",
                               "288,768,6,0,6,32000,256",
                               "288,768,6,5,5,32000,256",
                               "4294967296,768,6,6,6,32000,256",
                               "18446744073709551904,768,6,6,6,32000,256"};
  for (const char* text : wrong) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_shape(text), WrongUsage);
  }
  // Numbers that are a shape, but of no model that a file can hold.
  CHECK_THROWS_AS(random_image(parse_shape("24,20,2,4,3,50,16"), {}), Refused);
  CHECK_THROWS_AS(random_image(parse_shape("4294967295,20,2,1,1,50,16"), {}), Refused);
}

TEST_CASE("bench: random weights are small, spread out, and do not depend on their tiles") {
  const ModelShape shape = parse_shape(kTinyShape);
  ImageInMemory images[2];
  for (uint32_t i = 0; i < 2; ++i) images[i] = random_image(shape, {kWeightF32, 0, i ? 4u : 16u});
  const thimble_model a = open_model("a", images[0].data(), images[0].bytes);
  const thimble_model b = open_model("b", images[1].data(), images[1].bytes);
  double sum = 0, squares = 0;
  const Matrix embedding = matrix_of(a, kTokenEmbedding);
  std::vector<float> row(embedding.cols), other(embedding.cols), before(embedding.cols);
  for (uint32_t r = 0; r < embedding.rows; ++r) {
    read_row(row.data(), embedding, r);
    read_row(other.data(), matrix_of(b, kTokenEmbedding), r);
    CHECK(row == other);
    CHECK(row != before);
    before = row;
    for (float w : row) {
      CHECK(std::fabs(w) < 0.07f);
      sum += static_cast<double>(w);
      squares += static_cast<double>(w) * static_cast<double>(w);
    }
  }
  // 1200 numbers of standard deviation 0.04: their mean's is 0.00115, their mean square's
  // about 2.6% of it; five times that.
  const double n = static_cast<double>(embedding.rows) * embedding.cols;
  CHECK(std::fabs(sum / n) < 5 * 0.00115);
  CHECK(std::fabs(squares / n / 0.0016 - 1) < 5 * 0.026);
}

TEST_CASE("bench: every kernel and tile gives one logits hash") {
  for (WeightType type : {kWeightF32, kWeightQ8}) {
    uint64_t hash = 0;
    for (uint32_t tile : {16u, 4u, 1u}) {
      const WeightLayout layout{type, type == kWeightQ8 ? 32u : 0u, tile};
      const ImageInMemory image = random_image(parse_shape(kTinyShape), layout);
      for (const BenchResult& result : tiny_report(image, isas_here()).results) {
        CAPTURE(result.isa);
        CAPTURE(tile);
        if (hash == 0) hash = result.logits_hash;
        CHECK(result.logits_hash == hash);
        CHECK(result.prefill.fastest > 0);
        CHECK(result.decode.fastest > 0);
      }
    }
  }
}

TEST_CASE("bench: the report as JSON") {
  for (const WeightLayout& layout : {WeightLayout{kWeightF32, 0, 16}, WeightLayout{kWeightQ8, 0, 4},
                                     WeightLayout{kWeightQ8, 64, 16}}) {
    const ImageInMemory image = random_image(parse_shape(kTinyShape), layout);
    BenchReport report = tiny_report(image, isas_here());
    test::Json json = test::parse_json(to_json(report));
    CHECK(json["model"].text == report.name);
    CHECK(json["shape"]["n_kv_heads"].number == 2);
    CHECK(json["work"]["decode"].number == 9);
    CHECK(json["limits"].kind == test::Json::kNull);
    REQUIRE(json["results"].size() == isas_here().size());
    CHECK(json["results"][0]["isa"].text == thimble_isa_at(0));
    CHECK(json["results"][0]["logits_hash"].text ==
          format("0x%016llx", static_cast<unsigned long long>(report.results[0].logits_hash)));
    CHECK(json["results"][0]["decode_share_of_read"].kind == test::Json::kNull);
    const test::Json& group = json["weights"]["group"];
    if (layout.type == kWeightF32) {
      CHECK(group.kind == test::Json::kNull);
    } else if (layout.group == 0) {
      CHECK(group.text == "row");
    } else {
      CHECK(group.number == layout.group);
    }

    report.has_limits = true;
    report.limits = {20e9, 80e9, 100e9, 1e11, 4e11, "some", "other"};
    json = test::parse_json(to_json(report));
    CHECK(json["limits"]["dram_gb_per_s"].number == doctest::Approx(20));
    CHECK(json["limits"]["int8_with"].text == "other");
    const double share = json["results"][0]["decode_share_of_read"].number;
    const double bytes = json["results"][0]["decode_gb_per_s"].number;
    CHECK(share == doctest::Approx(bytes / 100).epsilon(0.01));
  }
}

TEST_CASE("bench: decoding under a rule is measured beside decoding without one") {
  const test::TinyModel m(test::tiny_shape(32, 40, 1, 4, 2, 8, 600, 48, true), {kWeightQ8, 32, 16},
                          true);
  const test::TestFolder folder;
  const auto write = [&](const char* name, const test::AlignedBlock& image) {
    return folder.write(name,
                        std::string(reinterpret_cast<const char*>(image.data()), image.size()));
  };
  const LoadedModel loaded(write("m.thimble", m.image));
  const auto report_of = [&](const char* regex) {
    const test::TinyRule rule(m.view, regex);
    thimble_config config{};
    const auto file = load_rule(write("m.rule", rule.image), loaded, THIMBLE_RULES_TEXT, &config);
    CHECK(config.rules == THIMBLE_RULES_TEXT);
    BenchReport report;
    report.name = "m.thimble";
    report.model = loaded.model();
    report.work = {32, 3, 7, 20, 2};
    report.work.rule = file.get();
    report.results = {measure(report.model, report.work, "")};
    return std::make_pair(to_text(report), to_json(report));
  };
  // Answers end within the 20 tokens, and others begin.
  const auto [text, json] = report_of("(yes|no|perhaps){1,2}");
  CHECK(text.find("under the rule") != std::string::npos);
  CHECK(test::parse_json(json)["results"][0]["ruled_decode_tokens_per_s"].number > 0);
  const auto [none, none_json] = report_of("");
  CHECK(none.find("under the rule: nothing is drawn but ends") != std::string::npos);
  CHECK(test::parse_json(none_json)["results"][0]["ruled_decode_tokens_per_s"].kind ==
        test::Json::kNull);
}

TEST_CASE("bench: the parts of the time add up, and the median is none of the fastest") {
  const ImageInMemory image = random_image(parse_shape(kTinyShape), {kWeightQ8, 32, 16});
  BenchReport report = tiny_report(image, {""});
  test::Json json = test::parse_json(to_json(report));
  CHECK(json["results"][0]["decode_us_per_token"].kind == test::Json::kNull);
  CHECK(to_text(report).find("us/token") == std::string::npos);

  report.work.has_parts = true;
  report.results = {measure(report.model, report.work, "")};
  const BenchResult& result = report.results[0];
  CHECK(result.prefill_parts.total() == doctest::Approx(result.prefill.fastest));
  CHECK(result.decode_parts.total() == doctest::Approx(result.decode.fastest));
  CHECK(result.prefill.median >= result.prefill.fastest);
  CHECK(result.decode.median >= result.decode.fastest);
  CHECK(result.prefill_parts.of[kSampling] == 0);
  CHECK(result.decode_parts.of[kProjections] > 0);
  CHECK(to_text(report).find("us/token") != std::string::npos);

  json = test::parse_json(to_json(report));
  for (const char* what : {"prefill", "decode"}) {
    const test::Json& times = json["results"][0][std::string(what) + "_us_per_token"];
    double sum = 0;
    for (const char* name : kPartNames) sum += times[name].number;
    const double total = times["total"].number;
    CHECK(sum == doctest::Approx(total).epsilon(0.001));
    const double rate = json["results"][0][std::string(what) + "_tokens_per_s"].number;
    CHECK(rate * total == doctest::Approx(1e6).epsilon(0.001));
  }
}

// A window of 16 has dropped what is needed when the next run goes back to the depth.
TEST_CASE("bench: each run starts at the depth, behind the same tokens") {
  ModelShape shape = parse_shape("24,20,2,4,2,50,64");
  for (const uint32_t window : {0u, 16u}) {
    shape.layers = {{window, 0}, {0, 0}};
    const ImageInMemory image = random_image(shape, {kWeightF32, 0, 16});
    const thimble_model model = open_model("deep", image.data(), image.bytes);
    BenchWork work;
    work.n_ctx = 64;
    work.n_batch = 4;
    work.n_prefill = 5;
    work.n_decode = 30;
    work.n_runs = 3;  // that agree, or measure() refuses them
    work.has_parts = true;
    const uint64_t shallow = measure(model, work, "").logits_hash;
    work.depth = 20;
    const BenchResult deep = measure(model, work, "");
    CHECK(deep.logits_hash != shallow);
    CHECK(measure(model, work, "reference").logits_hash == deep.logits_hash);
  }
}

TEST_CASE("bench: draws of any kind are those of every run") {
  const ImageInMemory image = random_image(parse_shape(kTinyShape), {kWeightQ8, 32, 16});
  const thimble_model model = open_model("drawn", image.data(), image.bytes);
  BenchWork work = {16, 3, 7, 9, 3};
  const uint64_t greedy = measure(model, work, "").logits_hash;
  work.sampling.temperature = 5.0f;
  work.sampling.top_p = 0.9f;
  const uint64_t warm = measure(model, work, "").logits_hash;
  CHECK(warm != greedy);
  CHECK(measure(model, work, "").logits_hash == warm);
}

TEST_CASE("bench: text in JSON") {
  CHECK(json_string("") == "\"\"");
  CHECK(json_string("a\"b\\c\n\x01") == "\"a\\\"b\\\\c\\u000a\\u0001\"");
  CHECK(json_string("\x7f é € 😀") == "\"\x7f é € 😀\"");
  // Not UTF-8: a lone continuation, a cut character, overlong ones, a surrogate, past U+10FFFF.
  CHECK(json_string("\x80") == "\"\\ufffd\"");
  CHECK(json_string("x\xe2\x82") == "\"x\\ufffd\\ufffd\"");
  CHECK(json_string("\xc0\xaf") == "\"\\ufffd\\ufffd\"");
  CHECK(json_string("\xe0\x80\xaf") == "\"\\ufffd\\ufffd\\ufffd\"");
  CHECK(json_string("\xed\xa0\x80") == "\"\\ufffd\\ufffd\\ufffd\"");
  CHECK(json_string("\xf4\x90\x80\x80") == "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

// Blocks of every size are read within their bounds (the sanitizers watch), at some speed.
TEST_CASE("machine: any block can be read") {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{1023}, size_t{4096}, size_t{3} << 20}) {
    CAPTURE(bytes);
    CHECK(read_bandwidth(bytes) > 0);
  }
  CHECK(f32_peak().operations > 0);
  CHECK(int8_peak().operations > 0);
}

}  // namespace
}  // namespace thimble::tools
