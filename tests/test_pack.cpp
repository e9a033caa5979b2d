// SPDX-License-Identifier: MIT
// Packed texts: any bytes come back as they were, on every table of kernels and however the work is
// cut; what is damaged, cut or of another model ends in a status.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "crc32.h"
#include "eval.h"
#include "odds.h"
#include "pack.h"
#include "range_coder.h"
#include "spelling_model.h"
#include "tiny_adapter.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// How a text is cut on its way: slices, and rooms of output by turns.
struct Cuts {
  uint64_t budget = 0;
  std::vector<size_t> rooms = {4096};
};

// Calls step until it is complete; what it wrote, and the status.
template <class Step>
std::string collect(const Cuts& cuts, thimble_status* status, Step step) {
  std::string all;
  for (size_t turn = 0;; ++turn) {
    const size_t room = cuts.rooms[turn % cuts.rooms.size()];
    std::vector<char> out(room);  // of just that size, so that a sanitizer sees more
    size_t n = room + 1;
    *status = step(cuts.budget, room ? out.data() : nullptr, room, &n);
    REQUIRE(n <= room);
    all.append(out.data(), n);
    if (*status != THIMBLE_MORE) return all;
  }
}

std::string pack(thimble_session* s, const std::string& text, const Cuts& cuts = {}) {
  thimble_pack packing;
  REQUIRE(thimble_pack_begin(&packing, s, text.data(), text.size()) == THIMBLE_OK);
  thimble_status status;
  const std::string packed =
      collect(cuts, &status, [&](uint64_t budget, char* out, size_t room, size_t* n) {
        return thimble_pack_step(&packing, budget, out, room, n);
      });
  REQUIRE(status == THIMBLE_OK);
  return packed;
}

struct Unpacked {
  thimble_status status;
  std::string text;
};

Unpacked unpack(thimble_session* s, const std::string& packed, const Cuts& cuts = {}) {
  const std::vector<char> exact(packed.begin(), packed.end());
  thimble_unpack unpacking;
  size_t text_bytes = 7;
  Unpacked u = {thimble_unpack_begin(&unpacking, s, exact.data(), exact.size(), &text_bytes), ""};
  if (u.status != THIMBLE_OK) {
    CHECK(text_bytes == 0);
    return u;
  }
  u.text = collect(cuts, &u.status, [&](uint64_t budget, char* out, size_t room, size_t* n) {
    return thimble_unpack_step(&unpacking, budget, out, room, n);
  });
  CHECK(u.text.size() <= text_bytes);
  return u;
}

bool comes_back(thimble_session* s, const std::string& text) {
  const Unpacked u = unpack(s, pack(s, text));
  return u.status == THIMBLE_OK && u.text == text;
}

std::string random_text(uint64_t seed, size_t n, const std::vector<std::string>& of) {
  Random random(seed);
  std::string text;
  while (text.size() < n) text += of[random.below(static_cast<uint32_t>(of.size()))];
  return text;
}

std::string random_bytes(uint64_t seed, size_t n) {
  Random random(seed);
  std::string bytes;
  for (size_t i = 0; i < n; ++i) bytes += static_cast<char>(random.below(256));
  return bytes;
}

// Texts that tokenizers get wrong, and what is no text.
std::vector<std::string> odd_texts() {
  using namespace std::string_literals;
  const std::string mark = "<|endoftext|>";
  std::vector<std::string> texts = {
      "",
      "a",
      " ",
      "  ",
      " a",
      "   a  b ",
      "\n",
      "abc\n\n\r\n\tde",
      "\0"s,
      "a\0b\0\0c"s,
      "\xff",
      "ab\xc3",
      "\xc3\xa9 caf\xc3\xa9",
      "\xe2\x96\x81 a\xe2\x96\x81z",  // SentencePiece's mark for a space
      "\xef\xbf\xbd",                 // U+FFFD itself
      "\xed\xa0\x80 \xf4\x90\x80\x80 \xc0\x80",
      "</s><s>[INST]",
      mark,
      mark + "\n",
      mark + mark + "\n\n" + mark,
      "a" + mark + "\n b" + mark + "\nc" + mark + "\n\n\nd" + mark,
      mark.substr(0, 12),
      "<" + mark + ">",
      "a" + mark + std::string(300, '\n') + "b",
      std::string(400, 'a'),
      std::string(400, '\xe9'),
      std::string(300, ' '),
      random_bytes(1, 1),
      random_bytes(2, 300),
      random_bytes(3, 700),
      random_text(4, 300, {"a", "an", " to", " ", "x", "\n", "the "}),
      random_text(5, 300, {"a", "\xc3\xa9", "\xf0\x9f\x98\x80", " ", "in", "\x01", "A"}),
      random_text(6, 300, {"in", " se", mark, "\n", " "})};
  return texts;
}

