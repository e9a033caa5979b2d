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
  if (!transposed) {
    std::memcpy(out, block_.data() + (row - first_) * cols, cols * sizeof(float));
    return;
  }
  const float* from = block_.data() + (row - first_);
  for (uint32_t c = 0; c < cols; ++c) out[c] = from[c * count_];
}

void RowReader::load(size_t tensor, bool transposed, uint64_t rows, uint64_t first, uint64_t count,
                     uint32_t cols) {
  tensor_ = SIZE_MAX;  // until it is complete
  block_.resize(static_cast<size_t>(count * cols));
  if (!transposed) {
    tensors_->read(tensor, first * cols, block_.size(), block_.data());
  } else {
    for (uint32_t c = 0; c < cols; ++c) {
      tensors_->read(tensor, c * rows + first, static_cast<size_t>(count),
                     block_.data() + c * count);
    }
  }
  tensor_ = tensor;
  first_ = first;
  count_ = count;
}

}  // namespace thimble::tools
