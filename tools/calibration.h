// SPDX-License-Identifier: MIT
// What the matrices of a model meet as inputs, learnt by running it.
#ifndef THIMBLE_TOOLS_CALIBRATION_H
#define THIMBLE_TOOLS_CALIBRATION_H

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "format.h"
#include "quantize_q4.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// Tokens of `text`, record by record (records.h), long ones in pieces; `most` of them at most.
std::vector<std::vector<int32_t>> calibration_texts(const thimble_model& model,
                                                    const std::string& text, size_t most);

// Texts that the model writes itself, at temperature 1, `tokens` all together. Its own odds stand
// for what it was trained on.
std::vector<std::vector<int32_t>> own_texts(const thimble_model& model, size_t tokens);

// Moments of a model's inputs over some texts. Layers are taken from the first to the last, as many
// at a time as are asked for and fit into 1 GiB, each time by running the model, as it then is, on
// all texts again.
class Calibration {
 public:
  // The model stays where it is. Texts hold at least one token each.
  Calibration(const thimble_model& model, std::vector<std::vector<int32_t>> texts,
              uint32_t layers_at_once);

  // Of the matrix of that section, null of a position embedding, and of a token embedding that is
  // not the head, too. Valid until it is asked for a layer that is not there.
  const Moments* of(SectionKind kind, uint32_t layer);

 private:
  using Key = std::pair<SectionKind, uint32_t>;
  void gather(uint32_t first_layer);
  void watch(const thimble_session* session);
  void add(const Key& key, const float* rows, size_t stride, uint32_t n_rows, uint32_t n);

  const thimble_model& model_;
  std::vector<std::vector<int32_t>> texts_;
  uint32_t layers_at_once_;
  std::map<Key, Moments> moments_;
  std::map<Key, uint64_t> counts_;
  uint32_t first_layer_ = 0, end_layer_ = 0;  // those that are there
};

}  // namespace thimble::tools

#endif
