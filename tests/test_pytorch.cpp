// SPDX-License-Identifier: MIT
// Checkpoints of torch.save in both formats: views of every kind, ties, and what is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "error.h"
#include "llama2c_files.h"
#include "random.h"
#include "readers/pytorch.h"
#include "readers/safetensors.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

std::string refusal_of_path(const std::string& path) {
  try {
    open_pytorch(path);
  } catch (const Refused& refused) {
    const std::string text = refused.what();
    return text.substr(0, path.size()) == path ? text.substr(path.size()) : text;
  }
  return "accepted";
}

std::string refusal_of(const TestFolder& folder, const std::string& bytes) {
  return refusal_of_path(folder.write("x.pth", bytes));
}

std::string refusal_of_pickle(const TestFolder& folder, const PickleWriter& pickle,
                              size_t storage_bytes) {
  return refusal_of(folder, pytorch_zip_with(pickle.end(), {std::string(storage_bytes, '\0')}));
}

std::vector<float> values_of(const Tensors& tensors, size_t index) {
  std::vector<float> out(element_count(tensors.all()[index]));
  tensors.read(index, 0, out.size(), out.data());
  return out;
}

void read_everything(const Tensors& tensors) {
  for (size_t i = 0; i < tensors.all().size(); ++i) {
    const uint64_t all = element_count(tensors.all()[i]);
    const size_t n = static_cast<size_t>(std::min<uint64_t>(all, 4096));
    std::vector<float> out(n);
    try {
      tensors.read(i, 0, n, out.data());
      tensors.read(i, all - n, n, out.data());
    } catch (const Refused&) {  // an integer type
    }
  }
}

