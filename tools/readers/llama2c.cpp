// SPDX-License-Identifier: MIT
// Checkpoints. All numbers are little-endian.
//   version 0: 7 int32, then f32: token embedding, attention norms, wq, wk, wv, wo, feed-forward
//              norms, w1, w2, w3, final norm, two tables (seq_len, head_dim / 2) of cosines and
//              sines that nobody needs, and the output head if vocab_size is negative.
//   version 1: "24ka", the version, the 7 int32, a byte that is 1 if the head is tied, zeros up to
//              byte 256, then f32: attention norms, feed-forward norms, final norm, token
//              embedding, wq, wk, wv, wo, w1, w2, w3, and the output head if it is not tied.
//   version 2: the same, with the int32 group_size behind that byte; each matrix is its int8
//   values,
//              then an f32 scale for every group_size of them, counted through all rows.
// Each name stands for the tensors of all layers, one after another.
#include "readers/llama2c.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "error.h"
#include "rope.h"

namespace thimble::tools {
namespace {

constexpr uint32_t kVersionedMagic = 0x616b3432;  // "ak42" as a number
constexpr uint32_t kVersionedHeaderBytes = 256;
// The 7 int32, each from 1 on. Of version 0 the vocabulary is negative for a head of its own.
constexpr struct {
  const char* name;
  uint32_t high;
} kFields[] = {{"dim", kMaxDim},        {"hidden_dim", kMaxHiddenDim}, {"n_layers", kMaxLayers},
               {"n_heads", kMaxHeads},  {"n_kv_heads", kMaxHeads},     {"vocab_size", kMaxVocab},
               {"seq_len", kMaxContext}};
constexpr size_t kFieldCount = sizeof kFields / sizeof kFields[0], kVocabField = 5;
constexpr uint32_t kFieldBytes = kFieldCount * sizeof(int32_t);

// Where a tensor of each layer lies.
struct Tensor {
  uint64_t offset = 0;
  uint64_t layer_values = 0;  // rows * cols
  uint64_t layer_bytes = 0;
  uint32_t cols = 0;
  bool quantized = false;
};

class Llama2cFile {
 public:
  explicit Llama2cFile(std::shared_ptr<const InputFile> file) : file_(std::move(file)) {
    read_header();
    lay_out();
  }

  const ModelShape& shape() const { return shape_; }

  [[noreturn]] void refuse(const std::string& why) const {
    throw Refused(
        file_->path() +
        (version_known_ ? format(": llama2.c version %u: ", version_) : std::string(": ")) + why);
  }

  std::string description() const {
    std::string text = format("llama2.c version %u, ", version_);
    return text + (version_ == 2 ? format("int8 in groups of %u", group_size_) : "f32");
  }

  // What the options say of the shape. Throws where the file contradicts them.
  void amend(const ReadOptions& options) {
    const auto check = [&](const char* option, const std::optional<uint32_t>& said,
                           uint32_t found) {
      if (!said || *said == found) return;
      refuse(format("has %u in its header, where %s says %u", found, option, *said));
    };
    check("--heads", options.n_heads, shape_.n_heads);
    check("--kv-heads", options.n_kv_heads, shape_.n_kv_heads);
    if (options.rope_scaling) {
      refuse("--rope-scaling is for checkpoints whose tensors have names");
    }
    if (options.rope_theta) shape_.rope_theta = *options.rope_theta;
    rotary_dim_ = options.rotary_dim.value_or(shape_.head_dim);
    if (rotary_dim_ % 2 != 0 || rotary_dim_ > shape_.head_dim) {
      refuse(format("--rotary-dim is %u, expected an even number up to the %u of a head",
                    rotary_dim_, shape_.head_dim));
    }
    if (rotary_dim_ == shape_.head_dim) return;
    RopeSettings settings;
    settings.theta = static_cast<double>(shape_.rope_theta);
    settings.rotary_dim = rotary_dim_;
    shape_.ropes = {rope_turns(settings, shape_.head_dim)};
  }

  // In words, how the file's own cosines and sines differ from those of the shape; "" if they agree
  // or there are none. *theta is the base that they have, 0 if it is none.
  std::string odd_tables(double* theta) const {
    *theta = 0;
    const uint32_t pairs = shape_.head_dim / 2;
    if (version_ != 0 || rotary_dim_ != shape_.head_dim || tables_are_empty()) return "";
    if (tables_agree(static_cast<double>(shape_.rope_theta))) return "";
    // The slowest pair tells the base best.
    const uint32_t last = pairs - 1;
    const double angle = angle_of(1, last);
    if (last > 0 && angle > 0) {
      const double base = std::pow(angle, -static_cast<double>(pairs) / last);
      const double plain = std::strtod(format("%.4g", base).c_str(), nullptr);
      if (tables_agree(plain)) *theta = plain;
    }
    return *theta > 0 ? format("its cosines and sines are those of base %.10g", *theta)
                      : format(
                            "its cosines and sines are those of no base: from position 0 to 1 "
                            "the first pair turns by %.6g, expected 1",
                            angle_of(1, 0));
  }

