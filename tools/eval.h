// SPDX-License-Identifier: MIT
// How well a model predicts a text.
#ifndef THIMBLE_TOOLS_EVAL_H
#define THIMBLE_TOOLS_EVAL_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "thimble/thimble.h"

namespace thimble::tools {

// The texts between <|endoftext|> marks, without the white space before them (a line break after
// the mark), but with that behind them (the last line's end); those of white space only left out.
std::vector<std::string_view> split_records(std::string_view text);

// -ln softmax(logits)[token], in double. logits: (n).
double negative_log_likelihood(const float* logits, uint32_t n, int32_t token);

struct Score {
  double nll = 0;       // the sum over all tokens, in nats
  uint64_t tokens = 0;  // that were predicted; the beginning-of-text token is not one of them
  uint64_t bytes = 0;   // their text
  uint64_t records = 0, cut_records = 0;
  double seconds = 0;
  double share = 1;  // of the text that was scored
};

enum class BehindContext { kCut, kRecompute };

// Scores each record on its own, from the beginning-of-text token on. What is behind the context: a
// session with sinks goes on; others cut the record there, or compute the last n_ctx tokens anew
// for each one. `progress` (may be empty) gets the share that is done, 0 to 1, and ends it there by
// returning false. Throws Refused.
Score score_records(thimble_session* session, const thimble_model& model,
                    const std::vector<std::string_view>& records, BehindContext behind,
                    const std::function<bool(double)>& progress);

}  // namespace thimble::tools

#endif
