// SPDX-License-Identifier: MIT
#include "draft.h"

#include <algorithm>
#include <cstdio>

#include "error.h"
#include "image.h"
#include "odd_text.h"
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
    const std::string content = read_text(text);
    note_oddities(content, text);
    texts = calibration_texts(model_, content, n);
    if (texts.empty()) throw Refused(text + ": holds no text to calibrate with");
    size_t tokens = 0;
    for (const std::vector<int32_t>& each : texts) tokens += each.size();
    if (tokens < n / 2) {
      std::fprintf(
          stderr,
          "warning: %s has %zu tokens to calibrate with, and this model wants %zu; with few "
          "the model may become worse than with its own texts (without --calibrate)\n",
          text.c_str(), tokens, n);
    }
  }
  calibration_ = std::make_unique<Calibration>(model_, std::move(texts));
}

}  // namespace thimble::tools
