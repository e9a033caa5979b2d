// SPDX-License-Identifier: MIT
// Texts that stand one after another in a file.
#ifndef THIMBLE_TOOLS_RECORDS_H
#define THIMBLE_TOOLS_RECORDS_H

#include <string_view>
#include <vector>

namespace thimble::tools {

// Between <|endoftext|> marks, without the white space before them; none is empty.
std::vector<std::string_view> split_records(std::string_view text);

}  // namespace thimble::tools

#endif
