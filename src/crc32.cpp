// SPDX-License-Identifier: MIT
#include "crc32.h"

namespace thimble {
namespace {

// A host, which reads files of a gigabyte, takes eight bytes at a time by 8 KiB of tables
// (Kounavis, Berry 2005); a microcontroller half a byte by 64 bytes of them.
#if defined(__x86_64__) || defined(__aarch64__)
constexpr bool kIsLarge = true;
#else
constexpr bool kIsLarge = false;
#endif
constexpr uint32_t kSlices = kIsLarge ? 8 : 1;
constexpr uint32_t kBits = kIsLarge ? 8 : 4, kEntries = 1u << kBits;

struct Tables {
  uint32_t entry[kSlices][kEntries];
};

constexpr Tables make_tables() {
  Tables t{};
  for (uint32_t i = 0; i < kEntries; ++i) {
    uint32_t crc = i;
    for (uint32_t bit = 0; bit < kBits; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0xedb88320u : 0u);
    t.entry[0][i] = crc;
  }
  for (uint32_t s = 1; s < kSlices; ++s) {
    for (uint32_t i = 0; i < kEntries; ++i) {
      const uint32_t before = t.entry[s - 1][i];
      t.entry[s][i] = (before >> 8) ^ t.entry[0][before & 255u];
    }
  }
  return t;
}

constexpr Tables kTables = make_tables();

uint32_t add_byte(uint32_t crc, uint32_t byte) {
  crc ^= byte;
  for (uint32_t bits = 0; bits < 8; bits += kBits) {
    crc = (crc >> kBits) ^ kTables.entry[0][crc & (kEntries - 1)];
  }
  return crc;
}

}  // namespace

uint32_t crc32(uint32_t crc, const void* data, size_t bytes) {
  const uint8_t* at = static_cast<const uint8_t*>(data);
  crc = ~crc;
  if (kIsLarge) {
    for (; bytes >= 8; bytes -= 8, at += 8) {
      const uint32_t low =
          crc ^ (static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
                 static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24);
      crc = 0;
      for (uint32_t i = 0; i < 4; ++i) {
        crc ^= kTables.entry[(7 - i) % kSlices][(low >> (8 * i)) % kEntries];
        crc ^= kTables.entry[(3 - i) % kSlices][at[4 + i] % kEntries];
      }
    }
  }
  for (; bytes > 0; --bytes, ++at) crc = add_byte(crc, *at);
  return ~crc;
}

}  // namespace thimble
