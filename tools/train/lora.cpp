// SPDX-License-Identifier: MIT
#include "lora.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

#include "checkpoint.h"
#include "error.h"
#include "random_stream.h"
#include "rounding.h"

namespace thimble::tools::train {
namespace {

const char* const kMatrixNames[kLoraKinds] = {"qkv", "output", "gate-up", "down"};

SectionKind kind_of(uint32_t offset, SectionKind kind) {
  return static_cast<SectionKind>(offset + kind);
}

std::vector<Tensor> factor_tensors(const Parameters& parameters, const LoraOptions& options) {
  std::vector<Tensor> tensors;
  for (const Tensor& t : parameters.tensors()) {
    for (uint32_t which = 0; which < kLoraKinds; ++which) {
      if (t.kind != kLoraSections[which] || !(options.matrices & lora_bit(which))) continue;
      tensors.push_back({kind_of(kLoraA, t.kind), t.layer, options.rank, t.cols, 0, true});
      tensors.push_back({kind_of(kLoraB, t.kind), t.layer, t.rows, options.rank, 0, true});
    }
  }
  return tensors;
}

// Sums side by side, so that one does not wait for the other; their order is always the same.
float dot(const float* x, const float* y, uint32_t n) {
  constexpr uint32_t kSums = 16;
  float sums[kSums] = {};
  uint32_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (uint32_t k = 0; k < kSums; ++k) sums[k] += x[i + k] * y[i + k];
  }
  for (; i < n; ++i) sums[i % kSums] += x[i] * y[i];
  float sum = 0;
  for (const float each : sums) sum += each;
  return sum;
}

}  // namespace

std::vector<Option> lora_option_names() {
  return {{"--lora", true}, {"--lora-alpha", true}, {"--lora-matrices", true}};
}

LoraOptions parse_lora(const Args& args) {
  LoraOptions o;
  o.rank = static_cast<uint32_t>(args.count("--lora", 0, 1, kMaxLoraRank));
  if (o.rank == 0) {
    for (const char* option : {"--lora-alpha", "--lora-matrices"}) {
      if (args.has(option)) {
        throw WrongUsage(std::string("option '") + option + "' needs '--lora RANK'");
      }
    }
    return o;
  }
  if (!args.has("--from")) {
    throw WrongUsage("option '--lora' needs '--from MODEL', the model that the adapter is for");
  }
  exclude(args, "--lora", {"--weights", "--group", "--for", "--f32"}, "the model says that");
  exclude(args, "--lora", {"--optimizer"}, "adapters are learned with adamw");
  o.alpha =
      static_cast<float>(args.real("--lora-alpha", 2.0 * static_cast<double>(o.rank), 1e-6, 1e6));
  if (!args.has("--lora-matrices")) return o;
  o.matrices = 0;
  std::istringstream list(args.text("--lora-matrices", ""));
  for (std::string name; std::getline(list, name, ',');) {
    const auto* found = std::find(std::begin(kMatrixNames), std::end(kMatrixNames), name);
    if (found == std::end(kMatrixNames)) {
      throw WrongUsage("option '--lora-matrices' is '" + name +
                       "', expected some of qkv, output, gate-up, down, with commas between");
    }
    o.matrices |= lora_bit(static_cast<uint32_t>(found - kMatrixNames));
  }
  if (o.matrices == 0) {
    throw WrongUsage("option '--lora-matrices' is '', expected some of qkv, output, gate-up, down");
  }
  return o;
}

std::string lora_settings(const LoraOptions& o, const thimble_model* model) {
  if (o.rank == 0) return "";
  return format("lora %u, alpha %.9g, matrices %u\n", o.rank, static_cast<double>(o.alpha),
                o.matrices) +
         settings_of_model("model", model);
}

Lora::Lora(const Parameters& parameters, const LoraOptions& options, const WeightLayout& layout)
    : options_(options),
      layout_(layout),
      scale_(options.alpha / static_cast<float>(options.rank)),
      factors_(parameters.shape(), factor_tensors(parameters, options)),
      base_(parameters.size()),
      used_(factors_.size()) {
  for (size_t i = 0; i < factors_.tensors().size(); i += 2) {
    const Tensor& a = factors_.tensors()[i];
    const auto kind = static_cast<SectionKind>(a.kind - kLoraA);
    pairs_.push_back({parameters.find(kind, a.layer), &a, &a + 1});
  }
}

