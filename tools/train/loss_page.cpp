// SPDX-License-Identifier: MIT
#include "loss_page.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "error.h"

namespace thimble::tools::train {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Which rows are kept of n: if there are too many, up to half of them those that `is_wanted`, the
// others evenly, with the first and the last.
template <class Wanted>
std::vector<size_t> kept_rows(size_t n, size_t most, Wanted is_wanted) {
  std::vector<size_t> wanted, kept;
  for (size_t i = 0; i < n; ++i) {
    if (n <= most) kept.push_back(i);
    if (is_wanted(i)) wanted.push_back(i);
  }
  if (n <= most) return kept;
  const auto take_evenly = [&](size_t count, size_t of, auto at) {
    for (size_t i = 0; i < count; ++i)
      kept.push_back(at(count > 1 ? i * (of - 1) / (count - 1) : of - 1));
  };
  const size_t n_wanted = std::min(wanted.size(), most / 2);
  take_evenly(n_wanted, wanted.size(), [&](size_t i) { return wanted[i]; });
  take_evenly(most - n_wanted, n, [](size_t i) { return i; });
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

std::string number(double x, const char* pattern, const char* none) {
  if (!std::isfinite(x)) return none;
  char text[40];
  std::snprintf(text, sizeof text, pattern, x);
  return text;
}

std::string with_spaces(uint64_t n) {  // thousands, thin-spaced
  std::string digits = std::to_string(n), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += "\u202f";
    out += digits[i];
  }
  return out;
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "–";
  const auto s = static_cast<unsigned long long>(std::max(0.0, seconds));
  if (s < 60) return format("%llu s", s);
  if (s < 3600) return format("%llu min %llu s", s / 60, s % 60);
  return format("%llu h %llu min", s / 3600, s / 60 % 60);
}

std::string fact(const std::string& name, const std::string& value, const std::string& more = "") {
  return "<div><dt>" + name + "</dt><dd>" + value +
         (more.empty() ? "" : " <small>" + more + "</small>") + "</dd></div>\n";
}

std::string facts(const TrainingRun& run, const std::vector<double>& smooth) {
  if (run.rows.empty()) return "<p>Nothing has been measured yet.</p>\n";
  const TrainingRow& last = run.rows.back();
  const TrainingRow* best = nullptr;
  std::vector<double> speeds;
  for (const TrainingRow& row : run.rows) {
    const bool is_better =
        std::isfinite(row.heldout_bits) && (!best || row.heldout_bits < best->heldout_bits);
    if (is_better) best = &row;
    if (std::isfinite(row.tokens_per_second)) speeds.push_back(row.tokens_per_second);
  }
  std::string out =
      "<dl id=\"facts\">\n" + fact("steps", with_spaces(last.step)) +
      fact("tokens seen", with_spaces(last.tokens)) +
      fact("training loss, smoothed", number(smooth.back(), "%.3f", "–"), "nats a token");
  if (best) {
    out += fact("held-out text, best", number(best->heldout_bits, "%.3f", "–"),
                "bits a byte, step " + with_spaces(best->step));
  }
  if (!speeds.empty()) {
    const auto middle = speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2);
    std::nth_element(speeds.begin(), middle, speeds.end());
    out += fact("speed, median", with_spaces(static_cast<uint64_t>(std::max(0.0, *middle))),
                "tokens a second");
  }
  return out + fact("time", duration(last.seconds)) + "</dl>\n";
}

void write_table(const TrainingRun& run, const std::vector<double>& smooth, const TextSink& sink) {
  const std::vector<TrainingRow>& rows = run.rows;
  const std::vector<size_t> kept = kept_rows(
      rows.size(), kMostTableRows, [&](size_t i) { return std::isfinite(rows[i].heldout_bits); });
  sink("<details id=\"table\"><summary>The numbers as a table</summary>\n");
  if (kept.size() < rows.size()) {
    sink(format("<p class=\"soft\">%zu of %zu rows; the log has all of them.</p>\n", kept.size(),
                rows.size()));
  }
  sink(
      "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr><th>step</th><th>tokens</th>"
      "<th>loss</th><th>smoothed</th><th>held-out bits a byte</th><th>learning rate</th>"
      "<th>tokens a second</th><th>time</th></tr></thead>\n<tbody>\n");
  for (const size_t i : kept) {
    const TrainingRow& row = rows[i];
    sink("<tr>");
    for (const std::string& cell :
         {with_spaces(row.step), with_spaces(row.tokens), number(row.loss, "%.4f", ""),
          number(smooth[i], "%.4f", ""), number(row.heldout_bits, "%.4f", ""),
          number(row.learning_rate, "%.3g", ""), number(row.tokens_per_second, "%.0f", ""),
          duration(row.seconds)}) {
      sink("<td class=\"n\">" + cell + "</td>");
    }
    sink("</tr>\n");
  }
  sink("</tbody></table></div></details>\n");
}

