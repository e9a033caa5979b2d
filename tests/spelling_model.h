// SPDX-License-Identifier: MIT
// Small models with a tokenizer of any kind, for tests of what they spell.
#ifndef THIMBLE_TESTS_SPELLING_MODEL_H
#define THIMBLE_TESTS_SPELLING_MODEL_H

#include <stdexcept>
#include <string>

#include "tiny_model.h"

namespace thimble::test {

// A shape of tiny_shapes() with another vocabulary.
inline tools::ModelShape spelling_shape(const std::string& name, uint32_t vocab_size) {
  for (const NamedShape& named : tiny_shapes()) {
    if (named.name != name) continue;
    tools::ModelShape shape = named.shape;
    shape.vocab_size = vocab_size;
    return shape;
  }
  throw std::runtime_error("no such shape: " + name);
}

struct SpellingModel {
  SpellingModel(const tools::ModelShape& shape, const tools::Vocabulary& vocabulary,
                uint64_t seed = 1, bool with_self_test = false, uint32_t row_tile = 16)
      : image(build(shape, vocabulary, seed, with_self_test, row_tile)) {
    expect_ok(thimble_model_open(&view, image.data(), image.size()), "thimble_model_open");
  }

  AlignedBlock image;
  thimble_model view;

 private:
  static AlignedBlock build(const tools::ModelShape& shape, const tools::Vocabulary& vocabulary,
                            uint64_t seed, bool with_self_test, uint32_t row_tile) {
    const tools::ImageInMemory built = tools::build_image_in_memory(
        shape, {kWeightQ8, 32, row_tile}, &vocabulary,
        [seed](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
          random_row(seed, kind, layer, row, cols, out);
        },
        with_self_test);
    return AlignedBlock(built.data(), built.bytes);
  }
};

}  // namespace thimble::test

#endif
