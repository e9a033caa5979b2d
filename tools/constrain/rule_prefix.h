// SPDX-License-Identifier: MIT
// A rule whose texts begin with a given one: a prompt that ends within a token takes its last token
// back, and the answer begins with that token's text ("token healing").
#ifndef THIMBLE_TOOLS_CONSTRAIN_RULE_PREFIX_H
#define THIMBLE_TOOLS_CONSTRAIN_RULE_PREFIX_H

#include <string>

#include "image.h"
#include "rule.h"

namespace thimble::tools {

// The rule of `prefix`, then what `rule` has: a state more for each of its bytes. The rule is one
// of the model's. Throws Refused if those are too many.
ImageInMemory rule_behind(const std::string& prefix, const thimble_rule& rule,
                          const thimble_model& model);

}  // namespace thimble::tools

#endif
