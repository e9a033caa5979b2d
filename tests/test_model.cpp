// SPDX-License-Identifier: MIT
// thimble_model_open refuses everything that it cannot vouch for, and what it accepts is safe to
// run. Images lie in heap blocks of exactly their size, so that a sanitizer sees every over-read.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "crc32.h"
#include "kernels/kernels.h"
#include "model.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;

namespace {

// What a byte is changed by (exclusive or).
constexpr uint8_t kChanges[] = {0x01, 0x40, 0x80, 0xff};

// About 4 KB with every kind of section.
TinyModel smallest_model(tools::WeightLayout layout = {kWeightF32, 0, 4}) {
  return TinyModel(tiny_shape(4, 6, 1, 2, 1, 2, 12, 16, false), layout, true, 1, true);
}

// Space for an image that may be changed.
AlignedBlock copy_of(const TinyModel& m) {
  return AlignedBlock(m.image.data(), m.image.size());
}

FileHeader* header(AlignedBlock& image) {
  return reinterpret_cast<FileHeader*>(image.data());
}
SectionEntry* sections(AlignedBlock& image) {
  return reinterpret_cast<SectionEntry*>(image.data() + sizeof(FileHeader));
}

// Makes the header's checksum right again, so that only the other checks can refuse.
void fix_header_crc(AlignedBlock& image) {
  FileHeader* h = header(image);
  h->header_crc = 0;
  h->header_crc = crc32(0, image.data(), std::min<size_t>(h->header_bytes, image.size()));
}

thimble_status open(thimble_model* model, const AlignedBlock& image) {
  return thimble_model_open(model, image.data(), image.size());
}

// A refusal says what, found and expected, inside the image, and leaves nothing to work with.
bool is_refused(const thimble_model& model, thimble_status found, thimble_status expected) {
  return found == expected && model.image == nullptr && model.fault.what != nullptr &&
         model.fault.what[0] != '\0' && model.fault.found != model.fault.expected;
}

std::string describe(thimble_status status, const thimble_model& model) {
  return std::to_string(status) + " (" + (model.fault.what ? model.fault.what : "no fault") +
         " found " + std::to_string(model.fault.found) + " expected " +
         std::to_string(model.fault.expected) + " at " + std::to_string(model.fault.offset) + ")";
}

#define REQUIRE_REFUSED(image, status)                                             \
  do {                                                                             \
    thimble_model model_;                                                          \
    const thimble_status found_ = open(&model_, image);                            \
    REQUIRE_MESSAGE(is_refused(model_, found_, status), describe(found_, model_)); \
  } while (0)

// What a header whose byte at `offset` was damaged must be refused with.
thimble_status status_of_damage(size_t offset) {
  if (offset < offsetof(FileHeader, version)) return THIMBLE_ERROR_MAGIC;
  if (offset < offsetof(FileHeader, byte_order)) return THIMBLE_ERROR_VERSION;
  if (offset < offsetof(FileHeader, header_bytes)) return THIMBLE_ERROR_BYTE_ORDER;
  if (offset < offsetof(FileHeader, header_crc)) return THIMBLE_ERROR_HEADER;
  if (offset < offsetof(FileHeader, file_bytes)) return THIMBLE_ERROR_HEADER_CHECKSUM;
  if (offset < offsetof(FileHeader, data_crc)) return THIMBLE_ERROR_TRUNCATED;
  const size_t n_sections = offsetof(FileHeader, n_sections);
  if (offset >= n_sections && offset < n_sections + 4) return THIMBLE_ERROR_HEADER;
  return THIMBLE_ERROR_HEADER_CHECKSUM;
}

// ---- Running whatever was accepted
// ---------------------------------------------------------------

bool is_token(const thimble_model& model, int32_t token) {
  return token >= 0 && static_cast<uint32_t>(token) < model.vocab_size;
}

// A session and a few tokens on every kernel table: no crash, and every draw is a token. Returns
// the hashes of the logits, a table each.
std::vector<uint64_t> run_a_little(const thimble_model& model) {
  const thimble_sampling draws[] = {
      {},
      {1.0f, 0, 0, 0, 0, 0, 1, 0},
      {0.7f, 0.9f, 0.05f, 1.3f, 4, 3, 2, 0},
      {100.0f, 0.01f, 1.0f, 100.0f, 256, 1000000, 3, 0},
  };
  std::vector<uint64_t> hashes;
  for (size_t i = 0; kernels_at(i); ++i) {
    const thimble_config config = {std::min(model.n_ctx, 7u), 3, kernels_at(i)->name, 0, 0};
    TestSession s(model, config, 0xff);
    const int32_t last = static_cast<int32_t>(model.vocab_size - 1);
    uint64_t hash = THIMBLE_HASH_START;
    for (const int32_t token : {0, last, last / 2, 0, last / 3}) {
      if (thimble_position(s) == thimble_context_size(s)) break;
      REQUIRE(thimble_feed(s, &token, 1) == THIMBLE_OK);
      REQUIRE(thimble_step(s, 0) == THIMBLE_OK);
      hash = thimble_logits_hash(s, hash);
      for (const thimble_sampling& sampling : draws) {
        const int32_t drawn = thimble_sample(s, &sampling);
        const bool is_good = is_token(model, drawn) || drawn == THIMBLE_ERROR_NOT_FINITE;
        REQUIRE(is_good);
      }
    }
    hashes.push_back(hash);
  }
  return hashes;
}

// The self-test of an accepted image, whatever it finds.
void run_self_test(const thimble_model& model) {
  TestSession s(model, {std::min(model.n_ctx, 8u), 3, nullptr, 0, 0});
  thimble_self_test_report report = {};
  const thimble_status status = thimble_self_test(s, 0, &report);
  if (status == THIMBLE_ERROR_NO_SELF_TEST || status == THIMBLE_ERROR_CONTEXT_FULL) return;
  REQUIRE((status != THIMBLE_ERROR_SELF_TEST) == (report.layer == -1));
  REQUIRE(report.layer <= static_cast<int32_t>(model.n_layers));
  REQUIRE(thimble_position(s) == 0);
}

// The tokenizer of an accepted image: any tokens, any text.
void encode_and_decode(const thimble_model& model) {
  TestSession s(model, {std::min(model.n_ctx, 2u), 1, nullptr, 0, 0});
  const std::string text = "ab  an se\x01 \xc3\xa9 zz\xff";
  std::vector<int32_t> tokens(text.size() + 2);
  const int32_t n =
      thimble_encode(s, text.data(), text.size(), THIMBLE_ENCODE_BOS, tokens.data(), tokens.size());
  REQUIRE(n >= 0);
  for (int32_t i = 0; i < n; ++i) REQUIRE(is_token(model, tokens[static_cast<size_t>(i)]));
  thimble_decoder decoder = {};
  std::vector<char> out(3 * model.max_token_bytes + 3);
  for (uint32_t token = 0; token < std::min(model.vocab_size, 300u); ++token) {
    REQUIRE(thimble_decode(&model, &decoder, static_cast<int32_t>(token), out.data(), out.size()) >=
            0);
  }
}

}  // namespace

