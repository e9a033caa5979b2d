// SPDX-License-Identifier: MIT
// The forms of thimble/attention.hpp against golden numbers, a double-precision reckoning with a
// bound, and their own properties. Every matrix lies in a block of exactly its size, scratch too,
// so that a sanitizer sees what reads or writes beside it; and scratch starts as NaNs.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "attention_forms.h"
#include "capture.h"
#include "demo.h"
#include "double_forward.h"
#include "json.h"
#include "random.h"
#include "thimble/attention.hpp"

#define main attention_walk  // the README's example, built and run here
#include "attention_walk.cpp"
#undef main

using namespace thimble;
using namespace thimble::attention;
using namespace thimble::test;
using attention::Scratch;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Floats = std::vector<float>;  // made in one go, so without spare capacity

// ---- Owners of matrices, and calls that check what always holds ------------------------------

struct OwnedMatrix {
  Floats data;
  uint32_t rows = 0, cols = 0;
  MatrixView view() const { return {data.data(), rows, cols}; }
};

OwnedMatrix random_matrix(Random& random, uint32_t rows, uint32_t cols, float scale = 1.0f) {
  OwnedMatrix m{Floats(size_t{rows} * cols), rows, cols};
  for (float& x : m.data) x = random.normal() * scale;
  return m;
}

struct OwnedLinear {
  OwnedMatrix weight;
  Storage storage = Storage::kOutputByInput;
  Floats bias;
  Linear view() const { return {weight.view(), storage, bias.empty() ? nullptr : bias.data()}; }
};

OwnedLinear random_linear(Random& random, uint32_t n_in, uint32_t n_out, bool biased) {
  const bool by_output = random.below(2) == 0;
  const float scale = 1.0f / std::sqrt(static_cast<float>(n_in));
  OwnedLinear w;
  w.storage = by_output ? Storage::kOutputByInput : Storage::kInputByOutput;
  w.weight = by_output ? random_matrix(random, n_out, n_in, scale)
                       : random_matrix(random, n_in, n_out, scale);
  if (biased) w.bias = random_matrix(random, 1, n_out).data;
  return w;
}

struct OwnedLayer {
  OwnedLinear query, key, value, output;
  uint32_t n_heads = 1, n_kv_heads = 1;
  Mask mask = Mask::kCausal;

  Projections projections() const { return {query.view(), key.view(), value.view()}; }
  MultiHead view() const { return {projections(), n_heads, n_kv_heads, output.view(), mask}; }
  uint32_t q_width() const {
    return query.storage == Storage::kOutputByInput ? query.weight.rows : query.weight.cols;
  }
  uint32_t width() const {
    if (output.weight.rows == 0) return q_width();
    return output.storage == Storage::kOutputByInput ? output.weight.rows : output.weight.cols;
  }
};

OwnedLayer random_layer(Random& random, uint32_t d, uint32_t heads, uint32_t kv_heads,
                        uint32_t head_dim, bool biased = false, uint32_t n_out = 0) {
  OwnedLayer m;
  m.query = random_linear(random, d, heads * head_dim, biased);
  m.key = random_linear(random, d, kv_heads * head_dim, biased);
  m.value = random_linear(random, d, kv_heads * head_dim, biased);
  if (n_out) m.output = random_linear(random, heads * head_dim, n_out, biased);
  m.n_heads = heads;
  m.n_kv_heads = kv_heads;
  return m;
}

// Some of the outputs of a projection, in that order, stored as it is.
OwnedLinear outputs_of(const OwnedLinear& w, const std::vector<uint32_t>& outputs) {
  const bool by_output = w.storage == Storage::kOutputByInput;
  const uint32_t n_in = by_output ? w.weight.cols : w.weight.rows;
  const uint32_t count = static_cast<uint32_t>(outputs.size());
  OwnedLinear part;
  part.storage = w.storage;
  part.weight = {Floats(size_t{n_in} * count), by_output ? count : n_in, by_output ? n_in : count};
  for (uint32_t c = 0; c < n_in; ++c) {
    for (uint32_t o = 0; o < count; ++o) {
      const size_t from =
          by_output ? size_t{outputs[o]} * n_in + c : size_t{c} * w.weight.cols + outputs[o];
      part.weight.data[by_output ? size_t{o} * n_in + c : size_t{c} * count + o] =
          w.weight.data[from];
    }
  }
  if (!w.bias.empty()) {
    part.bias = Floats(count);
    for (uint32_t o = 0; o < count; ++o) part.bias[o] = w.bias[outputs[o]];
  }
  return part;
}

std::vector<uint32_t> head_outputs(uint32_t head, uint32_t head_dim) {
  std::vector<uint32_t> outputs(head_dim);
  for (uint32_t d = 0; d < head_dim; ++d) outputs[d] = head * head_dim + d;
  return outputs;
}

// Exactly so many bytes, not aligned to more than a float.
class ScratchBlock {
 public:
  explicit ScratchBlock(size_t bytes) : bytes_(bytes), memory_(bytes / sizeof(float) + 1, kNan) {
    REQUIRE(bytes > 0);
    REQUIRE(bytes % sizeof(float) == 0);
  }
  Scratch scratch(size_t less = 0) { return {memory_.data() + 1, bytes_ - less}; }

 private:
  size_t bytes_;
  Floats memory_;
};

struct Outcome {
  Floats scores, weights, context;
};

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

bool same_bits(const Outcome& a, const Outcome& b) {
  return same_bits(a.scores, b.scores) && same_bits(a.weights, b.weights) &&
         same_bits(a.context, b.context);
}

// Calls form(results, scratch): one byte less is refused, each result alone is the same bits.
template <class CallForm>
Outcome outcome(size_t n_heads, size_t n_queries, size_t n_keys, size_t width, size_t bytes,
                CallForm form, bool repeats = true) {
  const auto blank = [&] {
    return Outcome{Floats(n_heads * n_queries * n_keys, kNan),
                   Floats(n_heads * n_queries * n_keys, kNan), Floats(n_queries * width, kNan)};
  };
  ScratchBlock block(bytes);
  Outcome o = blank();
  const Results all = {o.scores.data(), o.weights.data(), o.context.data()};
  REQUIRE(form(all, block.scratch(1)) == THIMBLE_ERROR_ARENA_TOO_SMALL);
  REQUIRE(form(all, block.scratch()) == THIMBLE_OK);
  if (repeats) {
    Outcome one = blank();
    REQUIRE(form(Results{one.scores.data(), nullptr, nullptr}, block.scratch()) == THIMBLE_OK);
    REQUIRE(form(Results{nullptr, one.weights.data(), nullptr}, block.scratch()) == THIMBLE_OK);
    REQUIRE(form(Results{nullptr, nullptr, one.context.data()}, block.scratch()) == THIMBLE_OK);
    REQUIRE(same_bits(one, o));
  }
  return o;
}

uint32_t query_count(const OwnedMatrix& x, const Options& o) {
  return o.n_queries ? o.n_queries : x.rows - o.first_query;
}

Outcome simple(const OwnedMatrix& x, const Options& options = {}) {
  return outcome(1, query_count(x, options), x.rows, x.cols, scratch_bytes(x.view()),
                 [&](const Results& r, const Scratch& s) {
                   return simple_self_attention(x.view(), options, r, s);
                 });
}

using ProjectedForm = thimble_status (*)(const MatrixView&, const Projections&, const Options&,
                                         const Results&, const Scratch&);

Outcome projected(ProjectedForm form, const OwnedMatrix& x, const OwnedLayer& m,
                  const Options& options = {}) {
  const Projections w = m.projections();
  return outcome(
      1, query_count(x, options), x.rows, m.q_width(), scratch_bytes(x.view(), w),
      [&](const Results& r, const Scratch& s) { return form(x.view(), w, options, r, s); });
}

Outcome multi_head(const OwnedMatrix& x, const OwnedLayer& m, const Options& options = {}) {
  const MultiHead layer = m.view();
  return outcome(m.n_heads, query_count(x, options), x.rows, m.width(),
                 scratch_bytes(x.view(), layer), [&](const Results& r, const Scratch& s) {
                   return multi_head_attention(x.view(), layer, options, r, s);
                 });
}

Outcome wrapped(const OwnedMatrix& x, const std::vector<OwnedLayer>& heads,
                const Options& options = {}) {
  std::vector<Projections> w;
  for (const OwnedLayer& head : heads) w.push_back(head.projections());
  const uint32_t n = static_cast<uint32_t>(w.size());
  return outcome(n, query_count(x, options), x.rows, n * heads[0].q_width(),
                 scratch_bytes(x.view(), w.data(), n), [&](const Results& r, const Scratch& s) {
                   return multi_head_attention_wrapper(x.view(), w.data(), n, options, r, s);
                 });
}

Floats projected_alone(const OwnedMatrix& x, const OwnedLinear& w) {
  const Linear linear = w.view();
  const size_t n_out = w.storage == Storage::kOutputByInput ? w.weight.rows : w.weight.cols;
  Floats y(x.rows * n_out, kNan);
  ScratchBlock block(scratch_bytes(x.view(), linear));
  REQUIRE(project(x.view(), linear, y.data(), nullptr, block.scratch(1)) ==
          THIMBLE_ERROR_ARENA_TOO_SMALL);
  REQUIRE(project(x.view(), linear, y.data(), nullptr, block.scratch()) == THIMBLE_OK);
  return y;
}

