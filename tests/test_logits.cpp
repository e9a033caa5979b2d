// SPDX-License-Identifier: MIT
// thimble logits: the numbers of the engine at every position, and what is no list of tokens.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "capture.h"
#include "json.h"
#include "llama2c_files.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;
using tools::Words;

namespace {

constexpr uint32_t kVocab = 64, kContext = 16;

const tools::ModelShape& shape() {
  static const tools::ModelShape s = tiny_shape(32, 40, 2, 4, 2, 8, kVocab, kContext, true);
  return s;
}

std::string write_model(const TestFolder& folder, const TinyModel& model) {
  return folder.write("tiny.thimble", std::string(reinterpret_cast<const char*>(model.image.data()),
                                                  static_cast<size_t>(model.image.size())));
}

Ended logits(const Words& words) {
  return run(tools::logits_verb, words);
}

// The engine's own logits behind each token.
std::vector<std::vector<float>> expected_logits(const thimble_model& model,
                                                const std::vector<int32_t>& tokens,
                                                uint32_t kv = THIMBLE_KV_F32) {
  thimble_config config = {};
  config.kv_type = kv;
  const TestSession session(model, config);
  std::vector<std::vector<float>> rows;
  for (const int32_t token : tokens) {
    feed_pieces(session, &token, 1, 1);
    const float* row = thimble_logits(session);
    rows.emplace_back(row, row + model.vocab_size);
  }
  return rows;
}

// --json's logits, which have to be those to the bit.
void check_json(const Ended& ended, const std::vector<int32_t>& tokens,
                const std::vector<std::vector<float>>& expected) {
  REQUIRE_MESSAGE(ended.code == 0, ended.err);
  const Json json = parse_json(ended.out);
  CHECK(json["tokens"].as_ints() == tokens);
  REQUIRE(json["logits"].size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(json["logits"][i].as_floats() == expected[i]);
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  CHECK(lines.back().empty());
  lines.pop_back();
  return lines;
}

}  // namespace

TEST_CASE("logits: JSON has the engine's numbers at every position, to the bit") {
  const TestFolder folder;
  const TinyModel model(shape(), {kWeightQ8, 32, 4}, true);
  const std::string path = write_model(folder, model);
  const std::vector<int32_t> tokens = {1, 17, 5, 63, 0};
  check_json(logits({path, "--tokens", "1,17,5,63,0", "--json"}), tokens,
             expected_logits(model.view, tokens));
  check_json(logits({path, "--tokens", "7", "--json"}), {7}, expected_logits(model.view, {7}));
  const auto q8 = expected_logits(model.view, tokens, THIMBLE_KV_Q8);
  check_json(logits({path, "--tokens", "1,17,5,63,0", "--json", "--kv", "q8"}), tokens, q8);
  CHECK(q8 != expected_logits(model.view, tokens));
  // As many as the context holds.
  std::string ids = "3";
  for (uint32_t i = 1; i < kContext; ++i) ids += ",3";
  CHECK(logits({path, "--tokens", ids, "--json"}).code == 0);
}

TEST_CASE("logits: a text is encoded with the token that begins texts") {
  const TestFolder folder;
  const TinyModel model(shape(), {kWeightF32, 0, 4}, true);
  const std::string path = write_model(folder, model);
  const TestSession session(model.view);
  int32_t tokens[8];
  const int32_t n = thimble_encode(session, "ab ca", 5, THIMBLE_ENCODE_BOS, tokens, 8);
  REQUIRE(n > 2);
  const std::vector<int32_t> ids(tokens, tokens + n);
  CHECK(ids[0] == model.view.bos_id);
  check_json(logits({path, "-p", "ab ca", "--json"}), ids, expected_logits(model.view, ids));
  // From stdin, too.
  const std::string text = folder.write("prompt.txt", "ab ca");
  std::FILE* file = std::fopen(text.c_str(), "rb");
  const int saved = dup(STDIN_FILENO);
  REQUIRE(file != nullptr);
  dup2(fileno(file), STDIN_FILENO);
  const Ended from_stdin = logits({path, "-p", "-", "--json"});
  dup2(saved, STDIN_FILENO);
  close(saved);
  std::fclose(file);
  check_json(from_stdin, ids, expected_logits(model.view, ids));
}

TEST_CASE("logits: the likeliest tokens of each position, with their probabilities") {
  const TestFolder folder;
  for (const bool with_vocabulary : {true, false}) {
    CAPTURE(with_vocabulary);
    const TinyModel model(shape(), {kWeightF32, 0, 4}, with_vocabulary);
    const std::string path = write_model(folder, model);
    const auto expected = expected_logits(model.view, {1, 40});
    const Ended ended = logits({path, "--tokens", "1,40", "--top", "3"});
    REQUIRE_MESSAGE(ended.code == 0, ended.err);
    const std::vector<std::string> lines = lines_of(ended.out);
    REQUIRE(lines.size() == 2 * (1 + 3));
    CHECK(lines[0] == (with_vocabulary ? "position 0, token 1 \"<s>\"" : "position 0, token 1"));
    CHECK(lines[4] == (with_vocabulary ? "position 1, token 40 \" i\"" : "position 1, token 40"));
    for (size_t position = 0; position < 2; ++position) {
      const std::vector<float>& row = expected[position];
      std::vector<bool> is_taken(row.size());
      double sum = 0;
      for (const float x : row) sum += std::exp(static_cast<double>(x));
      for (size_t rank = 0; rank < 3; ++rank) {
        size_t best = row.size();
        for (size_t i = 0; i < row.size(); ++i) {
          if (!is_taken[i] && (best == row.size() || row[i] > row[best])) best = i;
        }
        is_taken[best] = true;
        int id = -1;
        double logit = 0, percent = 0;
        const std::string& line = lines[position * 4 + 1 + rank];
        REQUIRE(std::sscanf(line.c_str(), "%d %lf %lf %%", &id, &logit, &percent) == 3);
        CHECK(id == static_cast<int>(best));
        CHECK(logit == doctest::Approx(static_cast<double>(row[best])).epsilon(1e-5));
        CHECK(percent ==
              doctest::Approx(100 * std::exp(static_cast<double>(row[best])) / sum).epsilon(1e-3));
        CHECK((line.find('"') != std::string::npos) == with_vocabulary);
      }
    }
    // Five by default, and no more than there are.
    CHECK(lines_of(logits({path, "--tokens", "1"}).out).size() == 6);
    CHECK(lines_of(logits({path, "--tokens", "1", "--top", "64"}).out).size() == 65);
  }
}

TEST_CASE("logits: what is refused, and what is no command") {
  const TestFolder folder;
  const TinyModel model(shape(), {kWeightF32, 0, 4}, true);
  const std::string path = write_model(folder, model);
  std::string too_many = "3";
  for (uint32_t i = 0; i < kContext; ++i) too_many += ",3";
  const struct {
    Words words;
    int code;
    std::string says;
  } cases[] = {
      {{path, "--tokens", "1,64"}, 1, "option '--tokens': found token 64, the model has 0 to 63"},
      {{path, "--tokens", "999999999"}, 1, "found token 999999999, the model has 0 to 63"},
      {{path, "--tokens", too_many}, 1, "found 17 tokens, the context of " + path + " holds 16"},
      {{path, "-p", std::string(40, 'a') + " b c d e f g h i j k l m n o p q r s"},
       1,
       "the prompt has"},
      {{path + ".missing", "--tokens", "1"}, 1, ".missing: No such file or directory"},
      {{path, "--tokens", ""}, 2, "option '--tokens' has '' in it, expected token ids separated"},
      {{path, "--tokens", "1,,2"}, 2, "has '' in it"},
      {{path, "--tokens", "1,2,"}, 2, "has '' in it"},
      {{path, "--tokens", "-1"}, 2, "has '-1' in it"},
      {{path, "--tokens", "1, 2"}, 2, "has ' 2' in it"},
      {{path, "--tokens", "1,two"}, 2, "has 'two' in it"},
      {{path, "--tokens", "0x1"}, 2, "has '0x1' in it"},
      {{path, "--tokens", "4294967297"}, 2, "has '4294967297' in it"},
      {{path}, 2, "expected either --tokens IDS or -p TEXT"},
      {{path, "--tokens", "1", "-p", "a"}, 2, "expected either --tokens IDS or -p TEXT"},
      {{path, "--tokens", "1", "--json", "--top", "3"}, 2, "exclude each other"},
      {{path, "--tokens", "1", "--top", "0"}, 2, "'--top' is '0'"},
      {{path, "--tokens", "1", "--top", "65"}, 2, "'--top' is '65'"},
      {{"--tokens", "1"}, 2, "expected a model file"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.says);
    const Ended ended = logits(each.words);
    CHECK(ended.code == each.code);
    CHECK_MESSAGE(ended.err.find(each.says) != std::string::npos, ended.err);
    CHECK(ended.out.empty());
  }
  const TinyModel mute(shape(), {kWeightF32, 0, 4}, false);
  const Ended ended = logits({write_model(folder, mute), "-p", "a"});
  CHECK(ended.code == 1);
  CHECK(ended.err == path + ": has no tokenizer; convert it with --tokenizer FILE");
}
