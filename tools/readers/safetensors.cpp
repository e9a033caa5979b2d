// SPDX-License-Identifier: MIT
#include "readers/safetensors.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "error.h"
#include "json_reader.h"
#include "json_string.h"
#include "readers/plain_types.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the specification's limit
constexpr uint64_t kMaxIndexBytes = 64u << 20;

unsigned long long number(uint64_t x) {
  return x;
}

uint64_t header_bytes(const InputFile& file) {
  uint8_t bytes[kLengthBytes];
  file.read(0, bytes, sizeof bytes);
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | bytes[i];
  return length;
}

struct Place {
  size_t file;
  uint64_t offset;  // in the file
  const PlainType* type;
};

// The header of one file, checked.
class Header {
 public:
  Header(const InputFile& file, size_t file_index) : file_(file), file_index_(file_index) {
    const Value header = read_json(text(), file_.path() + ": header", json_options());
    for (const auto& [name, value] : *header.dict()) {
      if (name == "__metadata__") {
        check_metadata(value);
      } else {
        add(name, value);
      }
    }
    check_places();
  }

  std::vector<Tensor> tensors;
  std::vector<Place> places;

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Refused(file_.path() + ": safetensors: " + why);
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    refuse("tensor " + shown(name) + ": " + why);
  }

  static JsonOptions json_options() {
    JsonOptions options;
    options.max_nesting = 3;  // header, tensor, shape
    options.max_values = 2u << 20;
    return options;
  }

  std::string text() {
    if (file_.size() < kLengthBytes + 2) {
      refuse(format("found %llu bytes, expected at least the 10 of an empty header",
                    number(file_.size())));
    }
    const uint64_t length = header_bytes(file_);
    if (length > kMaxHeaderBytes) {
      refuse(format("header: found a length of %llu bytes, expected at most %llu", number(length),
                    number(kMaxHeaderBytes)));
    }
    if (length > file_.size() - kLengthBytes) {
      refuse(
          format("header: found a length of %llu bytes, expected at most the %llu that the file "
                 "has; is it truncated?",
                 number(length), number(file_.size() - kLengthBytes)));
    }
    std::string header(static_cast<size_t>(length), '\0');
    file_.read(kLengthBytes, header.data(), header.size());
    if (header.empty() || header[0] != '{') {
      refuse("header: found " + shown(header.substr(0, 8)) + " at its start, expected '{'");
    }
    data_ = kLengthBytes + length;
    return header;
  }

  void check_metadata(const Value& value) const {
    if (value.dict() == nullptr) refuse("__metadata__: expected a dictionary of strings");
    for (const auto& [key, text] : *value.dict()) {
      if (text.string() == nullptr) {
        refuse("__metadata__: key " + shown(key) + ": expected a string");
      }
    }
  }

  uint64_t size_of(const std::string& name, const char* field, const Value& value) const {
    const int64_t* size = value.integer();
    if (size == nullptr || *size < 0) {
      refuse(name, format("%s: expected integers of 0 or more", field));
    }
    return static_cast<uint64_t>(*size);
  }

  void add(const std::string& name, const Value& value) {
    const Value* dtype = value.find("dtype");
    const Value* shape = value.find("shape");
    const Value* offsets = value.find("data_offsets");
    if (dtype == nullptr || shape == nullptr || offsets == nullptr || value.dict()->size() != 3 ||
        dtype->string() == nullptr || shape->list() == nullptr || offsets->list() == nullptr ||
        offsets->list()->size() != 2) {
      refuse(name,
             "expected a dictionary of dtype (a string), shape (a list) and data_offsets (two "
             "numbers), nothing else");
    }
    Tensor tensor;
    tensor.name = name;
    tensor.type = *dtype->string();
    const PlainType* type = plain_type(tensor.type);
    if (type == nullptr) {
      refuse(name,
             "found type " + shown(tensor.type) + ", expected one of " + plain_type_names(false));
    }
    for (const Value& size : *shape->list()) tensor.shape.push_back(size_of(name, "shape", size));
    const uint64_t begin = size_of(name, "data_offsets", (*offsets->list())[0]);
    const uint64_t end = size_of(name, "data_offsets", (*offsets->list())[1]);
    const uint64_t available = file_.size() - data_;
    if (begin > end || end > available) {
      refuse(name,
             format("data_offsets: found %llu to %llu, expected a range within the %llu bytes "
                    "behind the header; is the file truncated?",
                    number(begin), number(end), number(available)));
    }
    uint64_t bytes = 0;
    const bool fits = plain_bytes(tensor.shape, type->bytes, &bytes);
    if (!fits || bytes != end - begin) {
      refuse(name, "shape " + shape_text(tensor.shape) + " of type " + tensor.type + " takes " +
                       (fits ? format("%llu", number(bytes)) : std::string("more than 2^64")) +
                       format(" bytes, but data_offsets %llu to %llu have %llu", number(begin),
                              number(end), number(end - begin)));
    }
    tensors.push_back(std::move(tensor));
    places.push_back({file_index_, data_ + begin, type});
    ends_.push_back(data_ + end);
  }

  // One tensor begins where another ends, from the header's end to the file's.
  void check_places() const {
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::pair(places[a].offset, ends_[a]) < std::pair(places[b].offset, ends_[b]);
    });
    uint64_t end = data_;
    for (const size_t i : order) {
      if (places[i].offset != end) {
        refuse(tensors[i].name,
               format("begins at byte %llu of the data, expected %llu: %s",
                      number(places[i].offset - data_), number(end - data_),
                      places[i].offset < end ? "tensors overlap" : "there is a hole before it"));
      }
      end = ends_[i];
    }
    if (end != file_.size()) {
      refuse(format("the tensors end at byte %llu, expected the end of the file, %llu", number(end),
                    number(file_.size())));
    }
  }

  const InputFile& file_;
  const size_t file_index_;
  uint64_t data_ = 0;  // where the data begin
  std::vector<uint64_t> ends_;
};

