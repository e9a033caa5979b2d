// SPDX-License-Identifier: MIT
// On a machine of its own: fma, the square root and rounding are those of integers, which the
// host's tests compare with the C library's; and so are the chains of the table of kernels,
// whatever they are made of. Prints "numbers NAME: N cases equal", or the first case that differs.
#include <stddef.h>
#include <stdint.h>

#include "board.h"
#include "exact_math.h"
#include "kernels/kernels.h"

using namespace thimble;

namespace {

uint32_t g_state = 1;

uint32_t random_bits() {  // xorshift32 (Marsaglia 2003)
  g_state ^= g_state << 13;
  g_state ^= g_state >> 17;
  g_state ^= g_state << 5;
  return g_state;
}

// Every exponent, denormals, zeros, infinities and NaNs; few digits, so that ties arise.
float any_float() {
  const uint32_t bits = random_bits();
  switch (random_bits() % 12) {
    case 0:
      return float_of(bits & 0x807fffffu);
    case 1:
      return float_of((bits & 0x80000000u) | 0x3f800000u | (bits & 3u));
    case 2:
      return float_of((bits & 0x80ffffffu) | 0x3f000000u);
    case 3:
      return float_of(bits & 0x8ff00000u);
    case 4:
      return float_of(bits & 0x80000000u ? bits & 0x80000003u : bits | 0x7f7ffffcu);
    case 5:  // products with it end near the smallest normal number
      return float_of((bits & 0x80ffffffu) | 0x1f000000u);
    case 6:
    case 7:
      return float_of((bits & 0x83ff0000u) | 0x3c000000u);
    default:
      return float_of(bits);
  }
}

// An addend that a product meets: cancels with it, lies half a unit beside it, or far off.
float addend_for(float product) {
  const uint32_t bits = random_bits(), exponents = bits_of(product) & 0xff800000u;
  switch (bits % 4) {
    case 0:
      return float_of(bits_of(product) ^ 0x80000000u ^ (bits >> 30));
    case 1:
      return float_of(exponents + ((bits >> 8) % 100 << 23) - (50u << 23) + (bits >> 30));
    case 2:
      return any_float();
    default:
      return float_of((exponents ^ (bits & 0x80000000u)) + ((bits >> 8) % 30 << 23));
  }
}

void expect(const char* what, float found, float expected, float a, float b, float c) {
  if (bits_of(found) == bits_of(expected) || (found != found && expected != expected)) return;
  board_write("numbers: ");
  board_write(what);
  board_write(" of");
  const float operands[] = {a, b, c};
  for (float x : operands) {
    board_write(" 0x");
    board_write_hex(bits_of(x), 8);
  }
  board_write(": found 0x");
  board_write_hex(bits_of(found), 8);
  board_write(", expected 0x");
  board_write_hex(bits_of(expected), 8);
  board_write("\n");
  board_exit(1);
}

// Chains of two columns, the first times 1: fma(a, b, c) in each row of a tile.
void check_chains(const Kernels& kernels) {
  float weights[2 * kLanes], found[kLanes];
  const float x[2] = {1.0f, any_float()};
  for (uint32_t r = 0; r < kLanes; ++r) {
    weights[kLanes + r] = any_float();
    weights[r] = addend_for(weights[kLanes + r] * x[1]);
  }
  const Matrix m = {weights, nullptr, kLanes, 2, 2, kLanes, 0, 0, kWeightF32};
  kernels.matmul_f32(found, kLanes, m, 0, 1, x, 2, 1);
  for (uint32_t r = 0; r < kLanes; ++r) {
    const float first = fma_by_integers(weights[r], 1.0f, 0.0f);
    const float a = weights[kLanes + r];
    expect("a chain", found[r], fma_by_integers(a, x[1], first), a, x[1], first);
  }
}

}  // namespace

int main() {
  constexpr uint32_t kCases = 2000000;
  const Kernels& kernels = *kernels_at(0);
  for (uint32_t i = 0; i < kCases; ++i) {
    const float a = any_float(), b = any_float(), c = addend_for(a * b);
    expect("fma", exact_fma(a, b, c), fma_by_integers(a, b, c), a, b, c);
    expect("the square root", exact_sqrt(a), sqrt_by_digits(a), a, 0.0f, 0.0f);
    if (i % kLanes == 0) check_chains(kernels);
    const float size = float_of(bits_of(a) & 0x7fffffffu);
    if (size < 65536.0f) {  // ties, too
      const float half = static_cast<float>(static_cast<int32_t>(size * 4.0f)) * 0.5f;
      const int32_t whole = static_cast<int32_t>(half), odd = whole & 1;
      const float rest = half - static_cast<float>(whole);
      const int32_t expected = whole + (rest > 0.25f ? odd : 0);
      expect("the nearest whole number", static_cast<float>(round_to_even(half)),
             static_cast<float>(expected), half, 0.0f, 0.0f);
    }
  }
  board_write("numbers ");
  board_write(kernels.name);
  board_write(": ");
  board_write_number(kCases);
  board_write(" cases equal\n");
  return 0;
}
