// SPDX-License-Identifier: MIT
// The machine that a pickle is a program for (Python's pickletools documents its instructions),
// with a stack, marks on it, and a memo of nodes to refer to again.
#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "error.h"
#include "json_string.h"
#include "readers/pickle_nodes.h"
#include "utf8_text.h"

namespace thimble::tools {
namespace {

constexpr uint64_t kMaxBytes = 64u << 20;  // of a pickle
constexpr size_t kMaxSteps = 8u << 20;
constexpr size_t kMaxNodes = 2u << 20;  // and as many entries of the memo
constexpr uint64_t kMaxNameBytes = 1000;

// The bytes of a pickle, through a small window.
class PickleBytes {
 public:
  PickleBytes(const InputFile& file, uint64_t begin, uint64_t end)
      : file_(file), begin_(begin), at_(begin), end_(std::min(end, begin + kMaxBytes)) {}

  uint64_t at() const { return at_; }
  uint64_t from_start() const { return at_ - begin_; }
  uint64_t left() const { return end_ - at_; }

  uint8_t next() {  // wants left() > 0
    if (at_ - window_begin_ >= window_.size()) fill();
    return window_[static_cast<size_t>(at_++ - window_begin_)];
  }

  std::string take(size_t n) {  // wants left() >= n
    std::string text(n, '\0');
    const uint64_t start = at_ - window_begin_;
    if (start <= window_.size() && n <= window_.size() - start) {
      std::copy_n(window_.begin() + static_cast<std::ptrdiff_t>(start), n, text.begin());
    } else {
      file_.read(at_, text.data(), n);
    }
    at_ += n;
    return text;
  }

 private:
  void fill() {
    window_begin_ = at_;
    window_.resize(static_cast<size_t>(std::min<uint64_t>(left(), 16 * 1024)));
    file_.read(at_, window_.data(), window_.size());
  }

  const InputFile& file_;
  const uint64_t begin_;
  uint64_t at_;
  const uint64_t end_;
  uint64_t window_begin_ = 0;
  std::vector<uint8_t> window_;
};

const char* storage_type(std::string_view name) {
  static constexpr std::pair<std::string_view, const char*> kTypes[] = {
      {"torch.FloatStorage", "F32"},        {"torch.HalfStorage", "F16"},
      {"torch.BFloat16Storage", "BF16"},    {"torch.DoubleStorage", "F64"},
      {"torch.LongStorage", "I64"},         {"torch.IntStorage", "I32"},
      {"torch.ShortStorage", "I16"},        {"torch.CharStorage", "I8"},
      {"torch.ByteStorage", "U8"},          {"torch.BoolStorage", "BOOL"},
      {"torch.ComplexFloatStorage", "C64"}, {"torch.ComplexDoubleStorage", "C128"},
  };
  for (const auto& [storage, type] : kTypes) {
    if (storage == name) return type;
  }
  return nullptr;
}

template <size_t N>
bool one_of(std::string_view text, const char* const (&names)[N]) {
  return std::find(std::begin(names), std::end(names), text) != std::end(names);
}

class PickleMachine {
 public:
  PickleMachine(const InputFile& file, uint64_t begin, uint64_t end, const std::string& name)
      : bytes_(file, begin, end), name_(name) {
    out_.nodes.emplace_back();
  }

  PickleNodes run(uint64_t* end) {
    for (size_t steps = 0;; ++steps) {
      step_ = bytes_.from_start();
      if (steps == kMaxSteps) refuse(format("more than %zu steps, which is not read", kMaxSteps));
      const uint8_t code = byte();
      if (code == '.') break;
      run_step(code);
    }
    out_.root = pop();
    if (!stack_.empty() || !marks_.empty()) refuse("leaves more than one value at its end");
    *end = bytes_.at();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Refused(name_ + format(": pickle: byte %llu: ", static_cast<unsigned long long>(step_)) +
                  why);
  }

  [[noreturn]] void refuse_function(const std::string& name) const {
    refuse("asks for the function '" + printable(name) +
           "', which is not run; expected only tensors, numbers, strings, lists and dictionaries");
  }

