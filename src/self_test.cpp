// SPDX-License-Identifier: MIT
#include "self_test.h"

namespace thimble {

thimble_status check_self_test(const thimble_model& model, thimble_fault* fault) {
  const FileHeader& h = header_of(model);
  if (h.self_test_tokens == 0) return THIMBLE_OK;
  const int32_t* tokens = table_of<int32_t>(model, kSelfTestTokens);
  for (uint32_t i = 0; i < h.self_test_tokens; ++i) {
    if (tokens[i] >= 0 && static_cast<uint32_t>(tokens[i]) < h.vocab_size) continue;
    *fault = {"self-test token", static_cast<uint64_t>(int64_t{tokens[i]}), h.vocab_size - 1,
              section_of(model, kSelfTestTokens).offset + uint64_t{i} * sizeof tokens[0]};
    return THIMBLE_ERROR_SECTION;
  }
  return THIMBLE_OK;
}

void self_test_result(SelfTest* test, uint32_t layer, uint64_t hash) {
  if (test->recorded) {
    test->recorded[layer] = hash;
    return;
  }
  if (test->report.layer >= 0) return;
  test->report.found = hash;
  test->report.expected = test->expected[layer];
  if (hash != test->expected[layer]) test->report.layer = static_cast<int32_t>(layer);
}

}  // namespace thimble
