/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "thimble/thimble.h"

/* In flash: `thimble embed MODEL --name command_model`, `embed RULE --name command_rule` */
extern const uint8_t command_model[], command_rule[];
extern const size_t command_model_bytes, command_rule_bytes;
int uart_read_line(char* line, int capacity); /* your board's way in: its bytes; below 0: no more */
void uart_write(const char* text, size_t bytes);

static const float kSure = 0.7f; /* `thimble eval MODEL COMMANDS --answers --constrain RULE` */
/* So many bytes: `thimble plan models/command.thimble --ctx 128 --kv q8 --rules` */
static uint8_t arena[56128] __attribute__((aligned(THIMBLE_ALIGNMENT)));
/* In an answer {"intent":"HassTurnOn","name":"lamp"}; first those copied from the sentence. */
static const char* const kKeys[] = {
    "\"name\":",       "\"area\":",         "\"floor\":",    "\"color\":",        "\"item\":",
    "\"message\":",    "\"search_query\":", "\"domain\":",   "\"device_class\":", "\"state\":",
    "\"brightness\":", "\"temperature\":",  "\"position\":", "\"volume_level\":", "\"hours\":",
    "\"minutes\":",    "\"seconds\":"};
enum { kTexts = 7, kAll = sizeof kKeys / sizeof *kKeys, kContext = 128, kLine = 160 };

static void say(const char* text) {
  uart_write(text, strlen(text));
}

static void run(thimble_session* session) {
  while (thimble_step(session, 100000) == THIMBLE_MORE) { /* feed the watchdog */
  }
}

/* The answer to a sentence and its tab, as text; its confidence, below 0 if it has no end. */
static float answer(thimble_session* session, const thimble_model* model, const thimble_rule* rule,
                    const char* said, char* text, size_t capacity) {
  const thimble_sampling greedy = {0};
  thimble_decoder decoder = {.started = 1};
  int32_t tokens[kContext];
  *text = '\0';
  thimble_rewind(session, 0);
  const int32_t n =
      thimble_encode(session, said, strlen(said), THIMBLE_ENCODE_BOS, tokens, kContext);
  thimble_session_constrain(session, NULL);
  if (n <= 0 || thimble_feed(session, tokens, (size_t)n) != THIMBLE_OK) return -1;
  run(session);
  thimble_session_constrain(session, rule);
  for (;;) {
    run(session);
    const int32_t token = thimble_sample(session, &greedy);
    if (token < 0 || thimble_feed(session, &token, 1) != THIMBLE_OK) return -1;
    if (thimble_is_end(model, token)) return thimble_session_confidence(session);
    const int32_t bytes = thimble_decode(model, &decoder, token, text, capacity - 1);
    if (bytes < 0) return -1;
    text[bytes] = '\0';
    text += bytes, capacity -= (size_t)bytes;
  }
}

/* The value of a key between two places of an answer, without its quotes; its bytes, 0: none. */
static size_t value_of(const char* from, const char* to, const char* key, const char** value) {
  const char* at = strstr(from, key);
  *value = from;
  if (!at || at >= to) return 0;
  at += strlen(key);
  *value = *at == '"' ? at + 1 : at;
  return strcspn(*value, *at == '"' ? "\"" : ",}");
}

/* Whether all texts that were to be copied are in the sentence, none invented. */
static int is_said(const char* found, const char* said) {
  const char *end = found + strlen(found), *value, *at;
  for (int i = 0; i < kTexts; ++i) {
    for (const char* from = found; (from = strstr(from, kKeys[i])) != NULL; ++from) {
      const size_t bytes = value_of(from, end, kKeys[i], &value);
      for (at = said; strlen(at) >= bytes && memcmp(at, value, bytes) != 0;) ++at;
      if (strlen(at) < bytes) return 0;
    }
  }
  return 1;
}

/* Command by command what an answer asks for: in its place your firmware acts. */
static void tell(const char* found) {
  const char *next, *value;
  for (const char* at = strstr(found, "{\"intent\":"); at; at = next) {
    next = strstr(at + 1, "{\"intent\":");
    const char* end = next ? next : at + strlen(at);
    const size_t intent = value_of(at, end, "\"intent\":", &value);
    uart_write(value, intent);
    for (int i = 0; i < kAll; ++i) {
      const size_t bytes = value_of(at, end, kKeys[i], &value);
      if (bytes == 0) continue;
      say(" ");
      uart_write(kKeys[i] + 1, strlen(kKeys[i]) - 3);
      say("=");
      uart_write(value, bytes);
    }
    if (next) say(" and ");
  }
}

int main(void) {
  const thimble_config config = {
      .n_ctx = kContext, .kv_type = THIMBLE_KV_Q8, .rules = THIMBLE_RULES_CONFIDENCE};
  thimble_model model;
  thimble_rule rule;
  thimble_session* session;
  char said[kLine + 2], found[256];
  if (thimble_model_open(&model, command_model, command_model_bytes) != THIMBLE_OK ||
      thimble_rule_open(&rule, &model, command_rule, command_rule_bytes) != THIMBLE_OK ||
      thimble_session_init(&session, &model, &config, arena, sizeof arena) != THIMBLE_OK) {
    say("no model, no rule for it, or too little memory\n");
    return 1;
  }
  for (int n, is_asked = 0; (n = uart_read_line(said, kLine)) >= 0;) {
    if (is_asked && n == 3 && memcmp(said, "yes", 3) == 0) {
      is_asked = 0;
    } else { /* a command, or the last one said anew */
      memcpy(said + n, "\t", 2);
      const float confidence = answer(session, &model, &rule, said, found, sizeof found);
      const int is_none = confidence < 0 || strcmp(found, "{\"intent\":\"none\"}") == 0;
      is_asked = !is_none && (confidence < kSure || !is_said(found, said));
      if (is_none) say("That is no command that I know.\n");
      if (is_none) continue;
    }
    if (is_asked) say("Did you mean: ");
    tell(found);
    say(is_asked ? "?\n" : ".\n");
  }
  return 0;
}
