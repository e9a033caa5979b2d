// SPDX-License-Identifier: MIT
// Texts without end: attention sinks, and a cache that moves along with the text.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "double_forward.h"
#include "session.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

constexpr size_t kTokens = 131;  // of contexts of up to 40

thimble_config sinks_config(uint32_t n_ctx, uint32_t n_sinks, uint32_t n_batch = 1,
                            const char* isa = nullptr, uint32_t kv_type = THIMBLE_KV_F32) {
  thimble_config config = {n_ctx, n_batch, isa, kv_type};
  config.n_sinks = n_sinks;
  return config;
}

// The hashes behind every token, in pieces of so many.
std::vector<uint64_t> hashes_of(thimble_session* s, const std::vector<int32_t>& text, size_t from,
                                size_t piece, uint64_t budget = 0) {
  std::vector<uint64_t> hashes;
  for (size_t i = from; i < text.size(); i += piece) {
    feed_pieces(s, &text[i], std::min(piece, text.size() - i), piece, budget);
    hashes.push_back(thimble_logits_hash(s, THIMBLE_HASH_START));
  }
  return hashes;
}

std::vector<NamedShape> shapes_with_end() {
  std::vector<NamedShape> shapes = tiny_shapes();
  const auto learned = [](const NamedShape& n) { return n.shape.learned_positions; };
  shapes.erase(std::remove_if(shapes.begin(), shapes.end(), learned), shapes.end());
  return shapes;
}

struct Ring {
  uint32_t n_ctx, n_sinks;
};
constexpr Ring kRings[] = {{33, 4}, {40, 17}, {16, 1}, {24, 23}, {7, 3}};

}  // namespace

TEST_CASE("sinks: up to n_ctx positions the bits are those of a text that ends") {
  for (const NamedShape& named : shapes_with_end()) {
    TinyModel m(named.shape, {kWeightQ8, 32, 16});
    for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      CAPTURE(std::string(named.name));
      std::vector<int32_t> text = random_tokens(5, 33, m.shape.vocab_size);
      TestSession plain(m.view, sinks_config(33, 0, 1, nullptr, kv));
      TestSession endless(m.view, sinks_config(33, 4, 1, nullptr, kv));
      CHECK(hashes_of(plain, text, 0, 1) == hashes_of(endless, text, 0, 1));
      CHECK(thimble_room(plain) == 0);
      CHECK(thimble_room(endless) == 33);
    }
  }
}

TEST_CASE("sinks: within the derived bound of a double forward pass, far beyond the context") {
  for (const NamedShape& named : shapes_with_end()) {
    TinyModel m(named.shape, {kWeightF32, 0, 16});
    const tools::RowSource rows = [&](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols,
                                      float* out) {
      random_row(m.seed, kind, layer, row, cols, out);
    };
    for (const Ring& ring : kRings) {
      CAPTURE(std::string(named.name));
      CAPTURE(ring.n_ctx);
      DoubleForward expected(m.shape, m.layout, rows);
      expected.set_sinks(ring.n_ctx, ring.n_sinks);
      TestSession s(m.view, sinks_config(ring.n_ctx, ring.n_sinks));
      double worst = 0;
      for (int32_t token : random_tokens(9, kTokens, m.shape.vocab_size)) {
        feed_pieces(s, &token, 1, 1);
        const Estimates logits = expected.feed(token);
        for (uint32_t i = 0; i < m.shape.vocab_size; ++i) {
          const double found = static_cast<double>(thimble_logits(s)[i]);
          worst = std::fmax(worst, std::fabs(found - logits[i].value) / logits[i].bound());
        }
      }
      CHECK(worst <= 1);
      CHECK(worst > 0.02);
    }
  }
}

