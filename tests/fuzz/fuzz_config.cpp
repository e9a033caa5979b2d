// SPDX-License-Identifier: MIT
// config.json: any text beside good tensors is understood or refused, and what was understood
// becomes a model. The first byte says whose tensors they are.
#include <algorithm>
#include <string_view>

#include "family_checkpoints.h"
#include "fuzz/fuzz_file.h"
#include "json_reader.h"
#include "readers/family_checkpoint.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

class TensorsInMemory : public Tensors {
 public:
  explicit TensorsInMemory(const Made& made) : path_("tensors") {
    for (const FileTensor& tensor : made.tensors) {
      all_.push_back({tensor.name, tensor.type, tensor.shape});
      values_.push_back(tensor.values);
    }
  }
  const std::vector<Tensor>& all() const override { return all_; }
  void read(size_t index, uint64_t begin, size_t count, float* out) const override {
    const std::vector<float>& from = values_.at(index);
    if (begin > from.size() || count > from.size() - begin) std::abort();
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(begin), count, out);
  }
  const std::string& path(size_t) const override { return path_; }

 private:
  std::vector<Tensor> all_;
  std::vector<std::vector<float>> values_;
  std::string path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const std::vector<std::shared_ptr<const Tensors>> kModels = [] {
    std::vector<std::shared_ptr<const Tensors>> models;
    for (const Made& made : hugging_face_models()) {
      models.push_back(std::make_shared<TensorsInMemory>(made));
    }
    return models;
  }();
  if (bytes < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), bytes - 1);
  try {
    JsonOptions json;
    json.large_integers_as_reals = true;
    const Value config = read_json(text, "config.json", json);
    const Family& family = family_of_config(Naming::kHuggingFace, config, "config.json");
    convert_checkpoint(family_checkpoint(family, config, "config.json",
                                         kModels[data[0] % kModels.size()], "tensors", {}));
  } catch (const Refused&) {
  }
  return 0;
}
