// SPDX-License-Identifier: MIT
#include "readers/pickle.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "error.h"
#include "json_string.h"
#include "readers/pickle_nodes.h"

namespace thimble::tools {
namespace {

constexpr size_t kMaxNesting = 100;
constexpr size_t kMaxRank = 64;  // PyTorch's own limit
constexpr size_t kMaxResultBytes = 256u << 20;
constexpr size_t kValueBytes = 96;  // what a value and its key take, roughly

class Unfolder {
 public:
  Unfolder(const PickleNodes& nodes, const std::string& name) : nodes_(nodes), name_(name) {}

  Pickle unfold() {
    if (node(nodes_.root).kind == NodeKind::kTensor) {
      add_tensor(node(nodes_.root));
    } else {
      out_.rest = value_of(nodes_.root);
    }
    refuse_duplicate_names();
    out_.storages = nodes_.storages;
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Refused(name_ + ": pickle: " + (path_.empty() ? "" : shown(path_) + ": ") + why);
  }

  const Node& node(NodeId id) const { return nodes_.nodes[id]; }

  // A few nodes that refer to one another many times unfold to any number of values.
  void count(size_t bytes) {
    result_bytes_ += bytes;
    if (result_bytes_ > kMaxResultBytes) {
      refuse(format("unfolds to more than %zu MiB of values", kMaxResultBytes >> 20));
    }
  }

  Value value_of(NodeId id) {
    const Node& n = node(id);
    count(kValueBytes + n.text.size());
    switch (n.kind) {
      case NodeKind::kBool:
        return Value(n.integer != 0);
      case NodeKind::kInteger:
        return Value(n.integer);
      case NodeKind::kReal:
        return Value(n.real);
      case NodeKind::kString:
      case NodeKind::kGlobal:
        return Value(n.text);
      case NodeKind::kNone:
      case NodeKind::kStorage:
        return Value();
      case NodeKind::kTensor:
        add_tensor(n);
        return Value();
      default:
        break;
    }
    if (++nesting_ > kMaxNesting) {
      refuse(format("nests deeper than %zu, or contains itself", kMaxNesting));
    }
    Value value;
    if (n.kind == NodeKind::kDict) {
      value = dict_of({&n});
    } else if (n.kind == NodeKind::kInstance) {
      value = instance_value(n);
    } else {
      value = list_of(n);
    }
    --nesting_;
    return value;
  }

  Value list_of(const Node& n) {
    Value::List list;
    for (size_t i = 0; i < n.items.size(); ++i) {
      list.push_back(value_under(std::to_string(i), n.items[i]));
    }
    return Value(std::move(list));
  }

  Value value_under(const std::string& key, NodeId id) {
    const size_t length = path_.size();
    path_ += (length > 0 ? "." : "") + key;
    Value value = value_of(id);
    path_.resize(length);
    return value;
  }

  std::string key_text(NodeId id) const {
    const Node& n = node(id);
    switch (n.kind) {
      case NodeKind::kString:
      case NodeKind::kGlobal:
        return n.text;
      case NodeKind::kInteger:
        return std::to_string(n.integer);
      case NodeKind::kBool:
        return n.integer != 0 ? "True" : "False";
      case NodeKind::kReal:
        return format("%.17g", n.real);
      case NodeKind::kNone:
        return "None";
      default:
        refuse("has a key that is neither a string nor a number");
    }
  }

  // ---- Dictionaries and objects ----------------------------------------------------------------

  using Skip = bool (*)(std::string_view key);

  Value dict_of(std::initializer_list<const Node*> parts, Skip skip = nullptr) {
    Value::Dict dict;
    for (const Node* part : parts) {
      for (size_t i = 0; i + 1 < part->items.size(); i += 2) {
        std::string key = key_text(part->items[i]);
        count(kValueBytes + key.size());
        if (skip != nullptr && skip(key)) continue;
        Value value = value_under(key, part->items[i + 1]);
        if (node(part->items[i + 1]).kind == NodeKind::kTensor) continue;
        dict.emplace_back(std::move(key), std::move(value));
      }
    }
    std::vector<const std::string*> keys;
    keys.reserve(dict.size());
    for (const auto& entry : dict) keys.push_back(&entry.first);
    std::sort(keys.begin(), keys.end(),
              [](const std::string* a, const std::string* b) { return *a < *b; });
    for (size_t i = 1; i < keys.size(); ++i) {
      if (*keys[i - 1] == *keys[i]) refuse("has the key " + shown(*keys[i]) + " twice");
    }
    return Value(std::move(dict));
  }

  // The value of a key of a dictionary's node; null where there is none.
  const Node* find(const Node& dict, std::string_view key) const {
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const Node& k = node(dict.items[i]);
      if (k.kind == NodeKind::kString && k.text == key) return &node(dict.items[i + 1]);
    }
    return nullptr;
  }

