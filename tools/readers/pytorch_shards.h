// SPDX-License-Identifier: MIT
// One checkpoint in several files of torch.save, with an index (`pytorch_model.bin.index.json`).
#ifndef THIMBLE_TOOLS_READERS_PYTORCH_SHARDS_H
#define THIMBLE_TOOLS_READERS_PYTORCH_SHARDS_H

#include <memory>
#include <string>

#include "readers/tensors.h"

namespace thimble::tools {

// The tensors of all files that the index beside them names. Throws Refused.
std::unique_ptr<Tensors> open_pytorch_index(const std::string& index_path);

}  // namespace thimble::tools

#endif
