// SPDX-License-Identifier: MIT
// Rows of a checkpoint's tensors in the order that a model file wants them, read ahead in blocks.
#ifndef THIMBLE_TOOLS_ROW_READER_H
#define THIMBLE_TOOLS_ROW_READER_H

#include <memory>
#include <vector>

#include "readers/tensors.h"

namespace thimble::tools {

// One block at a time is kept: of rows, or, where a matrix lies (columns, rows), of a stripe of its
// columns. Memory: 4 MiB, and 16 MiB for a stripe of the widest matrix (more above 256 K columns).
class RowReader {
 public:
  explicit RowReader(std::shared_ptr<const Tensors> tensors) : tensors_(std::move(tensors)) {}

  // Row `row` of a matrix of `cols` columns. Rows are asked for in an order that stays within
  // `near` rows, such as a head's. transposed: the tensor is (cols, rows).
  void read(size_t tensor, bool transposed, uint64_t rows, uint64_t row, uint32_t cols,
            uint32_t near, float* out);

 private:
  void load(size_t tensor, bool transposed, uint64_t rows, uint64_t first, uint64_t count,
            uint32_t cols);

  std::shared_ptr<const Tensors> tensors_;
  std::vector<float> block_;   // (count_, cols)
  std::vector<float> stripe_;  // some columns of a transposed block, as they lie
  size_t tensor_ = SIZE_MAX;
  uint64_t first_ = 0, count_ = 0;
};

}  // namespace thimble::tools

#endif
