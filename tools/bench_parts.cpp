// SPDX-License-Identifier: MIT
#include "bench_parts.h"

#include <algorithm>
#include <chrono>

#include "engine.h"
#include "forward.h"

namespace thimble::tools {

const std::array<const char*, kParts> kPartNames = {"projections", "attention", "norms", "head",
                                                    "sampling"};

namespace {

Part part_of(Stage stage) {
  switch (stage) {
    case kQkv:
    case kAttentionOutputStage:
    case kGateUp:
    case kDown:
      return kProjections;
    case kMakeRoom:
    case kRotateAndStore:
    case kAttend:
      return kAttentionPart;
    case kHead:
      return kHeadPart;
    case kEmbed:
    case kAttentionNormStage:
    case kFeedForwardNormStage:
    case kActivate:
    case kFinalNormStage:
    case kIdle:
      break;
  }
  return kElementwise;
}

// Times from one look to the next, without what a look itself takes.
class SplitTimer {
 public:
  SplitTimer() {
    constexpr uint32_t kLooks = 1000;
    const Clock::time_point start = Clock::now();
    for (uint32_t i = 0; i < kLooks; ++i) last_ = Clock::now();
    look_ = seconds(last_ - start) / kLooks;
  }

  // Forgets the time since the last look.
  void start() { last_ = Clock::now(); }

  double split() {
    const Clock::time_point before = last_;
    last_ = Clock::now();
    return std::max(seconds(last_ - before) - look_, 0.0);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }
  double look_;
  Clock::time_point last_;
};

void compute_stages(thimble_session* session, SplitTimer* timer, PartTimes* times) {
  for (;;) {
    const Stage stage = forward_stage(session);
    if (stage == kIdle) return;
    times->of[part_of(stage)] += timer->split();
  }
}

}  // namespace

double PartTimes::total() const {
  double sum = 0;
  for (double time : of) sum += time;
  return sum;
}

PartTimes PartTimes::least_with(const PartTimes& other) const {
  PartTimes least;
  for (uint32_t i = 0; i < kParts; ++i) least.of[i] = std::min(of[i], other.of[i]);
  return least;
}

PartTimes PartTimes::scaled_to(double wanted) const {
  const double sum = total();
  PartTimes scaled;
  for (uint32_t i = 0; i < kParts; ++i) scaled.of[i] = sum > 0 ? of[i] / sum * wanted : 0;
  return scaled;
}

RunParts run_by_parts(thimble_session* session, const std::vector<int32_t>& prompt,
                      uint32_t n_decode, const thimble_sampling& sampling) {
  SplitTimer timer;
  RunParts times;
  timer.start();
  checked(thimble_feed(session, prompt.data(), prompt.size()), "feed");
  times.prefill.of[kElementwise] += timer.split();
  compute_stages(session, &timer, &times.prefill);
  for (uint32_t i = 0; i < n_decode; ++i) {
    const int32_t token = draw_token(session, sampling);
    checked(thimble_feed(session, &token, 1), "feed");
    times.decode.of[kSampling] += timer.split();
    compute_stages(session, &timer, &times.decode);
  }
  return times;
}

}  // namespace thimble::tools
