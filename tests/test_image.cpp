// SPDX-License-Identifier: MIT
// Model files as they are built: what is read back is what went in, within the quantizer's bound,
// in every layout; and the tables are what FORMAT.md says.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "exact_math.h"
#include "json.h"
#include "llama2c_files.h"
#include "model.h"
#include "quantize.h"
#include "readers/reader.h"
#include "tiny_model.h"

using namespace thimble;
using namespace thimble::test;
using namespace thimble::tools;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

RowSource random_rows(uint64_t seed) {
  return [seed](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
    random_row(seed, kind, layer, row, cols, out);
  };
}

std::string refusal(const ModelShape& shape, const WeightLayout& layout,
                    const Vocabulary* vocabulary = nullptr,
                    const RowSource& rows = random_rows(1)) {
  try {
    build_image_in_memory(shape, layout, vocabulary, rows);
  } catch (const RefusedModel& refused) {
    return refused.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

double bf16(uint16_t scale) {
  return static_cast<double>(from_bf16(scale));
}

}  // namespace

// ---- Quantizer -----------------------------------------------------------------------------

TEST_CASE("to_bf16 rounds to nearest even") {
  CHECK(to_bf16(1.0f) == 0x3f80);
  CHECK(to_bf16(float_of(0x3f808000)) == 0x3f80);  // a tie
  CHECK(to_bf16(float_of(0x3f818000)) == 0x3f82);  // a tie
  CHECK(to_bf16(float_of(0x3f808001)) == 0x3f81);
  CHECK(to_bf16(float_of(0x3fffffff)) == 0x4000);
  CHECK(to_bf16(-1.0f) == 0xbf80);
  CHECK(to_bf16(0.0f) == 0);
}

// The bounds of quantize.h hold exactly, since w, value and scale have few enough bits for double.
TEST_CASE("a quantized group lies within half a scale of its weights") {
  Random random(1);
  std::vector<float> w(200);
  std::vector<int8_t> values(w.size() + 1);
  for (int round = 0; round < 20000; ++round) {
    const uint32_t n = 1 + random.below(200);
    const float size = std::ldexp(1.0f, static_cast<int>(random.below(180)) - 90);
    for (uint32_t i = 0; i < n; ++i) w[i] = random.normal() * size;
    if (round % 3 == 0) w[random.below(n)] = 40 * size;  // one that is far larger
    values[n] = 99;
    const uint16_t scale = quantize_group(w.data(), n, values.data());
    const double largest = static_cast<double>(std::abs(*std::max_element(
        w.begin(), w.begin() + n, [](float a, float b) { return std::abs(a) < std::abs(b); })));
    bool good = values[n] == 99 && bf16(scale) <= 1.07 * largest / 127;
    for (uint32_t i = 0; i < n; ++i) {
      const double error =
          std::abs(static_cast<double>(w[i]) - static_cast<double>(values[i]) * bf16(scale));
      good = good && values[i] >= -127 && (largest < 1e-30 || error <= bf16(scale) / 2);
    }
    CHECK_MESSAGE(good, "round ", round);
  }
}

TEST_CASE("groups with a special content") {
  int8_t values[4] = {9, 9, 9, 9};
  const float zeros[4] = {0, -0.0f, 0, 0};
  CHECK(quantize_group(zeros, 4, values) == 0);
  CHECK((values[0] == 0 && values[1] == 0 && values[2] == 0 && values[3] == 0));
  const float tiny[4] = {1e-31f, -1e-40f, 0, 0};
  CHECK(quantize_group(tiny, 4, values) == 0);
  CHECK(values[0] == 0);
  const float huge[2] = {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max()};
  CHECK(std::isfinite(from_bf16(quantize_group(huge, 2, values))));
  CHECK(values[0] == -values[1]);
  CHECK(values[0] >= 126);
  // Multiples of a power of two are kept exactly.
  const float exact[4] = {127.0f / 128, -1.0f / 128, 2.0f / 128, 64.0f / 128};
  CHECK(bits_of(from_bf16(quantize_group(exact, 4, values))) == bits_of(0x1p-7f));
  CHECK((values[0] == 127 && values[1] == -1 && values[2] == 2 && values[3] == 64));
}

// ---- Weights -------------------------------------------------------------------------------

namespace {

// Rows of the image against those of the source. f32 is exact; q8 within half the scale of the
// group, which follows from quantize.h and from products that are exact in float; q4 within half of
// the widest step between levels, or beyond the last one.
void check_rows(const thimble_model& model, SectionKind kind, uint32_t layer) {
  const Matrix m = matrix_of(model, kind, layer);
  std::vector<float> found(m.cols), expected(m.cols);
  bool good = true;
  for (uint32_t row = 0; row < m.rows; ++row) {
    read_row(found.data(), m, row);
    random_row(1, kind, layer, row, m.cols, expected.data());
    for (uint32_t c = 0; c < m.cols; ++c) {
      if (m.type == kWeightF32) {
        good = good && bits_of(found[c]) == bits_of(expected[c]);
        continue;
      }
      const size_t groups = m.padded_cols / m.group, r = m.row_tile;
      const uint16_t scale = m.scales[(row / r * groups + c / m.group) * r + row % r];
      const double w = static_cast<double>(expected[c]), stored = static_cast<double>(found[c]);
      if (m.type == kWeightQ8) {
        good = good && std::abs(stored - w) <= bf16(scale) / 2;
        continue;
      }
      const double unit = bf16(scale), level = scale ? stored / unit : 0;
      const bool is_last = level < -95 || level > 76;
      good = good && (std::abs(stored - w) <= 9 * std::abs(unit) ||
                      (is_last && std::abs(w) > std::abs(stored)));
    }
  }
  CHECK_MESSAGE(good, section_name(kind), " of layer ", layer);
}

// Everything behind the rows and the columns is zero.
void check_padding(const thimble_model& model, SectionKind kind, uint32_t layer) {
  const Matrix m = matrix_of(model, kind, layer);
  const uint32_t r = m.row_tile, rows = tile_count(m) * r;
  bool good = true;
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t c = 0; c < m.padded_cols; ++c) {
      if (row < m.rows && c < m.cols) continue;
      if (m.type == kWeightF32) {
        const float* data = static_cast<const float*>(m.data);
        const size_t at = (size_t{row / r} * m.cols + c) * r + row % r;
        good = good && bits_of(data[at]) == 0;
      } else {
        const int8_t* tile = static_cast<const int8_t*>(m.data) +
                             weight_bytes(m.type, size_t{row / r} * m.padded_cols * r);
        good = good && (m.type == kWeightQ4 ? q4_bits(tile, r, c, row % r) == 0
                                            : tile[(size_t{c / 4} * r + row % r) * 4 + c % 4] == 0);
      }
    }
    const size_t groups = m.type != kWeightF32 ? m.padded_cols / m.group : 0;
    for (size_t g = 0; row >= m.rows && g < groups; ++g) {
      good = good && m.scales[(row / r * groups + g) * r + row % r] == 0;
    }
  }
  CHECK_MESSAGE(good, "padding of ", section_name(kind), " of layer ", layer);
}

}  // namespace

