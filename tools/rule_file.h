// SPDX-License-Identifier: MIT
// Rules as files: read, put to use, taken off.
#ifndef THIMBLE_TOOLS_RULE_FILE_H
#define THIMBLE_TOOLS_RULE_FILE_H

#include <memory>
#include <string>

#include "engine.h"
#include "files.h"
#include "image.h"
#include "rule.h"

namespace thimble::tools {

// A rule of a model's vocabulary, mapped, opened and verified. Throws Refused, saying what was
// found and what was expected.
class LoadedRule {
 public:
  LoadedRule(const std::string& path, const LoadedModel& loaded);

  const thimble_rule& rule() const { return rule_; }
  const std::string& path() const { return file_.path(); }

  // From now on its texts begin with `prefix`. Throws Refused.
  void begin_with(const std::string& prefix, const LoadedModel& loaded);

 private:
  MappedFile file_;
  ImageInMemory behind_prefix_;
  thimble_rule rule_;
};

// The bytes that a rule sees of a token; "" of a control token.
std::string rule_text(const thimble_model& model, int32_t token);

// The rule of that path, and the configuration with room for it (THIMBLE_RULES_...); null for "".
// Throws Refused.
std::unique_ptr<LoadedRule> load_rule(const std::string& path, const LoadedModel& loaded,
                                      uint32_t rules, thimble_config* config);

// From here on the session's text is an answer that has to meet it; its logits are computed again.
// Null: any text. Throws Refused.
void use_rule(thimble_session* session, const LoadedRule* rule);

// Whether the answer so far, with one more token unless that is -1, meets the rule in use.
bool meets_rule(const thimble_session* session, int32_t token);

// Whether a file begins as rules do.
bool is_rule(const MappedFile& file);

// Throws Refused unless it is whole and possible; whether it fits a model only that one can tell.
const RuleHeader& intact_rule(const MappedFile& file);

// Why a rule was refused, in words that go behind its name.
std::string rule_fault(thimble_status status, const thimble_fault& fault, size_t file_bytes);

}  // namespace thimble::tools

#endif