  static std::string printable(const std::string& name) {
    const std::string quoted = shown(name);
    return quoted.substr(1, quoted.size() - 2);
  }

  // ---- Bytes -----------------------------------------------------------------------------------

  void need(uint64_t n) const {
    if (n > bytes_.left()) {
      refuse(format("found %llu bytes more, expected %llu: truncated, or longer than is read",
                    static_cast<unsigned long long>(bytes_.left()),
                    static_cast<unsigned long long>(n)));
    }
  }

  uint8_t byte() {
    need(1);
    return bytes_.next();
  }

  uint64_t little(size_t n) {
    need(n);
    uint64_t x = 0;
    for (size_t i = 0; i < n; ++i) x |= uint64_t{bytes_.next()} << (8 * i);
    return x;
  }

  std::string text(size_t length_bytes) {
    const uint64_t n = little(length_bytes);
    need(n);
    return bytes_.take(static_cast<size_t>(n));
  }

  std::string unicode(size_t length_bytes) {
    std::string out = text(length_bytes);
    if (!is_utf8(out)) refuse("found a string that is no UTF-8");
    return out;
  }

  std::string line() {
    std::string out;
    for (;;) {
      const char c = static_cast<char>(byte());
      if (c == '\n') return out;
      out.push_back(c);
      if (out.size() > kMaxNameBytes) refuse("found a name that does not end");
    }
  }

  // ---- Nodes, stack, memo ----------------------------------------------------------------------

  Node& node(NodeId id) { return out_.nodes[id]; }

  NodeId make(NodeKind kind) {
    if (out_.nodes.size() > kMaxNodes) {
      refuse(format("more than %zu values, which is not read", kMaxNodes));
    }
    out_.nodes.emplace_back();
    out_.nodes.back().kind = kind;
    return static_cast<NodeId>(out_.nodes.size() - 1);
  }
  NodeId make_text(NodeKind kind, std::string content) {
    const NodeId id = make(kind);
    node(id).text = std::move(content);
    return id;
  }
  NodeId make_integer(NodeKind kind, int64_t value) {
    const NodeId id = make(kind);
    node(id).integer = value;
    return id;
  }
  NodeId make_items(NodeKind kind, std::vector<NodeId> items) {
    const NodeId id = make(kind);
    node(id).items = std::move(items);
    return id;
  }

  void push(NodeId id) { stack_.push_back(id); }

  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  NodeId pop() {
    if (stack_.size() <= floor()) refuse("takes a value where there is none");
    const NodeId id = stack_.back();
    stack_.pop_back();
    return id;
  }

  NodeId top() {
    if (stack_.size() <= floor()) refuse("takes a value where there is none");
    return stack_.back();
  }

  // What lies above the last mark, and the mark with it.
  std::vector<NodeId> pop_marked() {
    if (marks_.empty()) refuse("takes values down to a mark where there is none");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<NodeId> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  std::vector<NodeId> pop_many(size_t n) {
    std::vector<NodeId> items(n);
    for (size_t i = n; i-- > 0;) items[i] = pop();
    return items;
  }

  // Against short pickles that copy something long again and again.
  void count_copy(uint64_t bytes) {
    copied_bytes_ += bytes;
    if (copied_bytes_ > kMaxBytes) refuse("repeats more than is read");
  }

  void memo_put(uint64_t index) {
    memo_[index] = top();
    if (memo_.size() > kMaxNodes) refuse("remembers more values than is read");
  }

  void memo_get(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) refuse("refers to a value that it did not remember");
    push(found->second);
  }

  // ---- Steps -----------------------------------------------------------------------------------