TEST_CASE("rows come back in every tile, group and shape") {
  size_t first = 0;
  for (const NamedShape& named : tiny_shapes()) {
    for (uint32_t tile : {1u, 2u, 4u, 8u, 16u}) {
      size_t sum = first++;
      for (const WeightLayout& layout : all_weight_types(tile)) {
        if (!in_turn(sum++, 2)) continue;
        CAPTURE(named.name);
        CAPTURE(layout_name(layout));
        const TinyModel tiny(named.shape, layout, true);
        thimble_model model = tiny.view;
        CHECK(thimble_model_verify(&model) == THIMBLE_OK);
        CHECK(model.n_params == count_parameters(named.shape));
        const uint32_t n = header_of(model).n_sections;
        const auto* table = reinterpret_cast<const SectionEntry*>(&header_of(model) + 1);
        for (uint32_t i = 0; i < n; ++i) {
          const SectionKind kind = static_cast<SectionKind>(table[i].kind);
          if (kind >= kRopeFrequencies) continue;
          check_rows(model, kind, table[i].layer);
          check_padding(model, kind, table[i].layer);
        }
      }
    }
  }
}

TEST_CASE("the sink gets ascending bytes without gaps, the header last") {
  const ModelShape shape = tiny_shapes()[0].shape;
  const Vocabulary vocabulary = tiny_vocabulary(shape.vocab_size);
  const WeightLayout layout{kWeightQ8, 32, 16};
  const ImageInMemory image = build_image_in_memory(shape, layout, &vocabulary, random_rows(1));
  CHECK(reinterpret_cast<uintptr_t>(image.data()) % THIMBLE_ALIGNMENT == 0);
  const FileHeader& h = *reinterpret_cast<const FileHeader*>(image.data());
  uint64_t at = h.header_bytes;
  bool header_came = false;
  double share = 0;
  std::vector<uint8_t> file(image.bytes);
  const auto reports = build_image(
      shape, layout, &vocabulary, random_rows(1),
      [&](uint64_t offset, const void* data, size_t bytes) {
        CHECK(!header_came);
        header_came = offset == 0;
        if (offset != 0) CHECK(offset == at);
        if (offset == 0) CHECK(bytes == h.header_bytes);
        REQUIRE(offset + bytes <= file.size());
        std::memcpy(file.data() + offset, data, bytes);
        if (offset != 0) at += bytes;
      },
      [&](double now) {
        CHECK(now >= share);
        share = now;
      });
  CHECK(header_came);
  CHECK(at == image.bytes);
  CHECK(bits_of(static_cast<float>(share)) == bits_of(1.0f));
  CHECK(std::memcmp(file.data(), image.data(), file.size()) == 0);
  REQUIRE(reports.size() == 1 + 4 * shape.n_layers);
  for (const SectionReport& report : reports) {
    // Half a scale over the largest weight, and its mean for weights that are spread evenly.
    CHECK(report.worst_error > 0);
    CHECK(report.worst_error <= 1.07 / 254);
    CHECK(report.mean_error > 0);
    CHECK(report.mean_error < 0.006);
  }
}

