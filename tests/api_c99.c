/* SPDX-License-Identifier: MIT */
/*
 * The C API as firmware uses it: C99, static memory, a model image that lies somewhere aligned.
 * api_c99 MODEL.thimble prints what the model tells and "api_c99: ok", or what failed (exit code
 * 1). Any model with a tokenizer will do, if image and arena fit into the memory below.
 */
#include <stdio.h>
#include <string.h>

#include "thimble/thimble.h"

#define ALIGNED __attribute__((aligned(THIMBLE_ALIGNMENT)))
enum { kImageBytes = 8 << 20, kArenaBytes = 4 << 20, kContext = 96, kBatch = 8, kPrompt = 64 };

static uint8_t g_image[kImageBytes] ALIGNED; /* flash, in firmware */
static uint8_t g_arena[kArenaBytes] ALIGNED;
static uint8_t g_other_arena[kArenaBytes] ALIGNED;
static int g_failures;

#define EXPECT(condition)                                            \
  do {                                                               \
    if (!(condition)) {                                              \
      printf("api_c99: line %d failed: %s\n", __LINE__, #condition); \
      ++g_failures;                                                  \
    }                                                                \
  } while (0)

static size_t read_file(const char* path) {
  FILE* file = fopen(path, "rb");
  size_t bytes;
  if (file == NULL) return 0;
  bytes = fread(g_image, 1, sizeof g_image, file);
  if (fgetc(file) != EOF) bytes = 0; /* larger than g_image */
  fclose(file);
  return bytes;
}

/* ---- Before a model is open -------------------------------------------------------------- */

static void check_refusals(size_t image_bytes) {
  thimble_model model;
  thimble_session* session = NULL;
  uint8_t kept;

  EXPECT(thimble_model_open(NULL, g_image, image_bytes) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_model_open(&model, NULL, image_bytes) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_model_open(&model, g_image, image_bytes - 1) == THIMBLE_ERROR_TRUNCATED);
  EXPECT(model.fault.what != NULL);
  EXPECT(model.fault.found == image_bytes - 1 && model.fault.expected == image_bytes);
  EXPECT(thimble_session_bytes(&model, NULL) == 0);
  EXPECT(thimble_session_init(&session, &model, NULL, g_arena, sizeof g_arena) ==
         THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_model_verify(&model) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_model_open(&model, g_image + 1, image_bytes - 1) == THIMBLE_ERROR_MISALIGNED);

  kept = g_image[0];
  g_image[0] = 'x';
  EXPECT(thimble_model_open(&model, g_image, image_bytes) == THIMBLE_ERROR_MAGIC);
  g_image[0] = kept;
  g_image[100] ^= 1;
  EXPECT(thimble_model_open(&model, g_image, image_bytes) == THIMBLE_ERROR_HEADER_CHECKSUM);
  g_image[100] ^= 1;

  EXPECT(thimble_model_open(&model, g_image, image_bytes) == THIMBLE_OK);
  EXPECT(model.fault.what == NULL);
  EXPECT(thimble_model_verify(&model) == THIMBLE_OK);
  g_image[image_bytes / 2] ^= 0x10;
  EXPECT(thimble_model_verify(&model) == THIMBLE_ERROR_DATA_CHECKSUM);
  EXPECT(model.fault.what != NULL && model.fault.found != model.fault.expected);
  g_image[image_bytes / 2] ^= 0x10;
}

static void check_session_refusals(const thimble_model* model) {
  const thimble_config too_long = {model->n_ctx + 1, 1, NULL, 0, 0};
  const thimble_config too_wide = {0, 1025, NULL, 0, 0};
  const thimble_config strange = {0, 0, "abacus", 0, 0};
  const thimble_config good = {kContext, kBatch, NULL, 0, 0};
  const size_t need = thimble_session_bytes(model, &good);
  thimble_session* session = NULL;

  EXPECT(thimble_session_bytes(NULL, NULL) == 0);
  EXPECT(thimble_session_bytes(model, &too_long) == 0);
  EXPECT(thimble_session_init(&session, model, &too_long, g_arena, sizeof g_arena) ==
         THIMBLE_ERROR_CONFIG);
  EXPECT(thimble_session_init(&session, model, &too_wide, g_arena, sizeof g_arena) ==
         THIMBLE_ERROR_CONFIG);
  EXPECT(thimble_session_init(&session, model, &strange, g_arena, sizeof g_arena) ==
         THIMBLE_ERROR_CONFIG);
  EXPECT(thimble_session_init(&session, model, &good, g_arena + 4, sizeof g_arena - 4) ==
         THIMBLE_ERROR_MISALIGNED);
  EXPECT(thimble_session_init(&session, model, &good, g_arena, need - 1) ==
         THIMBLE_ERROR_ARENA_TOO_SMALL);
  EXPECT(thimble_session_init(NULL, model, &good, g_arena, need) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_session_init(&session, model, &good, NULL, need) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(session == NULL);
}

/* ---- A story ------------------------------------------------------------------------------- */

/* Prints a token's text; false if it cannot be decoded. */
static int print_token(const thimble_model* model, thimble_decoder* decoder, int32_t token) {
  char text[4096];
  const int32_t n = thimble_decode(model, decoder, token, text, sizeof text);
  if (n < 0) return 0;
  fwrite(text, 1, (size_t)n, stdout);
  return 1;
}

/* Feeds the prompt, then draws tokens until the context is full or the text ends. The watchdog gets
 * its turn every `budget` multiply-accumulates. Gives a hash of all logits on the way. */
static uint64_t tell(const thimble_model* model, thimble_session* session, const int32_t* prompt,
                     int32_t n_prompt, const thimble_sampling* sampling, uint64_t budget,
                     int print) {
  thimble_decoder decoder = {{0, 0, 0, 0}, 0, 0};
  uint64_t hash = THIMBLE_HASH_START;
  char rest[4];
  int32_t i, n;
  thimble_status status;

  EXPECT(thimble_rewind(session, 0) == THIMBLE_OK);
  EXPECT(thimble_logits(session) == NULL);
  EXPECT(thimble_sample(session, sampling) == THIMBLE_ERROR_NO_LOGITS);
  EXPECT(thimble_feed(session, prompt, (size_t)n_prompt) == THIMBLE_OK);
  for (i = 0; print && i < n_prompt; ++i) EXPECT(print_token(model, &decoder, prompt[i]));
  for (;;) {
    int32_t token;
    while ((status = thimble_step(session, budget)) == THIMBLE_MORE) {
      /* feed the watchdog here */
      EXPECT(thimble_logits(session) == NULL);
    }
    EXPECT(status == THIMBLE_OK);
    hash = thimble_logits_hash(session, hash);
    token = thimble_sample(session, sampling);
    EXPECT(token >= 0 && (uint32_t)token < model->vocab_size);
    if (token < 0 || thimble_is_end(model, token)) break;
    if (print) EXPECT(print_token(model, &decoder, token));
    status = thimble_feed(session, &token, 1);
    if (status == THIMBLE_ERROR_CONTEXT_FULL) break;
    EXPECT(status == THIMBLE_OK);
    if (status != THIMBLE_OK) break;
  }
  n = thimble_decode_end(&decoder, rest, sizeof rest);
  EXPECT(n >= 0);
  if (print && n > 0) fwrite(rest, 1, (size_t)n, stdout);
  if (print) printf("\n");
  return hash;
}

static void check_call_refusals(const thimble_model* model, thimble_session* session) {
  const int32_t none = (int32_t)model->vocab_size, some[2] = {0, 0};
  const thimble_sampling greedy = {0, 0, 0, 0, 0, 0, 0, 0};
  const thimble_sampling cold = {-1.0f, 0, 0, 0, 0, 0, 0, 0};
  const uint32_t position = thimble_position(session);
  const uint64_t hash = thimble_logits_hash(session, THIMBLE_HASH_START);
  thimble_decoder decoder = {{0, 0, 0, 0}, 0, 0};
  int32_t tokens[4];
  char text[1];

  EXPECT(thimble_feed(NULL, some, 1) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_feed(session, NULL, 1) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_feed(session, some, 0) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_feed(session, &none, 1) < 0);
  EXPECT(thimble_feed(session, some, kContext + 1) == THIMBLE_ERROR_CONTEXT_FULL);
  EXPECT(thimble_step(NULL, 0) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_rewind(session, position + 1) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_sample(session, NULL) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_sample(session, &cold) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_encode(session, NULL, 1, 0, tokens, 4) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_encode(session, "zq zq zq", 8, 0, tokens, 1) == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
  EXPECT(thimble_decode(model, &decoder, none, text, 1) == THIMBLE_ERROR_TOKEN);
  EXPECT(thimble_decode(model, NULL, 0, text, 1) == THIMBLE_ERROR_ARGUMENT);
  EXPECT(thimble_decode_end(NULL, text, 1) == THIMBLE_ERROR_ARGUMENT);
  /* A call that fails changes nothing. */
  EXPECT(thimble_position(session) == position);
  EXPECT(thimble_logits_hash(session, THIMBLE_HASH_START) == hash);

  EXPECT(thimble_rewind(session, position / 2) == THIMBLE_OK);
  EXPECT(thimble_feed(session, some, 2) == THIMBLE_OK);
  EXPECT(thimble_feed(session, some, 2) == THIMBLE_ERROR_BUSY);
  EXPECT(thimble_encode(session, "a", 1, 0, tokens, 4) == THIMBLE_ERROR_BUSY);
  EXPECT(thimble_sample(session, &greedy) == THIMBLE_ERROR_NO_LOGITS);
  EXPECT(thimble_step(session, 1) == THIMBLE_MORE);
  EXPECT(thimble_rewind(session, thimble_position(session)) == THIMBLE_OK); /* cancel */
  EXPECT(thimble_step(session, 0) == THIMBLE_OK);
  EXPECT(thimble_logits(session) == NULL);
}

int main(int argc, char** argv) {
  static const char kText[] = "Once upon a time, there was a little girl";
  const thimble_config config = {kContext, kBatch, NULL, 0, 0};
  const thimble_config reference = {kContext, 1, "reference", 0, 0};
  const thimble_sampling greedy = {0, 0, 0, 0, 0, 0, 0, 0};
  thimble_sampling warm = {0, 0, 0, 0, 0, 0, 0, 0};
  thimble_model model;
  thimble_session *session = NULL, *other = NULL;
  thimble_status status;
  int32_t prompt[kPrompt], n_prompt;
  uint64_t hash;
  size_t image_bytes, need, i;

  if (argc != 2) {
    printf("usage: api_c99 MODEL.thimble\n");
    return 2;
  }
  image_bytes = read_file(argv[1]);
  if (image_bytes == 0) {
    printf("api_c99: %s: not readable, empty, or more than %d bytes\n", argv[1], (int)kImageBytes);
    return 1;
  }
  status = thimble_model_open(&model, g_image, image_bytes);
  if (status != THIMBLE_OK) {
    printf("api_c99: %s: %s\n", argv[1], thimble_status_text(status));
    return 1;
  }
  check_refusals(image_bytes);
  check_session_refusals(&model);

  need = thimble_session_bytes(&model, &config);
  if (need == 0 || need > sizeof g_arena || model.max_token_bytes == 0) {
    printf("api_c99: %s: needs a tokenizer, %d positions and an arena of at most %d bytes\n",
           argv[1], (int)kContext, (int)kArenaBytes);
    return 1;
  }
  EXPECT(thimble_session_init(&session, &model, &config, g_arena, need) == THIMBLE_OK);
  EXPECT(thimble_session_init(&other, &model, &reference, g_other_arena, sizeof g_other_arena) ==
         THIMBLE_OK);
  if (session == NULL || other == NULL) return 1;
  EXPECT(thimble_context_size(session) == kContext);
  EXPECT(thimble_position(session) == 0);
  EXPECT(thimble_logits(session) == NULL);
  EXPECT(thimble_encode_word_bytes(session) >= 256);
  EXPECT(strcmp(thimble_isa(session), thimble_isa_at(0)) == 0);
  EXPECT(strcmp(thimble_isa(other), "reference") == 0);
  for (i = 0; thimble_isa_at(i) != NULL; ++i) printf("kernels: %s\n", thimble_isa_at(i));

  n_prompt = thimble_encode(session, kText, sizeof kText - 1, THIMBLE_ENCODE_BOS, prompt, kPrompt);
  EXPECT(n_prompt > 1 && n_prompt < kPrompt);
  if (n_prompt < 1) return 1;

  /* The same bits: in one go, in slices, and on other kernels. */
  hash = tell(&model, session, prompt, n_prompt, &greedy, 0, 1);
  printf("logits-hash 0x%08lx%08lx\n", (unsigned long)(hash >> 32),
         (unsigned long)(hash & 0xffffffffu));
  EXPECT(tell(&model, session, prompt, n_prompt, &greedy, 10000, 0) == hash);
  EXPECT(tell(&model, other, prompt, n_prompt, &greedy, 0, 0) == hash);

  warm.temperature = 0.8f;
  warm.top_p = 0.9f;
  warm.top_k = 40;
  warm.min_p = 0.02f;
  warm.repetition_penalty = 1.1f;
  warm.seed = 7;
  hash = tell(&model, session, prompt, n_prompt, &warm, 50000, 1);
  EXPECT(tell(&model, other, prompt, n_prompt, &warm, 0, 0) == hash);
  check_call_refusals(&model, session);
  EXPECT(tell(&model, session, prompt, n_prompt, &warm, 0, 0) == hash);

  if (g_failures > 0) return 1;
  printf("api_c99: ok\n");
  return 0;
}
