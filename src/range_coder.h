// SPDX-License-Identifier: MIT
// Arithmetic coding in integers (Rissanen, Langdon 1979; byte by byte as a range coder: Martin
// 1979). The message is a number in [0, 1), of which a range is kept in 64 bits: totals may be up
// to 2^51. It ends with as few bytes as name a number within the range, zeros understood behind
// them; a decoder takes these bytes and no others.
#ifndef THIMBLE_SRC_RANGE_CODER_H
#define THIMBLE_SRC_RANGE_CODER_H

#include <stddef.h>
#include <stdint.h>

#include "odds.h"

namespace thimble {

// Bytes of 255 wait behind `held`, since a carry may still come to them. What is settled is ready,
// and has to be taken before the next call.
struct RangeEncoder {
  uint64_t low, range;
  uint32_t n_waiting;
  uint32_t n_ready_run;  // behind `ready`, of `ready_run`
  uint8_t held, ready, ready_run;
  bool has_held, has_ready;
};

void encoder_start(RangeEncoder* e);

// Narrows the range to a share of a total, 1 to 2^51.
void encode_share(RangeEncoder* e, Share share, uint64_t total);

// Whether a byte has to be shifted out before the next share, which encoder_shift does.
inline bool encoder_is_narrow(const RangeEncoder& e) {
  return e.range < uint64_t{1} << 56;
}
void encoder_shift(RangeEncoder* e);

// Chooses the message's last bytes. Returns how many times encoder_shift is to be called for them,
// then encoder_release once.
uint32_t encoder_end(RangeEncoder* e);
void encoder_release(RangeEncoder* e);

// Moves what is ready to `out`; returns how many bytes. All is taken when has_ready is false.
size_t encoder_take(RangeEncoder* e, uint8_t* out, size_t capacity);

// Behind the end of its bytes a decoder reads zeros.
struct RangeDecoder {
  uint64_t low, range, offset;  // low as the encoder's, the message is low + offset
  const uint8_t* bytes;
  size_t n, at;
};

void decoder_start(RangeDecoder* d, const uint8_t* bytes, size_t n);

// The place within `total` that the message is at. `total` and above: no encoder wrote this.
uint64_t decoded_value(const RangeDecoder& d, uint64_t total);

// Goes on behind the share that the value was in.
void decode_share(RangeDecoder* d, Share share, uint64_t total);

// Bytes that the encoder had at least written by now.
inline size_t decoder_used(const RangeDecoder& d) {
  return d.at - sizeof(uint64_t);
}

// How many bytes the message has if it ends here, and whether they are those of an encoder.
size_t decoder_end(const RangeDecoder& d, bool* is_exact);

}  // namespace thimble

#endif
