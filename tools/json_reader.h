// SPDX-License-Identifier: MIT
// JSON (RFC 8259), strictly: configurations, vocabularies, headers of checkpoints.
#ifndef THIMBLE_TOOLS_JSON_READER_H
#define THIMBLE_TOOLS_JSON_READER_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "value.h"

namespace thimble::tools {

struct JsonOptions {
  uint32_t max_nesting = 64;     // lists and dictionaries within one another
  size_t max_values = 4u << 20;  // of all kinds together: bounds the memory of a hostile file
  bool large_integers_as_reals = false;  // those past 2^53, instead of refusing them: tokenizer
                                         // configurations write 1e30 out as an integer
};

// A number is an integer where it has neither a fraction nor an exponent. Throws Refused, naming
// `path`, the place, what was found and what was expected: also for a key that comes twice in one
// dictionary, an integer past 2^53 (which few readers would agree about), half a surrogate pair,
// and whatever is no UTF-8.
Value read_json(std::string_view text, const std::string& path, const JsonOptions& options = {});

// The same for a file of at most `max_bytes`.
Value read_json_file(const std::string& path, const JsonOptions& options = {},
                     uint64_t max_bytes = 256u << 20);

}  // namespace thimble::tools

#endif