// Replaces bytes that are there once.
std::string changed(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("pytorch: all types in both formats") {
  const TestFolder folder;
  ZipOptions behind, zip64;
  behind.sizes_behind = true;
  zip64.zip64 = true;
  for (const std::string& bytes :
       {pytorch_zip(some_tensors()), pytorch_zip(some_tensors(), behind),
        pytorch_zip(some_tensors(), zip64), pytorch_old(some_tensors())}) {
    const std::string path = folder.write("x.pth", bytes);
    CHECK(is_pytorch(InputFile(path)));
    const PyTorchFile file = open_pytorch(path);
    CHECK(file.description ==
          std::string(bytes[0] == 'P' ? "PyTorch (zip)" : "PyTorch (old format)") +
              ", 7 tensors (BF16, BOOL, F16, F32, F64, I64)");
    CHECK(file.rest.dict()->empty());
    REQUIRE(file.tensors->all().size() == some_tensors().size());
    for (size_t i = 0; i < some_tensors().size(); ++i) {
      const FileTensor& expected = some_tensors()[i];
      CAPTURE(expected.name);
      const Tensor& found = file.tensors->all()[i];
      CHECK(found.name == expected.name);
      CHECK(found.type == expected.type);
      CHECK(found.shape == expected.shape);
      CHECK(file.tensors->path(i) == path);
      if (i < 5) {
        CHECK(values_of(*file.tensors, i) == expected.values);
        continue;
      }
      std::string why;
      try {
        values_of(*file.tensors, i);
      } catch (const Refused& refused) {
        why = refused.what();
      }
      CHECK(why == path + ": tensor \"" + expected.name + "\" is of type " + expected.type +
                       ", expected one that is read as weights: F32, F16, BF16, F64");
    }
  }
}

TEST_CASE("pytorch: views of one storage: tied, sliced, transposed, expanded") {
  const TestFolder folder;
  struct View {
    std::vector<uint64_t> shape, strides;
    uint64_t offset;
  };
  const std::vector<View> views = {
      {{3, 4}, {4, 1}, 0},  {{3, 4}, {4, 1}, 0},  {{4, 3}, {1, 4}, 0},       {{2, 2}, {4, 1}, 5},
      {{2, 3}, {0, 1}, 9},  {{3}, {4}, 3},        {{2, 2, 3}, {2, 1, 4}, 0}, {{}, {}, 11},
      {{1, 4}, {99, 1}, 8}, {{0, 3}, {1, 1}, 12}, {{2, 0}, {1, 1}, 7}};
  for (const std::string type : {"F32", "BF16"}) {
    FileTensor storage{"s", type, {12}, {}};
    for (int i = 0; i < 12; ++i) storage.values.push_back(static_cast<float>(i));
    PickleWriter p;
    p.step("](");
    for (const View& v : views) p.tensor(type, "0", 12, v.offset, v.shape, v.strides);
    p.step("e");
    const PyTorchFile file =
        open_pytorch(folder.write("x.pth", pytorch_zip_with(p.end(), {data_bytes(storage)})));
    REQUIRE(file.tensors->all().size() == views.size());
    for (size_t i = 0; i < views.size(); ++i) {
      CAPTURE(i);
      const View& v = views[i];
      // The value of an element is its place.
      std::vector<float> expected;
      const uint64_t n = element_count(file.tensors->all()[i]);
      for (uint64_t e = 0; e < n; ++e) {
        uint64_t rest = e, at = v.offset;
        for (size_t d = v.shape.size(); d-- > 0; rest /= v.shape[d]) {
          at += rest % v.shape[d] * v.strides[d];
        }
        expected.push_back(static_cast<float>(at));
      }
      for (size_t begin = 0; begin <= n; ++begin) {
        for (size_t count = 0; count <= n - begin; ++count) {
          std::vector<float> out(count + 1, -7.0f);
          file.tensors->read(i, begin, count, out.data());
          CHECK(std::equal(out.begin(), out.end() - 1,
                           expected.begin() + static_cast<std::ptrdiff_t>(begin)));
          CHECK(out.back() == -7.0f);
        }
      }
    }
  }
}

TEST_CASE("pytorch: a view of a storage that is too large to be kept") {
  const TestFolder folder;
  const uint64_t n = (64u << 18) + 2;  // floats: a little more than 64 MiB
  std::string data(n * 4, '\0');
  for (const uint64_t at : {uint64_t{1}, n / 2 + 1, n - 1}) {
    const float value = static_cast<float>(at % 1000);
    std::memcpy(&data[at * 4], &value, sizeof value);
  }
  PickleWriter p;
  p.tensor("F32", "0", n, 0, {2, 2}, {1, n / 2});
  const PyTorchFile file = open_pytorch(folder.write("x.pth", pytorch_zip_with(p.end(), {data})));
  CHECK(file.tensors->all()[0].name.empty());
  const auto expected = [&](uint64_t at) { return static_cast<float>(at % 1000); };
  CHECK(values_of(*file.tensors, 0) == std::vector<float>{0, 0, expected(1), expected(n / 2 + 1)});
}

TEST_CASE("pytorch: views that leave their storage") {
  const TestFolder folder;
  const auto refusal = [&](uint64_t offset, std::vector<uint64_t> shape,
                           std::vector<uint64_t> strides) {
    return refusal_of_pickle(folder, PickleWriter().tensor("F32", "0", 4, offset, shape, strides),
                             16);
  };
  const uint64_t huge = INT64_MAX;
  CHECK(refusal(0, {4}, {1}) == "accepted");
  CHECK(refusal(3, {1}, {1}) == "accepted");
  CHECK(refusal(4, {0}, {1}) == "accepted");
  CHECK(refusal(1, {4}, {1}) ==
        ": tensor \"\": shape [4] with strides [1] from element 1 on leaves its storage, which has "
        "4");
  CHECK(refusal(5, {0}, {1}).find("leaves its storage") != std::string::npos);
  CHECK(refusal(0, {2, 2}, {3, 1}).find("leaves its storage") != std::string::npos);
  CHECK(refusal(huge, {1}, {1}).find("leaves its storage") != std::string::npos);
  CHECK(refusal(0, {2, 2, 2}, {huge, huge, 2}).find("leaves its storage") != std::string::npos);
  CHECK(refusal(0, {huge, 3}, {2, 0}).find("leaves its storage") != std::string::npos);
  CHECK(refusal(0, {huge, huge}, {0, 0}).find("leaves its storage") != std::string::npos);
  CHECK(refusal(0, {huge, huge, 0}, {0, 0, 0}).find("leaves its storage") != std::string::npos);
}

TEST_CASE("pytorch: archives that are not as torch.save writes them") {
  const TestFolder folder;
  const auto zip = [&](const std::vector<NamedBytes>& members) {
    return refusal_of(folder, zip_file(members));
  };
  const std::string none = PickleWriter().none().end();
  CHECK(zip({{"a/data.pkl", none}}) == "accepted");  // no byte order: before PyTorch 2.1
  CHECK(zip({{"a/b/data.pkl", none}}) ==
        ": PyTorch: the archive has no FOLDER/data.pkl, expected one");
  CHECK(zip({{"a/data.pkl", none}, {"b/data.pkl", none}}) ==
        ": PyTorch: found \"a/data.pkl\" and \"b/data.pkl\", expected one");
  CHECK(zip({{"a/data.pkl", none}, {"a/constants.pkl", none}}) ==
        ": PyTorch: is a TorchScript archive, expected a state dict or a checkpoint from "
        "torch.save");
  CHECK(zip({{"a/data.pkl", none}, {"a/byteorder", "big"}}) ==
        ": PyTorch: byte order: found \"big\", expected \"little\"");
  CHECK(zip({{"a/data.pkl", none + "N"}}) ==
        ": PyTorch: data.pkl: the pickle ends 1 bytes before its member's end");
  PickleWriter p;
  p.tensor("F32", "k", 4, 0, {4}, {1});
  CHECK(zip({{"a/data.pkl", p.end()}}) == ": PyTorch: the archive has no \"a/data/k\"");
  for (const size_t bytes : {size_t{15}, size_t{17}}) {
    CHECK(zip({{"a/data.pkl", p.end()}, {"a/data/k", std::string(bytes, '\0')}}) ==
          ": PyTorch: storage \"k\": expected 4 elements of type F32, found " +
              std::to_string(bytes) + " bytes");
  }
  CHECK(refusal_of_pickle(folder, PickleWriter().tensor("F32", "0", INT64_MAX, 0, {}, {}), 16)
            .find("expected 9223372036854775807 elements of type F32") != std::string::npos);
  CHECK(refusal_of_pickle(folder, PickleWriter().global("os", "system").text("ls").step("\x85R"),
                          0) ==
        ": archive/data.pkl: pickle: byte 21: asks for the function 'os.system', which is not run; "
        "expected only tensors, numbers, strings, lists and dictionaries");
  std::string damaged = pytorch_zip(some_tensors());
  damaged = changed(damaged, "a.weight", "a.height");
  CHECK(refusal_of(folder, damaged).find("member \"archive/data.pkl\": found checksum") !=
        std::string::npos);
  CHECK(refusal_of(folder, "hello") ==
        ": PyTorch: starts neither as a zip archive nor as PyTorch's old format, expected one of "
        "them");
  CHECK(refusal_of(folder, "version https://git-lfs.github.com/spec/v1\nsize 5\n") ==
        ": is a Git LFS pointer (the file itself has 5 bytes), expected the file: run git lfs "
        "pull");
}

TEST_CASE("pytorch: old files that contradict themselves") {
  const TestFolder folder;
  const std::vector<FileTensor> tensors = {{"a", "F32", {2}, {1, 2}}, {"b", "F32", {1}, {3}}};
  const std::string good = pytorch_old(tensors);
  REQUIRE(refusal_of(folder, good) == "accepted");
  const std::string keys = PickleWriter().text("0").text("1").end().substr(2);
  const auto with_keys = [&](PickleWriter& p) {
    return changed(good, "](" + keys.substr(0, keys.size() - 1) + "e.", p.end().substr(2));
  };
  const std::string old = ": PyTorch: old format: ";
  CHECK(refusal_of(folder, changed(good, "M\xe9\3.", "M\xe8\3.")) ==
        old + "found 1000 as its protocol, expected 1001");
  CHECK(refusal_of(folder, changed(good, "little_endian\x88", "little_endian\x89")) ==
        old + "is not marked as little-endian, expected that");
  CHECK(refusal_of(folder, with_keys(PickleWriter().none())) ==
        old + "the keys of storages are no list");
  CHECK(refusal_of(folder, with_keys(PickleWriter().step("]").integer(1).step("a"))) ==
        old + "a storage's key is no string");
  CHECK(refusal_of(folder, with_keys(PickleWriter().step("]").text("7").step("a"))) ==
        old + "no tensor says what storage \"7\" holds");
  CHECK(refusal_of(folder, with_keys(PickleWriter().step("](").text("0").text("0").step("e"))) ==
        old + "storage \"0\" is listed twice");
  CHECK(refusal_of(folder, with_keys(PickleWriter().step("](").text("0").step("e"))) ==
        old + "storage \"1\" is not in the list of keys");
  CHECK(refusal_of(folder, with_keys(PickleWriter().step("](").text("1").text("0").step("e"))) ==
        old + "storage \"1\": found 2 elements, expected 1");
  CHECK(refusal_of(folder, good + "x").find(old + "the last storage ends at byte") == 0);
  CHECK(refusal_of(folder, good.substr(0, good.size() - 1)) ==
        ": PyTorch: storage \"1\": expected 1 elements of type F32, found 3 bytes");
}

TEST_CASE("pytorch: every truncation is refused, mutations never do harm") {
  const TestFolder folder;
  const std::vector<FileTensor> tensors = {
      {"a", "F32", {2, 2}, {1, 2, 3, 4}}, {"b", "F16", {3}, {3, 4, 5}}, {"c", "F64", {1}, {6}}};
  for (const std::string& good : {pytorch_zip(tensors), pytorch_old(tensors)}) {
    REQUIRE(refusal_of(folder, good) == "accepted");
    for (size_t n = 1; n < good.size(); ++n) {
      CAPTURE(n);
      CHECK(refusal_of(folder, good.substr(0, n)) != "accepted");
    }
    Random random(5);
    size_t accepted = 0;
    for (int i = 0; i < 3000; ++i) {
      std::string file = good;
      const uint32_t at = random.below(static_cast<uint32_t>(file.size()));
      file[at] = static_cast<char>(random.below(2) == 0 ? random.below(256) : random.below(8));
      try {
        read_everything(*open_pytorch(folder.write("x.pth", file)).tensors);
        ++accepted;
      } catch (const Refused&) {
      }
    }
    CHECK(accepted > 10);
    CHECK(accepted < 2900);
  }
  // Behind the archive's checksum, changed pickles come to the checks of views.
  PickleWriter p;
  p.step("](").tensor("F32", "0", 12, 3, {2, 3}, {1, 2}).tensor("F16", "1", 4, 0, {4}, {1});
  const std::string pickle = p.step("e").end();
  const std::vector<std::string> storages = {std::string(48, 'x'), std::string(8, 'y')};
  REQUIRE(refusal_of(folder, pytorch_zip_with(pickle, storages)) == "accepted");
  Random random(6);
  size_t accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string other = pickle;
    for (uint32_t k = 1 + random.below(2); k > 0; --k) {
      other[random.below(static_cast<uint32_t>(other.size()))] =
          static_cast<char>(random.below(2) == 0 ? random.below(256) : random.below(8));
    }
    try {
      read_everything(
          *open_pytorch(folder.write("x.pth", pytorch_zip_with(other, storages))).tensors);
      ++accepted;
    } catch (const Refused&) {
    }
  }
  CHECK(accepted > 30);
  CHECK(accepted < 3000);
}

