// SPDX-License-Identifier: MIT
// What a training run measures as it goes, and the CSV file that keeps it: --log FILE.csv.
#ifndef THIMBLE_TOOLS_TRAIN_TRAINING_LOG_H
#define THIMBLE_TOOLS_TRAIN_TRAINING_LOG_H

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace thimble::tools::train {

// What was not measured, or is no finite number, is NaN.
struct TrainingRow {
  uint64_t step = 0;        // steps done; ascends from row to row
  uint64_t tokens = 0;      // trained on so far
  double loss = 0;          // nats a token, of the steps since the row before
  double heldout_bits = 0;  // bits a byte
  double learning_rate = 0;
  double tokens_per_second = 0;
  double seconds = 0;  // of training so far
};

// The columns in that order, named in the first line; numbers have 9 digits, NaN is an empty field.
std::string csv_header();
std::string csv_line(const TrainingRow& row);

// The rows of such a text, with line feeds, or carriage returns before them. Throws Refused, naming
// `path` and the line, what was found and what was expected. `is_cut`: a last line without an end,
// as a program that was stopped leaves it, is passed over.
std::vector<TrainingRow> parse_training_log(const std::string& path, const std::string& text,
                                            bool is_cut = false);

// The file while it grows: each row is handed to the system as it comes, so that a run that is
// killed loses none.
class TrainingLog {
 public:
  // A new file; "": none, the rows are only kept. Throws Refused, as add() does when the disk is
  // full.
  explicit TrainingLog(const std::string& path);
  // Goes on with a file from a checkpoint of that step: rows after it are dropped, since they come
  // again. A file that is not there is a new one. Also throws what parse_training_log throws.
  TrainingLog(const std::string& path, uint64_t resumed_step);
  ~TrainingLog();
  TrainingLog(const TrainingLog&) = delete;
  TrainingLog& operator=(const TrainingLog&) = delete;

  void add(const TrainingRow& row);
  const std::vector<TrainingRow>& rows() const { return rows_; }

 private:
  void start();
  std::string path_;
  std::vector<TrainingRow> rows_;
  std::FILE* file_ = nullptr;
};

}  // namespace thimble::tools::train

#endif
