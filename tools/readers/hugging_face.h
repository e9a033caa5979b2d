// SPDX-License-Identifier: MIT
// Checkpoints by family: Hugging Face folders, safetensors, GGUF, PyTorch.
#ifndef THIMBLE_TOOLS_READERS_HUGGING_FACE_H
#define THIMBLE_TOOLS_READERS_HUGGING_FACE_H

#include <memory>
#include <optional>
#include <string>

#include "readers/reader.h"
#include "readers/tensors.h"
#include "value.h"

namespace thimble::tools {

// A folder with config.json and weights: model.safetensors, shards with an index (or whatever other
// safetensors there are), pytorch_model.bin, or shards of that.
Checkpoint open_hugging_face(const std::string& folder, const ReadOptions& options);

// One safetensors file (or its index), with config.json or NAME.config.json beside it.
Checkpoint open_safetensors_checkpoint(const std::string& path, const ReadOptions& options);

Checkpoint open_gguf_checkpoint(const std::string& path, const ReadOptions& options);

// Tensors with the names of Hugging Face and config.json beside them; nothing if either is not so.
std::optional<Checkpoint> open_with_config_beside(std::shared_ptr<const Tensors> tensors,
                                                  const std::string& format_name,
                                                  const std::string& path,
                                                  const ReadOptions& options);

// A state dict, alone or within a training checkpoint, whatever stands before its names.
Checkpoint open_pytorch_checkpoint(const std::string& path, const ReadOptions& options);

// The same for tensors of any format, with all else that the file holds (may be null).
Checkpoint open_state_dict(std::shared_ptr<const Tensors> tensors, const Value& rest,
                           const std::string& format_name, const std::string& path,
                           const ReadOptions& options);

}  // namespace thimble::tools

#endif