  // An object is its attributes: a dictionary, or a pair of that and of another one.
  Value instance_value(const Node& n) {
    if (!n.items.empty()) return dict_of({&n});
    static const Node kNothing;
    const Node* state = n.state == 0 ? &kNothing : &node(n.state);
    const Node* slots = &kNothing;
    if (state->kind == NodeKind::kTuple && state->items.size() == 2) {
      slots = &node(state->items[1]);
      state = &node(state->items[0]);
    }
    const auto fits = [](const Node* part) {
      return part->kind == NodeKind::kDict || part->kind == NodeKind::kNone;
    };
    if (!fits(state) || !fits(slots)) {
      refuse("is an object with a state of its own kind, expected a dictionary of attributes");
    }
    const bool has_state = !state->items.empty() || !slots->items.empty();
    const Node& arguments = node(n.arguments);
    if (!has_state && arguments.items.size() == 1) return value_of(arguments.items[0]);
    if (!has_state && !arguments.items.empty()) return list_of(arguments);
    count(state->items.size());  // looking for these takes a while
    const Node* parameters = find(*state, "_parameters");
    const Node* buffers = find(*state, "_buffers");
    const Node* modules = find(*state, "_modules");
    const auto is_dict = [](const Node* part) {
      return part != nullptr && part->kind == NodeKind::kDict;
    };
    if (!is_dict(parameters) || !is_dict(buffers) || !is_dict(modules)) {
      return dict_of({state, slots});
    }
    return module_value(*state, *parameters, *buffers, *modules);
  }

  // What its state_dict() would have: its parameters, buffers, modules; and its public attributes.
  Value module_value(const Node& state, const Node& parameters, const Node& buffers,
                     const Node& modules) {
    const Node* passing = find(state, "_non_persistent_buffers_set");
    Node kept;
    kept.kind = NodeKind::kDict;
    count(buffers.items.size() * sizeof(NodeId));
    for (size_t i = 0; i + 1 < buffers.items.size(); i += 2) {
      const Node& key = node(buffers.items[i]);
      if (passing != nullptr && has_text(*passing, key.text)) continue;
      kept.items.insert(kept.items.end(), {buffers.items[i], buffers.items[i + 1]});
    }
    Value tensors = dict_of({&parameters, &kept, &modules});
    Value attributes =
        dict_of({&state}, [](std::string_view key) { return key.substr(0, 1) == "_"; });
    auto& all = *attributes.dict();
    for (auto& entry : *tensors.dict()) {
      if (!entry.second.is_null()) all.push_back(std::move(entry));
    }
    return attributes;
  }

  bool has_text(const Node& list, const std::string& text) {
    count(list.items.size());
    return std::any_of(list.items.begin(), list.items.end(),
                       [&](NodeId id) { return node(id).text == text; });
  }

  // ---- Tensors ---------------------------------------------------------------------------------

  uint64_t size_from(NodeId id, const char* what) const {
    const Node& n = node(id);
    if (n.kind != NodeKind::kInteger || n.integer < 0) {
      refuse(format("a tensor's %s: expected integers of 0 or more", what));
    }
    return static_cast<uint64_t>(n.integer);
  }

  std::vector<uint64_t> sizes_from(NodeId id, const char* what) {
    const Node& n = node(id);
    if ((n.kind != NodeKind::kTuple && n.kind != NodeKind::kList) || n.items.size() > kMaxRank) {
      refuse(format("a tensor's %s: expected a tuple of at most %zu integers", what, kMaxRank));
    }
    std::vector<uint64_t> sizes;
    for (const NodeId item : n.items) sizes.push_back(size_from(item, what));
    count(sizes.size() * sizeof(uint64_t));
    return sizes;
  }

  void add_tensor(const Node& n) {
    PickledTensor tensor;
    tensor.name = path_;
    const Node& storage = node(n.items[0]);
    if (storage.kind != NodeKind::kStorage) refuse("a tensor of what is no storage");
    tensor.storage = storage.text;
    tensor.offset = size_from(n.items[1], "offset");
    tensor.shape = sizes_from(n.items[2], "shape");
    tensor.strides = sizes_from(n.items[3], "strides");
    if (tensor.shape.size() != tensor.strides.size()) {
      refuse(format("a tensor with %zu sizes and %zu strides, expected as many",
                    tensor.shape.size(), tensor.strides.size()));
    }
    count(sizeof tensor + path_.size() + storage.text.size());
    out_.tensors.push_back(std::move(tensor));
  }

  void refuse_duplicate_names() const {
    std::vector<const std::string*> names;
    for (const PickledTensor& tensor : out_.tensors) names.push_back(&tensor.name);
    std::sort(names.begin(), names.end(),
              [](const std::string* a, const std::string* b) { return *a < *b; });
    for (size_t i = 1; i < names.size(); ++i) {
      if (*names[i - 1] == *names[i]) refuse("has two tensors " + shown(*names[i]));
    }
  }

  const PickleNodes& nodes_;
  const std::string& name_;
  Pickle out_;
  std::string path_;
  size_t nesting_ = 0, result_bytes_ = 0;
};

}  // namespace

Pickle read_pickle(const InputFile& file, uint64_t begin, uint64_t end, const std::string& name) {
  const PickleNodes nodes = run_pickle(file, begin, &end, name);
  Pickle pickle = Unfolder(nodes, name).unfold();
  pickle.end = end;
  return pickle;
}

Value read_pickle_file(const std::string& path) {
  const InputFile file(path);
  Pickle pickle = read_pickle(file, 0, file.size(), path);
  if (!pickle.tensors.empty()) {
    throw Refused(path + ": pickle: has tensors, expected none outside of what torch.save writes");
  }
  if (pickle.end != file.size()) {
    throw Refused(format("%s: pickle: ends at byte %llu, expected the end of the file, %llu",
                         path.c_str(), static_cast<unsigned long long>(pickle.end),
                         static_cast<unsigned long long>(file.size())));
  }
  return std::move(pickle.rest);
}

}  // namespace thimble::tools