  void read_row(SectionKind kind, uint32_t layer, uint32_t row, RopePairs pairs, float* out) const {
    const ModelShape& s = shape_;
    const uint32_t q = s.n_heads * s.head_dim, kv = s.n_kv_heads * s.head_dim;
    switch (kind) {
      case kTokenEmbedding:
        return read(token_embedding_, 0, row, out);
      case kAttentionNorm:
        return read(attention_norm_, layer, 0, out);
      case kAttentionQkv:
        if (row < q)
          return read(wq_, layer, rope_source_row(pairs, row, s.head_dim, rotary_dim_), out);
        row -= q;
        if (row < kv)
          return read(wk_, layer, rope_source_row(pairs, row, s.head_dim, rotary_dim_), out);
        return read(wv_, layer, row - kv, out);
      case kAttentionOutput:
        return read(wo_, layer, row, out);
      case kFeedForwardNorm:
        return read(feed_forward_norm_, layer, 0, out);
      case kFeedForwardGateUp:
        if (row < s.hidden_dim) return read(w1_, layer, row, out);
        return read(w3_, layer, row - s.hidden_dim, out);
      case kFeedForwardDown:
        return read(w2_, layer, row, out);
      case kFinalNorm:
        return read(final_norm_, 0, 0, out);
      case kOutputHead:
        return read(head_, 0, row, out);
      default:
        throw Refused(file_->path() + ": has no " + section_name(kind));
    }
  }

 private:
  // ---- Header ------------------------------------------------------------------------------

  void read_header() {
    uint32_t start[2] = {};
    if (file_->size() >= sizeof start) file_->read(0, start, sizeof start);
    const bool versioned = start[0] == kVersionedMagic;
    if (versioned && start[1] != 1 && start[1] != 2) {
      refuse(format("llama2.c version: found %d, expected 1 or 2 (or a file of version 0)",
                    static_cast<int>(start[1])));
    }
    version_ = versioned ? start[1] : 0;
    header_bytes_ = versioned ? kVersionedHeaderBytes : kFieldBytes;
    if (file_->size() < header_bytes_) {
      refuse(format("found %llu bytes, expected at least the %u of a llama2.c header",
                    static_cast<unsigned long long>(file_->size()), header_bytes_));
    }
    version_known_ = true;
    std::vector<uint8_t> header(header_bytes_);
    file_->read(0, header.data(), header.size());
    read_fields(header.data() + (versioned ? 8 : 0));
    if (versioned) read_flags(header);
  }

  void read_fields(const uint8_t* bytes) {
    int32_t fields[kFieldCount];
    std::memcpy(fields, bytes, sizeof fields);
    ModelShape& s = shape_;
    if (version_ == 0 && fields[kVocabField] < 0) {
      s.tied_head = false;
      if (fields[kVocabField] != INT32_MIN) fields[kVocabField] = -fields[kVocabField];
    }
    for (size_t i = 0; i < kFieldCount; ++i) {
      if (fields[i] >= 1 && static_cast<uint32_t>(fields[i]) <= kFields[i].high) continue;
      const bool unsigned_one = i == kVocabField && version_ == 0;
      refuse(format("%s%s: found %d, expected 1 to %u%s", kFields[i].name,
                    unsigned_one ? " without its sign" : "", fields[i], kFields[i].high,
                    version_ == 0 ? "; is this a llama2.c checkpoint at all?" : ""));
    }
    uint32_t* const to[] = {&s.dim,        &s.hidden_dim, &s.n_layers, &s.n_heads,
                            &s.n_kv_heads, &s.vocab_size, &s.n_ctx};
    for (size_t i = 0; i < kFieldCount; ++i) *to[i] = static_cast<uint32_t>(fields[i]);

    if (s.dim % s.n_heads != 0) {
      refuse(format("dim %u is no multiple of n_heads %u", s.dim, s.n_heads));
    }
    s.head_dim = s.dim / s.n_heads;
    if (s.head_dim % 2 != 0 || s.head_dim > kMaxHeadDim) {
      refuse(format("head size (dim %u / n_heads %u): found %u, expected an even number up to %u",
                    s.dim, s.n_heads, s.head_dim, kMaxHeadDim));
    }
    if (s.n_heads % s.n_kv_heads != 0) {
      refuse(format("n_kv_heads: found %u, expected a divisor of n_heads %u", s.n_kv_heads,
                    s.n_heads));
    }
  }

