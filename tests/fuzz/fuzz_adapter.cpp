// SPDX-License-Identifier: MIT
// An adapter of any content: refused, or a session runs with it inside its bounds.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "adapter.h"
#include "tiny_adapter.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

// What was changed has right checksums again, so that the fuzzer gets beyond them.
static void seal_for(AlignedBlock* image, const thimble_model& model) {
  AdapterHeader h;
  if (image->size() < sizeof h) return;
  std::memcpy(&h, image->data(), sizeof h);
  h.model_header_crc = header_of(model).header_crc;
  h.model_data_crc = header_of(model).data_crc;
  std::memcpy(image->data(), &h, sizeof h);
  seal(image);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const TinyModel model(tiny_shape(24, 20, 2, 3, 1, 8, 32, 16, true), {kWeightQ8, 32, 4});
  AlignedBlock image(data, bytes);
  thimble_adapter adapter;
  if (bytes > 0 && thimble_adapter_open(&adapter, &model.view, image.data(), bytes) != THIMBLE_OK) {
    seal_for(&image, model.view);
    thimble_adapter_open(&adapter, &model.view, image.data(), bytes);
  }
  if (bytes == 0 || !adapter.image) return 0;
  thimble_config config{};
  config.lora_rank = adapter.rank;
  config.n_batch = 3;
  TestSession session(model.view, config);
  if (thimble_session_lora(session, &adapter) != THIMBLE_OK) std::abort();
  const int32_t tokens[5] = {1, 2, 3, 4, 5};
  feed_pieces(session, tokens, 5, 5);
  return 0;
}
