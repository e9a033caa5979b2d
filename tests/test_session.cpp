// SPDX-License-Identifier: MIT
// A session: its memory to the byte, the same bits however a text is computed, and calls that fail
// without changing anything.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "session.h"
#include "tiny_model.h"
#include "tokenizer.h"

using namespace thimble;
using namespace thimble::test;

namespace {

constexpr size_t kTextTokens = 41;  // no multiple of any piece, batch or tile

std::vector<int32_t> text_for(const TinyModel& m) {
  return random_tokens(7, kTextTokens, m.shape.vocab_size);
}

std::string name_of(const NamedShape& named, const tools::WeightLayout& layout) {
  return std::string(named.name) + ", " + layout_name(layout);
}

// The hash that everything else must give: the reference, token by token, in tiles of one row.
uint64_t expected_hash(const tools::ModelShape& shape, tools::WeightLayout layout) {
  layout.row_tile = 1;
  TinyModel m(shape, layout);
  TestSession s(m.view, {0, 1, "reference", 0, 0});
  return hash_of_text(s, text_for(m), 1);
}

template <class F>
void for_each_model(F f) {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types()) {
      CAPTURE(name_of(named, layout));
      f(named.shape, layout, expected_hash(named.shape, layout));
    }
  }
}

uint64_t chunk(uint64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// What thimble.h and the headers of src/ say that a session holds, part by part.
uint64_t sum_of_parts(const thimble_model& m, uint32_t n_ctx, uint32_t n_batch) {
  const uint64_t lanes = 16, batch = std::min(n_batch, n_ctx);
  const auto row = [&](uint64_t floats) { return (floats + lanes - 1) / lanes * lanes * 4; };
  const uint64_t q = m.n_heads * m.head_dim, kv = m.n_kv_heads * m.head_dim;
  uint64_t cache = uint64_t{m.n_layers} * kv * row(n_ctx);
  uint64_t longest = n_ctx;  // scores of one head
  uint64_t kinds = 0;        // what says where each layer's positions are
  const FileHeader& h = header_of(m);
  if (h.has_windows) {
    kinds = chunk(24 * uint64_t{m.n_layers});
    cache = longest = 0;
    for (uint32_t l = 0; l < m.n_layers; ++l) {
      const uint64_t window = table_of<uint32_t>(m, kLayerKinds)[2 * l];
      cache += kv * row(window ? std::min<uint64_t>(window + batch + 14, n_ctx) : n_ctx);
      longest = std::max(longest, window ? std::min<uint64_t>(window + 15, n_ctx) : n_ctx);
    }
  }
  uint64_t inputs = chunk(batch * row(m.dim));                                   // normed
  uint64_t activations = chunk(batch * row(m.dim))                               // x
                         + chunk(batch * row(q + 2 * kv))                        // q, k, v
                         + chunk(batch * row(q))                                 // context
                         + chunk(batch * row((h.gated ? 2 : 1) * m.hidden_dim))  // gate, up
                         + chunk(batch * h.n_ropes * 2 * m.head_dim * 4)         // rope
                         + chunk(uint64_t{m.n_heads} * row(longest));            // scores
  if (m.weight_type != kWeightF32) {
    const auto padded = [&](uint64_t cols, uint32_t bit) {
      const bool q4 = m.weight_type == kWeightQ4 && !(h.q8_matrices & bit);
      const uint64_t multiple = m.group ? m.group : q4 ? 16 : 4;
      return (cols + multiple - 1) / multiple * multiple;
    };
    const uint64_t widest = std::max<uint64_t>(
        {padded(m.dim, kMatrixQkv), padded(q, kMatrixOutput), padded(m.hidden_dim, kMatrixDown)});
    const uint64_t groups = m.group ? widest / m.group : 1;
    inputs += chunk(batch * widest) + 2 * chunk(batch * groups * 4);
  }
  if (m.max_token_bytes > 0) {
    activations = std::max(activations, chunk(encode_scratch_bytes(256)));
  }
  return chunk(kSessionBytes) + chunk(4 * n_ctx)               // tokens
         + kinds + 2 * chunk(cache)                            // keys, values
         + chunk(row(m.vocab_size)) + chunk(4 * m.vocab_size)  // logits, odds
         + inputs + activations;
}

}  // namespace

// ---- Memory
// --------------------------------------------------------------------------------------

TEST_CASE("session: bytes are the sum of the parts, for every context and batch") {
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types()) {
      for (bool with_vocabulary : {false, true}) {
        TinyModel m(named.shape, layout, with_vocabulary);
        for (uint32_t n_ctx = 1; n_ctx <= m.view.n_ctx; ++n_ctx) {
          for (uint32_t n_batch : {1u, 2u, 5u, 17u, 64u, 1024u}) {
            const thimble_config config = {n_ctx, n_batch, nullptr, 0, 0};
            CAPTURE(name_of(named, layout));
            CAPTURE(n_ctx);
            CAPTURE(n_batch);
            REQUIRE(thimble_session_bytes(&m.view, &config) ==
                    sum_of_parts(m.view, n_ctx, n_batch));
          }
        }
      }
    }
  }
}

