// SPDX-License-Identifier: MIT
// Adapters as files: read, written, put to use, merged.
#ifndef THIMBLE_TOOLS_ADAPTER_FILE_H
#define THIMBLE_TOOLS_ADAPTER_FILE_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapter.h"
#include "engine.h"
#include "files.h"
#include "image.h"

namespace thimble::tools {

// An adapter of a model, mapped, opened and verified. Throws Refused, saying what was found and
// what was expected.
class LoadedAdapter {
 public:
  LoadedAdapter(const std::string& path, const LoadedModel& loaded);

  const thimble_adapter& adapter() const { return adapter_; }
  const std::string& path() const { return file_.path(); }

 private:
  MappedFile file_;
  thimble_adapter adapter_;
};

// The adapter of that path, and the configuration with memory for it; null for "". Throws Refused.
std::unique_ptr<LoadedAdapter> load_adapter(const std::string& path, const LoadedModel& loaded,
                                            thimble_config* config);

// Puts it to use in a session that is empty and has memory for its rank. Throws Refused.
void use_adapter(thimble_session* session, const LoadedAdapter& adapter);

// Whether a file begins as adapters do.
bool is_adapter(const MappedFile& file);

// Throws Refused unless it is whole and possible; whether it fits a model only that one can tell.
const AdapterHeader& intact_adapter(const MappedFile& file);

// Why an adapter was refused, in words that go behind its name.
std::string adapter_fault(thimble_status status, const thimble_fault& fault, size_t file_bytes);

// The adapter file of `model` with pairs of rank `rank` for `matrices` (bits within kLoraMatrices).
// `rows` gives A's and B's rows by kinds of kLoraA and kLoraB; what scales B A is in B. Types,
// groups and tiles follow the model's own. Throws RefusedModel.
ImageInMemory build_adapter(const thimble_model& model, uint32_t rank, uint32_t matrices,
                            const RowSource& rows);

// Rows of W + B A, the model's other weights as they are. Model and adapter stay.
RowSource merged_rows(const thimble_model& model, const thimble_adapter& adapter);

}  // namespace thimble::tools

#endif
