// SPDX-License-Identifier: MIT
#include "finite.h"

#include <algorithm>
#include <cmath>

#include "engine.h"
#include "error.h"
#include "forward.h"
#include "session.h"

namespace thimble::tools {
namespace {

// What a stage gives: rows of numbers, of which the first `n` count.
struct Results {
  const char* what;
  const float* at;
  size_t stride;
  uint32_t n;
};

Results results_of(const thimble_session& s, Stage stage) {
  const Activations& a = s.act;
  const FileHeader& h = header_of(s.model);
  const uint32_t dim = s.model.dim, q = s.model.n_heads * s.model.head_dim;
  const uint32_t kv = s.model.n_kv_heads * s.model.head_dim;
  switch (stage) {
    case kEmbed:
      return {"embedding", a.x, a.x_stride, dim};
    case kAttentionNormStage:
      return {"attention norm", a.normed, a.x_stride, dim};
    case kFinalNormStage:
      return {"final norm", a.normed, a.x_stride, dim};
    case kQkv:
    case kMakeRoom:
    case kRotateAndStore:
      return {"attention q, k, v", a.qkv, a.qkv_stride, q + 2 * kv};
    case kAttend:
      return {"attention context", a.context, a.context_stride, q};
    case kAttentionOutputStage:
      return {"attention output", a.normed, a.x_stride, dim};
    case kFeedForwardNormStage:
      return {"feed-forward norm", a.normed, a.x_stride, dim};
    case kGateUp:
      return {"feed-forward gate, up", a.gate_up, a.gate_up_stride,
              (h.gated ? 2 : 1) * s.model.hidden_dim};
    case kActivate:
      return {"feed-forward activation", a.gate_up, a.gate_up_stride, s.model.hidden_dim};
    case kDown:
      return {"feed-forward down", a.normed, a.x_stride, dim};
    default:
      return {"logits", s.logits, 0, s.model.vocab_size};
  }
}

std::string fault_in(const Results& results, const Pass& pass, bool of_last_token) {
  const uint32_t rows = of_last_token ? 1 : pass.n, skipped = of_last_token ? pass.n - 1 : 0;
  for (uint32_t row = 0; row < rows; ++row) {
    const float* values = results.at + (skipped + row) * results.stride;
    const float* wrong = std::find_if_not(values, values + results.n, [](float x) {
      return std::fabs(x) < kResidualLimit;  // not for a NaN
    });
    if (wrong == values + results.n) continue;
    return format("%s, token %u: found %g, expected a number below 2^50", results.what,
                  pass.first + skipped + row, static_cast<double>(*wrong));
  }
  return "";
}

// Behind a stage that has been completed.
std::string fault_behind(const thimble_session& s, const Pass& pass) {
  const bool is_end = pass.stage == kFinalNormStage || pass.stage == kHead;
  const auto behind_layer = [&](uint32_t layers) {
    return layers > 0 ? format("layer %u, ", layers - 1) : std::string();
  };
  const Results stream = {"residual stream", s.act.x, s.act.x_stride, s.model.dim};
  std::string fault;
  // Norms begin by adding what the block before them gave.
  if (pass.stage == kAttentionNormStage || pass.stage == kFinalNormStage) {
    fault = fault_in(stream, pass, is_end);
    if (!fault.empty()) return behind_layer(is_end ? s.model.n_layers : pass.layer) + fault;
  }
  if (pass.stage == kFeedForwardNormStage) fault = fault_in(stream, pass, false);
  if (fault.empty()) fault = fault_in(results_of(s, pass.stage), pass, is_end);
  if (fault.empty() || pass.stage == kEmbed || is_end) return fault;
  return behind_layer(pass.layer + 1) + fault;
}

}  // namespace

std::string run_finite(thimble_session* s, const std::function<void()>& between) {
  constexpr uint64_t kWeightsBetween = 8u << 20;
  const uint64_t unit_weights =
      uint64_t{kMaxRowTile} *
      std::max({s->model.dim, s->model.hidden_dim, s->model.n_heads * s->model.head_dim});
  uint64_t weights = 0;
  std::string fault;
  for (bool is_more = true; is_more;) {
    const Pass before = s->pass;
    is_more = checked(thimble_step(s, 1), "step") == THIMBLE_MORE;  // a unit of a stage
    const bool is_over = s->pass.stage != before.stage || s->pass.layer != before.layer;
    if (is_over && fault.empty()) fault = fault_behind(*s, before);
    weights += unit_weights;
    if (between && weights >= kWeightsBetween) {
      between();
      weights = 0;
    }
  }
  return fault;
}

}  // namespace thimble::tools
