// SPDX-License-Identifier: MIT
#include "rule_file.h"

#include <cstring>

#include "constrain/rule_prefix.h"
#include "error.h"
#include "flat_file.h"
#include "session.h"

namespace thimble::tools {

std::string rule_fault(thimble_status status, const thimble_fault& fault, size_t file_bytes) {
  if (status == THIMBLE_ERROR_MAGIC) return "is no rule; thimble constrain writes one";
  if (status == THIMBLE_ERROR_VERSION) {
    return format("found version %llu of rules, expected %u",
                  static_cast<unsigned long long>(fault.found), kRuleVersion);
  }
  return fault_text(status, fault, file_bytes);
}

LoadedRule::LoadedRule(const std::string& path, const LoadedModel& loaded) : file_(path) {
  if (header_of(loaded.model()).tokenizer == kTokenizerNone) {
    throw Refused(loaded.path() + ": has no tokenizer, which rules need; convert it with " +
                  "--tokenizer FILE");
  }
  thimble_status status = thimble_rule_open(&rule_, &loaded.model(), file_.data(), file_.size());
  if (status == THIMBLE_OK) status = thimble_rule_verify(&rule_);
  if (status == THIMBLE_ERROR_OTHER_MODEL) {
    throw Refused(
        format("%s: is a rule for another vocabulary: %s: found 0x%08llx, expected "
               "0x%08llx, that of %s",
               path.c_str(), rule_.fault.what, static_cast<unsigned long long>(rule_.fault.found),
               static_cast<unsigned long long>(rule_.fault.expected), loaded.path().c_str()));
  }
  if (status != THIMBLE_OK) {
    throw Refused(path + ": " + rule_fault(status, rule_.fault, file_.size()));
  }
}

void LoadedRule::begin_with(const std::string& prefix, const LoadedModel& loaded) {
  try {
    behind_prefix_ = rule_behind(prefix, rule_, loaded.model());
  } catch (const Refused& error) {
    throw Refused(path() + ": " + error.what());
  }
  checked(thimble_rule_open(&rule_, &loaded.model(), behind_prefix_.data(), behind_prefix_.bytes),
          "rule behind the prompt's last token");
}

std::string rule_text(const thimble_model& model, int32_t token) {
  const size_t at = static_cast<size_t>(token);
  if ((table_of<uint8_t>(model, kTokenTypes)[at] & ~kTokenWhole) == kTokenControl) return "";
  const uint32_t* offsets = table_of<uint32_t>(model, kTokenOffsets) + at;
  return {table_of<char>(model, kTokenBytes) + offsets[0], offsets[1] - offsets[0]};
}

std::unique_ptr<LoadedRule> load_rule(const std::string& path, const LoadedModel& loaded,
                                      uint32_t rules, thimble_config* config) {
  if (path.empty()) return nullptr;
  auto rule = std::make_unique<LoadedRule>(path, loaded);
  config->rules = rules;
  return rule;
}

void use_rule(thimble_session* session, const LoadedRule* rule) {
  checked(thimble_session_constrain(session, rule ? &rule->rule() : nullptr), "rule");
  checked(thimble_step(session, 0), "step");
}

bool meets_rule(const thimble_session* session, int32_t token) {
  if (!has_rule(session)) return false;
  const RuleInUse& rule = rule_of(session);
  uint32_t state = rule.state;
  if (token >= 0 && !rule_token(rule.tables, session->model, &state, token)) return false;
  return rule_accepts(rule.tables, state);
}

bool is_rule(const MappedFile& file) {
  return file.size() >= sizeof kRuleMagic &&
         std::memcmp(file.data(), kRuleMagic, sizeof kRuleMagic) == 0;
}

const RuleHeader& intact_rule(const MappedFile& file) {
  thimble_fault fault{};
  thimble_status status = check_rule(file.data(), file.size(), &fault);
  if (status == THIMBLE_OK) status = check_data(file.data(), file.size(), &fault);
  if (status != THIMBLE_OK) {
    throw Refused(file.path() + ": " + rule_fault(status, fault, file.size()));
  }
  return *reinterpret_cast<const RuleHeader*>(file.data());
}

}  // namespace thimble::tools
