/* SPDX-License-Identifier: MIT */
#include <stddef.h>

int tell_story(void);
void board_uart(const char* text, size_t bytes);
void uart_write(const char* text, size_t bytes);

void uart_write(const char* text, size_t bytes) {
  board_uart(text, bytes);
}
int main(void) {
  return tell_story();
}
