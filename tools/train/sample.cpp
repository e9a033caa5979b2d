// SPDX-License-Identifier: MIT
#include "sample.h"

#include <algorithm>

#include "engine.h"

namespace thimble::tools::train {

std::string sample_text(const ModelShape& shape, const Vocabulary& vocabulary,
                        const RowSource& rows, uint32_t n, uint64_t seed) {
  if (vocabulary.bos_id < 0) return "";
  ModelShape short_shape = shape;
  short_shape.n_ctx = std::min(shape.n_ctx, n + 1);
  const ImageInMemory image =
      build_image_in_memory(short_shape, {kWeightF32, 0, 16}, &vocabulary, rows);
  thimble_model model;
  checked(thimble_model_open(&model, image.data(), image.bytes), "the model so far");
  const thimble_config config{};
  const AlignedBlock arena(thimble_session_bytes(&model, &config));
  thimble_session* session = nullptr;
  checked(thimble_session_init(&session, &model, &config, arena.data(), arena.size()), "session");
  thimble_sampling sampling{};
  sampling.temperature = 0.7f;
  sampling.top_p = 0.9f;
  sampling.seed = seed;
  thimble_decoder decoder{};
  std::string text;
  std::vector<char> piece(3 * size_t{model.max_token_bytes} + 3);
  int32_t token = vocabulary.bos_id;
  for (uint32_t i = 0; i + 1 < short_shape.n_ctx; ++i) {
    compute(session, &token, 1);
    token = draw_token(session, sampling);
    if (thimble_is_end(&model, token)) break;
    const int32_t bytes = thimble_decode(&model, &decoder, token, piece.data(), piece.size());
    if (bytes > 0) text.append(piece.data(), static_cast<size_t>(bytes));
  }
  return text;
}

}  // namespace thimble::tools::train
