// SPDX-License-Identifier: MIT
// A flat file's sections as `thimble inspect --tensors` shows them, of a model and of an adapter.
#ifndef THIMBLE_TOOLS_SECTION_TABLE_H
#define THIMBLE_TOOLS_SECTION_TABLE_H

#include <string>
#include <vector>

#include "format.h"

namespace thimble::tools {

// A line for each behind a heading.
std::string section_table(const std::vector<SectionEntry>& sections);

// The member "tensors" of a JSON object, with the comma behind it.
std::string section_table_json(const std::vector<SectionEntry>& sections);

// The last line: the data's checksum as found, and what was damaged if it is not the stored one.
std::string checksum_line(uint32_t stored, uint32_t found, const char* damaged);

// The last members of a JSON object without more checks, and its end.
std::string checksum_json(uint32_t stored, uint32_t found);

// A member that is a list of objects, each given without its braces, with the comma behind it.
std::string json_list(const char* name, const std::vector<std::string>& items);

}  // namespace thimble::tools

#endif
