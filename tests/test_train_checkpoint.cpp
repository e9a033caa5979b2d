// SPDX-License-Identifier: MIT
#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "test_folder.h"
#include "train/checkpoint.h"

using namespace thimble::test;
using namespace thimble::tools::train;

namespace {

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("train checkpoint: what was written comes back, and nothing else does") {
  const TestFolder folder;
  const std::string path = folder / "a.train";
  const Floats weights(37), moments(5);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i) * 0.37f;
  moments[3] = -1.5f;
  RunState state;
  state.step = 12;
  state.total_steps = 90;
  state.epoch = 2;
  state.at = 31;
  state.tokens = 123456;
  state.seconds = 7.25;
  const std::string settings = "dim 8\nseed 1\n";
  write_checkpoint(path, settings, state, {&weights, &moments});

  const Floats w(37), m(5), too_long(6);
  const RunState found = read_checkpoint(path, settings, {&w, &m});
  CHECK(found.step == 12);
  CHECK(found.total_steps == 90);
  CHECK(found.epoch == 2);
  CHECK(found.at == 31);
  CHECK(found.tokens == 123456);
  CHECK(found.seconds == 7.25);
  CHECK(std::equal(w.begin(), w.end(), weights.begin()));
  CHECK(std::equal(m.begin(), m.end(), moments.begin()));

  const auto refusal = [&](const std::string& file, const std::string& expected_settings) {
    return refusal_when([&] { read_checkpoint(file, expected_settings, {&w, &m}); });
  };
  CHECK(refusal(path, "dim 8\nseed 2\n") ==
        path + ": belongs to another run: it has 'seed 1', and this command says 'seed 2'");
  CHECK(refusal(path, "dim 8\n") ==
        path + ": belongs to another run: it has 'seed 1', and this command says ''");
  CHECK(refusal_when([&] {
          read_checkpoint(path, settings, {&w, &too_long});
        }) == path + ": holds 168 bytes of weights, expected 172");
  CHECK(refusal(folder.write("text", "Once upon a time"), settings) ==
        (folder / "text") + ": is no checkpoint of `thimble train`");

  // Cut anywhere, or one bit wrong anywhere: refused.
  const std::string bytes = bytes_of(path);
  for (size_t n = 1; n < bytes.size(); n += 7) {
    CHECK(refusal(folder.write("cut", bytes.substr(0, n)), settings) != "accepted");
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string wrong = bytes;
    wrong[i] = static_cast<char>(wrong[i] ^ 16);
    CHECK(refusal(folder.write("wrong", wrong), settings) != "accepted");
  }
}
