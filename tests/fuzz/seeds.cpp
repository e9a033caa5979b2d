// SPDX-License-Identifier: MIT
// Writes what the fuzz targets start from: seeds FOLDER makes FOLDER/json/... and so on, a folder
// for each target.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "checkpoint_files.h"

using namespace thimble::test;

namespace {

class SeedFolder {
 public:
  SeedFolder(const std::string& folder, const std::string& target)
      : folder_(std::filesystem::path(folder) / target) {
    std::filesystem::create_directories(folder_);
  }
  void add(const std::string& bytes) {
    std::ofstream(folder_ / std::to_string(count_++), std::ios::binary) << bytes;
  }

 private:
  std::filesystem::path folder_;
  size_t count_ = 0;
};

std::vector<FileTensor> some_tensors() {
  return {{"a.weight", "F32", {2, 3}, {1, 2, 3, 4, 5, 6}},
          {"b", "F16", {4}, {1, 2, 3, 4}},
          {"c", "BF16", {1, 2}, {1, 2}},
          {"d", "F64", {}, {1}},
          {"empty", "F32", {0, 7}, {}},
          {"mask", "BOOL", {2}, {0, 1}}};
}

void write_json(SeedFolder seeds) {
  seeds.add(R"({"a":[1,-2.5e-3,"x\u00e9\ud83d\ude00é",null,true,false],"b":{"c":{}}})");
  seeds.add(R"({"model":{"vocab":{"<s>":0,"a":1},"merges":["a b",["c","d"]]},"eps":1e-05})");
  seeds.add("[9007199254740992,9007199254740993,1000000000000000019884624838656,0.0,-0]");
  seeds.add(std::string(64, '[') + std::string(64, ']'));
}

void write_safetensors(SeedFolder seeds) {
  seeds.add(safetensors_file(some_tensors()));
  seeds.add(safetensors_file({}));
  for (const FileTensor& tensor : some_tensors()) seeds.add(safetensors_file({tensor}));
}

// A checkpoint as people write them, of storages "0" (12 elements F32) and "1" (4 elements F16).
std::string training_pickle(int protocol) {
  PickleWriter p(protocol);
  p.step("}(").text("model").global("collections", "OrderedDict").step(")R(");
  p.text("x")
      .tensor("F32", "0", 12, 3, {2, 3}, {1, 2})
      .text("y")
      .tensor("F16", "1", 4, 0, {4}, {1});
  p.step("u}").text("_metadata").none().step("sb");
  p.text("config").global("__main__", "Config").step(")\x81}").text("n_head").integer(4).step("sb");
  p.text("parameter").global("torch._utils", "_rebuild_parameter").step("(");
  p.tensor("F32", "0", 12, 0, {}, {}).boolean(true).none().step("tR");
  p.text("size").global("torch", "Size").integers({2, 3}).step("\x85R");
  p.text("list").step("](").integer(-5).real(0.5).text("z").step("e");
  return p.step("u").end();
}

std::string module_pickle() {
  PickleWriter p(4);
  p.step("\x8c\1m\x8c\1M\x93)\x81}(\x8c\x0b_parameters}\x8c\1w\x94");
  p.tensor("F32", "0", 12, 0, {3, 4}, {4, 1})
      .step("s\x8c\x08_buffers}h")
      .bytes(std::string(1, '\0'));
  p.tensor("F16", "1", 4, 0, {2, 2}, {1, 2}).step("s\x8c\x08_modules}ub");
  return p.end();
}

void write_pytorch(SeedFolder seeds) {
  ZipOptions zip64, behind;
  zip64.zip64 = true;
  behind.sizes_behind = true;
  seeds.add(pytorch_zip(some_tensors()));
  seeds.add(pytorch_zip({some_tensors()[0]}, zip64));
  seeds.add(pytorch_zip({some_tensors()[1]}, behind));
  seeds.add(pytorch_old(some_tensors()));
  seeds.add(pytorch_old({some_tensors()[0]}));
  seeds.add(training_pickle(2));
  seeds.add(training_pickle(4));
  seeds.add(module_pickle());
  seeds.add("\x80\x05]\x94(h\0h\0K\1\x90\x8f\x91." + std::string());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: seeds FOLDER\n");
    return 2;
  }
  write_json({argv[1], "json"});
  write_safetensors({argv[1], "safetensors"});
  write_pytorch({argv[1], "pytorch"});
  return 0;
}
