// SPDX-License-Identifier: MIT
// Does this chip give the results that the file carries? A prompt, and for each type of cache the
// hashes of its last token's residual stream behind each layer and of its logits.
#ifndef THIMBLE_SRC_SELF_TEST_H
#define THIMBLE_SRC_SELF_TEST_H

#include "model.h"
#include "thimble/thimble.h"

namespace thimble {

// The prompt's tokens must be in the vocabulary. Call after header and sections were checked.
thimble_status check_self_test(const thimble_model& model, thimble_fault* fault);

// A self-test under way: forward_self_test begins it.
struct SelfTest {
  bool is_running;
  const uint64_t* expected;  // (n_layers + 1) hashes of the file; null while they are recorded
  uint64_t* recorded;        // (n_layers + 1)
  uint64_t logits_hash;      // so far
  thimble_self_test_report report;
};

// The hash of what a layer gave, as the pass goes by it; layer n_layers: of the logits.
void self_test_result(SelfTest* test, uint32_t layer, uint64_t hash);

}  // namespace thimble

#endif
