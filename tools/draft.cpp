// SPDX-License-Identifier: MIT
#include "draft.h"

#include <algorithm>
#include <cstdio>

#include "error.h"
#include "image.h"
#include "model.h"
#include "odd_text.h"
#include "progress.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kLargeParams = 16u << 20;
constexpr uint32_t kGroup = 32, kTile = 16;

// Tokens to calibrate with: a model of few weights needs few, and with many each takes long.
size_t tokens_for(uint64_t n_params) {
  constexpr uint64_t kLeast = 512, kMost = 32768, kParamsPerToken = 8;
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
    build_image(checkpoint.shape, {kWeightQ8, kGroup, kTile}, vocabulary, checkpoint.rows, sink,
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
  // A small model is run anew for every layer; a large one for as many as there is memory for.
  const uint32_t layers_at_once = model_.n_params > kLargeParams ? model_.n_layers : 1;
  calibration_ = std::make_unique<Calibration>(model_, std::move(texts), layers_at_once);
}

const Moments* Draft::moments(SectionKind kind, uint32_t layer) {
  return calibration_->of(kind, layer);
}

void Draft::write(uint64_t offset, const void* data, size_t bytes) {
  output_.seek(offset);
  output_.write(data, bytes);
}

// The mapped file shows what is written into it.
void Draft::rounded(const SectionEntry& section, uint32_t row, const int8_t* levels,
                    const uint16_t* scales) {
  const SectionEntry& to =
      section_of(model_, static_cast<SectionKind>(section.kind), section.layer);
  const uint32_t r = row % kTile;
  if (r == 0) {
    tile_.assign(size_t{to.group} * to.n_groups * kTile, 0);
    scales_.assign(size_t{to.n_groups} * kTile, 0);
  }
  for (uint32_t c = 0; c < section.cols; ++c) tile_[(c / 4 * kTile + r) * 4 + c % 4] = levels[c];
  for (uint32_t g = 0; g < to.n_groups; ++g) {
    scales_[g * kTile + r] = scales[g * kGroup / section.group];
  }
  if (r + 1 < kTile && row + 1 < section.rows) return;
  const size_t tile = row / kTile;
  write(to.offset + tile * tile_.size(), tile_.data(), tile_.size());
  const size_t scale_bytes = scales_.size() * sizeof(uint16_t);
  write(to.scales_offset + tile * scale_bytes, scales_.data(), scale_bytes);
  if (row + 1 == section.rows) output_.flush();
}

}  // namespace thimble::tools
