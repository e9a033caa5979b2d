// SPDX-License-Identifier: MIT
#include "run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <vector>

#include "adapter_file.h"
#include "crc32.h"
#include "device_shape.h"
#include "engine.h"
#include "error.h"
#include "files.h"
#include "interrupt.h"
#include "loss_page.h"
#include "model_writer.h"
#include "sample.h"
#include "size_text.h"
#include "status_line.h"
#include "training_log.h"
#include "vocabulary.h"
#include "weight_types.h"

namespace thimble::tools::train {
namespace {

uint32_t checksum_of(const Vocabulary& vocabulary) {
  const ImageInMemory image = image_of_vocabulary(vocabulary);
  return crc32(0, image.data(), image.bytes);
}

// Of the steps since something was told.
struct StepSums {
  double loss = 0, seconds = 0;
  uint64_t steps = 0, tokens = 0;
  double mean_loss() const { return loss / static_cast<double>(steps); }
  double tokens_per_second() const { return static_cast<double>(tokens) / seconds; }
};

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
                  settings_of_model("teacher", options.trainer.teacher) +
                  format("tokenizer %08x\ntexts %08x\nkernels %s\nprecision %s\n",
                         checksum_of(vocabulary), corpus.checksum(), options.isa.c_str(),
                         options.precision.c_str())) {}

  // Returns the exit code.
  int go() {
    if (options_.resume) {
      trainer_.load(options_.checkpoint, settings_);
      has_checkpoint_ = true;
    }
    plan_steps();
    log_ = options_.resume ? std::make_unique<TrainingLog>(options_.log, trainer_.state().step)
                           : std::make_unique<TrainingLog>(options_.log);
    const Interrupt interrupt;
    const double before = trainer_.state().seconds;
    const Stopwatch watch;
    double saved = 0;
    while (!is_done() && interrupt.signal() == 0) {
      one_step();
      trainer_.state().seconds = before + watch.seconds();
      plan_steps();
      writing([&] {
        if (is_each(kMeasurements, options_.evaluate_every)) {
          measure();
        } else if (is_each(kRows, 0)) {
          add_row(kNotMeasured);
        }
        if (watch.seconds() - saved < options_.checkpoint_minutes * 60 || is_done()) return;
        save();
        saved = watch.seconds();
      });
    }
    line_.clear();
    writing([&] { save(); });
    if (!is_done()) {
      std::fprintf(stderr,
                   "interrupted at step %llu; the run is in %s: the same command with "
                   "--resume goes on\n",
                   static_cast<unsigned long long>(trainer_.state().step),
                   options_.checkpoint.c_str());
      return exit_code(interrupt);
    }
    writing([&] {
      if (options_.trainer.lora.rank > 0) return write_adapter();
      write(options_.output, options_.trainer.layout, trainer_.rows_to_ship());
      if (options_.f32_output.empty()) return;
      write(options_.f32_output, {kWeightF32, 0, 16}, trainer_.rows());
    });
    return 0;
  }

 private:
  static constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();
  static constexpr uint64_t kMeasurements = 20, kRows = 1000;  // in a run

  void save() {
    trainer_.save(options_.checkpoint, settings_);
    has_checkpoint_ = true;
  }

  // A disk that is full says what is not lost.
  template <class F>
  void writing(F f) const {
    try {
      f();
    } catch (const Refused& refused) {
      if (!has_checkpoint_) throw;
      throw Refused(std::string(refused.what()) + "; the run is in " + options_.checkpoint +
                    " as it was saved last: the same command with --resume goes on");
    }
  }

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

  void one_step() {
    const Stopwatch watch;
    report_ = trainer_.step();
    if (!std::isfinite(report_.loss) || !std::isfinite(report_.norm)) {
      throw Refused(
          format("step %llu: the loss is no finite number any more; the last checkpoint "
                 "stays. Expected a lower --rate",
                 static_cast<unsigned long long>(trainer_.state().step)));
    }
    for (StepSums* sums : {&since_line_, &since_row_}) {
      sums->loss += report_.loss;
      ++sums->steps;
      sums->tokens += report_.tokens;
      sums->seconds += watch.seconds();
    }
    line_.pass(status());
  }

  // So many times a run, or every so many steps; always at its end.
  bool is_each(uint64_t times, uint64_t steps) const {
    constexpr uint64_t kUnknownTotal = 2000;
    const RunState& state = trainer_.state();
    if (is_done()) return true;
    const uint64_t total = state.total_steps > 0 ? state.total_steps : kUnknownTotal;
    return state.step % (steps > 0 ? steps : std::max<uint64_t>(1, total / times)) == 0;
  }

  void measure() {
    Status now = status();
    if (corpus_.held_out_tokens() > 0) {
      const double nll = trainer_.evaluate();
      now.held_out = nll / static_cast<double>(corpus_.held_out_tokens());
      now.bits_per_byte = nll / std::log(2.0) / static_cast<double>(corpus_.held_out_bytes());
    }
    line_.stay(now);
    since_line_ = {};
    samples_.push_back({now.step, sample_text(shape_, vocabulary_, trainer_.rows(), 40, now.step)});
    line_.sample(samples_.back().text);
    add_row(now.held_out >= 0 ? now.bits_per_byte : kNotMeasured);
    if (!options_.page.empty()) write_page();
  }

  Status status() const {
    const RunState& state = trainer_.state();
    Status now{};
    now.step = state.step;
    now.total_steps = state.total_steps;
    now.epoch = static_cast<double>(state.epoch) +
                static_cast<double>(state.at) / static_cast<double>(corpus_.windows().size());
    now.loss = since_line_.mean_loss();
    now.held_out = -1;
    now.tokens_per_second = since_line_.tokens_per_second();
    now.seconds = state.seconds;
    return now;
  }

  void add_row(double heldout_bits) {
    const RunState& state = trainer_.state();
    log_->add({state.step, state.tokens, since_row_.mean_loss(), heldout_bits,
               static_cast<double>(report_.rate), since_row_.tokens_per_second(), state.seconds});
    since_row_ = {};
  }

  void write_page() const {
    const size_t slash = options_.output.rfind('/');
    const std::string what = shape_text(shape_) + format(", vocabulary %u", shape_.vocab_size);
    OutputFile file(options_.page);
    write_loss_page({options_.output.substr(slash + 1), what, log_->rows(), samples_},
                    [&](const std::string& text) { file.write(text.data(), text.size()); });
    file.commit();
  }

  void write(const std::string& path, const WeightLayout& layout, const RowSource& rows) const {
    const WrittenModel written =
        write_model(path, "the trained model", "writing", shape_, layout, &vocabulary_, rows);
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
  StepSums since_line_, since_row_;
  StatusLine line_;
  std::unique_ptr<TrainingLog> log_;
  std::vector<TrainingSample> samples_;  // since the run was started, or resumed
  bool has_checkpoint_ = false;
};

}  // namespace

int run(const Options& options, const ModelShape& shape, const Vocabulary& vocabulary,
        const Corpus& corpus, Trainer* trainer, const thimble_model* base) {
  return Run(options, shape, vocabulary, corpus, trainer, base).go();
}

}  // namespace thimble::tools::train
