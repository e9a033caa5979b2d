// SPDX-License-Identifier: MIT
// Pickles: what is read, that nothing is run, and that short hostile pickles stay cheap.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "error.h"
#include "llama2c_files.h"
#include "random.h"
#include "readers/pickle.h"

using namespace thimble::test;
using namespace thimble::tools;

namespace {

struct PickleFolder : TestFolder {
  Pickle read(const std::string& bytes) const {
    const InputFile file(write("x.pkl", bytes));
    return read_pickle(file, 0, file.size(), "x.pkl");
  }

  std::string refusal(const std::string& bytes) const {
    try {
      read(bytes);
    } catch (const Refused& refused) {
      return refused.what();
    }
    return "accepted";
  }

  // Of the steps between the protocol and the end.
  std::string refusal_of_steps(const std::string& steps) const {
    return refusal("\x80\x04" + steps + ".");
  }
};

// A Python tuple or whatever else it was, as text.
std::string text_of(const Value& v) {
  std::string out;
  if (v.dict() != nullptr) {
    for (const auto& [key, value] : *v.dict()) {
      out += (out.empty() ? "" : ",") + key + ":" + text_of(value);
    }
    return "{" + out + "}";
  }
  if (v.list() != nullptr) {
    for (const Value& value : *v.list()) out += (out.empty() ? "" : ",") + text_of(value);
    return "[" + out + "]";
  }
  if (v.string() != nullptr) return "'" + *v.string() + "'";
  if (v.integer() != nullptr) return std::to_string(*v.integer());
  if (v.real() != nullptr) return std::to_string(*v.real());
  if (v.boolean() != nullptr) return *v.boolean() ? "true" : "false";
  return "null";
}

std::string function_refusal(const std::string& name, size_t byte) {
  return "x.pkl: pickle: byte " + std::to_string(byte) + ": asks for the function '" + name +
         "', which is not run; expected only tensors, numbers, strings, lists and dictionaries";
}

std::string dictionary(const std::string& key, const std::string& value) {
  return "}" + PickleWriter().text(key).end().substr(2, 5 + key.size()) + value + "s";
}

}  // namespace

TEST_CASE("pickle: numbers, strings and containers of protocol 2") {
  const PickleFolder folder;
  PickleWriter p;
  p.step("}(").text("none").none().text("yes").boolean(true).text("no").boolean(false);
  p.text("byte").integer(200).text("long").integer(-5).text("real").real(-0.25);
  p.text("i").step("J" + little_bytes(0xfffffffe, 4)).text("j").step("M" + little_bytes(60000, 2));
  p.text("zero").step(std::string("\x8a\0", 2)).text("short").step("\x8a\1\xff");
  p.text("list").step("](").integer(1).integer(2).step("e").integer(3).step("a");
  p.text("tuple").step("(").integer(1).step("t").text("pair").integer(1).integer(2).step("\x86");
  p.text("old").step("U\3abc").text("nothing").step(")");
  p.integer(7).text("seven").none().text("n").boolean(true).text("t").real(1.5).text("r");
  p.step("u");
  CHECK(text_of(folder.read(p.end()).rest) ==
        "{none:null,yes:true,no:false,byte:200,long:-5,real:-0.250000,i:-2,j:60000,zero:0,short:-1,"
        "list:[1,2,3],tuple:[1],pair:[1,2],old:'abc',nothing:[],7:'seven',None:'n',True:'t',"
        "1.5:'r'}");
}

TEST_CASE("pickle: protocols 4 and 5: frames, short strings, the memo, sets") {
  const PickleFolder folder;
  // {'a': {1}, 'b': same list twice}
  const std::string steps = "}\x94(\x8c\1a\x94\x8f\x94(K\1\x90\x8c\1b\x94]\x94(K\2K\3eh\4\x86u";
  const std::string framed = "\x80\x05\x95" + little_bytes(steps.size() + 1, 8) + steps + ".";
  CHECK(text_of(folder.read(framed).rest) == "{a:[1],b:[[2,3],[2,3]]}");
  CHECK(text_of(folder.read("\x80\x04(K\1K\2\x91.").rest) == "[1,2]");
  CHECK(text_of(folder.read("\x80\x04(X" + little_bytes(1, 4) + "aK\1d.").rest) == "{a:1}");
  CHECK(text_of(folder.read("\x80\x04\x8d" + little_bytes(2, 8) + "hi.").rest) == "'hi'");
  CHECK(text_of(folder
                    .read(std::string("\x80\x04"
                                      "C\2\xff\xfe.",
                                      7))
                    .rest) == "'\xff\xfe'");
}