TEST_CASE("session: 16 more positions cost what the header says, and up to 15 come with them") {
  // n_ctx * n_layers * n_kv_heads * head_dim * 8 of cache, 4 a token, 4 a score of every head.
  TinyModel m(tiny_shape(32, 64, 3, 4, 2, 8, 64, 512, true), {kWeightF32, 0, 16});
  const auto bytes = [&](uint32_t n_ctx) {
    const thimble_config config = {n_ctx, 1, nullptr, 0, 0};
    return thimble_session_bytes(&m.view, &config);
  };
  for (uint32_t n_ctx = 16; n_ctx + 16 <= 512; n_ctx += 16) {
    CHECK(bytes(n_ctx + 16) - bytes(n_ctx) == 16 * (3 * 2 * 8 * 8 + 4 + 4 * 4));
    CHECK(bytes(n_ctx + 1) == bytes(n_ctx + 16));
    CHECK(bytes(n_ctx + 1) > bytes(n_ctx));
  }
}

TEST_CASE(
    "session: defaults are the model's context and a batch of 1; a batch ends at the context") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  const auto bytes = [&](thimble_config config) { return thimble_session_bytes(&m.view, &config); };
  CHECK(thimble_session_bytes(&m.view, nullptr) == bytes({m.view.n_ctx, 1, nullptr, 0, 0}));
  CHECK(bytes({0, 0, "", 0, 0}) == bytes({m.view.n_ctx, 1, nullptr, 0, 0}));
  CHECK(bytes({8, 8, nullptr, 0, 0}) == bytes({8, 1024, nullptr, 0, 0}));
  CHECK(bytes({8, 1, nullptr, 0, 0}) < bytes({8, 2, nullptr, 0, 0}));
  for (size_t i = 0; thimble_isa_at(i); ++i) {
    CHECK(bytes({0, 0, thimble_isa_at(i), 0, 0}) == bytes({0, 0, nullptr, 0, 0}));
  }
}

TEST_CASE("session: the arena is needed to the last byte, and nothing beyond is touched") {
  constexpr uint8_t kCanary = 0xc5;
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types()) {
      for (uint32_t n_batch : {1u, 5u, 64u}) {
        CAPTURE(name_of(named, layout));
        TinyModel m(named.shape, layout);
        const thimble_config config = {45, n_batch, nullptr, 0, 0};
        const std::vector<int32_t> text = random_tokens(4, 45, m.shape.vocab_size);
        const size_t need = thimble_session_bytes(&m.view, &config);
        AlignedBlock block(64 + need + 4096, kCanary);
        uint8_t* arena = block.data() + 64;
        thimble_session* s = nullptr;

        REQUIRE(thimble_session_init(&s, &m.view, &config, arena, need - 1) ==
                THIMBLE_ERROR_ARENA_TOO_SMALL);
        REQUIRE(thimble_session_init(&s, &m.view, &config, arena, 0) ==
                THIMBLE_ERROR_ARENA_TOO_SMALL);
        REQUIRE(s == nullptr);
        REQUIRE(std::all_of(block.data(), block.data() + block.size(),
                            [](uint8_t byte) { return byte == kCanary; }));

        REQUIRE(thimble_session_init(&s, &m.view, &config, arena, need) == THIMBLE_OK);
        feed_pieces(s, text.data(), text.size(), text.size());  // every row of the batch
        const thimble_sampling sampling = {0.8f, 0.9f, 0.01f, 1.1f, 0, 10, 1, 0};
        REQUIRE(thimble_sample(s, &sampling) >= 0);
        const auto untouched = [](const uint8_t* begin, const uint8_t* end) {
          return std::all_of(begin, end, [](uint8_t byte) { return byte == kCanary; });
        };
        REQUIRE(untouched(block.data(), arena));
        REQUIRE(untouched(arena + need, block.data() + block.size()));
        // The parts end where the need does; the last one is used up to its padding of < 64 bytes.
        REQUIRE(!untouched(arena + need - 64, arena + need));
      }
    }
  }
}

// ---- The same bits
// ---------------------------------------------------------------------------------

TEST_CASE("bits: every kernel table, batch and way of feeding") {
  for_each_model(
      [](const tools::ModelShape& shape, const tools::WeightLayout& layout, uint64_t expected) {
        TinyModel m(shape, layout);
        const std::vector<int32_t> text = text_for(m);
        for (size_t i = 0; kernels_at(i); ++i) {
          for (uint32_t n_batch : {1u, 2u, 5u, 64u}) {
            TestSession s(m.view, {0, n_batch, kernels_at(i)->name, 0, 0});
            CHECK(std::string(thimble_isa(s)) == kernels_at(i)->name);
            for (size_t piece : {kTextTokens, size_t{17}, size_t{3}, size_t{1}}) {
              CAPTURE(std::string(kernels_at(i)->name));
              CAPTURE(n_batch);
              CAPTURE(piece);
              REQUIRE(hash_of_text(s, text, piece) == expected);
              REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
            }
          }
        }
      });
}