// ---- Good images -----------------------------------------------------------------------------

namespace {

// Written down apart from count_parameters and the section table.
uint64_t parameters_of(const tools::ModelShape& s) {
  const uint64_t q = s.n_heads * s.head_dim, kv = s.n_kv_heads * s.head_dim;
  const uint64_t up = s.hidden_dim * (s.gated ? 2 : 1);
  const uint64_t norm = s.dim * (s.norm == kNormLayer ? 2 : 1);
  const auto bias = [&](uint32_t bit, uint64_t n) { return s.biases & bit ? n : 0; };
  const uint64_t attention = (q + 2 * kv) * s.dim + bias(kBiasQkv, q + 2 * kv) + q * s.dim +
                             bias(kBiasAttentionOutput, s.dim) + (s.qk_norm ? 2 * s.head_dim : 0);
  const uint64_t feed_forward = up * s.dim + bias(kBiasFeedForwardIn, up) + s.hidden_dim * s.dim +
                                bias(kBiasFeedForwardDown, s.dim);
  const uint64_t layer = attention + feed_forward + norm * (s.norm_after ? 4 : 2);
  const uint64_t embeddings =
      s.vocab_size * s.dim * (s.tied_head ? 1 : 2) + (s.learned_positions ? s.n_ctx * s.dim : 0);
  return embeddings + s.n_layers * layer + norm;
}

}  // namespace

TEST_CASE("open: the view says what the header says, for every shape and layout") {
  for (const NamedShape& named : tiny_shapes()) {
    for (uint32_t tile : {1u, 2u, 4u, 8u, 16u}) {
      for (const tools::WeightLayout& layout : all_weight_types(tile)) {
        CAPTURE(std::string(named.name));
        CAPTURE(layout_name(layout));
        TinyModel m(named.shape, layout, true);
        const tools::ModelShape& s = named.shape;
        CHECK(m.view.image == m.image.data());
        CHECK(m.view.image_bytes == m.image.size());
        CHECK(m.view.dim == s.dim);
        CHECK(m.view.hidden_dim == s.hidden_dim);
        CHECK(m.view.n_layers == s.n_layers);
        CHECK(m.view.n_heads == s.n_heads);
        CHECK(m.view.n_kv_heads == s.n_kv_heads);
        CHECK(m.view.head_dim == s.head_dim);
        CHECK(m.view.vocab_size == s.vocab_size);
        CHECK(m.view.n_ctx == s.n_ctx);
        CHECK(m.view.weight_type == static_cast<uint32_t>(layout.type));
        CHECK(m.view.group == layout.group);
        CHECK(m.view.row_tile == tile);
        CHECK(m.view.bos_id == 1);
        CHECK(m.view.eos_id == 2);
        CHECK(m.view.fault.what == nullptr);
        CHECK(m.view.n_params == parameters_of(s));
        CHECK(thimble_model_verify(&m.view) == THIMBLE_OK);
        CHECK(thimble_is_end(&m.view, 1) == 1);
        CHECK(thimble_is_end(&m.view, 2) == 1);
        CHECK(thimble_is_end(&m.view, 3) == 0);
        CHECK(thimble_is_end(&m.view, -1) == 0);
      }
    }
  }
}

TEST_CASE("open: a model without a tokenizer has neither its sections nor its tokens") {
  TinyModel m(tiny_shape(4, 6, 1, 2, 1, 2, 12, 16, true), {kWeightF32, 0, 1}, false);
  CHECK(m.view.max_token_bytes == 0);
  CHECK(m.view.bos_id == -1);
  CHECK(m.view.eos_id == -1);
  CHECK(thimble_is_end(&m.view, -1) == 0);
  TestSession s(m.view);
  int32_t token = 0;
  char out[8];
  thimble_decoder decoder = {};
  CHECK(thimble_encode(s, "a", 1, 0, &token, 1) == THIMBLE_ERROR_NO_TOKENIZER);
  CHECK(thimble_decode(&m.view, &decoder, 0, out, sizeof out) == THIMBLE_ERROR_NO_TOKENIZER);
}

