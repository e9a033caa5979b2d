// SPDX-License-Identifier: MIT
// All that a run needs to go on as if it had never stopped, in a file.
#ifndef THIMBLE_TOOLS_TRAIN_CHECKPOINT_H
#define THIMBLE_TOOLS_TRAIN_CHECKPOINT_H

#include <cstdint>
#include <string>
#include <vector>

#include "parameters.h"
#include "thimble/thimble.h"

namespace thimble::tools::train {

// How far a run has come.
struct RunState {
  uint64_t step = 0, total_steps = 0;  // done, and planned; 0: not yet known
  uint64_t epoch = 0, at = 0;          // Batches::Place
  uint64_t tokens = 0;                 // trained on, in all
  double seconds = 0;                  // spent
};

// Written beside and renamed, so that a full disk or a power cut leaves the one before. `settings`
// are lines of what must not change ("dim=128\n"). Throws Refused.
void write_checkpoint(const std::string& path, const std::string& settings, const RunState& state,
                      const std::vector<const Floats*>& blocks);

// Throws Refused, saying which setting differs, if the run is another one than it was; and for a
// file that is damaged, of another version, or none.
RunState read_checkpoint(const std::string& path, const std::string& settings,
                         const std::vector<const Floats*>& blocks);

// The line of the settings that says which model it was, by its checksums; none of null.
std::string settings_of_model(const char* what, const thimble_model* model);

}  // namespace thimble::tools::train

#endif
