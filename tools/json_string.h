// SPDX-License-Identifier: MIT
#ifndef THIMBLE_TOOLS_JSON_STRING_H
#define THIMBLE_TOOLS_JSON_STRING_H

#include <string>

namespace thimble::tools {

// Text as a JSON string, quotes included. JSON is UTF-8: what is not becomes U+FFFD, byte by byte.
std::string json_string(const std::string& text);

// The same for a message: a name from a file that may be long or hold anything.
std::string shown(const std::string& text);

}  // namespace thimble::tools

#endif
