// SPDX-License-Identifier: MIT
// The model's odds as integers that a coder can share its range by: cumulative frequencies of all
// tokens, the same on every chip.
#ifndef THIMBLE_SRC_ODDS_H
#define THIMBLE_SRC_ODDS_H

#include <stdint.h>

#include "kernels/kernels.h"

namespace thimble {

// Symbols are the n tokens in the order of their ids, and behind them the escape. A token has its
// odds and `floor`, 2^-10 of all odds spread evenly, so that none is impossible and the least
// likely one costs 10 + log2(n) bits; the escape has 2^-11 of them. Both together cost each token
// 0.002 bits.
struct Odds {
  uint32_t* of_token;  // (n), 0 to 2^31
  uint32_t n;          // 1 to kMaxVocab, 2^20
  uint64_t floor;
  uint64_t total;  // of all symbols, below 2^51
};

// Part of a total.
struct Share {
  uint64_t first, size;
};

// Takes the softmax of the logits (n) as odds to of_token (n). False: the largest logit is not
// finite, and there are none.
bool odds_of_logits(Odds* odds, const Kernels& kernels, const float* logits, uint32_t* of_token,
                    uint32_t n);

// Where there are no logits: all tokens alike.
void even_odds(Odds* odds, uint32_t* of_token, uint32_t n);

// The share of a symbol; the escape is symbol n.
Share share_of(const Odds& odds, uint32_t symbol);

// The symbol whose share `value` is in, which is below the total, and that share.
uint32_t symbol_at(const Odds& odds, uint64_t value, Share* share);

// Odds of bytes that no model knows, learnt from those before them.
struct ByteOdds {
  uint16_t of_byte[256];
  uint32_t total;
};

void start_bytes(ByteOdds* odds);
Share share_of_byte(const ByteOdds& odds, uint8_t byte);
uint8_t byte_at(const ByteOdds& odds, uint32_t value, Share* share);
void learn_byte(ByteOdds* odds, uint8_t byte);

}  // namespace thimble

#endif
