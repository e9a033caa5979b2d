// SPDX-License-Identifier: MIT
#include "readers/plain_types.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/gguf_types.h"

namespace thimble::tools {
namespace {

constexpr size_t kPieceBytes = 256 * 1024;

template <class T>
T element(const uint8_t* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof value, sizeof value);
  return value;
}

void f64_to_float(const uint8_t* data, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(element<double>(data, i));
}

void f32_to_float(const uint8_t* data, size_t count, float* out) {
  std::memcpy(out, data, count * sizeof *out);
}

void f16_to_float(const uint8_t* data, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = half_to_float(element<uint16_t>(data, i));
}

void bf16_to_float(const uint8_t* data, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bits = uint32_t{element<uint16_t>(data, i)} << 16;
    std::memcpy(&out[i], &bits, sizeof bits);
  }
}

constexpr PlainType kTypes[] = {
    {"F32", 4, f32_to_float}, {"F16", 2, f16_to_float}, {"BF16", 2, bf16_to_float},
    {"F64", 8, f64_to_float}, {"BOOL", 1, nullptr},     {"U8", 1, nullptr},
    {"I8", 1, nullptr},       {"U16", 2, nullptr},      {"I16", 2, nullptr},
    {"U32", 4, nullptr},      {"I32", 4, nullptr},      {"U64", 8, nullptr},
    {"I64", 8, nullptr},      {"C64", 8, nullptr},      {"F8_E4M3", 1, nullptr},
    {"F8_E5M2", 1, nullptr},  {"F8_E8M0", 1, nullptr},  {"C128", 16, nullptr},
};

}  // namespace

const PlainType* plain_type(std::string_view name) {
  for (const PlainType& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

std::string plain_type_names(bool only_read) {
  std::string names;
  for (const PlainType& type : kTypes) {
    if (only_read && type.to_float == nullptr) continue;
    names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  return names;
}

void refuse_plain_type(const std::string& path, const Tensor& tensor) {
  throw Refused(path + ": tensor " + shown(tensor.name) + " is of type " + tensor.type +
                ", expected one that is read as weights: " + plain_type_names(true));
}

void read_plain(const InputFile& file, const Tensor& tensor, const PlainType& type, uint64_t offset,
                size_t count, float* out) {
  if (type.to_float == nullptr) refuse_plain_type(file.path(), tensor);
  if (type.to_float == f32_to_float) return file.read(offset, out, count * sizeof *out);
  const size_t most = kPieceBytes / type.bytes;
  std::vector<uint8_t> piece(std::min(count, most) * type.bytes);
  for (size_t done = 0; done < count;) {
    const size_t n = std::min(count - done, most);
    file.read(offset + uint64_t{done} * type.bytes, piece.data(), n * type.bytes);
    type.to_float(piece.data(), n, out + done);
    done += n;
  }
}

bool plain_bytes(const std::vector<uint64_t>& shape, uint32_t element_bytes, uint64_t* bytes) {
  *bytes = element_bytes;
  for (const uint64_t size : shape) {
    if (__builtin_mul_overflow(*bytes, size, bytes)) return false;
  }
  return true;
}

std::string shape_text(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (const uint64_t size : shape) {
    if (text.size() > 100) return text + ", ...]";
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

}  // namespace thimble::tools
