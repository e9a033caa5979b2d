// SPDX-License-Identifier: MIT
#include "readers/gguf.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "error.h"
#include "readers/gguf_header.h"

namespace thimble::tools {

namespace {

constexpr int64_t kMaxParts = 512;  // each keeps a file open
constexpr size_t kChunkBytes = 1 << 16;

unsigned long long printed(uint64_t x) {
  return x;
}

class GgufTensors : public Tensors {
 public:
  void add(const std::shared_ptr<const InputFile>& file, std::vector<GgufTensor> tensors) {
    for (GgufTensor& t : tensors) {
      if (!names_.insert(t.tensor.name).second) {
        throw Refused(file->path() + ": tensor " + gguf_quoted(t.tensor.name) +
                      " is in an earlier part, too");
      }
      places_.push_back({file, t.type, t.offset});
      all_.push_back(std::move(t.tensor));
    }
  }

  const std::vector<Tensor>& all() const override { return all_; }
  const std::string& path(size_t index) const override { return places_.at(index).file->path(); }

  void read(size_t index, uint64_t begin, size_t count, float* out) const override {
    const Place& place = places_.at(index);
    const GgufType& type = *place.type;
    if (!type.to_float) {
      refuse(index, format("is of type %s, which is not read, expected one of %s", type.name,
                           gguf_types_read().c_str()));
    }
    const uint64_t n = element_count(all_[index]);
    if (begin > n || count > n - begin) {
      refuse(index, format("has %llu elements, asked for %zu from %llu on", printed(n), count,
                           printed(begin)));
    }
    const size_t most = kChunkBytes / type.block_bytes;
    std::vector<uint8_t> bytes;
    while (count > 0) {
      const uint64_t block = begin / type.block_elements;
      const size_t skip = static_cast<size_t>(begin % type.block_elements);
      const uint64_t offset = place.offset + block * type.block_bytes;
      if (skip > 0 || count < type.block_elements) {  // a part of one block
        float values[kMaxGgufBlockElements];
        const size_t taken = std::min<size_t>(count, type.block_elements - skip);
        bytes.resize(std::max<size_t>(bytes.size(), type.block_bytes));
        place.file->read(offset, bytes.data(), type.block_bytes);
        type.to_float(bytes.data(), 1, values);
        std::memcpy(out, values + skip, taken * sizeof(float));
        advance(taken, &begin, &count, &out);
      } else {
        const size_t blocks = std::min<size_t>(most, count / type.block_elements);
        bytes.resize(std::max<size_t>(bytes.size(), blocks * type.block_bytes));
        place.file->read(offset, bytes.data(), blocks * type.block_bytes);
        type.to_float(bytes.data(), blocks, out);
        advance(blocks * type.block_elements, &begin, &count, &out);
      }
    }
  }

 private:
  struct Place {
    std::shared_ptr<const InputFile> file;
    const GgufType* type;
    uint64_t offset;
  };

  [[noreturn]] void refuse(size_t index, const std::string& what) const {
    throw Refused(path(index) + ": tensor " + gguf_quoted(all_[index].name) + " " + what);
  }

  static void advance(size_t n, uint64_t* begin, size_t* count, float** out) {
    *begin += n;
    *count -= n;
    *out += n;
  }

