/* SPDX-License-Identifier: MIT */
/*
 * What the engine refuses, and how it says so: line by line the same on a board as on the host.
 * The model is copied to RAM, damaged in one way, tried and mended.
 */
#include <string.h>

#include "board.h"
#include "thimble/thimble.h"

#define ALIGNED __attribute__((aligned(THIMBLE_ALIGNMENT)))
enum {
  kCopyBytes = 5 << 18,
  kVersionAt = 8,
  kHeaderBytesAt = 16,
  kHeaderCrcAt = 20,
  kHeadsAt = 52,
  kSectionsAt = 320
};
static uint8_t copy[kCopyBytes] ALIGNED; /* room for an image and 64 bytes */
static uint8_t arena[1024 * 1024] ALIGNED;
static size_t image_bytes;
static int failures;

static void report(const char* what, int32_t expected, int32_t status) {
  board_write(what);
  board_write(": ");
  board_write_number(status);
  board_write(" ");
  board_write(thimble_status_text((thimble_status)status));
  board_write("\n");
  if (status == expected) return;
  board_write("    FAILED: expected ");
  board_write_number(expected);
  board_write("\n");
  ++failures;
}

static void report_fault(const thimble_fault* fault) {
  board_write("    ");
  board_write(fault->what ? fault->what : "nothing");
  board_write(": found 0x");
  board_write_hex(fault->found, 16);
  board_write(", expected 0x");
  board_write_hex(fault->expected, 16);
  board_write(", at ");
  board_write_number((int64_t)fault->offset);
  board_write("\n");
}

static void try_open(const char* what, int32_t expected, const uint8_t* image, size_t bytes) {
  thimble_model model;
  thimble_config config = {0};
  thimble_session* session;
  const thimble_status status = thimble_model_open(&model, image, bytes);
  report(what, expected, status);
  if (status == THIMBLE_OK) return;
  report_fault(&model.fault);
  if (thimble_session_bytes(&model, &config) != 0 ||
      thimble_session_init(&session, &model, &config, arena, sizeof arena) !=
          THIMBLE_ERROR_ARGUMENT) {
    board_write("    FAILED: makes a session all the same\n");
    ++failures;
  }
}

/* ---- Damaged images ---- */