// One head's columns of every row.
Floats columns(const Floats& m, size_t width, size_t first, size_t count) {
  Floats out(m.size() / width * count);
  for (size_t i = 0; i < m.size() / width; ++i) {
    for (size_t c = 0; c < count; ++c) out[i * count + c] = m[i * width + first + c];
  }
  return out;
}

Floats slice(const Floats& from, size_t first, size_t count) {
  return Floats(from.begin() + static_cast<std::ptrdiff_t>(first),
                from.begin() + static_cast<std::ptrdiff_t>(first + count));
}

// ---- The golden numbers of chapter 3 -----------------------------------------------------------

// {"shape": [...], "data": [...]}, null as minus infinity.
struct Tensor {
  std::vector<uint32_t> shape;
  Floats data;
};

Tensor read_tensor(const Json& json) {
  Tensor t;
  for (const Json& side : json["shape"].items) {
    t.shape.push_back(static_cast<uint32_t>(side.as_int()));
  }
  t.data = Floats(json["data"].size());
  for (size_t i = 0; i < t.data.size(); ++i) {
    const Json& x = json["data"][i];
    t.data[i] = x.kind == Json::kNull ? -kInfinity : x.as_float();
  }
  return t;
}

OwnedMatrix read_matrix(const Json& json) {
  const Tensor t = read_tensor(json);
  REQUIRE(t.shape.size() == 2);
  return {t.data, t.shape[0], t.shape[1]};
}

// Matrix `index` of a batch.
OwnedMatrix read_matrix(const Json& json, size_t index) {
  const Tensor t = read_tensor(json);
  const uint32_t rows = t.shape[t.shape.size() - 2], cols = t.shape.back();
  return {slice(t.data, index * rows * cols, size_t{rows} * cols), rows, cols};
}

OwnedLinear read_linear(const Json& a_case, const std::string& name) {
  OwnedLinear w;
  w.weight = read_matrix(a_case["weights"][name]);
  w.storage = a_case["weight_layout"].text.compare(0, 7, "(d_in,d") == 0 ? Storage::kInputByOutput
                                                                         : Storage::kOutputByInput;
  return w;
}

OwnedLayer read_layer(const Json& a_case, const std::string& prefix = "") {
  OwnedLayer m;
  m.query = read_linear(a_case, prefix + "W_query");
  m.key = read_linear(a_case, prefix + "W_key");
  m.value = read_linear(a_case, prefix + "W_value");
  return m;
}

// Within 1e-6, element by element.
void check_near(const Floats& found, const Floats& expected, const std::string& what) {
  REQUIRE_MESSAGE(found.size() == expected.size(), what);
  for (size_t i = 0; i < found.size(); ++i) {
    const bool near = found[i] == expected[i] || std::fabs(found[i] - expected[i]) <= 1e-6f;
    CHECK_MESSAGE(near, what, " [", i, "]: found ", found[i], ", expected ", expected[i]);
  }
}

void check_near(const Floats& found, const Json& expected, const std::string& what) {
  check_near(found, read_tensor(expected).data, what);
}

Options unscaled() {
  Options o = {};
  o.scale = 1.0f;
  return o;
}

void check_simple(const Json& c) {
  const OwnedMatrix x = read_matrix(c["inputs"]);
  const Outcome all = simple(x);
  check_near(all.scores, c["scores"], "scores");
  check_near(all.weights, c["attention_weights"], "weights");
  check_near(all.context, c["context"], "context");
  Options second = {};
  second.first_query = 1;
  second.n_queries = 1;
  const Outcome one = simple(x, second);
  check_near(one.scores, c["extra"]["attn_scores_token2"], "scores of token 2");
  check_near(one.weights, c["extra"]["softmax_naive_token2"], "weights of token 2");
  check_near(one.context, c["extra"]["context_token2"], "context of token 2");
  float sum = 0;
  for (float score : one.scores) sum += score;
  Floats shares = one.scores;
  for (float& share : shares) share /= sum;
  check_near(shares, c["extra"]["naive_sum_normalised_token2"], "scores over their sum");
}

void check_projected(const Json& c) {
  const OwnedMatrix x = read_matrix(c["inputs"]);
  const OwnedLayer m = read_layer(c);
  check_near(projected_alone(x, m.query), c["queries"], "queries");
  check_near(projected_alone(x, m.key), c["keys"], "keys");
  check_near(projected_alone(x, m.value), c["values"], "values");
  check_near(projected(self_attention, x, m, unscaled()).scores, c["scores"], "scores");
  const Outcome full = projected(self_attention, x, m);
  Outcome o = full;
  if (c["name"].text == "causal_mask_zero_renormalise") {
    check_near(full.weights, c["unmasked_attention_weights"], "unmasked weights");
    Floats masked = full.weights;
    for (uint32_t i = 0; i < x.rows; ++i) {
      for (uint32_t t = i + 1; t < x.rows; ++t) masked[i * x.rows + t] = 0;
    }
    check_near(masked, c["masked_before_renormalising"], "masked weights");
    o = projected(causal_attention_renormalised, x, m);
  } else if (c["name"].text == "causal_mask_neg_inf") {
    check_near(projected(causal_attention, x, m, unscaled()).scores, c["masked_scores"],
               "masked scores");
    o = projected(causal_attention, x, m);
  }
  check_near(o.weights, c["attention_weights"], "weights");
  check_near(o.context, c["context"], "context");
}

void check_dropout(const Json& c, const Json& causal_case) {
  const auto mask_of = [](const Json& json) {
    std::vector<uint8_t> mask;
    for (float keep : read_tensor(json).data) mask.push_back(keep != 0.0f);
    return mask;
  };
  const std::vector<uint8_t> mask = mask_of(c["keep_mask"]);
  const std::vector<uint8_t> book = mask_of(c["keep_mask_printed_in_book"]);
  const float p = c["p"].as_float();
  const auto dropped = [&](Floats weights, const std::vector<uint8_t>& keep) {
    REQUIRE(apply_dropout(weights.data(), 6, 6, {p, 0, keep.data()}) == THIMBLE_OK);
    return weights;
  };
  const Floats before = read_tensor(c["attention_weights_before"]).data;
  check_near(dropped(before, mask), c["attention_weights"], "weights, dropped");
  check_near(dropped(Floats(36, 1.0f), mask), c["dropped_ones"], "ones, dropped");
  check_near(dropped(before, book), c["attention_weights_with_book_mask"], "with the book's mask");
  Options o = {};
  o.dropout = {p, 0, mask.data()};
  const Outcome causal =
      projected(causal_attention, read_matrix(causal_case["inputs"]), read_layer(causal_case), o);
  check_near(causal.weights, c["attention_weights"], "weights of causal attention with the mask");
}

void check_causal_class(const Json& c) {
  const OwnedLayer m = read_layer(c);
  for (size_t b = 0; b < 2; ++b) {
    const OwnedMatrix x = read_matrix(c["inputs"], b);
    check_near(projected_alone(x, m.query), read_matrix(c["queries"], b).data, "queries");
    check_near(projected_alone(x, m.key), read_matrix(c["keys"], b).data, "keys");
    check_near(projected_alone(x, m.value), read_matrix(c["values"], b).data, "values");
    check_near(projected(self_attention, x, m, unscaled()).scores, read_matrix(c["scores"], b).data,
               "scores");
    const Outcome o = projected(causal_attention, x, m);
    check_near(o.weights, read_matrix(c["attention_weights"], b).data, "weights");
    check_near(o.context, read_matrix(c["context"], b).data, "context");
  }
}

void check_wrapper(const Json& c) {
  const std::vector<OwnedLayer> heads = {read_layer(c, "heads.0."), read_layer(c, "heads.1.")};
  for (size_t b = 0; b < 2; ++b) {
    const OwnedMatrix x = read_matrix(c["inputs"], b);
    const Outcome o = wrapped(x, heads);
    for (size_t h = 0; h < 2; ++h) {
      check_near(projected(self_attention, x, heads[h], unscaled()).scores,
                 read_matrix(c["scores"][h], b).data, "scores");
      check_near(slice(o.weights, h * 36, 36), read_matrix(c["attention_weights"][h], b).data,
                 "weights");
      check_near(columns(o.context, 4, 2 * h, 2), read_matrix(c["head_context"][h], b).data,
                 "context of a head");
    }
    check_near(o.context, read_matrix(c["context"], b).data, "context");
  }
}

