// SPDX-License-Identifier: MIT
// The trace: weights as the engine has them, and the same numbers in every form of output.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "capture.h"
#include "error.h"
#include "eval.h"
#include "files.h"
#include "first_layer.h"
#include "json.h"
#include "tiny_model.h"
#include "trace.h"

namespace thimble::tools {
namespace {

using namespace thimble::test;

Trace traced(const TinyModel& model, const std::vector<int32_t>& tokens, size_t n_generate = 0,
             size_t n_top = 5) {
  const TestSession session(model.view);
  return trace_tokens(session, model.view, tokens, n_generate, n_top, {});
}

std::string text_of(const Trace& trace, void (*write)(const Trace&, const TextSink&)) {
  std::string text;
  write(trace, [&text](const std::string& piece) { text += piece; });
  return text;
}

size_t count_of(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++count;
  return count;
}

// The lines of a CSV file with quoted fields, which may hold anything.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> lines(1, std::vector<std::string>(1));
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string& field = lines.back().back();
    if (text[i] == '"' && quoted && text.compare(i, 2, "\"\"") == 0) {
      field += text[i++];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (text[i] == ',' && !quoted) {
      lines.back().emplace_back();
    } else if (text[i] == '\n' && !quoted) {
      lines.emplace_back(1);
    } else {
      field += text[i];
    }
  }
  lines.pop_back();
  return lines;
}

// The numbers in the page's element #data.
Json page_data(const std::string& page) {
  const std::string start = "id=\"data\">\n";
  const size_t from = page.find(start) + start.size();
  REQUIRE(from >= start.size());
  return parse_json(page.substr(from, page.find("</script>", from) - from));
}

std::vector<uint32_t> decode_weights(const std::string& base64) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint32_t> bytes, numbers;
  uint32_t bits = 0, n = 0;
  for (char c : base64) {
    REQUIRE(digits.find(c) != std::string::npos);
    bits = (bits << 6 | static_cast<uint32_t>(digits.find(c))) & 0xffffff;
    n += 6;
    if (n >= 8) bytes.push_back(bits >> (n -= 8) & 0xff);
  }
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) numbers.push_back(bytes[i] | bytes[i + 1] << 8);
  CHECK(bytes.size() % 2 == 0);
  return numbers;
}

// ---- What is collected -------------------------------------------------------------------------

TEST_CASE("trace: rows of weights are shares") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const WeightLayout& layout : {WeightLayout{kWeightF32, 0, 16}, {kWeightQ8, 32, 4}}) {
      CAPTURE(named.name);
      const TinyModel model(named.shape, layout);
      const size_t n = 37;
      const Trace trace = traced(model, random_tokens(3, n, model.view.vocab_size));
      REQUIRE(trace.attention.size() == model.view.n_layers * model.view.n_heads * n * (n + 1) / 2);
      for (uint32_t layer = 0; layer < model.view.n_layers; ++layer) {
        for (uint32_t head = 0; head < model.view.n_heads; ++head) {
          for (size_t q = 0; q < n; ++q) {
            const float* row = trace.row(layer, head, q);
            double sum = 0;
            for (size_t k = 0; k <= q; ++k) {
              CHECK((row[k] >= 0 && row[k] <= 1));
              sum += static_cast<double>(row[k]);
            }
            // Each weight is e_k * (1 / s): s has (T / 16 + 4) roundings, the inverse and the
            // product one each, all relative to a sum of positive numbers.
            const double t = static_cast<double>(q + 1);
            CHECK(std::fabs(sum - 1) <= (t / 16 + 1 + 4 + 2) * kHalfUlp * 1.001);
          }
        }
      }
    }
  }
}

TEST_CASE("trace: the first layer's weights are those of a computation in double") {
  for (const NamedShape& named : llama_shapes()) {
    CAPTURE(named.name);
    const TinyModel model(named.shape, {kWeightF32, 0, 16});
    const std::vector<int32_t> tokens = random_tokens(5, 33, model.view.vocab_size);
    const Trace trace = traced(model, tokens);
    FirstLayer expected(model);
    double widest = 0;
    for (size_t q = 0; q < tokens.size(); ++q) {
      const auto heads = expected.feed(tokens[q]);
      for (uint32_t h = 0; h < model.view.n_heads; ++h) {
        for (size_t k = 0; k <= q; ++k) {
          const Bounded& e = heads[h][k];
          CHECK(std::fabs(static_cast<double>(trace.row(0, h, q)[k]) - e.value) <= e.error);
          widest = std::max(widest, e.error);
        }
      }
    }
    CHECK(widest < 1e-2);  // worst cases, but a bound that says something
  }
}

