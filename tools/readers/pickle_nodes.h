// SPDX-License-Identifier: MIT
// What a pickle builds while it is read: nodes that refer to one another, so that a node may be in
// many places and be changed after it was put there.
#ifndef THIMBLE_TOOLS_READERS_PICKLE_NODES_H
#define THIMBLE_TOOLS_READERS_PICKLE_NODES_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "readers/pickle.h"

namespace thimble::tools {

using NodeId = uint32_t;

enum class NodeKind : uint8_t {
  kNone,
  kBool,      // integer
  kInteger,   // integer
  kReal,      // real
  kString,    // text
  kTuple,     // items
  kList,      // items
  kDict,      // items: key, value, key, value ...
  kGlobal,    // text: module.name
  kStorage,   // text: its key
  kTensor,    // items: storage, offset, shape, strides
  kInstance,  // of a class: items like a dictionary's, `state` and `arguments`
};

struct Node {
  NodeKind kind = NodeKind::kNone;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<NodeId> items;
  NodeId state = 0, arguments = 0;  // 0: none
};

struct PickleNodes {
  std::vector<Node> nodes;  // the first is no node
  NodeId root = 0;
  std::map<std::string, PickledStorage> storages;
};

// Runs the pickle; sets `end` to where it ended.
PickleNodes run_pickle(const InputFile& file, uint64_t begin, uint64_t* end,
                       const std::string& name);

}  // namespace thimble::tools

#endif
