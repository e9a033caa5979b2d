/* SPDX-License-Identifier: MIT */
/* Numbers as text, without a C library's printf. */
#include "board.h"

void board_write(const char* text) {
  size_t bytes = 0;
  while (text[bytes] != '\0') ++bytes;
  uart_write(text, bytes);
}

void board_write_number(int64_t value) {
  char text[20];
  size_t at = sizeof text;
  uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do {
    text[--at] = (char)('0' + left % 10);
    left /= 10;
  } while (left > 0);
  if (value < 0) text[--at] = '-';
  uart_write(text + at, sizeof text - at);
}

void board_write_hex(uint64_t value, int digits) {
  for (int shift = 4 * digits - 4; shift >= 0; shift -= 4) {
    uart_write(&"0123456789abcdef"[(value >> shift) & 15], 1);
  }
}
