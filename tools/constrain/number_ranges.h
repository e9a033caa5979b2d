// SPDX-License-Identifier: MIT
// Numbers between bounds, as trees over their decimal digits.
#ifndef THIMBLE_TOOLS_CONSTRAIN_NUMBER_RANGES_H
#define THIMBLE_TOOLS_CONSTRAIN_NUMBER_RANGES_H

#include <optional>

#include "constrain/syntax.h"

namespace thimble::tools {

// Integers from *least to *most, without leading zeros and -0.
NodePtr integers_between(std::optional<int64_t> least, std::optional<int64_t> most);

struct Bound {
  double value;
  bool is_exclusive;
};

// Numbers between bounds: digits, and a fraction if any; without bounds an exponent, too.
NodePtr numbers_between(const std::optional<Bound>& least, const std::optional<Bound>& most);

}  // namespace thimble::tools

#endif