TEST_CASE("bits: every tile height on every kernel table") {
  for_each_model([](const tools::ModelShape& shape, tools::WeightLayout layout, uint64_t expected) {
    for (uint32_t tile : {1u, 2u, 4u, 8u, 16u}) {
      layout.row_tile = tile;
      TinyModel m(shape, layout);
      for (size_t i = 0; kernels_at(i); ++i) {
        TestSession s(m.view, {0, 6, kernels_at(i)->name, 0, 0});
        CAPTURE(std::string(kernels_at(i)->name));
        CAPTURE(tile);
        REQUIRE(hash_of_text(s, text_for(m), 17) == expected);
      }
    }
  });
}

TEST_CASE("bits: keys and values beyond a cache, where attention goes head by head") {
  const tools::ModelShape shape = tiny_shape(512, 32, 1, 16, 8, 64, 64, 1104, true);
  TinyModel m(shape, {kWeightQ8, 32, 16});
  const std::vector<int32_t> text = random_tokens(3, 1100, 64);
  for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
    uint64_t expected = 0;
    for (uint32_t n_batch : {1u, 5u, 64u}) {
      for (uint64_t budget : {uint64_t{0}, uint64_t{100001}}) {
        TestSession s(m.view, {0, n_batch, nullptr, kv_type, 0});
        feed_pieces(s, text.data(), text.size(), text.size(), budget);
        const uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
        if (expected == 0) expected = hash;  // of row by row
        CAPTURE(n_batch);
        CAPTURE(budget);
        REQUIRE(hash == expected);
      }
    }
  }
}

TEST_CASE("bits: every budget of a slice; position and logits stay away until the end") {
  for_each_model(
      [](const tools::ModelShape& shape, const tools::WeightLayout& layout, uint64_t expected) {
        TinyModel m(shape, layout);
        const std::vector<int32_t> text = text_for(m);
        for (uint64_t budget : {0u, 1u, 7u, 1000u, 100000u}) {
          for (uint32_t n_batch : {1u, 5u, 64u}) {
            TestSession s(m.view, {0, n_batch, nullptr, 0, 0});
            CAPTURE(budget);
            CAPTURE(n_batch);
            REQUIRE(hash_of_text(s, text, 17, budget) == expected);
          }
        }
        // Budgets that change from slice to slice.
        Random random(5);
        TestSession s(m.view, {0, 5, nullptr, 0, 0});
        REQUIRE(thimble_feed(s, text.data(), text.size() - 4) == THIMBLE_OK);
        uint32_t before = 0;
        while (thimble_step(s, 1 + random.below(3000)) == THIMBLE_MORE) {
          REQUIRE(thimble_logits(s) == nullptr);
          REQUIRE(thimble_position(s) >= before);
          REQUIRE(thimble_position(s) < text.size() - 4);
          before = thimble_position(s);
        }
        uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
        for (size_t i = text.size() - 4; i < text.size(); ++i) {
          feed_pieces(s, &text[i], 1, 1, 1 + random.below(300));
          hash = thimble_logits_hash(s, hash);
        }
        REQUIRE(hash == expected);
      });
}

TEST_CASE("step: a slice is bounded, and a smaller budget gives no fewer slices") {
  TinyModel m(tiny_shapes()[3].shape, {kWeightQ8, 32, 4});
  const std::vector<int32_t> text = text_for(m);
  size_t most = SIZE_MAX;
  for (uint64_t budget : {1u, 10u, 1000u, 10000u, 1000000000u, 0u}) {
    TestSession s(m.view, {0, 3, nullptr, 0, 0});
    REQUIRE(thimble_feed(s, text.data(), text.size()) == THIMBLE_OK);
    size_t slices = 1;
    while (thimble_step(s, budget) == THIMBLE_MORE) ++slices;
    CHECK(slices <= most);
    most = slices;
    if (budget == 1) CHECK(slices > 1000);
    if (budget == 0 || budget == 1000000000) CHECK(slices == 1);
    CHECK(thimble_step(s, budget) == THIMBLE_OK);  // nothing is prepared any more
    CHECK(thimble_logits(s) != nullptr);
  }
}