TEST_CASE("pickle: what stands for values: OrderedDict, Size, device, dtype, defaultdict, sets") {
  const PickleFolder folder;
  const auto value = [&](PickleWriter& p) { return text_of(folder.read(p.end()).rest); };
  CHECK(value(PickleWriter()
                  .global("collections", "OrderedDict")
                  .step(")R")
                  .text("a")
                  .integer(1)
                  .step("s")) == "{a:1}");
  CHECK(value(PickleWriter()
                  .global("collections", "OrderedDict")
                  .step("](](")
                  .text("a")
                  .integer(1)
                  .step("ee\x85R")) == "{a:1}");
  CHECK(value(PickleWriter().global("torch", "Size").integers({2, 3}).step("\x85R")) == "[2,3]");
  CHECK(value(PickleWriter().global("torch", "device").text("cuda").integer(0).step("\x86R")) ==
        "'cuda'");
  CHECK(value(PickleWriter().global("torch", "float32")) == "'torch.float32'");
  CHECK(value(PickleWriter().step("\x8c\2os\x8c\6system\x93")) == "'os.system'");  // only named
  CHECK(value(PickleWriter()
                  .global("collections", "defaultdict")
                  .global("builtins", "list")
                  .step("\x85R")) == "{}");
  CHECK(value(PickleWriter().global("__builtin__", "set").step("](").integer(4).step("e\x85R")) ==
        "[4]");
}

TEST_CASE("pickle: objects are the dictionaries of their attributes, whatever their class") {
  const PickleFolder folder;
  const auto value = [&](PickleWriter& p) { return text_of(folder.read(p.end()).rest); };
  const std::string state = dictionary("n_head", "K\4");
  CHECK(value(PickleWriter().global("__main__", "GPTConfig").step(")\x81" + state + "b")) ==
        "{n_head:4}");
  CHECK(value(PickleWriter().global("argparse", "Namespace").step(")\x81" + state + "b")) ==
        "{n_head:4}");
  CHECK(value(PickleWriter()
                  .global("copy_reg", "_reconstructor")
                  .step("(")
                  .global("mingpt.utils", "CfgNode")
                  .global("__builtin__", "object")
                  .step("NtR" + state + "b")) == "{n_head:4}");
  // With slots; of a class that is a dictionary; of one that is a string.
  CHECK(value(PickleWriter().global("a", "B").step(")\x81N" + state + "\x86" + "b")) ==
        "{n_head:4}");
  CHECK(value(PickleWriter()
                  .global("yacs", "CfgNode")
                  .step(")\x81")
                  .text("a")
                  .integer(1)
                  .step("s}b")) == "{a:1}");
  CHECK(value(PickleWriter().global("torch", "TorchVersion").text("2.1").step("\x85\x81")) ==
        "'2.1'");
  CHECK(value(PickleWriter().global("types", "SimpleNamespace").step(")R" + state + "b")) ==
        "{n_head:4}");
  // The attributes of a state dict (its modules' versions) are left out.
  CHECK(value(PickleWriter()
                  .global("collections", "OrderedDict")
                  .step(")R")
                  .text("a")
                  .integer(1)
                  .step("s" + dictionary("_metadata", "K\1") + "b")) == "{a:1}");
}

