// SPDX-License-Identifier: MIT
// A rule of any content: refused, or a session answers under it inside its bounds.
#include <cstdint>
#include <cstring>

#include "rule.h"
#include "tiny_model.h"
#include "tiny_rule.h"

using namespace thimble;
using namespace thimble::test;

// What was changed has right checksums again, so that the fuzzer gets beyond them.
static void seal_for(AlignedBlock* image, const thimble_model& model) {
  RuleHeader h;
  if (image->size() < sizeof h) return;
  std::memcpy(&h, image->data(), sizeof h);
  h.vocabulary_crc = vocabulary_crc(model);
  std::memcpy(image->data(), &h, sizeof h);
  seal_rule(image);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const TinyModel model(tiny_shape(24, 20, 1, 3, 1, 8, 64, 16, true), {kWeightQ8, 32, 4},
                               true);
  if (bytes == 0) return 0;
  AlignedBlock image(data, bytes);
  thimble_rule rule;
  if (thimble_rule_open(&rule, &model.view, image.data(), bytes) != THIMBLE_OK) {
    seal_for(&image, model.view);
    thimble_rule_open(&rule, &model.view, image.data(), bytes);
  }
  if (rule.image) answer_under(model.view, rule);
  return 0;
}
