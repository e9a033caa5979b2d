/* SPDX-License-Identifier: MIT */
/*
 * Asleep between slices: one each millisecond, so that a battery, a regulator or a harvester sees a
 * steady current, not a pass at a stretch.
 */
#include "mps2.h"
#include "story.h"

static volatile uint32_t ticks;

void on_timer(void) {
  timer_clear();
  ++ticks;
}

int main(void) {
  thimble_status status;
  uint32_t slices = 0;
  serial_start();
  if (story_begin() != THIMBLE_OK) return 1;
  timer_start(kTicksAMillisecond);
  do {
    const uint32_t slept_at = ticks;
    while (ticks == slept_at) sleep(); /* also woken by other interrupts */
    status = story_slice(100000);
    ++slices;
  } while (status == THIMBLE_MORE);
  serial_write("\n", 1);
  /* A slice a tick: none of them took longer. */
  return status == THIMBLE_OK && ticks >= slices && ticks <= slices + 2 ? 0 : 1;
}
