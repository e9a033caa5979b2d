// SPDX-License-Identifier: MIT
// From a syntax tree to a rule's file.
#ifndef THIMBLE_TOOLS_CONSTRAIN_RULE_WRITER_H
#define THIMBLE_TOOLS_CONSTRAIN_RULE_WRITER_H

#include "constrain/dfa.h"
#include "constrain/masks.h"
#include "constrain/syntax.h"
#include "image.h"

namespace thimble::tools {

// The rule's file for the vocabulary of `model`, which must have one, and a token that ends a text.
// Throws Refused.
ImageInMemory build_rule(const Syntax& syntax, const thimble_model& model);

// Its last step.
ImageInMemory write_rule(const Dfa& dfa, const Masks& masks, const thimble_model& model);

}  // namespace thimble::tools

#endif
