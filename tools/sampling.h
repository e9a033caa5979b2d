// SPDX-License-Identifier: MIT
// What verbs that generate text share: options that say how tokens are drawn, text that streams.
#ifndef THIMBLE_TOOLS_SAMPLING_H
#define THIMBLE_TOOLS_SAMPLING_H

#include <cstdint>
#include <vector>

#include "args.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// A verb's own options, and -t, --top-p, --top-k, --min-p, --temperature-last, --repeat-penalty,
// --repeat-window and --seed.
std::vector<Option> with_sampling_options(std::vector<Option> own);

// What they say. A random seed is told on stderr. Throws WrongUsage.
thimble_sampling sampling_of(const Args& args);

// Tokens to stdout as text, to a terminal by print_visible; the buffer is there before the first
// one.
class TextStream {
 public:
  explicit TextStream(const thimble_model& model);

  void put(int32_t token);
  // Ends the text; another may follow.
  void end();

 private:
  void write(int32_t bytes);
  const thimble_model& model_;
  thimble_decoder decoder_{};
  std::vector<char> buffer_;
};

}  // namespace thimble::tools

#endif
