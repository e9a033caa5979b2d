// SPDX-License-Identifier: MIT
// Small checkpoints in memory, written as the safetensors library and torch.save write theirs.
#ifndef THIMBLE_TESTS_CHECKPOINT_FILES_H
#define THIMBLE_TESTS_CHECKPOINT_FILES_H

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "crc32.h"
#include "json_string.h"
#include "readers/gguf_types.h"
#include "readers/plain_types.h"

namespace thimble::test {

struct FileTensor {
  std::string name, type;  // "F32"; integers are made from the values
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

// One of each type that is read, and some that are not.
inline const std::vector<FileTensor>& some_tensors() {
  static const std::vector<FileTensor> tensors = {
      {"a.weight", "F32", {2, 3}, {1.5f, -2, 3, 4, 5, 6e30f}},
      {"b", "F16", {4}, {0.5f, -1.25f, 65504, 0x1p-24f}},
      {"c", "BF16", {1, 2}, {-3.5f, 0x1p-100f}},
      {"d", "F64", {}, {0.1f}},
      {"empty", "F32", {0, 7}, {}},
      {"mask", "BOOL", {2}, {0, 1}},
      {"ids", "I64", {3}, {1, 2, 3}},
  };
  return tensors;
}

struct NamedBytes {
  std::string name, bytes;
};

// The lowest bytes of a number.
inline std::string little_bytes(uint64_t x, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out.push_back(static_cast<char>(i < 8 ? x >> (8 * i) & 0xff : 0));
  return out;
}

inline std::string element_bytes(const std::string& type, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (type == "F32") return little_bytes(bits, 4);
  if (type == "BF16") return little_bytes(bits >> 16, 2);  // cut, for values that have no more
  if (type == "F16") return little_bytes(tools::float_to_half(value), 2);
  if (type == "F64") {
    const double wide = static_cast<double>(value);
    uint64_t wide_bits;
    std::memcpy(&wide_bits, &wide, sizeof wide_bits);
    return little_bytes(wide_bits, 8);
  }
  return little_bytes(static_cast<uint64_t>(static_cast<int64_t>(value)),
                      tools::plain_type(type)->bytes);
}

inline std::string data_bytes(const FileTensor& tensor) {
  std::string out;
  for (const float value : tensor.values) out += element_bytes(tensor.type, value);
  return out;
}

inline std::string numbers_text(const std::vector<uint64_t>& numbers) {
  std::string out;
  for (const uint64_t x : numbers) out += (out.empty() ? "" : ",") + std::to_string(x);
  return "[" + out + "]";
}

// ---- Safetensors -------------------------------------------------------------------------------

inline std::string safetensors_with(const std::string& header, const std::string& data) {
  return little_bytes(header.size(), 8) + header + data;
}

inline std::string safetensors_file(const std::vector<FileTensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})", data;
  for (const FileTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += data_bytes(tensor);
    header += "," + tools::json_string(tensor.name) + R"(:{"dtype":")" + tensor.type +
              R"(","shape":)" + numbers_text(tensor.shape) + R"(,"data_offsets":)" +
              numbers_text({begin, data.size()}) + "}";
  }
  header += "}";
  while (header.size() % 8 != 0) header += ' ';
  return safetensors_with(header, data);
}

// One file for each tensor, and the index that names them.
inline std::vector<NamedBytes> safetensors_shards(const std::vector<FileTensor>& tensors) {
  std::vector<NamedBytes> files;
  std::string map;
  for (const FileTensor& tensor : tensors) {
    const std::string name = "model-" + std::to_string(files.size() + 1) + ".safetensors";
    files.push_back({name, safetensors_file({tensor})});
    map += (map.empty() ? "" : ",") + tools::json_string(tensor.name) + ":\"" + name + "\"";
  }
  files.push_back({"model.safetensors.index.json",
                   R"({"metadata":{"total_size":1},"weight_map":{)" + map + "}}"});
  return files;
}

// ---- Pickles -----------------------------------------------------------------------------------

// Steps of protocol 2, without a memo.
class PickleWriter {
 public:
  explicit PickleWriter(int protocol = 2) {
    step("\x80").bytes(little_bytes(protocol_of(protocol), 1));
  }

