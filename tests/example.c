#include <stdio.h>

#include "thimble/thimble.h"

extern const uint8_t story_image[], story_image_end[]; /* the model file, linked in */

static uint8_t arena[600 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));

int main(void) {
  thimble_model model;
  thimble_session* session;
  thimble_config config = {.n_ctx = 128};
  thimble_sampling sampling = {.temperature = 0.7f, .top_p = 0.9f, .seed = 7};
  thimble_decoder decoder = {0};
  int32_t tokens[32];
  char text[64];

  thimble_status status = thimble_model_open(&model, story_image, story_image_end - story_image);
  if (status == THIMBLE_OK)
    status = thimble_session_init(&session, &model, &config, arena, sizeof arena);
  if (status != THIMBLE_OK) return printf("%s\n", thimble_status_text(status)), 1;

  const char prompt[] = "Once upon a time";
  int32_t n = thimble_encode(session, prompt, sizeof prompt - 1, THIMBLE_ENCODE_BOS, tokens, 32);
  printf("%s", prompt);
  while (n > 0 && thimble_feed(session, tokens, (size_t)n) == THIMBLE_OK) {
    while (thimble_step(session, 100000) == THIMBLE_MORE) {
      /* about 100 000 multiply-accumulates have passed: feed the watchdog */
    }
    tokens[0] = thimble_sample(session, &sampling);
    if (thimble_is_end(&model, tokens[0])) break;
    n = thimble_decode(&model, &decoder, tokens[0], text, sizeof text);
    printf("%.*s", (int)n, text);
    n = 1;
  }
  printf("\n");
  return 0;
}