// ---- Damage ------------------------------------------------------------------------------------

TEST_CASE("open: null pointers") {
  TinyModel m = smallest_model();
  thimble_model view = m.view;
  CHECK(thimble_model_open(nullptr, m.image.data(), m.image.size()) == THIMBLE_ERROR_ARGUMENT);
  CHECK(thimble_model_open(&view, nullptr, m.image.size()) == THIMBLE_ERROR_ARGUMENT);
  CHECK(view.image == nullptr);  // as after every refusal, so that nothing goes on with it
  CHECK(thimble_session_bytes(&view, nullptr) == 0);
  CHECK(thimble_model_verify(nullptr) == THIMBLE_ERROR_ARGUMENT);
}

TEST_CASE("open: a refused model gives no session") {
  TinyModel m = smallest_model();
  thimble_model view;
  REQUIRE(thimble_model_open(&view, m.image.data(), m.image.size() - 1) == THIMBLE_ERROR_TRUNCATED);
  AlignedBlock arena(4096);
  thimble_session* session = nullptr;
  CHECK(thimble_session_bytes(&view, nullptr) == 0);
  CHECK(thimble_session_init(&session, &view, nullptr, arena.data(), arena.size()) ==
        THIMBLE_ERROR_ARGUMENT);
  CHECK(session == nullptr);
  CHECK(thimble_model_verify(&view) == THIMBLE_ERROR_ARGUMENT);
}

TEST_CASE("open: every truncation, and trailing bytes") {
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 32, 16}}) {
    TinyModel m = smallest_model(layout);
    for (size_t n = 0; n < m.image.size(); ++n) {
      AlignedBlock cut(m.image.data(), n);
      CAPTURE(n);
      REQUIRE_REFUSED(cut, n == 0 ? THIMBLE_ERROR_MAGIC : THIMBLE_ERROR_TRUNCATED);
    }
    for (size_t more = 1; more <= 130; ++more) {
      AlignedBlock longer(m.image.size() + more);
      std::copy_n(m.image.data(), m.image.size(), longer.data());
      CAPTURE(more);
      REQUIRE_REFUSED(longer, THIMBLE_ERROR_TRUNCATED);
      // A length that the header agrees with is no better.
      header(longer)->file_bytes = longer.size();
      fix_header_crc(longer);
      REQUIRE_REFUSED(longer, THIMBLE_ERROR_TRUNCATED);
    }
    // Nor is a shorter one.
    for (size_t less = 1; less <= 130; ++less) {
      AlignedBlock shorter(m.image.data(), m.image.size() - less);
      header(shorter)->file_bytes = shorter.size();
      fix_header_crc(shorter);
      REQUIRE_REFUSED(shorter, THIMBLE_ERROR_TRUNCATED);
    }
  }
}

TEST_CASE("open: every other value of every byte of the header; every flipped bit of the table") {
  TinyModel m = smallest_model();
  AlignedBlock image = copy_of(m);
  const size_t header_bytes = header(image)->header_bytes;
  REQUIRE(header_bytes > sizeof(FileHeader));
  for (size_t at = 0; at < header_bytes; ++at) {
    const uint8_t good = image.data()[at];
    for (unsigned change = 1; change < 256; ++change) {
      const bool one_bit = (change & (change - 1)) == 0;
      if (at >= sizeof(FileHeader) && !one_bit && change != 0xff) continue;
      image.data()[at] = static_cast<uint8_t>(good ^ change);
      thimble_model model;
      const thimble_status status = open(&model, image);
      REQUIRE_MESSAGE(is_refused(model, status, status_of_damage(at)), at, " ", change, ": ",
                      describe(status, model));
      REQUIRE(model.fault.offset < image.size());
    }
    image.data()[at] = good;
  }
  thimble_model model;
  CHECK(open(&model, image) == THIMBLE_OK);
}

TEST_CASE("open: not a model at all") {
  for (size_t n : {1u, 7u, 8u, 255u, 256u, 4096u}) {
    REQUIRE_REFUSED(AlignedBlock(n, 0), THIMBLE_ERROR_MAGIC);
    REQUIRE_REFUSED(AlignedBlock(n, 0xff), THIMBLE_ERROR_MAGIC);
  }
  const char gguf[64] = "GGUF\x03";
  REQUIRE_REFUSED(AlignedBlock(gguf, sizeof gguf), THIMBLE_ERROR_MAGIC);
}

TEST_CASE("open: another version, the other byte order") {
  TinyModel m = smallest_model();
  for (uint32_t version : {0u, 1u, 3u, 0x01000000u, 0xffffffffu}) {
    AlignedBlock image = copy_of(m);
    header(image)->version = version;
    fix_header_crc(image);
    thimble_model model;
    const thimble_status status = open(&model, image);
    REQUIRE_MESSAGE(is_refused(model, status, THIMBLE_ERROR_VERSION), describe(status, model));
    CHECK(model.fault.found == version);
    CHECK(model.fault.expected == 2);
    CHECK(model.fault.offset == 8);
  }
  // As a big-endian machine would write it: every number of the header swapped.
  AlignedBlock image = copy_of(m);
  for (size_t at = 8; at < 208; at += 4) std::reverse(image.data() + at, image.data() + at + 4);
  thimble_model model;
  const thimble_status status = open(&model, image);
  REQUIRE_MESSAGE(is_refused(model, status, THIMBLE_ERROR_BYTE_ORDER), describe(status, model));
  CHECK(model.fault.found == 0x04030201);
  CHECK(model.fault.expected == 0x01020304);
}

