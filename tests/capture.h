// SPDX-License-Identifier: MIT
// Runs a verb as main() would and keeps what it prints.
#ifndef THIMBLE_TESTS_CAPTURE_H
#define THIMBLE_TESTS_CAPTURE_H

#include <unistd.h>

#include <cstdio>
#include <string>

#include "error.h"
#include "verbs.h"

namespace thimble::test {

// One of the standard streams, into a temporary file until the end of its life.
class CapturedStream {
 public:
  explicit CapturedStream(std::FILE* stream) : stream_(stream), file_(std::tmpfile()) {
    std::fflush(stream_);
    saved_ = dup(fileno(stream_));
    dup2(fileno(file_), fileno(stream_));
  }
  ~CapturedStream() {
    restore();
    std::fclose(file_);
  }
  CapturedStream(const CapturedStream&) = delete;
  CapturedStream& operator=(const CapturedStream&) = delete;

  std::string text() {
    restore();
    std::rewind(file_);
    std::string out;
    for (int c; (c = std::fgetc(file_)) != EOF;) out += static_cast<char>(c);
    return out;
  }

 private:
  void restore() {
    if (saved_ < 0) return;
    std::fflush(stream_);
    dup2(saved_, fileno(stream_));
    close(saved_);
    saved_ = -1;
  }
  std::FILE* stream_;
  std::FILE* file_;
  int saved_;
};

struct Ended {
  int code;  // as the program's: 0 good, 1 refused, 2 wrong usage
  std::string out, err;
};

inline Ended run(int (*verb)(const tools::Words&), const tools::Words& words) {
  CapturedStream out(stdout), err(stderr);
  int code;
  std::string message;
  try {
    code = verb(words);
  } catch (const tools::Refused& refused) {
    code = 1;
    message = refused.what();
  } catch (const tools::WrongUsage& wrong) {
    code = 2;
    message = wrong.what();
  }
  return {code, out.text(), err.text() + message};
}

}  // namespace thimble::test

#endif