TEST_CASE("pickle: functions are refused by name, however they are asked for") {
  const PickleFolder folder;
  CHECK(folder.refusal(PickleWriter().global("os", "system").text("ls").step("\x85R").end()) ==
        function_refusal("os.system", 21));
  CHECK(folder.refusal_of_steps("\x8c\2os\x8c\6system\x93\x8c\2ls\x85R") ==
        function_refusal("os.system", 20));
  CHECK(folder.refusal_of_steps("(ios\nsystem\n") == function_refusal("os.system", 3));
  CHECK(folder.refusal_of_steps("(cos\nsystem\no") == function_refusal("os.system", 14));
  CHECK(folder.refusal_of_steps("cbuiltins\neval\n)}\x92").find("accepted") == 0);  // only made
  CHECK(folder.refusal_of_steps("cbuiltins\neval\n)" + dictionary("a", "K\1") + "\x92")
            .find("asks for the function 'builtins.eval'") != std::string::npos);
  CHECK(folder.refusal_of_steps("cbuiltins\ngetattr\n)R")
            .find("asks for the function 'builtins.getattr'") != std::string::npos);
  CHECK(folder.refusal_of_steps("c\x1b[31m\nf\n)R").find("'\\u001b[31m.f'") != std::string::npos);
  CHECK(folder.refusal_of_steps("K\1)R") == "x.pkl: pickle: byte 5: calls what is no function");
  CHECK(folder.refusal_of_steps("\x82\1").find("registry of extensions") != std::string::npos);
}

TEST_CASE("pickle: steps that make no sense") {
  const PickleFolder folder;
  const auto refusal = [&](const std::string& steps) {
    const std::string text = folder.refusal_of_steps(steps);
    const std::string prefix = "x.pkl: pickle: ";
    return text.find(prefix) == 0 ? text.substr(prefix.size()) : text;
  };
  CHECK(folder.refusal(std::string("\x80\1N.", 4)) ==
        "x.pkl: pickle: byte 0: found protocol 1, expected 2 to 5");
  CHECK(folder.refusal("\x80\6N.") == "x.pkl: pickle: byte 0: found protocol 6, expected 2 to 5");
  CHECK(refusal("") == "byte 2: takes a value where there is none");
  CHECK(refusal("NN") == "byte 4: leaves more than one value at its end");
  CHECK(refusal("(N(") != "accepted");
  CHECK(refusal("(K\1"
                "0"
                "0") == "byte 6: takes a value where there is none");
  CHECK(refusal("t") == "byte 2: takes values down to a mark where there is none");
  CHECK(refusal("h\5") == "byte 2: refers to a value that it did not remember");
  CHECK(refusal("K\1K\2a") == "byte 6: adds to what is no list");
  CHECK(refusal("]K\1K\2s") == "byte 7: adds keys to what is no dictionary");
  CHECK(refusal("}(K\1u") == "byte 6: has a key without a value");
  CHECK(refusal("K\1}b") == "byte 5: gives attributes to what has none");
  CHECK(refusal("I1\n") == "byte 2: found step 0x49, expected one that protocols 2 to 5 write");
  CHECK(refusal("\x8a\x09"
                "123456789") == "byte 2: found an integer of 9 bytes, expected at most 8");
  CHECK(refusal("\x8c\2\xff\xff") == "byte 2: found a string that is no UTF-8");
  CHECK(refusal("\x8d" + little_bytes(uint64_t{1} << 60, 8)) ==
        "byte 2: found 1 bytes more, expected 1152921504606846976: truncated, or longer than is "
        "read");
  CHECK(refusal(std::string(1, 'c') + std::string(1001, 'a')).find("a name that does not end") !=
        std::string::npos);
  CHECK(refusal("}]K\1s") == "has a key that is neither a string nor a number");
  CHECK(refusal("}(X\1\0\0\0aK\1X\1\0\0\0aK\2u") != "accepted");
  CHECK(refusal("}(K\1NX" + little_bytes(1, 4) + "1Nu") == "has the key \"1\" twice");
}

TEST_CASE("pickle: storages") {
  const PickleFolder folder;
  const auto refusal = [&](PickleWriter& p) { return folder.refusal(p.end()); };
  CHECK(refusal(PickleWriter().integer(1).step("Q")).find("no storage of PyTorch") !=
        std::string::npos);
  CHECK(
      refusal(PickleWriter().storage("QInt8Storage", "0", 1))
          .find("found storage type 'torch.QInt8Storage', expected one like torch.FloatStorage") !=
      std::string::npos);
  CHECK(refusal(PickleWriter().step("(").storage("F32", "0", 1).storage("F32", "0", 2).step("t"))
            .find("found storage \"0\" with two types or sizes, expected one") !=
        std::string::npos);
  CHECK(refusal(PickleWriter().storage("F32", "0", UINT64_MAX)).find("negative number") !=
        std::string::npos);
  CHECK(refusal(PickleWriter().tensor("F32", "0", 4, 0, {2, 2}, {1}))
            .find("a tensor with 2 sizes and 1 strides, expected as many") != std::string::npos);
  CHECK(refusal(PickleWriter().tensor("F32", "0", 4, UINT64_MAX, {2}, {1}))
            .find("a tensor's offset: expected integers of 0 or more") != std::string::npos);
  CHECK(refusal(PickleWriter().tensor("F32", "0", 4, 0, std::vector<uint64_t>(65, 1),
                                      std::vector<uint64_t>(65, 1)))
            .find("expected a tuple of at most 64 integers") != std::string::npos);
}

