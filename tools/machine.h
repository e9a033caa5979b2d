// SPDX-License-Identifier: MIT
// What this machine can do at best, with one thread: the scale that a benchmark is read against.
// Each call takes some milliseconds and gives the fastest of several tries.
#ifndef THIMBLE_TOOLS_MACHINE_H
#define THIMBLE_TOOLS_MACHINE_H

#include <cstddef>

namespace thimble::tools {

// Bytes a second from a block of so many bytes that is read over and over: from the cache that it
// fits in, or from DRAM. Throws std::bad_alloc.
double read_bandwidth(size_t bytes);

// A block that no cache of this machine holds: 256 to 512 MiB.
size_t uncached_bytes();

// One that fits in the last cache of most machines, but in no smaller one.
constexpr size_t kCachedBytes = size_t{16} << 20;

// Operations a second in registers, a multiply-add counted as 2.
struct Peak {
  double operations;
  const char* with;  // the instructions
};
Peak f32_peak();
Peak int8_peak();  // products of 8-bit integers, summed in 32 bits

}  // namespace thimble::tools

#endif
