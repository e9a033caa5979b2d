// SPDX-License-Identifier: MIT
// What run, eval and bench share: a model in memory, an arena, a session on the chosen kernels.
#ifndef THIMBLE_TOOLS_ENGINE_H
#define THIMBLE_TOOLS_ENGINE_H

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "aligned_block.h"
#include "args.h"
#include "error.h"
#include "files.h"
#include "stored_file.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// A model file, opened and verified; mapped, or read to the heap as it would lie in RAM, from a
// pipe, too; or read tile by tile by each pass.
class LoadedModel {
 public:
  enum Place { kMapped, kMemory, kStored };
  explicit LoadedModel(const std::string& path, Place place = kMapped);

  const thimble_model& model() const { return model_; }
  const std::string& path() const { return path_; }
  StoredFile* stored() const { return stored_.get(); }  // null of other places

 private:
  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::unique_ptr<AlignedBlock> copy_;
  std::unique_ptr<StoredFile> stored_;
  thimble_model model_;
};

// The kernels that the environment variable THIMBLE_ISA asks for, "" for the best ones. WrongUsage,
// listing what this machine has, if they are not here. `wanted` (from an option) goes before it.
std::string chosen_isa(const std::string& wanted = "");

// THIMBLE_KV_F32 or THIMBLE_KV_Q8, as the option --kv has it; f32 without it.
uint32_t kv_type_of(const Args& args);

// How many first positions stay in view of a text without end, as the option --sinks has it; 0
// without it.
uint32_t sinks_of(const Args& args);

// Throws Refused if a session of this configuration cannot have the sinks that it asks for.
void check_sinks(const LoadedModel& loaded, const thimble_config& config);

// A session with its arena, which is all the memory it will ever use.
class Session {
 public:
  // arena_bytes 0: just what the session needs. Throws Refused if that is too little, or if the
  // context is longer than the model's.
  Session(const LoadedModel& loaded, thimble_config config, size_t arena_bytes = 0);

  thimble_session* get() const { return session_; }
  operator thimble_session*() const { return session_; }
  size_t arena_bytes() const { return arena_->size(); }

 private:
  std::unique_ptr<AlignedBlock> arena_;
  thimble_session* session_ = nullptr;
};

// Throws Refused, saying `what` failed, if `result` (a count, or a thimble_status) is an error.
int32_t checked(int32_t result, const char* what);

// What a model computed is no finite number; names no file: the caller knows which one it is.
struct NotFinite : Refused {
  using Refused::Refused;
};

// Throws NotFinite, for a session whose last token's results are what it says.
[[noreturn]] void throw_not_finite(const thimble_session* session);

// thimble_sample, with the errors of checked(), or NotFinite.
int32_t draw_token(thimble_session* session, const thimble_sampling& sampling);

// Throws NotFinite if it would, after a pass whose logits are used otherwise.
void require_finite(thimble_session* session);

// What f() gives; a NotFinite of it as Refused that names the model.
template <class F>
auto naming(const std::string& path, F f) {
  try {
    return f();
  } catch (const NotFinite& error) {
    throw Refused(path + ": " + error.what());
  }
}

// A prompt's tokens, the beginning-of-text token first if the model has one and the session no text
// yet. Throws Refused if
// there is no tokenizer, nothing to start from, or no room for them in the context. Words may be
// as long as the session can merge them, as on a chip, unless `of_any_length`.
std::vector<int32_t> encode_prompt(thimble_session* session, const LoadedModel& loaded,
                                   const std::string& prompt, bool of_any_length = false);

// Feeds tokens and computes them to the end, in slices of `budget` (0: at once). Throws Refused.
void compute(thimble_session* session, const int32_t* tokens, size_t n, uint64_t budget = 0);

// What a session has computed ahead, on stderr, in a line.
void print_drafts(const thimble_session* session);

// Bytes of weights, scales included, that computing one token reads.
uint64_t weight_bytes_per_token(const thimble_model& model);

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace thimble::tools

#endif
