// SPDX-License-Identifier: MIT
// thimble convert and thimble inspect, as a user calls them.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "capture.h"
#include "exact_math.h"
#include "files.h"
#include "image.h"
#include "json.h"
#include "llama2c_files.h"
#include "model.h"
#include "targets.h"

using namespace thimble;
using namespace thimble::test;
using tools::MappedFile;
using tools::Words;

namespace {

Ended convert(const Words& words) {
  return run(tools::convert_verb, words);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string contents(const std::string& path) {
  std::string bytes;
  REQUIRE(read_whole_file(path, &bytes));
  return bytes;
}

// The file that `thimble convert` makes of a checkpoint.
std::string converted(const TestFolder& folder, const std::string& checkpoint, Words options) {
  const std::string out = folder / "converted.thimble";
  options.insert(options.begin(), {folder.write("input.bin", checkpoint), "-o", out});
  const Ended ended = convert(options);
  REQUIRE_MESSAGE(ended.code == 0, ended.err);
  return contents(out);
}

FileHeader header_of_file(const std::string& path) {
  FileHeader header;
  const std::string bytes = contents(path);
  REQUIRE(bytes.size() >= sizeof header);
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

// Every row of the opened model against the checkpoint's. f32 is exact. q8 is within half the
// group's scale; and with m, the largest weight of the row, the scale is at most 1.07 * m / 127
// (quantize.h), so that m * 1.07 / 254 bounds the error whatever the group.
bool rows_agree(const thimble_model& model, const Llama2c& expected) {
  const auto* table = reinterpret_cast<const SectionEntry*>(&header_of(model) + 1);
  for (uint32_t i = 0; table[i].kind != kRopeFrequencies; ++i) {
    const SectionKind kind = static_cast<SectionKind>(table[i].kind);
    const Matrix m = matrix_of(model, kind, table[i].layer);
    std::vector<float> found(m.cols);
    for (uint32_t row = 0; row < m.rows; ++row) {
      read_row(found.data(), m, row);
      const std::vector<float> w = expected.row(kind, table[i].layer, row);
      double largest = 0;
      for (float weight : w) largest = std::max(largest, std::abs(static_cast<double>(weight)));
      const double bound = m.type == kWeightQ8 ? largest * 1.07 / 254 : 0;
      for (uint32_t c = 0; c < m.cols; ++c) {
        const double error = static_cast<double>(found[c]) - static_cast<double>(w[c]);
        if (std::abs(error) > bound) return false;
      }
    }
  }
  return true;
}

}  // namespace

TEST_CASE("converted checkpoints have the weights of their source") {
  const TestFolder folder;
  const std::string out = folder / "out.thimble";
  for (bool tied : {true, false}) {
    const Llama2c model = small_llama2c(tied);
    Llama2c of_v2 = model;
    const std::vector<std::pair<std::string, const Llama2c*>> inputs = {
        {folder.write("v0.bin", model.version0()), &model},
        {folder.write("v1.bin", model.version1()), &model},
        {folder.write("v2.bin", model.version2(4, &of_v2)), &of_v2},
    };
    for (const auto& input : inputs) {
      for (const char* tile : {"1", "2", "4", "8", "16"}) {
        for (const char* group : {"", "32", "64", "128", "row"}) {
          Words words = {input.first, "-o", out, "--tile", tile, "--weights"};
          words.push_back(*group ? "q8" : "f32");
          if (*group) words.insert(words.end(), {"--group", group});
          const Ended ended = convert(words);
          CAPTURE(input.first);
          CAPTURE(tile);
          CAPTURE(group);
          REQUIRE(ended.code == 0);
          CHECK(ended.out == "");
          const MappedFile file(out);
          const thimble_model opened = tools::open_model(file);
          CHECK(rows_agree(opened, *input.second));
          CHECK(opened.row_tile == static_cast<uint32_t>(std::stoul(tile)));
        }
      }
    }
  }
}

TEST_CASE("versions 0 and 1 give the same file") {
  const TestFolder folder;
  for (bool tied : {true, false}) {
    const Llama2c model = small_llama2c(tied);
    for (const Words& options : {Words{}, Words{"--weights", "f32"}}) {
      CHECK(converted(folder, model.version0(), options) ==
            converted(folder, model.version1(), options));
    }
  }
}

TEST_CASE("rotary pairs of both conventions give the same file") {
  const TestFolder folder;
  const Llama2c model = small_llama2c();  // head size 6
  const std::string neighbours = converted(folder, model.version0(), {});
  CHECK(converted(folder, model.with_halves().version0(), {"--rope-pairs", "halves"}) ==
        neighbours);
  CHECK(converted(folder, model.version0(), {"--rope-pairs", "neighbours"}) == neighbours);
  CHECK(converted(folder, model.with_halves().version0(), {}) != neighbours);
}

TEST_CASE("what convert says and what it defaults to") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", small_llama2c().version0());
  const std::string tokenizer = folder.write("tok.bin", tokenizer_bytes(small_tokens(97)));
  const std::string out = folder / "out.thimble";
  const Ended ended = convert({input, "-o", out, "--tokenizer", tokenizer});
  CHECK(ended.code == 0);
  const FileHeader h = header_of_file(out);
  CHECK(h.weight_type == kWeightQ8);
  CHECK(h.group == 32);
  CHECK(h.row_tile == 16);
  CHECK(h.n_ctx == 40);
  CHECK(h.tokenizer == kTokenizerScoredBpe);
  CHECK(h.bos_id == 1);
  for (const std::string& part :
       {"read   " + input + ": llama2.c version 0, f32, ",
        std::string("dim 24, hidden 172, 2 layers, 4 heads of 6 (2 key/value), vocabulary 97, "
                    "context 40, tied head\n"),
        std::to_string(h.n_params) + " parameters, rotary pairs: neighbours\n",
        tokenizer + ": llama2.c tokenizer, 97 tokens of up to 6 bytes\n",
        "wrote  " + out + ": q8, a scale for each 32 weights, tiles of 16 rows, context 40, " +
            std::to_string(h.file_bytes) + " bytes (",
        std::string("\ntoken embedding  0."), std::string("\nlayer 0          0."),
        std::string("\nlayer 1          0.")}) {
    CHECK_MESSAGE(contains(ended.err, part), part, " in ", ended.err);
  }
  CHECK(!contains(ended.err, "warning: without"));
  CHECK(contains(ended.err, "warning: the tokenizer cannot spell"));  // it has but few letters
  CHECK(!contains(ended.err, "\033"));                                // no progress bar into a file

  const Ended f32 = convert({input, "-o", out, "--weights", "f32", "--ctx", "7"});
  CHECK(f32.code == 0);
  CHECK(header_of_file(out).n_ctx == 7);
  CHECK(header_of_file(out).tokenizer == kTokenizerNone);
  CHECK(!contains(f32.err, "layer 0"));
  CHECK(contains(f32.err, "warning: without --tokenizer the model will have no tokenizer"));
  CHECK(!contains(f32.err, "lies beside"));
  folder.write("tokenizer.bin", tokenizer_bytes(small_tokens(97)));
  CHECK(contains(convert({input, "-o", out}).err, "tokenizer.bin lies beside the input"));
  CHECK(header_of_file(out).tokenizer == kTokenizerNone);
}

TEST_CASE("convert says what padding takes, and what is smaller") {
  const TestFolder folder;
  const std::string input = folder.write("a.bin", small_llama2c().version0());
  const std::string out = folder / "a.thimble";
  const auto said = [&](const Words& options) {
    Words words = {input, "-o", out, "--tokenizer", "none"};
    words.insert(words.end(), options.begin(), options.end());
    const Ended ended = convert(words);
    CHECK(ended.code == 0);
    const size_t note = ended.err.find("note: ");
    return note == std::string::npos ? std::string()
                                     : ended.err.substr(note, ended.err.find('\n', note) - note);
  };
  const auto bytes = [&](const Words& options) {
    said(options);
    return std::to_string(std::filesystem::file_size(out));
  };
  // 24 and 172 columns: 172 = 5 * 32 + 12.
  CHECK(said({"--group", "row", "--tile", "1"}) == "");
  CHECK(said({"--weights", "f32", "--tile", "1"}) == "");
  const std::string all = said({"--group", "128", "--tile", "4"});
  CHECK_MESSAGE(contains(all, " %) pad rows of weights to whole groups and tiles; smaller: "), all);
  for (const char* group : {"32", "64", "row"}) {
    const std::string size = bytes({"--group", group, "--tile", "4"});
    CHECK_MESSAGE(contains(all, std::string("--group ") + group + " (" + size + " bytes)"), all);
  }
  CHECK(!contains(all, "--group 128"));
  CHECK(!contains(all, "--tile"));
}

TEST_CASE("targets") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", smallest_llama2c().version0());
  const std::string out = folder / "out.thimble";
  for (const tools::Target& target : tools::kTargets) {
    CHECK(convert({input, "-o", out, "--for", target.name}).code == 0);
    CHECK(header_of_file(out).row_tile == target.row_tile);
    CHECK_MESSAGE(contains(tools::kConvertHelp, target.name), target.name, " is not in --help");
  }
  const Ended unknown = convert({input, "-o", out, "--for", "z80"});
  CHECK(unknown.code == 2);
  CHECK(unknown.err == "option '--for' is 'z80', expected one of " + tools::target_names());
}

