/* SPDX-License-Identifier: MIT */
/*
 * A saved session on a board: one that the host wrote, with sinks and an int8 cache, is read from
 * flash and goes on far beyond its context, with the host's bits; what is saved there is what the
 * host saves; a damaged one is refused. sessions.S, which the scripts write, links it in.
 */
#include "board.h"
#include "fail.h"
#include "thimble/thimble.h"

enum { kContext = 48, kSinks = 4, kTokens = 100, kBudget = 100000 };
extern const uint8_t saved_session[], saved_session_end[];
static uint8_t arena[512 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static uint8_t copy[64 * 1024];

static void tell(const char* what, uint64_t hash) {
  board_write(what);
  board_write(" 0x");
  board_write_hex(hash, 16);
  board_write("\n");
}

static void finish(thimble_session* session) {
  while (thimble_step(session, kBudget) == THIMBLE_MORE) {
  }
}

/* Greedy tokens from where the session is: the hash of their logits. */
static int32_t go_on(thimble_session* session, int n, uint64_t* hash) {
  const thimble_sampling greedy = {0};
  *hash = THIMBLE_HASH_START;
  for (int i = 0; i < n; ++i) {
    *hash = thimble_logits_hash(session, *hash);
    const int32_t token = thimble_sample(session, &greedy);
    if (token < 0) return token;
    const thimble_status status = thimble_feed(session, &token, 1);
    if (status != THIMBLE_OK) return status;
    finish(session);
  }
  return THIMBLE_OK;
}

int main(void) {
  const thimble_config config = {
      .n_ctx = kContext, .n_sinks = kSinks, .kv_type = THIMBLE_KV_Q8, .n_batch = 4};
  const size_t bytes = (size_t)(saved_session_end - saved_session);
  thimble_model model;
  thimble_session* session;
  uint64_t hash;
  int32_t status = thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image));
  if (status != THIMBLE_OK) return fail("open", status);
  status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail("init", status);

  /* Damaged on its way: the session stays empty. */
  if (bytes > sizeof copy) return fail("copy", THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  for (size_t i = 0; i < bytes; ++i) copy[i] = saved_session[i];
  copy[bytes / 2] ^= 4;
  board_write(thimble_status_text(thimble_session_load(session, copy, bytes)));
  board_write("\n");

  status = thimble_session_load(session, saved_session, bytes);
  if (status != THIMBLE_OK) return fail("load", status);
  finish(session);
  status = go_on(session, kTokens, &hash);
  if (status != THIMBLE_OK) return fail("go on", status);
  tell("from the host's session", hash);

  /* Saved here, FNV-1a of its bytes, and on from there. */
  const size_t own = thimble_session_save_bytes(session);
  status = thimble_session_save(session, copy, sizeof copy);
  if (status != THIMBLE_OK) return fail("save", status);
  hash = THIMBLE_HASH_START;
  for (size_t i = 0; i < own; ++i) hash = (hash ^ copy[i]) * UINT64_C(0x100000001b3);
  tell("saved", hash);
  thimble_rewind(session, 0);
  status = thimble_session_load(session, copy, own);
  if (status != THIMBLE_OK) return fail("load again", status);
  finish(session);
  status = go_on(session, 8, &hash);
  if (status != THIMBLE_OK) return fail("go on again", status);
  tell("from its own", hash);
  return 0;
}
