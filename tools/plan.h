// SPDX-License-Identifier: MIT
// What a model and a session take of a device, to the byte.
#ifndef THIMBLE_TOOLS_PLAN_H
#define THIMBLE_TOOLS_PLAN_H

#include <cstdint>

#include "session.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// Bounds of the engine's code and constants on a Cortex-M at -Os, built with what `thimble embed
// --needs` writes for the model: the first one for shapes like Llama's, Qwen's and GPT-2's, the
// whole engine's for the others, whose layers differ or whose blocks do. And of what compiler and C
// library add to it (memcpy, division, floats without an FPU); `make test-firmware` keeps them.
constexpr uint64_t kEngineCodeBytes = 24 * 1024, kTokenizerCodeBytes = 6 * 1024;
constexpr uint64_t kWholeEngineCodeBytes = 34 * 1024;
constexpr uint64_t kLoraCodeBytes = 4 * 1024;    // what adapters add, with thimble_adapter_open
constexpr uint64_t kRulesCodeBytes = 7 * 1024;   // what rules add, with thimble_rule_open
constexpr uint64_t kSharesCodeBytes = 1024;      // what sharing with other cores adds
constexpr uint64_t kStreamCodeBytes = 6 * 1024;  // what weights in a store add, with all calls
constexpr uint64_t kSupportCodeBytes = 8 * 1024;

struct FlashPlan {
  uint64_t header;     // and section table
  uint64_t weights;    // matrices and norms, scales not included
  uint64_t scales;     // of q8 and q4 weights
  uint64_t within;     // what pads weights and scales to whole groups and tiles
  uint64_t tables;     // rotary frequencies
  uint64_t tokenizer;  // its tables
  uint64_t self_test;
  uint64_t padding;  // between sections
  uint64_t code;     // at most
  uint64_t support;  // at most
  bool is_stored;    // the model file takes none of it, but for
  uint64_t kept;     // its tables, if they are here
  uint64_t model() const {
    return header + weights + scales + within + tables + tokenizer + self_test + padding;
  }
  uint64_t total() const { return (is_stored ? kept : model()) + code + support; }
};

struct RamPlan {
  SessionParts parts;  // of a session without drafts and adapters
  uint64_t drafts;     // what drafts add to them
  uint64_t lora;       // what memory for adapters adds
  uint64_t arena;      // the sum: thimble_session_bytes
  uint64_t kept;       // of a model in a store: its tables, if they are here
  uint64_t stack;      // at most
  uint64_t total() const { return arena + kept + stack; }
};

// With the code that such a session asks for; adapters and rules themselves are not counted.
FlashPlan plan_flash(const thimble_model& model, const thimble_config& config = {});

// The configuration must be valid for the model. `kept`: of its tables.
RamPlan plan_ram(const thimble_model& model, const thimble_config& config, uint64_t kept = 0);

// The longest context, up to config.n_ctx, whose session fits into so many bytes of RAM; 0 if none
// does.
uint32_t longest_context(const thimble_model& model, thimble_config config, uint64_t ram,
                         uint64_t kept = 0);

}  // namespace thimble::tools

#endif