TEST_CASE("wrong usage of convert") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", smallest_llama2c().version0());
  const std::string link = folder / "link.bin";
  REQUIRE(symlink(input.c_str(), link.c_str()) == 0);
  const std::string out = folder / "out.thimble", before = contents(input);
  const std::vector<std::pair<Words, std::string>> wrongs = {
      {{}, "expected a checkpoint to convert"},
      {{input}, "expected -o OUT"},
      {{input, "-o", ""}, "expected -o OUT"},
      {{input, "more", "-o", out}, "unexpected argument 'more'"},
      {{input, "-o", input}, "would overwrite the input '" + input + "'"},
      {{input, "-o", link}, "would overwrite the input '" + input + "'"},
      {{input, "-o", folder / "./small.bin"}, "would overwrite the input"},
      {{out, "-o", link, "--tokenizer", input}, "would overwrite the input"},
      {{input, "-o", out, "--tokenizer", ""}, "expected the name of a file"},
      {{input, "-o", out, "--weights", "q5"}, "'--weights' is 'q5', expected f32, q8, q4 or mixed"},
      {{input, "-o", out, "--calibrate", input}, "needs '--weights q4' or mixed"},
      {{input, "-o", out, "--weights", "mixed"}, "'--fit SIZE' belong together"},
      {{input, "-o", out, "--weights", "q4", "--fit", "9000"}, "'--fit SIZE' belong together"},
      {{input, "-o", out, "--group", "48"}, "'--group' is '48', expected 32, 64, 128 or row"},
      {{input, "-o", out, "--weights", "f32", "--group", "32"}, "needs '--weights q8'"},
      {{input, "-o", out, "--tile", "3"}, "'--tile' is '3', expected 1, 2, 4, 8 or 16"},
      {{input, "-o", out, "--tile", "4", "--for", "x86"}, "exclude each other"},
      {{input, "-o", out, "--ctx", "0"}, "'--ctx' is '0', expected a whole number from 1"},
      {{input, "-o", out, "--rope-pairs", "both"}, "expected neighbours or halves"},
      {{input, "-o", out, "--fast"}, "unknown option '--fast'"},
      {{input, "-o", out, "--bos", "1"},
       "option '--bos' needs a tokenizer, and " + input + " has none; expected --tokenizer FILE"},
      {{input, "-o", out, "--eos", "-1"}, "option '--eos' needs a tokenizer"},
      {{input, "-o", out, "--space-prefix", "no"}, "option '--space-prefix' needs a tokenizer"},
      {{input, "-o", out, "--turns", "chatml"}, "a chat needs a tokenizer"},
      {{input, "-o", out, "--bos", "1", "--tokenizer", "none"},
       "option '--bos' needs a tokenizer, and '--tokenizer' is 'none'"},
  };
  for (const auto& wrong : wrongs) {
    const Ended ended = convert(wrong.first);
    CHECK_MESSAGE(ended.code == 2, wrong.second);
    CHECK_MESSAGE(contains(ended.err, wrong.second), ended.err);
  }
  CHECK(contents(input) == before);
  CHECK(!std::filesystem::exists(out));
}