// Llama with all byte tokens and with two, GPT-2 with letters only, one without any control token.
std::vector<SpellingModel> spelling_models() {
  tools::Vocabulary letters = tiny_byte_vocabulary(54);
  tools::Vocabulary bare = letters;
  bare.texts[0] = "_";
  bare.types[0] = kTokenNormal;
  bare.bos_id = bare.eos_id = -1;
  std::vector<SpellingModel> models;
  models.reserve(4);
  models.emplace_back(spelling_shape("plain", 400), tiny_vocabulary(400));
  models.emplace_back(spelling_shape("Gemma 3", 64), tiny_vocabulary(64));
  models.emplace_back(spelling_shape("GPT-2", 54), letters);
  models.emplace_back(spelling_shape("Mistral", 54), bare);
  return models;
}

thimble_config config_of(uint32_t n_ctx, uint32_t n_batch = 1, const char* isa = nullptr,
                         uint32_t kv_type = THIMBLE_KV_F32, uint32_t n_sinks = 0) {
  thimble_config config{};
  config.n_ctx = n_ctx;
  config.n_batch = n_batch;
  config.isa = isa;
  config.kv_type = kv_type;
  config.n_sinks = n_sinks;
  return config;
}

// What the model writes itself: tokens that it expects, so that few are escaped.
std::string likely_text(const thimble_model& model, uint64_t seed, size_t n_tokens) {
  TestSession s(model, config_of(60));
  thimble_sampling sampling{};
  sampling.temperature = 0.7f;
  sampling.seed = seed;
  thimble_decoder decoder{};
  std::string text;
  int32_t token = std::max(model.bos_id, 0);
  for (size_t i = 0; i < n_tokens; ++i) {
    if (thimble_room(s) == 0) expect_ok(thimble_rewind(s, 0), "rewind");
    feed_pieces(s, &token, 1, 1);
    token = thimble_sample(s, &sampling);
    char out[64];
    const int32_t n = thimble_decode(&model, &decoder, token, out, sizeof out);
    REQUIRE(n >= 0);
    text.append(out, static_cast<size_t>(n));
  }
  return text;
}

}  // namespace

TEST_CASE("range coder: what is coded comes back, in the fewest bytes, carries included") {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    struct Coded {
      Share share;
      uint64_t total;
    };
    std::vector<Coded> coded;
    for (uint32_t i = random.below(60); i > 0; --i) {
      const uint64_t total = 1 + (random.next() >> (13 + random.below(51)));
      Share share = {random.next() % total, 1};
      if (random.below(2)) share.size = 1 + random.next() % (total - share.first);
      // Near the end of its range a message meets runs of 255 and their carries.
      if (random.below(2)) share = {total - 1, 1};
      coded.push_back({share, total});
    }
    RangeEncoder e;
    encoder_start(&e);
    std::string bytes;
    const auto take = [&] {
      uint8_t out[3];
      while (e.has_ready) {
        const size_t n = encoder_take(&e, out, 1 + seed % 3);
        bytes.append(reinterpret_cast<const char*>(out), n);
      }
    };
    for (const Coded& c : coded) {
      encode_share(&e, c.share, c.total);
      for (take(); encoder_is_narrow(e); take()) encoder_shift(&e);
    }
    const uint32_t n_shifts = encoder_end(&e);
    take();
    for (uint32_t i = 0; i < n_shifts; ++i, take()) encoder_shift(&e);
    encoder_release(&e);
    take();

    double bits = 0;
    RangeDecoder d;
    decoder_start(&d, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    for (const Coded& c : coded) {
      const uint64_t value = decoded_value(d, c.total);
      REQUIRE(value - c.share.first < c.share.size);
      decode_share(&d, c.share, c.total);
      bits += std::log2(static_cast<double>(c.total) / static_cast<double>(c.share.size));
    }
    bool is_exact = false;
    CHECK(decoder_end(d, &is_exact) == bytes.size());
    CHECK(is_exact);
    CHECK(static_cast<double>(bytes.size()) <= bits / 8 * 1.01 + 2);
  }
}

