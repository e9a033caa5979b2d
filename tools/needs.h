// SPDX-License-Identifier: MIT
// What a model asks of the engine, as the defines that leave the rest out of a build (src/parts.h).
#ifndef THIMBLE_TOOLS_NEEDS_H
#define THIMBLE_TOOLS_NEEDS_H

#include <string>
#include <vector>

#include "thimble/thimble.h"

namespace thimble::tools {

struct Part {
  const char* name;  // without THIMBLE_
  bool is_needed;
};

// What no model needs, but a program may use.
extern const std::vector<std::string> kUses;

// Every part that a build can leave out. uses: of kUses.
std::vector<Part> parts_of(const thimble_model& model, const std::vector<std::string>& uses);

// A header for -DTHIMBLE_NEEDS='"FILE"'; `path` is the model's, for its comment.
std::string needs_header(const thimble_model& model, const std::vector<std::string>& uses,
                         const std::string& path);

}  // namespace thimble::tools

#endif