TEST_CASE("open: misaligned by 1 to 63 bytes") {
  TinyModel m = smallest_model();
  for (size_t shift = 1; shift < 64; ++shift) {
    AlignedBlock image(m.image.data(), m.image.size(), shift);
    thimble_model model;
    const thimble_status status = open(&model, image);
    REQUIRE(is_refused(model, status, THIMBLE_ERROR_MISALIGNED));
    CHECK(model.fault.found == shift);
  }
}

// ---- A header that is whole but wrong
// ------------------------------------------------------------

TEST_CASE("open: header fields outside their range, with a right checksum") {
  const thimble_status kHeader = THIMBLE_ERROR_HEADER, kUnsupported = THIMBLE_ERROR_UNSUPPORTED;
  struct Case {
    size_t offset;
    thimble_status status;
    std::vector<uint32_t> values;
  };
  const uint32_t kMost = 0xffffffff;
#define AT(field) offsetof(FileHeader, field)
  const std::vector<Case> cases = {
      {AT(flags), kUnsupported, {1, 2, 0x80000000}},
      {AT(dim), kHeader, {0, kMaxDim + 1, kMost}},
      {AT(hidden_dim), kHeader, {0, kMaxHiddenDim + 1, kMost}},
      {AT(n_layers), kHeader, {0, kMaxLayers + 1, kMost}},
      {AT(n_heads), kHeader, {0, kMaxHeads + 1, kMost}},
      {AT(n_kv_heads), kHeader, {0, 3, kMost}},
      {AT(head_dim), kHeader, {0, 1, 3, kMaxHeadDim + 1, kMaxHeadDim + 2, kMost}},
      {AT(vocab_size), kHeader, {0, kMaxVocab + 1, kMost}},
      {AT(n_ctx), kHeader, {0, kMaxContext + 1, kMost}},
      {AT(norm), kUnsupported, {2, kMost}},
      {AT(norm_after), kUnsupported, {2, kMost}},
      {AT(parallel), kUnsupported, {2, kMost}},
      {AT(qk_norm), kUnsupported, {2, kMost}},
      {AT(learned_positions), kUnsupported, {2, kMost}},
      {AT(activation), kUnsupported, {4, kMost}},
      {AT(gated), kUnsupported, {2, kMost}},
      {AT(n_ropes), kUnsupported, {0, kMaxRopes + 1, kMost}},
      {AT(has_windows), kUnsupported, {2, kMost}},
      {AT(tied_head), kUnsupported, {2, kMost}},
      {AT(biases), kUnsupported, {16, 0x80000000}},
      {AT(weight_type), kUnsupported, {3, kMost}},
      {AT(q8_matrices), kHeader, {1, kKnownMatrices, kMost}},  // there are no q4 weights
      {AT(row_tile), kHeader, {0, 3, 5, 12, 17, 32, kMost}},
      {AT(group), kHeader, {1, 4, 16, 31, 33, 96, 256, kMost}},
      {AT(tokenizer), kUnsupported, {3, kMost}},
      {AT(tokenizer_flags), kUnsupported, {16, 0x80000000}},
      {AT(pre_tokenizer), kUnsupported, {5, kMost}},
      {AT(pre_tokenizer), kHeader, {1, 4}},
      {AT(n_tokens), kHeader, {0, 13, kMaxVocab + 1, kMost}},
      {AT(turn_bytes), kHeader, {kMaxTurnBytes + 1, kMost}},
      {AT(token_bytes), kHeader, {0, kMaxVocab * 64 + 1, kMost}},
      {AT(max_token_bytes), kHeader, {0, kMaxTokenBytes + 1, kMost}},
      // 0, a denormal, just below, just above, -0, negative, infinities, NaN
      {AT(norm_eps),
       kHeader,
       {0, 1, 0x2b8cbccb, 0x3f800001, 0x80000000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000}},
      {AT(rope_theta),
       kHeader,
       {0, 1, 0x3f7fffff, 0x5368d4a6, 0x80000000, 0xc6000000, 0x7f800000, 0xff800000, 0xffc00000}},
      {AT(score_scale), kHeader, {0, 1, 0x49742401, 0xbf800000, 0x7f800000, 0x7fc00000}},
      {AT(embedding_scale), kHeader, {0, 1, 0x49742401, 0xbf800000, 0x7f800000, 0x7fc00000}},
      {AT(logit_scale), kHeader, {0, 1, 0x49742401, 0xbf800000, 0x7f800000, 0x7fc00000}},
      {AT(logit_cap), kHeader, {0x49742401, 0xbf800000, 0x7f800000, 0x7fc00000}},
  };
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 32, 16}}) {
    TinyModel m = smallest_model(layout);
    AlignedBlock image = copy_of(m);
    for (const Case& c : cases) {
      uint8_t* field = image.data() + c.offset;
      uint32_t good;
      std::memcpy(&good, field, sizeof good);
      for (uint32_t value : c.values) {
        std::memcpy(field, &value, sizeof value);
        fix_header_crc(image);
        thimble_model model;
        const thimble_status status = open(&model, image);
        REQUIRE_MESSAGE(is_refused(model, status, c.status), "offset ", c.offset, " value ", value,
                        ": ", describe(status, model));
        CHECK(model.fault.found == value);
        CHECK_MESSAGE(model.fault.offset == c.offset, describe(status, model));
      }
      std::memcpy(field, &good, sizeof good);
    }
    fix_header_crc(image);
    thimble_model model;
    CHECK(open(&model, image) == THIMBLE_OK);
  }
#undef AT
}

