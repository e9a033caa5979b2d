// SPDX-License-Identifier: MIT
// A program of its own that replaces every way to the heap by one that counts: after
// thimble_session_init the engine must not get there. Prints "no_heap: ok", or what failed (exit
// code 1). In sanitizer builds, whose runtime owns malloc, it listens to that instead.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "sanitized.h"
#include "tiny_model.h"
#include "tiny_rule.h"

namespace {

volatile bool g_armed = false;      // is an allocation a failure?
volatile unsigned g_calls = 0;      // to the heap while armed, frees included
volatile unsigned g_all_calls = 0;  // ever, to show that the replacements are in place

void count_call() {
  g_all_calls = g_all_calls + 1;
  if (g_armed) g_calls = g_calls + 1;
}

}  // namespace

#if defined(THIMBLE_SANITIZED)

extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, size_t),
                                                         void (*)(const volatile void*));

static void install_counters() {
  __sanitizer_install_malloc_and_free_hooks([](const volatile void*, size_t) { count_call(); },
                                            [](const volatile void*) { count_call(); });
}

#else

static void install_counters() {}

// The heap of this program: a block that only grows, each piece headed by its size.
namespace {

constexpr size_t kHeapBytes = size_t{256} << 20;  // untouched pages cost nothing
constexpr size_t kLeastAlignment = 16;
alignas(64) unsigned char g_heap[kHeapBytes];
size_t g_used = 0;

void* take(size_t bytes, size_t alignment) {
  count_call();
  if (alignment < kLeastAlignment) alignment = kLeastAlignment;
  const size_t start = (g_used + kLeastAlignment + alignment - 1) / alignment * alignment;
  if (start > kHeapBytes || bytes > kHeapBytes - start) return nullptr;
  std::memcpy(g_heap + start - kLeastAlignment, &bytes, sizeof bytes);
  g_used = start + bytes;
  return g_heap + start;
}

}  // namespace

extern "C" {

void* malloc(size_t bytes) {
  return take(bytes, kLeastAlignment);
}

void* calloc(size_t count, size_t bytes) {
  if (bytes != 0 && count > SIZE_MAX / bytes) return nullptr;
  return take(count * bytes, kLeastAlignment);  // zero, since nothing is used twice
}

void* realloc(void* old, size_t bytes) {
  unsigned char* block = static_cast<unsigned char*>(take(bytes, kLeastAlignment));
  if (old == nullptr || block == nullptr) return block;
  size_t old_bytes;
  std::memcpy(&old_bytes, static_cast<unsigned char*>(old) - kLeastAlignment, sizeof old_bytes);
  std::memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
  return block;
}

void free(void*) {
  count_call();
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  return take(bytes, alignment);
}

void* memalign(size_t alignment, size_t bytes) {
  return take(bytes, alignment);
}

int posix_memalign(void** out, size_t alignment, size_t bytes) {
  *out = take(bytes, alignment);
  return *out ? 0 : 12;
}

}  // extern "C"

