// SPDX-License-Identifier: MIT
// What a model has to fit, as the options --board, --flash and --ram say it.
#ifndef THIMBLE_TOOLS_DEVICE_H
#define THIMBLE_TOOLS_DEVICE_H

#include <cstdint>

#include "args.h"
#include "boards.h"

namespace thimble::tools {

struct Device {
  const Board* board = nullptr;
  uint64_t flash = 0, ram = 0;  // bytes; 0: not given
};

// --flash and --ram take precedence over what --board has. Throws WrongUsage.
Device device_of(const Args& args);

}  // namespace thimble::tools

#endif
