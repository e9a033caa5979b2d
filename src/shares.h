// SPDX-License-Identifier: MIT
// Work that goes to several cores, of a session that has room for it (thimble_config.n_shares). The
// engine knows neither cores nor locks: who runs which share when is the hook's.
#ifndef THIMBLE_SRC_SHARES_H
#define THIMBLE_SRC_SHARES_H

#include "session.h"

namespace thimble {

constexpr uint32_t kMaxShares = 16;
constexpr uint32_t kShareWork = 2048;  // multiply-accumulates that are worth sharing, by default

// What it takes of the arena, the same on every chip (as kSessionBytes).
constexpr uint32_t kSharesBytes = 64;

// Units [begin, end) of some work, none of which writes what another one reads or writes.
using RunUnits = void (*)(thimble_session* s, const void* work, uint32_t begin, uint32_t end);

struct Shares {
  thimble_share_hook hook;  // null: there is no other core at the moment
  void* user;
  RunUnits run;  // null: nothing is being shared
  const void* work;
  uint32_t begin, end;
  uint32_t n, least;
};
static_assert(sizeof(Shares) <= kSharesBytes, "the structure has a fixed place");

// Only of sessions that have room for it; behind that of a rule.
inline Shares& shares_of(const thimble_session* s) {
  uint8_t* at = reinterpret_cast<uint8_t*>(const_cast<thimble_session*>(s)) + kSessionBytes;
  return *reinterpret_cast<Shares*>(at + (THIMBLE_RULES && s->rules ? kRuleBytes : 0));
}

// Whether so many units, of so many multiply-accumulates each, should go to several cores.
bool is_shared(const thimble_session* s, uint32_t units, uint64_t cost);

// Has them run, all, by whoever the hook asks.
void run_shared(const thimble_session* s, RunUnits run, const void* work, uint32_t begin,
                uint32_t end);

}  // namespace thimble

#endif
