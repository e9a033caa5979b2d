/* SPDX-License-Identifier: MIT */
/*
 * Slices in an interrupt: a timer asks for one each millisecond, in the interrupt that comes behind
 * all others (PendSV), so that the timer's own, and whatever else there is, cuts in. The program
 * itself has nothing to do with it, and here nothing to do.
 */
#include "mps2.h"
#include "story.h"

static volatile uint32_t ticks, cut_in;
static volatile thimble_status status = THIMBLE_MORE;
static volatile int in_slice;

void on_timer(void) {
  timer_clear();
  ++ticks;
  cut_in += in_slice;
  pend_sv_ask();
}

void on_pend_sv(void) {
  if (status != THIMBLE_MORE) return;
  in_slice = 1;
  status = story_slice(1000000); /* longer than a tick: ticks cut in */
  in_slice = 0;
}

int main(void) {
  serial_start();
  if (story_begin() != THIMBLE_OK) return 1;
  pend_sv_start();
  timer_start(kTicksAMillisecond);
  while (status == THIMBLE_MORE) sleep();
  serial_write("\n", 1);
  return status == THIMBLE_OK && cut_in > 0 ? 0 : 1;
}