TEST_CASE("tokens that begin and end a text are those of the options") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", small_llama2c().version0());
  const std::string tokenizer = folder.write("tok.bin", tokenizer_bytes(small_tokens(97)));
  const std::string out = folder / "out.thimble";
  const auto header = [&](const Words& options) {
    Words words = {input, "-o", out, "--tokenizer", tokenizer};
    words.insert(words.end(), options.begin(), options.end());
    const Ended ended = convert(words);
    REQUIRE_MESSAGE(ended.code == 0, ended.err);
    return header_of_file(out);
  };
  const FileHeader plain = header({});
  CHECK(plain.bos_id == 1);
  CHECK(plain.eos_id == 2);
  const FileHeader other = header({"--bos", "96", "--eos", "5", "--space-prefix", "no"});
  CHECK(other.bos_id == 96);
  CHECK(other.eos_id == 5);
  CHECK((plain.tokenizer_flags & 1) == 1);
  CHECK((other.tokenizer_flags & 1) == 0);
  const FileHeader none = header({"--bos", "-1", "--eos", "-1"});
  CHECK(none.bos_id == -1);
  CHECK(none.eos_id == -1);
  const Ended beyond = convert({input, "-o", out, "--tokenizer", tokenizer, "--eos", "97"});
  CHECK(beyond.code == 2);
  CHECK(contains(beyond.err, "token 97 is none of a vocabulary of 97"));
}

