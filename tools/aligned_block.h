// SPDX-License-Identifier: MIT
// Memory for arenas and for models that are not mapped.
#ifndef THIMBLE_TOOLS_ALIGNED_BLOCK_H
#define THIMBLE_TOOLS_ALIGNED_BLOCK_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace thimble::tools {

// A heap block of just that many bytes, aligned to THIMBLE_ALIGNMENT, its contents undefined.
// Throws std::bad_alloc. Large ones ask for huge pages: on Zen 4 they raise reading from DRAM by a
// fifth.
class AlignedBlock {
 public:
  AlignedBlock() = default;
  explicit AlignedBlock(size_t bytes);
  uint8_t* data() const { return static_cast<uint8_t*>(memory_.get()); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  size_t size_ = 0;
};

}  // namespace thimble::tools

#endif
