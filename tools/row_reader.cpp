// SPDX-License-Identifier: MIT
#include "row_reader.h"

#include <algorithm>
#include <cstring>

namespace thimble::tools {
namespace {

constexpr uint64_t kBlockFloats = uint64_t{1} << 20, kStripeFloats = uint64_t{4} << 20;

}  // namespace

void RowReader::read(size_t tensor, bool transposed, uint64_t rows, uint64_t row, uint32_t cols,
                     uint32_t near, float* out) {
  if (tensor != tensor_ || row < first_ || row >= first_ + count_) {
    const uint64_t fit = std::max<uint64_t>(1, (transposed ? kStripeFloats : kBlockFloats) / cols);
    const uint64_t unit = std::max<uint64_t>(16, near);
    const uint64_t many = std::max<uint64_t>(1, fit / unit) * unit;
    const uint64_t first = row / many * many;
    load(tensor, transposed, rows, first, std::min(many, rows - first), cols);
  }
  std::memcpy(out, block_.data() + (row - first_) * cols, cols * sizeof(float));
}

void RowReader::load(size_t tensor, bool transposed, uint64_t rows, uint64_t first, uint64_t count,
                     uint32_t cols) {
  tensor_ = SIZE_MAX;  // until it is complete
  block_.resize(static_cast<size_t>(count * cols));
  if (!transposed) {
    tensors_->read(tensor, first * cols, block_.size(), block_.data());
  } else {
    // Sixteen columns at a time, so that what is written to a row fills a line of cache.
    constexpr uint32_t kColumns = 16;
    stripe_.resize(static_cast<size_t>(kColumns * count));
    for (uint32_t c = 0; c < cols; c += kColumns) {
      const uint32_t n = std::min(kColumns, cols - c);
      for (uint32_t i = 0; i < n; ++i) {
        tensors_->read(tensor, (c + i) * rows + first, static_cast<size_t>(count),
                       stripe_.data() + i * count);
      }
      for (uint64_t r = 0; r < count; ++r) {
        float* to = block_.data() + r * cols + c;
        for (uint32_t i = 0; i < n; ++i) to[i] = stripe_[static_cast<size_t>(i * count + r)];
      }
    }
  }
  tensor_ = tensor;
  first_ = first;
  count_ = count;
}

}  // namespace thimble::tools
