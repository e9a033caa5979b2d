// SPDX-License-Identifier: MIT
// The log of a training run: what was written is read, and what is damaged is refused by its line.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "test_folder.h"
#include "train/training_log.h"

namespace thimble::tools::train {
namespace {

using test::refusal_when;
using test::TestFolder;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
const std::string kHeader =
    "step,tokens,loss,heldout_bits,learning_rate,tokens_per_second,seconds\n";

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TrainingRow row_at(uint64_t step) {
  const double x = static_cast<double>(step);
  return {step,    step * 4096, 7 / (1 + x / 3), step % 20 ? kNone : 1 / (1 + x), 1e-3 / 3,
          60000.5, x / 7};
}

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : std::fabs(a - b) <= 5e-9 * std::fabs(a);
}

bool same(const TrainingRow& a, const TrainingRow& b) {
  return a.step == b.step && a.tokens == b.tokens && same(a.loss, b.loss) &&
         same(a.heldout_bits, b.heldout_bits) && same(a.learning_rate, b.learning_rate) &&
         same(a.tokens_per_second, b.tokens_per_second) && same(a.seconds, b.seconds);
}

TEST_CASE("training log: what was written is read, and written again the same") {
  const TestFolder folder;
  std::vector<TrainingRow> rows;
  {
    TrainingLog log(folder / "log.csv");
    CHECK(contents(folder / "log.csv") == kHeader);
    for (uint64_t step = 10; step <= 100; step += 10) {
      rows.push_back(row_at(step));
      log.add(rows.back());
      // Each row is there at once, whatever becomes of the program.
      CHECK(parse_training_log("log", contents(folder / "log.csv")).size() == rows.size());
    }
    TrainingRow extreme = {UINT64_MAX, UINT64_MAX, 1e-300, 1e300, -0.0, 5e-324, kNone};
    rows.push_back(extreme);
    log.add(extreme);
  }
  const std::string text = contents(folder / "log.csv");
  const std::vector<TrainingRow> read = parse_training_log("log", text);
  REQUIRE(read.size() == rows.size());
  std::string again = csv_header();
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(same(rows[i], read[i]));
    again += csv_line(read[i]);
  }
  CHECK(again == text);
}

TEST_CASE("training log: what is no finite number is an empty field") {
  const double infinite = std::numeric_limits<double>::infinity();
  CHECK(csv_line({1, 2, infinite, kNone, -infinite, 3, 0.25}) == "1,2,,,,3,0.25\n");
  const TrainingRow row = parse_training_log("log", kHeader + "1,2,,,,3,0.25\r\n")[0];
  CHECK(std::isnan(row.loss));
  CHECK(std::isnan(row.learning_rate));
  CHECK(row.seconds == doctest::Approx(0.25));
}

TEST_CASE("training log: a resumed run drops the rows that come again") {
  const TestFolder folder;
  const std::string path = folder / "log.csv";
  std::string whole = kHeader;
  for (uint64_t step = 10; step <= 100; step += 10) whole += csv_line(row_at(step));
  // Cut wherever a program may have been killed, behind the header.
  for (size_t size = kHeader.size(); size <= whole.size(); ++size) {
    folder.write("log.csv", whole.substr(0, size));
    const std::string before = whole.substr(0, whole.rfind('\n', size - 1) + 1);
    std::string expected = kHeader;
    for (const TrainingRow& row : parse_training_log("log", before)) {
      if (row.step <= 50) expected += csv_line(row);
    }
    TrainingLog log(path, 50);
    CHECK(contents(path) == expected);
    log.add(row_at(60));
    CHECK(contents(path) == expected + csv_line(row_at(60)));
    CHECK(log.rows().back().step == 60);
  }
  CHECK(TrainingLog(path, 0).rows().empty());
  CHECK(contents(path) == kHeader);
  CHECK(TrainingLog(folder / "new.csv", 50).rows().empty());
  CHECK(contents(folder / "new.csv") == kHeader);
}

TEST_CASE("training log: what is damaged is refused, with the line") {
  const std::string good = "10,40960,5.5,1.5,0.001,60000,0.5\n";
  const std::vector<std::pair<std::string, std::string>> damaged = {
      {"", "line 1: found \"\", expected the names of the columns, step,tokens,loss,"},
      {"step,loss\n", "line 1: found \"step,loss\", expected the names of the columns"},
      {"\n", "line 1: found \"\", expected the names"},
      {kHeader + good + "20,81920,5\n", "line 3: found 3 fields, expected 7"},
      {kHeader + good + "\n", "line 3: found 1 fields, expected 7"},
      {kHeader + "10,40960,5.5,1.5,0.001,60000,0.5,8\n", "line 2: found 8 fields, expected 7"},
      {kHeader + "ten,40960,5.5,1.5,0.001,60000,0.5\n",
       "line 2: found \"ten\" in column step, expected a whole number"},
      {kHeader + "-10,40960,5.5,1.5,0.001,60000,0.5\n", "in column step, expected a whole"},
      {kHeader + "10,,5.5,1.5,0.001,60000,0.5\n", "found \"\" in column tokens, expected a whole"},
      {kHeader + "10,4.5,5.5,1.5,0.001,60000,0.5\n", "found \"4.5\" in column tokens"},
      {kHeader + "10,99999999999999999999,5.5,1.5,0.001,60000,0.5\n", "in column tokens"},
      {kHeader + good + "20,81920,low,1.5,0.001,60000,1\n",
       "line 3: found \"low\" in column loss, expected a number or nothing"},
      {kHeader + "10,40960,5.5,nan,0.001,60000,0.5\n", "found \"nan\" in column heldout_bits"},
      {kHeader + "10,40960,5.5,1.5,inf,60000,0.5\n", "found \"inf\" in column learning_rate"},
      {kHeader + "10,40960,5.5,1.5,0.001, 60000,0.5\n", "in column tokens_per_second"},
      {kHeader + "10,40960,5.5,1.5,0.001,60000,1e999\n", "found \"1e999\" in column seconds"},
      {kHeader + good + good, "line 3: found step 10, expected one after 10, that of the line"},
      {kHeader + good + "20,81920,5,1.5,0.001,60000,1",
       "line 3: found \"20,81920,5,1.5,0.001,60000,1\", which no line feed ends"},
      {kHeader + std::string("10,40960,5.5,1.5,0.001,60000,0.5\0\n", 34), "in column seconds"},
  };
  for (const auto& each : damaged) {
    const std::string &text = each.first, &expected = each.second;
    const std::string found = refusal_when([&] { parse_training_log("log.csv", text); });
    CAPTURE(found);
    CHECK(found.rfind("log.csv: line ", 0) == 0);
    CHECK(found.find(expected) != std::string::npos);
  }
  const TestFolder folder;
  const std::string path = folder.write("log.csv", kHeader + "10,x,5.5,1.5,0.001,60000,0.5\n");
  const std::string before = contents(path);
  CHECK(refusal_when([&] { TrainingLog(path, 50); }).find("line 2") != std::string::npos);
  CHECK(contents(path) == before);  // and not touched
}

TEST_CASE("training log: a file that cannot be written is refused") {
  const TestFolder folder;
  CHECK(refusal_when([&] { TrainingLog(folder / "none/log.csv"); }).find("none/log.csv") !=
        std::string::npos);
  CHECK(refusal_when([&] { TrainingLog log(folder.path); }) != "accepted");
}

}  // namespace
}  // namespace thimble::tools::train