namespace {

uint64_t n_products;  // since the last slice

// The reference's kernels, counting multiply-accumulates, and other work as what thimble.h says
// that it is worth.
Kernels counting_kernels() {
  Kernels k = kKernelsReference;
  k.matmul_f32 = [](float* out, size_t out_stride, const Matrix& w, uint32_t begin, uint32_t end,
                    const float* x, size_t x_stride, uint32_t n) {
    n_products += uint64_t{end - begin} * w.row_tile * w.padded_cols * n;
    kKernelsReference.matmul_f32(out, out_stride, w, begin, end, x, x_stride, n);
  };
  k.matmul_q8 = [](float* out, size_t out_stride, const Matrix& w, uint32_t begin, uint32_t end,
                   const QuantizedRows& x, uint32_t n) {
    n_products += uint64_t{end - begin} * w.row_tile * w.padded_cols * n;
    kKernelsReference.matmul_q8(out, out_stride, w, begin, end, x, n);
  };
  k.mix_values = [](float* out, const float* weights, size_t weights_stride, const float* values,
                    size_t kv_stride, uint32_t n, uint32_t head_dim, uint32_t n_heads, uint32_t q) {
    n_products += uint64_t{n} * head_dim * n_heads;
    kKernelsReference.mix_values(out, weights, weights_stride, values, kv_stride, n, head_dim,
                                 n_heads, q);
  };
  k.mix_values_q8 = [](float* out, const float* weights, size_t weights_stride,
                       const int8_t* values, const uint16_t* scales, uint32_t n, uint32_t head_dim,
                       uint32_t n_heads) {
    n_products += uint64_t{n} * head_dim * n_heads;
    kKernelsReference.mix_values_q8(out, weights, weights_stride, values, scales, n, head_dim,
                                    n_heads);
  };
  k.rms_norm = [](float* out, const float* x, const float* weight, uint32_t n, float eps) {
    n_products += uint64_t{16} * n;
    kKernelsReference.rms_norm(out, x, weight, n, eps);
  };
  k.rotate = [](float* x, const float* table, uint32_t n_heads, uint32_t head_dim, float scale) {
    n_products += uint64_t{10} * n_heads * head_dim;
    kKernelsReference.rotate(x, table, n_heads, head_dim, scale);
  };
  k.softmax = [](float* x, size_t stride, uint32_t n_rows, uint32_t n) {
    n_products += uint64_t{64} * n_rows * n;
    kKernelsReference.softmax(x, stride, n_rows, n);
  };
  k.swiglu = [](float* out, const float* gate, const float* up, uint32_t n) {
    n_products += uint64_t{40} * n;
    kKernelsReference.swiglu(out, gate, up, n);
  };
  k.argmax = [](const float* x, uint32_t n) {  // of a chunk of the head, for candidates
    n_products += n;
    return kKernelsReference.argmax(x, n);
  };
  return k;
}

}  // namespace

TEST_CASE("step: no slice does more than its budget and the worst case that thimble.h states") {
  static const Kernels counting = counting_kernels();
  for (const NamedShape& named : tiny_shapes()) {
    for (const tools::WeightLayout& layout : all_weight_types(4)) {
      TinyModel m(named.shape, layout);
      const std::vector<int32_t> text = text_for(m);
      for (uint32_t kv_type : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
        for (uint32_t n_batch : {1u, 5u}) {
          for (uint64_t budget : {1u, 100u, 1000u, 20000u}) {
            TestSession s(m.view, {0, n_batch, nullptr, kv_type, budget == 100 ? 3u : 0u});
            s.session->kernels = &counting;
            const uint64_t group = layout.group ? layout.group : 4;
            uint64_t longest =
                std::max({m.view.dim, m.view.hidden_dim, m.view.n_heads * m.view.head_dim});
            if (layout.type == kWeightQ8) longest = round_up(longest, group);
            const uint64_t kv_heads = m.view.n_kv_heads, head_dim = m.view.head_dim;
            const uint64_t shared = m.view.n_heads / kv_heads;
            const uint64_t excess = std::max(
                {uint64_t{n_batch} * layout.row_tile * longest,
                 layout.row_tile * (longest + 8 * uint64_t{3}),
                 shared * m.view.n_ctx * (2 * head_dim + 64), uint64_t{40} * m.view.hidden_dim,
                 uint64_t{16} * m.view.dim, 10 * (m.view.n_heads + 2 * kv_heads) * head_dim});
            REQUIRE(thimble_feed(s, text.data(), text.size()) == THIMBLE_OK);
            thimble_status status;
            uint64_t most = 0;
            do {
              n_products = 0;
              status = thimble_step(s, budget);
              most = std::max(most, n_products);
            } while (status == THIMBLE_MORE);
            CHECK(most <= budget + excess);
            CHECK(most > 0);
          }
        }
      }
    }
  }
}

TEST_CASE("bits: whatever the arena held before") {
  for_each_model([](const tools::ModelShape& shape, const tools::WeightLayout& layout,
                    uint64_t expected) {
    TinyModel m(shape, layout);
    const thimble_config config = {0, 5, nullptr, 0, 0};
    AlignedBlock arena(thimble_session_bytes(&m.view, &config));
    for (uint32_t pattern : {0xffffffffu, 0x7fc00000u, 0x7f800001u, 0xff800000u, 0x7f7fffffu}) {
      for (size_t at = 0; at + 4 <= arena.size(); at += 4) {
        std::memcpy(arena.data() + at, &pattern, 4);
      }
      thimble_session* s = nullptr;
      REQUIRE(thimble_session_init(&s, &m.view, &config, arena.data(), arena.size()) == THIMBLE_OK);
      CAPTURE(pattern);
      REQUIRE(hash_of_text(s, text_for(m), 17) == expected);
      // And on top of what that session left.
      REQUIRE(thimble_session_init(&s, &m.view, &config, arena.data(), arena.size()) == THIMBLE_OK);
      REQUIRE(hash_of_text(s, text_for(m), 3) == expected);
    }
  });
}

