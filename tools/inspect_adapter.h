// SPDX-License-Identifier: MIT
// thimble inspect, of an adapter.
#ifndef THIMBLE_TOOLS_INSPECT_ADAPTER_H
#define THIMBLE_TOOLS_INSPECT_ADAPTER_H

#include "files.h"

namespace thimble::tools {

// Prints what it holds. Returns the exit code: 1 if its matrices are damaged. Throws Refused if its
// header is. Whether it fits a model only that model can tell.
int inspect_adapter(const MappedFile& file, bool tensors, bool json);

}  // namespace thimble::tools

#endif
