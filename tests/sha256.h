// SPDX-License-Identifier: MIT
// SHA-256 (FIPS 180-4), for golden files that say what bytes are to be.
#ifndef THIMBLE_TESTS_SHA256_H
#define THIMBLE_TESTS_SHA256_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace thimble::test {

// The first bits behind the point of roots of the first 64 primes, as the standard defines its
// constants: cube roots for the rounds, square roots of the first eight to start from.
struct Sha256Constants {
  uint32_t rounds[64], start[8];
  Sha256Constants() {
    int n = 0;
    for (uint64_t p = 2; n < 64; ++p) {
      bool prime = true;
      for (uint64_t d = 2; d * d <= p; ++d) prime = prime && p % d != 0;
      if (!prime) continue;
      const long double root = std::cbrt(static_cast<long double>(p));
      rounds[n] = fraction(root);
      if (n < 8) start[n] = fraction(std::sqrt(static_cast<long double>(p)));
      ++n;
    }
  }
  static uint32_t fraction(long double x) {
    return static_cast<uint32_t>((x - std::floor(x)) * 4294967296.0L);
  }
};

inline std::string sha256(const void* data, size_t bytes) {
  static const Sha256Constants constants;
  const auto rotate = [](uint32_t x, int n) { return x >> n | x << (32 - n); };
  std::vector<uint8_t> text(static_cast<const uint8_t*>(data),
                            static_cast<const uint8_t*>(data) + bytes);
  text.push_back(0x80);
  while (text.size() % 64 != 56) text.push_back(0);
  for (int i = 7; i >= 0; --i) {
    text.push_back(static_cast<uint8_t>(static_cast<uint64_t>(bytes) * 8 >> 8 * i));
  }
  uint32_t h[8];
  std::memcpy(h, constants.start, sizeof h);
  for (size_t at = 0; at < text.size(); at += 64) {
    uint32_t w[64];
    for (size_t i = 0; i < 16; ++i) {
      const uint8_t* p = &text[at + 4 * i];
      w[i] = static_cast<uint32_t>(p[0]) << 24 | static_cast<uint32_t>(p[1]) << 16 |
             static_cast<uint32_t>(p[2]) << 8 | static_cast<uint32_t>(p[3]);
    }
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
             (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    uint32_t v[8];
    std::memcpy(v, h, sizeof v);
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t e = v[4], a = v[0];
      const uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                          ((e & v[5]) ^ (~e & v[6])) + constants.rounds[i] + w[i];
      const uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                          ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
      std::memmove(v + 1, v, 7 * sizeof v[0]);
      v[4] += t1;
      v[0] = t1 + t2;
    }
    for (size_t i = 0; i < 8; ++i) h[i] += v[i];
  }
  std::string hex;
  for (const uint32_t word : h) {
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  }
  return hex;
}

}  // namespace thimble::test

#endif