void check_multi_head(const Json& c) {
  OwnedLayer m = read_layer(c);
  m.n_heads = m.n_kv_heads = 2;
  OwnedLayer with_output = m;
  with_output.output = read_linear(c, "out_proj.weight");
  with_output.output.bias = read_tensor(c["weights"]["out_proj.bias"]).data;
  for (size_t b = 0; b < 2; ++b) {
    const OwnedMatrix x = read_matrix(c["inputs"], b);
    const Floats queries = projected_alone(x, m.query), keys = projected_alone(x, m.key);
    const Floats values = projected_alone(x, m.value);
    OwnedLayer full = m;
    full.mask = Mask::kNone;
    const Outcome unmasked = multi_head(x, full, unscaled());
    const Outcome o = multi_head(x, with_output);
    for (size_t h = 0; h < 2; ++h) {
      const size_t at = 2 * b + h;
      check_near(columns(queries, 2, h, 1), read_matrix(c["queries"], at).data, "queries");
      check_near(columns(keys, 2, h, 1), read_matrix(c["keys"], at).data, "keys");
      check_near(columns(values, 2, h, 1), read_matrix(c["values"], at).data, "values");
      check_near(slice(unmasked.scores, h * 36, 36), read_matrix(c["scores"], at).data, "scores");
      check_near(slice(o.weights, h * 36, 36), read_matrix(c["attention_weights"], at).data,
                 "weights");
    }
    check_near(multi_head(x, m).context, read_matrix(c["context_before_out_proj"], b).data,
               "heads side by side");
    check_near(o.context, read_matrix(c["context"], b).data, "context");
  }
}

void check_per_head_products(const Json& c) {
  for (size_t h = 0; h < 2; ++h) {
    check_near(simple(read_matrix(c["inputs"], h)).scores, read_matrix(c["result"], h).data,
               "a a^T");
  }
}

bool read_golden(const std::string& path, Json* out) {
  std::string text;
  if (!read_whole_file(path, &text)) return false;
  *out = parse_json(text);
  return true;
}

void check_chapter(const Json& golden) {
  const Json& cases = golden["cases"];
  CHECK(cases.size() == 10);
  const Json* causal_case = nullptr;
  for (const Json& c : cases.items) {
    const std::string name = c["name"].text;
    CAPTURE(name);
    if (name == "simple_self_attention") {
      check_simple(c);
    } else if (name == "dropout_on_causal_weights") {
      REQUIRE(causal_case);
      check_dropout(c, *causal_case);
    } else if (name == "causal_attention_class") {
      check_causal_class(c);
    } else if (name == "multi_head_attention_wrapper") {
      check_wrapper(c);
    } else if (name == "multi_head_attention") {
      check_multi_head(c);
    } else if (name == "batched_per_head_matmul") {
      check_per_head_products(c);
    } else {
      if (name == "causal_mask_neg_inf") causal_case = &c;
      check_projected(c);  // refuses a case of another kind, as it lacks its members
    }
  }
}

// ---- Random cases: a bound for each number -----------------------------------------------------
// Everything is reckoned again in double, and with each number the variance of the engine's error,
// by the model of double_forward.h: a rounding of v adds (u v)^2 / 3, errors go through an
// operation by its derivatives, and a bound is 8 standard deviations.
//   a sum of products   a rounding of each partial sum; factors' variances times the others'
//   squares a bias, a factor    one rounding a query's scaling   three: sqrt, division, product a
//   score in softmax  the subtraction of the maximum rounds, u |s - max|, and exp has an ulp, 2 u
//   a weight            d w_t = w_t (d s_t - sum over k of w_k d s_k); the sum of n in 16 lanes,
//                       1 / sum and the product: n / 16 + 7 roundings that all weights share
//   a context           d c = sum over t of w_t (v_t - c) d s_t + w_t d v_t, the shared roundings
//   of
//                       the weights, and those of the chain
// What exp takes for 0 is below e^-87. The golden numbers have 9 digits: 5e-9 of themselves.

using EstimateRows = std::vector<Estimates>;

template <class At>
Estimate sum_of_products(size_t n, At at) {
  Estimate sum;
  for (size_t i = 0; i < n; ++i) {
    const auto [a, b] = at(i);
    sum.value += a.value * b.value;
    sum.variance += square(a.value) * b.variance + square(b.value) * a.variance +
                    a.variance * b.variance + roundings(sum.value);
  }
  return sum;
}

double at_double(const OwnedLinear& w, size_t in, size_t out) {
  const size_t cols = w.weight.cols;
  return static_cast<double>(
      w.weight.data[w.storage == Storage::kOutputByInput ? out * cols + in : in * cols + out]);
}

EstimateRows reckon_product(const EstimateRows& x, const OwnedLinear& w, size_t n_out) {
  EstimateRows y(x.size(), Estimates(n_out));
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t o = 0; o < n_out; ++o) {
      y[i][o] = sum_of_products(x[i].size(), [&](size_t c) {
        return std::pair<Estimate, Estimate>{x[i][c], {at_double(w, c, o), 0}};
      });
      if (w.bias.empty()) continue;
      y[i][o].value += static_cast<double>(w.bias[o]);
      y[i][o].variance += roundings(y[i][o].value);
    }
  }
  return y;
}

// The weights of some scores, whose own variance becomes that of what exp makes of them.
Estimates reckon_softmax(Estimates* scores) {
  double max = (*scores)[0].value, sum = 0, spread = 0;
  for (const Estimate& s : *scores) max = std::fmax(max, s.value);
  Estimates weights(scores->size());
  for (size_t t = 0; t < weights.size(); ++t) {
    (*scores)[t].variance += roundings((*scores)[t].value - max) + roundings(2);
    weights[t].value = std::exp((*scores)[t].value - max);
    sum += weights[t].value;
  }
  for (size_t t = 0; t < weights.size(); ++t) {
    weights[t].value /= sum;
    spread += square(weights[t].value) * (*scores)[t].variance;
  }
  const double shared = static_cast<double>(weights.size()) / 16 + 7;
  for (size_t t = 0; t < weights.size(); ++t) {
    const double w = weights[t].value, own = (*scores)[t].variance;
    weights[t].variance = square(w) * (square(1 - w) * own + spread - square(w) * own);
    weights[t].variance += roundings(w, shared);
  }
  return weights;
}

struct ReckonedOutcome {
  std::vector<EstimateRows> scores, weights;  // a head, a query
  EstimateRows heads, context;
};

ReckonedOutcome reckon(const OwnedMatrix& x, const OwnedLayer& m) {
  const size_t q_width = m.q_width(), head_dim = q_width / m.n_heads;
  const size_t shared = m.n_heads / m.n_kv_heads, kv_width = m.n_kv_heads * head_dim;
  EstimateRows inputs(x.rows, Estimates(x.cols));
  for (size_t i = 0; i < x.data.size(); ++i) {
    inputs[i / x.cols][i % x.cols].value = static_cast<double>(x.data[i]);
  }
  EstimateRows q = reckon_product(inputs, m.query, q_width);
  const EstimateRows k = reckon_product(inputs, m.key, kv_width);
  const EstimateRows v = reckon_product(inputs, m.value, kv_width);
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  for (Estimates& row : q) {
    for (Estimate& e : row) {
      e.value *= scale;
      e.variance = square(scale) * e.variance + roundings(e.value, 3);
    }
  }
  ReckonedOutcome out;
  out.heads.assign(x.rows, Estimates(q_width));
  out.scores.resize(m.n_heads);
  out.weights.resize(m.n_heads);
  for (size_t h = 0; h < m.n_heads; ++h) {
    const size_t kv = h / shared * head_dim;
    for (size_t i = 0; i < x.rows; ++i) {
      const size_t n = m.mask == Mask::kCausal ? i + 1 : x.rows;
      Estimates scores(n);
      for (size_t t = 0; t < n; ++t) {
        scores[t] = sum_of_products(head_dim, [&](size_t d) {
          return std::pair<Estimate, Estimate>{q[i][h * head_dim + d], k[t][kv + d]};
        });
      }
      out.scores[h].push_back(scores);
      const Estimates weights = reckon_softmax(&scores);
      for (size_t d = 0; d < head_dim; ++d) {
        Estimate& c = out.heads[i][h * head_dim + d];
        c = sum_of_products(n, [&](size_t t) {
          return std::pair<Estimate, Estimate>{{weights[t].value, 0}, v[t][kv + d]};
        });
        for (size_t t = 0; t < n; ++t) {
          c.variance +=
              square(weights[t].value * (v[t][kv + d].value - c.value)) * scores[t].variance;
        }
        c.variance += roundings(c.value, static_cast<double>(n) / 16 + 7);
      }
      out.weights[h].push_back(weights);
    }
  }
  out.context = m.output.weight.rows ? reckon_product(out.heads, m.output, m.width()) : out.heads;
  return out;
}

struct Comparison {
  double worst_share = 0, largest_bound = 0;
  size_t n = 0;
};

// found against its bound; golden, where there is one, against what was reckoned here.
void compare(float found, const Estimate& reckoned, const float* golden, Comparison* c) {
  const double bound = reckoned.bound() + std::exp(-87.0);
  const double error = std::fabs(static_cast<double>(found) - reckoned.value);
  REQUIRE(std::isfinite(found));
  REQUIRE_MESSAGE(error <= bound, "found ", found, ", reckoned ", reckoned.value, " +- ", bound);
  if (golden) {  // a float of a number of 9 digits
    const double apart = std::fabs(static_cast<double>(*golden) - reckoned.value);
    REQUIRE_MESSAGE(apart <= (5e-9 + kUnit) * std::fabs(reckoned.value) + 1e-13, "golden ", *golden,
                    ", reckoned ", reckoned.value);
  }
  c->worst_share = std::fmax(c->worst_share, error / bound);
  c->largest_bound = std::fmax(c->largest_bound, bound);
  ++c->n;
}