  void run_step(uint8_t code) {
    switch (code) {
      case 0x80: {  // PROTO
        const uint8_t protocol = byte();
        if (protocol < 2 || protocol > 5) {
          refuse(format("found protocol %u, expected 2 to 5", protocol));
        }
        return;
      }
      case 0x95:  // FRAME
        return need(little(8));
      case '(':
        return marks_.push_back(stack_.size());
      case '0':
        pop();
        return;
      case '1':
        pop_marked();
        return;
      case '2':
        return push(top());
      case 'q':
        return memo_put(byte());
      case 'r':
        return memo_put(little(4));
      case 0x94:  // MEMOIZE
        return memo_put(memo_.size());
      case 'h':
        return memo_get(byte());
      case 'j':
        return memo_get(little(4));
      default:
        if (!run_scalar(code) && !run_container(code) && !run_object(code)) {
          refuse(format("found step 0x%02x, expected one that protocols 2 to 5 write", code));
        }
    }
  }

  bool run_scalar(uint8_t code) {
    switch (code) {
      case 'N':
        return push(make(NodeKind::kNone)), true;
      case 0x88:
        return push(make_integer(NodeKind::kBool, 1)), true;
      case 0x89:
        return push(make_integer(NodeKind::kBool, 0)), true;
      case 'J':
        return push_integer(static_cast<int32_t>(little(4))), true;
      case 'K':
        return push_integer(byte()), true;
      case 'M':
        return push_integer(static_cast<int64_t>(little(2))), true;
      case 0x8a:
        return push_long(byte()), true;
      case 0x8b:
        return push_long(little(4)), true;
      case 'G':
        return push_real(), true;
      case 'X':
        return push(make_text(NodeKind::kString, unicode(4))), true;
      case 0x8c:
        return push(make_text(NodeKind::kString, unicode(1))), true;
      case 0x8d:
        return push(make_text(NodeKind::kString, unicode(8))), true;
      case 'U':  // strings of Python 2, and bytes: whatever they hold
      case 'C':
        return push(make_text(NodeKind::kString, text(1))), true;
      case 'T':
      case 'B':
        return push(make_text(NodeKind::kString, text(4))), true;
      case 0x8e:
      case 0x96:
        return push(make_text(NodeKind::kString, text(8))), true;
      default:
        return false;
    }
  }

  void push_integer(int64_t value) { push(make_integer(NodeKind::kInteger, value)); }

  void push_long(uint64_t n) {
    if (n > 8) {
      refuse(format("found an integer of %llu bytes, expected at most 8",
                    static_cast<unsigned long long>(n)));
    }
    uint64_t value = little(static_cast<size_t>(n));
    const bool negative = n > 0 && (value >> (8 * n - 1) & 1) != 0;
    if (negative && n < 8) value |= ~uint64_t{0} << (8 * n);
    push_integer(static_cast<int64_t>(value));
  }

  void push_real() {
    uint64_t bits = 0;
    need(8);
    for (int i = 0; i < 8; ++i) bits = bits << 8 | bytes_.next();  // the only big-endian number
    const NodeId id = make(NodeKind::kReal);
    std::memcpy(&node(id).real, &bits, sizeof bits);
    push(id);
  }

  bool run_container(uint8_t code) {
    switch (code) {
      case ')':
        return push(make(NodeKind::kTuple)), true;
      case 't':
        return push(make_items(NodeKind::kTuple, pop_marked())), true;
      case 0x85:
      case 0x86:
      case 0x87:
        return push(make_items(NodeKind::kTuple, pop_many(code - 0x84u))), true;
      case ']':
      case 0x8f:  // EMPTY_SET
        return push(make(NodeKind::kList)), true;
      case 'l':
      case 0x91:  // FROZENSET
        return push(make_items(NodeKind::kList, pop_marked())), true;
      case 'a':
        return append(pop_many(1), NodeKind::kList), true;
      case 'e':
      case 0x90:  // ADDITEMS
        return append(pop_marked(), NodeKind::kList), true;
      case '}':
        return push(make(NodeKind::kDict)), true;
      case 'd':
        push(make(NodeKind::kDict));
        return append(under_top(), NodeKind::kDict), true;
      case 's':
        return append(pop_many(2), NodeKind::kDict), true;
      case 'u':
        return append(pop_marked(), NodeKind::kDict), true;
      default:
        return false;
    }
  }

