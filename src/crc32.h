// SPDX-License-Identifier: MIT
// CRC-32 as in IEEE 802.3, zlib and PNG: polynomial 0xEDB88320 reflected, start and end inverted.
#ifndef THIMBLE_SRC_CRC32_H
#define THIMBLE_SRC_CRC32_H

#include <stddef.h>
#include <stdint.h>

namespace thimble {

// Continues `crc`, the checksum of what came before (0 at the start).
uint32_t crc32(uint32_t crc, const void* data, size_t bytes);

}  // namespace thimble

#endif
