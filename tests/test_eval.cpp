// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "eval.h"

using namespace thimble::tools;

TEST_CASE("records lie between the marks") {
  using Records = std::vector<std::string_view>;
  CHECK(split_records("") == Records{});
  CHECK(split_records(" \n\t") == Records{});
  CHECK(split_records("<|endoftext|>") == Records{});
  CHECK(split_records("a b") == Records{"a b"});
  // White space before a record falls away, its own last line's end stays.
  CHECK(split_records("\n a\n<|endoftext|>\nb\n\nc\n") == Records{"a\n", "b\n\nc\n"});
  CHECK(split_records("<|endoftext|><|endoftext|> \n<|endoftext|>a") == Records{"a"});
  CHECK(split_records("a<|endoftext|>") == Records{"a"});
  // A mark that a limit has cut is text.
  CHECK(split_records("a<|endoftex") == Records{"a<|endoftex"});
}

TEST_CASE("negative log-likelihood") {
  const float even[] = {3, 3, 3, 3};
  CHECK(negative_log_likelihood(even, 4, 2) == doctest::Approx(std::log(4.0)).epsilon(1e-15));
  const float far[] = {1e30f, -1e30f};  // no overflow on the way
  CHECK(negative_log_likelihood(far, 2, 0) == 0.0);
  CHECK(negative_log_likelihood(far, 2, 1) == doctest::Approx(2e30));
  const float broken[] = {0, std::numeric_limits<float>::quiet_NaN()};
  CHECK(std::isnan(negative_log_likelihood(broken, 2, 0)));
  const float infinite[] = {0, std::numeric_limits<float>::infinity()};
  CHECK_FALSE(std::isfinite(negative_log_likelihood(infinite, 2, 0)));
}