TEST_CASE("bits: wherever image and arena lie, and the image is never written") {
  for_each_model([](const tools::ModelShape& shape, const tools::WeightLayout& layout,
                    uint64_t expected) {
    TinyModel m(shape, layout);
    for (size_t shift : {64u, 128u, 4096u - 64u}) {
      AlignedBlock copy(m.image.data(), m.image.size(), shift);
      thimble_model view;
      REQUIRE(thimble_model_open(&view, copy.data(), copy.size()) == THIMBLE_OK);
      const thimble_config config = {0, 5, nullptr, 0, 0};
      AlignedBlock arena(thimble_session_bytes(&view, &config), 0, shift);
      thimble_session* s = nullptr;
      REQUIRE(thimble_session_init(&s, &view, &config, arena.data(), arena.size()) == THIMBLE_OK);
      view = {};  // the session keeps what it needs of it
      REQUIRE(hash_of_text(s, text_for(m), 17) == expected);
      REQUIRE(std::memcmp(copy.data(), m.image.data(), copy.size()) == 0);
    }
  });
}

TEST_CASE("bits: after going back to every position") {
  for_each_model(
      [](const tools::ModelShape& shape, const tools::WeightLayout& layout, uint64_t expected) {
        TinyModel m(shape, layout);
        const std::vector<int32_t> text = text_for(m);
        const std::vector<int32_t> other = random_tokens(8, 48, shape.vocab_size);
        TestSession s(m.view, {0, 5, nullptr, 0, 0});
        const size_t prompt = text.size() - 4;
        for (size_t back = 0; back < prompt; back += 6) {
          CAPTURE(back);
          REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
          feed_pieces(s, text.data(), back ? back : 1, 17);          // the shared beginning
          feed_pieces(s, other.data(), other.size() - back - 1, 5);  // something else behind it
          REQUIRE(thimble_rewind(s, static_cast<uint32_t>(back)) == THIMBLE_OK);
          REQUIRE(thimble_position(s) == back);
          REQUIRE(thimble_logits(s) == nullptr);
          feed_pieces(s, text.data() + back, prompt - back, 17);
          uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
          for (size_t i = prompt; i < text.size(); ++i) {
            feed_pieces(s, &text[i], 1, 1);
            hash = thimble_logits_hash(s, hash);
          }
          REQUIRE(hash == expected);
        }
      });
}

TEST_CASE("bits: after passes that were cancelled between slices") {
  for_each_model(
      [](const tools::ModelShape& shape, const tools::WeightLayout& layout, uint64_t expected) {
        TinyModel m(shape, layout);
        const std::vector<int32_t> text = text_for(m);
        const std::vector<int32_t> other = random_tokens(9, 48, shape.vocab_size);
        TestSession s(m.view, {0, 5, nullptr, 0, 0});
        for (uint32_t slices : {0u, 1u, 10u, 100u, 300u}) {
          CAPTURE(slices);
          // Somewhere in the first pass: start over.
          REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
          REQUIRE(thimble_feed(s, other.data(), other.size()) == THIMBLE_OK);
          for (uint32_t i = 0; i < slices; ++i) thimble_step(s, 100);
          REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
          REQUIRE(hash_of_text(s, text, 17) == expected);
          // Behind a prompt: keep the prompt, and what the cancelled pass has finished goes too.
          REQUIRE(thimble_rewind(s, 20) == THIMBLE_OK);
          REQUIRE(thimble_feed(s, other.data(), 13) == THIMBLE_OK);
          for (uint32_t i = 0; i < slices; ++i) thimble_step(s, 100);
          REQUIRE(thimble_position(s) >= 20);
          REQUIRE(thimble_rewind(s, 20) == THIMBLE_OK);
          const size_t prompt = text.size() - 4;
          feed_pieces(s, text.data() + 20, prompt - 20, 64);
          uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
          for (size_t i = prompt; i < text.size(); ++i) {
            feed_pieces(s, &text[i], 1, 1);
            hash = thimble_logits_hash(s, hash);
          }
          REQUIRE(hash == expected);
        }
      });
}

TEST_CASE("bits: sampling, hashing and encoding between passes disturb nothing") {
  const tools::ModelShape shape = tiny_shape(32, 64, 2, 4, 2, 8, 300, 64, true);
  for (const tools::WeightLayout& layout : all_weight_types()) {
    TinyModel m(shape, layout, true);
    const std::vector<int32_t> text = text_for(m);
    TestSession plain(m.view, {0, 2, nullptr, 0, 0}), busy(m.view, {0, 2, nullptr, 0, 0});
    int32_t tokens[64];
    const std::string words = "some words and  more \xc3\xa9 of them\xff";
    const thimble_sampling sampling = {0.9f, 0.95f, 0.01f, 1.2f, 0, 40, 3, 0};
    for (size_t i = 0; i < text.size(); ++i) {
      feed_pieces(plain, &text[i], 1, 1);
      feed_pieces(busy, &text[i], 1, 1);
      const uint64_t expected = thimble_logits_hash(plain, THIMBLE_HASH_START);
      REQUIRE(thimble_logits_hash(busy, THIMBLE_HASH_START) == expected);
      const int32_t drawn = thimble_sample(busy, &sampling);
      REQUIRE(drawn >= 0);
      REQUIRE(thimble_encode(busy, words.data(), words.size(), THIMBLE_ENCODE_BOS, tokens, 64) > 0);
      REQUIRE(thimble_sample(busy, &sampling) == drawn);
      REQUIRE(thimble_sample(plain, &sampling) == drawn);
      REQUIRE(thimble_logits_hash(busy, THIMBLE_HASH_START) == expected);
    }
  }
}