TEST_CASE("weights that are not finite are refused by place") {
  const ModelShape shape = tiny_shapes()[3].shape;
  for (float bad : {kInfinity, -kInfinity, std::nanf("")}) {
    for (const WeightLayout& layout : all_weight_types(4)) {
      const auto with_bad = [bad](SectionKind where, uint32_t bad_row, uint32_t bad_col) {
        return [=](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
          random_row(1, kind, layer, row, cols, out);
          if (kind == where && row == bad_row) out[bad_col] = bad;
        };
      };
      CHECK(contains(refusal(shape, layout, nullptr, with_bad(kFeedForwardDown, 143, 171)),
                     "feed-forward down of layer 0, row 143, column 171: found "));
      CHECK(contains(refusal(shape, layout, nullptr, with_bad(kFinalNorm, 0, 5)),
                     "final norm, row 0, column 5: found "));
    }
  }
}

// ---- What does not fit together ------------------------------------------------------------

TEST_CASE("shapes and vocabularies that no file can hold are refused") {
  const ModelShape good = tiny_shapes()[0].shape;
  CHECK(refusal(good, {}) == "accepted");
  const auto with = [&](uint32_t ModelShape::*field, uint32_t value) {
    ModelShape shape = good;
    shape.*field = value;
    return refusal(shape, {});
  };
  CHECK(contains(with(&ModelShape::dim, 0), "dim: found 0"));
  CHECK(contains(with(&ModelShape::hidden_dim, 200000), "hidden_dim: found 200000"));
  CHECK(contains(with(&ModelShape::n_layers, 0), "n_layers: found 0"));
  CHECK(contains(with(&ModelShape::n_kv_heads, 3), "n_kv_heads (must divide n_heads): found 3"));
  CHECK(contains(with(&ModelShape::head_dim, 7), "head_dim (must be even): found 7"));
  CHECK(contains(with(&ModelShape::vocab_size, 1u << 30), "vocab_size"));
  CHECK(contains(with(&ModelShape::n_ctx, 0), "n_ctx: found 0"));
  ModelShape theta = good;
  theta.rope_theta = 0.5f;
  CHECK(contains(refusal(theta, {}), "rope_theta: found 0.5, the nearest that is possible is 1"));
  CHECK(contains(refusal(good, {kWeightQ8, 48, 16}), "group (32, 64, 128 or 0): found 48"));
  CHECK(contains(refusal(good, {kWeightF32, 32, 16}), "group (of f32 weights): found 32"));
  CHECK(contains(refusal(good, {kWeightF32, 0, 3}), "row_tile (1, 2, 4, 8 or 16): found 3"));

  const Vocabulary vocabulary = tiny_vocabulary(64);
  const auto after = [&](void (*change)(Vocabulary*)) {
    Vocabulary changed = vocabulary;
    change(&changed);
    return refusal(good, {}, &changed);
  };
  CHECK(after([](Vocabulary*) {}) == "accepted");
  CHECK(contains(after([](Vocabulary* v) { v->texts.pop_back(); }),
                 "63 texts, 64 scores and 64 types, but the model expects 64 of each"));
  CHECK(contains(after([](Vocabulary* v) { v->scores[5] = std::nanf(""); }), "token 5: its score"));
  CHECK(contains(after([](Vocabulary* v) { v->types[5] = 4; }), "token 5: its type is 4"));
  CHECK(contains(after([](Vocabulary* v) { v->texts[3] = "ab"; }), "has 2 bytes, expected 1"));
  CHECK(contains(after([](Vocabulary* v) { v->texts[9].assign(4097, 'x'); }), "4097 bytes"));
  CHECK(contains(after([](Vocabulary* v) { v->bos_id = 64; }), "bos_id: found 64"));
  CHECK(contains(after([](Vocabulary* v) { v->eos_id = -2; }), "eos_id: found -2"));
}

