/* SPDX-License-Identifier: MIT */
/*
 * A model that is not memory-mapped: the linked image plays an SPI flash, of which a driver gets
 * bytes when it is asked, one by one, and not before it is waited for; and once it fails in the
 * middle of a text. Arena, tables and buffer are as large as `thimble plan --stream` says, not one
 * byte more. What is told is the text, the hash that `thimble run` prints of the mapped model, and
 * what a token reads. For the host, too.
 */
#include "board.h"
#include "fail.h"
#include "thimble/thimble.h"

enum { kContext = 128, kTokens = 24, kBudget = 100000 };
static uint8_t arena[PLAN_ARENA] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static uint8_t tables[PLAN_TABLES] __attribute__((aligned(THIMBLE_ALIGNMENT)));

/* ---- The driver ---- */

typedef struct {
  uint8_t* to;
  size_t offset, bytes;
} transfer;

typedef struct {
  transfer queue[2];
  int n_queued;
  uint32_t reads, bytes, fails_at;
} flash;

static int flash_read(void* user, uint64_t offset, void* to, size_t bytes) {
  flash* f = (flash*)user;
  const size_t size = (size_t)(model_image_end - model_image);
  if ((offset | bytes | (uintptr_t)to) % 64 != 0 || offset > size || bytes > size - offset ||
      f->n_queued == 2) {
    board_write("a read that no driver was promised\n");
    return -1;
  }
  ++f->reads;
  f->bytes += (uint32_t)bytes;
  f->queue[f->n_queued++] = (transfer){(uint8_t*)to, (size_t)offset, bytes};
  for (size_t i = 0; i < bytes; ++i) ((uint8_t*)to)[i] = 0x5a; /* not yet */
  return 0;
}

static int flash_wait(void* user) {
  flash* f = (flash*)user;
  int status = 0;
  for (int i = 0; i < f->n_queued; ++i) {
    const transfer t = f->queue[i];
    if (f->fails_at != 0 && f->reads >= f->fails_at) {
      f->fails_at = 0;
      status = -1; /* and what was to come has not */
      continue;
    }
    for (size_t k = 0; k < t.bytes; ++k) t.to[k] = model_image[t.offset + k];
  }
  f->n_queued = 0;
  return status;
}

/* ---- The text ---- */

static void tell(const char* what, uint32_t n) {
  board_write(what);
  board_write(" ");
  board_write_number(n);
  board_write("\n");
}

int main(void) {
  static flash chip;
  const thimble_store store = {.read = flash_read,
                               .wait = flash_wait,
                               .user = &chip,
                               .bytes = (uint64_t)(model_image_end - model_image),
                               .buffer_bytes = PLAN_BUFFER};
  const thimble_config config = {.n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .store = &store};
  const thimble_sampling greedy = {0};
  thimble_model model;
  thimble_session* session;
  thimble_decoder decoder = {0};
  thimble_fault fault;
  uint64_t hash = THIMBLE_HASH_START;
  uint32_t failed = 0, reads = 0, bytes = 0;
  size_t needed;
  int32_t token, n;
  char text[64];

  thimble_status status = thimble_tables_bytes(&store, &needed, &fault);
  if (status != THIMBLE_OK) return fail("tables_bytes", status);
  if (needed != sizeof tables) return fail("tables are not as planned", THIMBLE_ERROR_ARGUMENT);
  status = thimble_tables_read(&store, tables, sizeof tables - 1, &fault);
  if (status != THIMBLE_ERROR_OUTPUT_TOO_SMALL) return fail("one byte less", status);
  status = thimble_tables_read(&store, tables, sizeof tables, &fault);
  if (status != THIMBLE_OK) return fail("tables_read", status);
  status = thimble_model_open_streamed(&model, &store, tables, sizeof tables);
  if (status != THIMBLE_OK) return fail("open", status);
  status = thimble_model_verify_streamed(&model, &store);
  if (status != THIMBLE_OK) return fail("verify", status);
  if (thimble_session_bytes(&model, &config) != sizeof arena) {
    return fail("the arena is not as planned", THIMBLE_ERROR_ARGUMENT);
  }
  status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail("init", status);
  do {
    status = thimble_self_test(session, kBudget, NULL);
  } while (status == THIMBLE_MORE);
  if (status != THIMBLE_OK) return fail("self-test", status);

  n = thimble_encode(session, "", 0, THIMBLE_ENCODE_BOS, &token, 1);
  if (n != 1) return fail("encode", n);
  for (int i = 0; i < kTokens; ++i) {
    reads = chip.reads;
    bytes = chip.bytes;
    if (i == kTokens / 2) chip.fails_at = chip.reads + 20;
    status = thimble_feed(session, &token, 1);
    if (status != THIMBLE_OK) return fail("feed", status);
    do {
      status = thimble_step(session, kBudget);
      failed += status == THIMBLE_ERROR_READ; /* and go on */
    } while (status == THIMBLE_MORE || status == THIMBLE_ERROR_READ);
    if (status != THIMBLE_OK) return fail("step", status);
    hash = thimble_logits_hash(session, hash);
    token = thimble_sample(session, &greedy);
    if (token < 0) return fail("sample", token);
    n = thimble_decode(&model, &decoder, token, text, sizeof text);
    if (n < 0) return fail("decode", n);
    uart_write(text, (size_t)n);
  }
  board_write("\nlogits-hash 0x");
  board_write_hex(hash, 16);
  board_write("\n");
  tell("failed reads", failed);
  tell("reads of the last token", chip.reads - reads);
  tell("bytes of the last token", chip.bytes - bytes);
  return failed == 1 ? 0 : 1;
}
