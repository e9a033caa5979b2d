// SPDX-License-Identifier: MIT
// GGUF's keys for the fields that config.json has.
#ifndef THIMBLE_TOOLS_READERS_GGUF_KEYS_H
#define THIMBLE_TOOLS_READERS_GGUF_KEYS_H

#include <string>

namespace thimble::tools {

// The key, behind the architecture ("llama."), for a name of config.json; null if there is none.
const char* gguf_key(const std::string& name);

}  // namespace thimble::tools

#endif
