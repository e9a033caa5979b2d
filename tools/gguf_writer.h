// SPDX-License-Identifier: MIT
// Writes GGUF v3: keys and values, then tensors, row by row, so that memory does not grow with
// them.
#ifndef THIMBLE_TOOLS_GGUF_WRITER_H
#define THIMBLE_TOOLS_GGUF_WRITER_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "error.h"

namespace thimble::tools {

// A model that GGUF does not express. Names no file: the caller knows which one it was.
struct RefusedExport : Refused {
  using Refused::Refused;
};

// 32 weights of Q8_0: a half float and as many int8, each weight their product.
constexpr uint32_t kQ8BlockWeights = 32;
struct Q8Block {
  uint16_t scale;
  int8_t values[kQ8BlockWeights];
};
static_assert(sizeof(Q8Block) == 34, "as it lies in the file");

// The block nearest to value[i] * scale. The half float nearest to `scale` keeps the values: it is
// the very same number where the scale is a bf16 of at least 2^-17, so almost always. Where it is
// not, weights are rounded anew to a scale of their own if the sum of squared errors is less so.
Q8Block q8_block(const int8_t* values, float scale);

class GgufWriter {
 public:
  void text(const std::string& key, const std::string& value);
  void u32(const std::string& key, uint32_t value);
  void real(const std::string& key, float value);
  void boolean(const std::string& key, bool value);
  void texts(const std::string& key, const std::vector<std::string>& values);
  void reals(const std::string& key, const std::vector<float>& values);
  void integers(const std::string& key, const std::vector<int32_t>& values);

  // Fills the bytes of row `row`.
  using Row = std::function<void(uint32_t row, uint8_t* out)>;
  // A tensor of `rows` rows of `cols` elements; 0 rows: a vector. `type` is kGgufF32 or kGgufQ8.
  void tensor(const std::string& name, uint32_t rows, uint32_t cols, uint32_t type, Row fill);

  // All at once, in ascending order; `progress` gets the share that is done, 0 to 1. The number of
  // bytes is what it returns.
  using Sink = std::function<void(const void* data, size_t bytes)>;
  uint64_t write(const Sink& sink, const std::function<void(double)>& progress) const;

 private:
  struct Entry {
    std::string name;
    uint32_t rows, cols, type;
    Row fill;
  };
  void key(const std::string& name, uint32_t type);
  std::string keys_;
  uint64_t n_keys_ = 0;
  std::vector<Entry> tensors_;
};

}  // namespace thimble::tools

#endif
