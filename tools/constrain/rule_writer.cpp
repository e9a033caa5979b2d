// SPDX-License-Identifier: MIT
#include "constrain/rule_writer.h"

#include <cstring>
#include <vector>

#include "constrain/nfa.h"
#include "error.h"
#include "rule.h"
#include "sealed_image.h"

namespace thimble::tools {
namespace {

void put(std::vector<uint8_t>* bytes, const void* data, size_t n) {
  const uint8_t* from = static_cast<const uint8_t*>(data);
  bytes->insert(bytes->end(), from, from + n);
}

std::vector<RuleEdge> edges_of(const Dfa& dfa, uint32_t state) {
  std::vector<RuleEdge> edges;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint8_t b = static_cast<uint8_t>(byte);
    const uint32_t to = dfa.next(state, b);
    if (to == Dfa::kNowhere) continue;
    if (!edges.empty() && edges.back().last + 1u == byte && edges.back().target == to) {
      edges.back().last = b;
    } else {
      edges.push_back({b, b, static_cast<uint16_t>(to)});
    }
  }
  return edges;
}

}  // namespace

ImageInMemory write_rule(const Dfa& dfa, const Masks& masks, const thimble_model& model) {
  std::vector<RuleState> states;
  std::vector<RuleEdge> edges;
  states.reserve(dfa.n_states + size_t{1});
  for (uint32_t s = 0; s < dfa.n_states; ++s) {
    states.push_back({static_cast<uint32_t>(edges.size()), 2 * masks.of_state[s] + dfa.accepts[s]});
    const std::vector<RuleEdge> own = edges_of(dfa, s);
    edges.insert(edges.end(), own.begin(), own.end());
  }
  states.push_back({static_cast<uint32_t>(edges.size()), 0});
  std::vector<RuleMask> table;
  std::vector<uint32_t> listed;
  table.reserve(masks.masks.size() + 1);
  for (const Masks::Mask& mask : masks.masks) {
    table.push_back({static_cast<uint32_t>(listed.size()), mask.base});
    listed.insert(listed.end(), mask.flipped.begin(), mask.flipped.end());
  }
  table.push_back({static_cast<uint32_t>(listed.size()), 0});
  if (edges.size() > kMaxRuleEdges || listed.size() > kMaxRuleListed) {
    throw Refused(
        format("the rule is too large: %zu edges and %zu exceptions, expected at most %u "
               "and %u",
               edges.size(), listed.size(), kMaxRuleEdges, kMaxRuleListed));
  }

  RuleHeader h{};
  std::memcpy(h.magic, kRuleMagic, sizeof h.magic);
  h.version = kRuleVersion;
  h.byte_order = kByteOrderMark;
  h.vocabulary_crc = vocabulary_crc(model);
  h.vocab_size = thimble::header_of(model).vocab_size;
  h.n_states = dfa.n_states;
  h.n_edges = static_cast<uint32_t>(edges.size());
  h.n_masks = static_cast<uint32_t>(masks.masks.size());
  h.n_bitmaps = static_cast<uint32_t>(masks.bitmaps.size());
  h.n_listed = static_cast<uint32_t>(listed.size());
  h.n_sections = kRuleSections;
  h.header_bytes = static_cast<uint32_t>(sizeof h + kRuleSections * sizeof(SectionEntry));
  std::vector<SectionEntry> sections;
  sections.reserve(kRuleSections);
  for (uint32_t i = 0; i < kRuleSections; ++i) {
    sections.push_back(expected_rule_section(h, i, i > 0 ? &sections[i - 1] : nullptr));
  }
  h.file_bytes = rule_file_bytes(sections.back());

  std::vector<uint8_t> bytes(h.header_bytes);
  const auto section = [&](RuleSection kind, const auto& rows) {
    bytes.resize(static_cast<size_t>(sections[kind - kRuleStates].offset));
    put(&bytes, rows.data(), rows.size() * sizeof rows[0]);
  };
  section(kRuleStates, states);
  section(kRuleEdges, edges);
  section(kRuleMasks, table);
  bytes.resize(static_cast<size_t>(sections[kRuleBitmaps - kRuleStates].offset));
  for (const std::vector<uint32_t>& bitmap : masks.bitmaps) {
    put(&bytes, bitmap.data(), bitmap.size() * sizeof bitmap[0]);
  }
  if (sections[kRuleListed - kRuleStates].type == kElementU16) {
    std::vector<uint16_t> narrow;
    narrow.reserve(listed.size());
    for (const uint32_t id : listed) narrow.push_back(static_cast<uint16_t>(id));
    section(kRuleListed, narrow);
  } else {
    section(kRuleListed, listed);
  }
  bytes.resize(static_cast<size_t>(h.file_bytes));
  return sealed_image(std::move(bytes), h, sections);
}

ImageInMemory build_rule(const Syntax& syntax, const thimble_model& model) {
  if (thimble::header_of(model).tokenizer == kTokenizerNone) {
    throw Refused("the model has no tokenizer, which a rule is compiled for");
  }
  if (model.eos_id < 0 && model.bos_id < 0 && model.end_of_turn_id < 0) {
    throw Refused("the model has no token that ends a text, so that no rule's text could end");
  }
  const Dfa dfa = dfa_of(nfa_of(syntax));
  if (dfa.n_states > kMaxRuleStates) {
    throw Refused(
        format("the rule is too large: its smallest automaton has %u states, expected at most %u; "
               "shorter counts make it smaller",
               dfa.n_states, kMaxRuleStates));
  }
  return write_rule(dfa, masks_of(dfa, model), model);
}

}  // namespace thimble::tools