TEST_CASE("trace: candidates are the softmax of the logits, best first") {
  const TinyModel model(tiny_shapes()[1].shape, {kWeightQ8, 32, 16});
  const std::vector<int32_t> tokens = random_tokens(7, 9, model.view.vocab_size);
  const uint32_t vocab_size = model.view.vocab_size;
  const Trace trace = traced(model, tokens, 0, 1000);
  const TestSession session(model.view);
  const thimble_sampling greedy{};
  for (size_t i = 0; i < tokens.size(); ++i) {
    feed_pieces(session, &tokens[i], 1, 1);
    REQUIRE(trace.next[i].size() == vocab_size);
    CHECK(trace.next[i][0].token == thimble_sample(session, &greedy));
    double sum = 0, before = 2;
    for (const Candidate& each : trace.next[i]) {
      const double nll = negative_log_likelihood(thimble_logits(session), vocab_size, each.token);
      CHECK(std::fabs(each.probability - std::exp(-nll)) < 1e-14);
      CHECK(each.probability <= before);
      before = each.probability;
      sum += each.probability;
    }
    CHECK(std::fabs(sum - 1) < 1e-12);
  }
}

TEST_CASE("trace: what is appended is the likeliest, up to the context") {
  const TinyModel model(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  const std::vector<int32_t> prompt = random_tokens(2, 6, model.view.vocab_size);
  const Trace trace = traced(model, prompt, 1000);
  CHECK(trace.n_prompt == prompt.size());
  CHECK(trace.tokens.size() <= model.view.n_ctx);
  REQUIRE(trace.tokens.size() > prompt.size());
  REQUIRE(trace.next.size() == trace.tokens.size());
  for (size_t i = prompt.size(); i < trace.tokens.size(); ++i) {
    CHECK(trace.tokens[i] == trace.next[i - 1][0].token);
  }
  // Feeding all of it as a prompt gives the same numbers, in the same places.
  CHECK(traced(model, trace.tokens).attention == trace.attention);
  // An early end too: the triangles that were laid out for more have closed up.
  CHECK(traced(model, prompt, 3).attention.size() ==
        model.view.n_layers * model.view.n_heads * 9 * 10 / 2);
}

// ---- The hook ----------------------------------------------------------------------------------

using Calls = std::map<std::tuple<uint32_t, uint32_t, uint32_t>, std::vector<std::vector<float>>>;

void record(void* user, uint32_t layer, uint32_t position, uint32_t first, uint32_t first_head,
            uint32_t n_heads, const float* weights, size_t stride) {
  for (uint32_t i = 0; i < n_heads; ++i) {
    const float* row = weights + i * stride;
    std::vector<float> all(first);  // what a window leaves out weighs nothing
    all.insert(all.end(), row, row + position + 1 - first);
    (*static_cast<Calls*>(user))[{layer, position, first_head + i}].push_back(std::move(all));
  }
}

TEST_CASE("trace: the hook sees every row once, however the text is computed") {
  for (const NamedShape& named : tiny_shapes()) {
    CAPTURE(named.name);
    const TinyModel model(named.shape, {kWeightF32, 0, 16});
    const std::vector<int32_t> text = random_tokens(4, 29, model.view.vocab_size);
    const Trace trace = traced(model, text);
    const size_t expected = size_t{model.view.n_layers} * model.view.n_heads * text.size();
    for (uint32_t batch : {1u, 3u, 16u, 64u}) {
      for (uint64_t budget : {uint64_t{0}, uint64_t{1}, uint64_t{5000}}) {
        CAPTURE(batch);
        CAPTURE(budget);
        thimble_config config{};
        config.n_batch = batch;
        const TestSession plain(model.view, config), hooked(model.view, config);
        Calls calls;
        REQUIRE(thimble_on_attention(hooked, record, &calls) == THIMBLE_OK);
        CHECK(hash_of_text(plain, text, 11, budget) == hash_of_text(hooked, text, 11, budget));
        CHECK(calls.size() == expected);
        for (const auto& [place, rows] : calls) {
          const auto [layer, position, head] = place;
          REQUIRE(rows.size() == 1);
          const float* same = trace.row(layer, head, position);
          CHECK(std::equal(rows[0].begin(), rows[0].end(), same));
        }
      }
    }
  }
}

TEST_CASE("trace: the hook is gone when the trace is done") {
  const TinyModel model(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  const TestSession session(model.view);
  const Trace trace = trace_tokens(session, model.view, {1, 2, 3}, 0, 1, {});
  const int32_t token = 4;
  feed_pieces(session, &token, 1, 1);  // would write into the collector that is no more
  CHECK(thimble_position(session) == 4);
}

// ---- What is written ---------------------------------------------------------------------------

Vocabulary nasty_vocabulary() {
  Vocabulary v;
  const char* const texts[] = {"<unk>",
                               "\n<s>\n",
                               "",
                               "</script><script>alert(1)</script>",
                               "\"quoted\", 'too'",
                               "<!--",
                               "a\\b&amp;<b>",
                               "\t\r\n",
                               " two  ",
                               "\xe2\x80\xa8\xe2\x80\xae",
                               "\xff\xc3",
                               "\x7f\x01\x1b[31m",
                               "é€😀",
                               "\xc2\x85",
                               "http:x",
                               "]]>"};
  for (const char* text : texts) {
    v.scores.push_back(-static_cast<float>(v.texts.size()));
    v.types.push_back(v.texts.size() < 3 ? kTokenControl : kTokenNormal);
    v.texts.push_back(text);
  }
  v.bos_id = 1;
  v.eos_id = 2;
  return v;
}

struct NastyModel {
  NastyModel() {
    const ModelShape shape = tiny_shape(24, 20, 2, 4, 2, 6, 16, 32, true);
    const Vocabulary vocabulary = nasty_vocabulary();
    image = build_image_in_memory(shape, {kWeightF32, 0, 16}, &vocabulary,
                                  [](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                                     float* out) { random_row(9, kind, layer, row, cols, out); });
    expect_ok(thimble_model_open(&view, image.data(), image.bytes), "thimble_model_open");
  }
  Trace trace() const {
    std::vector<int32_t> tokens(view.vocab_size);
    std::iota(tokens.begin(), tokens.end(), 0);
    const TestSession session(view);
    Trace trace = trace_tokens(session, view, tokens, 0, 16, {});
    trace.model_name = "</title>&\"'.thimble";
    trace.prompt = "</script><img onerror=x>\n\"\\\xff";
    return trace;
  }
  ImageInMemory image;
  thimble_model view;
};

TEST_CASE("trace: texts of tokens") {
  const NastyModel model;
  const struct {
    int32_t token;
    const char *text, *label;
  } expected[] = {
      {1, "\n<s>\n", "⏎<s>⏎"},
      {2, "<#2>", "<#2>"},
      {7, "\t\r\n", "⇥␍⏎"},
      {8, " two  ", "·two··"},
      {9, "\xe2\x80\xa8\xe2\x80\xae", "<0xE2><0x80><0xA8><0xE2><0x80><0xAE>"},
      {10, "<0xFF><0xC3>", "<0xFF><0xC3>"},
      {11, "\x7f\x01\x1b[31m", "␡␁␛[31m"},
      {12, "é€😀", "é€😀"},
      {13, "\xc2\x85", "<0xC2><0x85>"},
  };
  for (const auto& each : expected) {
    CHECK(token_text(model.view, each.token) == each.text);
    CHECK(token_label(model.view, each.token) == each.label);
  }
}

TEST_CASE("trace: CSV, JSON and page hold the same numbers and texts, whatever the texts") {
  const NastyModel model;
  const Trace trace = model.trace();
  const size_t n = trace.tokens.size();
  const Json json = parse_json(text_of(trace, write_json));
  const auto csv = parse_csv(text_of(trace, write_csv));
  const std::string page = text_of(trace, write_page);
  const Json data = page_data(page);
  const std::vector<uint32_t> numbers = decode_weights(data["weights"].text);
  CHECK(json["model"]["name"].text == trace.model_name);
  CHECK(json["model"]["n_kv_heads"].number == 2);
  CHECK(json["prompt"].text == "</script><img onerror=x>\n\"\\\xef\xbf\xbd");
  CHECK(data["prompt"].text == json["prompt"].text);
  CHECK(data["model"].text == trace.model_name);
  REQUIRE(json["tokens"].size() == n);
  REQUIRE(csv.size() == 1 + trace.attention.size());
  REQUIRE(numbers.size() == trace.attention.size());
  CHECK(csv[0] == std::vector<std::string>{"layer", "head", "query", "key", "query_token",
                                           "key_token", "weight"});
  size_t i = 0;
  for (uint32_t layer = 0; layer < model.view.n_layers; ++layer) {
    for (uint32_t head = 0; head < model.view.n_heads; ++head) {
      for (size_t q = 0; q < n; ++q) {
        const Json& row = json["attention"][layer][head][q];
        REQUIRE(row.size() == q + 1);  // nothing above the diagonal
        for (size_t k = 0; k <= q; ++k, ++i) {
          const float weight = trace.row(layer, head, q)[k];
          const std::vector<std::string>& line = csv[i + 1];
          REQUIRE(line.size() == 7);
          CHECK(row[k].as_float() == weight);
          CHECK(std::strtof(line[6].c_str(), nullptr) == weight);
          CHECK(line[0] + ',' + line[1] + ',' + line[2] + ',' + line[3] ==
                format("%u,%u,%zu,%zu", layer, head, q, k));
          CHECK(line[4] == json["tokens"][q]["text"].text);
          CHECK(line[5] == token_text(model.view, trace.tokens[k]));
          // Rounded to the nearest of 65535 steps.
          CHECK(std::fabs(numbers[i] / 65535.0 - static_cast<double>(weight)) <=
                1 / 131070.0 + 1e-12);
        }
      }
    }
  }
  for (size_t p = 0; p < n; ++p) {
    CHECK(json["tokens"][p]["id"].as_int() == trace.tokens[p]);
    CHECK(data["labels"][p].text == token_label(model.view, trace.tokens[p]));
    REQUIRE(json["next"][p].size() == 16);
    CHECK(json["next"][p][3]["id"].as_int() == trace.next[p][3].token);
    CHECK(data["next"][p][3][0].as_int() == trace.next[p][3].token);
    CHECK(data["next"][p][3][1].text == token_label(model.view, trace.next[p][3].token));
    CHECK(data["next"][p][3][2].number ==
          doctest::Approx(trace.next[p][3].probability).epsilon(1e-4));
  }
  // No text has become markup: three scripts (theme, data, page) open and close, one title.
  CHECK(count_of(page, "<script") == 3);
  CHECK(count_of(page, "</script>") == 3);
  CHECK(count_of(page, "</title>") == 1);
  CHECK(count_of(page, "<!--") == 0);
  CHECK(count_of(page, "<img") == 0);
}

// ---- The verb ----------------------------------------------------------------------------------

struct Folder {
  Folder() {
    char name[] = "/tmp/thimble-trace-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() {
    for (const char* file : {"/out.html", "/out.json", "/out.thimble"}) {
      unlink((path + file).c_str());
    }
    rmdir(path.c_str());
  }
  std::string path;
};

TEST_CASE("trace: the page of 64 tokens on the default model is small and asks for nothing") {
  const Folder folder;
  const std::string page_path = folder.path + "/out.html", json_path = folder.path + "/out.json";
  const Ended ended = run(trace_verb, {"models/story.thimble", "-p", "Once upon a time", "-n", "59",
                                       "-o", page_path, "--json", json_path});
  CAPTURE(ended.err);
  REQUIRE(ended.code == 0);
  CHECK(ended.out.empty());
  std::string page, json;
  REQUIRE(read_whole_file(page_path, &page));
  REQUIRE(read_whole_file(json_path, &json));
  CHECK(parse_json(json)["tokens"].size() == 64);
  CHECK(page_data(page)["labels"].size() == 64);
  CHECK(page.size() < 2000000);
  for (const char* reference :
       {"http://", "https://", "src=", "href=", "@import", "url(", "fetch("}) {
    CAPTURE(reference);
    CHECK(page.find(reference) == std::string::npos);
  }
  CHECK(page.find("default-src 'none'") != std::string::npos);
}

TEST_CASE("trace: a model without a tokenizer is refused, and leaves no output") {
  const Folder folder;
  const TinyModel model(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  OutputFile file(folder.path + "/out.thimble");
  file.write(model.image.data(), model.image.size());
  file.commit();
  const std::string page_path = folder.path + "/out.html";
  const Ended ended =
      run(trace_verb, {folder.path + "/out.thimble", "-p", "text", "-o", page_path});
  CHECK(ended.code == 1);
  CHECK(ended.err ==
        folder.path + "/out.thimble: has no tokenizer; convert it with --tokenizer FILE");
  CHECK(access(page_path.c_str(), F_OK) != 0);
}

TEST_CASE("trace: stdout instead of a file") {
  const Ended ended = run(trace_verb, {"models/story.thimble", "-p", "", "--csv", "-"});
  CHECK(ended.code == 0);
  CHECK(parse_csv(ended.out).size() == 1 + 5 * 8);  // the beginning-of-text token alone
  CHECK(ended.err.empty());
}

}  // namespace
}  // namespace thimble::tools
