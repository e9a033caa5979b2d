// SPDX-License-Identifier: MIT
#include "readers/strided.h"

#include <algorithm>

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxKeptBytes = 64u << 20;

}  // namespace

bool is_contiguous(const std::vector<uint64_t>& shape, const std::vector<uint64_t>& strides) {
  uint64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;  // no element at all
    if (shape[i] == 1) continue;
    if (strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

bool strided_extent(const std::vector<uint64_t>& shape, const std::vector<uint64_t>& strides,
                    uint64_t* extent) {
  *extent = 0;
  if (std::find(shape.begin(), shape.end(), uint64_t{0}) != shape.end()) return true;
  uint64_t last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    uint64_t step = 0;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return false;
    }
  }
  return !__builtin_add_overflow(last, uint64_t{1}, extent);
}

void StridedReader::read(const Tensor& tensor, const PlainType& type, const StridedPlace& place,
                         uint64_t begin, size_t count, float* out) {
  if (type.to_float == nullptr) refuse_plain_type(file_.path(), tensor);
  if (count == 0) return;
  if (is_contiguous(tensor.shape, place.strides)) {
    return read_plain(file_, tensor, type, place.storage + (place.offset + begin) * type.bytes,
                      count, out);
  }
  // Row by row along the last dimension; `index` counts the others.
  const size_t rank = tensor.shape.size();
  const uint64_t row = tensor.shape[rank - 1];
  std::vector<uint64_t> index(rank, 0);
  uint64_t rest = begin;
  for (size_t i = rank; i-- > 0;) {
    index[i] = rest % tensor.shape[i];
    rest /= tensor.shape[i];
  }
  while (count > 0) {
    uint64_t at = place.offset;
    for (size_t i = 0; i < rank; ++i) at += index[i] * place.strides[i];
    const size_t n = static_cast<size_t>(std::min<uint64_t>(count, row - index[rank - 1]));
    gather(tensor, type, place, at, place.strides[rank - 1], n, out);
    out += n;
    count -= n;
    index[rank - 1] = 0;
    for (size_t i = rank - 1; i-- > 0;) {
      if (++index[i] < tensor.shape[i]) break;
      index[i] = 0;
    }
  }
}

void StridedReader::gather(const Tensor& tensor, const PlainType& type, const StridedPlace& place,
                           uint64_t at, uint64_t stride, size_t count, float* out) {
  if (place.storage_count > kMaxKeptBytes / type.bytes) {
    if (stride == 1) {
      return read_plain(file_, tensor, type, place.storage + at * type.bytes, count, out);
    }
    for (size_t i = 0; i < count; ++i) {
      read_plain(file_, tensor, type, place.storage + (at + i * stride) * type.bytes, 1, &out[i]);
    }
    return;
  }
  if (kept_.empty() || kept_storage_ != place.storage) {
    kept_.clear();  // so that a read that fails leaves nothing behind
    std::vector<uint8_t> bytes(static_cast<size_t>(place.storage_count * type.bytes));
    file_.read(place.storage, bytes.data(), bytes.size());
    kept_ = std::move(bytes);
    kept_storage_ = place.storage;
  }
  const uint8_t* from = kept_.data() + static_cast<size_t>(at * type.bytes);
  if (stride == 1) return type.to_float(from, count, out);
  const size_t step = static_cast<size_t>(stride * type.bytes);
  for (size_t i = 0; i < count; ++i) type.to_float(from + i * step, 1, &out[i]);
}

}  // namespace thimble::tools
