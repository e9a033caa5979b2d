// SPDX-License-Identifier: MIT
#include "constrain/rule_prefix.h"

#include "constrain/dfa.h"
#include "constrain/masks.h"
#include "constrain/rule_writer.h"
#include "error.h"

namespace thimble::tools {

ImageInMemory rule_behind(const std::string& prefix, const thimble_rule& rule,
                          const thimble_model& model) {
  const RuleTables tables = rule_tables(rule.image);
  const uint32_t n_prefix = static_cast<uint32_t>(prefix.size());
  if (n_prefix > kMaxRuleStates - tables.n_states) {
    throw Refused(
        format("the rule has %u states, and %u more for the prompt's last token are more "
               "than %u",
               tables.n_states, n_prefix, kMaxRuleStates));
  }
  Dfa dfa;
  dfa.n_states = n_prefix + tables.n_states;
  dfa.n_classes = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) dfa.class_of[byte] = static_cast<uint8_t>(byte);
  dfa.to.assign(size_t{dfa.n_states} * dfa.n_classes, Dfa::kNowhere);
  dfa.accepts.assign(dfa.n_states, 0);
  for (uint32_t i = 0; i < n_prefix; ++i) {
    dfa.to[size_t{i} * 256 + static_cast<uint8_t>(prefix[i])] = i + 1;
  }
  for (uint32_t state = 0; state < tables.n_states; ++state) {
    uint32_t* to = dfa.to.data() + size_t{n_prefix + state} * 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t at = state;
      if (rule_byte(tables, &at, static_cast<uint8_t>(byte))) to[byte] = n_prefix + at;
    }
    dfa.accepts[n_prefix + state] = rule_accepts(tables, state) ? 1 : 0;
  }
  return write_rule(dfa, masks_of(dfa, model), model);
}

}  // namespace thimble::tools