  void read_flags(const std::vector<uint8_t>& header) {
    size_t at = 8 + kFieldBytes;
    const uint8_t tied = header[at++];
    if (tied > 1) refuse(format("tied-head byte: found %u, expected 0 or 1", tied));
    shape_.tied_head = tied == 1;
    if (version_ == 2) {
      int32_t group_size;
      std::memcpy(&group_size, &header[at], sizeof group_size);
      at += sizeof group_size;
      if (group_size < 1) {
        refuse(format("group_size: found %d, expected at least 1", group_size));
      }
      group_size_ = static_cast<uint32_t>(group_size);
    }
    for (; at < header.size(); ++at) {
      if (header[at] == 0) continue;
      refuse(format("byte %zu of the header: found 0x%02x, expected 0", at, header[at]));
    }
  }

  // ---- Places of the tensors ---------------------------------------------------------------

  Tensor take(uint32_t layers, uint32_t rows, uint32_t cols, bool is_matrix = true) {
    Tensor t;
    t.offset = end_;
    t.cols = cols;
    t.layer_values = uint64_t{rows} * cols;
    t.quantized = is_matrix && version_ == 2;
    if (!t.quantized) {
      t.layer_bytes = t.layer_values * sizeof(float);
    } else {
      if (t.layer_values % group_size_ != 0) {
        refuse(format("group_size: found %u, which does not divide a matrix of %u x %u",
                      group_size_, rows, cols));
      }
      t.layer_bytes = t.layer_values + t.layer_values / group_size_ * sizeof(float);
    }
    end_ += layers * t.layer_bytes;
    return t;
  }

  void take_norms() {
    attention_norm_ = take(shape_.n_layers, 1, shape_.dim, false);
    feed_forward_norm_ = take(shape_.n_layers, 1, shape_.dim, false);
    final_norm_ = take(1, 1, shape_.dim, false);
  }

  void take_attention() {
    const ModelShape& s = shape_;
    const uint32_t q = s.n_heads * s.head_dim, kv = s.n_kv_heads * s.head_dim;
    wq_ = take(s.n_layers, q, s.dim);
    wk_ = take(s.n_layers, kv, s.dim);
    wv_ = take(s.n_layers, kv, s.dim);
    wo_ = take(s.n_layers, s.dim, q);
  }

  void take_feed_forward() {
    const ModelShape& s = shape_;
    w1_ = take(s.n_layers, s.hidden_dim, s.dim);
    w2_ = take(s.n_layers, s.dim, s.hidden_dim);
    w3_ = take(s.n_layers, s.hidden_dim, s.dim);
  }

  void lay_out() {
    const ModelShape& s = shape_;
    end_ = header_bytes_;
    if (version_ == 0) {
      token_embedding_ = take(1, s.vocab_size, s.dim);
      attention_norm_ = take(s.n_layers, 1, s.dim, false);
      take_attention();
      feed_forward_norm_ = take(s.n_layers, 1, s.dim, false);
      take_feed_forward();
      final_norm_ = take(1, 1, s.dim, false);
      cosines_ = take(1, s.n_ctx, s.head_dim / 2, false);
      sines_ = take(1, s.n_ctx, s.head_dim / 2, false);
    } else {
      take_norms();
      token_embedding_ = take(1, s.vocab_size, s.dim);
      take_attention();
      take_feed_forward();
    }
    if (!s.tied_head) head_ = take(1, s.vocab_size, s.dim);
    if (file_->size() != end_) {
      refuse(
          format("found a file of %llu bytes, expected %llu for dim %u, hidden_dim %u, %u "
                 "layers, %u heads, %u key/value heads, vocab_size %u, seq_len %u, %s head",
                 static_cast<unsigned long long>(file_->size()),
                 static_cast<unsigned long long>(end_), s.dim, s.hidden_dim, s.n_layers, s.n_heads,
                 s.n_kv_heads, s.vocab_size, s.n_ctx, s.tied_head ? "tied" : "separate"));
    }
  }

  // ---- Tables of version 0 -------------------------------------------------------------------

  double entry(const Tensor& table, uint32_t position, uint32_t pair) const {
    std::vector<float> row(table.cols);
    read(table, 0, position, row.data());
    return static_cast<double>(row[pair]);
  }

  double angle_of(uint32_t position, uint32_t pair) const {
    return std::atan2(entry(sines_, position, pair), entry(cosines_, position, pair));
  }

