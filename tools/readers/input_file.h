// SPDX-License-Identifier: MIT
// A checkpoint read in pieces, so that memory does not grow with the file.
#ifndef THIMBLE_TOOLS_READERS_INPUT_FILE_H
#define THIMBLE_TOOLS_READERS_INPUT_FILE_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace thimble::tools {

class InputFile {
 public:
  // Throws Refused (missing, a directory, not readable, no ordinary file, empty, a Git LFS
  // pointer).
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  // Fills `data` with the bytes at `offset`. Throws Refused if the file ends before them.
  void read(uint64_t offset, void* data, size_t bytes) const;

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Throws Refused if the file is a Git LFS pointer (files.h); InputFile does so by itself.
void refuse_git_lfs_pointer(const InputFile& file);

// Throws Refused if the file has more bytes than that.
std::string read_whole_file(const InputFile& file, uint64_t max_bytes);
std::string read_whole_file(const std::string& path, uint64_t max_bytes);

}  // namespace thimble::tools

#endif
