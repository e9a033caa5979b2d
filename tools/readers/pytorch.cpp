// SPDX-License-Identifier: MIT
// The archive has a folder of any name with data.pkl, the pickle, and data/KEY for each storage.
// The format before it is five pickles one after another (a magic number, the protocol, facts about
// the machine, the object, the list of the storages' keys), then for each key the number of
// elements in 8 bytes and the elements.
#include "readers/pytorch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "error.h"
#include "json_string.h"
#include "readers/pickle.h"
#include "readers/plain_types.h"
#include "readers/strided.h"
#include "readers/zip_archive.h"

namespace thimble::tools {
namespace {

constexpr int64_t kOldProtocol = 1001;
// The pickle of 0x1950a86a20f9469cfc6c.
constexpr uint8_t kOldMagic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

unsigned long long number(uint64_t x) {
  return x;
}

bool is_old_pytorch(const InputFile& file) {
  uint8_t start[sizeof kOldMagic];
  if (file.size() < sizeof start) return false;
  file.read(0, start, sizeof start);
  return std::memcmp(start, kOldMagic, sizeof start) == 0;
}

class PyTorchTensors final : public Tensors {
 public:
  explicit PyTorchTensors(std::shared_ptr<const InputFile> file)
      : file_(std::move(file)), reader_(*file_) {}

  const std::vector<Tensor>& all() const override { return tensors_; }
  const std::string& path(size_t) const override { return file_->path(); }

  void read(size_t index, uint64_t begin, size_t count, float* out) const override {
    reader_.read(tensors_[index], *types_[index], places_[index], begin, count, out);
  }

  void add(PickledTensor pickled, const PickledStorage& storage, uint64_t storage_place) {
    Tensor tensor{std::move(pickled.name), storage.type, std::move(pickled.shape)};
    const PlainType* type = plain_type(storage.type);
    uint64_t extent = 0, bytes = 0;
    if (!plain_bytes(tensor.shape, type->bytes, &bytes) ||
        !strided_extent(tensor.shape, pickled.strides, &extent) || extent > storage.count ||
        pickled.offset > storage.count - extent) {
      throw Refused(file_->path() + ": tensor " + shown(tensor.name) + ": shape " +
                    shape_text(tensor.shape) + " with strides " + shape_text(pickled.strides) +
                    format(" from element %llu on leaves its storage, which has %llu",
                           number(pickled.offset), number(storage.count)));
    }
    places_.push_back({storage_place, storage.count, pickled.offset, std::move(pickled.strides)});
    types_.push_back(type);
    tensors_.push_back(std::move(tensor));
  }

 private:
  std::shared_ptr<const InputFile> file_;
  std::vector<Tensor> tensors_;
  std::vector<const PlainType*> types_;
  std::vector<StridedPlace> places_;
  mutable StridedReader reader_;
};

class PyTorchReader {
 public:
  explicit PyTorchReader(const std::string& path) : file_(std::make_shared<InputFile>(path)) {}

  PyTorchFile open() {
    const bool zip = is_zip(*file_);
    if (zip) {
      read_zip();
    } else if (is_old_pytorch(*file_)) {
      read_old();
    } else {
      refuse("starts neither as a zip archive nor as PyTorch's old format, expected one of them");
    }
    auto tensors = std::make_unique<PyTorchTensors>(file_);
    for (PickledTensor& tensor : pickle_.tensors) {
      const PickledStorage& storage = pickle_.storages.at(tensor.storage);
      const uint64_t place = places_.at(tensor.storage);
      tensors->add(std::move(tensor), storage, place);
    }
    std::string description =
        format("PyTorch (%s), %zu tensors", zip ? "zip" : "old format", tensors->all().size());
    return {std::move(tensors), std::move(pickle_.rest), description + types()};
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Refused(file_->path() + ": PyTorch: " + why);
  }

  std::string types() const {
    std::vector<std::string> names;
    for (const auto& entry : pickle_.storages) names.push_back(entry.second.type);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? " (" : ", ") + name;
    return text.empty() ? text : text + ")";
  }

  // The bytes of a storage's elements; refuses if they are not within `available`.
  uint64_t storage_bytes(const std::string& key, const PickledStorage& storage,
                         uint64_t available) const {
    uint64_t bytes = 0;
    if (!plain_bytes({storage.count}, plain_type(storage.type)->bytes, &bytes) ||
        bytes > available) {
      refuse(format("storage %s: expected %llu elements of type %s, found %llu bytes",
                    shown(key).c_str(), number(storage.count), storage.type.c_str(),
                    number(available)));
    }
    return bytes;
  }

  // ---- The archive -----------------------------------------------------------------------------

