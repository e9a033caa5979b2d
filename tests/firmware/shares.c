/* SPDX-License-Identifier: MIT */
/*
 * A pass in shares, as several cores would compute them, on a board that has one: the hook runs
 * them from the last to the first. The bits are the host's, however many shares there are.
 */
#include "board.h"
#include "thimble/thimble.h"

enum { kContext = 64, kTokens = 24, kBudget = 100000 };
static uint8_t arena[512 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static uint32_t calls;

static void run_all(void* user, thimble_session* session, uint32_t n_shares) {
  (void)user;
  ++calls;
  while (n_shares > 0) thimble_share(session, --n_shares);
}

static int32_t tell(const thimble_model* model, uint32_t n_shares) {
  const thimble_config config = {
      .n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .n_batch = 4, .n_shares = n_shares};
  const thimble_sampling greedy = {0};
  thimble_session* session;
  int32_t tokens[8] = {1, 2, 3, 4, 5};
  uint64_t hash = THIMBLE_HASH_START;
  int32_t status = thimble_session_init(&session, model, &config, arena, sizeof arena);
  if (status == THIMBLE_OK && n_shares > 0) status = thimble_on_shares(session, run_all, NULL);
  if (status != THIMBLE_OK) return status;
  calls = 0;
  for (int32_t i = 0, n = 5; i < kTokens; ++i, n = 1) {
    status = thimble_feed(session, tokens, (size_t)n);
    if (status != THIMBLE_OK) return status;
    while (thimble_step(session, kBudget) == THIMBLE_MORE) {
    }
    hash = thimble_logits_hash(session, hash);
    tokens[0] = thimble_sample(session, &greedy);
    if (tokens[0] < 0) return tokens[0];
  }
  board_write_number(n_shares);
  board_write(calls > 0 ? " shares 0x" : " shares, not called for, 0x");
  board_write_hex(hash, 16);
  board_write("\n");
  return THIMBLE_OK;
}

int main(void) {
  thimble_model model;
  int32_t status = thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image));
  for (uint32_t n = 0; n < 4 && status == THIMBLE_OK; ++n) status = tell(&model, n);
  if (status != THIMBLE_OK) board_write(thimble_status_text((thimble_status)status));
  return status == THIMBLE_OK ? 0 : 1;
}
