// SPDX-License-Identifier: MIT
#include "odds.h"

#include "exact_math.h"
#include "parts.h"

#if THIMBLE_PACK
namespace thimble {
namespace {

constexpr uint32_t kFloorBits = 10, kEscapeBits = 11;

void set_total(Odds* odds, uint64_t sum) {
  odds->floor = (sum >> kFloorBits) / odds->n + 1;
  odds->total = sum + odds->floor * odds->n + (sum >> kEscapeBits) + 1;
}

}  // namespace

bool odds_of_logits(Odds* odds, const Kernels& kernels, const float* logits, uint32_t* of_token,
                    uint32_t n) {
  const float max = logits[kernels.argmax(logits, n)];
  if (bits_of(max) << 1 >= 0xff000000u) return false;
  kernels.odds(of_token, logits, n, max, 1.0f);
  uint64_t sum = 0;
  uint32_t i = 0;
  do sum += of_token[i];
  while (++i < n);
  odds->of_token = of_token;
  odds->n = n;
  set_total(odds, sum);
  return true;
}

void even_odds(Odds* odds, uint32_t* of_token, uint32_t n) {
  uint32_t i = 0;
  do of_token[i] = 1u << 12;
  while (++i < n);
  odds->of_token = of_token;
  odds->n = n;
  set_total(odds, uint64_t{n} << 12);
}

Share share_of(const Odds& odds, uint32_t symbol) {
  uint64_t first = odds.floor * symbol;
  for (uint32_t i = 0; i < symbol; ++i) first += odds.of_token[i];
  return {first, symbol < odds.n ? odds.of_token[symbol] + odds.floor : odds.total - first};
}

uint32_t symbol_at(const Odds& odds, uint64_t value, Share* share) {
  uint64_t first = 0;
  for (uint32_t i = 0; i < odds.n; ++i) {
    const uint64_t size = odds.of_token[i] + odds.floor;
    if (value - first < size) {
      *share = {first, size};
      return i;
    }
    first += size;
  }
  *share = {first, odds.total - first};
  return odds.n;
}

void start_bytes(ByteOdds* odds) {
  for (uint16_t& count : odds->of_byte) count = 1;
  odds->total = 256;
}

Share share_of_byte(const ByteOdds& odds, uint8_t byte) {
  uint64_t first = 0;
  for (uint32_t i = 0; i < byte; ++i) first += odds.of_byte[i];
  return {first, odds.of_byte[byte]};
}

uint8_t byte_at(const ByteOdds& odds, uint32_t value, Share* share) {
  uint32_t first = 0, byte = 0;
  for (; value - first >= odds.of_byte[byte]; ++byte) first += odds.of_byte[byte];
  *share = {first, odds.of_byte[byte]};
  return static_cast<uint8_t>(byte);
}

// What is long ago counts half.
void learn_byte(ByteOdds* odds, uint8_t byte) {
  constexpr uint32_t kStep = 8, kMost = 1u << 15;
  odds->of_byte[byte] = static_cast<uint16_t>(odds->of_byte[byte] + kStep);
  odds->total += kStep;
  if (odds->total <= kMost) return;
  odds->total = 0;
  for (uint16_t& count : odds->of_byte) {
    count = static_cast<uint16_t>((count + 1) / 2);
    odds->total += count;
  }
}

}  // namespace thimble
#endif
