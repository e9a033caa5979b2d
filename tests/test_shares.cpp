// SPDX-License-Identifier: MIT
// Passes that several cores share: the same bits, whoever computes which share when.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "bench_shape.h"
#include "shares.h"
#include "tiny_adapter.h"
#include "tiny_model.h"
#include "tiny_rule.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// One core in the place of several, which takes the shares from the last one to the first.
struct Backwards {
  uint32_t calls = 0;
  static void hook(void* user, thimble_session* session, uint32_t n_shares) {
    ++static_cast<Backwards*>(user)->calls;
    thimble_share(session, n_shares);  // there is none
    for (uint32_t i = n_shares; i-- > 0;) thimble_share(session, i);
  }
};

// A second core with a mailbox of one word.
class SecondCore {
 public:
  SecondCore() : thread_([this] { run(); }) {}
  ~SecondCore() {
    is_over_ = true;
    thread_.join();
  }
  static void hook(void* user, thimble_session* session, uint32_t) {
    SecondCore& core = *static_cast<SecondCore*>(user);
    core.mailbox_.store(session, std::memory_order_release);
    thimble_share(session, 0);
    for (uint32_t looks = 1; core.mailbox_.load(std::memory_order_acquire); ++looks) rest(looks);
  }

 private:
  // The answer comes within microseconds, as long as a call of the system takes; but where a single
  // processor has both threads, one has to give way.
  static void rest(uint32_t looks) {
    if (looks % 4096 == 0) std::this_thread::yield();
  }
  void run() {
    for (uint32_t looks = 1; !is_over_; ++looks) {
      if (thimble_session* session = mailbox_.load(std::memory_order_acquire)) {
        thimble_share(session, 1);
        mailbox_.store(nullptr, std::memory_order_release);
      } else {
        rest(looks);
      }
    }
  }

  std::atomic<thimble_session*> mailbox_{nullptr};
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

struct Settings {
  const char* name;
  thimble_config config;
};

std::vector<Settings> all_settings() {
  std::vector<Settings> all(5);
  all[0].name = "as it is";
  all[1].name = "int8 cache, candidates";
  all[1].config.kv_type = THIMBLE_KV_Q8;
  all[1].config.n_candidates = 4;
  all[2].name = "batches";
  all[2].config.n_batch = 7;
  all[3].name = "drafts";
  all[3].config.n_draft = 3;
  all[4].name = "sinks, int8 cache";
  all[4].config.kv_type = THIMBLE_KV_Q8;
  all[4].config.n_ctx = 24;
  all[4].config.n_sinks = 3;
  return all;
}

uint64_t hash_shared(const thimble_model& model, thimble_config config, uint32_t n_shares,
                     thimble_share_hook hook, void* user, uint64_t budget) {
  config.n_shares = n_shares;
  config.share_work = 1;
  TestSession s(model, config);
  REQUIRE(thimble_on_shares(s, hook, user) == THIMBLE_OK);
  return hash_of_text(s, random_tokens(7, 41, model.vocab_size), 9, budget);
}

}  // namespace

TEST_CASE("shares: any number of them gives the same bits, with all settings, in slices") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types()) {
      for (Settings each : all_settings()) {
        if (each.config.n_sinks > 0 && named.shape.learned_positions) continue;
        const std::string name =
            std::string(named.name) + ", " + layout_name(layout) + ", " + each.name;
        CAPTURE(name);
        TinyModel m(named.shape, layout);
        TestSession alone(m.view, each.config);
        const uint64_t expected = hash_of_text(alone, random_tokens(7, 41, m.view.vocab_size), 9);
        for (uint32_t n : {1u, 2u, 3u, 16u}) {
          for (uint64_t budget : {uint64_t{0}, uint64_t{3000}}) {
            Backwards cores;
            CAPTURE(n);
            CHECK(hash_shared(m.view, each.config, n, Backwards::hook, &cores, budget) == expected);
            CHECK(cores.calls > 0);
          }
        }
      }
    }
  }
}

TEST_CASE("shares: a second thread") {
  SecondCore core;
  for (Settings each : all_settings()) {
    CAPTURE(each.name);
    TinyModel m(tiny_shapes()[3].shape, {});
    TestSession alone(m.view, each.config);
    const uint64_t expected = hash_of_text(alone, random_tokens(7, 41, m.view.vocab_size), 9);
    CHECK(hash_shared(m.view, each.config, 2, SecondCore::hook, &core, 0) == expected);
  }
}

