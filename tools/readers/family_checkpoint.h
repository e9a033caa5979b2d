// SPDX-License-Identifier: MIT
// What all checkpoints of named tensors have in common.
#ifndef THIMBLE_TOOLS_READERS_FAMILY_CHECKPOINT_H
#define THIMBLE_TOOLS_READERS_FAMILY_CHECKPOINT_H

#include <memory>
#include <string>

#include "checkpoint_rows.h"
#include "families.h"
#include "readers/reader.h"
#include "value.h"

namespace thimble::tools {

// A family's checkpoint from its configuration (with the names of config.json) and its tensors.
// Throws Refused, naming `config_path` for what the configuration says and `path`, or the file that
// a tensor lies in, for the tensors.
Checkpoint family_checkpoint(const Family& family, const Value& config,
                             const std::string& config_path, std::shared_ptr<const Tensors> tensors,
                             const std::string& path, const ReadOptions& options);

// The families whose names the tensors have: for files that do not say what they are.
const Family* family_by_names(Naming naming, const Tensors& tensors);

// What a configuration says that it is, looked up; Refused, with those known, if it is none.
const Family& family_of_config(Naming naming, const Value& config, const std::string& path);

// "safetensors, Llama, 24 tensors (BF16, F32)"
std::string describe_tensors(const std::string& format_name, const Family& family,
                             const Tensors& tensors);

}  // namespace thimble::tools

#endif