TEST_CASE("odds: every symbol has a share, shares fill the total, and a value finds its own") {
  for (const uint32_t n : {1u, 2u, 97u, 1024u}) {
    Random random(n);
    std::vector<float> logits(n);
    for (float& logit : logits) logit = random.uniform(-60, 10);
    if (n > 2) logits[1] = NAN;
    std::vector<uint32_t> scratch(n);
    Odds odds;
    REQUIRE(odds_of_logits(&odds, *kernels_by_name(""), logits.data(), scratch.data(), n));
    uint64_t first = 0;
    for (uint32_t i = 0; i <= n; ++i) {
      const Share share = share_of(odds, i);
      REQUIRE(share.first == first);
      REQUIRE(share.size >= 1);
      first += share.size;
      for (const uint64_t value : {share.first, first - 1}) {
        Share found;
        REQUIRE(symbol_at(odds, value, &found) == i);
        REQUIRE(found.first == share.first);
        REQUIRE(found.size == share.size);
      }
    }
    CHECK(first == odds.total);
    // The likeliest one pays 2^-9 and a half of that at most.
    const uint32_t best = kernels_by_name("")->argmax(logits.data(), n);
    const double share = static_cast<double>(share_of(odds, best).size);
    CHECK(share / static_cast<double>(odds.total) <= 1.0);
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      std::fill(logits.begin(), logits.end(), bad);
      CHECK_FALSE(odds_of_logits(&odds, *kernels_by_name(""), logits.data(), scratch.data(), n));
    }
    even_odds(&odds, scratch.data(), n);
    CHECK(share_of(odds, 0).size == share_of(odds, n - 1).size);
  }
}

TEST_CASE("odds: of bytes, learnt from those before") {
  ByteOdds odds;
  start_bytes(&odds);
  Random random(3);
  for (int i = 0; i < 9000; ++i) {
    const uint8_t byte = static_cast<uint8_t>(random.below(2) ? random.below(256) : 'e');
    const Share share = share_of_byte(odds, byte);
    for (const uint64_t value : {share.first, share.first + share.size - 1}) {
      Share found;
      REQUIRE(byte_at(odds, static_cast<uint32_t>(value), &found) == byte);
      REQUIRE(found.first == share.first);
      REQUIRE(found.size == share.size);
    }
    learn_byte(&odds, byte);
    REQUIRE(share_of_byte(odds, 255).first + odds.of_byte[255] == odds.total);
    REQUIRE(odds.total <= 1u << 15);
  }
  CHECK(odds.of_byte[uint8_t{'e'}] > odds.total / 3);
}

TEST_CASE(
    "pack: any bytes come back, with every kind of tokenizer, within and beyond the context") {
  for (const SpellingModel& m : spelling_models()) {
    for (const uint32_t n_ctx : {48u, 17u, 2u}) {
      CAPTURE(m.view.vocab_size);
      CAPTURE(n_ctx);
      TestSession s(m.view, config_of(n_ctx, n_ctx == 17 ? 5 : 1));
      for (const std::string& text : odd_texts()) {
        CAPTURE(text);
        REQUIRE(comes_back(s, text));
      }
      REQUIRE(comes_back(s, likely_text(m.view, n_ctx, 100)));
    }
  }
}