TEST_CASE("open: beginning and end tokens outside the vocabulary") {
  TinyModel m = smallest_model();
  for (size_t offset : {offsetof(FileHeader, bos_id), offsetof(FileHeader, eos_id),
                        offsetof(FileHeader, end_of_turn_id)}) {
    for (int32_t id : {-1, 0, 11, -2, 12, 13, INT32_MAX, INT32_MIN}) {
      AlignedBlock image = copy_of(m);
      std::memcpy(image.data() + offset, &id, sizeof id);
      fix_header_crc(image);
      thimble_model model;
      const thimble_status status = open(&model, image);
      CAPTURE(id);
      if (id >= -1 && id < 12) {
        CHECK(status == THIMBLE_OK);
      } else {
        CHECK_MESSAGE(is_refused(model, status, THIMBLE_ERROR_HEADER), describe(status, model));
        CHECK(model.fault.offset == offset);
        CHECK(static_cast<int64_t>(model.fault.found) == id);
      }
    }
  }
}

TEST_CASE("open: reserved bytes that are not zero") {
  TinyModel m = smallest_model();
  AlignedBlock image = copy_of(m);
  for (size_t i = 0; i < sizeof(FileHeader::reserved); ++i) {
    for (unsigned value : {1u, 0x80u, 0xffu}) {
      header(image)->reserved[i] = static_cast<uint8_t>(value);
      fix_header_crc(image);
      thimble_model model;
      const thimble_status status = open(&model, image);
      REQUIRE(is_refused(model, status, THIMBLE_ERROR_UNSUPPORTED));
      REQUIRE(model.fault.found == value);
      REQUIRE(model.fault.offset == offsetof(FileHeader, reserved) + i);
    }
    header(image)->reserved[i] = 0;
  }
}

TEST_CASE("open: header fields that contradict each other or the sections") {
  TinyModel m = smallest_model({kWeightQ8, 32, 16});
  const auto refused = [&](thimble_status expected, void (*change)(FileHeader*)) {
    AlignedBlock image = copy_of(m);
    change(header(image));
    fix_header_crc(image);
    thimble_model model;
    const thimble_status status = open(&model, image);
    CHECK_MESSAGE(is_refused(model, status, expected), describe(status, model));
  };
  const thimble_status kHeader = THIMBLE_ERROR_HEADER, kSection = THIMBLE_ERROR_SECTION;
  // Heads.
  refused(kHeader, [](FileHeader* h) { h->n_heads = 3, h->n_kv_heads = 2; });
  refused(kHeader, [](FileHeader* h) { h->n_heads = 1024, h->head_dim = 66; });
  refused(kHeader, [](FileHeader* h) { h->n_heads = 66, h->n_kv_heads = 66, h->head_dim = 1024; });
  // Each number that shapes a tensor, one more or less: the parameters no longer add up.
  refused(kHeader, [](FileHeader* h) { h->dim += 1; });
  refused(kHeader, [](FileHeader* h) { h->hidden_dim -= 1; });
  refused(kHeader, [](FileHeader* h) { h->n_layers += 1; });
  refused(kHeader, [](FileHeader* h) { h->n_heads += 1; });
  refused(kHeader, [](FileHeader* h) { h->n_kv_heads += 1; });
  refused(kHeader, [](FileHeader* h) { h->head_dim += 2; });
  refused(kHeader, [](FileHeader* h) { h->vocab_size += 1; });
  refused(kHeader, [](FileHeader* h) { h->norm = kNormLayer; });
  refused(kHeader, [](FileHeader* h) { h->norm_after = 1; });
  refused(kHeader, [](FileHeader* h) { h->biases = kBiasQkv; });
  refused(kHeader, [](FileHeader* h) { h->qk_norm = 1; });
  refused(kHeader, [](FileHeader* h) { h->learned_positions = 1; });
  refused(kHeader, [](FileHeader* h) { h->gated = 0; });
  refused(kHeader, [](FileHeader* h) { h->tied_head = 1; });
  refused(kHeader, [](FileHeader* h) { h->n_params += 1; });
  refused(kHeader, [](FileHeader* h) { h->n_params = UINT64_MAX; });
  // Everything at its limit: products must not overflow on the way to the refusal.
  refused(kHeader, [](FileHeader* h) {
    h->dim = kMaxDim, h->hidden_dim = kMaxHiddenDim, h->n_layers = kMaxLayers;
    h->n_heads = h->n_kv_heads = 1024, h->head_dim = 64;
    h->vocab_size = kMaxVocab, h->n_ctx = kMaxContext;
  });
  // Parameters that add up again do not help: the sections have other shapes.
  refused(kSection, [](FileHeader* h) { h->vocab_size += 1, h->n_params += 2 * h->dim; });
  refused(kSection, [](FileHeader* h) { h->hidden_dim += 1, h->n_params += 3 * h->dim; });
  refused(kSection, [](FileHeader* h) { h->tied_head = 1, h->n_params -= h->vocab_size * h->dim; });
  // Wider heads, but fewer: queries stay as wide, keys and values gain 2 rows of 4 weights each.
  refused(kSection, [](FileHeader* h) { h->n_heads = 1, h->head_dim = 4, h->n_params += 16; });
  // Tables that are not there.
  refused(kSection, [](FileHeader* h) { h->has_windows = 1; });
  refused(kSection, [](FileHeader* h) { h->n_ropes = 2; });
  // Storage.
  refused(kSection, [](FileHeader* h) { h->row_tile = 8; });
  refused(kSection, [](FileHeader* h) { h->group = 64; });
  refused(kSection, [](FileHeader* h) { h->group = 0; });
  refused(kSection, [](FileHeader* h) { h->weight_type = kWeightF32, h->group = 0; });
  refused(kHeader, [](FileHeader* h) { h->weight_type = kWeightF32; });
  // The table's own length.
  refused(kHeader, [](FileHeader* h) { h->n_sections -= 1; });
  refused(kHeader, [](FileHeader* h) { h->n_sections += 1; });
  refused(kHeader, [](FileHeader* h) { h->n_sections = 0xffffffff; });
  refused(kHeader, [](FileHeader* h) { h->header_bytes -= 64; });
  refused(kHeader, [](FileHeader* h) { h->header_bytes = 0; });
  refused(kHeader, [](FileHeader* h) { h->header_bytes = 255; });
  refused(kHeader, [](FileHeader* h) { h->header_bytes = 0xffffffff; });
  refused(kHeader, [](FileHeader* h) { h->header_bytes = 320, h->n_sections = 1u << 26; });
  refused(kSection, [](FileHeader* h) { h->n_sections -= 1, h->header_bytes -= 64; });
  refused(kSection, [](FileHeader* h) { h->n_sections += 1, h->header_bytes += 64; });
  refused(kSection, [](FileHeader* h) { h->n_sections = 0, h->header_bytes = 320; });
  // The tokenizer's fields.
  refused(kHeader, [](FileHeader* h) { h->tokenizer = kTokenizerNone; });
  refused(kSection, [](FileHeader* h) {
    h->tokenizer = kTokenizerNone, h->tokenizer_flags = h->token_bytes = h->max_token_bytes = 0;
    h->turn_bytes = 0;
  });
  refused(kHeader, [](FileHeader* h) {
    h->tokenizer = kTokenizerNone, h->tokenizer_flags = h->token_bytes = h->max_token_bytes = 0;
  });
  refused(kSection, [](FileHeader* h) { h->turn_bytes = 0; });
  refused(kSection, [](FileHeader* h) { h->turn_bytes += 1; });
  refused(kSection, [](FileHeader* h) { h->token_bytes += 1; });
  refused(kSection, [](FileHeader* h) { h->token_bytes -= 1; });
  refused(THIMBLE_ERROR_TOKENIZER, [](FileHeader* h) { h->max_token_bytes += 1; });
  refused(THIMBLE_ERROR_TOKENIZER, [](FileHeader* h) { h->max_token_bytes -= 1; });
}

