// SPDX-License-Identifier: MIT
// All numbers of a model that are trained, in one block, and where in it each tensor lies.
#ifndef THIMBLE_TOOLS_TRAIN_PARAMETERS_H
#define THIMBLE_TOOLS_TRAIN_PARAMETERS_H

#include <cstdint>
#include <vector>

#include "aligned_block.h"
#include "image.h"

namespace thimble::tools::train {

// Floats on a boundary that vectors like, zeros at first. Throws std::bad_alloc.
class Floats {
 public:
  Floats() = default;
  explicit Floats(size_t n);
  float* data() const { return reinterpret_cast<float*>(block_.data()); }
  size_t size() const { return block_.size() / sizeof(float); }
  float& operator[](size_t i) const { return data()[i]; }
  float* begin() const { return data(); }
  float* end() const { return data() + size(); }

 private:
  AlignedBlock block_;
};

// One section of the model file, by its names and with its rows.
struct Tensor {
  SectionKind kind;
  uint32_t layer, rows, cols;
  size_t offset;   // of its first float
  bool is_matrix;  // stored in 8 or 4 bits, and decayed; otherwise norms and biases
  size_t size() const { return size_t{rows} * cols; }
};

class Parameters {
 public:
  explicit Parameters(const ModelShape& shape);
  // Others than the model's own; their offsets are set here.
  Parameters(const ModelShape& shape, const std::vector<Tensor>& tensors);

  const ModelShape& shape() const { return shape_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  // Tensors that a kind's shape has not are null.
  const Tensor* find(SectionKind kind, uint32_t layer = 0) const;
  size_t size() const { return size_; }  // floats, tensors padded to 64 bytes

 private:
  void add(SectionKind kind, uint32_t layer, uint32_t rows, uint32_t cols, bool is_matrix);

  ModelShape shape_;
  std::vector<Tensor> tensors_;
  size_t size_ = 0;
};

// Matrices normal with 0.02, those that add to the residual stream 0.02 / sqrt(2 n_layers)
// (Radford et al. 2019); norms 1, biases 0.
void initialize(const Parameters& parameters, uint64_t seed, float* weights);

// The rows of `weights`, which must stay, for build_image.
RowSource rows_of(const Parameters& parameters, const float* weights);
void read_rows(const Parameters& parameters, const RowSource& rows, float* weights);

}  // namespace thimble::tools::train

#endif
