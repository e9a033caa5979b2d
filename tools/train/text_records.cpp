// SPDX-License-Identifier: MIT
#include "train/text_records.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "adapter_file.h"
#include "error.h"
#include "odd_text.h"
#include "opened_model.h"
#include "records.h"
#include "train/hashed_text.h"

namespace thimble::tools::train {
namespace {

struct TextHash {
  size_t operator()(std::string_view text) const { return static_cast<size_t>(hashed_text(text)); }
};

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!is_blank(line)) lines.push_back(line);
  }
  return lines;
}

std::vector<std::string_view> split(std::string_view text, RecordsBy by) {
  if (by == RecordsBy::kMarks) return split_records(text);
  if (by == RecordsBy::kLines || by == RecordsBy::kAnswers) return split_lines(text);
  return {is_blank(text) ? 0u : 1u, text};
}

// Bytes of the first piece of a longer record.
size_t piece_bytes(std::string_view record, size_t most) {
  const std::string_view half = record.substr(most / 2, most - most / 2);
  for (const std::string_view end : {"\n\n", "\n", " "}) {
    const size_t found = half.rfind(end);
    // A space begins the next word.
    const size_t kept = end == " " ? 0 : end.size();
    if (found != std::string_view::npos && most / 2 + found + kept > 0) {
      return most / 2 + found + kept;
    }
  }
  size_t n = most;
  while (n > most / 2 + 1 && (static_cast<uint8_t>(record[n]) & 0xc0) == 0x80) --n;
  return n;
}

// `record` is a line of the file.
void require_answer(const std::string& path, std::string_view file, std::string_view record) {
  const size_t tab = record.find('\t');
  if (tab != std::string_view::npos && tab > 0 && tab + 1 < record.size()) return;
  const auto line = 1 + std::count(file.data(), record.data(), '\n');
  throw Refused(format("%s: line %lld is '%s', expected a prompt, a tab and an answer",
                       path.c_str(), static_cast<long long>(line),
                       std::string(record.substr(0, 60)).c_str()));
}

// In [0, 1), of a text and a seed.
double number_of(std::string_view text, uint64_t seed) {
  return static_cast<double>(hashed_text(text, seed) >> 11) * 0x1p-53;
}

}  // namespace

RecordsBy records_by(const std::string& name, const std::string& option) {
  if (name == "marks") return RecordsBy::kMarks;
  if (name == "files") return RecordsBy::kFiles;
  if (name == "lines") return RecordsBy::kLines;
  if (name == "answers") return RecordsBy::kAnswers;
  throw WrongUsage("option '" + option + "' is '" + name +
                   "', expected marks, lines, files or answers");
}

std::string names_of(const std::vector<std::string>& paths) {
  if (paths.empty()) return "no file";
  return paths[0] + (paths.size() > 1 ? format(" and %zu more", paths.size() - 1) : std::string());
}

TextRecords::TextRecords(const std::vector<std::string>& paths, const TextRecordsOptions& options) {
  std::unordered_set<std::string_view, TextHash> seen;
  for (const std::string& path : paths) {
    std::error_code none;
    if (std::filesystem::is_regular_file(path, none) && std::filesystem::is_empty(path, none)) {
      throw Refused(path + ": is empty (0 bytes), expected a text");
    }
    files_.push_back(std::make_unique<MappedFile>(path));
    const MappedFile& file = *files_.back();
    if (is_adapter(file) || is_model_file(path)) {
      throw Refused(path +
                    ": is a flat file of Thimble, expected a text; --from MODEL goes on with a "
                    "model");
    }
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    for (std::string& oddity : oddities_of(text, path)) oddities_.push_back(std::move(oddity));
    for (const std::string_view record : split(text, options.by)) {
      if (options.by == RecordsBy::kAnswers) require_answer(path, text, record);
      if (seen.insert(record).second) {
        add(record, options);
      } else {
        duplicates_ += 1;
        duplicate_bytes_ += record.size();
      }
    }
    file.forget();
  }
  if (training_.empty() && held_out_.empty()) {
    throw Refused(names_of(paths) + ": found only white space" +
                  (options.by == RecordsBy::kMarks ? " and <|endoftext|> marks" : "") +
                  ", expected a text");
  }
  if (options.by == RecordsBy::kMarks) find_mid_stories();
  fill_empty_side(options);
}

