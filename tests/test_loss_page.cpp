// SPDX-License-Identifier: MIT
// The loss page: well-formed, whole in one file, and no text in it becomes markup.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "json.h"
#include "train/loss_page.h"

namespace thimble::tools::train {
namespace {

using test::Json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::string page_of(const TrainingRun& run) {
  std::string page;
  write_loss_page(run, [&page](const std::string& piece) { page += piece; });
  return page;
}

size_t count_of(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++count;
  return count;
}

Json data_of(const std::string& page) {
  const std::string start = "id=\"data\">\n";
  const size_t from = page.find(start) + start.size();
  REQUIRE(from >= start.size());
  return test::parse_json(page.substr(from, page.find("</script>", from) - from));
}

// Every element that opens closes, in order; what is inside of script and style counts for nothing.
// Empty if so, otherwise what is wrong.
std::string fault_of(const std::string& page) {
  std::vector<std::string> open;
  for (size_t at = 0; (at = page.find('<', at)) != std::string::npos;) {
    const size_t end = page.find('>', at);
    if (end == std::string::npos) return "a tag without an end";
    const bool closes = page[at + 1] == '/';
    const size_t from = at + (closes ? 2 : 1);
    const std::string name = page.substr(from, page.find_first_of(" >\n", from) - from);
    at = end + 1;
    if (name == "!DOCTYPE" || name == "meta") continue;
    if (!closes) {
      open.push_back(name);
      if (name == "script" || name == "style") at = page.find("</" + name, at);
      continue;
    }
    if (open.empty() || open.back() != name) return "</" + name + "> closes nothing";
    open.pop_back();
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

TrainingRun run_of(size_t n, size_t held_every = 10) {
  TrainingRun run;
  run.name = "story.thimble";
  run.what = "dim 128, 4 layers";
  for (size_t i = 1; i <= n; ++i) {
    const double x = static_cast<double>(i);
    run.rows.push_back({i * 10, i * 40960, 1 + 5 / x, i % held_every ? kNone : 0.8 + 1 / x, 1e-3,
                        60000 + x, x * 0.7});
  }
  run.samples = {{10, "Once"}, {n * 10, "Once upon a time"}};
  return run;
}

TEST_CASE("loss page: well-formed and whole, however long the run") {
  for (const size_t n : {0u, 1u, 2u, 30u, 199u, 201u, 5000u}) {
    CAPTURE(n);
    const std::string page = page_of(run_of(n));
    CHECK(fault_of(page) == "");
    const Json data = data_of(page);
    const size_t rows = data["step"].size();
    CHECK((n <= kMostCurveRows ? rows == n : rows <= kMostCurveRows));
    for (const char* key : {"tokens", "seconds", "loss", "smooth", "heldout", "rate", "speed"}) {
      CHECK(data[key].size() == rows);
    }
    CHECK(count_of(page, "<tr>") - 1 <= kMostTableRows);
    CHECK((n > kMostTableRows || count_of(page, "<tr>") - 1 == n));
    for (const char* reference :
         {"http:", "https:", "src=", "href=", "@import", "url(", "fetch("}) {
      CAPTURE(reference);
      CHECK(page.find(reference) == std::string::npos);
    }
    CHECK(page.find("default-src 'none'") != std::string::npos);
    CHECK(page.size() < 400000);
  }
}

TEST_CASE("loss page: the numbers are those of the run") {
  const TrainingRun run = run_of(50);
  const std::string page = page_of(run);
  const Json data = data_of(page);
  REQUIRE(data["step"].size() == run.rows.size());
  const std::vector<double> smooth = smoothed_losses(run.rows);
  for (size_t i = 0; i < run.rows.size(); ++i) {
    const TrainingRow& row = run.rows[i];
    CHECK(data["step"][i].number == row.step);
    CHECK(data["tokens"][i].number == row.tokens);
    CHECK(data["loss"][i].number == doctest::Approx(row.loss));
    CHECK(data["smooth"][i].number == doctest::Approx(smooth[i]));
    CHECK(data["rate"][i].number == doctest::Approx(row.learning_rate));
    CHECK(data["speed"][i].number == doctest::Approx(row.tokens_per_second));
    CHECK(data["seconds"][i].number == doctest::Approx(row.seconds));
    CHECK((data["heldout"][i].kind == Json::kNull) == std::isnan(row.heldout_bits));
  }
  CHECK(page.find("<dd>0.820 <small>bits a byte, step 500</small>") != std::string::npos);
  CHECK(page.find("<dd>35 s</dd>") != std::string::npos);
  CHECK(data["samples"][1][0].as_int() == 500);
  CHECK(data["samples"][1][1].text == "Once upon a time");
}

TEST_CASE("loss page: of long runs the ends and what was measured seldom stay") {
  const TrainingRun run = run_of(30000, 500);
  const Json data = data_of(page_of(run));
  CHECK(data["step"][0].number == 10);
  CHECK(data["step"].items.back().number == 300000);
  size_t held = 0;
  double before = 0;
  for (size_t i = 0; i < data["step"].size(); ++i) {
    held += data["heldout"][i].kind == Json::kNumber;
    CHECK(data["step"][i].number > before);
    before = data["step"][i].number;
  }
  CHECK(held == 60);
  // Where all rows have it, too.
  CHECK(data_of(page_of(run_of(30000, 1)))["step"].size() <= kMostCurveRows);
}

TEST_CASE("loss page: smoothing follows the loss, and leaves out what is none") {
  std::vector<TrainingRow> rows(1000);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].loss = i < 500 ? 3.0 : 2.0;
  rows[0].loss = rows[700].loss = kNone;
  const std::vector<double> smooth = smoothed_losses(rows);
  CHECK(std::isnan(smooth[0]));
  CHECK(smooth[499] == doctest::Approx(3));
  CHECK(smooth[500] < 3);
  CHECK(smooth[509] == doctest::Approx(2 + std::exp(-1)).epsilon(0.01));  // 1 % of the run later
  CHECK(smooth[700] == doctest::Approx(2).epsilon(1e-6));
  CHECK(smoothed_losses({}).empty());
}

TEST_CASE("loss page: no text becomes markup, whatever a sample holds") {
  TrainingRun run = run_of(20);
  run.name = "</title><img src=x>&\"'.thimble";
  run.what = "<b>\"&amp;</b>";
  const std::string nasty = "</script><script>alert(1)</script><!-- ]]> \"\\ \x01\n" +
                            std::string(1, '\0') + "</details>";
  run.samples = {{1, nasty}, {2, "\xff\xc3 \xe2\x80\xae é€😀"}, {3, ""}};
  run.rows[3].loss = std::numeric_limits<double>::infinity();
  run.rows[4].seconds = kNone;
  const std::string page = page_of(run);
  CHECK(fault_of(page) == "");
  CHECK(count_of(page, "<script") == 3);  // theme, data, page
  CHECK(count_of(page, "</script>") == 3);
  CHECK(count_of(page, "</title>") == 1);
  CHECK(count_of(page, "<img") == 0);
  CHECK(count_of(page, "<b>\"") == 0);
  CHECK(count_of(page, "<!--") == 0);
  CHECK(page.find("&lt;/title&gt;&lt;img src=x&gt;&amp;&quot;'.thimble") != std::string::npos);
  CHECK(page.find("&lt;b&gt;&quot;&amp;amp;&lt;/b&gt;") != std::string::npos);
  const Json data = data_of(page);
  CHECK(data["name"].text == run.name);
  CHECK(data["samples"][0][1].text == nasty);
  CHECK(data["samples"][1][1].text == "\xef\xbf\xbd\xef\xbf\xbd \xe2\x80\xae é€😀");
  CHECK(data["samples"][2][1].text.empty());
  CHECK(data["loss"][3].kind == Json::kNull);
  CHECK(data["seconds"][4].kind == Json::kNull);
}

}  // namespace
}  // namespace thimble::tools::train
