// SPDX-License-Identifier: MIT
// The four attention mechanisms on a sentence of six words, every matrix printed with its meaning.
#ifndef THIMBLE_TOOLS_DEMO_H
#define THIMBLE_TOOLS_DEMO_H

namespace thimble::tools {

// Prints the walk to stdout. Returns the exit code: 0, or 1 if a step was refused.
int attention_demo();

}  // namespace thimble::tools

#endif
