// SPDX-License-Identifier: MIT
// Standard output, with its errors seen: a reader that went away, a disk that is full.
#ifndef THIMBLE_TOOLS_OUTPUT_H
#define THIMBLE_TOOLS_OUTPUT_H

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

namespace thimble::tools {

// The reader of stdout is gone (`| head`): main() ends quietly, exit code 0.
struct ClosedOutput : std::exception {};

// Writes to stdout, through its buffer; to a terminal by print_visible. Throws ClosedOutput, or
// Refused when the disk is full. printf to stdout is fine too for what ends soon: main() calls
// finish_stdout at the end.
void print_text(const char* text, size_t bytes);
void print_text(const std::string& text);

// The same with control characters, but for line breaks and tabs, spelled out: \x1b, \u009b. They
// could move a terminal's cursor, or worse. UTF-8 characters must be whole.
void print_visible(std::string_view text);

// Hands the buffer on, so that a person sees it now. Throws as print_text.
void flush_stdout();

// Flushes and checks all that was ever written. Throws as print_text.
void finish_stdout();

}  // namespace thimble::tools

#endif