// ---- ../shared
// -----------------------------------------------------------------------------------

namespace {

const std::string kGolden = "../shared/golden/gpt2_tiny/gpt_tiny_";

// Of a book's GPTModel, beside the same weights as Hugging Face names and transposes them.
void compare_with_safetensors(const std::string& path, const std::string& prefix,
                              const std::string& safetensors) {
  CAPTURE(path);
  const PyTorchFile file = open_pytorch(path);
  const auto expected = open_safetensors({safetensors});
  std::map<std::string, size_t> found, wanted;
  for (size_t i = 0; i < file.tensors->all().size(); ++i) found[file.tensors->all()[i].name] = i;
  for (size_t i = 0; i < expected->all().size(); ++i) wanted[expected->all()[i].name] = i;
  size_t compared = 0;
  const auto pth = [&](const std::string& name) {
    REQUIRE_MESSAGE(found.count(prefix + name) == 1, name);
    ++compared;
    return values_of(*file.tensors, found[prefix + name]);
  };
  const auto hf = [&](const std::string& name) {
    REQUIRE_MESSAGE(wanted.count("transformer." + name) == 1, name);
    return values_of(*expected, wanted["transformer." + name]);
  };
  CHECK(pth("tok_emb.weight") == hf("wte.weight"));
  CHECK(pth("pos_emb.weight") == hf("wpe.weight"));
  CHECK(pth("final_norm.scale") == hf("ln_f.weight"));
  // Rows [begin, ...) of ours are columns of theirs.
  const auto compare_transposed = [&](const std::vector<float>& ours,
                                      const std::vector<float>& theirs, size_t begin, size_t rows,
                                      size_t their_columns) {
    const size_t columns = ours.size() / rows;
    bool same = true;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) {
        same = same && !(ours[r * columns + c] < theirs[c * their_columns + begin + r]) &&
               !(ours[r * columns + c] > theirs[c * their_columns + begin + r]);
      }
    }
    CHECK(same);
  };
  for (const std::string layer : {"0.", "1.", "2."}) {
    const std::string ours = "trf_blocks." + layer, theirs = "h." + layer;
    CHECK(pth(ours + "norm1.shift") == hf(theirs + "ln_1.bias"));
    const std::vector<float> joined = hf(theirs + "attn.c_attn.weight");
    size_t begin = 0;
    for (const char* name : {"W_query", "W_key", "W_value"}) {
      compare_transposed(pth(ours + "att." + name + ".weight"), joined, begin, 48, 144);
      begin += 48;
    }
    compare_transposed(pth(ours + "ff.layers.0.weight"), hf(theirs + "mlp.c_fc.weight"), 0, 192,
                       192);
  }
  CHECK(compared == 3 + 3 * 5);
}

}  // namespace

