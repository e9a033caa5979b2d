/* SPDX-License-Identifier: MIT */
/* Tells a story on the console. story.c is the story teller, model.c the model. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

int tell_story(void);
void uart_write(const char* text, size_t bytes);

void uart_write(const char* text, size_t bytes) {
  printk("%.*s", (int)bytes, text);
}

int main(void) {
  return tell_story();
}
