/* SPDX-License-Identifier: MIT */
#include "story.h"

#include "mps2.h"

extern const uint8_t model_image[];
extern const size_t model_image_bytes;

static uint8_t arena[191424] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static thimble_model model;
static thimble_session* session;
static thimble_decoder decoder;
static int32_t n_drawn;

static void write_token(int32_t token) {
  char text[64];
  const int32_t bytes = thimble_decode(&model, &decoder, token, text, sizeof text);
  if (bytes > 0) serial_write(text, (size_t)bytes);
}

thimble_status story_begin(void) {
  const thimble_config config = {.n_ctx = 256, .kv_type = THIMBLE_KV_Q8, .n_candidates = 40};
  int32_t tokens[16];
  thimble_status status = thimble_model_open(&model, model_image, model_image_bytes);
  if (status != THIMBLE_OK) return status;
  status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return status;
  const int32_t n = thimble_encode(session, "Once upon a time", 16, THIMBLE_ENCODE_BOS, tokens, 16);
  if (n < 0) return (thimble_status)n;
  for (int32_t i = 0; i < n; ++i) write_token(tokens[i]);
  return thimble_feed(session, tokens, (size_t)n);
}

thimble_status story_slice(uint64_t budget) {
  const thimble_sampling sampling = {.temperature = 0.7f, .top_p = 0.9f, .top_k = 40, .seed = 7};
  const thimble_status status = thimble_step(session, budget);
  if (status != THIMBLE_OK) return status;
  const int32_t token = thimble_sample(session, &sampling);
  if (token < 0) return (thimble_status)token;
  if (thimble_is_end(&model, token)) return THIMBLE_OK;
  write_token(token);
  if (++n_drawn == kStoryTokens || thimble_room(session) == 0) return THIMBLE_OK;
  const thimble_status fed = thimble_feed(session, &token, 1);
  return fed == THIMBLE_OK ? THIMBLE_MORE : fed;
}
