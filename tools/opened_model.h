// SPDX-License-Identifier: MIT
// From an opened model file back to what such files are made from.
#ifndef THIMBLE_TOOLS_OPENED_MODEL_H
#define THIMBLE_TOOLS_OPENED_MODEL_H

#include "image.h"

namespace thimble::tools {

ModelShape shape_of_model(const thimble_model& model);

// Rows of its weights, those of 8 and 4 bits as the numbers they stand for. The model stays.
RowSource rows_of_model(const thimble_model& model);

// The vocabulary that gives the same tables; no texts if there is none.
Vocabulary vocabulary_of_model(const thimble_model& model);

// Whether a file begins as model files do. False if it cannot be read.
bool is_model_file(const std::string& path);

}  // namespace thimble::tools

#endif