// ---- Tables --------------------------------------------------------------------------------

TEST_CASE("the tokenizer's tables") {
  ModelShape shape = tiny_shapes()[0].shape;
  Vocabulary v = tiny_vocabulary(400);
  shape.vocab_size = 400;
  v.texts[390] = v.texts[300];  // equal texts: the lower id counts
  v.types[391] = kTokenByte;    // a second token for a byte: the same
  v.texts[391] = "A";
  v.scores = std::vector<float>(400, -5);
  v.scores[301] = 1e30f;
  v.scores[302] = -1e30f;
  v.scores[303] = -0.0f;
  v.scores[304] = 0.0f;
  const ImageInMemory image = build_image_in_memory(shape, {}, &v, random_rows(1));
  thimble_model model;
  REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);

  const int32_t* ranks = table_of<int32_t>(model, kTokenRanks);
  CHECK(ranks[302] == 0);
  CHECK(ranks[300] == 1);
  CHECK(ranks[303] == 2);
  CHECK(ranks[304] == 2);
  CHECK(ranks[301] == 3);
  const int32_t* bytes = table_of<int32_t>(model, kByteTokens);
  for (int32_t byte = 0; byte < 256; ++byte) CHECK(bytes[byte] == 3 + byte);
  const uint32_t* offsets = table_of<uint32_t>(model, kTokenOffsets);
  const uint8_t* texts = table_of<uint8_t>(model, kTokenBytes);
  const int32_t* lookup = table_of<int32_t>(model, kTokenLookup);
  const uint32_t slots = section_of(model, kTokenLookup).cols;
  CHECK(slots == 1024);
  uint32_t used = 0;
  for (uint32_t i = 0; i < slots; ++i) used += lookup[i] >= 0;
  uint32_t normal = 0;
  for (uint32_t id = 0; id < 400; ++id) {
    const std::string text(reinterpret_cast<const char*>(texts) + offsets[id],
                           offsets[id + 1] - offsets[id]);
    CHECK(text == v.texts[id]);
    CHECK((table_of<uint8_t>(model, kTokenTypes)[id] & ~kTokenWhole) == v.types[id]);
    if (v.types[id] == kTokenByte) continue;
    normal += id != 390;
    uint32_t slot = fnv1a_32(texts + offsets[id], offsets[id + 1] - offsets[id]) & (slots - 1);
    while (lookup[slot] >= 0 && v.texts[static_cast<size_t>(lookup[slot])] != text) {
      slot = (slot + 1) & (slots - 1);
    }
    CHECK(lookup[slot] == static_cast<int32_t>(id == 390 ? 300 : id));
  }
  CHECK(used == normal);
}

TEST_CASE("words are independent if no token spans two") {
  const ModelShape shape = tiny_shapes()[0].shape;
  const auto flags = [&](const std::string& text, TokenType type, bool prefix) {
    Vocabulary v = tiny_vocabulary(64);
    v.texts[50] = text;
    v.types[50] = type;
    v.add_space_prefix = prefix;
    const ImageInMemory image = build_image_in_memory(shape, {}, &v, random_rows(1));
    const uint32_t found = reinterpret_cast<const FileHeader*>(image.data())->tokenizer_flags;
    CHECK((found & kTokenizerAddsBos) != 0);
    return found & ~uint32_t{kTokenizerAddsBos};
  };
  CHECK(flags("  ab", kTokenNormal, true) == (kTokenizerSplitsAtSpaces | kTokenizerAddSpacePrefix));
  CHECK(flags("  ab", kTokenNormal, false) == kTokenizerSplitsAtSpaces);
  CHECK(flags("a b", kTokenNormal, false) == 0);
  CHECK(flags("a ", kTokenNormal, true) == kTokenizerAddSpacePrefix);
  CHECK(flags("a b", kTokenControl, false) == kTokenizerSplitsAtSpaces);
}