  void read_zip() {
    const ZipArchive zip(file_);
    const ZipMember* data = nullptr;
    for (const ZipMember& member : zip.members()) {
      const size_t slash = member.name.find('/');
      if (slash == std::string::npos || member.name.substr(slash) != "/data.pkl") continue;
      if (data != nullptr) {
        refuse("found " + shown(data->name) + " and " + shown(member.name) + ", expected one");
      }
      data = &member;
    }
    if (data == nullptr) refuse("the archive has no FOLDER/data.pkl, expected one");
    const std::string folder = data->name.substr(0, data->name.find('/') + 1);
    if (zip.find(folder + "constants.pkl") != nullptr) {
      refuse("is a TorchScript archive, expected a state dict or a checkpoint from torch.save");
    }
    if (const ZipMember* order = zip.find(folder + "byteorder")) check_byte_order(*order);
    zip.check(*data);
    const uint64_t end = data->offset + data->size;
    pickle_ = read_pickle(*file_, data->offset, end, file_->path() + ": " + data->name);
    if (pickle_.end != end) {
      refuse(format("data.pkl: the pickle ends %llu bytes before its member's end",
                    number(end - pickle_.end)));
    }
    for (const auto& [key, storage] : pickle_.storages) {
      std::string name = folder;
      name.append("data/").append(key);
      const ZipMember* member = zip.find(name);
      if (member == nullptr) refuse("the archive has no " + shown(name));
      if (storage_bytes(key, storage, member->size) != member->size) {
        refuse(format("storage %s: expected %llu elements of type %s, found %llu bytes",
                      shown(key).c_str(), number(storage.count), storage.type.c_str(),
                      number(member->size)));
      }
      places_[key] = member->offset;
    }
  }

  void check_byte_order(const ZipMember& member) const {
    std::string text(static_cast<size_t>(std::min<uint64_t>(member.size, 16)), '\0');
    if (!text.empty()) file_->read(member.offset, text.data(), text.size());
    if (text != "little") {
      refuse("byte order: found " + shown(text) + ", expected \"little\"");
    }
  }

  // ---- The old format --------------------------------------------------------------------------

  Pickle next_pickle(uint64_t* at, const char* what) const {
    Pickle pickle =
        read_pickle(*file_, *at, file_->size(), file_->path() + ": old format, " + what);
    *at = pickle.end;
    return pickle;
  }

  void read_old() {
    uint64_t at = sizeof kOldMagic;
    const Pickle protocol = next_pickle(&at, "protocol");
    const int64_t* version = protocol.rest.integer();
    if (version == nullptr || *version != kOldProtocol) {
      refuse("old format: found " +
             (version == nullptr ? std::string("no number") : std::to_string(*version)) +
             " as its protocol, expected " + std::to_string(kOldProtocol));
    }
    const Pickle machine = next_pickle(&at, "machine");
    const Value* little_endian = machine.rest.find("little_endian");
    if (little_endian == nullptr || little_endian->boolean() == nullptr ||
        !*little_endian->boolean()) {
      refuse("old format: is not marked as little-endian, expected that");
    }
    pickle_ = next_pickle(&at, "object");
    const Pickle keys = next_pickle(&at, "keys");
    if (keys.rest.list() == nullptr) refuse("old format: the keys of storages are no list");
    for (const Value& key : *keys.rest.list()) {
      if (key.string() == nullptr) refuse("old format: a storage's key is no string");
      read_old_storage(*key.string(), &at);
    }
    for (const auto& entry : pickle_.storages) {
      if (places_.count(entry.first) == 0) {
        refuse("old format: storage " + shown(entry.first) + " is not in the list of keys");
      }
    }
    if (at != file_->size()) {
      refuse(
          format("old format: the last storage ends at byte %llu, expected the end of the file, "
                 "%llu",
                 number(at), number(file_->size())));
    }
  }

  void read_old_storage(const std::string& key, uint64_t* at) {
    const auto found = pickle_.storages.find(key);
    if (found == pickle_.storages.end()) {
      refuse("old format: no tensor says what storage " + shown(key) + " holds");
    }
    if (places_.count(key) != 0) refuse("old format: storage " + shown(key) + " is listed twice");
    uint8_t bytes[8];
    file_->read(*at, bytes, sizeof bytes);
    *at += sizeof bytes;
    uint64_t count = 0;
    for (size_t i = sizeof bytes; i-- > 0;) count = count << 8 | bytes[i];
    if (count != found->second.count) {
      refuse(format("old format: storage %s: found %llu elements, expected %llu",
                    shown(key).c_str(), number(count), number(found->second.count)));
    }
    places_[key] = *at;
    *at += storage_bytes(key, found->second, file_->size() - *at);
  }

  std::shared_ptr<const InputFile> file_;
  Pickle pickle_;
  std::map<std::string, uint64_t> places_;  // where each storage begins in the file
};

}  // namespace

bool is_pytorch(const InputFile& file) {
  return is_zip(file) || is_old_pytorch(file);
}

PyTorchFile open_pytorch(const std::string& path) {
  return PyTorchReader(path).open();
}

}  // namespace thimble::tools
