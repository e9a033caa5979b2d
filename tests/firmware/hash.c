/* SPDX-License-Identifier: MIT */
/*
 * Greedy tokens from an empty prompt and the hash of their logits, on a board: the same bits as on
 * the host, where `thimble run MODEL -t 0 -n 16 --ctx 64 --hash` prints them.
 */
#include <stddef.h>

#include "board.h"
#include "thimble/thimble.h"

extern const uint8_t model_image[], model_image_end[];

enum { kContext = 64, kTokens = 16 };
static uint8_t arena[1024 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));

static void write_hex(uint64_t value) {
  char text[18];
  for (int i = 0; i < 16; ++i) text[i] = "0123456789abcdef"[(value >> (60 - 4 * i)) & 15];
  text[16] = '\n';
  text[17] = '\0';
  board_write(text);
}

static int fail(const char* what, thimble_status status) {
  board_write(what);
  board_write(": ");
  board_write(thimble_status_text(status));
  board_write("\n");
  return 1;
}

int firmware_main(void) {
  thimble_model model;
  thimble_session* session;
  thimble_config config = {kContext, 1, NULL, 0, 0};
  thimble_sampling greedy = {0};
  thimble_decoder decoder = {{0}, 0, 0};
  const size_t bytes = (size_t)(model_image_end - model_image);
  uint64_t hash = THIMBLE_HASH_START;

  thimble_status status = thimble_model_open(&model, model_image, bytes);
  if (status != THIMBLE_OK) return fail("open", status);
  status = thimble_model_verify(&model);
  if (status != THIMBLE_OK) return fail("verify", status);
  status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail("init", status);

  int32_t token = model.bos_id;
  for (int i = 0; i < kTokens; ++i) {
    char text[64];
    status = thimble_feed(session, &token, 1);
    if (status != THIMBLE_OK) return fail("feed", status);
    while (thimble_step(session, 100000) == THIMBLE_MORE) {
    }
    hash = thimble_logits_hash(session, hash);
    token = thimble_sample(session, &greedy);
    const int32_t n = thimble_decode(&model, &decoder, token, text, sizeof text - 1);
    if (n < 0) return fail("decode", (thimble_status)n);
    text[n] = '\0';
    board_write(text);
  }
  board_write("\nlogits-hash 0x");
  write_hex(hash);
  return 0;
}
