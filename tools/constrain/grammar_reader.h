// SPDX-License-Identifier: MIT
// Grammars in GBNF, llama.cpp's notation.
#ifndef THIMBLE_TOOLS_CONSTRAIN_GRAMMAR_READER_H
#define THIMBLE_TOOLS_CONSTRAIN_GRAMMAR_READER_H

#include <string>
#include <string_view>

#include "constrain/syntax.h"

namespace thimble::tools {

// name ::= alternatives, with "texts", [classes], ., names, (groups), | * + ? {m,n} and # comments;
// the text is a `root`. A name at the end of its own rule begins it again, so that lists have any
// length; elsewhere rules stand `depth` times within themselves at most. Throws Refused, naming the
// line, what was found and what was expected.
Syntax read_grammar(std::string_view text, const std::string& path, uint32_t depth);

}  // namespace thimble::tools

#endif
