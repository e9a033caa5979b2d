// SPDX-License-Identifier: MIT
// A model file that is read as firmware reads one that no address reaches: through a store.
#ifndef THIMBLE_TOOLS_STORED_FILE_H
#define THIMBLE_TOOLS_STORED_FILE_H

#include <cstddef>
#include <cstdint>
#include <string>

#include "aligned_block.h"
#include "thimble/thimble.h"

namespace thimble::tools {

// Stays where it is while a model or a session uses it. Throws Refused if the file cannot be read
// or is no model.
class StoredFile {
 public:
  explicit StoredFile(const std::string& path);
  ~StoredFile();
  StoredFile(const StoredFile&) = delete;
  StoredFile& operator=(const StoredFile&) = delete;

  const thimble_model& model() const { return model_; }
  const AlignedBlock& tables() const { return tables_; }
  const thimble_store& store() const { return store_; }
  // Of the sessions to come, 0: the least. Throws Refused if it is too small for the model.
  void set_buffer(size_t bytes);

  // What was read so far.
  uint64_t reads() const { return reads_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  int file_;
  thimble_store store_{};
  AlignedBlock tables_;
  thimble_model model_;
  uint64_t reads_ = 0, bytes_ = 0;
};

}  // namespace thimble::tools

#endif
