// SPDX-License-Identifier: MIT
// A progress bar on stderr, only if that is a terminal.
#ifndef THIMBLE_TOOLS_PROGRESS_H
#define THIMBLE_TOOLS_PROGRESS_H

#include <chrono>
#include <string>

namespace thimble::tools {

class Progress {
 public:
  explicit Progress(const std::string& label);
  ~Progress();  // wipes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The share that is done, 0 to 1. Cheap; draws ten times a second at most.
  void show(double share);

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  bool is_terminal_;
  bool drawn_ = false;
  Clock::time_point start_, next_;
};

}  // namespace thimble::tools

#endif
