/* SPDX-License-Identifier: MIT */
/*
 * Greedy tokens from an empty prompt and the hash of their logits, on a board: the same bits as on
 * the host, where `thimble run MODEL -t 0 -n 64 --ctx 128 --hash` prints them, with --kv q8, and
 * with --candidates 1, too. Before, each session passes the model's self-test. These are also the
 * calls that the engine's size is counted for.
 */
#include "board.h"
#include "thimble/thimble.h"

enum { kContext = 128, kTokens = 64, kBudget = 100000 };
static uint8_t arena[1024 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));

static int fail(const char* what, int32_t status) {
  board_write(what);
  board_write(": ");
  board_write(thimble_status_text((thimble_status)status));
  board_write("\n");
  return 1;
}

static int tell(const thimble_model* model, const thimble_config* config) {
  thimble_session* session;
  const thimble_sampling greedy = {0};
  thimble_decoder decoder = {0};
  int32_t token;
  char text[64];
  int32_t n;
  uint64_t hash = THIMBLE_HASH_START;

  thimble_status status = thimble_session_init(&session, model, config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail("init", status);
  do {
    status = thimble_self_test(session, kBudget, NULL);
  } while (status == THIMBLE_MORE);
  if (status != THIMBLE_OK) return fail("self-test", status);
  n = thimble_encode(session, "", 0, THIMBLE_ENCODE_BOS, &token, 1);
  if (n != 1) return fail("encode", n);

  for (int i = 0; i < kTokens; ++i) {
    status = thimble_feed(session, &token, 1);
    if (status != THIMBLE_OK) return fail("feed", status);
    while (thimble_step(session, kBudget) == THIMBLE_MORE) {
    }
    hash = thimble_logits_hash(session, hash);
    token = thimble_sample(session, &greedy);
    if (token < 0) return fail("sample", token);
    if (thimble_is_end(model, token)) break;
    n = thimble_decode(model, &decoder, token, text, sizeof text);
    if (n < 0) return fail("decode", n);
    uart_write(text, (size_t)n);
  }
  n = thimble_decode_end(&decoder, text, sizeof text);
  if (n < 0) return fail("decode_end", n);
  uart_write(text, (size_t)n);
  board_write("\nlogits-hash 0x");
  board_write_hex(hash, 16);
  board_write("\n");
  return 0;
}

int main(void) {
  static const thimble_config configs[] = {
      {.n_ctx = kContext},
      {.n_ctx = kContext, .kv_type = THIMBLE_KV_Q8},
      {.n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .n_candidates = 1}};
  thimble_model model;
  thimble_status status =
      thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image));
  if (status != THIMBLE_OK) return fail("open", status);
  status = thimble_model_verify(&model);
  if (status != THIMBLE_OK) return fail("verify", status);
  for (int i = 0; i < 3; ++i) {
    if (tell(&model, &configs[i]) != 0) return 1;
  }
  return 0;
}