OwnedLayer read_random_layer(const Json& c) {
  OwnedLayer m;
  const auto read = [&](const char* name) {
    OwnedLinear w;
    w.weight = read_matrix(c["weights"][name]);
    if (const Json* bias = c["biases"].find(name)) w.bias = read_tensor(*bias).data;
    return w;
  };
  m.query = read("W_query");
  m.key = read("W_key");
  m.value = read("W_value");
  if (c["out_proj"].boolean) m.output = read("out_proj");
  m.n_heads = static_cast<uint32_t>(c["num_heads"].as_int());
  m.n_kv_heads = static_cast<uint32_t>(c["num_kv_heads"].as_int());
  m.mask = c["causal"].boolean ? Mask::kCausal : Mask::kNone;
  return m;
}

// Every number the form gives for the case, and every number the case has.
void check_random_case(const Json& c, Comparison* total) {
  const OwnedMatrix x = read_matrix(c["x"]);
  const OwnedLayer m = read_random_layer(c);
  const ReckonedOutcome reckoned = reckon(x, m);
  const Outcome found = multi_head(x, m);
  const auto golden_of = [&](const char* name) {
    const Json* json = c.find(name);
    return json ? read_tensor(*json).data : Floats();
  };
  const Floats scores = golden_of("scaled_scores_unmasked");
  const Floats weights = golden_of("attention_weights");
  const Floats last_weights = golden_of("attention_weights_last_row");
  const Floats heads_last = golden_of("context_before_out_proj_last_row");
  const Floats context = golden_of("context");
  Comparison parts[3];
  size_t n_golden = 0;
  const auto at = [&](const Floats& golden, size_t i) {
    n_golden += !golden.empty();
    return golden.empty() ? nullptr : &golden[i];
  };
  for (size_t h = 0; h < m.n_heads; ++h) {
    for (size_t i = 0; i < x.rows; ++i) {
      for (size_t t = 0; t < x.rows; ++t) {
        const size_t place = (h * x.rows + i) * x.rows + t;
        if (t >= reckoned.weights[h][i].size()) {
          REQUIRE(found.weights[place] == 0.0f);
          REQUIRE(found.scores[place] == -kInfinity);
          REQUIRE((weights.empty() || weights[place] == 0.0f));
          continue;
        }
        compare(found.scores[place], reckoned.scores[h][i][t], at(scores, place), &parts[0]);
        const float* golden = i + 1 == x.rows && !last_weights.empty()
                                  ? at(last_weights, h * x.rows + t)
                                  : at(weights, place);
        compare(found.weights[place], reckoned.weights[h][i][t], golden, &parts[1]);
      }
    }
  }
  const size_t width = m.width();
  REQUIRE(context.size() == x.rows * width);
  for (size_t i = 0; i < context.size(); ++i) {
    compare(found.context[i], reckoned.context[i / width][i % width], at(context, i), &parts[2]);
  }
  if (!heads_last.empty()) {
    OwnedLayer bare = m;
    bare.output = {};
    Options last = {};
    last.first_query = x.rows - 1;
    const Floats heads = multi_head(x, bare, last).context;
    REQUIRE(heads.size() == heads_last.size());
    for (size_t d = 0; d < heads.size(); ++d) {
      compare(heads[d], reckoned.heads.back()[d], at(heads_last, d), &parts[2]);
    }
  }
  const bool extreme = c["name"].text == "extreme_logits";
  CHECK(n_golden > 0);
  CHECK(parts[2].largest_bound < (extreme ? 0.05 : 4e-5));  // so that the bounds say something
  for (const Comparison& part : parts) {
    total->worst_share = std::fmax(total->worst_share, part.worst_share);
    total->n += part.n;
    if (!extreme) total->largest_bound = std::fmax(total->largest_bound, part.largest_bound);
  }
}

void check_random_cases(const Json& golden, size_t n_cases) {
  Comparison total;
  CHECK(golden["cases"].size() == n_cases);
  for (const Json& c : golden["cases"].items) {
    const std::string name = c["name"].text;
    CAPTURE(name);
    check_random_case(c, &total);
  }
  MESSAGE(total.n, " numbers; worst: ", total.worst_share, " of its bound; largest bound ",
          total.largest_bound);
  CHECK(total.worst_share > 0.1);
}

// ---- Shapes to sweep ---------------------------------------------------------------------------

struct Swept {
  OwnedMatrix x;
  OwnedLayer layer;
};

template <class Check>
void over_random_shapes(uint64_t seed, int count, Check check) {
  Random random(seed);
  constexpr uint32_t kLengths[] = {1, 2, 3, 15, 16, 17, 31, 33, 50};
  for (int i = 0; i < count; ++i) {
    const uint32_t T = kLengths[static_cast<size_t>(i) % 9], d = 1 + random.below(20);
    const uint32_t kv_heads = 1 + random.below(3), heads = kv_heads * (1 + random.below(3));
    const uint32_t head_dim = 1 + random.below(19),
                   n_out = random.below(2) * (1 + random.below(40));
    Swept s{random_matrix(random, T, d),
            random_layer(random, d, heads, kv_heads, head_dim, random.below(2) == 0, n_out)};
    CAPTURE(T);
    CAPTURE(d);
    CAPTURE(heads);
    CAPTURE(kv_heads);
    CAPTURE(head_dim);
    CAPTURE(n_out);
    check(s, random);
  }
}

Options with_dropout(float p, uint64_t seed) {
  Options o = {};
  o.dropout = {p, seed, nullptr};
  return o;
}

}  // namespace

TEST_CASE("attention: chapter 3 of the path, within 1e-6 (committed)") {
  Json golden;
  REQUIRE(read_golden("tests/golden/attention_ch03.json", &golden));
  check_chapter(golden);
}