TEST_CASE("open: fields that may vary within their range") {
  TinyModel m(tiny_shape(4, 6, 1, 2, 1, 2, 12, 16, false), {kWeightF32, 0, 4}, true);
  const auto accepted = [&](void (*change)(FileHeader*)) {
    AlignedBlock image = copy_of(m);
    change(header(image));
    fix_header_crc(image);
    thimble_model model;
    const thimble_status status = open(&model, image);
    CHECK_MESSAGE(status == THIMBLE_OK, describe(status, model));
    if (status == THIMBLE_OK) run_a_little(model);
  };
  accepted([](FileHeader* h) { h->n_ctx = 1; });
  accepted([](FileHeader* h) { h->n_ctx = kMaxContext; });
  accepted([](FileHeader* h) { h->norm_eps = 1e-12f; });
  accepted([](FileHeader* h) { h->norm_eps = 1.0f; });
  accepted([](FileHeader* h) { h->rope_theta = 1.0f; });
  accepted([](FileHeader* h) { h->rope_theta = 1e12f; });
  accepted([](FileHeader* h) { h->tokenizer_flags ^= kTokenizerAddSpacePrefix; });
}

TEST_CASE("open: every altered field of every section entry, with a right checksum") {
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 32, 16}}) {
    TinyModel m = smallest_model(layout);
    AlignedBlock image = copy_of(m);
    const uint32_t n = header(image)->n_sections;
    for (uint32_t i = 0; i < n; ++i) {
      uint8_t* entry = reinterpret_cast<uint8_t*>(sections(image) + i);
      for (size_t at = 0; at < sizeof(SectionEntry); ++at) {
        for (const uint8_t change : kChanges) {
          entry[at] = static_cast<uint8_t>(entry[at] ^ change);
          fix_header_crc(image);
          thimble_model model;
          const thimble_status status = open(&model, image);
          REQUIRE_MESSAGE(is_refused(model, status, THIMBLE_ERROR_SECTION),
                          describe(status, model));
          // The fault names the field that the byte belongs to.
          const size_t field = at < offsetof(SectionEntry, offset) ? at / 4 * 4 : at / 8 * 8;
          REQUIRE(model.fault.offset == sizeof(FileHeader) + i * sizeof(SectionEntry) + field);
          entry[at] = static_cast<uint8_t>(entry[at] ^ change);
        }
      }
    }
    for (uint32_t i = 0; i + 1 < n; ++i) {
      std::swap(sections(image)[i], sections(image)[i + 1]);
      fix_header_crc(image);
      thimble_model model;
      REQUIRE(open(&model, image) == THIMBLE_ERROR_SECTION);
      std::swap(sections(image)[i], sections(image)[i + 1]);
    }
  }
}

