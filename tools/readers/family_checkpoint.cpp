// SPDX-License-Identifier: MIT
#include "readers/family_checkpoint.h"

#include <algorithm>
#include <set>

#include "error.h"

namespace thimble::tools {

Checkpoint family_checkpoint(const Family& family, const Value& config,
                             const std::string& config_path, std::shared_ptr<const Tensors> tensors,
                             const std::string& path, const ReadOptions& options) {
  CheckpointParts parts(family, std::move(tensors), path);
  const CheckpointShape found = checkpoint_shape(&parts, config, config_path, options);
  Checkpoint checkpoint;
  checkpoint.shape = found.shape;
  checkpoint.rope_pairs = found.rope_pairs;
  checkpoint.rows = checkpoint_rows(std::move(parts), found);
  return checkpoint;
}

const Family* family_by_names(Naming naming, const Tensors& tensors) {
  for (const Family& family : families()) {
    if (family.naming == naming && CheckpointParts::match(family, tensors)) return &family;
  }
  return nullptr;
}

const Family& family_of_config(Naming naming, const Value& config, const std::string& path) {
  std::string name;
  const Value* list = config.find("architectures");
  if (list && list->list() && !list->list()->empty() && list->list()->front().string()) {
    name = *list->list()->front().string();
  } else if (const Value* type = config.find("model_type")) {
    if (type->string()) name = *type->string();
  }
  const Family* family = find_family(naming, name);
  if (!family) {
    throw Refused(path + ": the architecture is '" + name + "', expected one of " +
                  known_architectures(naming));
  }
  return *family;
}

std::string describe_tensors(const std::string& format_name, const Family& family,
                             const Tensors& tensors) {
  std::set<std::string> types;
  for (const Tensor& tensor : tensors.all()) types.insert(tensor.type);
  std::string text =
      format_name + ", " + family.name + ", " + std::to_string(tensors.all().size()) + " tensors (";
  for (const std::string& type : types) text += (text.back() == '(' ? "" : ", ") + type;
  return text + ")";
}

}  // namespace thimble::tools
