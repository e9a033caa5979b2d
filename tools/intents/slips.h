// SPDX-License-Identifier: MIT
// What becomes of a sentence between a mind and a microcontroller: typing errors, words that a
// recogniser takes for others, capitals and full stops.
#ifndef THIMBLE_TOOLS_INTENTS_SLIPS_H
#define THIMBLE_TOOLS_INTENTS_SLIPS_H

#include <vector>

#include "intents/sentences.h"

namespace thimble::tools {

// Words that are a slot's keep their letters, but for a capital at the sentence's beginning.
void slip(const IntentFile& file, std::vector<SaidWord>* words, train::RandomStream* random);

}  // namespace thimble::tools

#endif