TEST_CASE("pack: packed on one table of kernels, unpacked on another, in slices: the same bytes") {
  for (const SpellingModel& m : spelling_models()) {
    const std::string text =
        odd_texts()[4] + random_text(9, 150, {"in", " to", " ", "z", "\xc3\xa9"}) +
        likely_text(m.view, 1, 60) + "<|endoftext|>\n" + random_text(10, 60, {"an", " x", "\xff"});
    for (const uint32_t kv : {THIMBLE_KV_F32, THIMBLE_KV_Q8}) {
      TestSession reference(m.view, config_of(40, 1, "reference", kv));
      const std::string packed = pack(reference, text);
      for (size_t i = 0; const char* isa = thimble_isa_at(i); ++i) {
        CAPTURE(std::string(isa));
        thimble_config config = config_of(40, static_cast<uint32_t>(1 + i), isa, kv);
        config.n_draft = i % 2 ? 3 : 0;
        TestSession s(m.view, config, 0xa5);
        const int32_t before[] = {3, 5, 7};
        feed_pieces(s, before, 3, 3);  // is forgotten
        const Cuts cuts[] = {{0, {1}}, {1000, {4096}}, {300, {0, 1, 2, 0, 7}}, {0, {0, 3}}};
        for (const Cuts& cut : cuts) {
          REQUIRE(pack(s, text, cut) == packed);
          const Unpacked u = unpack(s, packed, cut);
          REQUIRE(u.status == THIMBLE_OK);
          REQUIRE(u.text == text);
        }
      }
    }
  }
}

TEST_CASE("pack: with sinks a text goes on, beyond the context too") {
  const SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  TestSession s(m.view, config_of(24, 3, nullptr, THIMBLE_KV_Q8, 4));
  TestSession ending(m.view, config_of(24, 1, nullptr, THIMBLE_KV_Q8));
  for (const std::string& text : odd_texts()) REQUIRE(comes_back(s, text));
  REQUIRE(comes_back(s, likely_text(m.view, 2, 100)));
  const std::string text = random_text(8, 200, {"an", " to", "e"});
  CHECK(unpack(ending, pack(s, text)).status == THIMBLE_ERROR_OTHER_LAYOUT);
  CHECK(unpack(s, pack(ending, text)).status == THIMBLE_ERROR_OTHER_LAYOUT);
  // A text that fits into the context is the same in both.
  CHECK(pack(s, "an toe") == pack(ending, "an toe"));
  CHECK(unpack(s, pack(ending, "an toe")).text == "an toe");
}

TEST_CASE("pack: what a text is packed with is named, and asked for") {
  const tools::ModelShape shape = spelling_shape("plain", 400);
  const tools::Vocabulary vocabulary = tiny_vocabulary(400);
  const SpellingModel m(shape, vocabulary), other(shape, vocabulary, 2);
  TestSession s(m.view, config_of(40)), elsewhere(other.view, config_of(40));
  TestSession q8(m.view, config_of(40, 1, nullptr, THIMBLE_KV_Q8));
  TestSession longer(m.view, config_of(64)), shorter(m.view, config_of(20)),
      shortest(m.view, config_of(2));
  const std::string text = "an to in", long_text = random_text(7, 90, {"an", "in", "se"});
  const std::string packed = pack(s, text), long_packed = pack(s, long_text);
  CHECK(packed.size() <= 8 + text.size() * 2);
  CHECK(unpack(elsewhere, packed).status == THIMBLE_ERROR_OTHER_MODEL);
  CHECK(unpack(q8, packed).status == THIMBLE_ERROR_OTHER_LAYOUT);
  CHECK(unpack(longer, packed).text == text);
  CHECK(unpack(shorter, packed).text == text);
  CHECK(unpack(longer, long_packed).text == long_text);
  CHECK(unpack(shorter, long_packed).status == THIMBLE_ERROR_OTHER_LAYOUT);
  // As few bytes as may need a longer context, which they do.
  const std::string between = pack(longer, long_text.substr(0, 50));
  CHECK((between[0] & kPackedWindow) == 0);
  CHECK(unpack(shortest, between).status == THIMBLE_ERROR_OTHER_LAYOUT);

  // The same weights in another layout are the same model, if it has a self-test to say so.
  const SpellingModel tall(shape, vocabulary, 1, true, 16), flat(shape, vocabulary, 1, true, 4);
  TestSession from(tall.view, config_of(40)), to(flat.view, config_of(40));
  CHECK(unpack(to, pack(from, text)).text == text);
  CHECK(pack(to, long_text) == pack(from, long_text));
}

