// SPDX-License-Identifier: MIT
// Causal multi-head attention over the key/value cache.
#ifndef THIMBLE_SRC_ATTENTION_H
#define THIMBLE_SRC_ATTENTION_H

#include "session.h"

namespace thimble {

// Rotates the queries and keys of batch row `row` to its position, scales the queries by
// 1 / sqrt(head_dim), and stores key and value in the cache.
void rotate_and_store(thimble_session* s, uint32_t row);

// The context vectors of batch row `row`, for the query heads of KV heads [kv_begin, kv_end).
void attend(thimble_session* s, uint32_t row, uint32_t kv_begin, uint32_t kv_end);

}  // namespace thimble

#endif
