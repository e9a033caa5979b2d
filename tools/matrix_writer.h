// SPDX-License-Identifier: MIT
// A section of weights, from rows of floats to the tiles that the engine reads; of model files and
// of adapters.
#ifndef THIMBLE_TOOLS_MATRIX_WRITER_H
#define THIMBLE_TOOLS_MATRIX_WRITER_H

#include <cstddef>
#include <cstdint>
#include <functional>

#include "image.h"

namespace thimble::tools {

// How far stored weights of 8 and 4 bits are from those that were handed in.
class MatrixErrors {
 public:
  void add(const float* w, const int8_t* values, uint32_t n, float scale);  // one group
  double worst() const { return largest_weight_ > 0 ? largest_error_ / largest_weight_ : 0; }
  double mean() const { return weight_sum_ > 0 ? error_sum_ / weight_sum_ : 0; }

 private:
  double largest_error_ = 0, error_sum_ = 0, largest_weight_ = 0, weight_sum_ = 0;
};

// Writes the section's elements with put(data, bytes), a tile of rows at a time, and those of 8 and
// 4 bits their scales behind pad_to(offset of the scales). `guide` may be null. Throws
// RefusedModel for a weight that is no finite number.
void write_matrix_section(const SectionEntry& section, const RowSource& rows, Q4Guide* guide,
                          const std::function<void(const void* data, size_t bytes)>& put,
                          const std::function<void(uint64_t offset)>& pad_to, MatrixErrors* errors);

}  // namespace thimble::tools

#endif
