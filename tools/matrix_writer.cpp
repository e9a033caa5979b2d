// SPDX-License-Identifier: MIT
#include "matrix_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "adapter.h"
#include "error.h"
#include "exact_math.h"
#include "forward.h"
#include "quantize.h"
#include "quantize_q4.h"

namespace thimble::tools {
namespace {

using Put = std::function<void(const void* data, size_t bytes)>;

// The bits of a q4_level.
uint32_t q4_bits_of(int32_t level) {
  for (uint32_t bits = 0; bits < 16; ++bits) {
    if (q4_level(bits) == level) return bits;
  }
  throw Refused("no level of q4");  // Q4Rounder gives no other
}

[[noreturn]] void refuse_weight(const SectionEntry& s, uint32_t row, uint32_t col, float found) {
  const bool in_layer = is_layer_section(s.kind) || s.kind >= kLoraA;
  throw RefusedModel(
      section_name(s.kind) + (in_layer ? format(" of layer %u", s.layer) : std::string()) +
      format(", row %u, column %u: found %g, expected ", row, col, static_cast<double>(found)) +
      (std::isfinite(found) ? "less than 2^50: the norm of layer 0 squares it"
                            : "a finite number"));
}

// Rows first .. first + row_tile as (row_tile, cols), zeros behind the last row.
void read_tile(const SectionEntry& s, const RowSource& rows, uint32_t first,
               std::vector<float>* tile) {
  std::fill(tile->begin(), tile->end(), 0.0f);
  const uint32_t n = std::min(s.row_tile, s.rows - first);
  // An embedding is the residual stream before the first norm.
  const bool is_stream = s.kind == kTokenEmbedding || s.kind == kPositionEmbedding;
  const float limit = is_stream ? kResidualLimit : std::numeric_limits<float>::infinity();
  for (uint32_t r = 0; r < n; ++r) {
    float* row = tile->data() + size_t{r} * s.cols;
    rows(static_cast<SectionKind>(s.kind), s.layer, first + r, s.cols, row);
    // All at once, since a test for each would cost as much as reading them.
    uint32_t largest = 0;
    for (uint32_t c = 0; c < s.cols; ++c) {
      largest = std::max(largest, bits_of(row[c]) & 0x7fffffff);
    }
    if (float_of(largest) < limit) continue;
    for (uint32_t c = 0; c < s.cols; ++c) {
      if (!(std::fabs(row[c]) < limit)) {
        refuse_weight(s, first + r, c, row[c]);
      }
    }
  }
}

void write_f32(const SectionEntry& s, const RowSource& source, const Put& put) {
  std::vector<float> rows(size_t{s.row_tile} * s.cols), tile(rows.size());
  for (uint32_t first = 0; first < s.rows; first += s.row_tile) {
    read_tile(s, source, first, &rows);
    for (uint32_t c = 0; c < s.cols; ++c) {
      for (uint32_t r = 0; r < s.row_tile; ++r) {
        tile[size_t{c} * s.row_tile + r] = rows[size_t{r} * s.cols + c];
      }
    }
    put(tile.data(), tile.size() * sizeof(float));
  }
}

// A row's values, as int8 or as levels of q4 are, and its scales.
using RoundRow = std::function<void(const float* row, int8_t* values, uint16_t* scales)>;

RoundRow rounding_of(const SectionEntry& s, Q4Guide* guide) {
  if (s.type == kElementQ8) {
    return [s](const float* row, int8_t* values, uint16_t* scales) {
      for (uint32_t begin = 0; begin < s.cols; begin += s.group, ++scales) {
        *scales = quantize_group(row + begin, std::min(s.group, s.cols - begin), values + begin);
      }
    };
  }
  const Moments* moments =
      guide ? guide->moments(static_cast<SectionKind>(s.kind), s.layer) : nullptr;
  const auto rounder = std::make_shared<Q4Rounder>(moments, s.cols, s.group);
  return [rounder](const float* row, int8_t* values, uint16_t* scales) {
    const Q4Row& rounded = rounder->round(row);
    std::copy(rounded.levels.begin(), rounded.levels.end(), values);
    std::copy(rounded.scales.begin(), rounded.scales.end(), scales);
  };
}

// Where a row of a tile goes: four columns side by side, or two to a byte.
void pack(const SectionEntry& s, uint32_t r, const std::vector<int8_t>& values,
          std::vector<int8_t>* tile) {
  if (s.type == kElementQ8) {
    for (size_t c = 0; c < values.size(); c += 4) {
      std::memcpy(&(*tile)[c * s.row_tile + r * 4], &values[c], 4);
    }
    return;
  }
  for (uint32_t c = 0; c < values.size(); ++c) {
    const Q4Place place = q4_place(s.row_tile, c, r);
    int8_t& byte = (*tile)[place.byte];
    const uint32_t others = static_cast<uint8_t>(byte) & (0xf0u >> place.shift);
    byte = static_cast<int8_t>(others | q4_bits_of(values[c]) << place.shift);
  }
}

void write_int8(const SectionEntry& s, const RowSource& source, Q4Guide* guide, const Put& put,
                const std::function<void(uint64_t)>& pad_to, MatrixErrors* errors) {
  const uint32_t groups = s.n_groups;
  const size_t padded_cols = size_t{groups} * s.group;
  const RoundRow round = rounding_of(s, guide);
  std::vector<float> rows(size_t{s.row_tile} * s.cols);
  std::vector<int8_t> values(padded_cols);
  std::vector<int8_t> tile(padded_cols * s.row_tile / (s.type == kElementQ4 ? 2 : 1));
  std::vector<uint16_t> row_scales(groups), scales;  // they lie behind all values
  scales.reserve(static_cast<size_t>(s.scales_bytes / sizeof(uint16_t)));
  for (uint32_t first = 0; first < s.rows; first += s.row_tile) {
    read_tile(s, source, first, &rows);
    const size_t tile_scales = scales.size();
    scales.resize(tile_scales + size_t{groups} * s.row_tile);
    for (uint32_t r = 0; r < s.row_tile; ++r) {
      const float* row = rows.data() + size_t{r} * s.cols;
      round(row, values.data(), row_scales.data());
      if (guide && s.type == kElementQ4 && first + r < s.rows) {
        guide->rounded(s, first + r, values.data(), row_scales.data());
      }
      for (uint32_t g = 0; g < groups; ++g) {
        const uint32_t begin = g * s.group, n = std::min(s.group, s.cols - begin);
        scales[tile_scales + size_t{g} * s.row_tile + r] = row_scales[g];
        errors->add(row + begin, values.data() + begin, n, from_bf16(row_scales[g]));
      }
      pack(s, r, values, &tile);
    }
    put(tile.data(), tile.size());
  }
  pad_to(s.scales_offset);
  put(scales.data(), scales.size() * sizeof(uint16_t));
}

}  // namespace

void MatrixErrors::add(const float* w, const int8_t* values, uint32_t n, float scale) {
  // Sums side by side, so that one does not wait for the other.
  constexpr uint32_t kLanes = 8;
  float most[kLanes] = {}, sums[kLanes] = {}, most_weight[kLanes] = {}, weights[kLanes] = {};
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t k = i % kLanes;
    const float weight = std::fabs(w[i]);
    const float error = std::fabs(w[i] - static_cast<float>(values[i]) * scale);
    most[k] = std::max(most[k], error);
    most_weight[k] = std::max(most_weight[k], weight);
    sums[k] += error;
    weights[k] += weight;
  }
  for (uint32_t k = 0; k < kLanes; ++k) {
    largest_error_ = std::max(largest_error_, static_cast<double>(most[k]));
    largest_weight_ = std::max(largest_weight_, static_cast<double>(most_weight[k]));
    error_sum_ += static_cast<double>(sums[k]);
    weight_sum_ += static_cast<double>(weights[k]);
  }
}

void write_matrix_section(const SectionEntry& section, const RowSource& rows, Q4Guide* guide,
                          const Put& put, const std::function<void(uint64_t offset)>& pad_to,
                          MatrixErrors* errors) {
  if (section.type == kElementF32) {
    write_f32(section, rows, put);
  } else {
    write_int8(section, rows, guide, put, pad_to, errors);
  }
}

}  // namespace thimble::tools
