// SPDX-License-Identifier: MIT
// Rules for small models, in memory.
#ifndef THIMBLE_TESTS_TINY_RULE_H
#define THIMBLE_TESTS_TINY_RULE_H

#include <cstring>
#include <string>
#include <utility>

#include "constrain/regex_reader.h"
#include "constrain/rule_writer.h"
#include "constrain/syntax.h"
#include "crc32.h"
#include "rule.h"
#include "tiny_model.h"

namespace thimble::test {

inline tools::Syntax syntax_of(tools::NodePtr root) {
  tools::Syntax syntax;
  syntax.root = std::move(root);
  return syntax;
}

struct TinyRule {
  TinyRule(const thimble_model& model, const tools::Syntax& syntax)
      : TinyRule(model, tools::build_rule(syntax, model)) {}
  TinyRule(const thimble_model& model, const std::string& regex)
      : TinyRule(model, syntax_of(tools::read_regex(regex, "rule"))) {}
  TinyRule(const thimble_model& model, const tools::ImageInMemory& built)
      : image(built.data(), built.bytes) {
    const thimble_status status = thimble_rule_open(&view, &model, image.data(), image.size());
    if (status != THIMBLE_OK) {
      throw std::runtime_error(std::string("tiny rule: ") + thimble_status_text(status) + ": " +
                               (view.fault.what ? view.fault.what : "?"));
    }
    expect_ok(thimble_rule_verify(&view), "thimble_rule_verify");
    tables = rule_tables(image.data());
  }

  // Whether the automaton accepts a text, byte by byte.
  bool accepts(const std::string& text) const {
    uint32_t state = 0;
    for (const char c : text) {
      if (!rule_byte(tables, &state, static_cast<uint8_t>(c))) return false;
    }
    return rule_accepts(tables, state);
  }

  AlignedBlock image;
  thimble_rule view;
  RuleTables tables;
};

// Right checksums again for what was changed.
inline void seal_rule(AlignedBlock* image) {
  RuleHeader h;
  if (image->size() < sizeof h) return;
  std::memcpy(&h, image->data(), sizeof h);
  if (h.header_bytes < sizeof h || h.header_bytes > image->size()) return;
  h.file_bytes = image->size();
  h.data_crc = crc32(0, image->data() + h.header_bytes, image->size() - h.header_bytes);
  h.header_crc = 0;
  std::memcpy(image->data(), &h, sizeof h);
  h.header_crc = crc32(0, image->data(), h.header_bytes);
  std::memcpy(image->data(), &h, sizeof h);
}

// A session that answers as far as a rule of any content lets it.
inline void answer_under(const thimble_model& model, const thimble_rule& rule) {
  thimble_config config{};
  config.rules = THIMBLE_RULES_CONFIDENCE;  // which looks at all logits, too
  config.n_draft = 3;
  TestSession s(model, config);
  const int32_t prompt[] = {1, 30};
  feed_pieces(s, prompt, 2, 2);
  expect_ok(thimble_session_constrain(s, &rule), "thimble_session_constrain");
  finish_pass(s);
  thimble_sampling sampling{};
  sampling.temperature = 2;
  while (thimble_room(s) > 0) {
    const int32_t token = thimble_sample(s, &sampling);
    if (token < 0 || thimble_feed(s, &token, 1) != THIMBLE_OK) break;
    finish_pass(s);
  }
}

inline std::string text_of_token(const thimble_model& model, int32_t token) {
  const uint32_t* offsets = table_of<uint32_t>(model, kTokenOffsets) + token;
  return std::string(table_of<char>(model, kTokenBytes) + offsets[0], offsets[1] - offsets[0]);
}

}  // namespace thimble::test

#endif
