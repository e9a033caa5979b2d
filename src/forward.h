// SPDX-License-Identifier: MIT
// Tokens -> logits: the transformer's forward pass, in slices.
#ifndef THIMBLE_SRC_FORWARD_H
#define THIMBLE_SRC_FORWARD_H

#include "session.h"

namespace thimble {

// Numbers of the residual stream are smaller than 2^50, about 1e15: the sum of kMaxDim squares is
// then below 2^116, and no norm of any rounding is infinite. Trained ones are below 1e6.
constexpr float kResidualLimit = 1125899906842624.0f;

// Keeps the first `position` tokens; a pass or a self-test under way ends.
void rewind_to(thimble_session* s, uint32_t position);

// Starts the pass over tokens [s->position, end), which lie in s->tokens and of which the last
// n_rows - 1 are drafted. The last batch has all rows of logits.
void forward_begin(thimble_session* s, uint32_t end, uint32_t n_rows);

// Starts a pass that has nothing to compute, up to drafted tokens whose row of logits is current.
void forward_skip(thimble_session* s);

// Goes on with it for about `budget` multiply-accumulates (0: to its end). Returns THIMBLE_MORE or
// THIMBLE_OK.
thimble_status forward_step(thimble_session* s, uint64_t budget);

// What the head of the pass that has completed was multiplied with, (dim); and the way back: starts
// a pass that has nothing left but the head, over such a vector of the last token.
const float* forward_result(const thimble_session* s);
void forward_resume(thimble_session* s, const uint8_t* normed);

// Prepares the head of the pass that has completed once more.
void forward_head(thimble_session* s);

// Runs the stage that the pass is at to its end and returns which one it was; kIdle: the pass is
// complete. Whoever has a clock can read it between two calls. Results are those of forward_step.
Stage forward_stage(thimble_session* s);

// Forgets the session's text and feeds the file's self-test, whose results are compared with the
// file's; or written to `recorded`, (n_layers + 1), if that is not null. Then come forward_step,
// until the pass is complete, and forward_self_test_end. Errors: NO_SELF_TEST, CONTEXT_FULL.
thimble_status forward_self_test(thimble_session* s, uint64_t* recorded);

// The verdict, OK, SELF_TEST or NOT_FINITE; the session is empty again. `report` may be null.
thimble_status forward_self_test_end(thimble_session* s, thimble_self_test_report* report);

// FNV-1a 64, continued from `hash`, over the current row of logits. Where only
// candidates were kept the head is computed once more.
uint64_t forward_logits_hash(const thimble_session* s, uint64_t hash);

}  // namespace thimble

#endif
