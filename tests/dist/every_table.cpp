// SPDX-License-Identifier: MIT
// The logits hash of 40 greedy tokens by every table of kernels that this machine has, a line each.
#include <stdio.h>

extern "C" const uint8_t model_image[], model_image_end[];
alignas(THIMBLE_ALIGNMENT) static uint8_t arena[1 << 20];

int main() {
  thimble_model model;
  const size_t bytes = static_cast<size_t>(model_image_end - model_image);
  if (thimble_model_open(&model, model_image, bytes) != THIMBLE_OK) return 1;
  for (size_t i = 0; const char* name = thimble_isa_at(i); ++i) {
    thimble_config config = {};
    config.n_ctx = 64;
    config.isa = name;
    thimble_session* session;
    if (thimble_session_init(&session, &model, &config, arena, sizeof arena) != THIMBLE_OK)
      return 1;
    int32_t token = model.bos_id;
    uint64_t hash = THIMBLE_HASH_START;
    for (int n = 0; n < 40; ++n) {
      if (thimble_feed(session, &token, 1) != THIMBLE_OK) return 1;
      while (thimble_step(session, 0) == THIMBLE_MORE) {
      }
      hash = thimble_logits_hash(session, hash);
      const thimble_sampling greedy = {};
      token = thimble_sample(session, &greedy);
    }
    printf("%s %016llx\n", name, static_cast<unsigned long long>(hash));
  }
  return 0;
}