TEST_CASE("pickle: tensors are named by the keys that lead to them") {
  const PickleFolder folder;
  PickleWriter p;
  p.step("}(").text("model").step("}").text("w.x").tensor("F16", "7", 6, 0, {2, 3}, {3, 1});
  p.step("s").text("list").step("](").integer(1).tensor("F32", "8", 4, 1, {2}, {2}).step("e");
  p.text("parameter").global("torch._utils", "_rebuild_parameter").step("(");
  p.tensor("F32", "8", 4, 0, {}, {}).boolean(true).global("collections", "OrderedDict");
  p.step(")RtR").text("step").integer(3).step("u");
  const Pickle pickle = folder.read(p.end());
  CHECK(text_of(pickle.rest) == "{model:{},list:[1,null],step:3}");
  REQUIRE(pickle.tensors.size() == 3);
  CHECK(pickle.tensors[0].name == "model.w.x");
  CHECK(pickle.tensors[0].storage == "7");
  CHECK(pickle.tensors[0].shape == std::vector<uint64_t>{2, 3});
  CHECK(pickle.tensors[0].strides == std::vector<uint64_t>{3, 1});
  CHECK(pickle.tensors[1].name == "list.1");
  CHECK(pickle.tensors[1].offset == 1);
  CHECK(pickle.tensors[2].name == "parameter");
  CHECK(pickle.storages.at("7").type == "F16");
  CHECK(pickle.storages.at("8").count == 4);

  PickleWriter twice;
  twice.step("}(").text("a.b").tensor("F32", "0", 1, 0, {}, {}).text("a").step("}").text("b");
  twice.tensor("F32", "0", 1, 0, {}, {}).step("su");
  CHECK(folder.refusal(twice.end()) == "x.pkl: pickle: has two tensors \"a.b\"");
}

TEST_CASE("pickle: a whole module is the tensors of its state dict") {
  const PickleFolder folder;
  const auto module = [](PickleWriter* p, const auto& parameters, const auto& buffers,
                         const auto& modules) {
    p->global("__main__", "GPT").step(")\x81}(").text("training").boolean(true);
    p->text("_parameters").step("}");
    parameters();
    p->text("_buffers").step("}");
    buffers();
    p->text("_non_persistent_buffers_set").step("](").text("passing").step("e");
    p->text("_modules").step("}");
    modules();
    p->step("ub");
  };
  const auto nothing = [] {};
  PickleWriter p;
  const auto tensor = [&](const char* name, const char* key) {
    return [&p, name, key] { p.text(name).tensor("F32", key, 1, 0, {1}, {1}).step("s"); };
  };
  module(
      &p, [&] { p.text("bias").none().step("s"); }, nothing,
      [&] {
        p.text("inner");
        module(
            &p, tensor("weight", "0"),
            [&] {
              tensor("mask", "1")();
              tensor("passing", "2")();
            },
            nothing);
        p.step("s");
      });
  const Pickle pickle = folder.read(p.end());
  REQUIRE(pickle.tensors.size() == 2);
  CHECK(pickle.tensors[0].name == "inner.weight");
  CHECK(pickle.tensors[1].name == "inner.mask");
  CHECK(text_of(pickle.rest) == "{training:true,inner:{training:true}}");
}

