// SPDX-License-Identifier: MIT
// Whether a pass gives finite numbers, looked at behind every stage of it: int8 products make
// numbers of what is none, so its end does not tell.
#ifndef THIMBLE_TOOLS_FINITE_H
#define THIMBLE_TOOLS_FINITE_H

#include <functional>
#include <string>

#include "thimble/thimble.h"

namespace thimble::tools {

// Runs a pass that has begun to its end. Says in words which result was the first that is no number
// below kResidualLimit, which a product or a norm may make infinite: "layer 2, feed-forward gate,
// up, token 3: found inf, ..."; "" if there is none. `between` (may be empty) is called after every
// 8 million weights at most: time to let go of what was mapped.
std::string run_finite(thimble_session* session, const std::function<void()>& between = {});

}  // namespace thimble::tools

#endif