  std::vector<Tensor> all_;
  std::vector<Place> places_;
  std::unordered_set<std::string> names_;
};

// ---- Split files: each part is a GGUF file that says which it is of how many

int64_t split_number(const InputFile& file, const Value& metadata, const char* key,
                     int64_t fallback) {
  const Value* value = metadata.find(key);
  if (!value) return fallback;
  if (!value->integer()) {
    throw Refused(format("%s: key \"%s\" is no integer", file.path().c_str(), key));
  }
  return *value->integer();
}

struct Split {
  int64_t no, count, n_tensors;  // n_tensors: of all parts, -1 where the file does not tell
};

Split split_of(const InputFile& file, const Value& metadata) {
  const Split split = {split_number(file, metadata, "split.no", 0),
                       split_number(file, metadata, "split.count", 1),
                       split_number(file, metadata, "split.tensors.count", -1)};
  if (split.count < 0 || split.count > kMaxParts) {
    throw Refused(format("%s: is split into %lld parts, expected at most %lld", file.path().c_str(),
                         static_cast<long long>(split.count), static_cast<long long>(kMaxParts)));
  }
  if (split.no < 0 || split.no >= std::max<int64_t>(split.count, 1)) {
    throw Refused(format("%s: says that it is part %lld of %lld", file.path().c_str(),
                         static_cast<long long>(split.no) + 1,
                         static_cast<long long>(split.count)));
  }
  return split;
}

std::string part_suffix(int64_t no, int64_t count) {
  return format("-%05lld-of-%05lld.gguf", static_cast<long long>(no) + 1,
                static_cast<long long>(count));
}

// The path without its part's suffix.
std::string split_prefix(const InputFile& file, const Split& split) {
  const std::string suffix = part_suffix(split.no, split.count);
  const std::string& path = file.path();
  if (path.size() <= suffix.size() ||
      path.compare(path.size() - suffix.size(), suffix.size(), suffix) != 0) {
    throw Refused(
        format("%s: is part %lld of %lld, so its name has to end in %s, for the other "
               "parts to be found beside it",
               path.c_str(), static_cast<long long>(split.no) + 1,
               static_cast<long long>(split.count), suffix.c_str()));
  }
  return path.substr(0, path.size() - suffix.size());
}

void add_other_parts(const InputFile& first, const Split& split, GgufTensors* tensors) {
  const std::string prefix = split_prefix(first, split);
  if (split.no != 0) {
    throw Refused(format("%s: is part %lld of %lld; give the first: %s", first.path().c_str(),
                         static_cast<long long>(split.no) + 1, static_cast<long long>(split.count),
                         (prefix + part_suffix(0, split.count)).c_str()));
  }
  for (int64_t no = 1; no < split.count; ++no) {
    const auto file = std::make_shared<const InputFile>(prefix + part_suffix(no, split.count));
    GgufHeader header = read_gguf_header(*file);
    const Split found = split_of(*file, Value(std::move(header.metadata)));
    if (found.no != no || found.count != split.count) {
      throw Refused(format("%s: says that it is part %lld of %lld, expected part %lld of %lld",
                           file->path().c_str(), static_cast<long long>(found.no) + 1,
                           static_cast<long long>(found.count), static_cast<long long>(no) + 1,
                           static_cast<long long>(split.count)));
    }
    tensors->add(file, std::move(header.tensors));
  }
}

std::string describe(uint32_t version, const Value& metadata, const Tensors& tensors,
                     int64_t parts) {
  std::vector<std::string> types;
  for (const Tensor& t : tensors.all()) {
    if (std::find(types.begin(), types.end(), t.type) == types.end()) types.push_back(t.type);
  }
  std::string text = format("GGUF v%u", version);
  const Value* architecture = metadata.find("general.architecture");
  if (architecture && architecture->string()) {
    const std::string quoted = gguf_quoted(*architecture->string());
    text += ", " + quoted.substr(1, quoted.size() - 2);
  }
  text += format(", %zu tensors", tensors.all().size());
  for (size_t i = 0; i < types.size(); ++i) text += (i == 0 ? " (" : ", ") + types[i];
  if (!types.empty()) text += ")";
  if (parts > 1) text += format(" in %lld files", static_cast<long long>(parts));
  return text;
}

}  // namespace

bool is_gguf(const InputFile& file) {
  char magic[4];
  if (file.size() < sizeof magic) return false;
  file.read(0, magic, sizeof magic);
  return std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

GgufFile open_gguf(const std::string& path) {
  const auto file = std::make_shared<const InputFile>(path);
  GgufHeader header = read_gguf_header(*file);
  GgufFile out;
  out.metadata = Value(std::move(header.metadata));
  out.tokens = std::move(header.tokens);
  out.scores = std::move(header.scores);
  out.token_types = std::move(header.token_types);
  out.merges = std::move(header.merges);

  auto tensors = std::make_unique<GgufTensors>();
  tensors->add(file, std::move(header.tensors));
  const Split split = split_of(*file, out.metadata);
  if (split.count > 1) add_other_parts(*file, split, tensors.get());
  if (split.n_tensors >= 0 && static_cast<uint64_t>(split.n_tensors) != tensors->all().size()) {
    throw Refused(format("%s: key \"split.tensors.count\" is %lld, but the parts have %zu tensors",
                         path.c_str(), static_cast<long long>(split.n_tensors),
                         tensors->all().size()));
  }
  out.description = describe(header.version, out.metadata, *tensors, split.count);
  out.tensors = std::move(tensors);
  return out;
}

}  // namespace thimble::tools
