// SPDX-License-Identifier: MIT
// thimble inspect, of a rule.
#ifndef THIMBLE_TOOLS_INSPECT_RULE_H
#define THIMBLE_TOOLS_INSPECT_RULE_H

#include "files.h"

namespace thimble::tools {

// Prints what it holds. Returns the exit code: 1 if its tables are damaged so that only the
// checksum tells. Throws Refused if they contradict themselves, or the header is damaged. Whether
// it fits a model only that model can tell.
int inspect_rule(const MappedFile& file, bool tensors, bool json);

}  // namespace thimble::tools

#endif
