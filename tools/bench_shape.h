// SPDX-License-Identifier: MIT
// Random weights of any shape, where there is no model file.
#ifndef THIMBLE_TOOLS_BENCH_SHAPE_H
#define THIMBLE_TOOLS_BENCH_SHAPE_H

#include <string>

#include "image.h"

namespace thimble::tools {

// A shape by its name (15M), or by its numbers: dim,hidden,layers,heads,kv_heads,vocab,ctx. The
// head is tied. Throws WrongUsage.
ModelShape parse_shape(const std::string& text);

// A model of that shape without a tokenizer, with random weights as small as trained ones. The same
// ones every time, whatever their layout. Throws Refused.
ImageInMemory random_image(const ModelShape& shape, const WeightLayout& layout);

}  // namespace thimble::tools

#endif
