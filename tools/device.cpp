// SPDX-License-Identifier: MIT
#include "device.h"

#include <string>

#include "error.h"
#include "size_option.h"

namespace thimble::tools {

Device device_of(const Args& args) {
  Device device;
  if (args.has("--board")) {
    const std::string name = args.text("--board", "");
    device.board = find_board(name);
    if (!device.board) {
      throw WrongUsage("option '--board' is '" + name +
                       "', which is not in the list: thimble plan --board list");
    }
    device.flash = device.board->flash;
    device.ram = device.board->ram;
  }
  if (args.has("--flash")) device.flash = size_option(args, "--flash");
  if (args.has("--ram")) device.ram = size_option(args, "--ram");
  return device;
}

}  // namespace thimble::tools
