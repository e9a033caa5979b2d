// SPDX-License-Identifier: MIT
// A store of any content: refused as a mapped file would be, or sessions run within their bounds on
// whatever it gives. The first byte says which read fails and whether checksums are made right.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "crc32.h"
#include "format.h"
#include "memory_store.h"

using namespace thimble;
using namespace thimble::test;

namespace {

void seal(AlignedBlock* file) {
  FileHeader h;
  if (file->size() < sizeof h) return;
  std::memcpy(&h, file->data(), sizeof h);
  if (h.header_bytes < sizeof h || h.header_bytes > file->size()) return;
  h.header_crc = 0;
  std::memcpy(file->data(), &h, sizeof h);
  h.header_crc = crc32(0, file->data(), h.header_bytes);
  std::memcpy(file->data(), &h, sizeof h);
}

void run(MemoryStore* store, const AlignedBlock& tables) {
  thimble_model model;
  if (thimble_model_open_streamed(&model, &store->view, tables.data(), tables.size()) !=
      THIMBLE_OK) {
    return;
  }
  thimble_config config{};
  config.n_ctx = std::min(model.n_ctx, 4u);
  config.store = &store->view;
  const size_t bytes = thimble_session_bytes(&model, &config);
  if (bytes == 0 || bytes > (size_t{1} << 26)) return;
  const TestSession session(model, config);
  const int32_t token = 0;
  if (thimble_feed(session, &token, 1) != THIMBLE_OK) std::abort();
  for (int i = 0; i < 3 && thimble_step(session, 0) == THIMBLE_ERROR_READ; ++i) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes < 2) return 0;
  AlignedBlock file(data + 1, bytes - 1);
  if (data[0] & 1) seal(&file);
  MemoryStore store(file.data(), file.size());
  store.fails_at = data[0] & 2 ? data[0] >> 2 : 0;
  store.fails_in_wait = (data[0] & 4) != 0;
  size_t needed = 0;
  const thimble_status sized = thimble_tables_bytes(&store.view, &needed, nullptr);
  if (sized == THIMBLE_OK && needed <= file.size()) {
    AlignedBlock tables(needed);
    if (thimble_tables_read(&store.view, tables.data(), needed, nullptr) == THIMBLE_OK) {
      run(&store, tables);
    }
  }
  run(&store, file);  // as tables that are linked in
  return 0;
}
