// SPDX-License-Identifier: MIT
#include "readers/hugging_face.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "error.h"
#include "json_reader.h"
#include "readers/family_checkpoint.h"
#include "readers/pytorch.h"
#include "readers/pytorch_shards.h"
#include "readers/safetensors.h"

namespace thimble::tools {
namespace {

namespace fs = std::filesystem;

std::string beside(const std::string& folder, const char* name) {
  return (fs::path(folder) / name).string();
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

Value read_config(const std::string& path) {
  JsonOptions json;
  json.large_integers_as_reals = true;
  return read_json_file(path, json);
}

// All safetensors of a folder whose names are not the usual ones.
std::vector<std::string> safetensors_in(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Weights of the Hugging Face kind with their configuration.
Checkpoint open_weights(std::shared_ptr<const Tensors> tensors, const std::string& format_name,
                        const std::string& weights_path, const std::string& config_path,
                        const ReadOptions& options) {
  const Value config = read_config(config_path);
  const Family& family = family_of_config(Naming::kHuggingFace, config, config_path);
  const std::string description = describe_tensors(format_name, family, *tensors);
  Checkpoint checkpoint =
      family_checkpoint(family, config, config_path, std::move(tensors), weights_path, options);
  checkpoint.description = description;
  return checkpoint;
}

}  // namespace

Checkpoint open_hugging_face(const std::string& folder, const ReadOptions& options) {
  const std::string config = beside(folder, "config.json");
  if (!exists(config)) {
    throw Refused(folder + ": is a folder without config.json, expected a Hugging Face model");
  }
  const std::string whole = beside(folder, "model.safetensors");
  const std::string index = beside(folder, "model.safetensors.index.json");
  const std::string torch = beside(folder, "pytorch_model.bin");
  const std::string torch_index = beside(folder, "pytorch_model.bin.index.json");
  std::vector<std::string> others;
  Checkpoint checkpoint;
  if (exists(whole)) {
    checkpoint = open_weights(open_safetensors({whole}), "safetensors", whole, config, options);
  } else if (exists(index)) {
    checkpoint = open_weights(open_safetensors_index(index), "safetensors in shards", index, config,
                              options);
  } else if (exists(torch)) {
    checkpoint = open_weights(open_pytorch(torch).tensors, "PyTorch", torch, config, options);
  } else if (exists(torch_index)) {
    checkpoint = open_weights(open_pytorch_index(torch_index), "PyTorch in shards", torch_index,
                              config, options);
  } else if (!(others = safetensors_in(folder)).empty()) {
    checkpoint = open_weights(open_safetensors(others), "safetensors", folder, config, options);
  } else {
    throw Refused(folder +
                  ": has config.json but no weights, expected model.safetensors or "
                  "pytorch_model.bin, or their shards with an index");
  }
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer.bin"}) {
    if (exists(beside(folder, name))) {
      checkpoint.vocabulary_path = folder;
      break;
    }
  }
  return checkpoint;
}

std::optional<Checkpoint> open_with_config_beside(std::shared_ptr<const Tensors> tensors,
                                                  const std::string& format_name,
                                                  const std::string& path,
                                                  const ReadOptions& options) {
  const std::string config = beside(fs::path(path).parent_path().string(), "config.json");
  if (!exists(config) || !family_by_names(Naming::kHuggingFace, *tensors)) return std::nullopt;
  return open_weights(std::move(tensors), format_name, path, config, options);
}

Checkpoint open_safetensors_checkpoint(const std::string& path, const ReadOptions& options) {
  const bool is_index = path.size() > 11 && path.substr(path.size() - 11) == ".index.json";
  std::shared_ptr<const Tensors> tensors =
      is_index ? open_safetensors_index(path) : open_safetensors({path});
  const fs::path file(path);
  const std::string folder = file.parent_path().string();
  // model.safetensors: model.config.json, else config.json. With a type in the name, such as
  // model.bf16.safetensors, model.config.json, too.
  for (fs::path stem = file.stem();; stem = stem.stem()) {
    const std::string own = beside(folder, (stem.string() + ".config.json").c_str());
    if (exists(own)) {
      return open_weights(std::move(tensors), "safetensors", path, own, options);
    }
    if (!stem.has_extension()) break;
  }
  const std::string config = beside(folder, "config.json");
  if (!exists(config)) return open_state_dict(std::move(tensors), {}, "safetensors", path, options);
  return open_weights(std::move(tensors), "safetensors", path, config, options);
}

}  // namespace thimble::tools
