/* SPDX-License-Identifier: MIT */
/*
 * One model of each family on a board: the self-test, then tokens beyond every window, the same
 * bits as on the host. A line a model and a type of cache. The images are linked in by families.S,
 * which the scripts write from the list of files.
 */
#include "board.h"
#include "fail.h"
#include "thimble/thimble.h"

enum { kTokens = 40, kBudget = 20000 };
typedef struct Family {
  const char* name;
  const uint8_t* begin;
  const uint8_t* end;
} Family;
extern const Family families[]; /* up to one without a name */
static uint8_t arena[256 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));

static int tell(const Family* family, const thimble_model* model, uint32_t kv_type) {
  const thimble_config config = {.n_ctx = kTokens, .n_batch = 3, .kv_type = kv_type};
  const thimble_sampling greedy = {0};
  uint64_t hash = THIMBLE_HASH_START;
  int32_t tokens[16], n;
  thimble_session* session;
  thimble_status status = thimble_session_init(&session, model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail("init", status);
  do {
    status = thimble_self_test(session, kBudget, NULL);
  } while (status == THIMBLE_MORE);
  if (status != THIMBLE_OK) return fail("self-test", status);

  n = thimble_encode(session, "the tea is at home", 18, THIMBLE_ENCODE_BOS, tokens, 16);
  if (n < 0) return fail("encode", n);
  while (thimble_position(session) + (uint32_t)n <= kTokens) {
    status = thimble_feed(session, tokens, (size_t)n);
    if (status != THIMBLE_OK) return fail("feed", status);
    while (thimble_step(session, kBudget) == THIMBLE_MORE) {
    }
    hash = thimble_logits_hash(session, hash);
    tokens[0] = thimble_sample(session, &greedy);
    if (tokens[0] < 0) return fail("sample", tokens[0]);
    n = 1;
  }
  board_write(family->name);
  board_write(kv_type == THIMBLE_KV_Q8 ? " q8 cache 0x" : " f32 cache 0x");
  board_write_hex(hash, 16);
  board_write("\n");
  return 0;
}

int main(void) {
  for (const Family* family = families; family->name; ++family) {
    thimble_model model;
    thimble_status status =
        thimble_model_open(&model, family->begin, (size_t)(family->end - family->begin));
    if (status == THIMBLE_OK) status = thimble_model_verify(&model);
    if (status != THIMBLE_OK) {
      board_write(model.fault.what ? model.fault.what : "");
      return fail(family->name, status);
    }
    if (tell(family, &model, THIMBLE_KV_F32) != 0) return 1;
    if (tell(family, &model, THIMBLE_KV_Q8) != 0) return 1;
  }
  return 0;
}