// What exactly a table must hold is test_tokenizer.cpp's matter; here: refused or harmless.
TEST_CASE("open: every changed byte of tokenizer and self-test is refused or harmless") {
  TinyModel m = smallest_model();
  AlignedBlock image = copy_of(m);
  const uint64_t begin = section_of(m.view, kTokenOffsets).offset;
  size_t refused = 0, accepted = 0;
  for (size_t at = begin; at < image.size(); ++at) {
    for (const uint8_t change : kChanges) {
      image.data()[at] = static_cast<uint8_t>(image.data()[at] ^ change);
      thimble_model model;
      const thimble_status status = open(&model, image);
      if (status == THIMBLE_OK) {
        ++accepted;
        encode_and_decode(model);
        run_self_test(model);
      } else {
        ++refused;
        const bool in_tokenizer = at < section_of(m.view, kSelfTestTokens).offset;
        REQUIRE_MESSAGE(is_refused(model, status,
                                   in_tokenizer ? THIMBLE_ERROR_TOKENIZER : THIMBLE_ERROR_SECTION),
                        describe(status, model));
        REQUIRE(model.fault.offset < image.size());
      }
      image.data()[at] = static_cast<uint8_t>(image.data()[at] ^ change);
    }
  }
  CHECK(refused > 1000);
  CHECK(accepted > 100);
}

// ---- Verify
// --------------------------------------------------------------------------------------

TEST_CASE("verify: finds every changed byte of weights, tables and padding") {
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 0, 2}}) {
    TinyModel m = smallest_model(layout);
    REQUIRE(thimble_model_verify(&m.view) == THIMBLE_OK);
    const uint32_t good_crc = header_of(m.view).data_crc;
    for (size_t at = header_of(m.view).header_bytes; at < m.image.size(); ++at) {
      for (uint8_t change : {static_cast<uint8_t>(1u << at % 8), uint8_t{0xff}}) {
        m.image.data()[at] = static_cast<uint8_t>(m.image.data()[at] ^ change);
        thimble_model view = m.view;
        REQUIRE(thimble_model_verify(&view) == THIMBLE_ERROR_DATA_CHECKSUM);
        REQUIRE(view.fault.what != nullptr);
        REQUIRE(view.fault.expected == good_crc);
        REQUIRE(view.fault.found != good_crc);
        m.image.data()[at] = static_cast<uint8_t>(m.image.data()[at] ^ change);
      }
    }
    CHECK(thimble_model_verify(&m.view) == THIMBLE_OK);
  }
}

// ---- What is accepted is safe
// ----------------------------------------------------------------------

TEST_CASE("fuzz: random header mutations with a right checksum are refused or run") {
  Random random(31);
  size_t accepted = 0;
  for (const tools::WeightLayout& layout :
       {tools::WeightLayout{kWeightF32, 0, 4}, tools::WeightLayout{kWeightQ8, 32, 16}}) {
    TinyModel m = smallest_model(layout);
    const uint32_t header_bytes = header_of(m.view).header_bytes;
    for (int round = 0; round < 3000; ++round) {
      AlignedBlock image = copy_of(m);
      const uint32_t changes = 1 + random.below(3);
      for (uint32_t i = 0; i < changes; ++i) {
        // Mostly hyper-parameters, since most of what lies around them leaves no choice.
        const bool anywhere = random.below(4) == 0;
        const uint32_t word = anywhere ? random.below(header_bytes / 4) : 10 + random.below(40);
        const uint32_t kinds[] = {random.below(8), static_cast<uint32_t>(random.next()),
                                  1u << random.below(32), 0u};
        uint32_t value;
        std::memcpy(&value, image.data() + 4 * word, 4);
        const uint32_t by = kinds[random.below(4)];
        value = random.below(2) ? by : value ^ by;
        std::memcpy(image.data() + 4 * word, &value, 4);
      }
      fix_header_crc(image);
      thimble_model model;
      const thimble_status status = open(&model, image);
      if (status == THIMBLE_OK) {
        ++accepted;
        run_a_little(model);
        encode_and_decode(model);
        run_self_test(model);
      } else {
        REQUIRE(status < 0);
        REQUIRE(model.image == nullptr);
        REQUIRE(model.fault.what != nullptr);
      }
    }
  }
  CHECK(accepted > 100);
}

