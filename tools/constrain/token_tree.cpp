// SPDX-License-Identifier: MIT
#include "constrain/token_tree.h"

#include <algorithm>
#include <cstring>

#include "token_tables.h"

namespace thimble::tools {

TokenTree token_tree(const thimble_model& model) {
  const Tables tables(model);
  TokenTree tree;
  for (uint32_t id = 0; id < header_of(model).n_tokens; ++id) {
    const int32_t token = static_cast<int32_t>(id);
    if (type_of(tables, token) == kTokenControl || text_of(tables, token).n == 0) continue;
    if (thimble_is_end(&model, token)) continue;
    tree.tokens.push_back(token);
  }
  const auto is_before = [&](int32_t a, int32_t b) {
    const Text x = text_of(tables, a), y = text_of(tables, b);
    const int order = std::memcmp(x.bytes, y.bytes, std::min(x.n, y.n));
    return order != 0 ? order < 0 : x.n != y.n ? x.n < y.n : a < b;
  };
  std::sort(tree.tokens.begin(), tree.tokens.end(), is_before);

  std::vector<uint32_t> path = {0};  // the node of each prefix of the text before
  tree.nodes.push_back({0, 0, 0, 0, 0, {}});
  const auto close = [&](size_t depth, uint32_t token) {
    while (path.size() > depth + 1) {
      TokenTree::Node& node = tree.nodes[path.back()];
      node.end = static_cast<uint32_t>(tree.nodes.size());
      node.last_token = token;
      path.pop_back();
      ByteSet& below = tree.nodes[path.back()].below;
      for (size_t i = 0; i < below.size(); ++i) below[i] |= node.below[i];
      add_byte(&below, node.byte);
    }
  };
  Text before = {nullptr, 0};
  const uint32_t n = static_cast<uint32_t>(tree.tokens.size());
  for (uint32_t i = 0; i < n; ++i) {
    const Text text = text_of(tables, tree.tokens[i]);
    uint32_t same = 0;
    while (same < before.n && same < text.n && before.bytes[same] == text.bytes[same]) ++same;
    close(same, i);
    for (uint32_t at = same; at < text.n; ++at) {
      path.push_back(static_cast<uint32_t>(tree.nodes.size()));
      tree.nodes.push_back({text.bytes[at], 0, i, i, 0, {}});
    }
    tree.nodes[path.back()].own_end = i + 1;
    before = text;
  }
  close(0, n);
  tree.nodes[0].end = static_cast<uint32_t>(tree.nodes.size());
  tree.nodes[0].last_token = n;
  return tree;
}

}  // namespace thimble::tools
