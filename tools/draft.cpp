// SPDX-License-Identifier: MIT
#include "draft.h"

#include <algorithm>

#include "error.h"
#include "image.h"
#include "progress.h"

namespace thimble::tools {
namespace {

// Tokens to calibrate with: a model of few weights needs few, and with many each takes long.
size_t tokens_for(uint64_t n_params) {
  constexpr uint64_t kLeast = 512, kMost = 32768, kParamsPerToken = 8, kLargeParams = 16u << 20;
  if (n_params > kLargeParams) return kMost / 4;
  return static_cast<size_t>(std::clamp(n_params / kParamsPerToken, kLeast, kMost));
}

}  // namespace

Draft::Draft(const std::string& output, const Checkpoint& checkpoint, const Vocabulary* vocabulary,
             const std::string& text)
    : output_(output) {
  uint64_t at = 0;
  const Sink sink = [&](uint64_t offset, const void* data, size_t bytes) {
    if (offset != at) output_.seek(offset);
    output_.write(data, bytes);
    at = offset + bytes;
  };
  {
    Progress progress("drafting");
    build_image(checkpoint.shape, {kWeightQ8, 32, 16}, vocabulary, checkpoint.rows, sink,
                [&](double share) { progress.show(share); });
  }
  file_ = std::make_unique<MappedFile>(output_.flush());
  model_ = open_model(file_->path(), file_->data(), file_->size(), false);
  const size_t n = tokens_for(model_.n_params);
  std::vector<std::vector<int32_t>> texts;
  if (text.empty()) {
    texts = own_texts(model_, n);
  } else {
    if (!vocabulary) throw Refused("--calibrate needs a tokenizer: a text has to become tokens");
    texts = calibration_texts(model_, read_text(text), n);
    if (texts.empty()) throw Refused(text + ": holds no text to calibrate with");
  }
  calibration_ = std::make_unique<Calibration>(model_, std::move(texts));
}

}  // namespace thimble::tools
