// SPDX-License-Identifier: MIT
// Weights on their way from a store: a buffer of two halves, of which one is used while the other
// is filled. A half holds a run of tiles of one matrix, data and scales, as they lie in the file.
#ifndef THIMBLE_SRC_STREAM_H
#define THIMBLE_SRC_STREAM_H

#include "arena.h"
#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

// What the structure takes of the arena, the same on every chip (as kSessionBytes).
constexpr uint32_t kStreamBytes = 192;

struct StreamHalf {
  uint8_t* memory;
  size_t at, end;  // where the tiles' data is in the file; equal: nowhere
  const uint8_t* data;
  const uint16_t* scales;  // null of float32
  bool is_coming;          // the store was asked and not waited for
  bool has_failed;
};

struct Stream {
  thimble_store store;
  StreamHalf halves[2];
  size_t half_bytes;
  size_t layer_bytes;  // from a matrix to that of the next layer, in the file
  uint32_t current;    // the half in use; only the other one may be coming
  uint32_t done;       // units of the stage that were complete when a read failed
  bool has_failed;     // within the stage
};
static_assert(sizeof(Stream) <= kStreamBytes, "the structure has a fixed place");

// The least buffer of a model: two of the largest tiles.
uint64_t stream_least_bytes(const thimble_model& model);

// With a buffer of `bytes`, a multiple of two blocks; null while the arena only counts.
Stream* stream_take(Arena* arena, const thimble_model& model, const thimble_store& store,
                    size_t bytes);

// The matrix of a layer, given that of layer 0.
inline Matrix stored_layer(Matrix m, const Stream& stream, uint32_t layer) {
  m.data = static_cast<const uint8_t*>(m.data) + layer * stream.layer_bytes;
  if (m.scales) m.scales += layer * (stream.layer_bytes / sizeof(uint16_t));
  return m;
}

// Tiles of `m` from `first` on, read if they are not there, as many as there are in one piece, up
// to tile `end` of it if they are read for this; *part is a matrix of them. 0: a read failed, and
// stream->has_failed says so. They stay until the next call.
uint32_t stream_tiles(Stream* stream, const Matrix& m, uint32_t first, uint32_t end, Matrix* part);

// Asks for tiles that will be wanted next, up to `end`, and does not wait for them.
void stream_ahead(Stream* stream, const Matrix& m, uint32_t first, uint32_t end);

// Waits for what was asked for: between two calls of the engine no read is under way.
void stream_settle(Stream* stream);

}  // namespace thimble

#endif
