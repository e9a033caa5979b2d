// SPDX-License-Identifier: MIT
// How a run goes, in a line on stderr.
#ifndef THIMBLE_TOOLS_TRAIN_STATUS_LINE_H
#define THIMBLE_TOOLS_TRAIN_STATUS_LINE_H

#include <cstdint>
#include <string>

namespace thimble::tools::train {

struct Status {
  uint64_t step, total_steps;  // total 0: not yet known
  double epoch;
  double loss;           // nats a token, of the steps since the last line that stayed
  double held_out;       // nats a token; below 0: not measured now
  double bits_per_byte;  // of the held-out text
  double tokens_per_second, seconds;
};

class StatusLine {
 public:
  StatusLine();

  void stay(const Status& status);  // a line that stays
  void pass(const Status& status);  // one that the next replaces, on a terminal only
  void sample(const std::string& text);
  void clear();  // takes such a line away

 private:
  bool is_terminal_, is_shown_ = false;
};

}  // namespace thimble::tools::train

#endif