TEST_CASE("sinks: the same bits on every kernel table, batch, way of feeding and budget") {
  const size_t shapes = shapes_with_end().size();
  for (size_t i = 0; i < shapes; ++i) {
    const NamedShape named = shapes_with_end()[i];
    const Ring ring = kRings[i % (sizeof kRings / sizeof kRings[0])];
    for (uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      TinyModel m(named.shape, {i % 2 ? kWeightQ8 : kWeightQ4, 32, 16});
      const std::vector<int32_t> text = random_tokens(3, kTokens, m.shape.vocab_size);
      TestSession one(m.view, sinks_config(ring.n_ctx, ring.n_sinks, 1, "reference", kv));
      const std::vector<uint64_t> expected = hashes_of(one, text, 0, 1);
      for (size_t t = 0; const char* isa = thimble_isa_at(t); ++t) {
        for (uint32_t batch : {1u, 3u, 16u, 1024u}) {
          for (size_t piece : {size_t{1}, size_t{5}, size_t{ring.n_ctx}}) {
            if (t > 0 && (batch != 3 || piece != 5)) continue;
            CAPTURE(std::string(named.name) + " " + isa);
            CAPTURE(batch);
            CAPTURE(piece);
            TestSession s(m.view, sinks_config(ring.n_ctx, ring.n_sinks, batch, isa, kv), 0xa5);
            const std::vector<uint64_t> found = hashes_of(s, text, 0, piece, t == 0 ? 777 : 0);
            for (size_t k = 0; k < found.size(); ++k) {
              REQUIRE(found[k] == expected[std::min((k + 1) * piece, kTokens) - 1]);
            }
            CHECK(thimble_position(s) == kTokens);
          }
        }
      }
    }
  }
}

TEST_CASE("sinks: going back, as far as the cache reaches, and to the start") {
  for (const Ring& ring : kRings) {
    for (const char* name : {"plain", "Gemma 3"}) {
      for (const NamedShape& named : shapes_with_end()) {
        if (named.name != std::string(name)) continue;
        CAPTURE(std::string(name));
        CAPTURE(ring.n_ctx);
        TinyModel m(named.shape, {kWeightQ8, 32, 16});
        const std::vector<int32_t> text = random_tokens(3, kTokens, m.shape.vocab_size);
        const std::vector<int32_t> other = random_tokens(4, kTokens, m.shape.vocab_size);
        TestSession plain(m.view, sinks_config(ring.n_ctx, ring.n_sinks));
        const std::vector<uint64_t> expected = hashes_of(plain, text, 0, 1);
        constexpr uint32_t kBatch = 6;
        TestSession s(m.view, sinks_config(ring.n_ctx, ring.n_sinks, kBatch));
        size_t at = 0, refused = 0;
        while (at + kBatch < kTokens) {
          // A piece, another text behind it, and back to each of its places.
          const uint32_t back = static_cast<uint32_t>(at);
          const size_t n = 1 + at % std::min(kBatch, ring.n_ctx);
          feed_pieces(s, &other[at], n, n);
          for (uint32_t to = back + static_cast<uint32_t>(n); to-- > back;) {
            REQUIRE(thimble_rewind(s, to) == THIMBLE_OK);
          }
          feed_pieces(s, &text[at], n, n);
          at += n;
          REQUIRE(thimble_logits_hash(s, THIMBLE_HASH_START) == expected[at - 1]);
          if (at > ring.n_ctx + 3 * 16 + kBatch) {
            CHECK(thimble_rewind(s, 1) == THIMBLE_ERROR_FORGOTTEN);
            CHECK(thimble_logits_hash(s, THIMBLE_HASH_START) == expected[at - 1]);
            ++refused;
          }
          // A pass that is given up.
          const size_t more = std::min<size_t>(ring.n_ctx, kTokens - at);
          REQUIRE(thimble_feed(s, &other[at], more) == THIMBLE_OK);
          const uint32_t position = thimble_position(s);
          thimble_step(s, 1);
          REQUIRE(thimble_position(s) == position);
          REQUIRE(thimble_rewind(s, position) == THIMBLE_OK);
        }
        CHECK(refused > 0);
        REQUIRE(thimble_rewind(s, 0) == THIMBLE_OK);
        CHECK(hashes_of(s, text, 0, 1) == expected);
      }
    }
  }
}

TEST_CASE("sinks: drawing with a penalty sees the last tokens, wherever the ring is") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16}, true);
  thimble_sampling sampling = {};
  sampling.temperature = 1.0f;
  sampling.repetition_penalty = 1.7f;
  sampling.repetition_window = 200;  // of which 12 are sure to be there
  std::vector<std::vector<int32_t>> texts;
  for (uint32_t batch : {1u, 5u, 64u}) {
    TestSession s(m.view, sinks_config(12, 2, batch));
    std::vector<int32_t> text = {1};
    feed_pieces(s, text.data(), 1, 1);
    while (text.size() < 300) {
      text.push_back(thimble_sample(s, &sampling));
      REQUIRE(text.back() >= 0);
      if (text.size() % 7 == 0) {  // the same again, on the way back
        const uint32_t position = thimble_position(s);
        const std::vector<int32_t> noise(12, 3);
        feed_pieces(s, &text.back(), 1, 1);
        REQUIRE(thimble_feed(s, noise.data(), noise.size()) == THIMBLE_OK);
        REQUIRE(thimble_rewind(s, position) == THIMBLE_OK);
      }
      feed_pieces(s, &text.back(), 1, 1);
    }
    texts.push_back(text);
  }
  CHECK(texts[0] == texts[1]);
  CHECK(texts[0] == texts[2]);
}