TEST_CASE("input that convert refuses leaves no output") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", small_llama2c().version0());
  const std::string out = folder / "out.thimble";
  const auto refused = [&](const Words& words, const std::string& message) {
    const Ended ended = convert(words);
    CHECK(ended.code == 1);
    CHECK_MESSAGE(contains(ended.err, message), ended.err);
    CHECK(!std::filesystem::exists(out));
  };
  refused({input, "-o", out, "--ctx", "41"},
          input +
              ": --ctx 41 is more than the 40 positions that the model was trained on, and it "
              "knows nothing beyond them; expected 1 to 40");
  refused({folder / "none", "-o", out}, folder / "none: No such file or directory");
  refused({input, "-o", folder / "none/out"}, "none/out: cannot be written: ");
  refused({input, "-o", out, "--tokenizer", folder / "none"}, "none: No such file or directory");
  refused(
      {input, "-o", out, "--tokenizer", folder.write("t.bin", tokenizer_bytes(small_tokens(98)))},
      "t.bin: a tokenizer of another size: found 98 tokens, the model has 97");
  Llama2c bad = small_llama2c();
  bad.w2[172 * 24 + 172 + 5] = std::numeric_limits<float>::infinity();
  const std::string infinite = folder.write("infinite.bin", bad.version1());
  refused({infinite, "-o", out}, infinite +
                                     ": feed-forward down of layer 1, row 1, column 5: found inf, "
                                     "expected a finite number");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 3);
}

// ---- inspect -------------------------------------------------------------------------------

TEST_CASE("inspect shows a model as text and as JSON") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", small_llama2c().version0());
  const std::string tokenizer = folder.write("tok.bin", tokenizer_bytes(small_tokens(97)));
  const std::string out = folder / "a \"model\" \xff \xc3\xa9.thimble";
  REQUIRE(convert({input, "-o", out, "--tokenizer", tokenizer, "--group", "row"}).code == 0);
  const FileHeader h = header_of_file(out);

  const Ended text = run(tools::inspect_verb, {out});
  CHECK(text.code == 0);
  CHECK(text.err == "");
  for (const char* part :
       {"  hidden_dim        172\n", "  rope_theta        10000\n", "  norm_eps          1e-05\n",
        "  group             0 (a scale for each row)\n", "  tied_head         true\n",
        "\nsections ", "  attention q, k, v            2 ", "checksum good: 0x"}) {
    CHECK_MESSAGE(contains(text.out, part), part, " in ", text.out);
  }
  CHECK(!contains(text.out, "\ntensors"));
  CHECK(contains(run(tools::inspect_verb, {out, "--tensors"}).out, "\ntensors "));

  const Json json = parse_json(run(tools::inspect_verb, {out, "--json"}).out);
  CHECK(json["file"].text == folder / "a \"model\" \xef\xbf\xbd \xc3\xa9.thimble");
  CHECK(json["n_params"].text == std::to_string(h.n_params));
  CHECK(json["vocab_size"].as_int() == 97);
  CHECK(json["weight_type"].text == "q8");
  CHECK(json["checksum"]["good"].boolean);
  CHECK(json["good"].boolean);
  CHECK(!json.find("tensors"));
  const Json all = parse_json(run(tools::inspect_verb, {out, "--json", "--tensors"}).out);
  REQUIRE(all["tensors"].size() == h.n_sections);
  int32_t bytes = 0;
  for (const Json& section : all["sections"].items) bytes += section["bytes"].as_int();
  for (const Json& tensor : all["tensors"].items) {
    bytes -= tensor["bytes"].as_int() + tensor["scales_bytes"].as_int();
  }
  CHECK(bytes == 0);
}

