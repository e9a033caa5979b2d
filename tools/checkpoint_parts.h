// SPDX-License-Identifier: MIT
// The tensors of a checkpoint by what they are for.
#ifndef THIMBLE_TOOLS_CHECKPOINT_PARTS_H
#define THIMBLE_TOOLS_CHECKPOINT_PARTS_H

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "families.h"

namespace thimble::tools {

class CheckpointParts {
 public:
  // Finds what stands before all names, such as "model." or "_orig_mod.transformer.". Throws
  // Refused if the family's embedding is not there.
  CheckpointParts(const Family& family, std::shared_ptr<const Tensors> tensors,
                  const std::string& path);

  // Whether a checkpoint has a family's embedding and first layer.
  static bool match(const Family& family, const Tensors& tensors);

  const Family& family() const { return family_; }
  const std::shared_ptr<const Tensors>& tensors() const { return tensors_; }
  const std::string& path() const { return path_; }

  std::optional<size_t> find(Part part, uint32_t layer = 0) const;
  // Throws Refused, naming what is missing and which names are like it.
  size_t need(Part part, uint32_t layer = 0) const;
  // The same with a shape to have: (rows, cols), or (rows) where cols is 0. A matrix of a family
  // that transposes is expected as (cols, rows). Marks it as used.
  size_t need(Part part, uint32_t layer, uint64_t rows, uint64_t cols, bool transposed = false);

  // Rows of a matrix, columns where they lie transposed.
  uint64_t rows_of(size_t tensor, bool transposed) const;

  void mark_used(size_t tensor) { used_[tensor] = true; }
  // Throws Refused for the first tensor that nothing used and nobody knows as needless.
  void check_left_over() const;

  uint32_t count_layers() const;

 private:
  std::string full_name(Part part, uint32_t layer) const;
  std::string with_prefix(const std::string& name) const;

  const Family& family_;
  std::shared_ptr<const Tensors> tensors_;
  std::string path_;
  std::unordered_map<std::string, size_t> by_name_;
  std::string prefix_;
  std::vector<bool> used_;
};

}  // namespace thimble::tools

#endif
