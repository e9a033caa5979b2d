/* SPDX-License-Identifier: MIT */
/* As much of Zephyr's printk as the sample asks for: "%.*s". */
#include <stdarg.h>
#include <stddef.h>

void board_uart(const char* text, size_t bytes);
void printk(const char* format, ...);

void printk(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int bytes = va_arg(arguments, int);
  board_uart(va_arg(arguments, const char*), (size_t)bytes);
  va_end(arguments);
}
