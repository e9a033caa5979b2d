// SPDX-License-Identifier: MIT
// How JSON is spelled under a rule. Each value has one spelling, but for what a number's digits
// leave open: no space between, and in strings only those characters escaped that have to be, as
// Python's json.dumps(value, ensure_ascii=False, separators=(",", ":")) has it.
#ifndef THIMBLE_TOOLS_CONSTRAIN_JSON_SYNTAX_H
#define THIMBLE_TOOLS_CONSTRAIN_JSON_SYNTAX_H

#include <string>
#include <vector>

#include "constrain/syntax.h"
#include "value.h"

namespace thimble::tools {

// One character of a set, as it stands between quotes.
NodePtr json_character(const CharacterSet& set);

// What a tree over characters says, between quotes. It has no members and no calls.
NodePtr json_content(const NodePtr& node);

// A string with its quotes.
NodePtr json_quoted(NodePtr content);

// Any string but these.
NodePtr json_string_but(const std::vector<std::string>& texts);

// A value as it is written.
std::string json_spelling(const Value& value);

}  // namespace thimble::tools

#endif