TEST_CASE("rope frequencies") {
  for (float theta : {1.0f, 10000.0f, 500000.0f}) {
    ModelShape shape = tiny_shape(4, 4, 1, 1, 1, 22, 8, 8, true);
    shape.rope_theta = theta;
    const ImageInMemory image = build_image_in_memory(shape, {}, nullptr, random_rows(1));
    thimble_model model;
    REQUIRE(thimble_model_open(&model, image.data(), image.bytes) == THIMBLE_OK);
    const uint64_t* table = table_of<uint64_t>(model, kRopeFrequencies);
    for (uint32_t i = 0; i < 11; ++i) {
      // Up to the cleared bits, and what double loses beside them.
      const double turns = std::pow(static_cast<double>(theta), -2.0 * i / 22) / 6.283185307179586;
      CHECK(std::abs(static_cast<double>(table[i]) * 0x1p-64 - turns) < 0x1p-44 + 0x1p-49);
      CHECK((table[i] & 0xfffff) == 0);
    }
  }
}

// ---- FORMAT.md -----------------------------------------------------------------------------

namespace {

// The model of the worked dump: in a matrix, weight (r, c) is 0x?? / 128, where the hex digits are
// r mod 8 and c, and 127 / 128 in column 0; norms are 1.
Llama2c documented_model() {
  Llama2c model({8, 6, 1, 2, 1, 7, 16}, true);
  for (auto tensor : {&Llama2c::token_embedding, &Llama2c::wq, &Llama2c::wk, &Llama2c::wv,
                      &Llama2c::wo, &Llama2c::w1, &Llama2c::w2, &Llama2c::w3}) {
    std::vector<float>& w = model.*tensor;
    const size_t cols = tensor == &Llama2c::w2 ? 6 : 8;
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t r = i / cols, c = i % cols;
      w[i] = static_cast<float>(c == 0 ? 127 : r % 8 * 16 + c) / 128;
    }
  }
  for (auto norm : {&Llama2c::attention_norm, &Llama2c::feed_forward_norm, &Llama2c::final_norm}) {
    std::fill((model.*norm).begin(), (model.*norm).end(), 1.0f);
  }
  return model;
}

// Lines "00000040  12 34 ...": eight hex digits, then up to 16 bytes. A line "*" repeats the bytes
// of the line before up to the next offset.
std::string parse_dump(const std::string& markdown) {
  std::string bytes, last;
  bool repeats = false;
  std::istringstream lines(markdown);
  for (std::string line; std::getline(lines, line);) {
    if (line == "*") repeats = true;
    if (line.size() < 12 || line.find_first_not_of("0123456789abcdef") != 8 || line[8] != ' ') {
      continue;
    }
    const size_t offset = std::stoul(line.substr(0, 8), nullptr, 16);
    while (repeats && bytes.size() < offset) bytes += last;
    repeats = false;
    CHECK(bytes.size() == offset);
    last.clear();
    for (size_t at = 10; at + 1 < line.size() && last.size() < 16; at += 3) {
      if (!std::isxdigit(static_cast<unsigned char>(line[at]))) break;
      last += static_cast<char>(std::stoul(line.substr(at, 2), nullptr, 16));
    }
    bytes += last;
  }
  return bytes;
}

}  // namespace

TEST_CASE("the dump in FORMAT.md is what the converter writes") {
  std::string markdown;
  if (!read_whole_file("models/FORMAT.md", &markdown)) {
    MESSAGE("skipped: not run in the project's folder");
    return;
  }
  const TestFolder folder;
  const Checkpoint checkpoint =
      open_checkpoint(folder.write("model.bin", documented_model().version0()), {});
  const std::vector<Token> tokens = {{"<unk>", 0}, {"\n<s>\n", 0}, {"\n</s>\n", 0}, {"<0x0A>", 0},
                                     {" ", -2},    {"a", -2},      {" a", -1}};
  const Vocabulary vocabulary =
      open_vocabulary(folder.write("tokenizer.bin", tokenizer_bytes(tokens)), 7).vocabulary;
  const ImageInMemory image = build_image_in_memory(checkpoint.shape, {kWeightQ8, 0, 4},
                                                    &vocabulary, checkpoint.rows, true);
  const std::string dump = parse_dump(markdown);
  REQUIRE(dump.size() == image.bytes);
  for (size_t i = 0; i < dump.size(); ++i) {
    if (static_cast<uint8_t>(dump[i]) == image.data()[i]) continue;
    CHECK_MESSAGE(false, "byte ", i);
  }
}
