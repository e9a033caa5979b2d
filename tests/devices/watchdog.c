/* SPDX-License-Identifier: MIT */
/*
 * A story teller on a serial line beside other tasks, with a watchdog that bites after a
 * millisecond: tasks in turn, each of which returns soon, as in an RTOS's loop of tasks of one
 * priority. Built with -DBUDGET=0, in passes that are not cut, it gets bitten.
 */
#include "mps2.h"
#include "story.h"

#ifndef BUDGET
#define BUDGET 100000
#endif

static uint32_t heartbeats;
static thimble_status status;

static void heart_task(void) {
  ++heartbeats; /* a display, a button, a sensor */
}

static void story_task(void) {
  if (status == THIMBLE_MORE) status = story_slice(BUDGET);
}

int main(void) {
  static void (*const tasks[])(void) = {heart_task, story_task};
  serial_start();
  status = story_begin();
  if (status != THIMBLE_OK) return 1;
  status = THIMBLE_MORE;
  watchdog_start(kTicksAMillisecond);
  while (status == THIMBLE_MORE) {
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; ++i) {
      tasks[i]();
      watchdog_feed();
    }
  }
  serial_write("\n", 1);
  return status == THIMBLE_OK && heartbeats > 10 * kStoryTokens ? 0 : 1;
}
