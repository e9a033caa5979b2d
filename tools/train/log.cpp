// SPDX-License-Identifier: MIT
#include "log.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "error.h"
#include "files.h"

namespace thimble::tools::train {
namespace {

constexpr char kHeader[] =
    "step,epoch,loss,held_out,bits_per_byte,rate,gradient_norm,tokens_per_second,seconds\n";

// The rows of a file up to that step, with its header.
std::string rows_until(const std::string& path, uint64_t step) {
  if (step == 0 || access(path.c_str(), F_OK) != 0) return kHeader;
  const std::string text = read_text(path);
  std::string kept = kHeader;
  for (size_t at = text.find('\n') + 1; at != 0 && at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    if (std::strtoull(text.c_str() + at, nullptr, 10) <= step) kept.append(text, at, end - at);
    at = end;
  }
  return kept;
}

std::string time_left(const LogRow& row) {
  if (row.total_steps == 0 || row.step == 0) return "";
  const double left =
      row.seconds * static_cast<double>(row.total_steps - row.step) / static_cast<double>(row.step);
  if (left < 100) return format("  %.0f s left", left);
  if (left < 6000) return format("  %.0f min left", left / 60);
  return format("  %.1f h left", left / 3600);
}

std::string line_of(const LogRow& row) {
  std::string line = format("step %llu", static_cast<unsigned long long>(row.step));
  if (row.total_steps > 0) {
    line += format("/%llu", static_cast<unsigned long long>(row.total_steps));
  }
  line += format("  epoch %.2f  loss %.4f", row.epoch, row.loss);
  if (row.held_out >= 0) {
    line += format("  held out %.4f, %.4f bits a byte", row.held_out, row.bits_per_byte);
  }
  return line + format("  %.0f tokens/s", row.tokens_per_second) + time_left(row);
}

}  // namespace

Log::Log(const std::string& path, uint64_t step)
    : path_(path), is_terminal_(isatty(STDERR_FILENO) == 1) {
  if (path.empty()) return;
  const std::string kept = rows_until(path, step);
  file_.reset(std::fopen(path.c_str(), "wb"));
  if (!file_) throw Refused(path + ": cannot be written: " + std::strerror(errno));
  std::fwrite(kept.data(), 1, kept.size(), file_.get());
  std::fflush(file_.get());
}

void Log::row(const LogRow& row) {
  clear();
  std::fprintf(stderr, "%s\n", line_of(row).c_str());
  if (!file_) return;
  const std::string held =
      row.held_out >= 0 ? format("%.6f,%.6f", row.held_out, row.bits_per_byte) : std::string(",");
  std::fprintf(file_.get(), "%llu,%.4f,%.6f,%s,%.6g,%.4f,%.0f,%.1f\n",
               static_cast<unsigned long long>(row.step), row.epoch, row.loss, held.c_str(),
               row.rate, row.norm, row.tokens_per_second, row.seconds);
  std::fflush(file_.get());
}

void Log::progress(const LogRow& row) {
  if (!is_terminal_) return;
  std::fprintf(stderr, "\r%s\033[K", line_of(row).c_str());
  std::fflush(stderr);
  has_progress_ = true;
}

void Log::sample(const std::string& text) {
  if (text.empty()) return;
  clear();
  std::string line = text;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fprintf(stderr, "  > %s\n", printable(line).c_str());
}

void Log::clear() {
  if (has_progress_) std::fputs("\r\033[K", stderr);
  has_progress_ = false;
}

}  // namespace thimble::tools::train