TEST_CASE("bits: sessions side by side do not disturb each other") {
  const std::vector<NamedShape> shapes = tiny_shapes();
  const std::vector<tools::WeightLayout> layouts = all_weight_types();
  std::vector<TinyModel> models;
  std::vector<uint64_t> expected;
  for (size_t i = 0; i < shapes.size(); ++i) {
    models.emplace_back(shapes[i].shape, layouts[i % layouts.size()]);
    expected.push_back(expected_hash(shapes[i].shape, layouts[i % layouts.size()]));
  }
  // Two sessions a model, on different kernels, all of them one slice at a time in turn.
  struct Run {
    TestSession session;
    std::vector<int32_t> text;
    uint64_t expected;
    size_t fed = 0;
    uint64_t hash = THIMBLE_HASH_START;
    bool done = false;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < models.size(); ++i) {
    for (uint32_t n_batch : {1u, 7u}) {
      const char* isa = n_batch == 1 ? "reference" : nullptr;
      runs.push_back(
          {TestSession(models[i].view, {0, n_batch, isa, 0, 0}), text_for(models[i]), expected[i]});
    }
  }
  size_t n_done = 0;
  while (n_done < runs.size()) {
    for (Run& r : runs) {
      if (r.done || thimble_step(r.session, 500) == THIMBLE_MORE) continue;
      r.hash = thimble_logits_hash(r.session, r.hash);  // nothing before the first pass
      if (r.fed == r.text.size()) {
        r.done = true;
        ++n_done;
        continue;
      }
      const size_t n = r.fed == 0 ? r.text.size() - 4 : 1;
      REQUIRE(thimble_feed(r.session, &r.text[r.fed], n) == THIMBLE_OK);
      r.fed += n;
    }
  }
  for (const Run& r : runs) CHECK(r.hash == r.expected);
}

// ---- Refusals
// ----------------------------------------------------------------------------------------

TEST_CASE("session: configurations outside their range") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  AlignedBlock arena(1 << 20, 0x5a);
  thimble_session* s = nullptr;
  for (const thimble_config& config :
       {thimble_config{m.view.n_ctx + 1, 1, nullptr, 0, 0},
        thimble_config{0xffffffff, 1, nullptr, 0, 0}, thimble_config{0, 1025, nullptr, 0, 0},
        thimble_config{0, 0xffffffff, nullptr, 0, 0}, thimble_config{0, 0, "no such kernels", 0, 0},
        thimble_config{0, 0, "Reference", 0, 0}, thimble_config{0, 0, "reference ", 0, 0}}) {
    CHECK(thimble_session_bytes(&m.view, &config) == 0);
    CHECK(thimble_session_init(&s, &m.view, &config, arena.data(), arena.size()) ==
          THIMBLE_ERROR_CONFIG);
  }
  CHECK(s == nullptr);
  for (const thimble_config& config :
       {thimble_config{m.view.n_ctx, 1024, "reference", 0, 0}, thimble_config{1, 1, "", 0, 0}}) {
    CHECK(thimble_session_init(&s, &m.view, &config, arena.data(), arena.size()) == THIMBLE_OK);
    CHECK(thimble_context_size(s) == config.n_ctx);
  }
}

TEST_CASE("session: null pointers and misaligned arenas") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  const size_t need = thimble_session_bytes(&m.view, nullptr);
  AlignedBlock arena(need + 64, 0x5a);
  thimble_session* s = nullptr;
  const thimble_model none = {};
  CHECK(thimble_session_bytes(nullptr, nullptr) == 0);
  CHECK(thimble_session_bytes(&none, nullptr) == 0);
  CHECK(thimble_session_init(nullptr, &m.view, nullptr, arena.data(), need) ==
        THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_init(&s, nullptr, nullptr, arena.data(), need) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_init(&s, &none, nullptr, arena.data(), need) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_session_init(&s, &m.view, nullptr, nullptr, need) == THIMBLE_ERROR_ARGUMENT);
  for (size_t shift = 1; shift < 64; ++shift) {
    CHECK(thimble_session_init(&s, &m.view, nullptr, arena.data() + shift, need) ==
          THIMBLE_ERROR_MISALIGNED);
  }
  CHECK(s == nullptr);
  CHECK(std::all_of(arena.data(), arena.data() + arena.size(),
                    [](uint8_t byte) { return byte == 0x5a; }));

  const int32_t token = 0;
  const thimble_sampling greedy = {};
  CHECK(thimble_feed(nullptr, &token, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_step(nullptr, 0) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_rewind(nullptr, 0) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_position(nullptr) == 0);
  CHECK(thimble_context_size(nullptr) == 0);
  CHECK(thimble_logits(nullptr) == nullptr);
  CHECK(thimble_logits_hash(nullptr, 42) == 42);
  CHECK(thimble_sample(nullptr, &greedy) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_encode_word_bytes(nullptr) == 0);
  CHECK(thimble_isa(nullptr) != nullptr);
  CHECK(thimble_is_end(nullptr, 0) == 0);
}

