// SPDX-License-Identifier: MIT
#include "run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "adapter_file.h"
#include "engine.h"
#include "error.h"
#include "interrupt.h"
#include "log.h"
#include "model_writer.h"
#include "sample.h"
#include "size_text.h"
#include "weight_types.h"

namespace thimble::tools::train {
namespace {

class Run {
 public:
  Run(const Options& options, const ModelShape& shape, const Vocabulary& vocabulary,
      const Corpus& corpus, Trainer* trainer, const thimble_model* base)
      : options_(options),
        shape_(shape),
        vocabulary_(vocabulary),
        corpus_(corpus),
        trainer_(*trainer),
        base_(base),
        settings_(settings_of(options, shape) + lora_settings(options.trainer.lora, base) +
                  format("texts %08x\nkernels %s\n", corpus.checksum(), options.isa.c_str())) {}

  // Returns the exit code.
  int go() {
    if (options_.resume) trainer_.load(options_.checkpoint, settings_);
    plan_steps();
    Log log(options_.log, trainer_.state().step);
    const Interrupt interrupt;
    const double before = trainer_.state().seconds;
    const Stopwatch watch;
    double saved = 0;
    while (!is_done() && interrupt.signal() == 0) {
      one_step(&log);
      RunState& state = trainer_.state();
      state.seconds = before + watch.seconds();
      plan_steps();
      if (measures_now()) measure(&log);
      if (watch.seconds() - saved >= options_.checkpoint_minutes * 60 && !is_done()) {
        trainer_.save(options_.checkpoint, settings_);
        saved = watch.seconds();
      }
    }
    log.clear();
    trainer_.save(options_.checkpoint, settings_);
    if (!is_done()) {
      std::fprintf(stderr,
                   "interrupted at step %llu; the run is in %s: the same command with "
                   "--resume goes on\n",
                   static_cast<unsigned long long>(trainer_.state().step),
                   options_.checkpoint.c_str());
      return exit_code(interrupt);
    }
    if (options_.trainer.lora.rank > 0) {
      write_adapter();
      return 0;
    }
    write(options_.output, options_.trainer.layout);
    if (!options_.f32_output.empty()) write(options_.f32_output, {kWeightF32, 0, 16});
    return 0;
  }

 private:
  bool is_done() const {
    return trainer_.state().total_steps > 0 &&
           trainer_.state().step >= trainer_.state().total_steps;
  }

  void plan_steps() {
    RunState& state = trainer_.state();
    if (options_.minutes > 0) return plan_by_clock();
    if (state.total_steps > 0) return;
    if (options_.steps > 0) state.total_steps = options_.steps;
    if (options_.epochs > 0) {
      const double tokens = static_cast<double>(corpus_.epoch_tokens());
      // A batch ends with the window that fills it.
      const double batch = std::min(tokens, static_cast<double>(options_.trainer.batch_tokens)) +
                           tokens / static_cast<double>(corpus_.windows().size()) / 2;
      state.total_steps = std::max<uint64_t>(
          1, static_cast<uint64_t>(std::llround(options_.epochs * tokens / batch)));
    }
  }

  // As many steps as there will be at the pace so far: the rate falls with the time.
  void plan_by_clock() {
    constexpr uint64_t kTimed = 8;
    RunState& state = trainer_.state();
    const double share = state.seconds / (options_.minutes * 60);
    if (state.step < kTimed && share < 1) return;
    const double steps = static_cast<double>(state.step) / share;
    state.total_steps =
        share >= 1 ? state.step : std::max(state.step + 1, static_cast<uint64_t>(steps));
  }

  void one_step(Log* log) {
    const Stopwatch watch;
    report_ = trainer_.step();
    if (!std::isfinite(report_.loss) || !std::isfinite(report_.norm)) {
      throw Refused(
          format("step %llu: the loss is no finite number any more; the last checkpoint "
                 "stays. Expected a lower --rate",
                 static_cast<unsigned long long>(trainer_.state().step)));
    }
    loss_sum_ += report_.loss;
    ++loss_count_;
    tokens_ += report_.tokens;
    seconds_ += watch.seconds();
    log->progress(row());
  }

  bool measures_now() const {
    const RunState& state = trainer_.state();
    if (is_done()) return true;
    const uint64_t total = state.total_steps > 0 ? state.total_steps : 2000;
    const uint64_t every =
        options_.evaluate_every > 0 ? options_.evaluate_every : std::max<uint64_t>(1, total / 20);
    return state.step % every == 0;
  }

  void measure(Log* log) {
    LogRow now = row();
    if (corpus_.held_out_tokens() > 0) {
      const double nll = trainer_.evaluate();
      now.held_out = nll / static_cast<double>(corpus_.held_out_tokens());
      now.bits_per_byte = nll / std::log(2.0) / static_cast<double>(corpus_.held_out_bytes());
    }
    log->row(now);
    log->sample(sample_text(shape_, vocabulary_, trainer_.rows(), 40, trainer_.state().step));
    loss_sum_ = seconds_ = 0;
    loss_count_ = tokens_ = 0;
  }

  LogRow row() const {
    const RunState& state = trainer_.state();
    LogRow row{};
    row.step = state.step;
    row.total_steps = state.total_steps;
    row.epoch = static_cast<double>(state.epoch) +
                static_cast<double>(state.at) / static_cast<double>(corpus_.windows().size());
    row.loss = loss_sum_ / static_cast<double>(loss_count_);
    row.held_out = -1;
    row.rate = static_cast<double>(report_.rate);
    row.norm = report_.norm;
    row.tokens_per_second = static_cast<double>(tokens_) / seconds_;
    row.seconds = state.seconds;
    return row;
  }

  void write(const std::string& path, const WeightLayout& layout) const {
    const WrittenModel written = write_model(path, "the trained model", "writing", shape_, layout,
                                             &vocabulary_, trainer_.rows());
    std::fprintf(stderr, "wrote  %s: %s, context %u, %s\n", path.c_str(),
                 weight_type(layout.type).name, shape_.n_ctx, size_text(written.bytes).c_str());
  }

  void write_adapter() const {
    const LoraOptions& lora = options_.trainer.lora;
    const ImageInMemory image =
        build_adapter(*base_, lora.rank, lora.matrices, trainer_.adapter_rows());
    OutputFile file(options_.output);
    file.write(image.data(), image.bytes);
    file.commit();
    std::fprintf(stderr, "wrote  %s: an adapter of %s, rank %u, %s\n", options_.output.c_str(),
                 options_.from.c_str(), lora.rank, size_text(image.bytes).c_str());
  }

  const Options& options_;
  const ModelShape& shape_;
  const Vocabulary& vocabulary_;
  const Corpus& corpus_;
  Trainer& trainer_;
  const thimble_model* base_;
  std::string settings_;
  StepReport report_;
  double loss_sum_ = 0, seconds_ = 0;  // since the last row
  uint64_t loss_count_ = 0, tokens_ = 0;
};

}  // namespace

int run(const Options& options, const ModelShape& shape, const Vocabulary& vocabulary,
        const Corpus& corpus, Trainer* trainer, const thimble_model* base) {
  return Run(options, shape, vocabulary, corpus, trainer, base).go();
}

}  // namespace thimble::tools::train