TEST_CASE("attention: chapter 3 of the path, within 1e-6 (../shared)") {
  Json golden;
  if (!read_golden("../shared/golden/attention_ch03.json", &golden)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  check_chapter(golden);
}

TEST_CASE("attention: random cases within a derived bound (committed)") {
  Json golden;
  REQUIRE(read_golden("tests/golden/attention_random.json", &golden));
  check_random_cases(golden, 5);
}

TEST_CASE("attention: random cases within a derived bound (../shared)") {
  Json golden;
  if (!read_golden("../shared/golden/attention_random.json", &golden)) {
    MESSAGE("skipped: ../shared is absent");
    return;
  }
  check_random_cases(golden, 32);
}

// ---- Properties ------------------------------------------------------------------------------

TEST_CASE("attention: rows of weights sum to 1, and nothing is above the diagonal") {
  over_random_shapes(20, 60, [](Swept& s, Random& random) {
    const double one_ulp = 0x1p-23;
    if (random.below(2)) s.layer.mask = Mask::kNone;
    const Outcome o = multi_head(s.x, s.layer);
    const size_t T = s.x.rows;
    for (size_t row = 0; row < s.layer.n_heads * T; ++row) {
      double sum = 0;
      for (size_t t = 0; t < T; ++t) {
        const float weight = o.weights[row * T + t];
        REQUIRE(weight >= 0.0f);
        if (s.layer.mask == Mask::kCausal && t > row % T) {
          REQUIRE(weight == 0.0f);
          REQUIRE(o.scores[row * T + t] == -kInfinity);
        }
        sum += static_cast<double>(weight);
      }
      REQUIRE(std::fabs(sum - 1) <= 2 * one_ulp * static_cast<double>(T));
    }
  });
}

TEST_CASE("attention: changing a later token never changes an earlier output by one bit") {
  over_random_shapes(21, 60, [](Swept& s, Random& random) {
    const Outcome before = multi_head(s.x, s.layer);
    const uint32_t T = s.x.rows, changed = random.below(T);
    const float values[] = {random.normal(), 1e18f, kInfinity, kNan};
    for (float value : values) {
      OwnedMatrix x = s.x;
      x.data[size_t{changed} * x.cols + random.below(x.cols)] = value;
      const Outcome after = multi_head(x, s.layer);
      const size_t width = s.layer.width();
      REQUIRE(same_bits(slice(before.context, 0, changed * width),
                        slice(after.context, 0, changed * width)));
      for (size_t h = 0; h < s.layer.n_heads; ++h) {
        const size_t head = h * T * T, rows = size_t{changed} * T;
        REQUIRE(same_bits(slice(before.weights, head, rows), slice(after.weights, head, rows)));
        REQUIRE(same_bits(slice(before.scores, head, rows), slice(after.scores, head, rows)));
      }
    }
  });
}

TEST_CASE("attention: permuting heads permutes outputs") {
  over_random_shapes(22, 40, [](Swept& s, Random& random) {
    s.layer.output = {};
    const uint32_t head_dim = s.layer.q_width() / s.layer.n_heads;
    const uint32_t shared = s.layer.n_heads / s.layer.n_kv_heads;
    std::vector<uint32_t> order(s.layer.n_kv_heads), q_outputs, kv_outputs;
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    for (uint32_t i = s.layer.n_kv_heads; i-- > 1;) std::swap(order[i], order[random.below(i + 1)]);
    for (uint32_t kv : order) {
      for (uint32_t o : head_outputs(kv, head_dim)) kv_outputs.push_back(o);
      for (uint32_t o : head_outputs(kv, shared * head_dim)) q_outputs.push_back(o);
    }
    OwnedLayer permuted = s.layer;
    permuted.query = outputs_of(s.layer.query, q_outputs);
    permuted.key = outputs_of(s.layer.key, kv_outputs);
    permuted.value = outputs_of(s.layer.value, kv_outputs);
    const Outcome a = multi_head(s.x, s.layer), b = multi_head(s.x, permuted);
    const size_t width = s.layer.q_width(), kv_width = shared * head_dim;
    const size_t each = shared * s.x.rows * s.x.rows;
    for (size_t i = 0; i < order.size(); ++i) {
      REQUIRE(same_bits(columns(a.context, width, order[i] * kv_width, kv_width),
                        columns(b.context, width, i * kv_width, kv_width)));
      REQUIRE(same_bits(slice(a.weights, order[i] * each, each), slice(b.weights, i * each, each)));
    }
  });
}

TEST_CASE("attention: a sequence of one gives its own value back") {
  over_random_shapes(23, 40, [](Swept& s, Random&) {
    OwnedLayer m = s.layer;
    m.output = {};
    m.n_kv_heads = m.n_heads;
    m.key = m.query;  // as many KV heads as heads
    m.value = m.query;
    const OwnedMatrix x = {slice(s.x.data, 0, s.x.cols), 1, s.x.cols};
    const Outcome o = multi_head(x, m);
    REQUIRE(o.context == projected_alone(x, m.value));
    REQUIRE(o.weights == Floats(m.n_heads, 1.0f));
    REQUIRE(simple(x).context == x.data);
  });
}

TEST_CASE("attention: separate heads equal one set of matrices split into heads") {
  over_random_shapes(24, 60, [](Swept& s, Random&) {
    s.layer.output = {};
    const uint32_t head_dim = s.layer.q_width() / s.layer.n_heads;
    const uint32_t shared = s.layer.n_heads / s.layer.n_kv_heads;
    std::vector<OwnedLayer> heads(s.layer.n_heads);
    for (uint32_t h = 0; h < s.layer.n_heads; ++h) {  // grouped heads have the same keys and values
      heads[h].query = outputs_of(s.layer.query, head_outputs(h, head_dim));
      heads[h].key = outputs_of(s.layer.key, head_outputs(h / shared, head_dim));
      heads[h].value = outputs_of(s.layer.value, head_outputs(h / shared, head_dim));
    }
    REQUIRE(same_bits(wrapped(s.x, heads), multi_head(s.x, s.layer)));
    const Options o = with_dropout(0.3f, 5);
    REQUIRE(same_bits(wrapped(s.x, heads, o), multi_head(s.x, s.layer, o)));
  });
}

TEST_CASE("attention: both ways of storing a matrix give the same bits") {
  over_random_shapes(25, 30, [](Swept& s, Random&) {
    OwnedLayer other = s.layer;
    for (OwnedLinear* w : {&other.query, &other.key, &other.value, &other.output}) {
      OwnedMatrix& m = w->weight;
      OwnedMatrix turned = {Floats(m.data.size()), m.cols, m.rows};
      for (uint32_t r = 0; r < m.rows; ++r) {
        for (uint32_t c = 0; c < m.cols; ++c) {
          turned.data[size_t{c} * m.rows + r] = m.data[size_t{r} * m.cols + c];
        }
      }
      m = turned;
      w->storage =
          w->storage == Storage::kOutputByInput ? Storage::kInputByOutput : Storage::kOutputByInput;
    }
    REQUIRE(same_bits(multi_head(s.x, other), multi_head(s.x, s.layer)));
  });
}

TEST_CASE("attention: one query position alone is the row of all") {
  over_random_shapes(26, 40, [](Swept& s, Random& random) {
    if (random.below(2)) s.layer.mask = Mask::kNone;
    Options some = with_dropout(0.25f, 9);
    const Outcome all = multi_head(s.x, s.layer, some);
    some.first_query = random.below(s.x.rows);
    some.n_queries = 1 + random.below(s.x.rows - some.first_query);
    const Outcome part = multi_head(s.x, s.layer, some);
    const size_t T = s.x.rows, width = s.layer.width();
    for (size_t h = 0; h < s.layer.n_heads; ++h) {
      const size_t from = (h * T + some.first_query) * T, each = some.n_queries * T;
      REQUIRE(same_bits(slice(all.scores, from, each), slice(part.scores, h * each, each)));
      REQUIRE(same_bits(slice(all.weights, from, each), slice(part.weights, h * each, each)));
    }
    REQUIRE(same_bits(slice(all.context, some.first_query * width, some.n_queries * width),
                      part.context));
  });
}

TEST_CASE(
    "attention: with a cache, one position at a time equals the whole sequence at once, bit for "
    "bit") {
  over_random_shapes(27, 60, [](Swept& s, Random& random) {
    const uint32_t T = s.x.rows, heads = s.layer.n_heads, n_ctx = T + random.below(3);
    const size_t width = s.layer.width();
    const MultiHead layer = s.layer.view();
    const Options options = random.below(2) ? with_dropout(0.5f, 3) : Options{};
    const Outcome whole = multi_head(s.x, s.layer, options);
    ScratchBlock memory(cache_bytes(layer, n_ctx));
    KeyValueCache cache;
    REQUIRE(cache_init(&cache, layer, n_ctx, memory.scratch(1)) == THIMBLE_ERROR_ARENA_TOO_SMALL);
    REQUIRE(cache_init(&cache, layer, n_ctx, memory.scratch()) == THIMBLE_OK);
    const uint32_t largest = 1 + random.below(5);
    for (uint32_t at = 0, n; at < T; at += n) {
      n = std::min(T - at, largest == 1 ? 1 : 1 + random.below(largest));
      const OwnedMatrix x = {slice(s.x.data, size_t{at} * s.x.cols, size_t{n} * s.x.cols), n,
                             s.x.cols};
      const uint32_t n_keys = at + n;
      const Outcome o = outcome(heads, n, n_keys, width, scratch_bytes(x.view(), layer, n_keys),
                                [&](const Results& r, const Scratch& scratch) {
                                  cache.n = at;  // outcome() calls more than once
                                  return multi_head_attention_cached(x.view(), layer, &cache,
                                                                     options, r, scratch);
                                });
      REQUIRE(cache.n == n_keys);
      REQUIRE(same_bits(o.context, slice(whole.context, at * width, n * width)));
      for (size_t row = 0; row < size_t{heads} * n; ++row) {
        const size_t from = ((row / n) * T + at + row % n) * T;
        REQUIRE(
            same_bits(slice(o.weights, row * n_keys, n_keys), slice(whole.weights, from, n_keys)));
        REQUIRE(
            same_bits(slice(o.scores, row * n_keys, n_keys), slice(whole.scores, from, n_keys)));
      }
    }
    ScratchBlock scratch(scratch_bytes(s.x.view(), layer, n_ctx + s.x.rows));
    Floats context(T * width);
    const Results results = {nullptr, nullptr, context.data()};
    cache.n = n_ctx - T + 1;
    CHECK(multi_head_attention_cached(s.x.view(), layer, &cache, options, results,
                                      scratch.scratch()) == THIMBLE_ERROR_CONTEXT_FULL);
    CHECK(cache.n == n_ctx - T + 1);
  });
}

TEST_CASE("attention: the same bits on every kernel table") {
  over_random_shapes(28, 40, [](Swept& s, Random&) {
    OwnedLayer one = s.layer;
    one.n_heads = one.n_kv_heads = 1;
    one.key = one.query;
    one.value = one.query;
    std::vector<Outcome> expected;
    for (size_t k = 0; kernels_at(k); ++k) {
      Options o = with_dropout(0.1f, 1);
      o.isa = kernels_at(k)->name;
      const std::vector<Outcome> found = {simple(s.x, o), projected(self_attention, s.x, one, o),
                                          projected(causal_attention, s.x, one, o),
                                          projected(causal_attention_renormalised, s.x, one, o),
                                          multi_head(s.x, s.layer, o)};
      if (expected.empty()) expected = found;
      for (size_t i = 0; i < found.size(); ++i) {
        REQUIRE_MESSAGE(same_bits(found[i], expected[i]), std::string(o.isa), ", form ", i);
      }
    }
  });
}

// ---- The masks -------------------------------------------------------------------------------

TEST_CASE("attention: minus infinity before one softmax equals the longer way") {
  // Weights of both ways are e_t / sum. Subtracting the maximum from a score rounds by at most u f,
  // f being how far the lowest score is below the highest of all: in the term and in the sum's
  // terms, in both ways, 4 f u. exp: 2 u for each of these, 8 u. The sums: n / 16 + 5 roundings in
  // 16 lanes, twice, and n in a row; 1 / sum, products and quotient: 6 u. All this is below
  // (4 f + 2 n + 24) u. No score here is 80 below the highest, so nothing vanishes. Contexts mix
  // these weights: the bound times |values|, and n u for the chain of each.
  over_random_shapes(29, 60, [](Swept& s, Random&) {
    OwnedLayer m = s.layer;
    m.key = m.value = m.query;
    for (float& w : m.key.weight.data) w = -w;
    const Outcome full = projected(self_attention, s.x, m);
    const Outcome fast = projected(causal_attention, s.x, m);
    const Outcome slow = projected(causal_attention_renormalised, s.x, m);
    const Floats values = projected_alone(s.x, m.value);
    const size_t T = s.x.rows, width = m.q_width();
    REQUIRE(same_bits(full.scores, slow.scores));
    for (size_t i = 0; i < T; ++i) {
      double max = -1e30;
      for (size_t t = 0; t < T; ++t) {
        max = std::fmax(max, static_cast<double>(full.scores[i * T + t]));
      }
      double furthest = 0;
      for (size_t t = 0; t <= i; ++t) {
        furthest = std::fmax(furthest, max - static_cast<double>(full.scores[i * T + t]));
        REQUIRE(same_bits({fast.scores[i * T + t]}, {full.scores[i * T + t]}));
      }
      REQUIRE(furthest < 80);
      const double n = static_cast<double>(T);
      const double bound = 1.001 * kUnit * (4 * furthest + 2 * n + 24);
      for (size_t t = 0; t < T; ++t) {
        const double a = static_cast<double>(fast.weights[i * T + t]);
        REQUIRE(std::fabs(a - static_cast<double>(slow.weights[i * T + t])) <= bound * a);
      }
      for (size_t d = 0; d < width; ++d) {
        double size = 0;
        for (size_t t = 0; t <= i; ++t) {
          size += static_cast<double>(fast.weights[i * T + t] * std::fabs(values[t * width + d]));
        }
        const double apart = static_cast<double>(fast.context[i * width + d]) -
                             static_cast<double>(slow.context[i * width + d]);
        REQUIRE(std::fabs(apart) <= (bound + 2 * n * kUnit) * size * 1.0001);
      }
    }
  });
}

TEST_CASE("attention: the longer way loses what a later token outweighs") {
  // One input is 1, the next 200: the first position's score of the second is 200.
  const OwnedMatrix x = {{1.0f, 200.0f}, 2, 1};
  OwnedLayer m;
  m.query.weight = m.key.weight = m.value.weight = {{1.0f}, 1, 1};
  const Outcome fast = projected(causal_attention, x, m);
  const Outcome slow = projected(causal_attention_renormalised, x, m);
  CHECK(fast.weights == Floats{1, 0, 0, 1});
  CHECK(slow.weights == Floats{0, 0, 0, 1});
  CHECK(fast.context == Floats{1, 200});
  CHECK(slow.context == Floats{0, 200});
}

TEST_CASE("attention: a masked score of 0 would still weigh") {
  const OwnedMatrix x = {{1.0f, 0.0f, 0.0f, 1.0f}, 2, 2};  // the first token's score of the second
  Options first = {};
  first.n_queries = 1;
  const Outcome zero = simple(x, first);
  CHECK(zero.scores == Floats{1, 0});
  CHECK(zero.weights[1] > 0.26f);  // e^0 / (e^1 + e^0)
  OwnedLayer m;
  m.query.weight = m.key.weight = m.value.weight = {{1, 0, 0, 1}, 2, 2};
  const Outcome masked = projected(causal_attention, x, m, first);
  CHECK(masked.scores[1] == -kInfinity);
  CHECK(masked.weights == Floats{1, 0});
}

namespace {

// A table that counts the score tiles it computes: products of a key tile's 16 positions.
uint64_t counted_tiles;
void counting_matmul(float* out, size_t out_stride, const Matrix& w, uint32_t begin, uint32_t end,
                     const float* x, size_t x_stride, uint32_t n) {
  counted_tiles += end - begin;
  kKernelsReference.matmul_f32(out, out_stride, w, begin, end, x, x_stride, n);
}

}  // namespace

TEST_CASE("attention: no tile of scores beyond the diagonal is computed") {
  Random random(30);
  Kernels counting = kKernelsReference;
  counting.matmul_f32 = counting_matmul;
  for (uint32_t T : {1u, 16u, 17u, 33u, 64u, 100u}) {
    const OwnedMatrix x = random_matrix(random, T, 3);
    for (const Masking masking : {Masking::kBefore, Masking::kNone}) {
      Form form = {};  // without projections, so that every product is one of scores
      form.x = x.view();
      form.n_heads = form.n_kv_heads = 1;
      form.head_dim = form.width = 3;
      form.scale = 1.0f;
      form.masking = masking;
      ScratchBlock block(static_cast<size_t>(form_scratch_bytes(form, T)));
      Floats context(T * 3u);
      counted_tiles = 0;
      run_form(counting, form, {}, {nullptr, nullptr, context.data()}, block.scratch().data);
      uint64_t needed = 0;
      for (uint32_t i = 0; i < T; ++i) {
        needed += ((masking == Masking::kBefore ? i + 1 : T) + 15) / 16;
      }
      CHECK(counted_tiles == needed);
    }
  }
}

// ---- What readers ask --------------------------------------------------------------------------

TEST_CASE("attention: dot products are largest between vectors that point the same way") {
  Random random(31);
  for (uint32_t d : {2u, 3u, 17u}) {
    OwnedMatrix x = random_matrix(random, 40, d);
    for (uint32_t i = 0; i < x.rows; ++i) {  // all of length 1
      double length = 0;
      for (uint32_t c = 0; c < d; ++c) {
        length += static_cast<double>(x.data[i * d + c] * x.data[i * d + c]);
      }
      for (uint32_t c = 0; c < d; ++c) {
        x.data[i * d + c] /= static_cast<float>(std::sqrt(length));
      }
    }
    const Outcome o = simple(x);
    for (uint32_t i = 0; i < x.rows; ++i) {
      for (uint32_t t = 0; t < x.rows; ++t) {
        // |a - b|^2 = 2 - 2 a . b for vectors of length 1: the nearer, the larger the score.
        double distance = 0;
        for (uint32_t c = 0; c < d; ++c) {
          const double apart = static_cast<double>(x.data[i * d + c] - x.data[t * d + c]);
          distance += apart * apart;
        }
        const float score = o.scores[i * x.rows + t];
        REQUIRE(static_cast<double>(score) == doctest::Approx(1 - distance / 2).epsilon(1e-5));
        REQUIRE(score <= o.scores[i * x.rows + i] + 1e-6f);
        REQUIRE(score == o.scores[t * x.rows + i]);  // mutual
      }
    }
  }
}

TEST_CASE("attention: trained matrices make relatedness a matter of asking and offering") {
  // Inputs: (is a pronoun, is a name). A pronoun asks for a name; a name asks for nothing.
  const OwnedMatrix x = {{1, 0, 0, 1}, 2, 2};
  const Outcome bare = simple(x);
  CHECK(bare.scores == Floats{1, 0, 0, 1});  // each is like itself alone
  OwnedLayer m;
  m.query.weight = {{5, 0}, 2, 1};
  m.key.weight = {{0, 1}, 2, 1};
  m.value.weight = {{0, 1}, 2, 1};
  m.query.storage = m.key.storage = m.value.storage = Storage::kInputByOutput;
  const Outcome trained = projected(self_attention, x, m);
  CHECK(trained.scores == Floats{0, 5, 0, 0});  // the pronoun looks at the name, not back
  CHECK(trained.weights[1] > 0.99f);
  CHECK(trained.weights[2] == trained.weights[3]);
}

TEST_CASE("attention: the matrix of scores is every dot product, bit for bit") {
  Random random(32);
  for (uint32_t d : {1u, 3u, 16u, 50u}) {
    const OwnedMatrix x = random_matrix(random, 37, d);
    const Outcome o = simple(x);
    for (uint32_t i = 0; i < x.rows; ++i) {
      for (uint32_t t = 0; t < x.rows; ++t) {
        float dot = 0;
        for (uint32_t c = 0; c < d; ++c) {
          dot = std::fma(x.data[t * d + c], x.data[i * d + c], dot);
        }
        REQUIRE(same_bits({o.scores[i * x.rows + t]}, {dot}));
      }
    }
  }
}

TEST_CASE("attention: all heads look at the same positions") {
  over_random_shapes(33, 30, [](Swept& s, Random&) {
    const Outcome o = multi_head(s.x, s.layer);
    const size_t T = s.x.rows;
    for (size_t h = 0; h < s.layer.n_heads; ++h) {
      for (size_t i = 0; i < T; ++i) {
        for (size_t t = 0; t < T; ++t) {
          REQUIRE((o.weights[(h * T + i) * T + t] > 0) == (t <= i));
        }
      }
    }
  });
}

// ---- Edges -------------------------------------------------------------------------------------

TEST_CASE("attention: huge scores and equal scores neither overflow nor give a NaN") {
  Random random(34);
  for (uint32_t T : {1u, 2u, 7u, 16u, 19u}) {
    for (uint32_t d : {1u, 5u}) {
      OwnedMatrix x = random_matrix(random, T, d);
      for (float& v : x.data) v = v < 0 ? -100.0f : 100.0f;  // scores of +-1e4 d
      OwnedLayer m;
      m.query.weight = {Floats(size_t{d} * d), d, d};
      for (uint32_t i = 0; i < d; ++i) m.query.weight.data[size_t{i} * d + i] = 1.0f;
      m.key = m.value = m.query;
      const Outcome outcomes[] = {simple(x), projected(self_attention, x, m),
                                  projected(causal_attention, x, m),
                                  projected(causal_attention_renormalised, x, m)};
      for (const Outcome& o : outcomes) {
        for (float weight : o.weights) REQUIRE((weight >= 0.0f && weight <= 1.0f));
        for (float v : o.context) REQUIRE(std::fabs(v) <= 100.001f);
      }
      CHECK(std::fabs(outcomes[0].scores[0]) == 1e4f * static_cast<float>(d));

      x.data = Floats(x.data.size(), 1.0f);  // equal scores: equal weights, the mean of equals
      const Outcome equal = simple(x);
      for (float weight : equal.weights) {
        REQUIRE(weight == 1.0f / static_cast<float>(T));
      }
      for (float v : equal.context)
        REQUIRE(std::fabs(v - 1.0f) <= 0x1p-23f * static_cast<float>(T));
    }
  }
}

TEST_CASE("attention: what does not fit is refused, and nothing is written") {
  Random random(35);
  const OwnedMatrix x = random_matrix(random, 5, 8);
  const OwnedLayer owned = random_layer(random, 8, 4, 2, 3, true, 6);
  const MultiHead good = owned.view();
  const Floats untouched(4 * 5 * 5, 7.0f);
  Floats scores = untouched, weights = untouched, context = untouched;
  const Results all = {scores.data(), weights.data(), context.data()};
  ScratchBlock block(scratch_bytes(x.view(), good));
  const Scratch scratch = block.scratch();

  const auto call = [&](const MatrixView& inputs, const MultiHead& layer, const Options& options,
                        const Results& results, const Scratch& s) {
    const thimble_status status = multi_head_attention(inputs, layer, options, results, s);
    CHECK(scores == untouched);
    CHECK(weights == untouched);
    CHECK(context == untouched);
    return status;
  };
  const auto refuses_layer = [&](auto change, bool by_shape) {
    MultiHead bad = good;
    change(bad);
    CHECK(call(x.view(), bad, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
    CHECK((scratch_bytes(x.view(), bad) == 0) == by_shape);
    CHECK((cache_bytes(bad, 5) == 0) == by_shape);
  };
  refuses_layer([](MultiHead& m) { m.n_heads = 0; }, true);
  refuses_layer([](MultiHead& m) { m.n_heads = 5; }, true);     // does not divide 12
  refuses_layer([](MultiHead& m) { m.n_heads = 6; }, true);     // keys are of another width
  refuses_layer([](MultiHead& m) { m.n_heads = 24; }, true);    // more than the width
  refuses_layer([](MultiHead& m) { m.n_kv_heads = 3; }, true);  // does not divide 4
  refuses_layer([](MultiHead& m) { m.n_kv_heads = 0; }, true);  // means 4
  refuses_layer([](MultiHead& m) { m.n_kv_heads = 8; }, true);
  refuses_layer([](MultiHead& m) { m.mask = static_cast<Mask>(2); }, true);
  refuses_layer([](MultiHead& m) { m.w.query.storage = static_cast<Storage>(2); }, true);
  refuses_layer([](MultiHead& m) { m.w.query.weight.rows = 0; }, true);
  refuses_layer([](MultiHead& m) { m.w.key.weight.cols = 0; }, true);
  refuses_layer([](MultiHead& m) { m.w.value.weight = {m.w.value.weight.data, 7, 7}; }, true);
  refuses_layer([](MultiHead& m) { m.w.value.weight.rows = (1u << 24) + 1; }, true);
  refuses_layer([](MultiHead& m) { m.output.weight.rows = 0; }, true);
  refuses_layer([](MultiHead& m) { m.output.weight = {nullptr, 0, 0}; }, true);  // but a bias
  refuses_layer([](MultiHead& m) { m.w.query.weight.data = nullptr; }, false);
  refuses_layer([](MultiHead& m) { m.w.key.weight.data = nullptr; }, false);
  refuses_layer([](MultiHead& m) { m.w.value.weight.data = nullptr; }, false);
  refuses_layer([](MultiHead& m) { m.output.weight.data = nullptr; }, false);

  const auto refuses_options = [&](auto change, thimble_status expected) {
    Options bad = {};
    change(bad);
    CHECK(call(x.view(), good, bad, all, scratch) == expected);
  };
  for (float p : {-0.1f, 1.0f, 2.0f, kNan, kInfinity}) {
    refuses_options([&](Options& o) { o.dropout.p = p; }, THIMBLE_ERROR_ARGUMENT);
    CHECK(apply_dropout(scores.data(), 2, 2, {p, 0, nullptr}) == THIMBLE_ERROR_ARGUMENT);
  }
  for (float scale : {kNan, kInfinity, -kInfinity}) {
    refuses_options([&](Options& o) { o.scale = scale; }, THIMBLE_ERROR_ARGUMENT);
  }
  refuses_options([](Options& o) { o.first_query = 5; }, THIMBLE_ERROR_ARGUMENT);
  refuses_options([](Options& o) { o.n_queries = 6; }, THIMBLE_ERROR_ARGUMENT);
  refuses_options([](Options& o) { o.first_query = 3, o.n_queries = 3; }, THIMBLE_ERROR_ARGUMENT);
  refuses_options([](Options& o) { o.n_queries = 0xffffffffu; }, THIMBLE_ERROR_ARGUMENT);
  refuses_options([](Options& o) { o.isa = "abacus"; }, THIMBLE_ERROR_CONFIG);

  for (const MatrixView& bad : {MatrixView{nullptr, 5, 8}, MatrixView{x.data.data(), 0, 8},
                                MatrixView{x.data.data(), 5, 0}, MatrixView{x.data.data(), 8, 5}}) {
    CHECK(call(bad, good, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
  }
  CHECK(call(x.view(), good, {}, {nullptr, nullptr, nullptr}, scratch) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(x.view(), good, {}, all, {nullptr, scratch.bytes}) == THIMBLE_ERROR_ARGUMENT);
  CHECK(call(x.view(), good, {}, all, {scratch.data, scratch.bytes - 1}) ==
        THIMBLE_ERROR_ARENA_TOO_SMALL);
  CHECK(call(x.view(), good, {}, all, {scratch.data, 0}) == THIMBLE_ERROR_ARENA_TOO_SMALL);
  CHECK(
      call(x.view(), good, {}, all, {static_cast<uint8_t*>(scratch.data) + 1, scratch.bytes - 1}) ==
      THIMBLE_ERROR_MISALIGNED);

  const Projections w = good.w;  // of another key width
  for (ProjectedForm form : {self_attention, causal_attention, causal_attention_renormalised}) {
    CHECK(form(x.view(), w, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
  }
  CHECK(scratch_bytes(x.view(), w) == 0);
  const MatrixView none = {x.data.data(), 0, 8};
  CHECK(simple_self_attention(none, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
  CHECK(simple_self_attention({nullptr, 5, 8}, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
  CHECK(scratch_bytes(none) == 0);
  CHECK(multi_head_attention_wrapper(x.view(), nullptr, 1, {}, all, scratch) ==
        THIMBLE_ERROR_ARGUMENT);
  CHECK(multi_head_attention_wrapper(x.view(), &w, 0, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
  const Projections same = {w.query, w.query, w.query};
  Projections two[] = {same, w};  // the second head does not fit
  CHECK(multi_head_attention_wrapper(x.view(), two, 2, {}, all, scratch) == THIMBLE_ERROR_ARGUMENT);
  two[1] = same;
  two[1].key.weight.data = nullptr;  // found before the first head is computed
  ScratchBlock enough(scratch_bytes(x.view(), two, 2));
  CHECK(multi_head_attention_wrapper(x.view(), two, 2, {}, all, enough.scratch()) ==
        THIMBLE_ERROR_ARGUMENT);
  CHECK(project(x.view(), w.key, nullptr, nullptr, scratch) == THIMBLE_ERROR_ARGUMENT);
  CHECK(project({nullptr, 5, 8}, w.key, scores.data(), nullptr, scratch) == THIMBLE_ERROR_ARGUMENT);
  CHECK(project({x.data.data(), 5, 7}, w.key, scores.data(), nullptr, scratch) ==
        THIMBLE_ERROR_ARGUMENT);
  CHECK(project(x.view(), w.key, scores.data(), "abacus", scratch) == THIMBLE_ERROR_CONFIG);
  CHECK(apply_dropout(nullptr, 2, 2, {0.5f, 0, nullptr}) == THIMBLE_ERROR_ARGUMENT);
  CHECK(apply_dropout(scores.data(), 0, 2, {0.5f, 0, nullptr}) == THIMBLE_ERROR_ARGUMENT);

  ScratchBlock memory(cache_bytes(good, 5));
  KeyValueCache cache;
  CHECK(cache_init(nullptr, good, 5, memory.scratch()) == THIMBLE_ERROR_ARGUMENT);
  CHECK(cache_init(&cache, good, 0, memory.scratch()) == THIMBLE_ERROR_ARGUMENT);
  CHECK(cache_init(&cache, good, 5, {nullptr, 1 << 20}) == THIMBLE_ERROR_ARGUMENT);
  REQUIRE(cache_init(&cache, good, 5, memory.scratch()) == THIMBLE_OK);
  const auto step = [&](const MultiHead& layer, KeyValueCache* c) {
    return multi_head_attention_cached(x.view(), layer, c, {}, all, scratch);
  };
  MultiHead other = good;
  other.mask = Mask::kNone;  // earlier positions cannot look at what is not there yet
  CHECK(step(other, &cache) == THIMBLE_ERROR_ARGUMENT);
  other = good;
  other.w = same;
  other.n_kv_heads = 4;  // not the layer of this cache
  CHECK(step(other, &cache) == THIMBLE_ERROR_ARGUMENT);
  CHECK(step(good, nullptr) == THIMBLE_ERROR_ARGUMENT);
  KeyValueCache bad = cache;
  bad.keys = nullptr;
  CHECK(step(good, &bad) == THIMBLE_ERROR_ARGUMENT);
  bad = cache;
  bad.n = 6;
  CHECK(step(good, &bad) == THIMBLE_ERROR_ARGUMENT);
  CHECK(scores == untouched);
  CHECK(weights == untouched);
  CHECK(context == untouched);
}

TEST_CASE("attention: sizes too large to count are refused") {
  const uint32_t most = 1u << 24;
  const MatrixView x = {nullptr, most, most};
  const Linear w = {{nullptr, most, most}, Storage::kOutputByInput, nullptr};
  const Projections all = {w, w, w};
  if (sizeof(size_t) == 8) CHECK(scratch_bytes(x, all) > uint64_t{1} << 49);
  CHECK(scratch_bytes(MatrixView{nullptr, most + 1, 1}) == 0);
  CHECK(scratch_bytes(MatrixView{nullptr, 1, 0xffffffffu}) == 0);
}

// ---- Dropout -----------------------------------------------------------------------------------

TEST_CASE("attention: dropout is seeded, scales what it keeps, and is off unless asked for") {
  Random random(36);
  const OwnedMatrix x = random_matrix(random, 50, 6);
  const OwnedLayer m = random_layer(random, 6, 2, 1, 4);
  const Outcome plain = multi_head(x, m);
  CHECK(same_bits(multi_head(x, m, with_dropout(0.0f, 77)), plain));
  for (float p : {0.1f, 0.5f, 0.9f}) {
    const Outcome a = multi_head(x, m, with_dropout(p, 1));
    CHECK(same_bits(multi_head(x, m, with_dropout(p, 1)), a));
    CHECK(!same_bits(multi_head(x, m, with_dropout(p, 2)), a));
    CHECK(same_bits(a.scores, plain.scores));
    double n = 0, dropped = 0;
    size_t same_in_heads = 0;
    for (size_t i = 0; i < a.weights.size(); ++i) {
      if (plain.weights[i] == 0.0f) continue;
      n += 1;
      dropped += a.weights[i] == 0.0f;
      if (a.weights[i] != 0.0f) REQUIRE(a.weights[i] == plain.weights[i] * (1.0f / (1.0f - p)));
      if (i < 2500) same_in_heads += (a.weights[i] == 0.0f) == (a.weights[i + 2500] == 0.0f);
    }
    const double share = static_cast<double>(p), sigma = std::sqrt(n * share * (1 - share));
    CHECK(n == 2 * 1275);
    CHECK(std::fabs(dropped - n * share) < 5 * sigma);
    CHECK(same_in_heads < 1275);  // heads draw apart
  }
}

TEST_CASE("attention: dropout leaves the mean, over many seeds") {
  Random random(37);
  const OwnedMatrix x = random_matrix(random, 8, 5);
  const OwnedLayer m = random_layer(random, 5, 1, 1, 5);
  const Floats plain = multi_head(x, m).context;
  constexpr int kRuns = 4000;
  std::vector<double> sum(plain.size()), squares(plain.size());
  const MultiHead layer = m.view();
  ScratchBlock block(scratch_bytes(x.view(), layer));
  Floats context(plain.size());
  for (int seed = 0; seed < kRuns; ++seed) {
    REQUIRE(multi_head_attention(x.view(), layer, with_dropout(0.2f, static_cast<uint64_t>(seed)),
                                 {nullptr, nullptr, context.data()},
                                 block.scratch()) == THIMBLE_OK);
    for (size_t i = 0; i < context.size(); ++i) {
      const double v = static_cast<double>(context[i]);
      sum[i] += v;
      squares[i] += v * v;
    }
  }
  for (size_t i = 0; i < plain.size(); ++i) {  // within 5 deviations of a mean of so many
    const double mean = sum[i] / kRuns, variance = squares[i] / kRuns - mean * mean;
    CHECK(std::fabs(mean - static_cast<double>(plain[i])) <= 5 * std::sqrt(variance / kRuns));
  }
}

TEST_CASE("attention: dropped weights are these, on every chip") {
  Floats ones(4 * 8, 1.0f);
  REQUIRE(apply_dropout(ones.data(), 4, 8, {0.5f, 123, nullptr}) == THIMBLE_OK);
  std::string kept;
  for (float w : ones) kept += w == 2.0f ? '1' : w == 0.0f ? '0' : '?';
  CHECK(kept == "11010001000110111101010001000111");
}

// ---- The programs ------------------------------------------------------------------------------

TEST_CASE("attention: the walk of the README runs") {
  CapturedStream out(stdout);
  const int code = attention_walk();
  const std::string text = out.text();
  CHECK(code == 0);
  CHECK(text.find("0.4419  0.6515  0.5683") != std::string::npos);
  CHECK(text.find("0.3061  0.8210") != std::string::npos);
}

TEST_CASE("attention: the demo prints the numbers of the path") {
  CapturedStream out(stdout);
  const int code = tools::attention_demo();
  const std::string text = out.text();
  CHECK(code == 0);
  for (const char* row :
       {"journey 0.4419 0.6515 0.5683", "journey 0.1385 0.2379 0.2333 0.1240 0.1082 0.1581",
        "0.3061 0.8210", "-0.5874 0.0058 0.5891 0.3257", "0.2943 0.3897"}) {
    std::string plain;  // columns may be aligned
    for (char c : text) {
      if (c != ' ' || plain.empty() || plain.back() != ' ') plain += c;
    }
    CHECK_MESSAGE(plain.find(row) != std::string::npos, std::string(row));
  }
}

TEST_CASE("measure: separate heads against one set of matrices" * doctest::skip()) {
  Random random(38);
  for (uint32_t head_dim : {8u, 16u, 64u}) {
    for (uint32_t n_heads : {8u, 12u}) {
      const uint32_t d = n_heads * head_dim, T = 256;
      const OwnedMatrix x = random_matrix(random, T, d);
      OwnedLayer m = random_layer(random, d, n_heads, n_heads, head_dim);
      std::vector<OwnedLayer> heads(n_heads);
      std::vector<Projections> separate;
      for (uint32_t h = 0; h < n_heads; ++h) {
        heads[h].query = outputs_of(m.query, head_outputs(h, head_dim));
        heads[h].key = outputs_of(m.key, head_outputs(h, head_dim));
        heads[h].value = outputs_of(m.value, head_outputs(h, head_dim));
        separate.push_back(heads[h].projections());
      }
      const MultiHead layer = m.view();
      ScratchBlock block(std::max(scratch_bytes(x.view(), layer),
                                  scratch_bytes(x.view(), separate.data(), n_heads)));
      Floats context(size_t{T} * d);
      const Results results = {nullptr, nullptr, context.data()};
      double best[2] = {1e9, 1e9};
      for (int run = 0; run < 30; ++run) {
        for (int form = 0; form < 2; ++form) {
          const auto start = std::chrono::steady_clock::now();
          const thimble_status status =
              form == 0 ? multi_head_attention_wrapper(x.view(), separate.data(), n_heads, {},
                                                       results, block.scratch())
                        : multi_head_attention(x.view(), layer, {}, results, block.scratch());
          const std::chrono::duration<double, std::milli> took =
              std::chrono::steady_clock::now() - start;
          REQUIRE(status == THIMBLE_OK);
          best[form] = std::min(best[form], took.count());
        }
      }
      MESSAGE("T 256, ", n_heads, " heads of ", head_dim, ": separate ", best[0],
              " ms, one set of matrices ", best[1], " ms: ", best[0] / best[1], " times as fast");
    }
  }
}
