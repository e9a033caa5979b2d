// SPDX-License-Identifier: MIT
#include "trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "error.h"
#include "random_stream.h"

namespace thimble::tools::train {
namespace {

constexpr uint32_t kLanesOfGradients = 8;
constexpr uint64_t kLaneMemory = uint64_t{512} << 20;  // of that many lanes at most
constexpr size_t kPiece = size_t{1} << 14;

// An epoch of a small corpus is a batch.
uint32_t batch_tokens(const Corpus& corpus, const TrainerOptions& options) {
  return static_cast<uint32_t>(std::min<uint64_t>(options.batch_tokens, corpus.epoch_tokens()));
}

uint32_t largest_pack(uint32_t n_ctx) {
  constexpr uint32_t kTokens = 512;  // enough for products of matrices to be fast
  return std::max(kTokens, n_ctx);
}

std::unique_ptr<Teacher> teacher_of(const TrainerOptions& options, const Kernels& kernels,
                                    const Workers& workers) {
  if (!options.teacher) return nullptr;
  try {
    return std::make_unique<Teacher>(*options.teacher, kernels, workers, options.threads,
                                     largest_pack(options.n_ctx));
  } catch (const Refused& refused) {
    throw Refused(std::string("--teacher: ") + refused.what());
  }
}

}  // namespace

uint32_t Trainer::lanes_for(const Parameters& parameters, uint32_t threads) {
  const uint64_t bytes = uint64_t{kLanesOfGradients} * parameters.size() * sizeof(float);
  return bytes <= kLaneMemory ? std::max(threads, kLanesOfGradients) : threads;
}
uint32_t Trainer::pack_tokens() const {
  return largest_pack(options_.n_ctx);
}

Trainer::Trainer(const Parameters& parameters, const Kernels& kernels, const Corpus& corpus,
                 const TrainerOptions& options)
    : parameters_(parameters),
      kernels_(kernels),
      corpus_(corpus),
      options_(options),
      workers_(options.threads),
      network_(parameters, kernels),
      teacher_(teacher_of(options, kernels, workers_)),
      lora_(options.lora.rank > 0 ? std::make_unique<Lora>(parameters, options.lora, options.layout)
                                  : nullptr),
      optimizer_(learned(), kernels, options.optimizer),
      batches_(corpus, options.seed, batch_tokens(corpus, options), largest_pack(options.n_ctx)),
      packed_(parameters, kernels),
      rounding_(parameters, options.layout),
      weights_(learned().size()) {
  if (lora_) {
    lora_->initialize(options.seed, weights_.data());
    projected_ = Floats(learned().size());
  } else {
    initialize(parameters, options.seed, weights_.data());
  }
  if (options.average > 0) average_ = Floats(learned().size());
  if (lora_ || options.quantized_share > 0) rounded_ = Floats(parameters.size());
  for (uint32_t i = 0; i < lanes_for(parameters, options.threads); ++i) {
    lanes_.emplace_back(parameters.size());
  }
  for (uint32_t i = 0; i < options.threads; ++i) {
    workspaces_.emplace_back(network_, pack_tokens());
  }
}

TrainerMemory Trainer::memory(const Parameters& parameters, const Kernels& kernels,
                              const TrainerOptions& options) {
  const uint64_t floats = parameters.size() * sizeof(float);
  TrainerMemory m{};
  m.weights = floats * (1 + (options.average > 0) + (options.quantized_share > 0)) +
              PackedWeights(parameters, kernels).bytes() +
              sizeof(float) * Rounding::n_scales(parameters, options.layout);
  uint64_t learned = floats;
  if (options.lora.rank > 0) {  // the model's, the composed ones, and the factors
    learned = Lora(parameters, options.lora, options.layout).factors().size() * sizeof(float);
    m.weights = 2 * floats + PackedWeights(parameters, kernels).bytes() +
                learned * (3 + (options.average > 0));
  }
  m.gradients = floats * lanes_for(parameters, options.threads);
  m.optimizer = 2 * learned;
  m.activations = options.threads * sizeof(float) *
                  Network::Workspace::floats(parameters.shape(), largest_pack(options.n_ctx));
  if (options.teacher) {
    m.teacher =
        Teacher::bytes(*options.teacher, kernels, options.threads, largest_pack(options.n_ctx));
  }
  m.rest = floats + (uint64_t{16} << 20);
  return m;
}

std::vector<const Floats*> Trainer::blocks() const {
  std::vector<const Floats*> all = {&weights_, &optimizer_.first(), &optimizer_.second()};
  if (average_.size() > 0) all.push_back(&average_);
  if (rounding_.scales().size() > 0) all.push_back(&rounding_.scales());
  return all;
}

void Trainer::save(const std::string& path, const std::string& settings) const {
  write_checkpoint(path, settings, state_, blocks());
}

void Trainer::load(const std::string& path, const std::string& settings) {
  state_ = read_checkpoint(path, settings, blocks());
  batches_.go_to({state_.epoch, state_.at});
}

bool Trainer::is_quantized() const {
  if (!(options_.quantized_share > 0) || state_.total_steps == 0) return false;
  return state_.step >= first_quantized_step();
}

uint64_t Trainer::first_quantized_step() const {
  const double total = static_cast<double>(state_.total_steps);
  return static_cast<uint64_t>(std::ceil(total * (1 - options_.quantized_share)));
}

Int8Steps Trainer::int8_steps() const {
  Int8Steps steps;
  if (!is_quantized()) return steps;
  steps.activations = true;
  steps.group = options_.layout.group;
  steps.cache = true;
  return steps;
}

double Trainer::warm_up_steps() const {
  const double steps = static_cast<double>(options_.warm_up);
  if (state_.total_steps == 0 || !(options_.warm_up_share > 0)) return steps;
  return std::min(steps, static_cast<double>(state_.total_steps) * options_.warm_up_share);
}

float Trainer::rate_at(uint64_t step) const {
  const double at = static_cast<double>(step), total = static_cast<double>(state_.total_steps);
  double share = std::min(1.0, (at + 1) / (warm_up_steps() + 1));
  if (total > 0) {
    const double left = (total - at) / (total * options_.decay_share);
    share *= std::clamp(left, 0.0, 1.0);
  }
  return static_cast<float>(static_cast<double>(options_.rate) * share);
}

RowSource Trainer::rows() {
  if (!lora_) return rows_of(parameters_, result());
  lora_->compose(workers_, result(), is_quantized(), rounded_.data());
  return rows_of(parameters_, rounded_.data());
}

// 4 bits by the scales that were trained with.
RowSource Trainer::rows_to_ship() {
  if (lora_ || !is_quantized() || options_.layout.type != kWeightQ4) return rows();
  rounding_.round(workers_, result(), rounded_.data());
  return rows_of(parameters_, rounded_.data());
}

void Trainer::prepare(const float* weights) {
  if (lora_) {
    lora_->compose(workers_, weights, is_quantized(), rounded_.data());
    weights = rounded_.data();
  } else if (is_quantized()) {
    rounding_.round(workers_, weights, rounded_.data());
    weights = rounded_.data();
  }
  workers_.run(packed_.n_matrices(), [&](size_t i, uint32_t) { packed_.pack(i, weights); });
  packed_.finish(weights);
}

// Each pack to the lane that has the fewest tokens so far.
std::vector<std::vector<size_t>> Trainer::deal(const std::vector<Pack>& packs) const {
  std::vector<std::vector<size_t>> dealt(lanes_.size());
  std::vector<size_t> tokens(lanes_.size());
  for (size_t i = 0; i < packs.size(); ++i) {
    const auto least = std::min_element(tokens.begin(), tokens.end());
    *least += packs[i].tokens.size();
    dealt[static_cast<size_t>(least - tokens.begin())].push_back(i);
  }
  return dealt;
}

StepReport Trainer::step() {
  const std::vector<Pack> packs = batches_.next();
  const std::vector<std::vector<size_t>> dealt = deal(packs);
  const Int8Steps steps = int8_steps();
  StepReport report;
  uint64_t targets = 0;
  for (const Pack& pack : packs) {
    targets += pack.n_targets();
    report.tokens += static_cast<uint32_t>(pack.tokens.size());
  }
  const bool is_settling = is_quantized() && options_.settling > 0;
  if (is_quantized()) rounding_.follow(workers_, weights_.data());
  prepare(weights_.data());
  std::vector<double> losses(packs.size());
  workers_.run(lanes_.size(), [&](size_t lane, uint32_t thread) {
    float* gradient = lanes_[lane].data();
    std::memset(gradient, 0, parameters_.size() * sizeof(float));
    std::optional<Network::Teacher> teacher;
    if (teacher_) teacher.emplace(teacher_->of(thread));
    for (size_t i : dealt[lane]) {
      const uint64_t seed = mixed(mixed(options_.seed + state_.step) + i);
      const Network::Training training = {options_.dropout, seed,
                                          1.0f / static_cast<float>(targets), gradient,
                                          teacher ? &*teacher : nullptr};
      losses[i] = network_.run(packed_, packs[i], &workspaces_[thread], &training, steps);
    }
  });
  for (double loss : losses) report.loss += loss / static_cast<double>(targets);
  float* gradient = lanes_[0].data();
  workers_.run_pieces(parameters_.size(), kPiece, [&](size_t begin, size_t end) {
    for (size_t lane = 1; lane < lanes_.size(); ++lane) {
      kernels_.add(gradient + begin, lanes_[lane].data() + begin, end - begin);
    }
  });
  if (lora_) {
    lora_->project(workers_, gradient, projected_.data());
    gradient = projected_.data();
  }
  report.rate = rate_at(state_.step);
  ++state_.step;
  report.norm = optimizer_.step(workers_, state_.step, report.rate, gradient, weights_.data());
  if (is_settling) {
    const uint64_t peak = std::max(first_quantized_step(), static_cast<uint64_t>(warm_up_steps()));
    rounding_.settle(workers_, options_.settling * rate_at(peak), weights_.data());
  }
  if (average_.size() > 0) {
    // As long as it is younger than its memory it is the mean of all.
    const float youth = 1.0f / static_cast<float>(state_.step);
    const float share = std::max(1.0f - options_.average, youth);
    workers_.run_pieces(weights_.size(), kPiece, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) average_[i] += share * (weights_[i] - average_[i]);
    });
  }
  state_.epoch = batches_.place().epoch;
  state_.at = batches_.place().at;
  state_.tokens += report.tokens;
  return report;
}

double Trainer::evaluate() {
  const std::vector<Pack> packs = packs_of(corpus_, corpus_.held_out(), pack_tokens());
  const Int8Steps steps = int8_steps();
  prepare(result());
  std::vector<double> losses(packs.size());
  workers_.run(packs.size(), [&](size_t i, uint32_t thread) {
    losses[i] = network_.run(packed_, packs[i], &workspaces_[thread], nullptr, steps);
  });
  double sum = 0;
  for (double loss : losses) sum += loss;
  return sum;
}

}  // namespace thimble::tools::train
