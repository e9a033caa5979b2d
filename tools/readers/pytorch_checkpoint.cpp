// SPDX-License-Identifier: MIT
#include <algorithm>
#include <filesystem>
#include <utility>

#include "error.h"
#include "json_reader.h"
#include "readers/family_checkpoint.h"
#include "readers/hugging_face.h"
#include "readers/pytorch.h"

namespace thimble::tools {
namespace {

// Where training scripts keep a model's hyper-parameters.
const Value* find_config(const Value& rest) {
  for (const char* key :
       {"model_args", "model_config", "config", "cfg", "hyper_parameters", "args", "params"}) {
    const Value* value = rest.find(key);
    if (!value || !value->dict()) continue;
    // Configurations of whole experiments have the model's within.
    const Value* inner = value->find("model");
    return inner && inner->dict() ? inner : value;
  }
  return nullptr;
}

// The same names for other things: GPT-2 as Hugging Face saves it has transposed matrices.
const Family* by_shape(const Family* family, const Tensors& tensors) {
  const std::string end = part_name(*family, Part::kQkv, 0);
  for (const Tensor& tensor : tensors.all()) {
    const bool is_it = !end.empty() && tensor.name.size() >= end.size() &&
                       tensor.name.compare(tensor.name.size() - end.size(), end.size(), end) == 0;
    if (is_it && tensor.shape.size() == 2 && tensor.shape[0] * 3 == tensor.shape[1]) {
      return find_family(Naming::kHuggingFace, "gpt2");
    }
  }
  return family;
}

// The params.json of Meta's checkpoints, which does not always know the size of the vocabulary.
Value read_params(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return Value();
  Value params = read_json_file(path);
  if (Value::Dict* entries = params.dict()) {
    for (auto& [key, value] : *entries) {
      if (key == "vocab_size" && value.integer() && *value.integer() < 0) value = Value();
    }
  }
  return params;
}

std::string first_names(const Tensors& tensors) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(4, tensors.all().size()); ++i) {
    text += (i ? ", '" : "'") + tensors.all()[i].name + "'";
  }
  return text.empty() ? "none" : text;
}

}  // namespace

Checkpoint open_pytorch_checkpoint(const std::string& path, const ReadOptions& options) {
  PyTorchFile file = open_pytorch(path);
  return open_state_dict(std::move(file.tensors), file.rest,
                         file.description.substr(0, file.description.find(',')), path, options);
}

Checkpoint open_state_dict(std::shared_ptr<const Tensors> tensors, const Value& rest,
                           const std::string& format_name, const std::string& path,
                           const ReadOptions& options) {
  const Family* family = family_by_names(Naming::kPyTorch, *tensors);
  if (family) family = by_shape(family, *tensors);
  if (!family || family->naming == Naming::kHuggingFace) {
    if (auto found = open_with_config_beside(tensors, format_name, path, options)) {
      return *found;
    }
  }
  if (!family) {
    throw Refused(path + ": no family has its tensors' names (the first: " + first_names(*tensors) +
                  "); expected a state dict of the book's GPTModel, nanoGPT, minGPT, llama2.c or "
                  "Meta's Llama; of others config.json beside the weights");
  }
  const Value* config = find_config(rest);
  std::string config_path = path;
  Value params;
  if (!config && family->rope_pairs == RopePairs::kNeighbours) {
    const std::string beside = (std::filesystem::path(path).parent_path() / "params.json").string();
    params = read_params(beside);
    if (params.dict()) {
      config = &params;
      config_path = beside;
    }
  }
  ReadOptions used = options;
  const bool is_min_gpt = config && config->find("embd_pdrop");
  if (is_min_gpt && !used.activation) used.activation = kActivationGeluTanh;
  if (!config && std::string(family->name) == "nanoGPT" && !used.activation) {
    throw Refused(path +
                  ": nanoGPT and minGPT use the same names, but not the same activation, and the "
                  "file does not say which; say --activation gelu (nanoGPT) or gelu_new (minGPT, "
                  "early nanoGPT)");
  }
  const std::string description = describe_tensors(format_name, *family, *tensors);
  Checkpoint checkpoint = family_checkpoint(*family, config ? *config : Value(Value::Dict()),
                                            config_path, std::move(tensors), path, used);
  checkpoint.description = description;
  return checkpoint;
}

}  // namespace thimble::tools
