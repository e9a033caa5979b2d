// SPDX-License-Identifier: MIT
#include "gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "format.h"
#include "readers/gguf_types.h"

namespace thimble::tools {

namespace {

constexpr uint64_t kAlignment = 32;

enum : uint32_t {
  kTypeU32 = 4,
  kTypeI32 = 5,
  kTypeF32 = 6,
  kTypeBool = 7,
  kTypeString = 8,
  kTypeArray = 9
};

template <class T>
void put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string* out, const std::string& text) {
  put<uint64_t>(out, text.size());
  *out += text;
}

uint64_t row_bytes(uint32_t cols, uint32_t type) {
  const GgufType& t = *gguf_type(type);
  return uint64_t{cols} / t.block_elements * t.block_bytes;
}

double squared_error(const int8_t* values, float scale, const Q8Block& block) {
  const double d = static_cast<double>(half_to_float(block.scale));
  double sum = 0;
  for (uint32_t i = 0; i < kQ8BlockWeights; ++i) {
    const double error = static_cast<double>(values[i]) * static_cast<double>(scale) -
                         static_cast<double>(block.values[i]) * d;
    sum += error * error;
  }
  return sum;
}

}  // namespace

Q8Block q8_block(const int8_t* values, float scale) {
  Q8Block kept{};
  kept.scale = float_to_half(scale);
  std::memcpy(kept.values, values, sizeof kept.values);
  const double kept_error = squared_error(values, scale, kept);
  if (kept_error == 0) return kept;

  int largest = 0;
  for (uint32_t i = 0; i < kQ8BlockWeights; ++i) largest = std::max(largest, std::abs(values[i]));
  Q8Block rounded{};
  rounded.scale = float_to_half(scale * static_cast<float>(largest) / 127.0f);
  const double d = static_cast<double>(half_to_float(rounded.scale));
  if (d == 0 || !std::isfinite(d)) return kept;
  for (uint32_t i = 0; i < kQ8BlockWeights; ++i) {
    const double value =
        std::nearbyint(static_cast<double>(values[i]) * static_cast<double>(scale) / d);
    rounded.values[i] = static_cast<int8_t>(std::max(-127.0, std::min(127.0, value)));
  }
  return squared_error(values, scale, rounded) < kept_error ? rounded : kept;
}

void GgufWriter::key(const std::string& name, uint32_t type) {
  put_text(&keys_, name);
  put(&keys_, type);
  ++n_keys_;
}

void GgufWriter::text(const std::string& name, const std::string& value) {
  key(name, kTypeString);
  put_text(&keys_, value);
}

void GgufWriter::u32(const std::string& name, uint32_t value) {
  key(name, kTypeU32);
  put(&keys_, value);
}

void GgufWriter::real(const std::string& name, float value) {
  key(name, kTypeF32);
  put(&keys_, value);
}

void GgufWriter::boolean(const std::string& name, bool value) {
  key(name, kTypeBool);
  put<uint8_t>(&keys_, value ? 1 : 0);
}

void GgufWriter::texts(const std::string& name, const std::vector<std::string>& values) {
  key(name, kTypeArray);
  put<uint32_t>(&keys_, kTypeString);
  put<uint64_t>(&keys_, values.size());
  for (const std::string& value : values) put_text(&keys_, value);
}

void GgufWriter::reals(const std::string& name, const std::vector<float>& values) {
  key(name, kTypeArray);
  put<uint32_t>(&keys_, kTypeF32);
  put<uint64_t>(&keys_, values.size());
  for (const float value : values) put(&keys_, value);
}

void GgufWriter::integers(const std::string& name, const std::vector<int32_t>& values) {
  key(name, kTypeArray);
  put<uint32_t>(&keys_, kTypeI32);
  put<uint64_t>(&keys_, values.size());
  for (const int32_t value : values) put(&keys_, value);
}

void GgufWriter::tensor(const std::string& name, uint32_t rows, uint32_t cols, uint32_t type,
                        Row fill) {
  tensors_.push_back({name, rows, cols, type, std::move(fill)});
}

uint64_t GgufWriter::write(const Sink& sink, const std::function<void(double)>& progress) const {
  std::string header = "GGUF";
  put<uint32_t>(&header, 3);
  put<uint64_t>(&header, tensors_.size());
  put(&header, n_keys_);
  header += keys_;
  uint64_t total = 0;
  for (const Entry& t : tensors_) {
    put_text(&header, t.name);
    put<uint32_t>(&header, t.rows == 0 ? 1 : 2);
    put<uint64_t>(&header, t.cols);  // the innermost first
    if (t.rows > 0) put<uint64_t>(&header, t.rows);
    put(&header, t.type);
    put(&header, total);
    total += round_up(std::max(1u, t.rows) * row_bytes(t.cols, t.type), kAlignment);
  }
  header.resize(static_cast<size_t>(round_up(header.size(), kAlignment)), '\0');
  sink(header.data(), header.size());

  uint64_t done = 0;
  std::vector<uint8_t> bytes;
  for (const Entry& t : tensors_) {
    const uint32_t rows = std::max(1u, t.rows);
    const uint64_t row = row_bytes(t.cols, t.type), begin = done;
    bytes.resize(static_cast<size_t>(row));
    for (uint32_t i = 0; i < rows; ++i) {
      t.fill(i, bytes.data());
      sink(bytes.data(), bytes.size());
      done += row;
      if (progress) progress(static_cast<double>(done) / static_cast<double>(total));
    }
    const uint8_t zeros[kAlignment] = {};
    const uint64_t padding = begin + round_up(rows * row, kAlignment) - done;
    if (padding > 0) sink(zeros, static_cast<size_t>(padding));
    done += padding;
  }
  return header.size() + done;
}

}  // namespace thimble::tools
