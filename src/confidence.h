// SPDX-License-Identifier: MIT
// How sure a model is of an answer under a rule: the probability of its text among all that the
// rule allows, the same bits on every chip.
#ifndef THIMBLE_SRC_CONFIDENCE_H
#define THIMBLE_SRC_CONFIDENCE_H

#include "session.h"

namespace thimble {

// The share of a token in the odds of all that may come now, 0 to 1; of candidates, of those kept.
// 0 where it is none of them, or where numbers beyond a float's leave no odds. The session has
// logits, and a rule in use, which allows the token.
float odds_of_token(thimble_session* s, int32_t token);

}  // namespace thimble

#endif
