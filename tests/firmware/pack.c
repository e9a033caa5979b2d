/* SPDX-License-Identifier: MIT */
/*
 * Packed texts from the host to a board and back: what the host packed is unpacked from flash, in
 * slices, beyond the context; a damaged one is refused; and the text, packed here by a few bytes at
 * a time as a radio would take them, is told in hex for the host to unpack. packed.S, which the
 * scripts write, links the packed text in.
 */
#include "board.h"
#include "fail.h"
#include "thimble/thimble.h"

enum { kContext = 32, kBudget = 100000, kFrame = 5 };
extern const uint8_t packed_text[], packed_text_end[];
static uint8_t arena[512 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static char text[1024];
static uint8_t copy[512];
static thimble_pack packing; /* state that is not on the stack */
static thimble_unpack unpacking;

/* Unpacks to text[]; *n is how much came. */
static thimble_status unpack(thimble_session* session, const uint8_t* packed, size_t bytes,
                             size_t* n) {
  size_t expected;
  thimble_status status = thimble_unpack_begin(&unpacking, session, packed, bytes, &expected);
  *n = 0;
  if (status != THIMBLE_OK) return status;
  if (expected > sizeof text) return THIMBLE_ERROR_OUTPUT_TOO_SMALL;
  do {
    size_t written;
    const size_t room = sizeof text - *n < kFrame ? sizeof text - *n : kFrame;
    status = thimble_unpack_step(&unpacking, kBudget, text + *n, room, &written);
    *n += written;
  } while (status == THIMBLE_MORE);
  return status;
}

int main(void) {
  const thimble_config config = {.n_ctx = kContext, .kv_type = THIMBLE_KV_Q8};
  const size_t bytes = (size_t)(packed_text_end - packed_text);
  thimble_model model;
  thimble_session* session;
  size_t n, ignored;
  thimble_status status =
      thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image));
  if (status != THIMBLE_OK) return fail("open", status);
  status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail("init", status);

  /* Damaged on its way. */
  if (bytes > sizeof copy) return fail("copy", THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  for (size_t i = 0; i < bytes; ++i) copy[i] = packed_text[i];
  copy[bytes - 1] ^= 4;
  board_write(thimble_status_text(unpack(session, copy, bytes, &ignored)));
  board_write("\n");

  status = unpack(session, packed_text, bytes, &n);
  if (status != THIMBLE_OK) return fail("unpack", status);
  uart_write(text, n);

  status = thimble_pack_begin(&packing, session, text, n);
  if (status != THIMBLE_OK) return fail("pack", status);
  board_write("packed ");
  do {
    uint8_t frame[kFrame];
    size_t written;
    status = thimble_pack_step(&packing, kBudget, frame, sizeof frame, &written);
    for (size_t i = 0; i < written; ++i) board_write_hex(frame[i], 2);
  } while (status == THIMBLE_MORE);
  board_write("\n");
  return status == THIMBLE_OK ? 0 : fail("pack", status);
}
