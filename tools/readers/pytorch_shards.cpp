// SPDX-License-Identifier: MIT
#include "readers/pytorch_shards.h"

#include <set>
#include <unordered_set>
#include <utility>
#include <vector>

#include "error.h"
#include "json_reader.h"
#include "json_string.h"
#include "readers/pytorch.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxIndexBytes = 64u << 20;
constexpr size_t kMaxFiles = 1000;

class JoinedTensors : public Tensors {
 public:
  void add(std::unique_ptr<Tensors> file, const std::string& file_path) {
    for (size_t i = 0; i < file->all().size(); ++i) {
      const Tensor& tensor = file->all()[i];
      if (!names_.insert(tensor.name).second) {
        throw Refused(file_path + ": the tensor " + shown(tensor.name) +
                      " is in another file of the index, too, expected each in one");
      }
      tensors_.push_back(tensor);
      places_.emplace_back(files_.size(), i);
    }
    files_.push_back(std::move(file));
  }

  const std::vector<Tensor>& all() const override { return tensors_; }

  void read(size_t index, uint64_t begin, size_t count, float* out) const override {
    const auto& [file, within] = places_[index];
    files_[file]->read(within, begin, count, out);
  }

  const std::string& path(size_t index) const override {
    const auto& [file, within] = places_[index];
    return files_[file]->path(within);
  }

  bool has(const std::string& name) const { return names_.count(name) > 0; }

 private:
  std::vector<std::unique_ptr<Tensors>> files_;
  std::vector<Tensor> tensors_;
  std::vector<std::pair<size_t, size_t>> places_;  // file, tensor in it
  std::unordered_set<std::string> names_;
};

}  // namespace

std::unique_ptr<Tensors> open_pytorch_index(const std::string& index_path) {
  const Value index = read_json_file(index_path, {}, kMaxIndexBytes);
  const Value* map = index.find("weight_map");
  if (!map || !map->dict() || map->dict()->empty()) {
    throw Refused(index_path + ": expected \"weight_map\", a dictionary of tensors and files");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : *map->dict()) {
    const std::string* name = file.string();
    const bool is_plain = name && !name->empty() && name->find('/') == std::string::npos &&
                          name->find('\0') == std::string::npos && *name != "..";
    if (!is_plain) {
      throw Refused(index_path + ": weight_map: tensor " + shown(tensor) + ": found " +
                    (name ? shown(*name) : "no string") +
                    ", expected the name of a file beside the index");
    }
    names.insert(*name);
  }
  if (names.size() > kMaxFiles) {
    throw Refused(format("%s: weight_map names %zu files, expected at most %zu", index_path.c_str(),
                         names.size(), kMaxFiles));
  }
  const std::string folder = index_path.substr(0, index_path.rfind('/') + 1);
  auto tensors = std::make_unique<JoinedTensors>();
  for (const std::string& name : names) {
    tensors->add(open_pytorch(folder + name).tensors, folder + name);
  }
  for (const auto& [tensor, file] : *map->dict()) {
    if (tensors->has(tensor)) continue;
    throw Refused(index_path + ": weight_map: tensor " + shown(tensor) +
                  " is in none of the files, expected it in " + *file.string());
  }
  return tensors;
}

}  // namespace thimble::tools