static uint32_t crc_of(uint32_t crc, const uint8_t* data, size_t bytes) {
  crc = ~crc;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

static void mend_header_checksum(void) {
  uint32_t bytes, crc;
  memset(copy + kHeaderCrcAt, 0, sizeof crc);
  memcpy(&bytes, copy + kHeaderBytesAt, sizeof bytes);
  crc = crc_of(0, copy, bytes);
  memcpy(copy + kHeaderCrcAt, &crc, sizeof crc);
}

/* Flips bits of one byte, tries, and flips them back; with a checksum that agrees, if wanted. */
static void try_flipped(const char* what, int32_t expected, size_t at, uint8_t bits, int mended) {
  uint8_t crc[4];
  memcpy(crc, copy + kHeaderCrcAt, sizeof crc);
  copy[at] = (uint8_t)(copy[at] ^ bits);
  if (mended) mend_header_checksum();
  try_open(what, expected, copy, image_bytes);
  copy[at] = (uint8_t)(copy[at] ^ bits);
  memcpy(copy + kHeaderCrcAt, crc, sizeof crc);
}

static void damaged_images(void) {
  memcpy(copy + 4, model_image, image_bytes);
  try_open("image 4 bytes off", THIMBLE_ERROR_MISALIGNED, copy + 4, image_bytes);
  memcpy(copy, model_image, image_bytes);
  try_open("image as it is", THIMBLE_OK, copy, image_bytes);
  try_open("no image", THIMBLE_ERROR_ARGUMENT, NULL, image_bytes);
  try_open("length 0", THIMBLE_ERROR_MAGIC, copy, 0);
  try_open("cut by a byte", THIMBLE_ERROR_TRUNCATED, copy, image_bytes - 1);
  try_open("cut to 100 bytes", THIMBLE_ERROR_TRUNCATED, copy, 100);
  try_open("a byte too long", THIMBLE_ERROR_TRUNCATED, copy, image_bytes + 1);
  try_flipped("another magic", THIMBLE_ERROR_MAGIC, 0, 0xff, 0);
  try_flipped("another byte order", THIMBLE_ERROR_BYTE_ORDER, 12, 0x05, 0);
  try_flipped("another version", THIMBLE_ERROR_VERSION, kVersionAt, 0x03, 0);
  try_flipped("another version, checksum right", THIMBLE_ERROR_VERSION, kVersionAt, 0x03, 1);
  try_flipped("a bit of the header flipped", THIMBLE_ERROR_HEADER_CHECKSUM, kHeadsAt, 0x01, 0);
  try_flipped("a bit of the header flipped, checksum right", THIMBLE_ERROR_HEADER, kHeadsAt, 0x01,
              1);
  try_flipped("a reserved byte set", THIMBLE_ERROR_HEADER_CHECKSUM, 216, 0x80, 0);
  try_flipped("a reserved byte set, checksum right", THIMBLE_ERROR_UNSUPPORTED, 216, 0x80, 1);
  try_flipped("a bit of the section table flipped", THIMBLE_ERROR_HEADER_CHECKSUM,
              kSectionsAt + 64 + 32, 0x40, 0);
  try_flipped("a section moved, checksum right", THIMBLE_ERROR_SECTION, kSectionsAt + 64 + 32, 0x40,
              1);
}

static void damaged_weight(void) {
  thimble_model model;
  const size_t at = image_bytes / 2;
  copy[at] = (uint8_t)(copy[at] ^ 1);
  report("a bit of a weight flipped, open", THIMBLE_OK,
         thimble_model_open(&model, copy, image_bytes));
  report("a bit of a weight flipped, verify", THIMBLE_ERROR_DATA_CHECKSUM,
         thimble_model_verify(&model));
  report_fault(&model.fault);
  copy[at] = (uint8_t)(copy[at] ^ 1);
  report("the bit mended, verify", THIMBLE_OK, thimble_model_verify(&model));
}

/* ---- The self-test ---- */

/* An entry of the section table, as models/FORMAT.md has it. */
typedef struct Section {
  uint32_t kind, layer, type, rows, cols, row_tile, group, n_groups;
  uint64_t offset, bytes, scales_offset, scales_bytes;
} Section;
enum { kFeedForwardDown = 18 };

static const Section* find_section(uint32_t kind, uint32_t layer) {
  const Section* section = (const Section*)(copy + kSectionsAt);
  while (section->kind != kind || section->layer != layer) ++section;
  return section;
}

static void try_self_test(const char* what, int32_t expected, int32_t layer,
                          const thimble_model* model, uint32_t kv_type) {
  thimble_session* session;
  thimble_self_test_report found = {-2, 0, 0};
  const thimble_config config = {.n_ctx = 8, .kv_type = kv_type};
  thimble_status status = thimble_session_init(&session, model, &config, arena, sizeof arena);
  if (status == THIMBLE_OK) {
    do {
      status = thimble_self_test(session, 100000, &found);
    } while (status == THIMBLE_MORE);
  }
  report(what, expected, status);
  board_write("    layer ");
  board_write_number(found.layer);
  board_write(": found 0x");
  board_write_hex(found.found, 16);
  board_write(", expected 0x");
  board_write_hex(found.expected, 16);
  board_write("\n");
  if (found.layer != layer) {
    board_write("    FAILED: expected layer ");
    board_write_number(layer);
    board_write("\n");
    ++failures;
  }
}

static void self_tests(void) {
  thimble_model model;
  const Section* down = find_section(kFeedForwardDown, 2);
  uint8_t* weight = copy + down->offset + down->bytes / 2;

  report("open", THIMBLE_OK, thimble_model_open(&model, copy, image_bytes));
  try_self_test("self-test, float32 cache", THIMBLE_OK, -1, &model, THIMBLE_KV_F32);
  try_self_test("self-test, int8 cache", THIMBLE_OK, -1, &model, THIMBLE_KV_Q8);
  *weight = (uint8_t)(*weight ^ 0x40);
  report("a bit of layer 2 flipped, open", THIMBLE_OK,
         thimble_model_open(&model, copy, image_bytes));
  report("a bit of layer 2 flipped, verify", THIMBLE_ERROR_DATA_CHECKSUM,
         thimble_model_verify(&model));
  report_fault(&model.fault);
  try_self_test("a bit of layer 2 flipped, self-test, float32 cache", THIMBLE_ERROR_SELF_TEST, 2,
                &model, THIMBLE_KV_F32);
  try_self_test("a bit of layer 2 flipped, self-test, int8 cache", THIMBLE_ERROR_SELF_TEST, 2,
                &model, THIMBLE_KV_Q8);
  *weight = (uint8_t)(*weight ^ 0x40);
  try_self_test("the bit mended, self-test", THIMBLE_OK, -1, &model, THIMBLE_KV_F32);
}

/* ---- Memory and calls ---- */

static void wrong_memory(const thimble_model* model) {
  thimble_session* session;
  thimble_config config = {.n_ctx = 8};
  const size_t need = thimble_session_bytes(model, &config);
  report("arena of the very size", THIMBLE_OK,
         thimble_session_init(&session, model, &config, arena, need));
  report("arena a byte too small", THIMBLE_ERROR_ARENA_TOO_SMALL,
         thimble_session_init(&session, model, &config, arena, need - 1));
  report("arena 4 bytes off", THIMBLE_ERROR_MISALIGNED,
         thimble_session_init(&session, model, &config, arena + 4, sizeof arena - 4));
  report("no arena", THIMBLE_ERROR_ARGUMENT,
         thimble_session_init(&session, model, &config, NULL, sizeof arena));
  config.n_ctx = model->n_ctx + 1;
  report("n_ctx beyond the model's", THIMBLE_ERROR_CONFIG,
         thimble_session_init(&session, model, &config, arena, sizeof arena));
  config.n_ctx = 8;
  config.n_batch = 1025;
  report("n_batch of 1025", THIMBLE_ERROR_CONFIG,
         thimble_session_init(&session, model, &config, arena, sizeof arena));
  config.n_batch = 1;
  config.isa = "abacus";
  report("kernels that there are not", THIMBLE_ERROR_CONFIG,
         thimble_session_init(&session, model, &config, arena, sizeof arena));
  config.isa = NULL;
  config.kv_type = 2;
  report("a type of cache that there is not", THIMBLE_ERROR_CONFIG,
         thimble_session_init(&session, model, &config, arena, sizeof arena));
  config.kv_type = THIMBLE_KV_Q8;
  config.n_candidates = 257;
  report("257 candidates", THIMBLE_ERROR_CONFIG,
         thimble_session_init(&session, model, &config, arena, sizeof arena));
}

static void wrong_calls(const thimble_model* model) {
  thimble_session* session;
  const thimble_config config = {.n_ctx = 8};
  thimble_sampling sampling = {0};
  thimble_decoder decoder = {0};
  int32_t tokens[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  char text[4];

  report("init", THIMBLE_OK, thimble_session_init(&session, model, &config, arena, sizeof arena));
  report("sample without logits", THIMBLE_ERROR_NO_LOGITS, thimble_sample(session, &sampling));
  if (thimble_logits(session) != NULL) ++failures;
  report("step without a pass", THIMBLE_OK, thimble_step(session, 0));
  report("sample after that", THIMBLE_ERROR_NO_LOGITS, thimble_sample(session, &sampling));
  tokens[0] = (int32_t)model->vocab_size;
  report("a token past the vocabulary", THIMBLE_ERROR_TOKEN, thimble_feed(session, tokens, 1));
  tokens[0] = -1;
  report("a token below 0", THIMBLE_ERROR_TOKEN, thimble_feed(session, tokens, 1));
  tokens[0] = 1;
  report("no tokens", THIMBLE_ERROR_ARGUMENT, thimble_feed(session, tokens, 0));
  report("9 tokens for 8 positions", THIMBLE_ERROR_CONTEXT_FULL, thimble_feed(session, tokens, 9));
  report("8 tokens for 8 positions", THIMBLE_OK, thimble_feed(session, tokens, 8));
  report("a slice", THIMBLE_MORE, thimble_step(session, 1));
  report("self-test within a pass", THIMBLE_ERROR_BUSY, thimble_self_test(session, 0, NULL));
  report("feed within a pass", THIMBLE_ERROR_BUSY, thimble_feed(session, tokens, 1));
  report("encode within a pass", THIMBLE_ERROR_BUSY,
         thimble_encode(session, "a", 1, 0, tokens + 1, 8));
  report("sample within a pass", THIMBLE_ERROR_NO_LOGITS, thimble_sample(session, &sampling));
  report("the rest of the pass", THIMBLE_OK, thimble_step(session, 0));
  report("a token more than the context", THIMBLE_ERROR_CONTEXT_FULL,
         thimble_feed(session, tokens, 1));
  sampling.temperature = -1;
  report("temperature -1", THIMBLE_ERROR_ARGUMENT, thimble_sample(session, &sampling));
  report("rewind forwards", THIMBLE_ERROR_ARGUMENT, thimble_rewind(session, 9));
  report("rewind to 7", THIMBLE_OK, thimble_rewind(session, 7));
  report("a token in the place won", THIMBLE_OK, thimble_feed(session, tokens, 1));
  report("its pass", THIMBLE_OK, thimble_step(session, 0));
  report("encode to too few tokens", THIMBLE_ERROR_OUTPUT_TOO_SMALL,
         thimble_encode(session, "Once upon a time", 16, 0, tokens, 1));
  report("decode a token past the vocabulary", THIMBLE_ERROR_TOKEN,
         thimble_decode(model, &decoder, (int32_t)model->vocab_size, text, sizeof text));
  report("decode to no room", THIMBLE_ERROR_OUTPUT_TOO_SMALL,
         thimble_decode(model, &decoder, (int32_t)model->vocab_size - 1, text, 0));
}

static void few_candidates(const thimble_model* model) {
  thimble_session* session;
  const thimble_config config = {.n_ctx = 7, .kv_type = THIMBLE_KV_Q8, .n_candidates = 4};
  thimble_sampling sampling = {0};
  const int32_t token = 1;

  report("init, 4 candidates", THIMBLE_OK,
         thimble_session_init(&session, model, &config, arena, sizeof arena));
  report("self-test with 7 positions", THIMBLE_ERROR_CONTEXT_FULL,
         thimble_self_test(session, 0, NULL));
  report("a token", THIMBLE_OK, thimble_feed(session, &token, 1));
  report("its pass", THIMBLE_OK, thimble_step(session, 0));
  if (thimble_logits(session) != NULL) ++failures;
  sampling.temperature = 1;
  report("temperature 1, all tokens", THIMBLE_ERROR_ARGUMENT, thimble_sample(session, &sampling));
  sampling.top_k = 5;
  report("top-k 5 of 4 candidates", THIMBLE_ERROR_ARGUMENT, thimble_sample(session, &sampling));
}

int main(void) {
  thimble_model model;
  image_bytes = (size_t)(model_image_end - model_image);
  if (image_bytes + THIMBLE_ALIGNMENT > sizeof copy) {
    board_write("the model is larger than this program has room for\n");
    return 1;
  }
  damaged_images();
  damaged_weight();
  self_tests();
  report("open", THIMBLE_OK, thimble_model_open(&model, copy, image_bytes));
  wrong_memory(&model);
  wrong_calls(&model);
  few_candidates(&model);
  return failures > 0;
}
