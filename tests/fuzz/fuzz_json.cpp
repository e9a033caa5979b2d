// SPDX-License-Identifier: MIT
// JSON: any bytes are read or refused.
#include <string_view>

#include "error.h"
#include "json_reader.h"

using namespace thimble::tools;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const std::string_view text(reinterpret_cast<const char*>(data), bytes);
  for (const bool large_integers_as_reals : {false, true}) {
    JsonOptions options;
    options.large_integers_as_reals = large_integers_as_reals;
    try {
      read_json(text, "fuzz", options);
    } catch (const Refused&) {
    }
  }
  return 0;
}
