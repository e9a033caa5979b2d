/* SPDX-License-Identifier: MIT */
/*
 * What the engine costs on a board, one `key value` a line: instructions (of `-icount shift=0`),
 * bytes of stack below the caller, bytes of arena. Keys of a session begin with its name: f32 and
 * q8 are the types of cache, the latter with one candidate; warm draws with all there is.
 */
#include "measure.h"

#include "board.h"
#include "thimble/thimble.h"

enum { kContext = 256, kLate = 200, kBudget = 100000 };
static uint8_t arena[1024 * 1024] __attribute__((aligned(THIMBLE_ALIGNMENT)));
static thimble_model model;
static thimble_session* session;
static const char* session_name = "";
static size_t deepest; /* stack, of all calls */

void report(const char* key, uint64_t value) {
  board_write(session_name);
  board_write(key);
  board_write(" ");
  board_write_number((int64_t)value);
  board_write("\n");
}

void report_of(const char* key, uint32_t number, uint64_t value) {
  board_write(key);
  board_write_number(number);
  report("", value);
}

static void check(const char* what, int32_t status) {
  if (status >= 0) return;
  board_write(what);
  board_write(": ");
  board_write(thimble_status_text((thimble_status)status));
  board_write("\n");
  board_exit(1);
}

/* ---- The yardsticks themselves ---- */

/* Two million instructions and a few: shows that the clock counts instructions. */
static void measure_clock(void) {
  const uint64_t start = board_instructions();
  uint32_t rounds = 1000000;
#if defined(__riscv)
  __asm__ volatile("1: addi %0, %0, -1\n bnez %0, 1b" : "+r"(rounds));
#else
  __asm__ volatile(".syntax unified\n1: subs %0, #1\n bne 1b" : "+l"(rounds) : : "cc");
#endif
  report("clock_2000000", board_instructions() - start);
}

static void report_stack(const char* key) {
  const size_t used = board_stack_used();
  if (used == kStackPaint) check("stack: all that was painted is used", THIMBLE_ERROR_ARGUMENT);
  if (used > deepest) deepest = used;
  report(key, used);
}

/* ---- Calls ---- */

static void measure_open(void) {
  uint64_t start;

  board_paint_stack();
  start = board_instructions();
  check("open", thimble_model_open(&model, model_image, (size_t)(model_image_end - model_image)));
  report("open_instructions", board_instructions() - start);
  report_stack("open_stack");

  board_paint_stack();
  start = board_instructions();
  check("verify", thimble_model_verify(&model));
  report("verify_instructions", board_instructions() - start);
  report_stack("verify_stack");
}

static void measure_init(const thimble_config* config) {
  uint64_t start;
  report("arena", thimble_session_bytes(&model, config));
  board_paint_stack();
  start = board_instructions();
  check("init", thimble_session_init(&session, &model, config, arena, sizeof arena));
  report("init_instructions", board_instructions() - start);
  report_stack("init_stack");
}

static void measure_self_test(void) {
  uint64_t start;
  thimble_status status;
  board_paint_stack();
  start = board_instructions();
  do {
    status = thimble_self_test(session, kBudget, NULL);
    check("self-test", status);
  } while (status == THIMBLE_MORE);
  report("self_test_instructions", board_instructions() - start);
  report_stack("self_test_stack");
}

/* A pass in slices: all it took, the longest slice, how many there were. */
typedef struct Slices {
  uint64_t sum, longest;
  uint32_t count;
} Slices;

static Slices run_pass(const int32_t* tokens, size_t n, uint64_t budget) {
  Slices slices = {0, 0, 0};
  thimble_status status = THIMBLE_MORE;
  uint64_t start = board_instructions();
  check("feed", thimble_feed(session, tokens, n));
  while (status == THIMBLE_MORE) {
    uint64_t spent;
    status = thimble_step(session, budget);
    check("step", status);
    spent = board_instructions() - start;
    slices.sum += spent;
    if (spent > slices.longest) slices.longest = spent;
    ++slices.count;
    start = board_instructions();
  }
  return slices;
}

typedef struct TokenKeys {
  const char *all, *longest, *count, *stack;
} TokenKeys;

/* One token at the position where the session is: in one go, in slices, and its stack. */
static void measure_token(const TokenKeys* keys, int32_t token) {
  const uint32_t position = thimble_position(session);
  Slices slices = run_pass(&token, 1, 0);
  report(keys->all, slices.sum);
  check("rewind", thimble_rewind(session, position));
  slices = run_pass(&token, 1, kBudget);
  report(keys->longest, slices.longest);
  report(keys->count, slices.count);

  check("rewind", thimble_rewind(session, position));
  board_paint_stack();
  check("feed", thimble_feed(session, &token, 1));
  while (thimble_step(session, kBudget) == THIMBLE_MORE) {
  }
  report_stack(keys->stack);
}

static void measure_sample(const char* instructions, const char* stack,
                           const thimble_sampling* sampling) {
  uint64_t start;
  board_paint_stack();
  start = board_instructions();
  check("sample", thimble_sample(session, sampling));
  report(instructions, board_instructions() - start);
  report_stack(stack);
}

static void measure_hash(void) {
  uint64_t start;
  board_paint_stack();
  start = board_instructions();
  thimble_logits_hash(session, THIMBLE_HASH_START);
  report("hash_instructions", board_instructions() - start);
  report_stack("hash_stack");
}