namespace {

void* take_or_throw(size_t bytes, size_t alignment) {
  void* block = take(bytes, alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

using std::align_val_t;
using std::nothrow_t;

void* operator new(size_t n) {
  return take_or_throw(n, kLeastAlignment);
}
void* operator new[](size_t n) {
  return take_or_throw(n, kLeastAlignment);
}
void* operator new(size_t n, const nothrow_t&) noexcept {
  return take(n, kLeastAlignment);
}
void* operator new[](size_t n, const nothrow_t&) noexcept {
  return take(n, kLeastAlignment);
}
void* operator new(size_t n, align_val_t a) {
  return take_or_throw(n, static_cast<size_t>(a));
}
void* operator new[](size_t n, align_val_t a) {
  return take_or_throw(n, static_cast<size_t>(a));
}
void* operator new(size_t n, align_val_t a, const nothrow_t&) noexcept {
  return take(n, static_cast<size_t>(a));
}
void* operator new[](size_t n, align_val_t a, const nothrow_t&) noexcept {
  return take(n, static_cast<size_t>(a));
}
void operator delete(void*) noexcept {
  count_call();
}
void operator delete[](void*) noexcept {
  count_call();
}
void operator delete(void*, size_t) noexcept {
  count_call();
}
void operator delete[](void*, size_t) noexcept {
  count_call();
}
void operator delete(void*, const nothrow_t&) noexcept {
  count_call();
}
void operator delete[](void*, const nothrow_t&) noexcept {
  count_call();
}
void operator delete(void*, align_val_t) noexcept {
  count_call();
}
void operator delete[](void*, align_val_t) noexcept {
  count_call();
}
void operator delete(void*, size_t, align_val_t) noexcept {
  count_call();
}
void operator delete[](void*, size_t, align_val_t) noexcept {
  count_call();
}
void operator delete(void*, align_val_t, const nothrow_t&) noexcept {
  count_call();
}
void operator delete[](void*, align_val_t, const nothrow_t&) noexcept {
  count_call();
}

#endif

namespace {

using thimble::test::AlignedBlock;
using thimble::test::TinyModel;
using thimble::test::TinyRule;

bool fail(const char* what) {
  g_armed = false;
  std::printf("no_heap: failed: %s\n", what);
  return false;
}

// Every call of the API on one session, errors included; false if one gives what it should not.
bool use_everything(thimble_session* s, thimble_model* model, const thimble_config& config,
                    void* arena, size_t arena_bytes) {
  static int32_t tokens[256], turn[256];
  static char out[4096];
  const char text[] = "one or  two words, \xc3\xa9\xff and more of them than a batch can hold";
  const thimble_sampling samplings[] = {
      {}, {1.0f, 0, 0, 0, 0, 0, 1, 0}, {0.8f, 0.9f, 0.05f, 1.2f, 32, 20, 2, 0}};
  thimble_decoder decoder = {};
  uint64_t hash = THIMBLE_HASH_START;

  const int32_t n = thimble_encode(s, text, sizeof text - 1, THIMBLE_ENCODE_BOS, tokens, 256);
  if (n < 2) return fail("thimble_encode");
  if (thimble_encode(s, text, sizeof text - 1, 0, tokens + 200, 1) !=
      THIMBLE_ERROR_OUTPUT_TOO_SMALL) {
    return fail("thimble_encode into too little");
  }
  const int32_t n_turn =
      thimble_encode_turn(s, THIMBLE_ROLE_USER, text, sizeof text - 1,
                          THIMBLE_TURN_ANSWER | THIMBLE_TURN_AFTER_ANSWER, turn, 256);
  if (n_turn <= n) return fail("thimble_encode_turn");
  if (thimble_encode_turn(s, THIMBLE_ROLE_SYSTEM, text, sizeof text - 1, 0, turn, 1) !=
      THIMBLE_ERROR_OUTPUT_TOO_SMALL) {
    return fail("thimble_encode_turn into too little");
  }
  const uint32_t room = thimble_context_size(s) - 8;
  const size_t prompt = static_cast<uint32_t>(n) < room ? static_cast<size_t>(n) : room;
  for (uint64_t budget : {0u, 500u}) {
    if (thimble_rewind(s, 0) != THIMBLE_OK) return fail("thimble_rewind");
    if (thimble_feed(s, tokens, prompt) != THIMBLE_OK) return fail("thimble_feed");
    if (thimble_feed(s, tokens, 1) != THIMBLE_ERROR_BUSY) return fail("thimble_feed while busy");
    while (thimble_step(s, budget) == THIMBLE_MORE) {
    }
    for (int i = 0; i < 8; ++i) {
      if (thimble_logits(s) == nullptr) return fail("thimble_logits");
      hash = thimble_logits_hash(s, hash);
      int32_t token = 0;
      for (const thimble_sampling& sampling : samplings) token = thimble_sample(s, &sampling);
      if (token < 0) return fail("thimble_sample");
      if (thimble_decode(model, &decoder, token, out, sizeof out) < 0) {
        return fail("thimble_decode");
      }
      if (thimble_is_end(model, token) < 0) return fail("thimble_is_end");
      if (thimble_feed(s, &token, 1) != THIMBLE_OK) return fail("thimble_feed of one");
      if (thimble_step(s, 0) != THIMBLE_OK) return fail("thimble_step");
    }
    if (thimble_decode_end(&decoder, out, sizeof out) < 0) return fail("thimble_decode_end");
    if (thimble_rewind(s, thimble_position(s) / 2) != THIMBLE_OK) return fail("thimble_rewind");
  }
  const int32_t bad = -1;
  if (thimble_feed(s, &bad, 1) != THIMBLE_ERROR_TOKEN) return fail("thimble_feed of no token");
  if (thimble_sample(s, samplings) != THIMBLE_ERROR_NO_LOGITS) return fail("thimble_sample early");
  for (size_t i = 0; thimble_isa_at(i); ++i) hash += static_cast<uint8_t>(thimble_isa_at(i)[0]);
  hash += thimble_encode_word_bytes(s) + static_cast<unsigned char>(thimble_isa(s)[0]) +
          static_cast<unsigned char>(thimble_status_text(THIMBLE_ERROR_BUSY)[0]);

  static thimble_pack packing;
  static thimble_unpack unpacking;
  size_t n_packed = 0, n_text = 0;
  if (thimble_pack_begin(&packing, s, text, sizeof text - 1) != THIMBLE_OK ||
      thimble_pack_step(&packing, 0, out, sizeof out, &n_packed) != THIMBLE_OK) {
    return fail("thimble_pack_step");
  }
  if (thimble_unpack_begin(&unpacking, s, out, n_packed, nullptr) != THIMBLE_OK ||
      thimble_unpack_step(&unpacking, 0, out + n_packed, sizeof out - n_packed, &n_text) !=
          THIMBLE_OK ||
      n_text != sizeof text - 1 || std::memcmp(out + n_packed, text, n_text) != 0) {
    return fail("thimble_unpack_step");
  }

  // What comes before a session's life does not allocate either.
  if (thimble_model_open(model, model->image, model->image_bytes) != THIMBLE_OK) {
    return fail("thimble_model_open");
  }
  if (thimble_model_verify(model) != THIMBLE_OK) return fail("thimble_model_verify");
  if (thimble_session_bytes(model, &config) != arena_bytes) return fail("thimble_session_bytes");
  if (thimble_session_init(&s, model, &config, arena, arena_bytes) != THIMBLE_OK) {
    return fail("thimble_session_init");
  }
  return hash != 0;
}

// An answer under a rule, saved and gone on with; false as above.
bool use_a_rule(thimble_session* s, const thimble_model* model, const void* image,
                size_t image_bytes) {
  static uint8_t saved[1024 * 1024];
  const thimble_sampling sampling = {1.5f, 0, 0, 0, 0, 0, 1, 0};
  const int32_t bos = model->bos_id;
  thimble_rule rule;
  if (thimble_rule_open(&rule, model, image, image_bytes) != THIMBLE_OK ||
      thimble_rule_verify(&rule) != THIMBLE_OK) {
    return fail("thimble_rule_open");
  }
  if (thimble_rewind(s, 0) != THIMBLE_OK || thimble_feed(s, &bos, 1) != THIMBLE_OK ||
      thimble_step(s, 0) != THIMBLE_OK || thimble_session_constrain(s, &rule) != THIMBLE_OK ||
      thimble_step(s, 0) != THIMBLE_OK) {
    return fail("thimble_session_constrain");
  }
  if (thimble_feed(s, &bos, 1) != THIMBLE_ERROR_FORBIDDEN) return fail("what is forbidden");
  for (int i = 0; i < 8; ++i) {
    const int32_t token = thimble_sample(s, &sampling);
    if (token < 0) return fail("thimble_sample under a rule");
    if (thimble_feed(s, &token, 1) != THIMBLE_OK) return fail("thimble_feed under a rule");
    while (thimble_step(s, 500) == THIMBLE_MORE) {
    }
    if (i != 4) continue;
    const size_t n = thimble_session_save_bytes(s);
    if (thimble_session_save(s, saved, sizeof saved) != THIMBLE_OK ||
        thimble_session_load(s, saved, n) != THIMBLE_OK || thimble_step(s, 0) != THIMBLE_OK) {
      return fail("thimble_session_load");
    }
  }
  return thimble_session_confidence(s) > 0 && thimble_rule_is_met(s) == 0
             ? true
             : fail("thimble_session_confidence");
}

}  // namespace

int main() {
  install_counters();
  unsigned n_sessions = 0;
  // Not all types of weights: the heap above never gets anything back.
  const thimble::tools::WeightLayout layouts[] = {{thimble::kWeightF32, 0, 16},
                                                  {thimble::kWeightQ8, 32, 16},
                                                  {thimble::kWeightQ8, 0, 16},
                                                  {thimble::kWeightQ4, 32, 16}};
  for (const thimble::tools::WeightLayout& layout : layouts) {
    for (bool wide : {false, true}) {
      // Wide enough for whatever a compiler or kernel might want to put on the heap.
      TinyModel m(wide ? thimble::test::tiny_shape(192, 500, 2, 4, 2, 48, 700, 300, false)
                       : thimble::test::tiny_shape(24, 20, 2, 3, 1, 8, 300, 40, true),
                  layout, true);
      const TinyRule rule(m.view, "[a-z ]*!");
      for (size_t isa = 0; thimble_isa_at(isa); ++isa) {
        for (uint32_t n_batch : {1u, 16u}) {
          thimble_config config = {0, n_batch, thimble_isa_at(isa), 0, 0};
          config.rules = THIMBLE_RULES_CONFIDENCE;
          AlignedBlock arena(thimble_session_bytes(&m.view, &config));
          thimble_session* session = nullptr;
          if (thimble_session_init(&session, &m.view, &config, arena.data(), arena.size()) !=
              THIMBLE_OK) {
            return fail("thimble_session_init"), 1;
          }
          g_calls = 0;
          g_armed = true;
          const bool good = use_a_rule(session, &m.view, rule.image.data(), rule.image.size()) &&
                            thimble_session_constrain(session, nullptr) == THIMBLE_OK &&
                            thimble_rewind(session, 0) == THIMBLE_OK &&
                            use_everything(session, &m.view, config, arena.data(), arena.size());
          g_armed = false;
          if (!good) return 1;
          if (g_calls > 0) {
            std::printf("no_heap: failed: %u calls to the heap (%s, %s, batch %u)\n", g_calls,
                        thimble::test::layout_name(layout).c_str(), config.isa, n_batch);
            return 1;
          }
          ++n_sessions;
        }
      }
    }
  }
  // That nothing was counted means something only if the counters count.
  const unsigned before = g_all_calls;
  void* volatile block = std::malloc(1);
  std::free(block);
  int* volatile object = new int(1);
  delete object;
  if (g_all_calls < before + 4) return fail("the counters are not in place"), 1;
  std::printf("no_heap: ok, %u sessions\n", n_sessions);
  return 0;
}
