/* SPDX-License-Identifier: MIT */
/* Tells a story on the console. story.c is the story teller, model.c the model. */
#include <stdio.h>

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

int tell_story(void);
void uart_write(const char* text, size_t bytes);

void uart_write(const char* text, size_t bytes) {
  fwrite(text, 1, bytes, stdout);
  fflush(stdout);
  vTaskDelay(1); /* the idle task feeds the watchdog */
}

void app_main(void) {
  tell_story();
}
