// SPDX-License-Identifier: MIT
// Compiles rules for check_rules.py and says what they do. A line of JSON for each rule on stdin,
//   {"kind": "regex" | "schema" | "grammar", "rule": ..., "depth": 2, "texts": [...], "seed": 7}
// and one on stdout: {"refused": "why"}, or which texts the rule accepts, both by its automaton and
// as tokens cut at random in a session, and a text that a random model wrote under it at
// temperature 2, null where that did not end: {"accepts": [true, ...], "written": "..." | null}
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "constrain/grammar_reader.h"
#include "constrain/schema_reader.h"
#include "error.h"
#include "json_reader.h"
#include "json_string.h"
#include "tiny_rule.h"

using namespace thimble;
using namespace thimble::test;
using namespace thimble::tools;

namespace {

constexpr size_t kMostTokens = 250;

const TinyModel& model_at(uint64_t seed) {
  static const auto make = [](uint64_t weights) {
    return TinyModel(tiny_shape(16, 24, 1, 2, 1, 8, 500, 256, true), {kWeightQ8, 0, 4}, true,
                     weights);
  };
  static const TinyModel models[] = {make(1), make(2), make(3), make(4)};
  return models[seed % 4];
}

Syntax syntax_from(const Value& line) {
  const std::string kind = *line.find("kind")->string();
  const Value* rule = line.find("rule");
  const Value* depth = line.find("depth");
  const uint32_t levels = depth && depth->integer() ? static_cast<uint32_t>(*depth->integer()) : 2;
  if (kind == "schema") return read_schema(*rule, "rule", levels);
  if (kind == "grammar") return read_grammar(*rule->string(), "rule", levels);
  return syntax_of(read_regex(*rule->string(), "rule"));
}

void begin(thimble_session* s, const thimble_rule* rule) {
  const int32_t bos = 1;
  expect_ok(thimble_rewind(s, 0), "rewind");
  feed_pieces(s, &bos, 1, 1);
  expect_ok(thimble_session_constrain(s, rule), "constrain");
  finish_pass(s);
}

// What a model writes; false if it did not end.
bool write(thimble_session* s, const TinyModel& m, uint64_t seed, std::string* text) {
  thimble_sampling sampling{};
  sampling.temperature = 2;
  sampling.seed = seed;
  for (size_t n = 0; n < kMostTokens; ++n) {
    const int32_t token = thimble_sample(s, &sampling);
    if (token < 0)
      throw std::runtime_error(thimble_status_text(static_cast<thimble_status>(token)));
    if (thimble_is_end(&m.view, token)) return true;
    *text += text_of_token(m.view, token);
    feed_pieces(s, &token, 1, 1);
  }
  return false;
}

// Whether a session takes a text, cut to tokens of random lengths, and its end.
bool takes(thimble_session* s, const TinyModel& m, const std::string& text, Random* random) {
  for (size_t at = 0; at < text.size();) {
    int32_t chosen = -1;
    uint32_t n_fit = 0;
    for (int32_t id = 3; id < static_cast<int32_t>(m.view.n_tokens); ++id) {
      const std::string piece = text_of_token(m.view, id);
      if (text.compare(at, piece.size(), piece) == 0 && random->below(++n_fit) == 0) chosen = id;
    }
    if (thimble_room(s) < 2) throw std::runtime_error("a text is longer than the context");
    if (thimble_feed(s, &chosen, 1) == THIMBLE_ERROR_FORBIDDEN) return false;
    finish_pass(s);
    at += text_of_token(m.view, chosen).size();
  }
  return thimble_feed(s, &m.view.eos_id, 1) == THIMBLE_OK && thimble_step(s, 0) == THIMBLE_OK;
}

std::string reply(const Value& line) {
  const uint64_t seed = static_cast<uint64_t>(*line.find("seed")->integer());
  const TinyModel& m = model_at(seed);
  Random random(seed + 1);
  try {
    const TinyRule rule(m.view, syntax_from(line));
    thimble_config config{};
    config.rules = THIMBLE_RULES_TEXT;
    config.n_draft = seed % 3 == 0 ? 6 : 0;
    TestSession s(m.view, config);
    std::string out = "{\"accepts\": [";
    const char* between = "";
    for (const Value& text : *line.find("texts")->list()) {
      const bool is_accepted = rule.accepts(*text.string());
      if (text.string()->size() < 200) {
        begin(s, &rule.view);
        if (takes(s, m, *text.string(), &random) != is_accepted) {
          throw std::runtime_error("automaton and session disagree about " + *text.string());
        }
      }
      out += between;
      out += is_accepted ? "true" : "false";
      between = ", ";
    }
    begin(s, &rule.view);
    std::string text;
    const bool has_ended = write(s, m, seed, &text);
    return out + "], \"written\": " + (has_ended ? json_string(text) : "null") + "}";
  } catch (const Refused& refused) {
    return "{\"refused\": " + json_string(refused.what()) + "}";
  }
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::printf("%s\n", reply(read_json(line, "stdin")).c_str());
    } catch (const std::exception& error) {
      std::printf("{\"failed\": %s}\n", json_string(error.what()).c_str());
    }
    std::fflush(stdout);
  }
  return 0;
}
