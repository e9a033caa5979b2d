// SPDX-License-Identifier: MIT
// What torch.save writes: zip archives (since PyTorch 1.6) and the format before that.
#ifndef THIMBLE_TOOLS_READERS_PYTORCH_H
#define THIMBLE_TOOLS_READERS_PYTORCH_H

#include <memory>
#include <string>

#include "readers/input_file.h"
#include "readers/tensors.h"
#include "value.h"

namespace thimble::tools {

struct PyTorchFile {
  // Named by the keys that lead to each: "model_state_dict.tok_emb.weight". All that the file has,
  // those of optimizers too.
  std::unique_ptr<Tensors> tensors;
  Value rest;               // all but the tensors, see pickle.h
  std::string description;  // "PyTorch (zip), 57 tensors (F32)"
};

// Whether the first bytes look like either.
bool is_pytorch(const InputFile& file);

// Reads all but the tensors' numbers and checks that each tensor lies within its storage and each
// storage within the file. Throws Refused. Tensors may share storages and have any strides; their
// numbers are read in pieces. Not for several threads at once.
PyTorchFile open_pytorch(const std::string& path);

}  // namespace thimble::tools

#endif
