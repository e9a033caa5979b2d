// SPDX-License-Identifier: MIT
// thimble convert --weights q4 and mixed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>

#include "capture.h"
#include "crc32.h"
#include "files.h"
#include "json.h"
#include "llama2c_files.h"
#include "model.h"
#include "tiny_model.h"
#include "verbs.h"

using namespace thimble;
using namespace thimble::test;
using tools::Words;

namespace {

struct Made {
  Ended ended;
  std::string bytes;
  FileHeader header() const {
    FileHeader h;
    REQUIRE(bytes.size() >= sizeof h);
    std::memcpy(&h, bytes.data(), sizeof h);
    return h;
  }
};

class Converter {
 public:
  Converter()
      : input_(folder.write("small.bin", small_llama2c(false).version0())),
        tokenizer_(folder.write("tok.bin", tokenizer_bytes(small_tokens(97)))) {}

  Made operator()(Words options, bool with_tokenizer = true) const {
    options.insert(options.begin(), {input_, "-o", folder / "out.thimble", "--tokenizer",
                                     with_tokenizer ? tokenizer_ : "none"});
    Made made = {run(tools::convert_verb, options), ""};
    read_whole_file(folder / "out.thimble", &made.bytes);
    std::filesystem::remove(folder / "out.thimble");
    // Neither a part nor a draft is left.
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == files);
    return made;
  }

  TestFolder folder;
  int files = 2;

 private:
  std::string input_, tokenizer_;
};

}  // namespace

TEST_CASE("convert q4: half the bytes of q8, the same each time, with a self-test that holds") {
  const Converter convert;
  const Made q8 = convert({}), q4 = convert({"--weights", "q4"});
  CHECK(q4.ended.code == 0);
  CHECK(q4.ended.err.find(": q4, a scale for each 32 weights, ") != std::string::npos);
  CHECK(q4.header().weight_type == kWeightQ4);
  CHECK(q4.header().q8_matrices == 0);
  CHECK(q4.bytes.size() < q8.bytes.size() * 2 / 3);
  CHECK(convert({"--weights", "q4"}).bytes == q4.bytes);
  const std::string path = convert.folder.write("q4.thimble", q4.bytes);
  const Ended shown = run(tools::inspect_verb, {path, "--tensors"});
  CHECK(shown.out.find("  token embedding            0    q4 ") != std::string::npos);
  CHECK(shown.out.find("     ? ") == std::string::npos);
  const Ended tested = run(tools::inspect_verb, {path, "--self-test"});
  CHECK(tested.code == 0);
  CHECK(tested.out.find("  weight_type       q4\n") != std::string::npos);
  CHECK(tested.out.find("self-test good: reference, q8 cache") != std::string::npos);
}

TEST_CASE("convert q4: a text to calibrate with, and models without a tokenizer") {
  Converter convert;
  const std::string text = convert.folder.write("text", "aa ab\n<|endoftext|>\nb abab aab");
  convert.files = 3;
  const Made own = convert({"--weights", "q4"}),
             told = convert({"--weights", "q4", "--calibrate", text});
  CHECK(told.ended.code == 0);
  CHECK(told.header().weight_type == kWeightQ4);
  CHECK(told.bytes != own.bytes);  // other inputs, other roundings
  CHECK(convert({"--weights", "q4"}, false).ended.code == 0);

  const Made without = convert({"--weights", "q4", "--calibrate", text}, false);
  CHECK(without.ended.code == 1);
  CHECK(without.ended.err.find("--calibrate needs a tokenizer") != std::string::npos);
  const std::string empty = convert.folder.write("empty", " \n<|endoftext|>\n");
  convert.files = 4;
  const Made nothing = convert({"--weights", "q4", "--calibrate", empty});
  CHECK(nothing.ended.code == 1);
  CHECK(nothing.ended.err.find(empty + ": holds no text to calibrate with") != std::string::npos);
  CHECK(convert({"--weights", "q4", "--calibrate", empty + "?"}).ended.code == 1);
}

TEST_CASE("convert mixed: as many kinds of matrices in 8 bits as fit, those that buy most first") {
  const Converter convert;
  const size_t q4 = convert({"--weights", "q4"}).bytes.size(), q8 = convert({}).bytes.size();
  uint32_t before = 0;
  size_t bytes_before = 0;
  for (size_t fit = q4; fit <= q8 + 8192; fit += 4096) {
    const Made made = convert({"--weights", "mixed", "--fit", std::to_string(fit)});
    REQUIRE(made.ended.code == 0);
    CHECK(made.bytes.size() <= fit);
    CHECK(made.bytes.size() >= bytes_before);
    CHECK(made.header().weight_type == kWeightQ4);
    before = made.header().q8_matrices;
    bytes_before = made.bytes.size();
  }
  CHECK(before == (kKnownMatrices & ~uint32_t{kMatrixPositions}));  // there are none
  const Made first = convert({"--weights", "mixed", "--fit", std::to_string(q4)});
  CHECK(first.header().q8_matrices == 0);
  const Made none = convert({"--weights", "mixed", "--fit", std::to_string(q4 - 1)});
  CHECK(none.ended.code == 1);
  CHECK(none.ended.err.find("small.bin: needs " + std::to_string(q4) +
                            " bytes with 4 bits everywhere, --fit is " + std::to_string(q4 - 1)) !=
        std::string::npos);
}
