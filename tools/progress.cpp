// SPDX-License-Identifier: MIT
#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "error.h"

namespace thimble::tools {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr double kWidth = 30;

}  // namespace

Progress::Progress(const std::string& label)
    : label_(label),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      next_(start_ + kInterval) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

void Progress::show(double share) {
  if (!is_terminal_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + kInterval;
  share = std::min(1.0, std::max(0.0, share));
  const size_t filled = static_cast<size_t>(share * kWidth);
  const std::string bar =
      std::string(filled, '#') + std::string(static_cast<size_t>(kWidth) - filled, '.');
  std::string line = format("\r%s [%s] %3.0f %%", label_.c_str(), bar.c_str(), share * 100);
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  if (elapsed > 1 && share > 0.01) line += format(", %.0f s left", elapsed * (1 - share) / share);
  std::fputs((line + "\033[K").c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace thimble::tools
