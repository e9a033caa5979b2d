// SPDX-License-Identifier: MIT
// Python's pickles as torch.save writes them (protocols 2 to 5), read without running anything: a
// pickle is a program, and only the steps that build numbers, strings, lists, dictionaries and
// tensors are taken.
#ifndef THIMBLE_TOOLS_READERS_PICKLE_H
#define THIMBLE_TOOLS_READERS_PICKLE_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "readers/input_file.h"
#include "value.h"

namespace thimble::tools {

// What a tensor's numbers are part of. Several tensors may share one.
struct PickledStorage {
  std::string type;  // as in plain_types.h: "F32"
  uint64_t count;    // elements
};

struct PickledTensor {
  std::string name;  // the keys that lead to it, with '.' between: "model.layers.0.weight"
  std::string storage;
  uint64_t offset = 0;  // in elements of the storage, like the strides
  std::vector<uint64_t> shape, strides;
};

struct Pickle {
  // All but the tensors. Those are missing in dictionaries and null in lists. Tuples and sets are
  // lists, an object is the dictionary of its attributes, a class or function that is only named is
  // that name.
  Value rest;
  // In the file's order. Places are not checked yet. A module (as torch.save(model) writes it) is
  // the tensors of its state_dict().
  std::vector<PickledTensor> tensors;
  std::map<std::string, PickledStorage> storages;  // also those that no tensor uses
  uint64_t end = 0;                                // where the pickle ended in the file
};

// The pickle at [begin, end) of the file; it may end before. `name` is what messages call it.
// Throws Refused: for what asks for a function or contradicts itself, and beyond some bounds of
// size, nesting and time.
Pickle read_pickle(const InputFile& file, uint64_t begin, uint64_t end, const std::string& name);

// A file that is nothing but a pickle without tensors.
Value read_pickle_file(const std::string& path);

}  // namespace thimble::tools

#endif
