// SPDX-License-Identifier: MIT
// Training text: records out of files, and which of them are held out.
#ifndef THIMBLE_TOOLS_TRAIN_TEXT_RECORDS_H
#define THIMBLE_TOOLS_TRAIN_TEXT_RECORDS_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "files.h"

namespace thimble::tools::train {

enum class RecordsBy { kMarks, kFiles, kLines, kAnswers };

// "marks", "lines", "files" or "answers"; throws WrongUsage, naming `option`.
RecordsBy records_by(const std::string& name, const std::string& option);

struct TextRecordsOptions {
  // Between <|endoftext|> marks (records.h); a file each; a line each, without its break; or a line
  // each that holds a prompt, a tab, and the answer, which alone is to be learnt.
  RecordsBy by = RecordsBy::kMarks;
  double held_out = 0.02;  // share of the records, [0, 1)
  uint64_t seed = 0;       // decides which ones
  // Longer records are cut, at the last empty line of a piece's second half, else at a line's, a
  // word's or a character's end: so a book, too, has something to hold out. 0: none is. Pieces that
  // are trained on side by side are put together again, so small ones cost nothing.
  size_t max_record_bytes = 4096;
};

// "a.txt", or "a.txt and 2 more".
std::string names_of(const std::vector<std::string>& paths);

struct TextRecord {
  std::string_view text;      // in a mapped file
  bool continues;             // begins where another one was cut, so not as a text does
  bool goes_on;               // was cut at its end: another one continues it
  uint32_t prompt_bytes = 0;  // the first ones, which are given and not learnt
};

// The files stay mapped, and pages that were read can be dropped, so texts may be larger than
// memory. Memory: 24 bytes a record, while reading about 80.
//
// A record is held out by its own text and the seed, whatever else is there: another file moves
// none. Only where that leaves a side empty is one moved there, if there are two; a single one is
// trained on.
//
// Where at most a tenth of the records between marks begin with a lower-case letter, those begin in
// mid-story: something cut them before. They count as such that continue another one, so that they
// teach no false beginnings. Where more do, it is how texts begin here.
class TextRecords {
 public:
  // Throws Refused: a file that cannot be mapped or is empty, is UTF-16 or UTF-32, has a line
  // without an answer where they are wanted, or if there is no text in any.
  TextRecords(const std::vector<std::string>& paths, const TextRecordsOptions& options);

  // In the order of files. None is empty; a text that comes again is left out.
  const std::vector<TextRecord>& training() const { return training_; }
  const std::vector<TextRecord>& held_out() const { return held_out_; }

  uint64_t training_bytes() const { return training_bytes_; }
  uint64_t held_out_bytes() const { return held_out_bytes_; }
  uint64_t duplicates() const { return duplicates_; }  // left out
  uint64_t duplicate_bytes() const { return duplicate_bytes_; }
  uint64_t pieces() const { return pieces_; }            // records that continue another one
  uint64_t mid_stories() const { return mid_stories_; }  // that begin in mid-story

  // What is to be told: one line, without a line break.
  std::string summary() const;
  // Carriage returns, NUL bytes and such, a line for each (odd_text.h).
  const std::vector<std::string>& oddities() const { return oddities_; }

  // Gives back the memory of the text read so far; it is read again when it is wanted.
  void forget() const;

 private:
  void add(std::string_view record, const TextRecordsOptions& options);
  void add_piece(TextRecord piece, const TextRecordsOptions& options);
  void find_mid_stories();
  void fill_empty_side(const TextRecordsOptions& options);

  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<TextRecord> training_, held_out_;
  uint64_t training_bytes_ = 0, held_out_bytes_ = 0;
  uint64_t duplicates_ = 0, duplicate_bytes_ = 0, pieces_ = 0, mid_stories_ = 0;
  std::vector<std::string> oddities_;
};

}  // namespace thimble::tools::train

#endif
