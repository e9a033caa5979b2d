// SPDX-License-Identifier: MIT
#include "stream.h"

#include "parts.h"
#include "stored_model.h"

#if THIMBLE_STREAM
namespace thimble {
namespace {

struct TileBytes {
  size_t data, scales;
};

TileBytes tile_bytes(const Matrix& m) {
  return {weight_bytes(m.type, size_t{m.padded_cols} * m.row_tile),
          m.scales ? size_t{m.n_groups} * m.row_tile * sizeof(uint16_t) : 0};
}

// What the first and the last block may hold beside a run of pieces of that size.
size_t beside(size_t piece) {
  return piece % kStoreBlock ? 2 * kStoreBlock : 0;
}
size_t beside(const TileBytes& tile) {
  return beside(tile.data) + beside(tile.scales);
}

// The blocks around [at, end).
struct Blocks {
  size_t at, bytes;
};
Blocks blocks_around(size_t at, size_t end) {
  const size_t first = at / kStoreBlock * kStoreBlock;
  return {first, static_cast<size_t>(round_up(end - first, kStoreBlock))};
}

bool holds(const StreamHalf& half, size_t at) {
  return at >= half.at && at < half.end;
}

size_t place_of(const Matrix& m, const TileBytes& tile, uint32_t first) {
  return reinterpret_cast<uintptr_t>(m.data) + first * tile.data;
}

// Scales come first: they are short, so a driver that has one read at a time waits for them only.
void ask(const Stream& stream, StreamHalf* half, const Matrix& m, uint32_t first, uint32_t end) {
  const TileBytes tile = tile_bytes(m);
  const size_t fit = (stream.half_bytes - beside(tile)) / (tile.data + tile.scales);
  const size_t n = end - first < fit ? end - first : fit;
  const thimble_store& store = stream.store;
  half->at = place_of(m, tile, first);
  half->end = half->at + n * tile.data;
  half->is_coming = true;
  half->scales = nullptr;
  const Blocks data = blocks_around(half->at, half->end);
  bool has_begun = true;
  if (m.scales) {
    const size_t at = reinterpret_cast<uintptr_t>(m.scales) + first * tile.scales;
    const Blocks scales = blocks_around(at, at + n * tile.scales);
    uint8_t* to = half->memory + data.bytes;
    half->scales = reinterpret_cast<const uint16_t*>(to + (at - scales.at));
    has_begun = store.read(store.user, scales.at, to, scales.bytes) == 0;
  }
  half->data = half->memory + (half->at - data.at);
  half->has_failed = !has_begun || store.read(store.user, data.at, half->memory, data.bytes) != 0;
}

void settle(const Stream& stream, StreamHalf* half) {
  if (!half->is_coming) return;
  half->is_coming = false;
  if (stream.store.wait && stream.store.wait(stream.store.user) != 0) half->has_failed = true;
}

}  // namespace

uint64_t stream_least_bytes(const thimble_model& model) {
  uint64_t largest = 0;
  const FileHeader& h = header_of(model);
  const SectionEntry* e = reinterpret_cast<const SectionEntry*>(&h + 1);
  for (const SectionEntry* end = e + h.n_sections; e != end; ++e) {
    if (!is_matrix_section(e->kind)) continue;
    const TileBytes tile = tile_bytes(matrix_of(model, static_cast<SectionKind>(e->kind)));
    const uint64_t bytes = round_up(tile.data + tile.scales + beside(tile), kStoreBlock);
    largest = bytes > largest ? bytes : largest;
  }
  return 2 * largest;
}

Stream* stream_take(Arena* arena, const thimble_model& model, const thimble_store& store,
                    size_t bytes) {
  Stream* stream = reinterpret_cast<Stream*>(arena->take<uint8_t>(kStreamBytes));
  uint8_t* buffer = arena->take<uint8_t>(bytes);
  if (!stream) return nullptr;
  *stream = {};
  stream->store = store;
  stream->half_bytes = bytes / 2;
  stream->halves[0].memory = buffer;
  stream->halves[1].memory = buffer + stream->half_bytes;
  if (model.n_layers > 1) {
    stream->layer_bytes = static_cast<size_t>(section_of(model, kAttentionQkv, 1).offset -
                                              section_of(model, kAttentionQkv, 0).offset);
  }
  return stream;
}

uint32_t stream_tiles(Stream* stream, const Matrix& m, uint32_t first, uint32_t end, Matrix* part) {
  const TileBytes tile = tile_bytes(m);
  const size_t at = place_of(m, tile, first);
  if (holds(stream->halves[1 - stream->current], at)) stream->current = 1 - stream->current;
  StreamHalf* half = &stream->halves[stream->current];
  if (!holds(*half, at)) {
    settle(*stream, &stream->halves[1 - stream->current]);  // whose failure would be its own
    ask(*stream, half, m, first, end);
  }
  settle(*stream, half);
  if (half->has_failed) {
    half->at = half->end = 0;
    half->has_failed = false;
    stream->has_failed = true;
    return 0;
  }
  const size_t before = (at - half->at) / tile.data;
  *part = tiles_from(m, first);
  part->data = half->data + before * tile.data;
  if (m.scales) part->scales = half->scales + before * (tile.scales / sizeof(uint16_t));
  return static_cast<uint32_t>((half->end - at) / tile.data);
}

void stream_ahead(Stream* stream, const Matrix& m, uint32_t first, uint32_t end) {
  if (first >= end) return;
  const size_t at = place_of(m, tile_bytes(m), first);
  StreamHalf* other = &stream->halves[1 - stream->current];
  if (holds(*other, at) || holds(stream->halves[stream->current], at)) return;
  settle(*stream, other);
  ask(*stream, other, m, first, end);
}

void stream_settle(Stream* stream) {
  for (StreamHalf& half : stream->halves) settle(*stream, &half);
}

}  // namespace thimble
#endif
