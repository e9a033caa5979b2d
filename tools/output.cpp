// SPDX-License-Identifier: MIT
#include "output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
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

void write_text(const char* text, size_t bytes) {
  errno = 0;
  if (std::fwrite(text, 1, bytes, stdout) != bytes) throw_output_error(errno);
}

}  // namespace

void print_visible(std::string_view text) {
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t byte = static_cast<uint8_t>(text[i]);
    const uint8_t next = i + 1 < text.size() ? static_cast<uint8_t>(text[i + 1]) : 0;
    const bool is_c1 = byte == 0xc2 && next >= 0x80 && next < 0xa0;  // in UTF-8
    const bool is_c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
    if (!is_c0 && !is_c1) continue;
    write_text(text.data() + done, i - done);
    char spelled[8];
    const int n = std::snprintf(spelled, sizeof spelled, is_c1 ? "\\u%04x" : "\\x%02x",
                                static_cast<unsigned>(is_c1 ? next : byte));
    write_text(spelled, static_cast<size_t>(n));
    if (is_c1) ++i;
    done = i + 1;
  }
  write_text(text.data() + done, text.size() - done);
}

void print_text(const char* text, size_t bytes) {
  if (isatty(STDOUT_FILENO) == 1) {
    print_visible({text, bytes});
  } else {
    write_text(text, bytes);
  }
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