void TextRecords::add(std::string_view record, const TextRecordsOptions& options) {
  if (options.by == RecordsBy::kAnswers) {
    const size_t prompt = record.find('\t') + 1;
    return add_piece({record, false, false, static_cast<uint32_t>(prompt)}, options);
  }
  bool continues = false;
  while (options.max_record_bytes > 0 && record.size() > options.max_record_bytes) {
    const size_t n = piece_bytes(record, options.max_record_bytes);
    add_piece({record.substr(0, n), continues, true}, options);
    record.remove_prefix(n);
    continues = true;
  }
  add_piece({record, continues, false}, options);
}

void TextRecords::add_piece(TextRecord piece, const TextRecordsOptions& options) {
  const bool is_held_out = number_of(piece.text, options.seed) < options.held_out;
  (is_held_out ? held_out_ : training_).push_back(piece);
  (is_held_out ? held_out_bytes_ : training_bytes_) += piece.text.size();
  pieces_ += piece.continues;
}

void TextRecords::find_mid_stories() {
  constexpr uint64_t kFewOf = 10;
  uint64_t n_begin = 0, n_lower = 0;
  const auto is_lower = [](const TextRecord& record) {
    return !record.continues && record.text[0] >= 'a' && record.text[0] <= 'z';
  };
  for (const auto* side : {&training_, &held_out_}) {
    for (const TextRecord& record : *side) {
      n_begin += !record.continues;
      n_lower += is_lower(record);
    }
  }
  if (n_lower * kFewOf > n_begin) return;
  mid_stories_ = n_lower;
  for (auto* side : {&training_, &held_out_}) {
    for (TextRecord& record : *side) record.continues |= is_lower(record);
  }
}

void TextRecords::fill_empty_side(const TextRecordsOptions& options) {
  const bool no_training = training_.empty();
  const bool no_held_out = held_out_.empty() && options.held_out > 0 && training_.size() > 1;
  if (!no_training && !no_held_out) return;
  std::vector<TextRecord>&from = no_training ? held_out_ : training_,
  &to = no_training ? training_ : held_out_;
  uint64_t &from_bytes = no_training ? held_out_bytes_ : training_bytes_,
           &to_bytes = no_training ? training_bytes_ : held_out_bytes_;
  // The one that is nearest to the other side.
  const auto lower = [&](const TextRecord& a, const TextRecord& b) {
    return number_of(a.text, options.seed) < number_of(b.text, options.seed);
  };
  const auto moved = no_training ? std::max_element(from.begin(), from.end(), lower)
                                 : std::min_element(from.begin(), from.end(), lower);
  to.push_back(*moved);
  to_bytes += moved->text.size();
  from_bytes -= moved->text.size();
  from.erase(moved);
}

std::string TextRecords::summary() const {
  const auto count = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::string text = format("%zu record%s to train on (%llu bytes), %zu held out (%llu bytes)",
                            training_.size(), training_.size() == 1 ? "" : "s",
                            count(training_bytes_), held_out_.size(), count(held_out_bytes_));
  if (pieces_ > 0) text += format("; %llu of them continue one that was cut", count(pieces_));
  if (mid_stories_ > 0) {
    text += format("; %llu begin in mid-story (lower-case) and teach no beginning",
                   count(mid_stories_));
  }
  if (duplicates_ > 0) {
    text += format("; %llu came again and count once (%llu bytes)", count(duplicates_),
                   count(duplicate_bytes_));
  }
  return text;
}

void TextRecords::forget() const {
  for (const auto& file : files_) file->forget();
}

}  // namespace thimble::tools::train
