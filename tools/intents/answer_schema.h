// SPDX-License-Identifier: MIT
#ifndef THIMBLE_TOOLS_INTENTS_ANSWER_SCHEMA_H
#define THIMBLE_TOOLS_INTENTS_ANSWER_SCHEMA_H

#include <string>

#include "intents/phrases.h"

namespace thimble::tools {

// The JSON schema of all answers to a file's sentences, for `thimble constrain --schema`: one
// command, or a list of two.
std::string answer_schema(const IntentFile& file);

}  // namespace thimble::tools

#endif
