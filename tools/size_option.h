// SPDX-License-Identifier: MIT
// Sizes as options have them.
#ifndef THIMBLE_TOOLS_SIZE_OPTION_H
#define THIMBLE_TOOLS_SIZE_OPTION_H

#include "args.h"

namespace thimble::tools {

// 700000, 512K or 1M, in bytes. Throws WrongUsage; 0 is no size.
uint64_t size_option(const Args& args, const char* option);

}  // namespace thimble::tools

#endif