  // For DICT: the values above the mark, below the dictionary that was just pushed.
  std::vector<NodeId> under_top() {
    const NodeId dict = pop();
    std::vector<NodeId> items = pop_marked();
    push(dict);
    return items;
  }

  void append(const std::vector<NodeId>& items, NodeKind kind) {
    Node& target = node(top());
    const bool is_dict = kind == NodeKind::kDict;
    if (target.kind != kind && target.kind != NodeKind::kInstance) {
      refuse(is_dict ? "adds keys to what is no dictionary" : "adds to what is no list");
    }
    if (is_dict && items.size() % 2 != 0) refuse("has a key without a value");
    if (!is_dict && target.kind == NodeKind::kInstance) refuse("adds to what is no list");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  // ---- Classes, functions, storages ------------------------------------------------------------

  bool run_object(uint8_t code) {
    switch (code) {
      case 'c': {
        const std::string module = line();
        return push(make_text(NodeKind::kGlobal, module + "." + line())), true;
      }
      case 0x93:
        return push(stack_global()), true;
      case 'R': {
        const std::vector<NodeId> call = pop_many(2);
        return push(reduce(call[0], call[1])), true;
      }
      case 0x81: {  // NEWOBJ
        const std::vector<NodeId> made = pop_many(2);
        return push(instance(made[0], made[1])), true;
      }
      case 0x92: {  // NEWOBJ_EX
        const std::vector<NodeId> made = pop_many(3);
        if (node(made[2]).kind != NodeKind::kDict || !node(made[2]).items.empty()) {
          refuse_function(node(made[0]).text);
        }
        return push(instance(made[0], made[1])), true;
      }
      case 'b': {
        const NodeId state = pop();
        return build(top(), state), true;
      }
      case 'i': {
        const std::string module = line();
        refuse_function(module + "." + line());
      }
      case 'o': {
        const std::vector<NodeId> items = pop_marked();
        refuse_function(items.empty() ? "" : node(items[0]).text);
      }
      case 'Q':
        return push(storage(pop())), true;
      case 0x82:
      case 0x83:
      case 0x84:
        refuse("asks for a class of Python's registry of extensions, which is not read");
      default:
        return false;
    }
  }

  NodeId stack_global() {
    const std::vector<NodeId> names = pop_many(2);
    for (const NodeId id : names) {
      if (node(id).kind != NodeKind::kString || node(id).text.size() > kMaxNameBytes) {
        refuse("names a class or function by what is no short string");
      }
    }
    std::string name = node(names[0]).text + "." + node(names[1]).text;
    count_copy(name.size());
    return make_text(NodeKind::kGlobal, std::move(name));
  }

  // A call, which only stands for the value that it would return.
  NodeId reduce(NodeId function_id, NodeId arguments_id) {
    if (node(function_id).kind != NodeKind::kGlobal) refuse("calls what is no function");
    if (node(arguments_id).kind != NodeKind::kTuple) refuse("calls with what is no tuple");
    const std::string name = node(function_id).text;
    const std::vector<NodeId>& all = node(arguments_id).items;
    const size_t n = all.size();
    // No reference, as make() moves the nodes.
    const std::vector<NodeId> arguments(all.begin(),
                                        all.begin() + (n < 4 ? static_cast<int>(n) : 4));
    static constexpr const char* kTensors[] = {"torch._utils._rebuild_tensor_v2",
                                               "torch._utils._rebuild_tensor"};
    static constexpr const char* kFirstArgument[] = {
        "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
        "torch.Size", "torch.device", "_codecs.encode"};
    static constexpr const char* kDicts[] = {"collections.OrderedDict", "collections.defaultdict"};
    static constexpr const char* kSets[] = {"builtins.set", "__builtin__.set", "builtins.frozenset",
                                            "__builtin__.frozenset"};
    static constexpr const char* kReconstructors[] = {"copyreg._reconstructor",
                                                      "copy_reg._reconstructor"};
    if (one_of(name, kTensors) && n >= 4) {
      return make_items(NodeKind::kTensor, arguments);
    }
    if (one_of(name, kFirstArgument) && n > 0) return arguments[0];
    if (one_of(name, kDicts)) {
      if (n == 0 || name != kDicts[0]) return make(NodeKind::kDict);
      return dict_of_pairs(arguments[0]);
    }
    if (one_of(name, kSets) && n == 1) return arguments[0];
    if (one_of(name, kReconstructors) && n == 3) {
      return instance(arguments[0], make(NodeKind::kTuple));
    }
    if (name == "types.SimpleNamespace" && n == 0) {
      return instance(function_id, arguments_id);
    }
    refuse_function(name);
  }

  NodeId dict_of_pairs(NodeId pairs) {
    std::vector<NodeId> items;
    count_copy(node(pairs).items.size() * 2 * sizeof(NodeId));
    for (const NodeId id : node(pairs).items) {
      const Node& pair = node(id);
      if (pair.items.size() != 2) refuse("makes a dictionary of what are no pairs");
      items.insert(items.end(), pair.items.begin(), pair.items.end());
    }
    return make_items(NodeKind::kDict, std::move(items));
  }

  NodeId instance(NodeId class_id, NodeId arguments) {
    if (node(class_id).kind != NodeKind::kGlobal) refuse("makes an object of what is no class");
    if (node(arguments).kind != NodeKind::kTuple) refuse("makes an object with what is no tuple");
    const NodeId id = make(NodeKind::kInstance);
    node(id).arguments = arguments;
    return id;
  }

  // Attributes. Those of a dictionary (a state dict has its modules' versions there) and of a
  // tensor are not needed.
  void build(NodeId target, NodeId state) {
    switch (node(target).kind) {
      case NodeKind::kDict:
      case NodeKind::kTensor:
        return;
      case NodeKind::kInstance:
        node(target).state = state;
        return;
      default:
        refuse("gives attributes to what has none");
    }
  }

  // ('storage', type, key, device, elements): how torch refers to what lies outside of the pickle.
  NodeId storage(NodeId id) {
    const auto& fields = node(id).items;
    const auto is = [&](size_t i, NodeKind kind) { return node(fields[i]).kind == kind; };
    if (node(id).kind != NodeKind::kTuple || fields.size() < 5 || !is(0, NodeKind::kString) ||
        node(fields[0]).text != "storage" || !is(1, NodeKind::kGlobal) ||
        !is(2, NodeKind::kString) || !is(4, NodeKind::kInteger)) {
      refuse("refers to what is no storage of PyTorch");
    }
    if (fields.size() > 6 || (fields.size() == 6 && !is(5, NodeKind::kNone))) {
      refuse("refers to a part of a storage, which is not read");
    }
    const char* type = storage_type(node(fields[1]).text);
    if (type == nullptr) {
      refuse("found storage type '" + printable(node(fields[1]).text) +
             "', expected one like torch.FloatStorage");
    }
    const std::string key = node(fields[2]).text;
    count_copy(key.size());
    const int64_t count = node(fields[4]).integer;
    if (count < 0) refuse("found a storage with a negative number of elements");
    const PickledStorage found{type, static_cast<uint64_t>(count)};
    const auto [place, is_new] = out_.storages.emplace(key, found);
    if (!is_new && (place->second.type != found.type || place->second.count != found.count)) {
      refuse("found storage " + shown(key) + " with two types or sizes, expected one");
    }
    return make_text(NodeKind::kStorage, key);
  }

  PickleBytes bytes_;
  const std::string& name_;
  uint64_t copied_bytes_ = 0;
  uint64_t step_ = 0;  // where the step under way began
  PickleNodes out_;
  std::vector<NodeId> stack_;
  std::vector<size_t> marks_;
  std::map<uint64_t, NodeId> memo_;
};

}  // namespace

PickleNodes run_pickle(const InputFile& file, uint64_t begin, uint64_t* end,
                       const std::string& name) {
  return PickleMachine(file, begin, *end, name).run(end);
}

}  // namespace thimble::tools