class Safetensors final : public Tensors {
 public:
  explicit Safetensors(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      const size_t index = files_.size();
      files_.push_back(std::make_unique<InputFile>(path));
      Header header(*files_[index], index);
      std::move(header.tensors.begin(), header.tensors.end(), std::back_inserter(tensors_));
      places_.insert(places_.end(), header.places.begin(), header.places.end());
    }
    by_name_.resize(tensors_.size());
    std::iota(by_name_.begin(), by_name_.end(), size_t{0});
    std::sort(by_name_.begin(), by_name_.end(),
              [&](size_t a, size_t b) { return tensors_[a].name < tensors_[b].name; });
    for (size_t i = 1; i < by_name_.size(); ++i) {
      if (tensors_[by_name_[i - 1]].name != tensors_[by_name_[i]].name) continue;
      throw Refused(path(by_name_[i]) + ": safetensors: tensor " +
                    shown(tensors_[by_name_[i]].name) + " is in " + path(by_name_[i - 1]) +
                    " too, expected each in one file");
    }
  }

  const std::vector<Tensor>& all() const override { return tensors_; }

  void read(size_t index, uint64_t begin, size_t count, float* out) const override {
    const Place& place = places_[index];
    read_plain(*files_[place.file], tensors_[index], *place.type,
               place.offset + begin * place.type->bytes, count, out);
  }

  const std::string& path(size_t index) const override {
    return files_[places_[index].file]->path();
  }

  // The file that has the tensor, or null.
  const std::string* path_of(const std::string& name) const {
    const auto found = std::lower_bound(
        by_name_.begin(), by_name_.end(), name,
        [&](size_t i, const std::string& wanted) { return tensors_[i].name < wanted; });
    if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
    return &path(*found);
  }

 private:
  std::vector<std::unique_ptr<InputFile>> files_;
  std::vector<Tensor> tensors_;
  std::vector<Place> places_;
  std::vector<size_t> by_name_;
};

}  // namespace

// A header that is too long is one all the same; in llama2.c's version 0 its upper half would be a
// size, which is not 0.
bool is_safetensors(const InputFile& file) {
  const std::string &path = file.path(), end = ".safetensors";
  if (path.size() > end.size() && path.compare(path.size() - end.size(), end.size(), end) == 0) {
    return true;
  }
  if (file.size() < kLengthBytes + 2) return false;
  char first = '\0';
  file.read(kLengthBytes, &first, 1);
  return first == '{' && header_bytes(file) <= UINT32_MAX;
}

std::unique_ptr<Tensors> open_safetensors(const std::vector<std::string>& paths) {
  return std::make_unique<Safetensors>(paths);
}

std::unique_ptr<Tensors> open_safetensors_index(const std::string& index_path) {
  const Value index = read_json_file(index_path, {}, kMaxIndexBytes);
  const Value* map = index.find("weight_map");
  if (map == nullptr || map->dict() == nullptr || map->dict()->empty()) {
    throw Refused(index_path + ": expected \"weight_map\", a dictionary of tensors and files");
  }
  const size_t slash = index_path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : index_path.substr(0, slash + 1);
  std::vector<std::string> names;
  for (const auto& [tensor, file] : *map->dict()) {
    const std::string* name = file.string();
    if (name == nullptr || name->empty() || name->find('/') != std::string::npos ||
        name->find("..") != std::string::npos || name->find('\0') != std::string::npos) {
      throw Refused(index_path + ": weight_map: tensor " + shown(tensor) + ": found " +
                    (name == nullptr ? "no string" : shown(*name)) +
                    ", expected the name of a file beside the index");
    }
    names.push_back(*name);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (std::string& name : names) name.insert(0, folder);
  auto tensors = std::make_unique<Safetensors>(names);
  for (const auto& [tensor, file] : *map->dict()) {
    const std::string* path = tensors->path_of(tensor);
    std::string expected = folder;
    expected += *file.string();
    if (path != nullptr && *path == expected) continue;
    std::string why = index_path;
    why.append(": weight_map: tensor ").append(shown(tensor)).append(": found it in ");
    why.append(path == nullptr ? "none of the files" : *path).append(", expected it in ");
    throw Refused(why.append(expected));
  }
  return tensors;
}

}  // namespace thimble::tools
