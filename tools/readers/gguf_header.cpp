// SPDX-License-Identifier: MIT
#include "readers/gguf_header.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "error.h"
#include "format.h"

namespace thimble::tools {

namespace {

// Far above what models have. They keep memory bounded whatever the file's length is.
constexpr uint64_t kMaxHeaderBytes = 64u << 20;
constexpr uint64_t kMaxKeys = 1u << 16;
constexpr uint64_t kMaxTensors = 1u << 17;
constexpr uint64_t kMaxTokens = 1u << 20;
constexpr uint64_t kMaxMerges = 1u << 22;
constexpr uint64_t kMaxListValues = 1u << 20;  // of all other arrays together
constexpr uint64_t kMaxKeyBytes = 65535;       // the specification's
constexpr uint64_t kMaxNameBytes = 64;         // likewise
constexpr uint32_t kMaxDims = 4;
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kDefaultAlignment = 32;

enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
  kValueTypes = 13
};
constexpr const char* kValueTypeNames[kValueTypes] = {
    "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
    "bool",  "string", "array",  "uint64", "int64",  "float64"};
// Bytes that a value takes at least: of a string its length, of an array its type and length.
constexpr uint64_t kValueBytes[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

unsigned long long printed(uint64_t x) {
  return x;
}

class Parser {
 public:
  explicit Parser(const InputFile& file)
      : file_(file), end_(std::min(file.size(), kMaxHeaderBytes)) {}

  GgufHeader parse() {
    check_magic();
    header_.version = number<uint32_t>("the version");
    check_version();
    const uint64_t n_tensors = number<uint64_t>("the number of tensors");
    const uint64_t n_keys = number<uint64_t>("the number of keys");
    // A key takes at least its length, a byte, a type and a value; a tensor its name, one byte at
    // least, the number of dimensions, type and offset.
    check_count("tensors", n_tensors, 8 + 1 + 4 + 4 + 8, kMaxTensors);
    check_count("keys", n_keys, 8 + 1 + 4 + 1, kMaxKeys);
    for (uint64_t i = 0; i < n_keys; ++i) parse_key(i);
    check_tokenizer();
    std::vector<uint64_t> offsets;
    for (uint64_t i = 0; i < n_tensors; ++i) offsets.push_back(parse_tensor(i));
    place_tensors(offsets);
    return std::move(header_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Refused(file_.path() + ": " + what);
  }

  uint64_t remaining() const { return end_ - at_; }

  void need(uint64_t bytes, const std::string& what) const {
    if (bytes <= remaining()) return;
    if (end_ < file_.size()) {
      refuse(format("%s needs %llu bytes at offset %llu, expected a header of at most %llu bytes",
                    what.c_str(), printed(bytes), printed(at_), printed(kMaxHeaderBytes)));
    }
    refuse(format("%s needs %llu bytes at offset %llu, the file has %llu left", what.c_str(),
                  printed(bytes), printed(at_), printed(remaining())));
  }

  void take(void* out, size_t bytes, const std::string& what) {
    need(bytes, what);
    uint8_t* to = static_cast<uint8_t*>(out);
    while (bytes > 0) {
      if (at_ < window_begin_ || at_ >= window_begin_ + window_.size()) {
        window_.resize(static_cast<size_t>(std::min<uint64_t>(remaining(), 1 << 16)));
        file_.read(at_, window_.data(), window_.size());
        window_begin_ = at_;
      }
      const size_t first = static_cast<size_t>(at_ - window_begin_);
      const size_t n = std::min(bytes, window_.size() - first);
      std::memcpy(to, window_.data() + first, n);
      to += n;
      at_ += n;
      bytes -= n;
    }
  }

  template <class T>
  T number(const std::string& what) {
    T x;
    take(&x, sizeof x, what);
    return x;
  }

  std::string text(const std::string& what, uint64_t longest) {
    const uint64_t bytes = number<uint64_t>("the length of " + what);
    if (bytes > longest) {
      refuse(format("%s is %llu bytes long, expected at most %llu", what.c_str(), printed(bytes),
                    printed(longest)));
    }
    need(bytes, what);
    std::string out(static_cast<size_t>(bytes), '\0');
    take(out.data(), out.size(), what);
    return out;
  }

  // That many things may follow, as far as their least size tells.
  void check_count(const char* what, uint64_t count, uint64_t least_bytes, uint64_t most) const {
    if (count > remaining() / least_bytes) {
      refuse(format("%llu %s cannot be in the %llu bytes that follow", printed(count), what,
                    printed(remaining())));
    }
    if (count > most) {
      refuse(format("has %llu %s, expected at most %llu", printed(count), what, printed(most)));
    }
  }

  void check_magic() {
    char start[4] = {};
    const size_t n = static_cast<size_t>(std::min<uint64_t>(file_.size(), sizeof start));
    file_.read(0, start, n);
    const std::string begins(start, n);
    if (begins != "GGUF") refuse("starts with " + gguf_quoted(begins) + ", expected \"GGUF\"");
    at_ = sizeof start;
  }

  void check_version() const {
    const uint32_t version = header_.version;
    if (version == 2 || version == 3) return;
    if ((version & 0xffff) == 0 && version != 0) {
      refuse("is big-endian, expected a little-endian GGUF file");
    }
    refuse(format("has GGUF version %u, expected 2 or 3", version));
  }

  // ---- Keys and values

  static std::string type_name(uint32_t type) {
    if (type < kValueTypes) return kValueTypeNames[type];
    return format("unknown type %u", type);
  }

  uint32_t value_type(const std::string& what) {
    const uint32_t type = number<uint32_t>("the type of " + what);
    if (type >= kValueTypes) {
      refuse(format("%s has the unknown type %u, expected 0 to %u", what.c_str(), type,
                    kValueTypes - 1));
    }
    return type;
  }

  void want_type(const std::string& what, uint32_t found, uint32_t expected) const {
    if (found != expected) {
      refuse(what + " is of type " + type_name(found) + ", expected " + type_name(expected));
    }
  }

  void parse_key(uint64_t index) {
    const std::string key = text(format("key %llu", printed(index)), kMaxKeyBytes);
    if (key.empty()) refuse(format("key %llu is empty", printed(index)));
    const std::string what = "key " + gguf_quoted(key);
    if (!keys_.insert(key).second) refuse(what + " is there twice");
    const uint32_t type = value_type(what);
    if (parse_tokenizer_key(key, what, type)) return;
    if (key == "general.alignment") {
      want_type(what, type, kUint32);
      alignment_ = number<uint32_t>(what);
      if (alignment_ == 0 || (alignment_ & (alignment_ - 1)) != 0) {
        refuse(format("%s is %llu, expected a power of two", what.c_str(), printed(alignment_)));
      }
      header_.metadata.emplace_back(key, static_cast<int64_t>(alignment_));
      return;
    }
    header_.metadata.emplace_back(key, value(what, type, 0));
  }

  Value value(const std::string& what, uint32_t type, int depth) {
    switch (type) {
      case kUint8:
        return static_cast<int64_t>(number<uint8_t>(what));
      case kInt8:
        return static_cast<int64_t>(number<int8_t>(what));
      case kUint16:
        return static_cast<int64_t>(number<uint16_t>(what));
      case kInt16:
        return static_cast<int64_t>(number<int16_t>(what));
      case kUint32:
        return static_cast<int64_t>(number<uint32_t>(what));
      case kInt32:
        return static_cast<int64_t>(number<int32_t>(what));
      case kInt64:
        return number<int64_t>(what);
      case kFloat32:
        return static_cast<double>(number<float>(what));
      case kFloat64:
        return number<double>(what);
      case kString:
        return text(what, kMaxHeaderBytes);
      case kUint64: {
        const uint64_t x = number<uint64_t>(what);
        if (x > static_cast<uint64_t>(INT64_MAX)) return static_cast<double>(x);
        return static_cast<int64_t>(x);
      }
      case kBool: {
        const uint8_t x = number<uint8_t>(what);
        if (x > 1) refuse(format("%s is the bool %u, expected 0 or 1", what.c_str(), x));
        return x == 1;
      }
      default:
        return array(what, depth + 1);
    }
  }

  // The type of an array's elements and their number, which may be there.
  uint64_t array_length(const std::string& what, uint32_t* type, uint64_t most) {
    *type = value_type("an element of " + what);
    const uint64_t n = number<uint64_t>("the length of " + what);
    check_count(("elements of " + what).c_str(), n, kValueBytes[*type], most);
    return n;
  }

  Value array(const std::string& what, int depth) {
    if (depth > kMaxArrayDepth) {
      refuse(format("%s has arrays nested deeper than %d", what.c_str(), kMaxArrayDepth));
    }
    uint32_t type;
    const uint64_t n = array_length(what, &type, kMaxListValues - list_values_);
    list_values_ += n;
    Value::List out;
    out.reserve(static_cast<size_t>(n));
    for (uint64_t i = 0; i < n; ++i) out.push_back(value(what, type, depth));
    return out;
  }

  bool parse_tokenizer_key(const std::string& key, const std::string& what, uint32_t type) {
    const bool is_tokens = key == "tokenizer.ggml.tokens",
               is_merges = key == "tokenizer.ggml.merges";
    const bool is_scores = key == "tokenizer.ggml.scores";
    const bool is_types = key == "tokenizer.ggml.token_type";
    if (!is_tokens && !is_merges && !is_scores && !is_types) return false;
    want_type(what, type, kArray);
    uint32_t element;
    const uint64_t n = array_length(what, &element, is_merges ? kMaxMerges : kMaxTokens);
    const size_t count = static_cast<size_t>(n);
    if (is_tokens || is_merges) {
      want_type("an element of " + what, element, kString);
      std::vector<std::string>& out = is_tokens ? header_.tokens : header_.merges;
      out.reserve(count);
      for (size_t i = 0; i < count; ++i) out.push_back(text(what, kMaxHeaderBytes));
    } else if (is_scores) {
      want_type("an element of " + what, element, kFloat32);
      header_.scores.resize(count);
      take(header_.scores.data(), count * sizeof(float), what);
      for (size_t i = 0; i < count; ++i) {
        if (!std::isfinite(header_.scores[i])) {
          refuse(format("%s: element %zu is not finite", what.c_str(), i));
        }
      }
    } else {
      if (element != kUint32) want_type("an element of " + what, element, kInt32);
      header_.token_types.resize(count);
      take(header_.token_types.data(), count * sizeof(int32_t), what);
    }
    return true;
  }

  void check_tokenizer() const {
    const size_t n = header_.tokens.size();
    const auto check = [&](const char* name, size_t found) {
      if (keys_.count(name) != 0 && found != n) {
        refuse(format("key \"%s\" has %zu elements, expected %zu, one for each token", name, found,
                      n));
      }
    };
    check("tokenizer.ggml.scores", header_.scores.size());
    check("tokenizer.ggml.token_type", header_.token_types.size());
  }

  // ---- Tensors

  // The offset that the file gives, from where the tensors' bytes start.
  uint64_t parse_tensor(uint64_t index) {
    GgufTensor t;
    t.tensor.name = text(format("the name of tensor %llu", printed(index)), kMaxNameBytes);
    if (t.tensor.name.empty()) refuse(format("the name of tensor %llu is empty", printed(index)));
    const std::string what = "tensor " + gguf_quoted(t.tensor.name);
    if (!names_.insert(t.tensor.name).second) refuse(what + " is there twice");
    const uint32_t n_dims = number<uint32_t>(what);
    if (n_dims > kMaxDims) {
      refuse(format("%s has %u dimensions, expected at most %u", what.c_str(), n_dims, kMaxDims));
    }
    for (uint32_t i = 0; i < n_dims; ++i) {
      const uint64_t size = number<uint64_t>(what);
      if (size > static_cast<uint64_t>(INT64_MAX)) {
        refuse(format("%s has dimension %u of size %llu, expected less than 2^63", what.c_str(), i,
                      printed(size)));
      }
      t.tensor.shape.insert(t.tensor.shape.begin(), size);  // the file's first is the innermost
    }
    const uint32_t id = number<uint32_t>(what);
    t.type = gguf_type(id);
    if (!t.type) refuse(format("%s has the unknown type %u", what.c_str(), id));
    t.tensor.type = t.type->name;
    t.offset = 0;
    const uint64_t row = t.tensor.shape.empty() ? 1 : t.tensor.shape.back();
    if (row % t.type->block_elements != 0) {
      refuse(format("%s has rows of %llu elements, expected a multiple of %u for type %s",
                    what.c_str(), printed(row), t.type->block_elements, t.type->name));
    }
    header_.tensors.push_back(std::move(t));
    return number<uint64_t>(what);
  }

  uint64_t elements(const Tensor& tensor) const {
    uint64_t n = 1;
    for (const uint64_t size : tensor.shape) {
      if (size == 0) return 0;
    }
    for (const uint64_t size : tensor.shape) {
      if (n > static_cast<uint64_t>(INT64_MAX) / size) {
        refuse("tensor " + gguf_quoted(tensor.name) + " has more than 2^63 elements");
      }
      n *= size;
    }
    return n;
  }

  // As ggml wants it: in the header's order, one after another, each at a multiple of the
  // alignment. So nothing overlaps, and nothing hides between.
  void place_tensors(const std::vector<uint64_t>& offsets) {
    const uint64_t data = round_up(at_, alignment_);
    uint64_t next = 0;  // no overflow: it stays within the file's length and one alignment
    for (size_t i = 0; i < offsets.size(); ++i) {
      GgufTensor& t = header_.tensors[i];
      const std::string what = "tensor " + gguf_quoted(t.tensor.name);
      const uint64_t offset = offsets[i];
      const uint64_t n = elements(t.tensor);
      if (offset % alignment_ != 0) {
        refuse(format("%s has offset %llu, expected a multiple of %llu", what.c_str(),
                      printed(offset), printed(alignment_)));
      }
      if (offset != next) {
        refuse(format("%s has offset %llu, expected %llu, where the one before it ends: %s",
                      what.c_str(), printed(offset), printed(next),
                      offset < next ? "they overlap" : "there is a gap"));
      }
      const uint64_t blocks = n / t.type->block_elements;
      const uint64_t left =
          file_.size() > data && file_.size() - data > next ? file_.size() - data - next : 0;
      if (blocks > left / t.type->block_bytes) {
        refuse(format(
            "%s has %llu elements of type %s at offset %llu, beyond the file's %llu bytes",
            what.c_str(), printed(n), t.type->name, printed(data + offset), printed(file_.size())));
      }
      t.offset = data + offset;
      next = round_up(next + blocks * t.type->block_bytes, alignment_);
    }
  }

  const InputFile& file_;
  uint64_t end_;  // of what may be header
  uint64_t at_ = 0;
  std::vector<uint8_t> window_;
  uint64_t window_begin_ = 0;
  uint64_t alignment_ = kDefaultAlignment;
  uint64_t list_values_ = 0;
  std::unordered_set<std::string> keys_, names_;
  GgufHeader header_;
};

}  // namespace

std::string gguf_quoted(const std::string& text) {
  constexpr size_t kMost = 80;
  std::string out = "\"";
  for (const char c : text.substr(0, kMost)) out += c >= ' ' && c <= '~' ? c : '?';
  return out + (text.size() > kMost ? "...\"" : "\"");
}

GgufHeader read_gguf_header(const InputFile& file) {
  return Parser(file).parse();
}

}  // namespace thimble::tools