TEST_CASE("shares: with an adapter, and under a rule") {
  TinyModel m(tiny_shapes()[0].shape, {}, true);
  TinyAdapter adapter(m.view, 5);
  TinyRule rule(m.view, "[a-f ]+");
  uint64_t hashes[2];
  for (uint32_t n_shares : {0u, 2u}) {
    thimble_config config = {};
    config.lora_rank = 5;
    config.rules = THIMBLE_RULES_TEXT;
    config.n_shares = n_shares;
    config.share_work = 1;
    TestSession s(m.view, config);
    Backwards cores;
    if (n_shares) REQUIRE(thimble_on_shares(s, Backwards::hook, &cores) == THIMBLE_OK);
    REQUIRE(thimble_session_lora(s, &adapter.view) == THIMBLE_OK);
    const int32_t prompt[] = {1, 30};
    feed_pieces(s, prompt, 2, 2);
    REQUIRE(thimble_session_constrain(s, &rule.view) == THIMBLE_OK);
    finish_pass(s);
    const thimble_sampling greedy = {};
    uint64_t hash = THIMBLE_HASH_START;
    for (int i = 0; i < 5; ++i) {
      hash = thimble_logits_hash(s, hash);
      const int32_t token = thimble_sample(s, &greedy);
      REQUIRE(token >= 0);
      REQUIRE(thimble_feed(s, &token, 1) == THIMBLE_OK);
      finish_pass(s);
    }
    hashes[n_shares / 2] = hash;
    CHECK((cores.calls > 0) == (n_shares > 0));
  }
  CHECK(hashes[0] == hashes[1]);
}

TEST_CASE("shares: self-tests, small work, and hooks that come and go") {
  TinyModel m(tiny_shapes()[0].shape, {}, true, 1, true);
  thimble_config config = {};
  config.n_shares = 2;
  config.share_work = 1;
  TestSession s(m.view, config);
  Backwards cores;
  CHECK(thimble_on_shares(s, Backwards::hook, &cores) == THIMBLE_OK);
  CHECK(thimble_self_test(s, 0, nullptr) == THIMBLE_OK);
  const uint32_t calls = cores.calls;
  CHECK(calls > 0);
  thimble_share(s, 0);  // nothing is being shared
  CHECK(thimble_on_shares(s, nullptr, nullptr) == THIMBLE_OK);
  CHECK(thimble_self_test(s, 0, nullptr) == THIMBLE_OK);
  CHECK(cores.calls == calls);

  config.share_work = 1u << 30;
  TestSession large(m.view, config);
  CHECK(thimble_on_shares(large, Backwards::hook, &cores) == THIMBLE_OK);
  CHECK(thimble_self_test(large, 0, nullptr) == THIMBLE_OK);
  CHECK(cores.calls == calls);
}

TEST_CASE("shares: what it costs, and refusals") {
  TinyModel m(tiny_shapes()[0].shape, {});
  thimble_config config = {};
  const size_t alone = thimble_session_bytes(&m.view, &config);
  TestSession without(m.view, config);
  CHECK(thimble_on_shares(without, Backwards::hook, nullptr) == THIMBLE_ERROR_CONFIG);
  CHECK(thimble_on_shares(without, nullptr, nullptr) == THIMBLE_OK);
  CHECK(thimble_on_shares(nullptr, nullptr, nullptr) == THIMBLE_ERROR_ARGUMENT);
  thimble_share(nullptr, 0);
  thimble_share(without, 0);
  config.n_shares = 16;
  CHECK(thimble_session_bytes(&m.view, &config) == alone + 64);
  config.rules = THIMBLE_RULES_TEXT;
  CHECK(thimble_session_bytes(&m.view, &config) == alone + 64 + 128);
  config.n_shares = 17;
  CHECK(thimble_session_bytes(&m.view, &config) == 0);
}

TEST_CASE("measure: what a second core gains" * doctest::skip()) {
  for (const char* shape : {"15M", "110M"}) {
    const tools::ImageInMemory built =
        tools::random_image(tools::parse_shape(shape), {kWeightQ8, 32, kLanes});
    thimble_model model;
    REQUIRE(thimble_model_open(&model, built.data(), built.bytes) == THIMBLE_OK);
    thimble_config config = {};
    config.n_ctx = 64;
    config.n_shares = 2;
    config.share_work = 100000;
    TestSession s(model, config);
    SecondCore core;
    double fastest[2] = {1e9, 1e9};
    for (int round = 0; round < 9; ++round) {
      for (int cores : {1, 2}) {
        REQUIRE(thimble_on_shares(s, cores == 2 ? SecondCore::hook : nullptr, &core) == THIMBLE_OK);
        REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
        const auto started = std::chrono::steady_clock::now();
        const std::vector<int32_t> tokens = random_tokens(3, 16, model.vocab_size);
        feed_pieces(s, tokens.data(), tokens.size(), 1);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
        fastest[cores - 1] = std::min(fastest[cores - 1], took.count() / 16);
      }
    }
    MESSAGE(std::string(shape) << ", int8: one core " << 1 / fastest[0] << " tokens/s, two "
                               << 1 / fastest[1] << ", " << fastest[0] / fastest[1] << " x");
  }
}
