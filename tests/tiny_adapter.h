// SPDX-License-Identifier: MIT
// Adapters of small models, with random matrices.
#ifndef THIMBLE_TESTS_TINY_ADAPTER_H
#define THIMBLE_TESTS_TINY_ADAPTER_H

#include <cmath>
#include <cstdint>
#include <cstring>

#include "adapter_file.h"
#include "crc32.h"
#include "random.h"
#include "tiny_model.h"

namespace thimble::test {

// As large as what is learned may be: B A is about a third of W.
inline void random_factor_row(uint64_t seed, uint32_t kind, uint32_t layer, uint32_t row,
                              uint32_t cols, float* out) {
  Random random(((seed * 256 + kind) << 13) * (uint64_t{1} << 20) + layer * (uint64_t{1} << 20) +
                row);
  for (int i = 0; i < 4; ++i) random.next();
  const float size = std::sqrt(3.0f / static_cast<float>(cols)) * (kind >= kLoraB ? 0.3f : 1.0f);
  for (uint32_t c = 0; c < cols; ++c) out[c] = random.uniform(-size, size);
}

// Makes the header's checksum right again, so that only the other checks can refuse.
inline void seal(AlignedBlock* image) {
  AdapterHeader h;
  if (image->size() < sizeof h) return;
  std::memcpy(&h, image->data(), sizeof h);
  h.header_crc = 0;
  std::memcpy(image->data(), &h, sizeof h);
  if (h.header_bytes <= image->size()) h.header_crc = crc32(0, image->data(), h.header_bytes);
  std::memcpy(image->data(), &h, sizeof h);
}

struct TinyAdapter {
  TinyAdapter(const thimble_model& model, uint32_t rank, uint32_t matrices = kLoraMatrices,
              uint64_t seed = 1)
      : image(build(model, rank, matrices, seed)) {
    expect_ok(thimble_adapter_open(&view, &model, image.data(), image.size()),
              "thimble_adapter_open");
    expect_ok(thimble_adapter_verify(&view), "thimble_adapter_verify");
  }

  AlignedBlock image;
  thimble_adapter view;

 private:
  static AlignedBlock build(const thimble_model& model, uint32_t rank, uint32_t matrices,
                            uint64_t seed) {
    const tools::ImageInMemory built = tools::build_adapter(
        model, rank, matrices,
        [seed](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
          random_factor_row(seed, kind, layer, row, cols, out);
        });
    return AlignedBlock(built.data(), built.bytes);
  }
};

}  // namespace thimble::test

#endif