void Lora::initialize(uint64_t seed, float* factors) const {
  for (const Pair& pair : pairs_) {
    const Tensor& a = *pair.a;
    RandomStream random(seed, a.kind * uint64_t{65536} + a.layer);
    const double deviation = 1 / std::sqrt(static_cast<double>(a.cols));
    for (size_t i = 0; i < a.size(); ++i) {
      factors[a.offset + i] = static_cast<float>(random.normal() * deviation);
    }
    std::fill_n(factors + pair.b->offset, pair.b->size(), 0.0f);
  }
}

// A and B as they act, of one pair.
void Lora::use(const Pair& pair, const float* factors, bool is_rounded) const {
  float* a = used_.data() + pair.a->offset;
  float* b = used_.data() + pair.b->offset;
  std::memcpy(a, factors + pair.a->offset, pair.a->size() * sizeof(float));
  for (size_t i = 0; i < pair.b->size(); ++i) b[i] = scale_ * factors[pair.b->offset + i];
  if (!is_rounded || layout_.type == kWeightF32) return;
  const uint32_t cols = pair.a->cols, rank = options_.rank;
  for (uint32_t k = 0; k < rank; ++k) {
    round_q8(a + size_t{k} * cols, cols, layout_.group ? layout_.group : cols,
             a + size_t{k} * cols);
  }
  for (uint32_t r = 0; r < pair.b->rows; ++r) {
    round_q8(b + size_t{r} * rank, rank, rank, b + size_t{r} * rank);
  }
}

void Lora::compose(const Workers& workers, const float* factors, bool is_rounded, float* weights) {
  std::memcpy(weights, base_.data(), base_.size() * sizeof(float));
  workers.run(pairs_.size(), [&](size_t i, uint32_t) {
    const Pair& pair = pairs_[i];
    use(pair, factors, is_rounded);
    const uint32_t cols = pair.whole->cols, rank = options_.rank;
    for (uint32_t r = 0; r < pair.whole->rows; ++r) {
      float* row = weights + pair.whole->offset + size_t{r} * cols;
      const float* b = used_.data() + pair.b->offset + size_t{r} * rank;
      for (uint32_t k = 0; k < rank; ++k) {
        const float* a = used_.data() + pair.a->offset + size_t{k} * cols;
        for (uint32_t c = 0; c < cols; ++c) row[c] += b[k] * a[c];
      }
    }
  });
}

void Lora::project(const Workers& workers, const float* gradient, float* out) const {
  workers.run(pairs_.size(), [&](size_t i, uint32_t) {
    const Pair& pair = pairs_[i];
    const uint32_t cols = pair.whole->cols, rank = options_.rank;
    float* da = out + pair.a->offset;
    std::memset(da, 0, pair.a->size() * sizeof(float));
    for (uint32_t r = 0; r < pair.whole->rows; ++r) {
      const float* row = gradient + pair.whole->offset + size_t{r} * cols;
      const float* b = used_.data() + pair.b->offset + size_t{r} * rank;
      float* db = out + pair.b->offset + size_t{r} * rank;
      for (uint32_t k = 0; k < rank; ++k) {
        const float* a = used_.data() + pair.a->offset + size_t{k} * cols;
        db[k] = scale_ * dot(row, a, cols);
        for (uint32_t c = 0; c < cols; ++c) da[size_t{k} * cols + c] += b[k] * row[c];
      }
    }
  });
}

RowSource Lora::rows(const float* factors) const {
  return
      [this, factors](SectionKind kind, uint32_t layer, uint32_t row, uint32_t cols, float* out) {
        const Tensor* t = factors_.find(kind, layer);
        const float scale = kind >= kLoraB ? scale_ : 1.0f;
        const float* from = factors + t->offset + size_t{row} * cols;
        for (uint32_t c = 0; c < cols; ++c) out[c] = scale * from[c];
      };
}

}  // namespace thimble::tools::train
