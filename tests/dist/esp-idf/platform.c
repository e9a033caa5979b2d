/* SPDX-License-Identifier: MIT */
/* As much of ESP-IDF as the example asks for, on a board of tests/firmware/. */
#include <stdio.h>

void board_uart(const char* text, size_t bytes);
void app_main(void);
void vTaskDelay(unsigned ticks);
size_t board_fwrite(const void* text, size_t size, size_t count);

void vTaskDelay(unsigned ticks) {
  (void)ticks;
}
size_t board_fwrite(const void* text, size_t size, size_t count) {
  board_uart(text, size * count);
  return count;
}
int main(void) {
  app_main();
  return 0;
}