  PickleWriter& step(const std::string& code) { return bytes(code); }
  PickleWriter& bytes(const std::string& more) {
    out_ += more;
    return *this;
  }
  PickleWriter& none() { return step("N"); }
  PickleWriter& boolean(bool x) { return step(x ? "\x88" : "\x89"); }
  PickleWriter& integer(int64_t x) {
    if (x >= 0 && x < 256) return step("K" + little_bytes(static_cast<uint64_t>(x), 1));
    return step("\x8a\x08" + little_bytes(static_cast<uint64_t>(x), 8));
  }
  PickleWriter& real(double x) {
    uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return step("G" + little_bytes(__builtin_bswap64(bits), 8));
  }
  PickleWriter& text(const std::string& x) { return step("X" + little_bytes(x.size(), 4) + x); }
  PickleWriter& global(const std::string& module, const std::string& name) {
    return step("c" + module + "\n" + name + "\n");
  }
  PickleWriter& integers(const std::vector<uint64_t>& numbers) {
    step("(");
    for (const uint64_t x : numbers) integer(static_cast<int64_t>(x));
    return step("t");
  }

  PickleWriter& storage(const std::string& type, const std::string& key, uint64_t count,
                        bool old = false) {
    step("(").text("storage").global("torch", storage_name(type)).text(key).text("cpu");
    integer(static_cast<int64_t>(count));
    if (old) none();
    return step("tQ");
  }
  // With the storage and what _rebuild_tensor_v2 is given beside it.
  PickleWriter& tensor(const std::string& type, const std::string& key, uint64_t count,
                       uint64_t offset, const std::vector<uint64_t>& shape,
                       const std::vector<uint64_t>& strides, bool old = false) {
    global("torch._utils", "_rebuild_tensor_v2").step("(").storage(type, key, count, old);
    integer(static_cast<int64_t>(offset)).integers(shape).integers(strides).boolean(false);
    return global("collections", "OrderedDict").step(")R").step("tR");
  }

  std::string end() const { return out_ + "."; }

 private:
  static uint64_t protocol_of(int protocol) { return static_cast<uint64_t>(protocol); }
  static std::string storage_name(const std::string& type) {
    static const std::pair<const char*, const char*> kNames[] = {
        {"F32", "FloatStorage"},  {"F16", "HalfStorage"}, {"BF16", "BFloat16Storage"},
        {"F64", "DoubleStorage"}, {"I64", "LongStorage"}, {"I32", "IntStorage"},
        {"I16", "ShortStorage"},  {"I8", "CharStorage"},  {"U8", "ByteStorage"},
        {"BOOL", "BoolStorage"}};
    for (const auto& [known, name] : kNames) {
      if (type == known) return name;
    }
    return type;
  }
  std::string out_;
};

inline std::vector<uint64_t> row_major_strides(const std::vector<uint64_t>& shape) {
  std::vector<uint64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// An OrderedDict of the tensors, each with a storage of its own: its place in the list.
inline void write_state_dict(PickleWriter* pickle, const std::vector<FileTensor>& tensors,
                             bool old) {
  pickle->global("collections", "OrderedDict").step(")R(");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const FileTensor& t = tensors[i];
    pickle->text(t.name).tensor(t.type, std::to_string(i), t.values.size(), 0, t.shape,
                                row_major_strides(t.shape), old);
  }
  pickle->step("u");
}

// ---- Zip archives ------------------------------------------------------------------------------

struct ZipOptions {
  bool zip64 = false;
  bool sizes_behind = false;  // in a record behind the data, as PyTorch does
  uint16_t method = 0, flags = 0;
};

