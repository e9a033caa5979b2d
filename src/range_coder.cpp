// SPDX-License-Identifier: MIT
#include "range_coder.h"

#include "parts.h"

#if THIMBLE_PACK
namespace thimble {
namespace {

constexpr uint32_t kTopShift = 56;

// The fewest bytes, 0 to 8, that name a number from `low` on within `range`; *ahead is how far
// behind low it is.
uint32_t ending(uint64_t low, uint64_t range, uint64_t* ahead) {
  for (uint32_t n = 0; n < 8; ++n) {
    const uint64_t rest = ~uint64_t{0} >> (8 * n);
    *ahead = ((low + rest) & ~rest) - low;
    if (*ahead < range) return n;
  }
  *ahead = 0;
  return 8;
}

void make_ready(RangeEncoder* e, uint8_t byte, uint32_t n_run, uint8_t run) {
  e->ready = byte;
  e->has_ready = true;
  e->n_ready_run = n_run;
  e->ready_run = run;
}

// A number below 1 never carries into the byte before its first.
void add(RangeEncoder* e, uint64_t amount) {
  e->low += amount;
  if (e->low >= amount) return;
  ++e->held;
  if (e->n_waiting == 0) return;
  make_ready(e, e->held, e->n_waiting - 1, 0);
  e->held = 0;
  e->n_waiting = 0;
}

uint8_t next_byte(RangeDecoder* d) {
  const size_t at = d->at++;
  return at < d->n ? d->bytes[at] : 0;
}

}  // namespace

void encoder_start(RangeEncoder* e) {
  *e = {};
  e->range = UINT64_MAX;
}

void encode_share(RangeEncoder* e, Share share, uint64_t total) {
  const uint64_t unit = e->range / total;
  e->range = unit * share.size;
  add(e, unit * share.first);
}

void encoder_shift(RangeEncoder* e) {
  const uint8_t top = static_cast<uint8_t>(e->low >> kTopShift);
  if (e->has_held && top == 255) {
    ++e->n_waiting;
  } else {
    encoder_release(e);
    e->held = top;
    e->has_held = true;
  }
  e->low <<= 8;
  e->range <<= 8;
}

uint32_t encoder_end(RangeEncoder* e) {
  uint64_t ahead;
  const uint32_t n = ending(e->low, e->range, &ahead);
  add(e, ahead);
  return n;
}

void encoder_release(RangeEncoder* e) {
  if (!e->has_held) return;
  make_ready(e, e->held, e->n_waiting, 255);
  e->n_waiting = 0;
  e->has_held = false;
}

size_t encoder_take(RangeEncoder* e, uint8_t* out, size_t capacity) {
  size_t n = 0;
  while (e->has_ready && n < capacity) {
    out[n++] = e->ready;
    e->ready = e->ready_run;
    e->has_ready = e->n_ready_run > 0;
    if (e->has_ready) --e->n_ready_run;
  }
  return n;
}

void decoder_start(RangeDecoder* d, const uint8_t* bytes, size_t n) {
  *d = {0, UINT64_MAX, 0, bytes, n, 0};
  while (d->at < sizeof d->offset) d->offset = d->offset << 8 | next_byte(d);
}

uint64_t decoded_value(const RangeDecoder& d, uint64_t total) {
  return d.offset / (d.range / total);
}

void decode_share(RangeDecoder* d, Share share, uint64_t total) {
  const uint64_t unit = d->range / total;
  d->low += unit * share.first;
  d->offset -= unit * share.first;
  d->range = unit * share.size;
  while (d->range < uint64_t{1} << kTopShift) {
    d->low <<= 8;
    d->range <<= 8;
    d->offset = d->offset << 8 | next_byte(d);
  }
}

size_t decoder_end(const RangeDecoder& d, bool* is_exact) {
  uint64_t ahead;
  const uint32_t n = ending(d.low, d.range, &ahead);
  *is_exact = d.offset == ahead;
  return decoder_used(d) + n;
}

}  // namespace thimble
#endif
