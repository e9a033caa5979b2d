// SPDX-License-Identifier: MIT
// How a run goes: a line on stderr, a row in a file of comma-separated values.
#ifndef THIMBLE_TOOLS_TRAIN_LOG_H
#define THIMBLE_TOOLS_TRAIN_LOG_H

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace thimble::tools::train {

struct LogRow {
  uint64_t step, total_steps;  // total 0: not yet known
  double epoch;
  double loss;           // nats a token, of the steps since the last row
  double held_out;       // nats a token; below 0: not measured now
  double bits_per_byte;  // of the held-out text
  double rate, norm;     // norm of the gradient
  double tokens_per_second, seconds;
};

class Log {
 public:
  // path: of the file, "" for none. A file that is there keeps its rows up to `step`.
  Log(const std::string& path, uint64_t step);

  void row(const LogRow& row);       // to the file, and a line that stays
  void progress(const LogRow& row);  // a line that the next one replaces, on a terminal
  void sample(const std::string& text);
  void clear();  // takes such a line away

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  bool is_terminal_, has_progress_ = false;
};

}  // namespace thimble::tools::train

#endif
