// SPDX-License-Identifier: MIT
#include "crc32.h"

namespace thimble {
namespace {

// Tables for `kSlices` bytes at a time (Kounavis, Berry 2005). A microcontroller keeps 1 KiB of
// them; a host, which reads files of a gigabyte, 8 KiB.
#if defined(__x86_64__) || defined(__aarch64__)
constexpr uint32_t kSlices = 8;
#else
constexpr uint32_t kSlices = 1;
#endif

struct Tables {
  uint32_t entry[kSlices][256];
};

constexpr Tables make_tables() {
  Tables t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0xedb88320u : 0u);
    t.entry[0][i] = crc;
  }
  for (uint32_t s = 1; s < kSlices; ++s) {
    for (uint32_t i = 0; i < 256; ++i) {
      const uint32_t before = t.entry[s - 1][i];
      t.entry[s][i] = (before >> 8) ^ t.entry[0][before & 255u];
    }
  }
  return t;
}

constexpr Tables kTables = make_tables();

}  // namespace

uint32_t crc32(uint32_t crc, const void* data, size_t bytes) {
  const uint8_t* at = static_cast<const uint8_t*>(data);
  crc = ~crc;
  if (kSlices == 8) {
    for (; bytes >= 8; bytes -= 8, at += 8) {
      const uint32_t low =
          crc ^ (static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
                 static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24);
      crc = 0;
      for (uint32_t i = 0; i < 4; ++i) {
        crc ^= kTables.entry[(7 - i) % kSlices][(low >> (8 * i)) & 255u];
        crc ^= kTables.entry[(3 - i) % kSlices][at[4 + i]];
      }
    }
  }
  for (; bytes > 0; --bytes, ++at) crc = (crc >> 8) ^ kTables.entry[0][(crc ^ *at) & 255u];
  return ~crc;
}

}  // namespace thimble
