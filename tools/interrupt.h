// SPDX-License-Identifier: MIT
// Ctrl-C as a wish: what was computed so far can still be told.
#ifndef THIMBLE_TOOLS_INTERRUPT_H
#define THIMBLE_TOOLS_INTERRUPT_H

#include <cstddef>
#include <cstdint>

#include "thimble/thimble.h"

namespace thimble::tools {

// For as long as it lives the first SIGINT or SIGTERM is only noted; a second one ends the program.
// One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // The signal that came, 0 if none did.
  int signal() const;
};

// The exit code of a verb that was interrupted: main() then ends the program by that signal, so
// that a shell knows. 0 stays 0.
constexpr int kInterruptedCode = 128;
int exit_code(const Interrupt& interrupt);

// As compute(), but returns false soon after an interruption, the pass being incomplete.
bool compute_unless(const Interrupt& interrupt, thimble_session* session, const int32_t* tokens,
                    size_t n, uint64_t budget = 0);

}  // namespace thimble::tools

#endif
