// SPDX-License-Identifier: MIT
#include "output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "error.h"

namespace thimble::tools {
namespace {

// The stream remembers that a write failed, but not why; a pipe without a reader still shows it.
[[noreturn]] void throw_output_error(int error) {
  pollfd state{STDOUT_FILENO, 0, 0};
  const bool reader_gone = poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
  if (error == EPIPE || reader_gone) throw ClosedOutput();
  throw Refused(std::string("stdout: cannot be written") +
                (error ? std::string(": ") + std::strerror(error) : ""));
}

}  // namespace

void print_text(const char* text, size_t bytes) {
  errno = 0;
  if (std::fwrite(text, 1, bytes, stdout) != bytes) throw_output_error(errno);
}

void print_text(const std::string& text) {
  print_text(text.data(), text.size());
}

void flush_stdout() {
  errno = 0;
  if (std::fflush(stdout) != 0) throw_output_error(errno);
}

void finish_stdout() {
  flush_stdout();
  if (std::ferror(stdout)) throw_output_error(0);
}

}  // namespace thimble::tools
