// SPDX-License-Identifier: MIT
// A second core helps: two_cores MODEL [ROUNDS [WORK]]
// The same text on one core and on two, a thread in the second one's place, with the same bits; and
// what that gains: tokens a second of the fastest of so many rounds, one core and two in turn. WORK
// is what is worth handing over (thimble_config.share_work): for threads, 100000 and above.
// On a chip the mailbox is its own: the FIFO between RP2040's cores, a notification on an ESP32-S3.
#include <stdio.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "thimble/thimble.hpp"

// What the second core runs, and how the first one reaches it: a word that is the session while
// there is a share to compute.
struct SecondCore {
  std::atomic<thimble_session*> mailbox{nullptr};
  std::atomic<bool> is_over{false};

  void run() {
    while (!is_over) {
      if (thimble_session* session = mailbox.load(std::memory_order_acquire)) {
        thimble_share(session, 1);
        mailbox.store(nullptr, std::memory_order_release);
      } else {
        std::this_thread::yield();  // a chip waits for an event
      }
    }
  }

  // The hook: the first core's half of it.
  static void help(void* user, thimble_session* session, uint32_t) {
    std::atomic<thimble_session*>& mailbox = static_cast<SecondCore*>(user)->mailbox;
    mailbox.store(session, std::memory_order_release);
    thimble_share(session, 0);
    while (mailbox.load(std::memory_order_acquire)) std::this_thread::yield();
  }
};

struct Told {
  uint64_t hash;
  double tokens_a_second;
};

// 64 greedy tokens behind the first one.
static Told tell(thimble::Session& session) {
  int32_t token = 1;
  Told told = {THIMBLE_HASH_START, 0};
  const auto started = std::chrono::steady_clock::now();
  uint32_t n = 0;
  for (; n < 64; ++n) {
    if (!session.feed(token)) break;
    while (session.step(1000000).is_more()) {
      // slices work as ever
    }
    told.hash = session.logits_hash(told.hash);
    const auto next = session.sample();
    if (!next) break;
    token = *next;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  told.tokens_a_second = n / took.count();
  if (!session.rewind()) told.hash = 0;
  return told;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: two_cores MODEL [ROUNDS [WORK]]\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) {
    fprintf(stderr, "two_cores: %s: cannot be read\n", argv[1]);
    return 1;
  }
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const thimble::Memory image(bytes.size() + 1);
  for (size_t i = 0; i < bytes.size(); ++i) image.data()[i] = static_cast<uint8_t>(bytes[i]);
  thimble::Model model;
  thimble::Config config;
  config.n_shares = 2;
  config.share_work = argc > 3 ? static_cast<uint32_t>(atoi(argv[3])) : 0;
  thimble::Session session;
  thimble::Status status = model.open({image.data(), bytes.size()});
  const thimble::Memory arena(thimble::session_bytes(model, config));
  if (status) status = session.init(model, config, arena);
  if (!status) {
    fprintf(stderr, "two_cores: %s: %s\n", argv[1], status.text());
    return 1;
  }

  SecondCore second;
  std::thread thread([&] { second.run(); });
  double best[2] = {0, 0};
  uint64_t hash = 0;
  bool are_equal = true;
  for (int round = 0; round < (argc > 2 ? atoi(argv[2]) : 1); ++round) {
    for (int cores : {1, 2}) {
      thimble_on_shares(session.get(), cores == 2 ? SecondCore::help : nullptr, &second);
      const Told told = tell(session);
      if (hash == 0) hash = told.hash;
      are_equal = are_equal && told.hash == hash;
      if (told.tokens_a_second > best[cores - 1]) best[cores - 1] = told.tokens_a_second;
    }
  }
  second.is_over = true;
  thread.join();
  printf("one core   %.0f tokens/s\ntwo cores  %.0f tokens/s, %.2f x\n", best[0], best[1],
         best[1] / best[0]);
  printf("%s 0x%016llx\n", are_equal ? "the same bits" : "DIFFERENT BITS",
         static_cast<unsigned long long>(hash));
  return are_equal ? 0 : 1;
}
