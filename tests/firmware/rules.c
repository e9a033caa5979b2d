/* SPDX-License-Identifier: MIT */
/*
 * An answer under a rule on a board, in slices: the same tokens, masked logits, confidence and
 * saved session as on the host, with all logits and with some candidates; a damaged rule is
 * refused. rules.S, which the scripts write, links the rule in.
 */
#include <string.h>

#include "board.h"
#include "fail.h"
#include "thimble/thimble.h"

enum { kContext = 96, kBudget = 100000, kSaveAt = 14 };
extern const uint8_t linked_rule[], linked_rule_end[];
static uint8_t arena[512 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static uint8_t copy[128 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));

static void tell(const char* what, uint64_t number, int digits) {
  board_write(what);
  board_write(" 0x");
  board_write_hex(number, digits);
  board_write("\n");
}

static void tell_confidence(const thimble_session* session) {
  const float confidence = thimble_session_confidence(session);
  uint32_t bits;
  memcpy(&bits, &confidence, sizeof bits);
  tell("confidence", bits, 8);
}

static uint64_t hash_of(const uint8_t* bytes, size_t n) {
  uint64_t hash = THIMBLE_HASH_START;
  for (size_t i = 0; i < n; ++i) hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static void finish(thimble_session* session) {
  while (thimble_step(session, kBudget) == THIMBLE_MORE) {
  }
}

/* Draws tokens until the answer's end, at most n of them, and tells them, their logits' hash and
 * the confidence; the number of tokens, or an error. */
static int32_t go_on(thimble_session* session, const thimble_model* model, int32_t n) {
  const thimble_sampling sampling = {.temperature = 1, .top_k = 5, .seed = 5};
  thimble_decoder decoder = {.started = 1};
  uint64_t hash = THIMBLE_HASH_START;
  char text[64];
  int32_t i = 0;
  for (; i < n; ++i) {
    hash = thimble_logits_hash(session, hash);
    const int32_t token = thimble_sample(session, &sampling);
    if (token < 0) return token;
    const thimble_status status = thimble_feed(session, &token, 1);
    if (status != THIMBLE_OK) return status;
    if (thimble_is_end(model, token)) break;
    const int32_t bytes = thimble_decode(model, &decoder, token, text, sizeof text);
    if (bytes < 0) return bytes;
    uart_write(text, (size_t)bytes);
    finish(session);
  }
  board_write("\n");
  tell(thimble_rule_is_met(session) ? "meets the rule" : "so far", hash, 16);
  tell_confidence(session);
  return i;
}

int main(void) {
  static const char prompt[] = "A pet: ";
  const size_t bytes = (size_t)(linked_rule_end - linked_rule);
  thimble_model model;
  thimble_rule rule;
  thimble_session* session;
  int32_t status = thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image));
  if (status != THIMBLE_OK) return fail("open", status);

  /* Damaged on its way. */
  if (bytes > sizeof copy) return fail("copy", THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  for (int i = 0; i < 3; ++i) {
    memcpy(copy, linked_rule, bytes);
    copy[i == 0 ? 40 : bytes * (size_t)i / 3] ^= 4;
    status = thimble_rule_open(&rule, &model, copy, bytes);
    if (status == THIMBLE_OK) status = thimble_rule_verify(&rule);
    board_write(thimble_status_text((thimble_status)status));
    board_write("\n");
  }
  status = thimble_rule_open(&rule, &model, linked_rule, bytes);
  if (status == THIMBLE_OK) status = thimble_rule_verify(&rule);
  if (status != THIMBLE_OK) return fail("rule", status);

  for (uint32_t n_candidates = 0; n_candidates <= 40; n_candidates += 40) {
    const thimble_config config = {.n_ctx = kContext,
                                   .kv_type = THIMBLE_KV_Q8,
                                   .n_batch = 4,
                                   .n_candidates = n_candidates,
                                   .rules = THIMBLE_RULES_CONFIDENCE};
    int32_t tokens[sizeof prompt + 2];
    status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
    if (status != THIMBLE_OK) return fail("init", status);
    const int32_t n = thimble_encode(session, prompt, sizeof prompt - 1, THIMBLE_ENCODE_BOS, tokens,
                                     sizeof tokens / sizeof *tokens);
    if (n < 0) return fail("encode", n);
    status = thimble_feed(session, tokens, (size_t)n);
    if (status != THIMBLE_OK) return fail("feed", status);
    finish(session);
    status = thimble_session_constrain(session, &rule);
    if (status != THIMBLE_OK) return fail("constrain", status);
    finish(session);
    if (thimble_feed(session, tokens, 1) != THIMBLE_ERROR_FORBIDDEN) return fail("forbidden", 0);
    status = go_on(session, &model, kSaveAt);
    if (status != kSaveAt) return fail("go on", status);

    /* Half of it, saved and forgotten. */
    const size_t own = thimble_session_save_bytes(session);
    status = thimble_session_save(session, copy, sizeof copy);
    if (status != THIMBLE_OK) return fail("save", status);
    tell("saved", hash_of(copy, own), 16);
    thimble_rewind(session, 0);
    status = thimble_session_load(session, copy, own);
    if (status != THIMBLE_ERROR_OTHER_RULE) return fail("load without the rule", status);
    thimble_session_constrain(session, &rule);
    status = thimble_session_load(session, copy, own);
    if (status != THIMBLE_OK) return fail("load", status);
    finish(session);
    status = go_on(session, &model, kContext);
    if (status < 0) return fail("go on", status);
  }
  return 0;
}
