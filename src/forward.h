// SPDX-License-Identifier: MIT
// Tokens -> logits: the transformer's forward pass, in slices.
#ifndef THIMBLE_SRC_FORWARD_H
#define THIMBLE_SRC_FORWARD_H

#include "session.h"

namespace thimble {

// Starts the pass over tokens [s->position, end), which lie in s->tokens.
void forward_begin(thimble_session* s, uint32_t end);

// Goes on with it for about `budget` multiply-accumulates (0: to its end). Returns THIMBLE_MORE or
// THIMBLE_OK.
thimble_status forward_step(thimble_session* s, uint64_t budget);

}  // namespace thimble

#endif