TEST_CASE("inspect of a damaged model") {
  const TestFolder folder;
  const std::string input = folder.write("small.bin", small_llama2c().version0());
  const std::string tokenizer = folder.write("tok.bin", tokenizer_bytes(small_tokens(97)));
  const std::string out = folder / "model.thimble";
  REQUIRE(convert({input, "-o", out, "--tokenizer", tokenizer}).code == 0);
  const std::string good = contents(out);
  const FileHeader h = header_of_file(out);
  const auto inspect = [&](size_t at, const Words& options) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
    Words words = {folder.write("damaged.thimble", bytes)};
    words.insert(words.end(), options.begin(), options.end());
    return run(tools::inspect_verb, words);
  };
  // A weight: all is shown, the verdict and the exit code tell.
  const Ended weight = inspect(h.header_bytes, {});
  CHECK(weight.code == 1);
  CHECK(contains(weight.out, "  hidden_dim        172\n"));
  CHECK(contains(weight.out, "checksum WRONG: found 0x"));
  const Ended weight_json = inspect(h.header_bytes, {"--json"});
  CHECK(weight_json.code == 1);
  CHECK(!parse_json(weight_json.out)["checksum"]["good"].boolean);
  CHECK(!parse_json(weight_json.out)["good"].boolean);
  // An entry of the tokenizer's hash table, the section before those of the self-test.
  const auto* sections = reinterpret_cast<const SectionEntry*>(good.data() + sizeof(FileHeader));
  const SectionEntry& lookup = sections[h.n_sections - 3];
  REQUIRE(lookup.kind == kTokenLookup);
  const Ended table = inspect(static_cast<size_t>(lookup.offset + lookup.bytes) - 1, {});
  CHECK(table.code == 1);
  CHECK(contains(table.out, "tokenizer tables WRONG: token lookup slot: found "));
  // The header: nothing of it can be believed.
  const Ended header = inspect(44, {});
  CHECK(header.code == 1);
  CHECK(header.out == "");
  CHECK(contains(header.err, "damaged.thimble: "));
  CHECK(run(tools::inspect_verb, {}).code == 2);
  CHECK(run(tools::inspect_verb, {input}).code == 1);
}

// ---- Real models ---------------------------------------------------------------------------

TEST_CASE("real checkpoints convert") {
  std::string unused;
  if (!read_whole_file("../shared/ASSETS.md", &unused)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  const TestFolder folder;
  const std::string out = folder / "out.thimble";
  struct Real {
    std::string checkpoint, tokenizer;
    uint64_t n_params;
  };
  for (const Real& real :
       {Real{"models/stories260K/stories260K.bin", "models/stories260K/tok512.bin", 260032},
        Real{"models/story/story.bin", "models/story/tokenizer.bin", 1054080},
        Real{"golden/llama_tiny/llama_tiny_tied.llama2c.bin", "", 0},
        Real{"golden/llama_tiny/llama_tiny_untied.llama2c.bin", "", 0}}) {
    for (const char* weights : {"f32", "q8"}) {
      Words words = {"../shared/" + real.checkpoint, "-o", out, "--weights", weights};
      if (!real.tokenizer.empty()) {
        words.insert(words.end(), {"--tokenizer", "../shared/" + real.tokenizer});
      }
      const Ended ended = convert(words);
      REQUIRE_MESSAGE(ended.code == 0, ended.err);
      const MappedFile file(out);
      const thimble_model model = tools::open_model(file);
      if (real.n_params) CHECK(model.n_params == real.n_params);
      if (!real.tokenizer.empty()) CHECK(header_of(model).tokenizer_flags == 11);
    }
  }
}
