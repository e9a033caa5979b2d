// SPDX-License-Identifier: MIT
#include "aligned_block.h"

#include <sys/mman.h>

#include <new>

#include "thimble/thimble.h"

namespace thimble::tools {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

AlignedBlock::AlignedBlock(size_t bytes) : size_(bytes) {
  const bool large = bytes >= 2 * kHugePage;
  void* memory = nullptr;
  // Unlike aligned_alloc it takes any size, so that a sanitizer knows where the block ends.
  if (posix_memalign(&memory, large ? kHugePage : THIMBLE_ALIGNMENT, bytes) != 0) {
    throw std::bad_alloc();
  }
#if defined(MADV_HUGEPAGE)
  if (large) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // a wish only
#endif
  memory_.reset(memory);
}

}  // namespace thimble::tools
