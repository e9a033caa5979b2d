// SPDX-License-Identifier: MIT
// What a model under training has to say.
#ifndef THIMBLE_TOOLS_TRAIN_SAMPLE_H
#define THIMBLE_TOOLS_TRAIN_SAMPLE_H

#include <string>

#include "image.h"

namespace thimble::tools::train {

// A text of up to n tokens from the beginning-of-text token on, at temperature 0.7 and top-p 0.9;
// "" without such a token.
std::string sample_text(const ModelShape& shape, const Vocabulary& vocabulary,
                        const RowSource& rows, uint32_t n, uint64_t seed);

}  // namespace thimble::tools::train

#endif