namespace {

// All that a caller can see of a session.
struct Seen {
  uint32_t position;
  const float* logits;
  uint64_t hash;
  int32_t greedy;
};

Seen look_at(thimble_session* s) {
  const thimble_sampling greedy = {};
  return {thimble_position(s), thimble_logits(s), thimble_logits_hash(s, THIMBLE_HASH_START),
          thimble_sample(s, &greedy)};
}

bool operator==(const Seen& a, const Seen& b) {
  return a.position == b.position && a.logits == b.logits && a.hash == b.hash &&
         a.greedy == b.greedy;
}

}  // namespace

TEST_CASE("calls that fail change nothing") {
  for (const tools::WeightLayout& layout : all_weight_types()) {
    TinyModel m(tiny_shape(32, 64, 2, 4, 2, 8, 300, 45, true), layout, true);
    const std::vector<int32_t> text = text_for(m);
    TestSession s(m.view, {0, 5, nullptr, 0, 0});
    const size_t n_ctx = m.view.n_ctx, prompt = text.size() - 4;
    const std::vector<int32_t> many(n_ctx + 1, 3);
    int32_t tokens[32];

    // Every wrong call, in whatever state the session is; `busy` while a pass is under way.
    const auto fail_in_every_way = [&](bool busy) {
      const Seen before = look_at(s);
      const uint32_t left = static_cast<uint32_t>(n_ctx) - thimble_position(s);
      const thimble_sampling greedy = {}, cold = {-1.0f, 0, 0, 0, 0, 0, 0, 0};
      const thimble_sampling wide = {1.0f, 1.5f, 0, 0, 0, 0, 0, 0};
      CHECK(thimble_feed(s, nullptr, 1) == THIMBLE_ERROR_ARGUMENT);
      CHECK(thimble_feed(s, text.data(), 0) == THIMBLE_ERROR_ARGUMENT);
      CHECK(thimble_feed(s, many.data(), left + 1) ==
            (busy ? THIMBLE_ERROR_BUSY : THIMBLE_ERROR_CONTEXT_FULL));
      CHECK(thimble_feed(s, text.data(), SIZE_MAX) ==
            (busy ? THIMBLE_ERROR_BUSY : THIMBLE_ERROR_CONTEXT_FULL));
      for (int32_t bad : {-1, 300, 301, INT32_MAX, INT32_MIN}) {
        const int32_t some[3] = {1, 2, bad};
        if (left < 3) break;
        CHECK(thimble_feed(s, some, 3) == (busy ? THIMBLE_ERROR_BUSY : THIMBLE_ERROR_TOKEN));
      }
      CHECK(thimble_rewind(s, thimble_position(s) + 1) == THIMBLE_ERROR_ARGUMENT);
      CHECK(thimble_rewind(s, 0xffffffff) == THIMBLE_ERROR_ARGUMENT);
      CHECK(thimble_sample(s, nullptr) == THIMBLE_ERROR_ARGUMENT);
      if (thimble_logits(s)) {
        CHECK(thimble_sample(s, &cold) == THIMBLE_ERROR_ARGUMENT);
        CHECK(thimble_sample(s, &wide) == THIMBLE_ERROR_ARGUMENT);
      } else {
        CHECK(thimble_sample(s, &greedy) == THIMBLE_ERROR_NO_LOGITS);
        CHECK(thimble_logits_hash(s, 42) == 42);
      }
      CHECK(thimble_encode(s, "abc", 3, THIMBLE_ENCODE_BOS, tokens, 32) ==
            (busy ? int32_t{THIMBLE_ERROR_BUSY} : thimble_encode(s, "abc", 3, 1, tokens, 32)));
      CHECK(thimble_encode(s, nullptr, 3, 0, tokens, 32) == THIMBLE_ERROR_ARGUMENT);
      CHECK(thimble_encode(s, "abc", 3, 4, tokens, 32) == THIMBLE_ERROR_ARGUMENT);
      CHECK(thimble_encode(s, "abc", 3, 0, nullptr, 32) == THIMBLE_ERROR_ARGUMENT);
      if (!busy) {
        CHECK(thimble_encode(s, "abc", 3, 0, tokens, 0) == THIMBLE_ERROR_OUTPUT_TOO_SMALL);
      }
      CHECK(look_at(s) == before);
    };

    fail_in_every_way(false);  // fresh
    REQUIRE(thimble_feed(s, text.data(), prompt) == THIMBLE_OK);
    fail_in_every_way(true);  // fed, not started
    while (thimble_step(s, 20000) == THIMBLE_MORE) fail_in_every_way(true);
    fail_in_every_way(false);  // with logits
    uint64_t hash = thimble_logits_hash(s, THIMBLE_HASH_START);
    for (size_t i = prompt; i < text.size(); ++i) {
      feed_pieces(s, &text[i], 1, 1);
      hash = thimble_logits_hash(s, hash);
      fail_in_every_way(false);
    }
    TestSession undisturbed(m.view, {0, 1, "reference", 0, 0});
    CHECK(hash == hash_of_text(undisturbed, text, prompt));
    REQUIRE(thimble_rewind(s, 9) == THIMBLE_OK);
    fail_in_every_way(false);  // gone back
  }
}