// ,"key":[1,null,2.5]
template <class Get>
void write_column(const char* key, const std::vector<size_t>& kept, const TextSink& sink, Get get) {
  std::string out = format(",\n\"%s\":[", key);
  for (size_t i = 0; i < kept.size(); ++i) {
    out += (i ? "," : "") + number(get(kept[i]), "%.7g", "null");
  }
  sink(out + "]");
}

void write_data(const TrainingRun& run, const std::vector<double>& smooth, const TextSink& sink) {
  const std::vector<TrainingRow>& rows = run.rows;
  const std::vector<size_t> kept = kept_rows(
      rows.size(), kMostCurveRows, [&](size_t i) { return std::isfinite(rows[i].heldout_bits); });
  sink("<script type=\"application/json\" id=\"data\">\n{\"name\":" + script_string(run.name));
  const auto column = [&](const char* key, double TrainingRow::*field) {
    write_column(key, kept, sink, [&](size_t i) { return rows[i].*field; });
  };
  sink(",\n\"step\":[");
  for (size_t i = 0; i < kept.size(); ++i) {
    sink((i ? "," : "") + std::to_string(rows[kept[i]].step));
  }
  sink("],\n\"tokens\":[");
  for (size_t i = 0; i < kept.size(); ++i) {
    sink((i ? "," : "") + std::to_string(rows[kept[i]].tokens));
  }
  sink("]");
  column("seconds", &TrainingRow::seconds);
  column("loss", &TrainingRow::loss);
  write_column("smooth", kept, sink, [&](size_t i) { return smooth[i]; });
  column("heldout", &TrainingRow::heldout_bits);
  column("rate", &TrainingRow::learning_rate);
  column("speed", &TrainingRow::tokens_per_second);
  sink(",\n\"samples\":[");
  for (size_t i = 0; i < run.samples.size(); ++i) {
    const TrainingSample& sample = run.samples[i];
    sink((i ? ",\n[" : "\n[") + std::to_string(sample.step) + "," + script_string(sample.text) +
         "]");
  }
  sink("]}\n</script>\n");
}

}  // namespace

std::vector<double> smoothed_losses(const std::vector<TrainingRow>& rows) {
  const double longest = 0.01 * static_cast<double>(rows.size());
  double sum = 0, weight = 0;
  std::vector<double> smooth;
  smooth.reserve(rows.size());
  for (const TrainingRow& row : rows) {
    const double span = std::min(longest, 0.1 * static_cast<double>(smooth.size()));
    const double kept = std::exp(-1 / std::max(0.5, span));
    if (std::isfinite(row.loss)) {
      sum = sum * kept + row.loss;
      weight = weight * kept + 1;
    }
    smooth.push_back(weight > 0 ? sum / weight : kNone);
  }
  return smooth;
}

void write_loss_page(const TrainingRun& run, const TextSink& sink) {
  const std::vector<double> smooth = smoothed_losses(run.rows);
  sink(page_head("Training of " + run.name, kLossStyle) +
       "<header>\n<div class=\"top\">\n<div><h1>Training of <span id=\"name\">" + html(run.name) +
       "</span></h1>\n<p class=\"soft\">" + html(run.what) +
       "</p></div>\n<button id=\"theme\" type=\"button\"></button>\n</div>\n" + facts(run, smooth) +
       "</header>\n" + kLossBody);
  write_table(run, smooth, sink);
  sink("</section>\n</main>\n");
  write_data(run, smooth, sink);
  sink(std::string("<script>\n") + kPageScript + kLossScript + "</script>\n</body>\n</html>\n");
}

}  // namespace thimble::tools::train