TEST_CASE("fuzz: any legal header over random bytes runs, with the same bits on every kernel") {
  Random random(32);
  int rounds = 0;
  while (rounds < 400) {
    TinyModel seed_model = smallest_model();
    FileHeader h = header_of(seed_model.view);
    h.dim = 1 + random.below(70);
    h.hidden_dim = 1 + random.below(200);
    h.n_layers = 1 + random.below(3);
    h.n_kv_heads = 1 + random.below(3);
    h.n_heads = h.n_kv_heads * (1 + random.below(3));
    h.head_dim = 2 * (1 + random.below(20));
    h.vocab_size = 1 + random.below(100);
    h.n_ctx = 1 + random.below(40);
    h.tied_head = random.below(2);
    h.norm = random.below(2);
    h.norm_after = random.below(2);
    h.parallel = random.below(2);
    h.biases = random.below(kKnownBiases + 1);
    h.qk_norm = random.below(2);
    h.learned_positions = random.below(2);
    h.activation = random.below(4);
    h.gated = random.below(2);
    h.n_ropes = 1 + random.below(2);
    h.has_windows = random.below(2);
    h.embedding_scale = random.below(2) ? 1.0f : 3.0f;
    h.logit_scale = random.below(2) ? 1.0f : 0.5f;
    h.logit_cap = random.below(2) ? 0.0f : 5.0f;
    h.n_tokens = 1 + random.below(h.vocab_size);
    h.weight_type = random.below(3);
    h.group = 0;
    if (h.weight_type != kWeightF32 && random.below(2)) h.group = 32u << random.below(3);
    h.row_tile = 1u << random.below(5);
    h.self_test_tokens = 0;
    h.pre_tokenizer = h.turn_bytes = 0;
    h.end_of_turn_id = -1;
    h.tokenizer = h.tokenizer_flags = h.token_bytes = h.max_token_bytes = 0;
    h.bos_id = h.eos_id = -1;
    thimble_fault fault;
    h.n_params = 0;
    REQUIRE(check_header(h, &fault) == THIMBLE_ERROR_HEADER);
    h.n_params = fault.expected;
    REQUIRE(check_header(h, &fault) == THIMBLE_OK);
    std::vector<SectionEntry> table;
    h.n_sections = section_count(h);
    for (uint32_t i = 0; i < h.n_sections; ++i) {
      const SectionEntry entry = expected_section(h, table.empty() ? nullptr : &table.back());
      table.push_back(entry);
    }
    h.header_bytes = static_cast<uint32_t>(sizeof h + table.size() * sizeof table[0]);
    h.file_bytes = expected_file_bytes(table.back());

    AlignedBlock image(static_cast<size_t>(h.file_bytes));
    for (size_t i = h.header_bytes; i < image.size(); ++i) {
      image.data()[i] = static_cast<uint8_t>(random.next() >> 56);
    }
    for (const SectionEntry& entry : table) {
      if (entry.kind != kLayerKinds) continue;
      uint32_t* kinds = reinterpret_cast<uint32_t*>(image.data() + entry.offset);
      for (uint32_t i = 0; i < h.n_layers; ++i) {
        kinds[2 * i] = h.has_windows ? random.below(h.n_ctx + 1) : 0;
        kinds[2 * i + 1] = random.below(h.n_ropes);
      }
    }
    std::memcpy(image.data(), &h, sizeof h);
    std::memcpy(image.data() + sizeof h, table.data(), table.size() * sizeof table[0]);
    fix_header_crc(image);
    thimble_model model;
    const thimble_status status = open(&model, image);
    REQUIRE_MESSAGE(status == THIMBLE_OK, describe(status, model));
    const std::vector<uint64_t> hashes = run_a_little(model);
    for (size_t i = 0; i < hashes.size(); ++i) {
      CHECK_MESSAGE(hashes[i] == hashes[0], "round ", rounds, ", ", std::string(thimble_isa_at(i)),
                    ", type ", h.weight_type, ", group ", h.group, ", tile ", h.row_tile, ", dim ",
                    h.dim, ", hidden ", h.hidden_dim, ", heads ", h.n_heads, "/", h.n_kv_heads,
                    " of ", h.head_dim);
    }
    ++rounds;
  }
}

namespace {

// Every weight of a model replaced: floats by `bits`, int8 by `value`, bf16 scales by `scale`.
// Every `every`-th only; norms and tables stay unless `norms`.
struct Craft {
  const char* name;
  uint32_t bits;
  int8_t value;
  uint16_t scale;
};

void craft_weights(TinyModel* m, const Craft& craft, uint32_t every, bool norms) {
  const FileHeader h = header_of(m->view);
  SectionEntry* table = sections(m->image);
  for (uint32_t i = 0; i < h.n_sections; ++i) {
    const SectionEntry& e = table[i];
    uint8_t* data = m->image.data() + e.offset;
    if (e.type == kElementF32 && (norms || e.rows > 1)) {
      for (uint64_t at = 0; at < e.bytes; at += 4 * every) std::memcpy(data + at, &craft.bits, 4);
    }
    if (e.type == kElementQ8) {
      for (uint64_t at = 0; at < e.bytes; at += every) {
        data[at] = static_cast<uint8_t>(craft.value);
      }
      uint8_t* scales = m->image.data() + e.scales_offset;
      for (uint64_t at = 0; at < e.scales_bytes; at += 2 * every) {
        std::memcpy(scales + at, &craft.scale, 2);
      }
    }
  }
}

}  // namespace

TEST_CASE("crafted weights: NaN, infinite, huge, tiny; no crash, a valid token, the same bits") {
  const Craft crafts[] = {
      {"NaN", 0x7fc00000, -128, 0x7fc0},
      {"negative NaN", 0xffc00001, 127, 0xffc1},
      {"signalling NaN", 0x7f800001, 1, 0x7f81},
      {"infinity", 0x7f800000, -128, 0x7f80},
      {"-infinity", 0xff800000, 127, 0xff80},
      {"largest", 0x7f7fffff, -128, 0x7f7f},
      {"-largest", 0xff7fffff, -127, 0xff7f},
      {"smallest", 0x00000001, -128, 0x0001},
      {"-0", 0x80000000, 0, 0x8000},
      {"0", 0, 0, 0},
      {"-128", 0xc3000000, -128, 0x3f80},
  };
  const std::vector<NamedShape> shapes = tiny_shapes();
  const std::vector<tools::WeightLayout> layouts = all_weight_types(16);
  for (size_t shape = 0; shape < shapes.size(); ++shape) {
    for (size_t type = 0; type < layouts.size(); ++type) {
      for (size_t craft = 0; craft < std::size(crafts); ++craft) {
        for (uint32_t every : {1u, 7u}) {
          if (!in_turn(shape + type + craft + (every == 7) * 2, 4)) continue;
          TinyModel m(shapes[shape].shape, layouts[type]);
          craft_weights(&m, crafts[craft], every, every == 1);
          const std::vector<uint64_t> hashes = run_a_little(m.view);
          for (uint64_t hash : hashes) {
            CHECK_MESSAGE(hash == hashes[0], std::string(shapes[shape].name), ", ",
                          layout_name(layouts[type]), ", ", std::string(crafts[craft].name),
                          ", every ", every);
          }
        }
      }
    }
  }
}
