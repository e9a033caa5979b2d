// SPDX-License-Identifier: MIT
// Saved sessions as files.
#ifndef THIMBLE_TOOLS_SAVED_H
#define THIMBLE_TOOLS_SAVED_H

#include <cstdint>
#include <string>
#include <vector>

#include "engine.h"

namespace thimble::tools {

// Writes what the session has computed; a pass under way is given up. Throws Refused.
void save_session(thimble_session* session, const std::string& path);

// Goes on from a file that save_session wrote, logits included, and gives the text's tokens (with
// sinks its last ones). Throws Refused, saying what does not fit.
std::vector<int32_t> load_session(thimble_session* session, const LoadedModel& loaded,
                                  const std::string& path);

}  // namespace thimble::tools

#endif
