// SPDX-License-Identifier: MIT
// Files on the host: read by mapping, written to a temporary name first.
#ifndef THIMBLE_TOOLS_FILES_H
#define THIMBLE_TOOLS_FILES_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "thimble/thimble.h"

namespace thimble::tools {

// A whole file, mapped read-only. Throws Refused (missing, a directory, not readable, empty, a Git
// LFS pointer).
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // Gives back the memory of what was read so far; it is read again when it is wanted.
  void forget() const;

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Git without its LFS extension leaves a few lines of text in the place of a large file. What is to
// be said if that is what a file is; "" if it is not.
constexpr size_t kMaxGitLfsPointerBytes = 1024;
std::string git_lfs_fault(std::string_view text);

// Whether both names lead to one file, existing or to be. An empty name leads nowhere.
bool same_file(const std::string& a, const std::string& b);

// A text, from a file of any kind, or from stdin if the path is "-". Throws Refused; also when the
// text is longer than 64 MiB.
std::string read_text(const std::string& path);

// A file that appears under its name only when commit() is called; otherwise no trace of it stays,
// whatever signal ends the program (but SIGKILL). Two at a time at most. Throws Refused when the
// disk is full, the folder cannot be written, or the name belongs to something that is no ordinary
// file or may not be written.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* data, size_t bytes);
  void seek(uint64_t offset);
  // Makes what was written so far readable, and says where: the temporary file.
  const std::string& flush();
  void commit();

 private:
  [[noreturn]] void fail() const;
  std::string path_, temporary_;
  size_t guard_ = 0;
  std::FILE* file_ = nullptr;
};

// Why a flat file was refused: the status, and if the fault says so the field, what was found, what
// was expected, and where.
std::string fault_text(thimble_status status, const thimble_fault& fault, size_t file_bytes);

// Opens a model that lies at `data`, verifying its checksum too. Throws Refused, naming `path`,
// with the status, the field, what was found and what was expected.
// verify: with the checksum of all data, which reads all of it.
thimble_model open_model(const std::string& path, const void* data, size_t bytes,
                         bool verify = true);
thimble_model open_model(const MappedFile& file);

}  // namespace thimble::tools

#endif
