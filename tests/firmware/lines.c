/* SPDX-License-Identifier: MIT */
/*
 * Somebody types at command.c: lines that are linked in (typed_lines, by command_model.sh), told as
 * a terminal shows them. With MEASURED defined, what the answer to each took is told behind it.
 */
#include "board.h"

extern const char typed_lines[], typed_lines_end[];
int uart_read_line(char* line, int capacity);

static const char* next_line = typed_lines;

#if defined(MEASURED)
static void tell_instructions(void) {
  static uint64_t start;
  if (start > 0) {
    board_write("  instructions ");
    board_write_number((int64_t)(board_instructions() - start));
    board_write("\n");
  }
  start = board_instructions();
}
#endif

int uart_read_line(char* line, int capacity) {
  int n = 0;
#if defined(MEASURED)
  tell_instructions();
#endif
  if (next_line == typed_lines_end) return -1;
  for (; next_line < typed_lines_end && *next_line != '\n'; ++next_line) {
    if (n < capacity) line[n++] = *next_line;
  }
  if (next_line < typed_lines_end) ++next_line;
  uart_write("> ", 2);
  uart_write(line, (size_t)n);
  uart_write("\n", 1);
  return n;
}