TEST_CASE("pack: with an adapter") {
  const SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  const TinyAdapter adapter(m.view, 3, kLoraMatrices);
  thimble_config config = config_of(40);
  config.lora_rank = 3;
  TestSession adapted(m.view, config), plain(m.view, config);
  REQUIRE(thimble_session_lora(adapted, &adapter.view) == THIMBLE_OK);
  const std::string text = "an to in the end";
  CHECK(unpack(adapted, pack(adapted, text)).text == text);
  CHECK(unpack(plain, pack(adapted, text)).status == THIMBLE_ERROR_OTHER_ADAPTER);
  CHECK(unpack(adapted, pack(plain, text)).status == THIMBLE_ERROR_OTHER_ADAPTER);
}

TEST_CASE("unpack: cut, lengthened or damaged anywhere it ends in a status") {
  const std::vector<SpellingModel> models = spelling_models();
  for (const SpellingModel& m : models) {
    CAPTURE(m.view.vocab_size);
    TestSession s(m.view, config_of(20));
    for (const std::string& text :
         {std::string("an to in"), std::string(), std::string("z\xff<|endoftext|>\nan"),
          random_text(11, 60, {"in", " to", "\xc3\xa9"})}) {
      const std::string packed = pack(s, text);
      for (size_t n = 0; n < packed.size(); ++n) {
        CAPTURE(n);
        CHECK(unpack(s, packed.substr(0, n)).status < 0);
      }
      for (const char more : {'\0', 'x'}) CHECK(unpack(s, packed + more).status < 0);
      for (size_t bit = 0; bit < 8 * packed.size(); ++bit) {
        std::string damaged = packed;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        CAPTURE(bit);
        CHECK(unpack(s, damaged).status < 0);
      }
    }
    // Right at the start, and anything behind it.
    for (uint64_t seed = 1; seed <= 100; ++seed) {
      const std::string bytes = pack(s, "an").substr(0, 3) + random_bytes(seed, seed % 40);
      CHECK(unpack(s, bytes).status < 0);
      CHECK(unpack(s, random_bytes(seed, seed % 40)).status < 0);
    }
    CHECK(comes_back(s, "and it works on"));
  }
}

