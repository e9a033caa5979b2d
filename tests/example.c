/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "thimble/thimble.h"

/* The model file in flash: `thimble embed MODEL --name model_image -o model.o --for cortex-m4` */
extern const uint8_t model_image[];
extern const size_t model_image_bytes;
void uart_write(const char* text, size_t bytes); /* your board's way out */

/* So many bytes: `thimble plan models/story.thimble --ctx 256 --kv q8 --candidates 40` */
static uint8_t arena[191424] __attribute__((aligned(THIMBLE_ALIGNMENT)));

static int fail(int32_t status) {
  const char* text = thimble_status_text((thimble_status)status);
  uart_write(text, strlen(text));
  return 1;
}

int main(void) {
  thimble_model model;
  thimble_session* session;
  const thimble_config config = {.n_ctx = 256, .kv_type = THIMBLE_KV_Q8, .n_candidates = 40};
  const thimble_sampling sampling = {.temperature = 0.7f, .top_p = 0.9f, .top_k = 40, .seed = 7};
  thimble_decoder decoder = {0};
  int32_t tokens[32];
  char text[64];

  int32_t status = thimble_model_open(&model, model_image, model_image_bytes);
  if (status != THIMBLE_OK) return fail(status);
  status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return fail(status);
  while ((status = thimble_self_test(session, 100000, NULL)) == THIMBLE_MORE) {
    /* does this chip compute what the model file expects? */
  }
  if (status != THIMBLE_OK) return fail(status);
  int32_t n = thimble_encode(session, "Once upon a time", 16, THIMBLE_ENCODE_BOS, tokens, 32);
  for (; n > 0 && !thimble_is_end(&model, tokens[n - 1]); n = 1) {
    for (int32_t i = 0; i < n; ++i) {
      const int32_t bytes = thimble_decode(&model, &decoder, tokens[i], text, sizeof text);
      if (bytes > 0) uart_write(text, (size_t)bytes);
    }
    if (thimble_feed(session, tokens, (size_t)n) != THIMBLE_OK) break; /* the context is full */
    while (thimble_step(session, 100000) == THIMBLE_MORE) {
      /* about 100 000 multiply-accumulates have passed: feed the watchdog */
    }
    tokens[0] = thimble_sample(session, &sampling);
    if (tokens[0] < 0) return fail(tokens[0]);
  }
  uart_write("\n", 1);
  return n < 0 ? fail(n) : 0;
}
