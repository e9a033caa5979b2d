// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "args.h"
#include "error.h"

using namespace thimble::tools;

namespace {

const std::vector<Option> kOptions = {{"-n", true},      {"-p", true},     {"-t", true},
                                      {"--top-k", true}, {"--seed", true}, {"--stats", false},
                                      {"--top-p", true}};

Args parse(const std::vector<std::string>& words) {
  return Args(words, kOptions);
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const WrongUsage& wrong) {
    return wrong.what();
  }
  return "accepted";
}

template <class F>
std::string refusal_of(F f) {
  try {
    f();
  } catch (const WrongUsage& wrong) {
    return wrong.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("options and positional arguments in any order") {
  const Args args = parse({"-n", "5", "model", "--top-k=7", "--stats", "--seed", "9"});
  CHECK(args.one_positional("a model") == "model");
  CHECK(args.count("-n", 1, 0, 100) == 5);
  CHECK(args.count("--top-k", 1, 0, 100) == 7);
  CHECK(args.count("--seed", 1, 0, 100) == 9);
  CHECK(args.has("--stats"));
  CHECK_FALSE(args.has("-p"));
  CHECK(args.text("-p", "fallback") == "fallback");
  CHECK(args.real("-t", 0.5, 0, 1) == 0.5);
  CHECK(parse({}).positional().empty());
}

TEST_CASE("values are taken as they stand") {
  CHECK(parse({"-p", "-"}).text("-p", "") == "-");
  CHECK(parse({"-p", ""}).text("-p", "x") == "");
  CHECK(parse({"-p", "--nonsense -x"}).text("-p", "") == "--nonsense -x");
  CHECK(parse({"-p", "a=b"}).text("-p", "") == "a=b");
  CHECK(parse({"-p", "--"}).text("-p", "") == "--");
  CHECK(parse({"-p", "--", "--", "-p"}).positional() == std::vector<std::string>{"-p"});
  CHECK(parse({"-p=--stats"}).text("-p", "") == "--stats");
  CHECK_FALSE(parse({"-p=--stats"}).has("--stats"));
  CHECK(parse({"-p="}).text("-p", "x") == "");
  CHECK(parse({"-n=4"}).count("-n", 1, 0, 100) == 4);
  CHECK(parse({"--top-k=a=b"}).text("--top-k", "") == "a=b");
  CHECK(parse({"--top-k="}).text("--top-k", "x") == "");
  CHECK(parse({"-"}).positional() == std::vector<std::string>{"-"});
  CHECK(parse({""}).positional() == std::vector<std::string>{""});
  CHECK(parse({"a", "--", "-n", "--", "--stats"}).positional() ==
        std::vector<std::string>{"a", "-n", "--", "--stats"});
}

TEST_CASE("wrong options say what is wrong") {
  CHECK(refusal({"--tpo-k", "4"}) == "unknown option '--tpo-k'; did you mean '--top-k'?");
  CHECK(refusal({"--sed=4"}) == "unknown option '--sed'; did you mean '--seed'?");
  CHECK(refusal({"--elephant"}) == "unknown option '--elephant'");
  CHECK(refusal({"-m=4"}) == "unknown option '-m'; did you mean '-n'?");
  CHECK(refusal({"-n"}) == "option '-n' needs a value");
  CHECK(refusal({"-n", "--stats"}) == "option '-n' needs a value");
  CHECK(refusal({"--stats=yes"}) == "option '--stats' takes no value");
  CHECK(refusal({"--seed=1", "--seed", "2"}) == "option '--seed' is given twice");
}

TEST_CASE("one positional argument") {
  CHECK(refusal_of([] { parse({}).one_positional("a model file"); }) == "expected a model file");
  CHECK(refusal_of([] {
          parse({"a", "b"}).one_positional("a model file");
        }) == "unexpected argument 'b' after a model file 'a'");
}

TEST_CASE("counts") {
  const auto count = [](const std::string& value, uint64_t low, uint64_t high) {
    return parse({"-n", value}).count("-n", 0, low, high);
  };
  CHECK(count("0", 0, 9) == 0);
  CHECK(count("9", 0, 9) == 9);
  CHECK(count("007", 0, 9) == 7);
  CHECK(count("18446744073709551615", 0, UINT64_MAX) == UINT64_MAX);
  for (const char* wrong : {"10", "-1", "", " 1", "1 ", "+1", "1.0", "1e3", "0x1", "k",
                            "18446744073709551616", "99999999999999999999999"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(count(wrong, 0, 9), WrongUsage);
  }
  CHECK_THROWS_AS(count("18446744073709551616", 0, UINT64_MAX), WrongUsage);
  CHECK_THROWS_AS(count("0", 1, 9), WrongUsage);
  CHECK(refusal_of([&] { count("12", 1, 9); }) ==
        "option '-n' is '12', expected a whole number from 1 to 9");
}

TEST_CASE("reals") {
  const auto real = [](const std::string& value) {
    return parse({"-t", value}).real("-t", 0, -1, 100);
  };
  CHECK(real("0.5") == 0.5);
  CHECK(real(".5") == 0.5);
  CHECK(real("-1") == -1.0);
  CHECK(real("1e2") == 100.0);
  CHECK(real("2.5E-1") == 0.25);
  for (const char* wrong :
       {"", "x", "nan", "inf", "-inf", "0x1p2", "1,5", "1 ", " 1", "1e", "--1", "100.1", "1e999"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(real(wrong), WrongUsage);
  }
  CHECK(refusal_of([&] { real("1000"); }) ==
        "option '-t' is '1000', expected a number from -1 to 100");
}

TEST_CASE("the nearest word") {
  const std::vector<std::string> verbs = {"run", "convert", "inspect", "eval", "bench"};
  CHECK(nearest("rnu", verbs) == "run");
  CHECK(nearest("ru", verbs) == "run");
  CHECK(nearest("convret", verbs) == "convert");
  CHECK(nearest("conv", verbs) == "convert");
  CHECK(nearest("inspct", verbs) == "inspect");
  CHECK(nearest("evaluate", verbs) == "");
  CHECK(nearest("", verbs) == "");
  CHECK(nearest("dance", verbs) == "");
  CHECK(nearest(std::string(10000, 'a'), verbs) == "");
}
