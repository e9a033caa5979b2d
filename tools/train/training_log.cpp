// SPDX-License-Identifier: MIT
#include "training_log.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "error.h"
#include "files.h"
#include "json_string.h"

namespace thimble::tools::train {
namespace {

constexpr const char* kColumns[] = {
    "step", "tokens", "loss", "heldout_bits", "learning_rate", "tokens_per_second", "seconds"};
constexpr size_t kCounts = 2;  // the first ones are whole numbers

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ',') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

// Takes all of the text, or says no.
template <class T>
bool parse_number(const std::string& text, T* value) {
  const char* end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, *value);
  return result.ec == std::errc() && result.ptr == end;
}

class Parser {
 public:
  Parser(const std::string& path, const std::string& text) : path_(path), text_(text) {}

  std::vector<TrainingRow> rows(bool is_cut) {
    std::string line;
    if (!next_line(&line, false) || line != csv_header().substr(0, csv_header().size() - 1)) {
      refuse("found " + shown(line) + ", expected the names of the columns, " + csv_header());
    }
    std::vector<TrainingRow> rows;
    while (next_line(&line, is_cut)) {
      const TrainingRow row = row_of(line);
      if (!rows.empty() && row.step <= rows.back().step) {
        refuse(format("found step %llu, expected one after %llu, that of the line before",
                      static_cast<unsigned long long>(row.step),
                      static_cast<unsigned long long>(rows.back().step)));
      }
      rows.push_back(row);
    }
    return rows;
  }

 private:
  [[noreturn]] void refuse(std::string what) const {
    while (!what.empty() && what.back() == '\n') what.pop_back();
    throw Refused(path_ + format(": line %zu: ", line_) + what);
  }

  bool next_line(std::string* line, bool is_cut) {
    ++line_;
    if (at_ == text_.size()) return false;
    const size_t end = text_.find('\n', at_);
    if (end == std::string::npos && is_cut) return false;
    *line = text_.substr(at_, end == std::string::npos ? end : end - at_);
    at_ = end == std::string::npos ? text_.size() : end + 1;
    if (end == std::string::npos) refuse("found " + shown(*line) + ", which no line feed ends");
    if (!line->empty() && line->back() == '\r') line->pop_back();
    return true;
  }

  TrainingRow row_of(const std::string& line) const {
    const std::vector<std::string> fields = fields_of(line);
    if (fields.size() != std::size(kColumns)) {
      refuse(format("found %zu fields, expected %zu", fields.size(), std::size(kColumns)));
    }
    TrainingRow row;
    uint64_t* const counts[] = {&row.step, &row.tokens};
    double* const numbers[] = {&row.loss, &row.heldout_bits, &row.learning_rate,
                               &row.tokens_per_second, &row.seconds};
    for (size_t i = 0; i < fields.size(); ++i) {
      const std::string in = std::string(" in column ") + kColumns[i];
      if (i < kCounts) {
        if (!parse_number(fields[i], counts[i])) {
          refuse("found " + shown(fields[i]) + in + ", expected a whole number");
        }
        continue;
      }
      double& number = *numbers[i - kCounts];
      number = std::numeric_limits<double>::quiet_NaN();
      if (fields[i].empty()) continue;
      if (!parse_number(fields[i], &number) || !std::isfinite(number)) {
        refuse("found " + shown(fields[i]) + in + ", expected a number or nothing");
      }
    }
    return row;
  }

  const std::string& path_;
  const std::string& text_;
  size_t at_ = 0, line_ = 0;
};

}  // namespace

std::string csv_header() {
  std::string line;
  for (const char* column : kColumns) line += (line.empty() ? "" : ",") + std::string(column);
  return line + "\n";
}

std::string csv_line(const TrainingRow& row) {
  std::string line = format("%llu,%llu", static_cast<unsigned long long>(row.step),
                            static_cast<unsigned long long>(row.tokens));
  for (const double number :
       {row.loss, row.heldout_bits, row.learning_rate, row.tokens_per_second, row.seconds}) {
    line += std::isfinite(number) ? format(",%.9g", number) : ",";
  }
  return line + "\n";
}

std::vector<TrainingRow> parse_training_log(const std::string& path, const std::string& text,
                                            bool is_cut) {
  return Parser(path, text).rows(is_cut);
}

TrainingLog::TrainingLog(const std::string& path) : path_(path) {
  start();
}

TrainingLog::TrainingLog(const std::string& path, uint64_t resumed_step) : path_(path) {
  std::error_code error;
  if (!path.empty() && std::filesystem::exists(path, error)) {
    rows_ = parse_training_log(path, read_text(path), true);
    const auto is_later = [&](const TrainingRow& row) { return row.step > resumed_step; };
    rows_.erase(std::find_if(rows_.begin(), rows_.end(), is_later), rows_.end());
  }
  start();
}

TrainingLog::~TrainingLog() {
  if (file_) std::fclose(file_);
}

// Writes what is there anew, in one step, so that no moment is without the rows before.
void TrainingLog::start() {
  if (path_.empty()) return;
  std::string text = csv_header();
  for (const TrainingRow& row : rows_) text += csv_line(row);
  OutputFile file(path_);
  file.write(text.data(), text.size());
  file.commit();
  file_ = std::fopen(path_.c_str(), "ab");
  if (!file_) throw Refused(path_ + ": cannot be appended to: " + std::strerror(errno));
}

void TrainingLog::add(const TrainingRow& row) {
  const std::string line = csv_line(row);
  if (file_ &&
      (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)) {
    throw Refused(path_ + ": cannot be written: " + std::strerror(errno));
  }
  rows_.push_back(row);
}

}  // namespace thimble::tools::train
