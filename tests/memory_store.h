// SPDX-License-Identifier: MIT
// A store in memory that behaves as a slow one with DMA does: what was asked for is not there until
// it is waited for. It counts, and fails where it is told to. Models opened on it.
#ifndef THIMBLE_TESTS_MEMORY_STORE_H
#define THIMBLE_TESTS_MEMORY_STORE_H

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "thimble/thimble.h"
#include "tiny_model.h"

namespace thimble::test {

class MemoryStore {
 public:
  MemoryStore(const uint8_t* file, size_t file_bytes) : file_(file) {
    view.read = [](void* user, uint64_t offset, void* to, size_t n) {
      return static_cast<MemoryStore*>(user)->read(offset, to, n);
    };
    view.wait = [](void* user) { return static_cast<MemoryStore*>(user)->wait(); };
    view.user = this;
    view.bytes = file_bytes;
  }
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  thimble_store view{};
  uint64_t reads = 0, bytes = 0;
  uint64_t fails_at = 0;       // the number of the read that fails, from 1 on
  bool fails_in_wait = false;  // and then, not when it is asked for
  bool gives_noise = false;    // what comes is not the file's
  std::vector<uint64_t> offsets;
  size_t pending() const { return pending_.size(); }

 private:
  struct Read {
    uint64_t offset;
    void* to;
    size_t n;
    bool fails;
  };

  // What thimble.h promises to stores.
  static void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
  }

  int read(uint64_t offset, void* to, size_t n) {
    require(offset % 64 == 0 && n % 64 == 0, "a read is of whole blocks");
    require(reinterpret_cast<uintptr_t>(to) % 64 == 0, "to an aligned address");
    require(offset <= view.bytes && n <= view.bytes - offset, "within the file");
    require(pending_.size() < 2, "two reads at a time");
    require(pending_.empty() || pending_[0].n <= n || n < 512, "the short one first");
    ++reads;
    bytes += n;
    offsets.push_back(offset);
    std::memset(to, 0xa5, n);
    const bool fails = reads == fails_at;
    if (fails && !fails_in_wait) return -1;
    pending_.push_back({offset, to, n, fails});
    if (view.wait) return 0;
    return wait();
  }

  int wait() {
    int status = 0;
    for (const Read& r : pending_) {
      if (r.fails) {
        status = -5;
        continue;
      }
      if (!gives_noise) {
        std::memcpy(r.to, file_ + r.offset, r.n);
        continue;
      }
      for (size_t i = 0; i < r.n; ++i) {
        static_cast<uint8_t*>(r.to)[i] = static_cast<uint8_t>(random_.below(256));
      }
    }
    pending_.clear();
    return status;
  }

  const uint8_t* file_;
  std::vector<Read> pending_;
  Random random_{11};
};

// The tables of a model's file, as a device reads them: exactly as long as it has to be.
inline AlignedBlock tables_of(const thimble_store& store) {
  size_t bytes = 0;
  expect_ok(thimble_tables_bytes(&store, &bytes, nullptr), "thimble_tables_bytes");
  AlignedBlock tables(bytes, 0xff);
  expect_ok(thimble_tables_read(&store, tables.data(), tables.size(), nullptr),
            "thimble_tables_read");
  return tables;
}

struct StreamedModel {
  explicit StreamedModel(const thimble_model& mapped)
      : StreamedModel(mapped.image, mapped.image_bytes) {}
  StreamedModel(const uint8_t* image, size_t bytes)
      : store(image, bytes), tables(tables_of(store.view)) {
    const thimble_status status =
        thimble_model_open_streamed(&view, &store.view, tables.data(), tables.size());
    if (status != THIMBLE_OK) {
      throw std::runtime_error(std::string("streamed model: ") + thimble_status_text(status) +
                               ": " + (view.fault.what ? view.fault.what : "?"));
    }
  }
  // The same session on it.
  thimble_config config(thimble_config of, size_t buffer_bytes = 0) {
    store.view.buffer_bytes = buffer_bytes;
    of.store = &store.view;
    return of;
  }

  MemoryStore store;
  AlignedBlock tables;
  thimble_model view{};
};

}  // namespace thimble::test

#endif
