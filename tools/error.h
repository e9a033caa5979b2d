// SPDX-License-Identifier: MIT
// How a verb gives up: main() prints the message and sets the exit code.
#ifndef THIMBLE_TOOLS_ERROR_H
#define THIMBLE_TOOLS_ERROR_H

#include <stdexcept>
#include <string>

namespace thimble::tools {

// Input that is refused, or a check that failed: exit code 1. Says which file, what was found and
// what was expected.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A command line that means nothing: exit code 2.
struct WrongUsage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A message as it may go to a terminal: files put names into it. Control characters become \x1b,
// say, and what is longer than a screen is cut.
std::string printable(const std::string& message);

// printf to a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

}  // namespace thimble::tools

#endif
