// SPDX-License-Identifier: MIT
// Bump allocator over the caller's block. With a null base it only counts, so that the byte count
// and the layout cannot disagree.
#ifndef THIMBLE_SRC_ARENA_H
#define THIMBLE_SRC_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "thimble/thimble.h"

namespace thimble {

class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<uint8_t*>(base)), used_(0) {}

  // Room for `count` objects, aligned to THIMBLE_ALIGNMENT; null while only counting.
  template <class T>
  T* take(uint64_t count) {
    return reinterpret_cast<T*>(take_bytes(count * sizeof(T)));
  }

  uint64_t used() const { return used_; }

 private:
  // Not inlined: there are many parts, and 64-bit arithmetic is long on a 32-bit core.
  [[gnu::noinline]] uint8_t* take_bytes(uint64_t bytes) {
    uint8_t* at = base_ ? base_ + used_ : nullptr;
    used_ += round_up(bytes, THIMBLE_ALIGNMENT);
    return at;
  }

  uint8_t* base_;
  uint64_t used_;
};

}  // namespace thimble

#endif
