// SPDX-License-Identifier: MIT
#include "needs.h"

#include <algorithm>
#include <filesystem>

#include "json_string.h"
#include "model.h"

namespace thimble::tools {

const std::vector<std::string> kUses = {"sinks", "drafts", "lora",    "pack",
                                        "rules", "shares", "callers", "stream"};

std::vector<Part> parts_of(const thimble_model& model, const std::vector<std::string>& uses) {
  const FileHeader& h = header_of(model);
  const auto is_used = [&](const char* name) {
    return std::find(uses.begin(), uses.end(), name) != uses.end();
  };
  const auto is_one = [](float x) { return !(x < 1.0f) && !(x > 1.0f); };
  return {{"Q4", h.weight_type == kWeightQ4},
          {"RMS_NORM", h.norm == kNormRms},
          {"LAYER_NORM", h.norm == kNormLayer},
          {"NORM_AFTER", h.norm_after != 0},
          {"PARALLEL", h.parallel != 0},
          {"BIASES", h.biases != 0},
          {"QK_NORM", h.qk_norm != 0},
          {"LEARNED_POSITIONS", h.learned_positions != 0},
          {"SILU", h.activation == kActivationSilu},
          {"GELU_TANH", h.activation == kActivationGeluTanh},
          {"GELU", h.activation == kActivationGelu},
          {"RELU", h.activation == kActivationRelu},
          {"NOT_GATED", h.gated == 0},
          {"WINDOWS", h.has_windows != 0},
          {"SINKS", is_used("sinks")},
          {"DRAFT", is_used("drafts")},
          {"LORA", is_used("lora")},
          {"PACK", is_used("pack")},
          {"RULES", is_used("rules")},
          {"SHARES", is_used("shares")},
          {"CALLERS", is_used("callers")},
          {"STREAM", is_used("stream")},
          {"ROPES", h.n_ropes > 1},
          {"SCALES", !is_one(h.embedding_scale) || !is_one(h.logit_scale) || h.logit_cap > 0.0f},
          {"SCORED_BPE", h.tokenizer == kTokenizerScoredBpe},
          {"BYTE_BPE", h.tokenizer == kTokenizerByteBpe},
          {"CHAT", h.turn_bytes > 0}};
}

std::string needs_header(const thimble_model& model, const std::vector<std::string>& uses,
                         const std::string& path) {
  std::string text = "// What " + json_string(std::filesystem::path(path).filename().string()) +
                     " needs of the engine; `thimble embed --needs` wrote it.\n"
                     "// Compile the engine with -DTHIMBLE_NEEDS='\"THIS_FILE\"': what is 0 is "
                     "left out of it, and\n"
                     "// thimble_model_open refuses models that need it.\n";
  for (const Part& part : parts_of(model, uses)) {
    text += std::string("#define THIMBLE_") + part.name + (part.is_needed ? " 1\n" : " 0\n");
  }
  return text;
}

}  // namespace thimble::tools