TEST_CASE("pickle: hostile ones stay cheap") {
  const PickleFolder folder;
  // Each list holds the one before ten times: 10^60 values if they were unfolded.
  std::string laughs = "\x80\x04]\x94";
  for (char i = 0; i < 60; ++i)
    laughs += std::string("](") + [&] {
      std::string ten;
      for (int k = 0; k < 10; ++k) ten += std::string("h") + i;
      return ten;
    }() + "e\x94";
  std::string dropped = laughs;
  for (int i = 0; i < 60; ++i) dropped.insert(dropped.end(), 1, '0');
  CHECK(folder.refusal(dropped + ".") == "accepted");  // never unfolded
  std::string only_last = "\x80\x04(" + laughs.substr(2) + "l.";
  CHECK(folder.refusal(only_last).find("unfolds to more than 256 MiB of values") !=
        std::string::npos);
  // A list that contains itself; 101 lists within one another.
  CHECK(folder.refusal("\x80\x04]\x94h" + std::string("\0a.", 3)).find("contains itself") !=
        std::string::npos);
  CHECK(folder.refusal("\x80\x04" + std::string(101, ']') + std::string(100, 'a') +
                       ".") == "x.pkl: pickle: \"" + [] {
    std::string path = "0";
    for (int i = 1; i < 100; ++i) path += ".0";
    return path.substr(0, 80);
  }() + "\"...: nests deeper than 100, or contains itself");
  CHECK(folder.refusal("\x80\x04" + std::string(100, ']') + std::string(99, 'a') + ".") ==
        "accepted");
  // A long text that is listed again and again.
  const std::string text = "X" + little_bytes(1 << 20, 4) + std::string(1 << 20, 'a') + "\x94";
  std::string many = "\x80\x04](" + text;
  for (int i = 0; i < 1000; ++i) many += std::string("h\0", 2);
  CHECK(folder.refusal(many + "e.").find("unfolds to more than 256 MiB") != std::string::npos);
  // Steps without end.
  CHECK(folder.refusal("\x80\x04" + std::string(3'000'000, 'N')).find("more than 2097152 values") !=
        std::string::npos);
  CHECK(folder.refusal("\x80\x04N" + std::string(9'000'000, '2')).find("more than 8388608 steps") !=
        std::string::npos);
  CHECK(folder.refusal("\x80\x04" + std::string(9'000'000, '(')).find("more than 8388608 steps") !=
        std::string::npos);
}

TEST_CASE("pickle: every truncation is refused, mutations never do harm") {
  const PickleFolder folder;
  PickleWriter p(4);
  p.step("}\x94(").text("model");
  write_state_dict(&p, {{"a", "F32", {2}, {1, 2}}, {"b", "F16", {1, 2}, {3, 4}}}, false);
  p.text("config").global("__main__", "Config").step(")\x81" + dictionary("n", "K\1") + "b");
  p.text("x").step("h").bytes(std::string(1, '\0')).step("0").real(2).step("u");
  const std::string good = p.end();
  REQUIRE(folder.refusal(good) == "accepted");
  for (size_t n = 1; n < good.size(); ++n) {
    CAPTURE(n);
    CHECK(folder.refusal(good.substr(0, n)) != "accepted");
  }
  Random random(3);
  size_t accepted = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string changed = good;
    for (uint32_t k = 1 + random.below(3); k > 0; --k) {
      const uint32_t at = random.below(static_cast<uint32_t>(changed.size()));
      changed[at] = random.below(2) == 0 ? static_cast<char>(random.below(256))
                                         : good[random.below(static_cast<uint32_t>(good.size()))];
    }
    accepted += folder.refusal(changed) == "accepted";
  }
  CHECK(accepted > 100);
  CHECK(accepted < 4000);
}

TEST_CASE("pickle: files that are nothing else") {
  const TestFolder folder;
  const std::string good = PickleWriter(4).step("}").text("vocab_size").integer(65).step("s").end();
  CHECK(*read_pickle_file(folder.write("meta.pkl", good)).find("vocab_size")->integer() == 65);
  const auto refusal = [&](const std::string& bytes) {
    try {
      read_pickle_file(folder.write("x", bytes));
    } catch (const Refused& refused) {
      return std::string(refused.what());
    }
    return std::string("accepted");
  };
  CHECK(refusal(good + "N").find("expected the end of the file") != std::string::npos);
  CHECK(refusal(PickleWriter().tensor("F32", "0", 1, 0, {}, {}).end()).find("has tensors") !=
        std::string::npos);
}