  // All of them would take long to read, and no two bases agree at these.
  template <class F>
  bool at_some_positions(F holds) const {
    for (uint32_t position = 1; position < shape_.n_ctx; position += position / 2 + 1) {
      for (uint32_t pair = 0; pair < shape_.head_dim / 2; ++pair) {
        if (!holds(position, pair)) return false;
      }
    }
    return true;
  }

  bool tables_are_empty() const {
    return at_some_positions([this](uint32_t position, uint32_t pair) {
      return std::fabs(entry(cosines_, position, pair)) + std::fabs(entry(sines_, position, pair)) <
             1e-30;
    });
  }

  bool tables_agree(double theta) const {
    return at_some_positions([&](uint32_t position, uint32_t pair) {
      const double angle = position * std::pow(theta, -2.0 * pair / shape_.head_dim);
      const double most = 0.01 + 1e-6 * angle;  // float16 tables, angles rounded to float
      return std::fabs(entry(cosines_, position, pair) - std::cos(angle)) <= most &&
             std::fabs(entry(sines_, position, pair) - std::sin(angle)) <= most;
    });
  }

  // ---- Weights -----------------------------------------------------------------------------

  void read(const Tensor& t, uint32_t layer, uint32_t row, float* out) const {
    const uint64_t start = t.offset + layer * t.layer_bytes;
    const uint64_t first = uint64_t{row} * t.cols;
    if (!t.quantized) {
      file_->read(start + first * sizeof(float), out, t.cols * sizeof(float));
      return;
    }
    const uint64_t first_group = first / group_size_;
    const uint64_t last_group = (first + t.cols - 1) / group_size_;
    std::vector<int8_t> values(t.cols);
    std::vector<float> scales(static_cast<size_t>(last_group - first_group + 1));
    file_->read(start + first, values.data(), values.size());
    file_->read(start + t.layer_values + first_group * sizeof(float), scales.data(),
                scales.size() * sizeof(float));
    for (uint32_t c = 0; c < t.cols; ++c) {
      const size_t group = static_cast<size_t>((first + c) / group_size_ - first_group);
      out[c] = static_cast<float>(values[c]) * scales[group];
    }
  }

  std::shared_ptr<const InputFile> file_;
  uint32_t version_ = 0;
  bool version_known_ = false;
  uint32_t header_bytes_ = 0;
  uint32_t group_size_ = 0;
  uint64_t end_ = 0;
  uint32_t rotary_dim_ = 0;
  ModelShape shape_;
  Tensor token_embedding_, attention_norm_, wq_, wk_, wv_, wo_, feed_forward_norm_, w1_, w2_, w3_,
      final_norm_, cosines_, sines_, head_;
};

}  // namespace

bool is_llama2c(const InputFile& file) {
  uint32_t magic = 0;
  if (file.size() < kFieldBytes) {
    if (file.size() >= sizeof magic) file.read(0, &magic, sizeof magic);
    return magic == kVersionedMagic;
  }
  int32_t fields[kFieldCount];
  file.read(0, fields, sizeof fields);
  std::memcpy(&magic, fields, sizeof magic);
  size_t wrong = 0;
  for (size_t i = 0; i < kFieldCount; ++i) {
    const int64_t value = fields[i], size = i == kVocabField && value < 0 ? -value : value;
    if (size < 1 || size > kFields[i].high) ++wrong;
  }
  return magic == kVersionedMagic || wrong < 2;
}

Checkpoint open_llama2c(std::shared_ptr<const InputFile> file, const ReadOptions& options) {
  const auto reading = std::make_shared<Llama2cFile>(std::move(file));
  reading->amend(options);
  const std::shared_ptr<const Llama2cFile> source = reading;
  Checkpoint checkpoint;
  checkpoint.description = source->description();
  checkpoint.shape = source->shape();
  checkpoint.rope_pairs = options.rope_pairs.value_or(RopePairs::kNeighbours);
  double theta = 0;
  const std::string odd = source->odd_tables(&theta);
  if (!odd.empty()) {
    const double base = static_cast<double>(checkpoint.shape.rope_theta);
    if (!options.rope_theta) {
      source->refuse(odd + format("; without --rope-theta the model would be made for %g", base) +
                     (theta > 0 ? format(", say --rope-theta %.10g", theta) : std::string()));
    }
    checkpoint.note = odd + format(", and the model is made for %g, as --rope-theta says", base);
  }
  checkpoint.rows = [source, pairs = checkpoint.rope_pairs](SectionKind kind, uint32_t layer,
                                                            uint32_t row, uint32_t, float* out) {
    source->read_row(kind, layer, row, pairs, out);
  };
  return checkpoint;
}

}  // namespace thimble::tools