TEST_CASE("pytorch: the golden checkpoints have the numbers of their safetensors") {
  if (!std::filesystem::exists(kGolden + "tied.pth")) {
    MESSAGE("skipped: no ../shared/golden/gpt2_tiny");
    return;
  }
  const std::string biased = kGolden + "qkvbias.safetensors";
  compare_with_safetensors(kGolden + "qkvbias.pth", "", biased);
  compare_with_safetensors(kGolden + "qkvbias_legacy.pth", "", biased);
  compare_with_safetensors(kGolden + "qkvbias_model_and_optimizer.pth", "model_state_dict.",
                           biased);
  compare_with_safetensors(kGolden + "nobias.pth", "", kGolden + "nobias.safetensors");
  compare_with_safetensors(kGolden + "tied.pth", "", kGolden + "tied.safetensors");

  const PyTorchFile file = open_pytorch(kGolden + "qkvbias_model_and_optimizer.pth");
  CHECK(file.description == "PyTorch (zip), 215 tensors (F32)");
  const Value* groups = file.rest.find("optimizer_state_dict")->find("param_groups");
  CHECK(groups->list()->at(0).find("params")->list()->size() == 53);
  CHECK(file.tensors->all().back().name == "optimizer_state_dict.state.52.exp_avg_sq");
}
