// SPDX-License-Identifier: MIT
#include "records.h"

namespace thimble::tools {

std::vector<std::string_view> split_records(std::string_view text) {
  constexpr std::string_view kMark = "<|endoftext|>", kWhite = " \t\r\n\v\f";
  std::vector<std::string_view> records;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(kMark, start), text.size());
    std::string_view record = text.substr(start, end - start);
    const size_t first = record.find_first_not_of(kWhite);
    if (first != std::string_view::npos) {
      records.push_back(record.substr(first));
    }
    start = end + kMark.size();
  }
  return records;
}

}  // namespace thimble::tools
