// SPDX-License-Identifier: MIT
// What a text has in it that no model was trained on, and that its author has not seen.
#ifndef THIMBLE_TOOLS_ODD_TEXT_H
#define THIMBLE_TOOLS_ODD_TEXT_H

#include <string>
#include <string_view>
#include <vector>

namespace thimble::tools {

// Carriage returns of Windows, a byte-order mark of UTF-8, NUL bytes: each in words, with what to
// do about it. Throws Refused if the text is UTF-16 or UTF-32. `name` is the file's.
std::vector<std::string> oddities_of(std::string_view text, const std::string& name);

// The same, each as a note on stderr.
void note_oddities(std::string_view text, const std::string& name);

// A prompt from a file, or from stdin if the path is "-", without the line break at its end. Notes
// oddities; throws Refused as read_text does.
std::string read_prompt_file(const std::string& path);

}  // namespace thimble::tools

#endif
