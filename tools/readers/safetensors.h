// SPDX-License-Identifier: MIT
// Safetensors files: 8 bytes with the length of a header, the header as JSON (name, type, shape and
// place of each tensor), then the tensors.
#ifndef THIMBLE_TOOLS_READERS_SAFETENSORS_H
#define THIMBLE_TOOLS_READERS_SAFETENSORS_H

#include <memory>
#include <string>
#include <vector>

#include "readers/input_file.h"
#include "readers/tensors.h"

namespace thimble::tools {

// Whether the name or the first bytes look like that: for telling formats apart.
bool is_safetensors(const InputFile& file);

// One file, or the shards of one checkpoint. Reads the headers and checks them whole: no hole, no
// overlap, no byte that belongs to no tensor, no name that comes twice. Throws Refused.
std::unique_ptr<Tensors> open_safetensors(const std::vector<std::string>& paths);

// The shards that an index (`*.safetensors.index.json`) beside them names.
std::unique_ptr<Tensors> open_safetensors_index(const std::string& index_path);

}  // namespace thimble::tools

#endif
