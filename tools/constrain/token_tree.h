// SPDX-License-Identifier: MIT
// A vocabulary as a prefix tree, to walk along with an automaton.
#ifndef THIMBLE_TOOLS_CONSTRAIN_TOKEN_TREE_H
#define THIMBLE_TOOLS_CONSTRAIN_TOKEN_TREE_H

#include <array>
#include <cstdint>
#include <vector>

#include "thimble/thimble.h"

namespace thimble::tools {

using ByteSet = std::array<uint64_t, 4>;

inline void add_byte(ByteSet* set, uint8_t byte) {
  (*set)[byte / 64] |= uint64_t{1} << byte % 64;
}
inline bool is_within(const ByteSet& a, const ByteSet& b) {
  return ((a[0] & ~b[0]) | (a[1] & ~b[1]) | (a[2] & ~b[2]) | (a[3] & ~b[3])) == 0;
}

// Of the tokens that have a text and are no control tokens.
struct TokenTree {
  struct Node {
    uint8_t byte;          // that leads here
    uint32_t end;          // nodes from here to it are this one and what is below it
    uint32_t first_token;  // in `tokens`: those that end here begin,
    uint32_t own_end;      // here they end,
    uint32_t last_token;   // and here those below do
    ByteSet below;         // bytes of all edges below
  };
  std::vector<Node> nodes;      // in preorder; 0 is the root
  std::vector<int32_t> tokens;  // by their texts
};

TokenTree token_tree(const thimble_model& model);

}  // namespace thimble::tools

#endif