TEST_CASE("sinks: the attention hook finds the sinks' weights before the others") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  TestSession s(m.view, sinks_config(20, 3));
  struct Seen {
    uint32_t calls = 0, gaps = 0;
    double worst = 0;
  } seen;
  thimble_on_attention(
      s,
      [](void* user, uint32_t, uint32_t position, uint32_t first, uint32_t, uint32_t n_heads,
         const float* weights, size_t stride) {
        Seen& to = *static_cast<Seen*>(user);
        for (uint32_t h = 0; h < n_heads; ++h) {
          const float* row = weights + h * stride;
          double sum = 0;
          for (uint32_t t = first; t <= position; ++t) sum += static_cast<double>(row[t - first]);
          for (uint32_t i = 0; first > 0 && i < 3; ++i) {
            sum += static_cast<double>(*(row - 3 + i));
          }
          to.worst = std::fmax(to.worst, std::fabs(sum - 1));
        }
        to.calls += 1;
        to.gaps += first > 0;
        if (first > 0 && position + 1 - first != 17) to.worst = 9;
      },
      &seen);
  feed_pieces(s, random_tokens(3, 60, m.shape.vocab_size).data(), 60, 10);
  CHECK(seen.gaps == seen.calls / 60 * 40);
  CHECK(seen.worst < 1e-5);
}

TEST_CASE("sinks: what cannot be is refused") {
  AlignedBlock arena(1 << 20);
  thimble_session* s = nullptr;
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  for (const Ring& ring : {Ring{4, 4}, Ring{4, 5}, Ring{0, 65}, Ring{1, 1}, Ring{0, 0xffffffff}}) {
    const thimble_config config = sinks_config(ring.n_ctx, ring.n_sinks);
    CHECK(thimble_session_bytes(&m.view, &config) == 0);
    CHECK(thimble_session_init(&s, &m.view, &config, arena.data(), arena.size()) ==
          THIMBLE_ERROR_CONFIG);
  }
  for (const NamedShape& named : tiny_shapes()) {
    if (!named.shape.learned_positions) continue;
    TinyModel learned(named.shape, {kWeightF32, 0, 16});
    const thimble_config config = sinks_config(32, 4);
    CHECK(thimble_session_bytes(&learned.view, &config) == 0);
  }
  TestSession good(m.view, sinks_config(8, 2));
  const std::vector<int32_t> text(9, 3);
  CHECK(thimble_feed(good, text.data(), 9) == THIMBLE_ERROR_CONTEXT_FULL);
  CHECK(thimble_feed(good, text.data(), 8) == THIMBLE_OK);
  finish_pass(good);
  CHECK(thimble_feed(good, text.data(), 8) == THIMBLE_OK);
  finish_pass(good);
  CHECK(thimble_position(good) == 16);
}

TEST_CASE("sinks: memory is what thimble.h says, and positions end before their numbers do") {
  TinyModel m(tiny_shapes()[0].shape, {kWeightF32, 0, 16});
  const thimble_config plain = sinks_config(32, 0, 4), endless = sinks_config(32, 4, 4);
  const size_t more =
      thimble_session_bytes(&m.view, &endless) - thimble_session_bytes(&m.view, &plain);
  const size_t position = m.shape.n_layers * m.shape.n_kv_heads * m.shape.head_dim * 8;
  CHECK(more >= 32 * position);  // 16 for 4 sinks, 28 + 4 + 14 for the rest
  CHECK(more <= 32 * position + 16 * 1024);
  TestSession s(m.view, endless);
  const int32_t token = 3;
  feed_pieces(s, &token, 1, 1);
  s.session->position = s.session->cached = kMaxPosition - 2;
  CHECK(thimble_room(s) == 2);
  s.session->position = s.session->cached = kMaxPosition;
  CHECK(thimble_feed(s, &token, 1) == THIMBLE_ERROR_CONTEXT_FULL);
}
