/* SPDX-License-Identifier: MIT */
/*
 * Arenas of just the size that `thimble plan MODEL --ctx 256 --kv q8` gives on the host, with all
 * logits and with --candidates 1. The build defines PLAN_ARENA, PLAN_TOTAL (arena and stack) and,
 * with one candidate, PLAN_ARENA_1 and PLAN_TOTAL_1. Prints `key value` lines.
 */
#include "board.h"
#include "thimble/thimble.h"

#define ALIGNED __attribute__((aligned(THIMBLE_ALIGNMENT)))
enum { kGuard = 0xa5 };
static struct {
  uint8_t arena[PLAN_ARENA] ALIGNED;
  uint8_t guard[THIMBLE_ALIGNMENT];
} all;
static struct {
  uint8_t arena[PLAN_ARENA_1] ALIGNED;
  uint8_t guard[THIMBLE_ALIGNMENT];
} one;

static int failures;

static void report(const char* key, uint64_t value) {
  board_write(key);
  board_write(" ");
  board_write_number((int64_t)value);
  board_write("\n");
}

static void expect(const char* what, int holds) {
  if (holds) return;
  board_write("FAILED: ");
  board_write(what);
  board_write("\n");
  ++failures;
}

static void try_arena(const thimble_model* model, uint32_t candidates, uint8_t* arena, size_t bytes,
                      uint64_t total, uint8_t* guard) {
  const thimble_config config = {
      .n_ctx = 256, .kv_type = THIMBLE_KV_Q8, .n_candidates = candidates};
  thimble_session* session;
  thimble_status status;

  report(candidates ? "arena_1" : "arena", thimble_session_bytes(model, &config));
  report(candidates ? "ram_1" : "ram", bytes + THIMBLE_STACK_BYTES);
  expect("the arena is the plan's", thimble_session_bytes(model, &config) == bytes);
  expect("arena and stack are the plan's", bytes + THIMBLE_STACK_BYTES == total);
  for (size_t i = 0; i < THIMBLE_ALIGNMENT; ++i) guard[i] = kGuard;
  expect("a byte less is refused",
         thimble_session_init(&session, model, &config, arena, bytes - 1) ==
             THIMBLE_ERROR_ARENA_TOO_SMALL);
  status = thimble_session_init(&session, model, &config, arena, bytes);
  expect("init", status == THIMBLE_OK);
  if (status != THIMBLE_OK) return;
  do {
    status = thimble_self_test(session, 100000, NULL);
  } while (status == THIMBLE_MORE);
  expect("the self-test passes", status == THIMBLE_OK);
  for (size_t i = 0; i < THIMBLE_ALIGNMENT; ++i) {
    expect("what lies behind the arena stays as it is", guard[i] == kGuard);
  }
}

int main(void) {
  thimble_model model;
  expect("open", thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image)) ==
                     THIMBLE_OK);
  try_arena(&model, 0, all.arena, sizeof all.arena, PLAN_TOTAL, all.guard);
  try_arena(&model, 1, one.arena, sizeof one.arena, PLAN_TOTAL_1, one.guard);
  return failures > 0;
}
