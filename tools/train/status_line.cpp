// SPDX-License-Identifier: MIT
#include "status_line.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "error.h"

namespace thimble::tools::train {
namespace {

std::string time_left(const Status& s) {
  if (s.total_steps == 0 || s.step == 0) return "";
  const double left =
      s.seconds * static_cast<double>(s.total_steps - s.step) / static_cast<double>(s.step);
  if (left < 100) return format("  %.0f s left", left);
  if (left < 6000) return format("  %.0f min left", left / 60);
  return format("  %.1f h left", left / 3600);
}

std::string line_of(const Status& s) {
  std::string line = format("step %llu", static_cast<unsigned long long>(s.step));
  if (s.total_steps > 0) line += format("/%llu", static_cast<unsigned long long>(s.total_steps));
  line += format("  epoch %.2f  loss %.4f", s.epoch, s.loss);
  if (s.held_out >= 0) {
    line += format("  held out %.4f, %.4f bits a byte", s.held_out, s.bits_per_byte);
  }
  return line + format("  %.0f tokens/s", s.tokens_per_second) + time_left(s);
}

}  // namespace

StatusLine::StatusLine() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

void StatusLine::stay(const Status& status) {
  clear();
  std::fprintf(stderr, "%s\n", line_of(status).c_str());
}

void StatusLine::pass(const Status& status) {
  if (!is_terminal_) return;
  std::fprintf(stderr, "\r%s\033[K", line_of(status).c_str());
  std::fflush(stderr);
  is_shown_ = true;
}

void StatusLine::sample(const std::string& text) {
  if (text.empty()) return;
  clear();
  std::string line = text;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fprintf(stderr, "  > %s\n", printable(line).c_str());
}

void StatusLine::clear() {
  if (is_shown_) std::fputs("\r\033[K", stderr);
  is_shown_ = false;
}

}  // namespace thimble::tools::train