TEST_CASE("feed: the context is full exactly at its limit") {
  for (uint32_t n_ctx : {1u, 2u, 15u, 16u, 17u, 45u}) {
    TinyModel m(tiny_shapes()[1].shape, {kWeightQ8, 0, 16});
    const std::vector<int32_t> text = random_tokens(3, n_ctx + 1, m.shape.vocab_size);
    // In one piece, and one by one.
    TestSession whole(m.view, {n_ctx, 64, nullptr, 0, 0}),
        single(m.view, {n_ctx, 1, nullptr, 0, 0});
    CHECK(thimble_context_size(whole) == n_ctx);
    CHECK(thimble_feed(whole, text.data(), n_ctx + 1) == THIMBLE_ERROR_CONTEXT_FULL);
    feed_pieces(whole, text.data(), n_ctx, n_ctx);
    feed_pieces(single, text.data(), n_ctx, 1);
    for (thimble_session* s : {whole.session, single.session}) {
      CHECK(thimble_position(s) == n_ctx);
      CHECK(thimble_feed(s, &text[n_ctx], 1) == THIMBLE_ERROR_CONTEXT_FULL);
      CHECK(thimble_step(s, 0) == THIMBLE_OK);
      CHECK(thimble_position(s) == n_ctx);
    }
    const uint64_t hash = thimble_logits_hash(whole, THIMBLE_HASH_START);
    CHECK(thimble_logits_hash(single, THIMBLE_HASH_START) == hash);
    // One position back, there is room for one again.
    REQUIRE(thimble_rewind(whole, n_ctx - 1) == THIMBLE_OK);
    CHECK(thimble_feed(whole, &text[n_ctx - 1], 2) == THIMBLE_ERROR_CONTEXT_FULL);
    feed_pieces(whole, &text[n_ctx - 1], 1, 1);
    CHECK(thimble_logits_hash(whole, THIMBLE_HASH_START) == hash);
  }
}

TEST_CASE("the hash is FNV-1a 64 over the little-endian bits of the logits") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  TestSession s(m.view);
  feed_pieces(s, text_for(m).data(), 3, 3);
  const float* logits = thimble_logits(s);
  REQUIRE(logits != nullptr);
  uint64_t hash = THIMBLE_HASH_START;
  for (uint32_t i = 0; i < m.shape.vocab_size; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &logits[i], 4);
    for (uint32_t shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (bits >> shift & 0xff)) * UINT64_C(1099511628211);
    }
  }
  CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == hash);
}

TEST_CASE("every status has a text of its own") {
  std::vector<std::string> texts;
  for (int status = THIMBLE_ERROR_READ; status <= THIMBLE_MORE; ++status) {
    texts.emplace_back(thimble_status_text(static_cast<thimble_status>(status)));
  }
  // They lie one behind another: the first, the last, and some of the middle.
  const auto text_of = [](int status) {
    return std::string(thimble_status_text(static_cast<thimble_status>(status)));
  };
  CHECK(text_of(THIMBLE_MORE) == "the pass is not complete");
  CHECK(text_of(THIMBLE_OK) == "good");
  CHECK(text_of(THIMBLE_ERROR_MAGIC) == "not a Thimble model");
  CHECK(text_of(THIMBLE_ERROR_CONFIG) == "a configuration that this model cannot have");
  CHECK(text_of(THIMBLE_ERROR_CONTEXT_FULL) == "the context is full");
  CHECK(text_of(THIMBLE_ERROR_NO_TURNS) == "the model has no turns");
  CHECK(text_of(THIMBLE_ERROR_NOT_FINITE) == "the results are not finite numbers");
  CHECK(text_of(THIMBLE_ERROR_FORGOTTEN) == "the cache has moved beyond it");
  CHECK(text_of(THIMBLE_ERROR_OTHER_MODEL) == "belongs to another model");
  // As far as C++ lets an enumeration of 7 bits go.
  for (const int status : {2, THIMBLE_ERROR_READ - 1, 63, -64}) {
    CHECK(text_of(status) == "an unknown status");
  }
  for (const std::string& text : texts) {
    CHECK(!text.empty());
    CHECK(text.back() != '.');
    CHECK(text.find('\n') == std::string::npos);
    CHECK(std::count(texts.begin(), texts.end(), text) == 1);
  }
}