static void measure_text(int32_t* tokens, int32_t* n) {
  static const char prompt[] = "Once upon a time, there was a little girl named Lily.";
  thimble_decoder decoder = {0};
  char text[64];
  uint64_t start;

  board_paint_stack();
  start = board_instructions();
  *n = thimble_encode(session, prompt, sizeof prompt - 1, THIMBLE_ENCODE_BOS, tokens, 64);
  check("encode", *n);
  report("encode_instructions", board_instructions() - start);
  report_stack("encode_stack");
  report("encode_tokens", (uint64_t)*n);

  board_paint_stack();
  start = board_instructions();
  for (int32_t i = 0; i < *n; ++i) {
    check("decode", thimble_decode(&model, &decoder, tokens[i], text, sizeof text));
  }
  report("decode_instructions", board_instructions() - start);
  report_stack("decode_stack");
}

/* A text packed and unpacked. */
static void measure_pack(void) {
  static const char plain[] =
      "Once upon a time, there was a little girl named Lily. She liked to play in the park.";
  static thimble_pack packing;
  static thimble_unpack unpacking;
  uint8_t packed[64];
  char text[sizeof plain];
  size_t n, n_text, n_all;
  uint64_t start;
  thimble_status status;

  board_paint_stack();
  start = board_instructions();
  check("pack", thimble_pack_begin(&packing, session, plain, sizeof plain - 1));
  status = thimble_pack_step(&packing, 0, packed, sizeof packed, &n);
  check("pack", status == THIMBLE_MORE ? THIMBLE_ERROR_OUTPUT_TOO_SMALL : status);
  report("pack_instructions", board_instructions() - start);
  report_stack("pack_stack");
  report("pack_characters", sizeof plain - 1);
  report("pack_bytes", n);

  board_paint_stack();
  start = board_instructions();
  check("unpack", thimble_unpack_begin(&unpacking, session, packed, n, &n_all));
  status = thimble_unpack_step(&unpacking, 0, text, sizeof text, &n_text);
  check("unpack", status == THIMBLE_MORE ? THIMBLE_ERROR_OUTPUT_TOO_SMALL : status);
  report("unpack_instructions", board_instructions() - start);
  report_stack("unpack_stack");
}

/* A session's calls on a text of up to kLate tokens. */
static void measure_session(const char* name, const thimble_config* config) {
  static const TokenKeys early = {"token_instructions", "slice_instructions", "slices",
                                  "step_stack"};
  static const TokenKeys late = {"late_token_instructions", "late_slice_instructions",
                                 "late_slices", "late_step_stack"};
  const thimble_sampling greedy = {0};
  int32_t tokens[64], n = 0;
  Slices slices;

  session_name = name;
  measure_init(config);
  measure_self_test();
  measure_text(tokens, &n);
  measure_token(&early, tokens[0]);
  measure_sample("sample_instructions", "sample_stack", &greedy);
  measure_hash();

  check("rewind", thimble_rewind(session, 0));
  slices = run_pass(tokens, (size_t)n, kBudget);
  report("prefill_instructions", slices.sum);
  report("prefill_slice_instructions", slices.longest);
  report("prefill_slices", slices.count);

  while (thimble_position(session) < kLate) {
    const int32_t token = thimble_sample(session, &greedy);
    check("sample", token);
    run_pass(&token, 1, 0);
  }
  measure_token(&late, tokens[1]);
}

/* What a second core leaves to the first: the token's instructions without those of the shorter one
 * of its two shares, each time. The mailbox comes on top. */
static void run_shares(void* spared, thimble_session* of, uint32_t n_shares) {
  uint64_t sum = 0, longest = 0;
  for (uint32_t i = 0; i < n_shares; ++i) {
    const uint64_t start = board_instructions();
    thimble_share(of, i);
    const uint64_t spent = board_instructions() - start;
    sum += spent;
    if (spent > longest) longest = spent;
  }
  *(uint64_t*)spared += sum - longest;
}

static void measure_shares(const char* name) {
  const thimble_config config = {
      .n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .n_candidates = 1, .n_shares = 2};
  uint64_t spared = 0;
  session_name = name;
  measure_init(&config);
  check("shares", thimble_on_shares(session, run_shares, &spared));
  for (int32_t token = 0; token <= kLate; ++token) {
    const int32_t fed = token & 63;
    spared = 0;
    const uint64_t all = run_pass(&fed, 1, 0).sum;
    if (token == 0) report("token_instructions", all - spared);
    if (token == kLate) report("late_token_instructions", all - spared);
  }
}

/* All that sampling can do, on the session as it is. */
static void measure_warm(const char* name) {
  const thimble_sampling warm = {.temperature = 0.8f,
                                 .top_p = 0.9f,
                                 .top_k = 40,
                                 .min_p = 0.02f,
                                 .repetition_penalty = 1.1f,
                                 .seed = 7};
  session_name = name;
  measure_sample("sample_instructions", "sample_stack", &warm);
}

int main(void) {
  const thimble_config f32 = {.n_ctx = kContext};
  const thimble_config q8 = {.n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .n_candidates = 1};
  const thimble_config candidates = {
      .n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .n_candidates = 40 + 64};

  measure_clock();
  measure_open();
  measure_session("f32_", &f32);
  measure_warm("warm_");
  session_name = "f32_";
  measure_pack();
  measure_session("q8_", &q8);
  check("init", thimble_session_init(&session, &model, &candidates, arena, sizeof arena));
  for (int32_t token = 0; token < 64; ++token) run_pass(&token, 1, 0);
  measure_warm("warm_candidates_");
  measure_shares("shares_");
  session_name = "";
  report("stack", deepest);
  report("stack_bound", THIMBLE_STACK_BYTES);
  measure_kernels();
  return 0;
}
