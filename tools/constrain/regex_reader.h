// SPDX-License-Identifier: MIT
// Regular expressions over Unicode code points, as most languages write them.
#ifndef THIMBLE_TOOLS_CONSTRAIN_REGEX_READER_H
#define THIMBLE_TOOLS_CONSTRAIN_REGEX_READER_H

#include <string>
#include <string_view>

#include "constrain/syntax.h"

namespace thimble::tools {

// Characters; escapes \n \r \t \f \v \0 \xHH \uHHHH \u{H...} and of punctuation; . (all but a line
// break); classes with ranges, ^ and \d \w \s \D \W \S (ASCII), \p{L} and \p{N}; groups (...),
// (?:...), (?<name>...); | * + ? {m} {m,} {m,n}, lazy ones too, which matter to no whole match;
// ^ and $ at the ends. The whole text has to match, or, if `is_search`, a part of it between
// anchors. Throws Refused, naming `place`, the character, what was found and what was expected.
NodePtr read_regex(std::string_view pattern, const std::string& place, bool is_search = false);

// One class, behind its '[': sets *at behind the ']'. For grammars, whose classes are the same.
CharacterSet read_class(std::string_view pattern, size_t* at, const std::string& place);

// Any character.
NodePtr any_character();

}  // namespace thimble::tools

#endif