TEST_CASE("unpack: the header's fields") {
  const SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  TestSession s(m.view, config_of(20));
  const std::string packed = pack(s, "an");
  REQUIRE(packed.size() > 8);
  PackedHeader h;
  const auto read = [&](const std::string& bytes) {
    return read_packed_header(&h, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  };
  REQUIRE(read(packed) == THIMBLE_OK);
  CHECK(h.flags == 0);
  CHECK(h.model == model_name(m.view));
  CHECK(h.text_bytes == 2);
  CHECK(h.bytes == 8);
  const std::string text = "an";
  CHECK(h.crc == crc32(crc32(0, packed.data(), 4), text.data(), 2));
  const std::string name = packed.substr(1, 2), rest(9, 'x');
  const auto with = [&](char kind, const std::string& behind) {
    return kind + name + behind + rest;
  };
  CHECK(read("") == THIMBLE_ERROR_TRUNCATED);
  CHECK(read("Q" + packed) == THIMBLE_OK);  // a flag
  CHECK(read("`" + packed.substr(1)) == THIMBLE_ERROR_MAGIC);
  CHECK(read(with('\x58', "\2")) == THIMBLE_ERROR_HEADER);  // a reserved bit
  CHECK(read(with('\x50', std::string("\x80\0", 2))) ==
        THIMBLE_ERROR_HEADER);  // 128 ends it: not the shortest
  CHECK(read(with('\x50', "\xff\xff\xff\xff\x10")) == THIMBLE_ERROR_HEADER);  // beyond 32 bits
  REQUIRE(read(with('\x50', "\xff\xff\xff\xff\x0f")) == THIMBLE_OK);
  CHECK(h.text_bytes == UINT32_MAX);
  REQUIRE(read(with('\x52', "\x90\x03\x14\x04")) == THIMBLE_OK);
  CHECK(h.text_bytes == 400);
  CHECK(h.n_ctx == 20);
  CHECK(h.n_sinks == 4);
}

TEST_CASE("pack: what the calls refuse") {
  const SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  TestSession s(m.view, config_of(20)), one(m.view, config_of(1));
  thimble_config few = config_of(20);
  few.n_candidates = 4;
  TestSession candidates(m.view, few);
  const TinyModel mute(tiny_shape(32, 64, 2, 4, 2, 8, 64, 64, true), {kWeightQ8, 32, 16});
  TestSession silent(mute.view, config_of(20));
  thimble_pack p;
  thimble_unpack u;
  char out[8];
  size_t n;
  CHECK(thimble_pack_begin(nullptr, s, "a", 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_begin(&p, nullptr, "a", 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_begin(&p, s, nullptr, 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_begin(&p, candidates, "a", 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_begin(&p, one, "a", 1) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_begin(&p, silent, "a", 1) == THIMBLE_ERROR_NO_TOKENIZER);
  CHECK(thimble_unpack_begin(&u, s, nullptr, 1, &n) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_unpack_begin(&u, s, "", 0, nullptr) == THIMBLE_ERROR_TRUNCATED);
  CHECK(thimble_unpack_step(&u, 0, out, 8, &n) == THIMBLE_ERROR_TRUNCATED);  // and stays so
  REQUIRE(thimble_pack_begin(&p, s, "an to", 5) == THIMBLE_OK);
  CHECK(thimble_pack_step(&p, 0, nullptr, 1, &n) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_step(&p, 0, out, 8, nullptr) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_pack_step(&p, 1, out, 8, &n) == THIMBLE_MORE);
  CHECK(thimble_pack_step(&p, 1, out, 8, &n) == THIMBLE_MORE);
  CHECK(thimble_unpack_begin(&u, s, "P", 1, &n) == THIMBLE_ERROR_BUSY);
  CHECK(thimble_rewind(s, 0) == THIMBLE_OK);
  const std::string packed = pack(s, "an");
  CHECK(thimble_unpack_begin(&u, s, packed.data(), packed.size(), &n) == THIMBLE_OK);
  CHECK(n == 2);
}

TEST_CASE("pack: weights that lead to no numbers") {
  SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  // Written into a finished image, since no image is built with it.
  const SectionEntry& embedding = section_of(m.view, kTokenEmbedding);
  for (uint64_t i = 0; i < embedding.scales_bytes; i += sizeof(uint16_t)) {
    const uint16_t huge = 0x5f80;  // 2^64
    std::memcpy(m.image.data() + embedding.scales_offset + i, &huge, sizeof huge);
  }
  TestSession s(m.view, config_of(20));
  thimble_pack p;
  char out[64];
  size_t n;
  REQUIRE(thimble_pack_begin(&p, s, "an", 2) == THIMBLE_OK);
  CHECK(thimble_pack_step(&p, 0, out, sizeof out, &n) == THIMBLE_ERROR_NOT_FINITE);
  CHECK(n == 8);
  CHECK(thimble_pack_step(&p, 0, out, sizeof out, &n) == THIMBLE_ERROR_NOT_FINITE);
}

TEST_CASE("pack: what the model does not expect takes about as many bytes as it has, at most") {
  const SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  TestSession s(m.view, config_of(40));
  const std::string bytes = random_bytes(4, 2000);
  CHECK(pack(s, bytes).size() < bytes.size() * 11 / 10);
  std::string hex;
  for (const char byte : bytes) hex += "0123456789abcdef"[byte & 15];
  CHECK(pack(s, hex).size() < hex.size() * 6 / 10);
}

TEST_CASE(
    "pack: costs what eval says at most, and 0.02 bits a byte at most beyond it and the header") {
  const SpellingModel m(spelling_shape("plain", 400), tiny_vocabulary(400));
  TestSession s(m.view, config_of(64));
  const std::string text = random_text(12, 80, {"an", "to", "in", "se"});
  const tools::Score score =
      tools::score_records(s, m.view, {text}, tools::BehindContext::kCut, nullptr);
  REQUIRE(score.bytes == text.size());
  const double expected = score.nll / std::log(2.0);
  const double found = 8.0 * static_cast<double>(pack(s, text).size());
  CHECK(found <= expected + 0.02 * 80 + 64 + 8);
}
