// SPDX-License-Identifier: MIT
#include "interrupt.h"

#include <csignal>

#include "engine.h"

namespace thimble::tools {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};
volatile std::sig_atomic_t g_signal;

void note(int signal) {
  g_signal = signal;
  for (int each : kSignals) std::signal(each, SIG_DFL);
}

// Takes the place of one handler by another; others, and what is ignored, stay.
void exchange(void (*from)(int), void (*to)(int)) {
  for (int each : kSignals) {
    const auto before = std::signal(each, to);
    if (before != from && before != SIG_ERR) std::signal(each, before);
  }
}

}  // namespace

Interrupt::Interrupt() {
  g_signal = 0;
  exchange(SIG_DFL, note);
}

Interrupt::~Interrupt() {
  exchange(note, SIG_DFL);
}

int Interrupt::signal() const {
  return g_signal;
}

int exit_code(const Interrupt& interrupt) {
  return interrupt.signal() ? kInterruptedCode + interrupt.signal() : 0;
}

bool compute_unless(const Interrupt& interrupt, thimble_session* session, const int32_t* tokens,
                    size_t n, uint64_t budget) {
  constexpr uint64_t kSlice = uint64_t{1} << 26;  // some hundredths of a second
  checked(thimble_feed(session, tokens, n), "feed");
  while (checked(thimble_step(session, budget ? budget : kSlice), "step") == THIMBLE_MORE) {
    if (interrupt.signal()) return false;
  }
  return true;
}

}  // namespace thimble::tools
