// SPDX-License-Identifier: MIT
#include "shares.h"

#if THIMBLE_SHARES
namespace thimble {

bool is_shared(const thimble_session* s, uint32_t units, uint64_t cost) {
  if (!s->has_share_room) return false;
  const Shares& all = shares_of(s);
  return all.hook && units > 1 && units * cost >= all.least;
}

void run_shared(const thimble_session* s, RunUnits run, const void* work, uint32_t begin,
                uint32_t end) {
  Shares& all = shares_of(s);
  all.run = run;
  all.work = work;
  all.begin = begin;
  all.end = end;
  all.hook(all.user, const_cast<thimble_session*>(s), all.n);
  all.run = nullptr;
}

}  // namespace thimble
#endif