inline std::string zip_file(const std::vector<NamedBytes>& members,
                            const ZipOptions& options = {}) {
  std::string out, directory;
  for (const NamedBytes& member : members) {
    const uint32_t crc = crc32(0, member.bytes.data(), member.bytes.size());
    const uint64_t size = member.bytes.size(), place = out.size();
    const uint16_t flags = static_cast<uint16_t>(options.flags | (options.sizes_behind ? 8 : 0));
    const std::string start =
        little_bytes(flags, 2) + little_bytes(options.method, 2) + little_bytes(0, 4);
    const bool behind = options.sizes_behind;
    out += "PK\3\4" + little_bytes(20, 2) + start + little_bytes(behind ? 0 : crc, 4) +
           little_bytes(behind ? 0 : size, 4) + little_bytes(behind ? 0 : size, 4) +
           little_bytes(member.name.size(), 2) + little_bytes(4, 2) + member.name + "FB" +
           little_bytes(0, 2) + member.bytes;
    if (behind) {
      out += "PK\7\10" + little_bytes(crc, 4) + little_bytes(size, 4) + little_bytes(size, 4);
    }
    std::string extra;
    if (options.zip64) {
      extra = little_bytes(1, 2) + little_bytes(24, 2) + little_bytes(size, 8) +
              little_bytes(size, 8) + little_bytes(place, 8);
    }
    const uint64_t in_64 = 0xffffffff;
    directory += "PK\1\2" + little_bytes(20, 2) + little_bytes(20, 2) + start +
                 little_bytes(crc, 4) + little_bytes(options.zip64 ? in_64 : size, 4) +
                 little_bytes(options.zip64 ? in_64 : size, 4) +
                 little_bytes(member.name.size(), 2) + little_bytes(extra.size(), 2) +
                 little_bytes(0, 10) + little_bytes(options.zip64 ? in_64 : place, 4) +
                 member.name + extra;
  }
  const uint64_t n = members.size(), place = out.size(), size = directory.size();
  out += directory;
  if (options.zip64) {
    const uint64_t end = out.size();
    out += "PK\6\6" + little_bytes(44, 8) + little_bytes(45, 2) + little_bytes(45, 2) +
           little_bytes(0, 8) + little_bytes(n, 8) + little_bytes(n, 8) + little_bytes(size, 8) +
           little_bytes(place, 8);
    out += "PK\6\7" + little_bytes(0, 4) + little_bytes(end, 8) + little_bytes(1, 4);
  }
  return out + "PK\5\6" + little_bytes(0, 4) + little_bytes(n, 2) + little_bytes(n, 2) +
         little_bytes(size, 4) + little_bytes(place, 4) + little_bytes(0, 2);
}

// ---- PyTorch -----------------------------------------------------------------------------------

// With a pickle of one's own and the bytes of storages "0", "1" ...
inline std::string pytorch_zip_with(const std::string& pickle,
                                    const std::vector<std::string>& storages,
                                    const ZipOptions& options = {}) {
  std::vector<NamedBytes> members = {{"archive/data.pkl", pickle}, {"archive/byteorder", "little"}};
  for (size_t i = 0; i < storages.size(); ++i) {
    members.push_back({"archive/data/" + std::to_string(i), storages[i]});
  }
  members.push_back({"archive/version", "3\n"});
  return zip_file(members, options);
}

inline std::vector<std::string> storages_of(const std::vector<FileTensor>& tensors) {
  std::vector<std::string> storages;
  for (const FileTensor& tensor : tensors) storages.push_back(data_bytes(tensor));
  return storages;
}

inline std::string pytorch_zip(const std::vector<FileTensor>& tensors,
                               const ZipOptions& options = {}) {
  PickleWriter pickle;
  write_state_dict(&pickle, tensors, false);
  return pytorch_zip_with(pickle.end(), storages_of(tensors), options);
}

inline std::string pytorch_old(const std::vector<FileTensor>& tensors) {
  PickleWriter magic, protocol, machine, object, keys;
  magic.step("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
  protocol.step("M" + little_bytes(1001, 2));
  machine.step("}(").text("protocol_version").step("M" + little_bytes(1001, 2));
  machine.text("little_endian").boolean(true).step("u");
  write_state_dict(&object, tensors, true);
  keys.step("](");
  for (size_t i = 0; i < tensors.size(); ++i) keys.text(std::to_string(i));
  keys.step("e");
  std::string out = magic.end() + protocol.end() + machine.end() + object.end() + keys.end();
  for (const FileTensor& tensor : tensors) {
    out += little_bytes(tensor.values.size(), 8) + data_bytes(tensor);
  }
  return out;
}

}  // namespace thimble::test

#endif
